//! Proves that the records of objects agree with each other. A scan of everything, for tests and
//! inspection.

use crate::event::Keyspace;
use crate::ids::{Revision, SessionId};
use crate::keys::{self, Space};
use crate::limits::HOLDERS_MAX;
use crate::object::place::{Object, Place, Seat};
use crate::object::{layout, records, settle};
use crate::view::View;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// What was counted in the places of an object.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    used: u64,
    holders: u64,
    withheld: u64,
    waiters: u64,
}

/// Names the first disagreement: an object whose numbers are not those of its places or above its
/// capacity, an empty one, a claim without a seat or a seat without its place, a place whose session
/// is gone or does not know it, a note without its hold, a head of a queue that could be granted.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let mut counts: BTreeMap<Bytes, Count> = BTreeMap::new();
    for (key, record) in records_of(view, b"oh", b"oi") {
        let (name, place) = named(&key, &record)?;
        let is_there = key == layout::holder(&name, place.token, place.ticket);
        ensure(is_there && place.token > Revision(0) && place.until_ms == 0, || {
            format!("holder {place:?} of {name:?} lies at {key:?}")
        })?;
        seated(view, &name, &place)?;
        let count = counts.entry(name.clone()).or_default();
        count.holders += 1;
        count.used += weight(view, &name, &place)?;
    }
    for (key, record) in records_of(view, b"oq", b"or") {
        let (name, place) = named(&key, &record)?;
        let is_there = key == layout::queued(&name, place.priority, place.ticket);
        ensure(is_there && place.token == Revision(0), || {
            format!("waiter {place:?} of {name:?} lies at {key:?}")
        })?;
        seated(view, &name, &place)?;
        together(view, &name, &place)?;
        counts.entry(name).or_default().waiters += 1;
    }
    for (key, record) in records_of(view, b"og", b"oh") {
        let (name, place) = named(&key, &record)?;
        ensure(view.get(&layout::due(place.until_ms, place.ticket, &name)).is_some(), || {
            format!("withheld {place:?} of {name:?} is never due")
        })?;
        let count = counts.entry(name.clone()).or_default();
        count.withheld += 1;
        count.used += weight(view, &name, &place)?;
    }
    objects(view, &counts)?;
    seats(view)?;
    notes(view)?;
    attached(view)
}

fn ensure(holds: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}

fn records_of(view: &dyn View, from: &[u8], to: &[u8]) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    view.scan(from, to, false, &mut |key, record| {
        found.push((Bytes::copy_from_slice(key), record.clone()));
        ControlFlow::Continue(())
    });
    found
}

fn named(key: &Bytes, record: &Bytes) -> Result<(Bytes, Place), String> {
    let name = layout::parse_name(key).ok_or_else(|| format!("place {key:?} has no name"))?;
    Ok((name, Place::decode(record)))
}

fn weight(view: &dyn View, name: &Bytes, place: &Place) -> Result<u64, String> {
    let object = records::object(view, name).ok_or_else(|| format!("{name:?} has places only"))?;
    object.kind.weight(place.mode).ok_or_else(|| format!("{name:?} is held as {:?}", place.mode))
}

/// The claim's seat is here, and its session knows.
fn seated(view: &dyn View, name: &Bytes, place: &Place) -> Result<(), String> {
    let (seat, session) = (records::seat(view, name, place.claim), place.claim.session);
    ensure(seat == Some(place.seat()), || format!("{place:?} of {name:?} has the seat {seat:?}"))?;
    ensure(view.get(&keys::session(session)).is_some(), || {
        format!("{place:?} of {name:?} outlived its session")
    })?;
    ensure(view.get(&keys::attached(session, Keyspace::Object, name)).is_some(), || {
        format!("{name:?} is not attached to session {session}")
    })
}

/// A claim that waits for several objects waits in all their queues under one ticket.
fn together(view: &dyn View, name: &Bytes, place: &Place) -> Result<(), String> {
    let others = &place.together;
    ensure(others.is_empty() || others.contains(name), || format!("{place:?} does not name {name:?}"))?;
    for other in others {
        let seat = records::seat(view, other, place.claim);
        ensure(seat == Some(place.seat()), || {
            format!("{place:?} of {name:?} has the seat {seat:?} in {other:?}")
        })?;
    }
    Ok(())
}

fn objects(view: &dyn View, counts: &BTreeMap<Bytes, Count>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (key, record) in records_of(view, b"on", b"oo") {
        let name = layout::parse_object(&key).unwrap_or_default();
        let object = Object::decode(&record);
        let Object { used, holders, withheld, waiters, .. } = object;
        let told = Count { used, holders, withheld, waiters };
        ensure(counts.get(&name) == Some(&told), || {
            format!("{name:?} says {told:?}, and has {:?}", counts.get(&name))
        })?;
        ensure(used <= object.kind.capacity() && holders + withheld <= HOLDERS_MAX, || {
            format!("{name:?} is held beyond its capacity: {object:?}")
        })?;
        if let Some(head) = records::head(view, &name) {
            ensure(!settle::is_grantable(view, &name, &head), || {
                format!("{name:?} could be granted to {head:?}, which waits")
            })?;
        }
        seen.insert(name);
    }
    match counts.keys().find(|name| !seen.contains(*name)) {
        None => Ok(()),
        Some(name) => Err(format!("{name:?} has places but does not exist")),
    }
}

fn seats(view: &dyn View) -> Result<(), String> {
    for (key, record) in records_of(view, b"oc", b"od") {
        let (name, claim) = layout::parse_seat(&key).ok_or_else(|| format!("seat {key:?} is unreadable"))?;
        let at = match Seat::decode(&record) {
            Seat::Waiting { priority, ticket } => layout::queued(&name, priority, ticket),
            Seat::Holding { token, ticket } => layout::holder(&name, token, ticket),
        };
        let place = view.get(&at).map(|record| Place::decode(&record));
        ensure(place.as_ref().is_some_and(|place| place.claim == claim), || {
            format!("the seat of {claim} in {name:?} leads to {place:?}")
        })?;
    }
    Ok(())
}

fn notes(view: &dyn View) -> Result<(), String> {
    let (from, to) = layout::DUE_SPAN;
    for (key, _) in records_of(view, from, to) {
        let (until_ms, ticket, name) =
            layout::parse_due(&key).ok_or_else(|| format!("note {key:?} is unreadable"))?;
        let place = view.get(&layout::withheld(&name, ticket)).map(|record| Place::decode(&record));
        ensure(place.as_ref().is_some_and(|place| place.until_ms == until_ms), || {
            format!("a note for {until_ms} ms speaks of {place:?} in {name:?}")
        })?;
    }
    Ok(())
}

/// What is attached to a session is there: the session has a seat in it.
fn attached(view: &dyn View) -> Result<(), String> {
    for (key, _) in records_of(view, &Space::Attached.start(), &Space::Attached.end()) {
        let Some((session, Keyspace::Object, name)) = keys::parse_attached(&key) else {
            continue;
        };
        ensure(has_seat(view, &name, session), || {
            format!("{name:?} is attached to session {session}, which has no place in it")
        })?;
    }
    Ok(())
}

/// Whether a session has a place in an object.
fn has_seat(view: &dyn View, name: &Bytes, session: SessionId) -> bool {
    let (from, to) = layout::seats(name, session);
    !records_of(view, &from, &to).is_empty()
}
