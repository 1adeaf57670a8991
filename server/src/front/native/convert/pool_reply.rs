//! Shard pools, outwards: answers and refusals.

use super::outcome::{Out, answer, unexpected, written_header};
use crate::front::native::errors;
use crate::node::request::Response;
use bytes::Bytes;
use oarlock_proto::v1;
use oarlock_state::command::{Answer, ReplyBody};
use oarlock_state::pool::{
    MemberInfo, MemberState, Owner, Policy, PoolError, PoolReply, PoolState, PoolSummary, Primary, Secondary,
    ShardInfo, ShardSet, Spread,
};
use oarlock_state::{Revision, SessionId};

/// The answer to a write of pools.
pub fn written(response: Response) -> Out<v1::PoolResponse> {
    match response {
        Response::Written(reply) => {
            let header = Some(written_header(&reply));
            match reply.body {
                ReplyBody::Pool(reply) => Ok(v1::PoolResponse { header, result: Some(result(reply)?) }),
                _ => Err(errors::internal("an operation of a pool was answered with something else")),
            }
        }
        other => Err(unexpected("an operation of a pool", &other)),
    }
}

/// What an operation came to.
pub fn result(reply: PoolReply) -> Out<v1::PoolResult> {
    let owned = match reply {
        PoolReply::Done => Vec::new(),
        PoolReply::Joined { owned } => owned,
        PoolReply::Listed { .. } | PoolReply::State(_) | PoolReply::Shard(_) | PoolReply::NextDue(_) => {
            return Err(errors::internal("an operation of a pool was answered like a question"));
        }
    };
    let one = |(shard, epoch): (Bytes, Revision)| v1::OwnedShard { shard, epoch: epoch.get() };
    Ok(v1::PoolResult { owned: owned.into_iter().map(one).collect() })
}

/// The answer to a question about pools.
pub fn answered(response: Response) -> Out<v1::PoolAnswer> {
    use v1::pool_answer::{Answer as Kind, Pools};
    let (header, reply) = reply(response)?;
    let answer = match reply {
        PoolReply::Listed { pools, more } => {
            Kind::Listed(Pools { pools: pools.into_iter().map(summary).collect(), more })
        }
        PoolReply::State(state) => Kind::Described(info(*state)),
        PoolReply::Shard(of) => Kind::Shard(shard(of)),
        PoolReply::Done | PoolReply::Joined { .. } | PoolReply::NextDue(_) => {
            return Err(errors::internal("a question about pools was answered like an operation"));
        }
    };
    Ok(v1::PoolAnswer { header: Some(header), answer: Some(answer) })
}

/// A pool's state, with a header that says at which revision.
pub fn state(response: Response) -> Out<(v1::Header, Box<PoolState>)> {
    match reply(response)? {
        (header, PoolReply::State(state)) => Ok((header, state)),
        _ => Err(errors::internal("a question for a pool was answered with something else")),
    }
}

fn reply(response: Response) -> Out<(v1::Header, PoolReply)> {
    match answer(response, "a question about pools")? {
        (header, Answer::Pool(reply)) => Ok((header, reply)),
        _ => Err(errors::internal("a question about pools was answered with something else")),
    }
}

/// Why a pool said no.
pub fn refusal(error: &PoolError) -> v1::PoolRefusal {
    use v1::pool_refusal::Reason;
    let of = |reason: Reason, pool: &Bytes| v1::PoolRefusal {
        reason: reason.into(),
        pool: pool.clone(),
        ..v1::PoolRefusal::default()
    };
    match error {
        PoolError::BadRequest { .. } => of(Reason::BadRequest, &Bytes::new()),
        PoolError::PoolExists { pool } => of(Reason::PoolExists, pool),
        PoolError::PoolNotFound { pool } => of(Reason::PoolNotFound, pool),
        PoolError::NotEmpty { pool } => of(Reason::NotEmpty, pool),
        PoolError::FixedShards { pool } => of(Reason::FixedShards, pool),
        PoolError::TooManyMembers { pool } => of(Reason::TooManyMembers, pool),
        PoolError::TooManyShards { pool } => of(Reason::TooManyShards, pool),
        PoolError::ShardNotFound { pool, shard } => {
            v1::PoolRefusal { shard: shard.clone(), ..of(Reason::ShardNotFound, pool) }
        }
        PoolError::MemberNotFound { pool, instance } => {
            v1::PoolRefusal { instance: instance.clone(), ..of(Reason::MemberNotFound, pool) }
        }
        PoolError::InstanceInUse { pool, instance, session } => v1::PoolRefusal {
            instance: instance.clone(),
            session: session.get(),
            ..of(Reason::InstanceInUse, pool)
        },
        PoolError::NotMember { pool, instance, session } => v1::PoolRefusal {
            instance: instance.clone(),
            session: session.get(),
            ..of(Reason::NotMember, pool)
        },
        PoolError::NotOwned { pool, shard, epoch } => {
            v1::PoolRefusal { shard: shard.clone(), epoch: epoch.get(), ..of(Reason::NotOwned, pool) }
        }
        PoolError::Stale { pool, .. } => of(Reason::Stale, pool),
        PoolError::Step { pool, shard, .. } => {
            v1::PoolRefusal { shard: shard.clone(), ..of(Reason::Step, pool) }
        }
    }
}

/// A kind of shards.
pub fn shard_set(shards: ShardSet) -> v1::ShardSet {
    use v1::shard_set::Kind;
    let kind = match shards {
        ShardSet::Slots(count) => Kind::Slots(count),
        ShardSet::Named => Kind::Named(true),
    };
    v1::ShardSet { kind: Some(kind) }
}

/// A policy.
pub fn policy(policy: Policy) -> v1::PoolPolicy {
    use v1::pool_policy::Spread as Wire;
    let spread = match policy.spread {
        Spread::Ignore => Wire::Ignore,
        Spread::Prefer => Wire::Prefer,
        Spread::Require => Wire::Require,
    };
    v1::PoolPolicy {
        secondaries: policy.secondaries,
        spread: spread.into(),
        lock_delay_ms: policy.lock_delay_ms,
        reassign_delay_ms: policy.reassign_delay_ms,
        handoff_ms: policy.handoff_ms,
        moves_max: policy.moves_max,
        moves_per_minute: policy.moves_per_minute,
        tolerance_percent: policy.tolerance_percent,
        sticky: policy.sticky,
    }
}

/// What a member may be given.
pub fn member_state(state: MemberState) -> v1::PoolMemberState {
    match state {
        MemberState::Active => v1::PoolMemberState::Active,
        MemberState::Cordoned => v1::PoolMemberState::Cordoned,
        MemberState::Draining => v1::PoolMemberState::Draining,
    }
}

fn summary(summary: PoolSummary) -> v1::PoolSummary {
    v1::PoolSummary {
        pool: summary.pool,
        shards: Some(shard_set(summary.shards)),
        shard_count: summary.shard_count,
        member_count: summary.member_count,
        owned: summary.owned,
        moving: summary.moving,
        changed: summary.changed.get(),
    }
}

fn info(state: PoolState) -> v1::PoolInfo {
    v1::PoolInfo {
        pool: state.pool,
        shards_of: Some(shard_set(state.shards_of)),
        policy: Some(policy(state.policy)),
        created: state.created.get(),
        changed: state.changed.get(),
        stamp_unix_ms: state.stamp_ms,
        paused_until_unix_ms: state.paused_until_ms,
        pause_reason: state.pause_reason,
        moves_left: state.moves_left,
        members: state.members.into_iter().map(member).collect(),
        shards: state.shards.into_iter().map(shard).collect(),
    }
}

fn member(member: MemberInfo) -> v1::PoolMember {
    v1::PoolMember {
        instance: member.instance,
        session: member.session.get(),
        zone: member.zone,
        capacity: member.capacity,
        address: member.address,
        metadata: member.metadata,
        state: member_state(member.state).into(),
        joined: member.joined.get(),
        away_until_unix_ms: member.away_until_ms,
    }
}

/// A shard.
pub fn shard(shard: ShardInfo) -> v1::PoolShard {
    v1::PoolShard {
        shard: shard.shard,
        weight: shard.weight,
        load: shard.load,
        pin: shard.pin.unwrap_or_default(),
        retired: shard.retired,
        primary: Some(primary(shard.primary)),
        secondaries: shard.secondaries.into_iter().map(secondary).collect(),
    }
}

fn primary(primary: Primary) -> v1::ShardPrimary {
    use v1::shard_primary::{Moving, State, Unassigned, Withheld};
    let state = match primary {
        Primary::Unassigned { since_ms } => State::Unassigned(Unassigned { since_unix_ms: since_ms }),
        Primary::Owned(of) => State::Owned(owner(of)),
        Primary::Moving { from, to, session, draining, deadline_ms } => State::Moving(Moving {
            from: Some(owner(from)),
            to,
            session: session.get(),
            draining,
            deadline_unix_ms: deadline_ms,
        }),
        Primary::Withheld { instance, epoch, until_ms } => {
            State::Withheld(Withheld { instance, epoch: epoch.get(), until_unix_ms: until_ms })
        }
    };
    v1::ShardPrimary { state: Some(state) }
}

fn owner(owner: Owner) -> v1::ShardOwner {
    let Owner { instance, session: SessionId(session), epoch, granted_ms } = owner;
    v1::ShardOwner { instance, session, epoch: epoch.get(), granted_unix_ms: granted_ms }
}

fn secondary(secondary: Secondary) -> v1::ShardSecondary {
    let Secondary { instance, session: SessionId(session), epoch, ready } = secondary;
    v1::ShardSecondary { instance, session, epoch: epoch.get(), ready }
}
