//! Reading and writing the records of objects. Whoever changes one keeps the others in step here:
//! the object's numbers, the claim's seat, and what is attached to the session.

use crate::codec::damaged;
use crate::event::{EventKind, Keyspace};
use crate::ids::Revision;
use crate::machine::scratch::Scratch;
use crate::object::place::{Object, Place, Seat};
use crate::object::{Claim, ObjectEvent, layout};
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

/// An object, if it exists.
pub(super) fn object(view: &dyn View, name: &[u8]) -> Option<Object> {
    view.get(&layout::object(name)).map(|record| Object::decode(&record))
}

/// Where a claim's place is, if it has one.
pub(super) fn seat(view: &dyn View, name: &[u8], claim: Claim) -> Option<Seat> {
    view.get(&layout::seat(name, claim)).map(|record| Seat::decode(&record))
}

/// The place at a seat.
pub(super) fn at(view: &dyn View, name: &[u8], seat: Seat) -> Place {
    let key = match seat {
        Seat::Waiting { priority, ticket } => layout::queued(name, priority, ticket),
        Seat::Holding { token, ticket } => layout::holder(name, token, ticket),
    };
    match view.get(&key) {
        Some(record) => Place::decode(&record),
        None => damaged("seat in an object", format_args!("nothing is at {seat:?} of {name:?}")),
    }
}

/// The head of the queue.
pub(super) fn head(view: &dyn View, name: &[u8]) -> Option<Place> {
    first(view, &layout::queue(name))
}

/// The first place of a span.
pub(super) fn first(view: &dyn View, span: &layout::Span) -> Option<Place> {
    let mut found = None;
    view.scan(&span.0, &span.1, false, &mut |_, record| {
        found = Some(Place::decode(record));
        ControlFlow::Break(())
    });
    found
}

/// How many wait before this place of the queue.
pub(super) fn ahead(view: &dyn View, name: &[u8], priority: u32, ticket: Revision) -> u64 {
    let (mut count, (from, _)) = (0, layout::queue(name));
    view.scan(&from, &layout::queued(name, priority, ticket), false, &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    });
    count
}

/// Changes the numbers of an existing object.
fn renumber(work: &mut Scratch<'_>, name: &[u8], change: impl FnOnce(&mut Object)) {
    let key = layout::object(name);
    let stored = work.get(&key);
    let Some(mut object) = stored.as_ref().map(Object::decode) else {
        damaged("object", format_args!("{name:?} has places but does not exist"));
    };
    change(&mut object);
    work.replace(key, stored, Some(object.encode()));
}

/// Creates an object, or replaces its record.
pub(super) fn put_object(work: &mut Scratch<'_>, name: &[u8], object: &Object) {
    work.put(layout::object(name), object.encode());
}

/// Removes an object, which must be empty.
pub(super) fn remove_object(work: &mut Scratch<'_>, name: &[u8]) {
    work.delete(layout::object(name));
}

/// Puts a place into the queue.
pub(super) fn enqueue(work: &mut Scratch<'_>, name: &[u8], place: &Place) {
    work.put(layout::queued(name, place.priority, place.ticket), place.encode());
    sit(work, name, place);
    renumber(work, name, |object| object.waiters += 1);
}

/// Takes a place out of the queue.
pub(super) fn unqueue(work: &mut Scratch<'_>, name: &[u8], place: &Place) {
    work.delete(layout::queued(name, place.priority, place.ticket));
    rise(work, name, place.claim);
    renumber(work, name, |object| object.waiters -= 1);
}

/// Puts a place among the holders.
pub(super) fn hold(work: &mut Scratch<'_>, name: &[u8], place: &Place) {
    work.put(layout::holder(name, place.token, place.ticket), place.encode());
    sit(work, name, place);
    renumber(work, name, |object| {
        object.holders += 1;
        object.used += place.weight(object.kind);
    });
}

/// Takes a place from the holders.
pub(super) fn unhold(work: &mut Scratch<'_>, name: &[u8], place: &Place) {
    work.delete(layout::holder(name, place.token, place.ticket));
    rise(work, name, place.claim);
    renumber(work, name, |object| {
        object.holders -= 1;
        object.used -= place.weight(object.kind);
    });
}

/// Replaces a hold's record where neither token nor weight change.
pub(super) fn rewrite(work: &mut Scratch<'_>, name: &[u8], place: &Place) {
    work.put(layout::holder(name, place.token, place.ticket), place.encode());
}

/// Withholds what a place held. It is no claim any more.
pub(super) fn withhold(work: &mut Scratch<'_>, name: &[u8], place: &Place) {
    work.put(layout::withheld(name, place.ticket), place.encode());
    work.put(layout::due(place.until_ms, place.ticket, name), Bytes::new());
    renumber(work, name, |object| {
        object.withheld += 1;
        object.used += place.weight(object.kind);
    });
}

/// Lets go of what was withheld. `None` if there is no such hold.
pub(super) fn let_go(work: &mut Scratch<'_>, name: &[u8], ticket: Revision) -> Option<Place> {
    let key = layout::withheld(name, ticket);
    let stored = work.get(&key)?;
    let place = Place::decode(&stored);
    work.replace(key, Some(stored), None);
    work.delete(layout::due(place.until_ms, ticket, name));
    renumber(work, name, |object| {
        object.withheld -= 1;
        object.used -= place.weight(object.kind);
    });
    Some(place)
}

fn sit(work: &mut Scratch<'_>, name: &[u8], place: &Place) {
    work.put(layout::seat(name, place.claim), place.seat().encode());
    work.attach(place.claim.session, Keyspace::Object, name);
}

fn rise(work: &mut Scratch<'_>, name: &[u8], claim: Claim) {
    work.delete(layout::seat(name, claim));
    if seats(work, name, claim, 1).is_empty() {
        work.detach(claim.session, Keyspace::Object, name);
    }
}

/// At most `limit` seats of a claim's session, by request.
pub(super) fn seats(view: &dyn View, name: &[u8], claim: Claim, limit: usize) -> Vec<(Claim, Seat)> {
    let (from, to) = layout::seats(name, claim.session);
    let mut found = Vec::new();
    view.scan(&from, &to, false, &mut |key, record| {
        let Some((_, claim)) = layout::parse_seat(key) else {
            damaged("seat in an object", "its key cannot be read");
        };
        found.push((claim, Seat::decode(record)));
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found
}

/// Makes the event of a position in the transaction.
pub(super) fn record(work: &mut Scratch<'_>, at: (Revision, u32), name: &Bytes, event: ObjectEvent) {
    work.record(at, Keyspace::Object, name.clone(), EventKind::Object(event), None);
}
