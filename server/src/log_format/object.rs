//! Operations of locks and elections. One flat message serves all kinds; this page says which fields
//! each of them uses.
//!
//! | kind | operation | fields |
//! | --- | --- | --- |
//! | 1 | acquire | `parts`, `claim`, `wait`, `metadata`, `priority`, `preempt`, `lock_delay_ms` |
//! | 2 | release | `holds` |
//! | 3 | cancel | `name`, `claim` |
//! | 4 | downgrade | `name`, `claim`, `token` |
//! | 5 | upgrade | `name`, `claim`, `token` |
//! | 6 | request a revocation | `name`, `by`, `reason` |
//! | 7 | revoke | `name`, `claim` |
//! | 8 | set the lock-delay | `name`, `claim`, `token`, `lock_delay_ms` |
//! | 9 | proclaim | `name`, `claim`, `token`, `metadata` |
//! | 10 | hand off | `name`, `claim`, `token`, `to` |
//! | 11 | elapse | none |

use super::{FormatError, FormatResult, required};
use bytes::Bytes;
use oarlock_proto::internal::log as pb;
use oarlock_state::object::{Acquire, Claim, Held, Mode, ObjectKind, ObjectOp, Part};
use oarlock_state::{Revision, SessionId};

const ACQUIRE: u32 = 1;
const RELEASE: u32 = 2;
const CANCEL: u32 = 3;
const DOWNGRADE: u32 = 4;
const UPGRADE: u32 = 5;
const REQUEST_REVOCATION: u32 = 6;
const REVOKE: u32 = 7;
const SET_LOCK_DELAY: u32 = 8;
const PROCLAIM: u32 = 9;
const HANDOFF: u32 = 10;
const ELAPSE: u32 = 11;

pub(super) fn to_proto(op: &ObjectOp) -> pb::Object {
    let none = pb::Object::default();
    match op {
        ObjectOp::Acquire(acquire) => acquire_to_proto(acquire),
        ObjectOp::Release { holds } => {
            pb::Object { kind: RELEASE, holds: holds.iter().map(hold_to_proto).collect(), ..none }
        }
        ObjectOp::Cancel { name, claim } => claimed(CANCEL, name, *claim),
        ObjectOp::Downgrade(held) => of_hold(DOWNGRADE, held),
        ObjectOp::Upgrade(held) => of_hold(UPGRADE, held),
        ObjectOp::RequestRevocation { name, by, reason } => pb::Object {
            kind: REQUEST_REVOCATION,
            name: name.clone(),
            by: by.clone(),
            reason: reason.clone(),
            ..none
        },
        ObjectOp::Revoke { name, claim } => claimed(REVOKE, name, *claim),
        ObjectOp::SetLockDelay { held, lock_delay_ms } => {
            pb::Object { lock_delay_ms: *lock_delay_ms, ..of_hold(SET_LOCK_DELAY, held) }
        }
        ObjectOp::Proclaim { held, metadata } => {
            pb::Object { metadata: metadata.clone(), ..of_hold(PROCLAIM, held) }
        }
        ObjectOp::Handoff { held, to } => {
            pb::Object { to: Some(claim_to_proto(*to)), ..of_hold(HANDOFF, held) }
        }
        ObjectOp::Elapse => pb::Object { kind: ELAPSE, ..none },
    }
}

pub(super) fn from_proto(op: pb::Object) -> FormatResult<ObjectOp> {
    Ok(match op.kind {
        ACQUIRE => ObjectOp::Acquire(acquire_from_proto(op)?),
        RELEASE => ObjectOp::Release {
            holds: op.holds.into_iter().map(hold_from_proto).collect::<FormatResult<_>>()?,
        },
        CANCEL => ObjectOp::Cancel { claim: claim_from_proto(op.claim)?, name: op.name },
        DOWNGRADE => ObjectOp::Downgrade(held(op)?),
        UPGRADE => ObjectOp::Upgrade(held(op)?),
        REQUEST_REVOCATION => ObjectOp::RequestRevocation { name: op.name, by: op.by, reason: op.reason },
        REVOKE => ObjectOp::Revoke { claim: claim_from_proto(op.claim)?, name: op.name },
        SET_LOCK_DELAY => ObjectOp::SetLockDelay { lock_delay_ms: op.lock_delay_ms, held: held(op)? },
        PROCLAIM => ObjectOp::Proclaim { metadata: op.metadata.clone(), held: held(op)? },
        HANDOFF => ObjectOp::Handoff { to: claim_from_proto(op.to)?, held: held(op)? },
        ELAPSE => ObjectOp::Elapse,
        0 | 12.. => {
            return Err(FormatError::Unknown { what: "an operation of an object", number: op.kind.into() });
        }
    })
}

fn claimed(kind: u32, name: &Bytes, claim: Claim) -> pb::Object {
    pb::Object { kind, name: name.clone(), claim: Some(claim_to_proto(claim)), ..pb::Object::default() }
}

fn of_hold(kind: u32, held: &Held) -> pb::Object {
    pb::Object { token: held.token.get(), ..claimed(kind, &held.name, held.claim) }
}

fn held(op: pb::Object) -> FormatResult<Held> {
    Ok(Held { claim: claim_from_proto(op.claim)?, name: op.name, token: Revision(op.token) })
}

fn claim_to_proto(claim: Claim) -> pb::Claim {
    pb::Claim { session: claim.session.get(), request: claim.request }
}

fn claim_from_proto(claim: Option<pb::Claim>) -> FormatResult<Claim> {
    let claim = required(claim, "a claim")?;
    Ok(Claim { session: SessionId(claim.session), request: claim.request })
}

fn hold_to_proto(held: &Held) -> pb::Hold {
    pb::Hold { name: held.name.clone(), claim: Some(claim_to_proto(held.claim)), token: held.token.get() }
}

fn hold_from_proto(hold: pb::Hold) -> FormatResult<Held> {
    Ok(Held { claim: claim_from_proto(hold.claim)?, name: hold.name, token: Revision(hold.token) })
}

fn acquire_to_proto(acquire: &Acquire) -> pb::Object {
    pb::Object {
        kind: ACQUIRE,
        parts: acquire.parts.iter().map(part_to_proto).collect(),
        claim: Some(claim_to_proto(acquire.claim)),
        wait: acquire.wait,
        metadata: acquire.metadata.clone(),
        priority: acquire.priority,
        preempt: acquire.preempt,
        lock_delay_ms: acquire.lock_delay_ms,
        ..pb::Object::default()
    }
}

fn acquire_from_proto(op: pb::Object) -> FormatResult<Acquire> {
    Ok(Acquire {
        parts: op.parts.into_iter().map(part_from_proto).collect::<FormatResult<_>>()?,
        claim: claim_from_proto(op.claim)?,
        wait: op.wait,
        metadata: op.metadata,
        priority: op.priority,
        preempt: op.preempt,
        lock_delay_ms: op.lock_delay_ms,
    })
}

fn part_to_proto(part: &Part) -> pb::ObjectPart {
    let (kind, capacity) = match part.kind {
        ObjectKind::Mutex => (0, 0),
        ObjectKind::ReadWrite => (1, 0),
        ObjectKind::Semaphore { capacity } => (2, capacity),
        ObjectKind::Election => (3, 0),
    };
    let (mode, weight) = match part.mode {
        Mode::Exclusive => (0, 0),
        Mode::Shared => (1, 0),
        Mode::Weight(weight) => (2, weight),
    };
    pb::ObjectPart { name: part.name.clone(), kind, capacity, mode, weight }
}

fn part_from_proto(part: pb::ObjectPart) -> FormatResult<Part> {
    let kind = match part.kind {
        0 => ObjectKind::Mutex,
        1 => ObjectKind::ReadWrite,
        2 => ObjectKind::Semaphore { capacity: part.capacity },
        3 => ObjectKind::Election,
        4.. => return Err(FormatError::Unknown { what: "a kind of object", number: part.kind.into() }),
    };
    let mode = match part.mode {
        0 => Mode::Exclusive,
        1 => Mode::Shared,
        2 => Mode::Weight(part.weight),
        3.. => return Err(FormatError::Unknown { what: "a mode of holding", number: part.mode.into() }),
    };
    Ok(Part { name: part.name, kind, mode })
}
