//! Asking for locks and for the lead.

use crate::command::Rejection;
use crate::ids::Revision;
use crate::limits::{ACQUIRE_PARTS_MAX, CAPACITY_MAX, LOCK_DELAY_MS_MAX, METADATA_BYTES_MAX, WAITERS_MAX};
use crate::machine::scratch::Scratch;
use crate::object::execute::demand_name;
use crate::object::place::{Object, Place, Seat};
use crate::object::records::{self, record};
use crate::object::settle::{self, Unsettled};
use crate::object::{
    Acquire, Claim, Fault, Loss, Mode, ObjectError, ObjectEvent, ObjectKind, ObjectReply, Part,
};
use crate::view::View;
use bytes::Bytes;

/// Grants the claim all that it asks for, or puts it into all queues, or refuses.
pub(super) fn acquire(work: &mut Scratch<'_>, acquire: &Acquire) -> Result<ObjectReply, Rejection> {
    let parts = well_formed(acquire).map_err(ObjectError::from)?;
    if let Some(reply) = standing(work, acquire.claim, &parts)? {
        return Ok(reply);
    }
    let session = acquire.claim.session;
    if !work.session_exists(session) {
        return Err(Rejection::SessionNotFound { session });
    }
    let mut blocked = None;
    for part in &parts {
        let object = existing(work, part)?;
        let weight = part.kind.weight(part.mode);
        let is_free = object
            .is_none_or(|object| object.waiters == 0 && weight.is_some_and(|weight| object.fits(weight)));
        #[cfg(feature = "plant")]
        let is_free = is_free || super::plant::is_free(object.as_ref(), weight);
        if !is_free && blocked.is_none() {
            blocked = Some(part.name.clone());
        }
    }
    match blocked {
        None => Ok(grant(work, acquire, &parts)),
        Some(_) if acquire.preempt && leads_below(work, acquire.priority, &parts) => {
            preempt(work, acquire, &parts)
        }
        Some(name) if !acquire.wait => Err(ObjectError::Busy { name }.into()),
        Some(_) => queue(work, acquire, &parts),
    }
}

/// The parts in order of name.
fn well_formed(acquire: &Acquire) -> Result<Vec<&Part>, Fault> {
    let Acquire { parts, metadata, lock_delay_ms, priority, preempt, .. } = acquire;
    if parts.is_empty() || parts.len() > ACQUIRE_PARTS_MAX {
        return Err(Fault::Count);
    }
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(Fault::Metadata);
    }
    if *lock_delay_ms > LOCK_DELAY_MS_MAX {
        return Err(Fault::LockDelay);
    }
    for part in parts {
        demand_name(&part.name)?;
        demand_mode(part)?;
        match part.kind {
            ObjectKind::Election if parts.len() > 1 => return Err(Fault::ElectionAmongSeveral),
            ObjectKind::Election => {}
            ObjectKind::Mutex | ObjectKind::ReadWrite | ObjectKind::Semaphore { .. } => {
                if *priority > 0 || *preempt {
                    return Err(Fault::Priority);
                }
            }
        }
    }
    let mut sorted: Vec<&Part> = parts.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    if sorted.windows(2).any(|pair| pair[0].name == pair[1].name) {
        return Err(Fault::NamedTwice);
    }
    Ok(sorted)
}

fn demand_mode(part: &Part) -> Result<(), Fault> {
    if let ObjectKind::Semaphore { capacity } = part.kind
        && !(1..=CAPACITY_MAX).contains(&capacity)
    {
        return Err(Fault::Capacity);
    }
    match part.kind.weight(part.mode) {
        None => Err(Fault::Mode),
        Some(weight) if weight == 0 || weight > part.kind.capacity() => Err(Fault::Weight),
        Some(_) => Ok(()),
    }
}

/// The reply to a claim that asked before. `None` if it has no place in any of the objects.
fn standing(view: &dyn View, claim: Claim, parts: &[&Part]) -> Result<Option<ObjectReply>, ObjectError> {
    let seats: Vec<Option<Seat>> = parts.iter().map(|part| records::seat(view, &part.name, claim)).collect();
    if seats.iter().all(Option::is_none) {
        return Ok(None);
    }
    let together = together(parts);
    let mut ahead = Vec::new();
    let mut found = None;
    for (part, seat) in parts.iter().zip(seats) {
        let in_use = || ObjectError::ClaimInUse { name: part.name.clone(), claim };
        let seat = seat.ok_or_else(in_use)?;
        let place = records::at(view, &part.name, seat);
        let is_same = place.together == together && (place.mode == part.mode || is_read_write(part));
        let kind = records::object(view, &part.name).map(|object| object.kind);
        if !is_same || kind != Some(part.kind) || found.is_some_and(|found| found != seat) {
            return Err(in_use());
        }
        found = Some(seat);
        if let Seat::Waiting { priority, ticket } = seat {
            ahead.push((part.name.clone(), records::ahead(view, &part.name, priority, ticket)));
        }
    }
    Ok(found.map(|seat| match seat {
        Seat::Holding { token, .. } => ObjectReply::Granted { token },
        Seat::Waiting { ticket, .. } => ObjectReply::Queued { ticket, ahead },
    }))
}

/// A holder may have been up- or downgraded since it asked.
fn is_read_write(part: &Part) -> bool {
    part.kind == ObjectKind::ReadWrite
}

/// The object that a part names, which must be what the part says, if it exists.
fn existing(view: &dyn View, part: &Part) -> Result<Option<Object>, ObjectError> {
    let object = records::object(view, &part.name);
    match object {
        Some(Object { kind, .. }) if kind != part.kind => {
            Err(ObjectError::Mismatch { name: part.name.clone(), exists: kind, asked: part.kind })
        }
        Some(_) | None => Ok(object),
    }
}

/// The names, if there are several.
fn together(parts: &[&Part]) -> Vec<Bytes> {
    match parts {
        [_] => Vec::new(),
        several => several.iter().map(|part| part.name.clone()).collect(),
    }
}

/// The claim's place in one of its objects, in nothing's queue yet.
fn place(work: &Scratch<'_>, acquire: &Acquire, mode: Mode, ticket: Revision, together: &[Bytes]) -> Place {
    Place {
        claim: acquire.claim,
        mode,
        priority: acquire.priority,
        ticket,
        since_ms: work.stamp_ms(),
        lock_delay_ms: acquire.lock_delay_ms,
        token: Revision(0),
        granted_ms: 0,
        until_ms: 0,
        together: together.to_vec(),
        metadata: acquire.metadata.clone(),
    }
}

fn create_missing(work: &mut Scratch<'_>, part: &Part, revision: Revision) {
    if records::object(work, &part.name).is_none() {
        records::put_object(work, &part.name, &Object::new(part.kind, revision));
    }
}

fn grant(work: &mut Scratch<'_>, acquire: &Acquire, parts: &[&Part]) -> ObjectReply {
    let together = together(parts);
    let mut token = Revision(0);
    for part in parts {
        let at = work.change();
        token = at.0;
        create_missing(work, part, token);
        let place = place(work, acquire, part.mode, token, &together);
        settle::admit(work, at, &part.name, place);
    }
    ObjectReply::Granted { token }
}

fn queue(work: &mut Scratch<'_>, acquire: &Acquire, parts: &[&Part]) -> Result<ObjectReply, Rejection> {
    let together = together(parts);
    let mut own_ticket = Revision(0);
    let mut ahead = Vec::with_capacity(parts.len());
    for part in parts {
        let name = &part.name;
        let at @ (ticket, _) = work.change();
        own_ticket = ticket;
        create_missing(work, part, ticket);
        let waiters = records::object(work, name).map_or(0, |object| object.waiters);
        if waiters >= WAITERS_MAX {
            return Err(ObjectError::QueueFull { name: name.clone() }.into());
        }
        let place = place(work, acquire, part.mode, ticket, &together);
        // The newest of the lowest priority is the last; whoever ranks higher has to be counted.
        let before =
            if place.priority == 0 { waiters } else { records::ahead(work, name, place.priority, ticket) };
        ahead.push((name.clone(), before));
        records::enqueue(work, name, &place);
        let Place { claim, priority, .. } = place;
        record(work, at, name, ObjectEvent::Queued { claim, ticket, priority });
    }
    Ok(ObjectReply::Queued { ticket: own_ticket, ahead })
}

/// Whether the election has a leader of lower priority.
fn leads_below(view: &dyn View, priority: u32, parts: &[&Part]) -> bool {
    let name = &parts[0].name;
    let leader = records::first(view, &super::layout::holders(name));
    leader.is_some_and(|leader| leader.priority < priority)
}

/// Sends the leader back to its place in the queue; the best of all candidates leads then.
fn preempt(work: &mut Scratch<'_>, acquire: &Acquire, parts: &[&Part]) -> Result<ObjectReply, Rejection> {
    let name = &parts[0].name;
    queue(work, acquire, parts)?;
    let Some(leader) = records::first(work, &super::layout::holders(name)) else {
        return Err(ObjectError::NotFound { name: name.clone() }.into());
    };
    let mut unsettled = Unsettled::default();
    unsettled.lose(work, name, &leader, Loss::Preempted, 0);
    stand_again(work, name, leader);
    unsettled.settle(work);
    match standing(work, acquire.claim, parts)? {
        Some(ObjectReply::Queued { .. }) | None if !acquire.wait => {
            Err(ObjectError::Busy { name: name.clone() }.into())
        }
        Some(reply) => Ok(reply),
        None => Err(ObjectError::NotWaiting { name: name.clone(), claim: acquire.claim }.into()),
    }
}

/// Puts a former leader into the queue.
pub(super) fn stand_again(work: &mut Scratch<'_>, name: &Bytes, mut place: Place) {
    let at = work.change();
    place.token = Revision(0);
    place.granted_ms = 0;
    records::enqueue(work, name, &place);
    let Place { claim, ticket, priority, .. } = place;
    record(work, at, name, ObjectEvent::Queued { claim, ticket, priority });
}
