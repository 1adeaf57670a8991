//! Executes operations, each in the scratch's open transaction.
//!
//! A refusal may leave changes behind in the scratch: whoever calls undoes the whole proposal.

use crate::command::Rejection;
use crate::event::Cause;
use crate::ids::Revision;
use crate::limits::{
    ACQUIRE_PARTS_MAX, LOCK_DELAY_MS_MAX, METADATA_BYTES_MAX, OBJECT_NAME_BYTES_MAX, OBJECT_TEXT_BYTES_MAX,
};
use crate::machine::scratch::Scratch;
use crate::object::acquire::{acquire, stand_again};
use crate::object::departure::{elapse, leave_queues};
use crate::object::place::{Place, Seat};
use crate::object::records::{self, record};
use crate::object::settle::{self, Unsettled};
use crate::object::{
    Claim, Fault, Held, Loss, Mode, ObjectError, ObjectEvent, ObjectKind, ObjectOp, ObjectReply,
};
use crate::view::View;
use bytes::Bytes;
use std::collections::BTreeSet;

/// Executes one operation.
pub(crate) fn execute(work: &mut Scratch<'_>, op: &ObjectOp) -> Result<ObjectReply, Rejection> {
    let reply = match op {
        ObjectOp::Acquire(request) => return acquire(work, request),
        ObjectOp::Release { holds } => release(work, holds),
        ObjectOp::Cancel { name, claim } => cancel(work, name, *claim),
        ObjectOp::Downgrade(held) => downgrade(work, held),
        ObjectOp::Upgrade(held) => upgrade(work, held),
        ObjectOp::RequestRevocation { name, by, reason } => request_revocation(work, name, by, reason),
        ObjectOp::Revoke { name, claim } => revoke(work, name, *claim),
        ObjectOp::SetLockDelay { held, lock_delay_ms } => set_lock_delay(work, held, *lock_delay_ms),
        ObjectOp::Proclaim { held, metadata } => proclaim(work, held, metadata),
        ObjectOp::Handoff { held, to } => handoff(work, held, *to),
        ObjectOp::Elapse => {
            elapse(work);
            Ok(ObjectReply::Done)
        }
    };
    Ok(reply?)
}

/// Refuses an impossible name.
pub(super) fn demand_name(name: &[u8]) -> Result<(), Fault> {
    if name.is_empty() || name.len() > OBJECT_NAME_BYTES_MAX || name.contains(&0) {
        return Err(Fault::Name);
    }
    Ok(())
}

/// The place of a hold. Refused unless the claim has it under this token.
fn held(view: &dyn View, held: &Held) -> Result<Place, ObjectError> {
    let Held { name, claim, token } = held;
    demand_name(name)?;
    match records::seat(view, name, *claim) {
        Some(seat @ Seat::Holding { token: current, .. }) if current == *token => {
            Ok(records::at(view, name, seat))
        }
        Some(_) | None => Err(ObjectError::NotHeld { name: name.clone(), claim: *claim, token: *token }),
    }
}

fn kind(view: &dyn View, name: &Bytes) -> Result<ObjectKind, ObjectError> {
    let object = records::object(view, name).ok_or_else(|| ObjectError::NotFound { name: name.clone() })?;
    Ok(object.kind)
}

fn demand_kind(view: &dyn View, name: &Bytes, wanted: ObjectKind) -> Result<(), ObjectError> {
    let kind = kind(view, name)?;
    if kind == wanted { Ok(()) } else { Err(ObjectError::WrongKind { name: name.clone(), kind }) }
}

fn release(work: &mut Scratch<'_>, holds: &[Held]) -> Result<ObjectReply, ObjectError> {
    if holds.is_empty() || holds.len() > ACQUIRE_PARTS_MAX {
        return Err(Fault::Count.into());
    }
    let mut unsettled = Unsettled::default();
    for hold in holds {
        // A hold that is named twice is gone the second time.
        let place = held(work, hold)?;
        unsettled.lose(work, &hold.name, &place, Loss::Released, 0);
    }
    unsettled.settle(work);
    Ok(ObjectReply::Done)
}

fn cancel(work: &mut Scratch<'_>, name: &Bytes, claim: Claim) -> Result<ObjectReply, ObjectError> {
    demand_name(name)?;
    match records::seat(work, name, claim) {
        Some(seat @ Seat::Waiting { .. }) => {
            let place = records::at(work, name, seat);
            let mut unsettled = Unsettled::default();
            leave_queues(work, name, &place, &mut unsettled);
            unsettled.settle(work);
            Ok(ObjectReply::Done)
        }
        Some(Seat::Holding { token, .. }) => {
            Err(ObjectError::AlreadyGranted { name: name.clone(), claim, token })
        }
        None => Err(ObjectError::NotWaiting { name: name.clone(), claim }),
    }
}

/// Replaces a hold by one of another mode and token.
fn change_mode(work: &mut Scratch<'_>, name: &Bytes, old: &Place, mode: Mode, keep_token: bool) -> Revision {
    let at = work.change();
    records::unhold(work, name, old);
    let token = if keep_token { old.token } else { at.0 };
    records::hold(work, name, &Place { mode, token, ..old.clone() });
    record(work, at, name, ObjectEvent::Changed { claim: old.claim, token, mode });
    token
}

fn downgrade(work: &mut Scratch<'_>, hold: &Held) -> Result<ObjectReply, ObjectError> {
    let place = held(work, hold)?;
    demand_kind(work, &hold.name, ObjectKind::ReadWrite)?;
    if place.mode == Mode::Exclusive {
        change_mode(work, &hold.name, &place, Mode::Shared, true);
        let mut unsettled = Unsettled::default();
        unsettled.touch(&hold.name);
        unsettled.settle(work);
    }
    Ok(ObjectReply::Granted { token: place.token })
}

fn upgrade(work: &mut Scratch<'_>, hold: &Held) -> Result<ObjectReply, ObjectError> {
    let place = held(work, hold)?;
    demand_kind(work, &hold.name, ObjectKind::ReadWrite)?;
    if place.mode == Mode::Exclusive {
        return Ok(ObjectReply::Granted { token: place.token });
    }
    let alone = records::object(work, &hold.name).is_some_and(|object| object.used == 1);
    if !alone {
        return Err(ObjectError::Shared { name: hold.name.clone() });
    }
    let token = change_mode(work, &hold.name, &place, Mode::Exclusive, false);
    Ok(ObjectReply::Granted { token })
}

fn request_revocation(
    work: &mut Scratch<'_>,
    name: &Bytes,
    by: &str,
    reason: &str,
) -> Result<ObjectReply, ObjectError> {
    demand_name(name)?;
    if by.len().max(reason.len()) > OBJECT_TEXT_BYTES_MAX {
        return Err(Fault::Text.into());
    }
    let is_held = records::object(work, name).is_some_and(|object| object.holders > 0);
    if !is_held {
        return Err(ObjectError::NotFound { name: name.clone() });
    }
    let at = work.change();
    let (by, reason) = (by.to_owned(), reason.to_owned());
    record(work, at, name, ObjectEvent::RevocationRequested { by, reason });
    Ok(ObjectReply::Done)
}

fn revoke(work: &mut Scratch<'_>, name: &Bytes, claim: Claim) -> Result<ObjectReply, ObjectError> {
    demand_name(name)?;
    let Some(seat) = records::seat(work, name, claim) else {
        return Err(ObjectError::NotWaiting { name: name.clone(), claim });
    };
    let place = records::at(work, name, seat);
    let mut unsettled = Unsettled::default();
    work.set_cause(Cause::Admin);
    match seat {
        Seat::Waiting { .. } => leave_queues(work, name, &place, &mut unsettled),
        Seat::Holding { .. } => unsettled.lose(work, name, &place, Loss::Revoked, 0),
    }
    unsettled.settle(work);
    Ok(ObjectReply::Done)
}

fn set_lock_delay(
    work: &mut Scratch<'_>,
    hold: &Held,
    lock_delay_ms: u64,
) -> Result<ObjectReply, ObjectError> {
    if lock_delay_ms > LOCK_DELAY_MS_MAX {
        return Err(Fault::LockDelay.into());
    }
    let place = held(work, hold)?;
    if place.lock_delay_ms != lock_delay_ms {
        work.change_silently();
        records::rewrite(work, &hold.name, &Place { lock_delay_ms, ..place });
    }
    Ok(ObjectReply::Done)
}

fn proclaim(work: &mut Scratch<'_>, hold: &Held, metadata: &Bytes) -> Result<ObjectReply, ObjectError> {
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(Fault::Metadata.into());
    }
    let place = held(work, hold)?;
    let at = work.change();
    let (claim, token) = (place.claim, place.token);
    let metadata = metadata.clone();
    records::rewrite(work, &hold.name, &Place { metadata: metadata.clone(), ..place });
    record(work, at, &hold.name, ObjectEvent::Proclaimed { claim, token, metadata });
    Ok(ObjectReply::Done)
}

fn handoff(work: &mut Scratch<'_>, hold: &Held, to: Claim) -> Result<ObjectReply, ObjectError> {
    let name = &hold.name;
    let leader = held(work, hold)?;
    demand_kind(work, name, ObjectKind::Election)?;
    let Some(seat @ Seat::Waiting { .. }) = records::seat(work, name, to) else {
        return Err(ObjectError::NotCandidate { name: name.clone(), claim: to });
    };
    let successor = records::at(work, name, seat);
    let mut unsettled = Unsettled::default();
    unsettled.lose(work, name, &leader, Loss::HandedOff, 0);
    settle::grant(work, name, successor, &mut BTreeSet::new());
    let ticket = work.revision();
    stand_again(work, name, Place { ticket, ..leader });
    unsettled.settle(work);
    Ok(ObjectReply::Done)
}
