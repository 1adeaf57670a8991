//! Who is granted next. The one place where the head of a queue becomes a holder.
//!
//! After any change that may let somebody in, the objects concerned are settled: while the head of a
//! queue fits, it is granted. A claim on several objects is granted when it is the head of all its
//! queues and fits everywhere; the others behind it in each of them are looked at then. So after each
//! transaction no head of any queue could be granted, which `check` proves: no wake-up is lost.

use crate::codec::damaged;
use crate::ids::Revision;
use crate::machine::scratch::Scratch;
use crate::object::place::{Place, Seat};
use crate::object::records::{self, record};
use crate::object::{Loss, ObjectEvent, ObjectKind};
use crate::view::View;
use bytes::Bytes;
use std::collections::BTreeSet;

/// Objects that somebody left in this transaction.
#[derive(Default)]
pub(super) struct Unsettled {
    names: BTreeSet<Bytes>,
    /// Those of them that lost a holder.
    bereft: BTreeSet<Bytes>,
}

impl Unsettled {
    /// A claim waits in this object's queue no longer, or its holders changed.
    pub(super) fn touch(&mut self, name: &Bytes) {
        self.names.insert(name.clone());
    }

    /// Takes a hold away.
    pub(super) fn lose(
        &mut self,
        work: &mut Scratch<'_>,
        name: &Bytes,
        place: &Place,
        loss: Loss,
        withheld_until_ms: u64,
    ) {
        let at = work.change();
        records::unhold(work, name, place);
        let (claim, token) = (place.claim, place.token);
        record(work, at, name, ObjectEvent::Lost { claim, token, loss, withheld_until_ms });
        self.touch(name);
        self.bereft.insert(name.clone());
    }

    /// Takes a claim out of the queue of one object.
    pub(super) fn leave(&mut self, work: &mut Scratch<'_>, name: &Bytes, place: &Place) {
        let at = work.change();
        records::unqueue(work, name, place);
        let Place { claim, ticket, priority, .. } = *place;
        record(work, at, name, ObjectEvent::Left { claim, ticket, priority });
        self.touch(name);
    }

    /// Grants all that can be granted now, and removes what is empty.
    pub(super) fn settle(self, work: &mut Scratch<'_>) {
        let mut open = self.names.clone();
        while let Some(name) = open.pop_first() {
            while let Some(place) = records::head(work, &name) {
                if !is_grantable(work, &name, &place) {
                    break;
                }
                grant(work, &name, place, &mut open);
            }
        }
        for name in &self.names {
            let Some(object) = records::object(work, name) else {
                continue;
            };
            if object.kind == ObjectKind::Election && object.holders == 0 && self.bereft.contains(name) {
                let at = work.change();
                record(work, at, name, ObjectEvent::Vacant);
            }
            if object.is_empty() {
                records::remove_object(work, name);
            }
        }
    }
}

/// Whether a claim at the head of this queue can be granted everywhere.
pub(super) fn is_grantable(view: &dyn View, name: &Bytes, place: &Place) -> bool {
    if place.together.is_empty() {
        return fits(view, name, place);
    }
    place.together.iter().all(|other| {
        // A lock's queue is in order of tickets alone.
        let head = records::head(view, other).filter(|head| head.ticket == place.ticket);
        head.is_some_and(|head| fits(view, other, &head))
    })
}

/// Whether the object has room for the place beside its holders.
pub(super) fn fits(view: &dyn View, name: &Bytes, place: &Place) -> bool {
    records::object(view, name).is_some_and(|object| object.fits(place.weight(object.kind)))
}

/// Grants a claim from the queue, in all its objects. Their queues are open for others then.
pub(super) fn grant(work: &mut Scratch<'_>, name: &Bytes, place: Place, open: &mut BTreeSet<Bytes>) {
    if place.together.is_empty() {
        grant_one(work, name, place);
        return;
    }
    for other in place.together.clone() {
        let seat = Seat::Waiting { priority: place.priority, ticket: place.ticket };
        let part = records::at(work, &other, seat);
        if part.claim != place.claim {
            damaged("place in an object", format_args!("{:?} waits for {other:?} in part only", place.claim));
        }
        grant_one(work, &other, part);
        open.insert(other);
    }
}

fn grant_one(work: &mut Scratch<'_>, name: &Bytes, place: Place) {
    let at = work.change();
    records::unqueue(work, name, &place);
    admit(work, at, name, place);
}

/// Makes a place that is in no queue a holder. The transaction's revision is its token.
pub(super) fn admit(work: &mut Scratch<'_>, at: (Revision, u32), name: &Bytes, mut place: Place) {
    place.token = at.0;
    #[cfg(feature = "plant")]
    if crate::plant::is("token_is_ticket") {
        place.token = place.ticket;
    }
    place.granted_ms = work.stamp_ms();
    records::hold(work, name, &place);
    let Place { claim, ticket, priority, mode, metadata, .. } = place;
    record(work, at, name, ObjectEvent::Granted { claim, ticket, priority, mode, metadata });
}
