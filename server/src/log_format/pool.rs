//! Operations of shard pools. One flat message serves all kinds; this page says which fields each of
//! them uses. All but `elapse` use `pool`.
//!
//! | kind | operation | fields |
//! | --- | --- | --- |
//! | 1 | create | `slots`, `policy` |
//! | 2 | set the policy | `policy` |
//! | 3 | delete | `force` |
//! | 4 | add shards | `shards`: name, work |
//! | 5 | remove shards | `shards`: name |
//! | 6 | join | `instance`, `session`, `zone`, `capacity`, `address`, `metadata` |
//! | 7 | leave | `instance`, `session` |
//! | 8 | ready | `instance`, `session`, `shards`: name |
//! | 9 | release | `instance`, `session`, `shards`: name, epoch |
//! | 10 | report | `instance`, `session`, `shards`: name, work |
//! | 11 | set a member's state | `instance`, `state` |
//! | 12 | pin | `shard`, `to` |
//! | 13 | set weights | `shards`: name, work |
//! | 14 | pause | `for_ms`, `reason` |
//! | 15 | move | `shard`, `to` |
//! | 16 | force | `shard` |
//! | 17 | assign | `basis`, `steps` |
//! | 18 | elapse | none |

use super::{FormatError, FormatResult, required};
use bytes::Bytes;
use oarlock_proto::internal::log as pb;
use oarlock_state::pool::{Join, MemberState, Policy, PoolOp, ShardSet, ShardToken, Spread, Step};
use oarlock_state::{Revision, SessionId};

const CREATE: u32 = 1;
const SET_POLICY: u32 = 2;
const DELETE: u32 = 3;
const ADD_SHARDS: u32 = 4;
const REMOVE_SHARDS: u32 = 5;
const JOIN: u32 = 6;
const LEAVE: u32 = 7;
const READY: u32 = 8;
const RELEASE: u32 = 9;
const REPORT: u32 = 10;
const SET_MEMBER_STATE: u32 = 11;
const PIN: u32 = 12;
const SET_WEIGHTS: u32 = 13;
const PAUSE: u32 = 14;
const MOVE: u32 = 15;
const FORCE: u32 = 16;
const ASSIGN: u32 = 17;
const ELAPSE: u32 = 18;

pub(super) fn to_proto(op: &PoolOp) -> pb::Pool {
    match op {
        PoolOp::Create { pool, shards, policy } => pb::Pool {
            slots: match shards {
                ShardSet::Slots(count) => *count,
                ShardSet::Named => 0,
            },
            policy: Some(policy_to_proto(policy)),
            ..of(CREATE, pool)
        },
        PoolOp::SetPolicy { pool, policy } => {
            pb::Pool { policy: Some(policy_to_proto(policy)), ..of(SET_POLICY, pool) }
        }
        PoolOp::Delete { pool, force } => pb::Pool { force: *force, ..of(DELETE, pool) },
        PoolOp::AddShards { pool, shards } => pb::Pool { shards: weighed(shards), ..of(ADD_SHARDS, pool) },
        PoolOp::RemoveShards { pool, shards } => {
            pb::Pool { shards: shards.iter().map(named).collect(), ..of(REMOVE_SHARDS, pool) }
        }
        PoolOp::Join { .. }
        | PoolOp::Leave { .. }
        | PoolOp::Ready { .. }
        | PoolOp::Release { .. }
        | PoolOp::Report { .. } => of_instance_to_proto(op),
        PoolOp::SetMemberState { pool, instance, state } => pb::Pool {
            instance: instance.clone(),
            state: match state {
                MemberState::Active => 0,
                MemberState::Cordoned => 1,
                MemberState::Draining => 2,
            },
            ..of(SET_MEMBER_STATE, pool)
        },
        PoolOp::Pin { pool, shard, to } => {
            pb::Pool { shard: shard.clone(), to: to.clone().unwrap_or_default(), ..of(PIN, pool) }
        }
        PoolOp::SetWeights { pool, weights } => {
            pb::Pool { shards: weighed(weights), ..of(SET_WEIGHTS, pool) }
        }
        PoolOp::Pause { pool, for_ms, reason } => {
            pb::Pool { for_ms: *for_ms, reason: reason.clone(), ..of(PAUSE, pool) }
        }
        PoolOp::Move { pool, shard, to } => {
            pb::Pool { shard: shard.clone(), to: to.clone(), ..of(MOVE, pool) }
        }
        PoolOp::Force { pool, shard } => pb::Pool { shard: shard.clone(), ..of(FORCE, pool) },
        PoolOp::Assign { pool, basis, steps } => pb::Pool {
            basis: basis.get(),
            steps: steps.iter().map(step_to_proto).collect(),
            ..of(ASSIGN, pool)
        },
        PoolOp::Elapse => pb::Pool { kind: ELAPSE, ..pb::Pool::default() },
    }
}

/// What instances do themselves.
fn of_instance_to_proto(op: &PoolOp) -> pb::Pool {
    let by = |kind, pool: &Bytes, instance: &Bytes, session: SessionId, shards| pb::Pool {
        instance: instance.clone(),
        session: session.get(),
        shards,
        ..of(kind, pool)
    };
    match op {
        PoolOp::Join { pool, join } => pb::Pool {
            zone: join.zone.clone(),
            capacity: join.capacity,
            address: join.address.clone(),
            metadata: join.metadata.clone(),
            ..by(JOIN, pool, &join.instance, join.session, Vec::new())
        },
        PoolOp::Leave { pool, instance, session } => by(LEAVE, pool, instance, *session, Vec::new()),
        PoolOp::Ready { pool, instance, session, shards } => {
            by(READY, pool, instance, *session, shards.iter().map(named).collect())
        }
        PoolOp::Release { pool, instance, session, shards } => {
            by(RELEASE, pool, instance, *session, shards.iter().map(token_to_proto).collect())
        }
        PoolOp::Report { pool, instance, session, loads } => {
            by(REPORT, pool, instance, *session, weighed(loads))
        }
        PoolOp::Create { .. }
        | PoolOp::SetPolicy { .. }
        | PoolOp::Delete { .. }
        | PoolOp::AddShards { .. }
        | PoolOp::RemoveShards { .. }
        | PoolOp::SetMemberState { .. }
        | PoolOp::Pin { .. }
        | PoolOp::SetWeights { .. }
        | PoolOp::Pause { .. }
        | PoolOp::Move { .. }
        | PoolOp::Force { .. }
        | PoolOp::Assign { .. }
        | PoolOp::Elapse => unreachable!("to_proto writes these itself"),
    }
}

pub(super) fn from_proto(op: pb::Pool) -> FormatResult<PoolOp> {
    let pb::Pool { kind, pool, instance, shards, shard, .. } = op;
    let session = SessionId(op.session);
    Ok(match kind {
        CREATE => PoolOp::Create {
            pool,
            shards: if op.slots == 0 { ShardSet::Named } else { ShardSet::Slots(op.slots) },
            policy: policy_from_proto(op.policy)?,
        },
        SET_POLICY => PoolOp::SetPolicy { pool, policy: policy_from_proto(op.policy)? },
        DELETE => PoolOp::Delete { pool, force: op.force },
        ADD_SHARDS => PoolOp::AddShards { pool, shards: weights(shards) },
        REMOVE_SHARDS => PoolOp::RemoveShards { pool, shards: names(shards) },
        JOIN => PoolOp::Join {
            pool,
            join: Join {
                instance,
                session,
                zone: op.zone,
                capacity: op.capacity,
                address: op.address,
                metadata: op.metadata,
            },
        },
        LEAVE => PoolOp::Leave { pool, instance, session },
        READY => PoolOp::Ready { pool, instance, session, shards: names(shards) },
        RELEASE => {
            let token = |one: pb::PoolShard| ShardToken { shard: one.name, epoch: Revision(one.epoch) };
            PoolOp::Release { pool, instance, session, shards: shards.into_iter().map(token).collect() }
        }
        REPORT => PoolOp::Report { pool, instance, session, loads: weights(shards) },
        SET_MEMBER_STATE => {
            PoolOp::SetMemberState { pool, instance, state: member_state_from_proto(op.state)? }
        }
        PIN => PoolOp::Pin { pool, shard, to: (!op.to.is_empty()).then_some(op.to) },
        SET_WEIGHTS => PoolOp::SetWeights { pool, weights: weights(shards) },
        PAUSE => PoolOp::Pause { pool, for_ms: op.for_ms, reason: op.reason },
        MOVE => PoolOp::Move { pool, shard, to: op.to },
        FORCE => PoolOp::Force { pool, shard },
        ASSIGN => PoolOp::Assign {
            pool,
            basis: Revision(op.basis),
            steps: op.steps.into_iter().map(step_from_proto).collect::<FormatResult<_>>()?,
        },
        ELAPSE => PoolOp::Elapse,
        0 | 19.. => {
            return Err(FormatError::Unknown { what: "an operation of a pool", number: kind.into() });
        }
    })
}

fn of(kind: u32, pool: &Bytes) -> pb::Pool {
    pb::Pool { kind, pool: pool.clone(), ..pb::Pool::default() }
}

fn named(shard: &Bytes) -> pb::PoolShard {
    pb::PoolShard { name: shard.clone(), ..pb::PoolShard::default() }
}

fn names(shards: Vec<pb::PoolShard>) -> Vec<Bytes> {
    shards.into_iter().map(|shard| shard.name).collect()
}

fn weighed(shards: &[(Bytes, u32)]) -> Vec<pb::PoolShard> {
    shards.iter().map(|(shard, work)| pb::PoolShard { work: *work, ..named(shard) }).collect()
}

fn weights(shards: Vec<pb::PoolShard>) -> Vec<(Bytes, u32)> {
    shards.into_iter().map(|shard| (shard.name, shard.work)).collect()
}

fn token_to_proto(token: &ShardToken) -> pb::PoolShard {
    pb::PoolShard { epoch: token.epoch.get(), ..named(&token.shard) }
}

fn member_state_from_proto(state: u32) -> FormatResult<MemberState> {
    Ok(match state {
        0 => MemberState::Active,
        1 => MemberState::Cordoned,
        2 => MemberState::Draining,
        3.. => return Err(FormatError::Unknown { what: "a state of a member", number: state.into() }),
    })
}

fn policy_to_proto(policy: &Policy) -> pb::PoolPolicy {
    pb::PoolPolicy {
        secondaries: policy.secondaries,
        spread: match policy.spread {
            Spread::Ignore => 0,
            Spread::Prefer => 1,
            Spread::Require => 2,
        },
        lock_delay_ms: policy.lock_delay_ms,
        reassign_delay_ms: policy.reassign_delay_ms,
        handoff_ms: policy.handoff_ms,
        moves_max: policy.moves_max,
        moves_per_minute: policy.moves_per_minute,
        tolerance_percent: policy.tolerance_percent,
        sticky: policy.sticky,
    }
}

fn policy_from_proto(policy: Option<pb::PoolPolicy>) -> FormatResult<Policy> {
    let policy = required(policy, "a pool's policy")?;
    Ok(Policy {
        secondaries: policy.secondaries,
        spread: match policy.spread {
            0 => Spread::Ignore,
            1 => Spread::Prefer,
            2 => Spread::Require,
            3.. => return Err(FormatError::Unknown { what: "a spread", number: policy.spread.into() }),
        },
        lock_delay_ms: policy.lock_delay_ms,
        reassign_delay_ms: policy.reassign_delay_ms,
        handoff_ms: policy.handoff_ms,
        moves_max: policy.moves_max,
        moves_per_minute: policy.moves_per_minute,
        tolerance_percent: policy.tolerance_percent,
        sticky: policy.sticky,
    })
}

fn step_to_proto(step: &Step) -> pb::PoolStep {
    let (kind, shard, instance) = match step {
        Step::Grant { shard, to } => (1, shard, to.clone()),
        Step::Move { shard, to } => (2, shard, to.clone()),
        Step::CancelMove { shard } => (3, shard, Bytes::new()),
        Step::AddSecondary { shard, to } => (4, shard, to.clone()),
        Step::DropSecondary { shard, from } => (5, shard, from.clone()),
    };
    pb::PoolStep { kind, shard: shard.clone(), instance }
}

fn step_from_proto(step: pb::PoolStep) -> FormatResult<Step> {
    let pb::PoolStep { kind, shard, instance } = step;
    Ok(match kind {
        1 => Step::Grant { shard, to: instance },
        2 => Step::Move { shard, to: instance },
        3 => Step::CancelMove { shard },
        4 => Step::AddSecondary { shard, to: instance },
        5 => Step::DropSecondary { shard, from: instance },
        0 | 6.. => return Err(FormatError::Unknown { what: "a step of a plan", number: kind.into() }),
    })
}
