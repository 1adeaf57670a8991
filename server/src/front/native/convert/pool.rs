//! Shard pools, inwards: what is asked of them.

use super::{Form, invalid, key, known, read, session, write};
use crate::node::request::{Request, Write};
use bytes::Bytes;
use oarlock_proto::v1;
use oarlock_state::pool::placement::WhatIf;
use oarlock_state::pool::{Join, MemberState, Policy, PoolOp, PoolQuery, ShardSet, ShardToken, Spread};
use oarlock_state::{Command, Query, Revision};

/// A write of pools, with its options taken out of it.
pub fn op(request: v1::PoolOp) -> Form<Write> {
    use v1::pool_op::Op;
    match request.op {
        Some(Op::Create(request)) => create(request),
        Some(Op::SetPolicy(request)) => set_policy(request),
        Some(Op::Delete(request)) => delete(request),
        Some(Op::AddShards(request)) => add_shards(request),
        Some(Op::RemoveShards(request)) => remove_shards(request),
        Some(Op::Join(request)) => join(request),
        Some(Op::Leave(request)) => leave(request),
        Some(Op::Ready(request)) => ready(request),
        Some(Op::Release(request)) => release(request),
        Some(Op::Report(request)) => report(request),
        Some(Op::SetMemberState(request)) => set_member_state(request),
        Some(Op::Pin(request)) => pin(request),
        Some(Op::SetWeights(request)) => set_weights(request),
        Some(Op::Pause(request)) => pause(request),
        Some(Op::Move(request)) => move_shard(request),
        Some(Op::Force(request)) => force(request),
        None => Err(invalid("the pool operation is empty, or of a later version")),
    }
}

/// A question about pools.
pub fn query(request: v1::PoolQuery) -> Form<Request> {
    use v1::pool_query::Query;
    match request.query {
        Some(Query::List(request)) => list(request),
        Some(Query::Describe(request)) => describe(request),
        Some(Query::Shard(request)) => shard(request),
        None => Err(invalid("the question about pools is empty, or of a later version")),
    }
}

/// Make a pool.
pub fn create(request: v1::CreatePoolRequest) -> Form<Write> {
    use v1::shard_set::Kind;
    let shards = match request.shards.and_then(|shards| shards.kind) {
        Some(Kind::Slots(count)) => ShardSet::Slots(count),
        Some(Kind::Named(true)) => ShardSet::Named,
        Some(Kind::Named(false)) | None => {
            return Err(invalid(
                "the pool's shards are missing; say how many slots, or that they have names",
            ));
        }
    };
    let policy = request.policy.map(policy).transpose()?.unwrap_or_default();
    written(PoolOp::Create { pool: key::key(request.pool)?, shards, policy }, request.options)
}

/// Replace the policy.
pub fn set_policy(request: v1::SetPoolPolicyRequest) -> Form<Write> {
    let Some(wanted) = request.policy else {
        return Err(invalid("the policy is missing; send all of it, as it replaces the one that there is"));
    };
    let op = PoolOp::SetPolicy { pool: key::key(request.pool)?, policy: policy(wanted)? };
    written(op, request.options)
}

/// Remove a pool.
pub fn delete(request: v1::DeletePoolRequest) -> Form<Write> {
    let v1::DeletePoolRequest { pool, force, options } = request;
    written(PoolOp::Delete { pool: key::key(pool)?, force }, options)
}

/// Add named shards.
pub fn add_shards(request: v1::AddShardsRequest) -> Form<Write> {
    let weighted = |one: v1::ShardNumber| Ok((key::key(one.shard)?, one.number.max(1)));
    let shards = request.shards.into_iter().map(weighted).collect::<Form<_>>()?;
    written(PoolOp::AddShards { pool: key::key(request.pool)?, shards }, request.options)
}

/// Remove named shards.
pub fn remove_shards(request: v1::RemoveShardsRequest) -> Form<Write> {
    let v1::RemoveShardsRequest { pool, shards, options } = request;
    written(PoolOp::RemoveShards { pool: key::key(pool)?, shards: names(shards)? }, options)
}

/// Take part.
pub fn join(request: v1::JoinPoolRequest) -> Form<Write> {
    let join = Join {
        instance: key::key(request.instance)?,
        session: session::id(request.session)?,
        zone: request.zone,
        capacity: request.capacity.max(1),
        address: request.address,
        metadata: request.metadata,
    };
    written(PoolOp::Join { pool: key::key(request.pool)?, join }, request.options)
}

/// Take part no longer.
pub fn leave(request: v1::LeavePoolRequest) -> Form<Write> {
    let v1::LeavePoolRequest { pool, instance, session: of, options } = request;
    let op =
        PoolOp::Leave { pool: key::key(pool)?, instance: key::key(instance)?, session: session::id(of)? };
    written(op, options)
}

/// Be warm.
pub fn ready(request: v1::ShardsReadyRequest) -> Form<Write> {
    let v1::ShardsReadyRequest { pool, instance, session: of, shards, options } = request;
    let (pool, instance, session) = (key::key(pool)?, key::key(instance)?, session::id(of)?);
    written(PoolOp::Ready { pool, instance, session, shards: names(shards)? }, options)
}

/// Let primaries go.
pub fn release(request: v1::ReleaseShardsRequest) -> Form<Write> {
    let v1::ReleaseShardsRequest { pool, instance, session: of, shards, options } = request;
    let (pool, instance, session) = (key::key(pool)?, key::key(instance)?, session::id(of)?);
    let shards = shards.into_iter().map(token).collect::<Form<_>>()?;
    written(PoolOp::Release { pool, instance, session, shards }, options)
}

/// Say how much work shards are.
pub fn report(request: v1::ReportLoadRequest) -> Form<Write> {
    let v1::ReportLoadRequest { pool, instance, session: of, loads, options } = request;
    let (pool, instance, session) = (key::key(pool)?, key::key(instance)?, session::id(of)?);
    written(PoolOp::Report { pool, instance, session, loads: numbers(loads)? }, options)
}

/// Say what a member may be given.
pub fn set_member_state(request: v1::SetPoolMemberStateRequest) -> Form<Write> {
    let v1::SetPoolMemberStateRequest { pool, instance, state, options } = request;
    let (pool, instance) = (key::key(pool)?, key::key(instance)?);
    written(PoolOp::SetMemberState { pool, instance, state: member_state(state)? }, options)
}

/// Say where a shard has to be.
pub fn pin(request: v1::PinShardRequest) -> Form<Write> {
    let v1::PinShardRequest { pool, shard, to, options } = request;
    let to = if to.is_empty() { None } else { Some(key::key(to)?) };
    written(PoolOp::Pin { pool: key::key(pool)?, shard: key::key(shard)?, to }, options)
}

/// Replace weights.
pub fn set_weights(request: v1::SetShardWeightsRequest) -> Form<Write> {
    let v1::SetShardWeightsRequest { pool, weights, options } = request;
    written(PoolOp::SetWeights { pool: key::key(pool)?, weights: numbers(weights)? }, options)
}

/// Move nothing for a time.
pub fn pause(request: v1::PausePoolRequest) -> Form<Write> {
    let v1::PausePoolRequest { pool, for_ms, reason, options } = request;
    written(PoolOp::Pause { pool: key::key(pool)?, for_ms, reason }, options)
}

/// Move a shard.
pub fn move_shard(request: v1::MoveShardRequest) -> Form<Write> {
    let v1::MoveShardRequest { pool, shard, to, options } = request;
    let op = PoolOp::Move { pool: key::key(pool)?, shard: key::key(shard)?, to: key::key(to)? };
    written(op, options)
}

/// Take a primary away.
pub fn force(request: v1::ForceShardRequest) -> Form<Write> {
    let v1::ForceShardRequest { pool, shard, options } = request;
    written(PoolOp::Force { pool: key::key(pool)?, shard: key::key(shard)? }, options)
}

/// The pools under a prefix.
pub fn list(request: v1::ListPoolsRequest) -> Form<Request> {
    let v1::ListPoolsRequest { prefix, after, limit, options } = request;
    let limit = if limit == 0 { u64::MAX } else { limit };
    let query = PoolQuery::List { prefix: key::prefix(prefix)?, after: key::prefix(after)?, limit };
    ask(query, options.as_ref())
}

/// A pool at length.
pub fn describe(request: v1::DescribePoolRequest) -> Form<Request> {
    state(request.pool, request.options.as_ref())
}

/// A pool's state, for whatever is computed from it.
pub fn state(pool: Bytes, options: Option<&v1::ReadOptions>) -> Form<Request> {
    ask(PoolQuery::State { pool: key::key(pool)? }, options)
}

/// One shard.
pub fn shard(request: v1::DescribeShardRequest) -> Form<Request> {
    let v1::DescribeShardRequest { pool, shard, options } = request;
    ask(PoolQuery::Shard { pool: key::key(pool)?, shard: key::key(shard)? }, options.as_ref())
}

/// A change that is only supposed.
pub fn what_if(change: v1::WhatIf) -> Form<WhatIf> {
    use v1::what_if::Change;
    Ok(match change.change {
        Some(Change::Add(add)) => {
            WhatIf::Add { instance: key::key(add.instance)?, zone: add.zone, capacity: add.capacity.max(1) }
        }
        Some(Change::Remove(instance)) => WhatIf::Remove { instance: key::key(instance)? },
        Some(Change::SetState(set)) => {
            WhatIf::SetState { instance: key::key(set.instance)?, state: member_state(set.state)? }
        }
        Some(Change::SetWeight(set)) => {
            WhatIf::SetWeight { shard: key::key(set.shard)?, weight: set.number.max(1) }
        }
        Some(Change::Pin(pin)) => {
            let to = if pin.to.is_empty() { None } else { Some(key::key(pin.to)?) };
            WhatIf::Pin { shard: key::key(pin.shard)?, to }
        }
        None => return Err(invalid("a supposed change is empty, or of a later version")),
    })
}

fn written(op: PoolOp, options: Option<v1::WriteOptions>) -> Form<Write> {
    write::write(Command::Pool(op), options)
}

fn ask(query: PoolQuery, options: Option<&v1::ReadOptions>) -> Form<Request> {
    read::read(Query::Pool(query), options)
}

fn policy(policy: v1::PoolPolicy) -> Form<Policy> {
    use v1::pool_policy::Spread as Wire;
    let spread = match known(policy.spread, "the spread of a policy")? {
        Wire::Ignore => Spread::Ignore,
        Wire::Prefer => Spread::Prefer,
        Wire::Require => Spread::Require,
    };
    Ok(Policy {
        secondaries: policy.secondaries,
        spread,
        lock_delay_ms: policy.lock_delay_ms,
        reassign_delay_ms: policy.reassign_delay_ms,
        handoff_ms: policy.handoff_ms,
        moves_max: policy.moves_max,
        moves_per_minute: policy.moves_per_minute,
        tolerance_percent: policy.tolerance_percent,
        sticky: policy.sticky,
    })
}

fn member_state(state: i32) -> Form<MemberState> {
    Ok(match known(state, "the state of a member")? {
        v1::PoolMemberState::Active => MemberState::Active,
        v1::PoolMemberState::Cordoned => MemberState::Cordoned,
        v1::PoolMemberState::Draining => MemberState::Draining,
    })
}

fn names(names: Vec<Bytes>) -> Form<Vec<Bytes>> {
    names.into_iter().map(key::key).collect()
}

fn numbers(numbers: Vec<v1::ShardNumber>) -> Form<Vec<(Bytes, u32)>> {
    numbers.into_iter().map(|one| Ok((key::key(one.shard)?, one.number))).collect()
}

fn token(owned: v1::OwnedShard) -> Form<ShardToken> {
    if owned.epoch == 0 {
        return Err(invalid("a shard's epoch is 0; an epoch is the revision of a grant"));
    }
    Ok(ShardToken { shard: key::key(owned.shard)?, epoch: Revision(owned.epoch) })
}
