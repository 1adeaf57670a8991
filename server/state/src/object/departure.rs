//! Leaving without having been asked: sessions that end, and delays that run out.

use crate::codec::damaged;
use crate::event::Cause;
use crate::ids::{Revision, SessionId};
use crate::limits::ELAPSED_PER_ENTRY_MAX;
use crate::machine::scratch::Scratch;
use crate::object::place::{Place, Seat};
use crate::object::records::{self, record};
use crate::object::settle::Unsettled;
use crate::object::{Claim, Loss, ObjectEvent, layout};
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

/// Takes a claim out of its queue, and out of all others where it waits under the same ticket.
pub(super) fn leave_queues(work: &mut Scratch<'_>, name: &Bytes, place: &Place, unsettled: &mut Unsettled) {
    if place.together.is_empty() {
        unsettled.leave(work, name, place);
        return;
    }
    for other in &place.together {
        let seat = Seat::Waiting { priority: place.priority, ticket: place.ticket };
        let part = records::at(work, other, seat);
        unsettled.leave(work, other, &part);
    }
}

/// Gives up everything that a session has in these objects, and grants to others what they wait for.
/// In the scratch's open transaction, whose cause is the reason of the end.
pub(crate) fn end_session(work: &mut Scratch<'_>, session: SessionId, names: &[Bytes], cause: Cause) {
    let mut unsettled = Unsettled::default();
    for name in names {
        let any = Claim { session, request: 0 };
        for (_, seat) in records::seats(work, name, any, usize::MAX) {
            let place = records::at(work, name, seat);
            #[cfg(feature = "plant")]
            if crate::plant::is("keep_dead_waiters") && matches!(seat, Seat::Waiting { .. }) {
                continue;
            }
            match seat {
                // Its places in other queues are among the names, too.
                Seat::Waiting { .. } => unsettled.leave(work, name, &place),
                Seat::Holding { .. } => lose(work, name, place, cause, &mut unsettled),
            }
        }
    }
    #[cfg(feature = "plant")]
    if crate::plant::is("forget_to_settle") {
        return;
    }
    unsettled.settle(work);
}

fn lose(work: &mut Scratch<'_>, name: &Bytes, place: Place, cause: Cause, unsettled: &mut Unsettled) {
    #[cfg(feature = "plant")]
    let place = super::plant::without_delay(place);
    let loss = match cause {
        Cause::Expired | Cause::TimedOut => Loss::Expired,
        Cause::Closed | Cause::Request => Loss::Closed,
        Cause::Admin => Loss::Revoked,
    };
    if loss != Loss::Expired || place.lock_delay_ms == 0 {
        unsettled.lose(work, name, &place, loss, 0);
        return;
    }
    let until_ms = work.stamp_ms().saturating_add(place.lock_delay_ms);
    unsettled.lose(work, name, &place, loss, until_ms);
    records::withhold(work, name, &Place { until_ms, ..place });
}

/// Lets go of what is due at the entry's stamp, the earliest first.
pub(super) fn elapse(work: &mut Scratch<'_>) {
    let now_ms = work.stamp_ms();
    let mut unsettled = Unsettled::default();
    work.set_cause(Cause::TimedOut);
    for (_, ticket, name) in due(work, now_ms, ELAPSED_PER_ENTRY_MAX) {
        let at = work.change();
        let Some(place) = records::let_go(work, &name, ticket) else {
            damaged("withheld hold", format_args!("a note speaks of {name:?}, which has none"));
        };
        record(work, at, &name, ObjectEvent::Elapsed { claim: place.claim, ticket });
        unsettled.touch(&name);
    }
    unsettled.settle(work);
}

/// At most `limit` withheld holds that are due: time, ticket and object.
pub(super) fn due(view: &dyn View, now_ms: u64, limit: usize) -> Vec<(u64, Revision, Bytes)> {
    let (from, to) = layout::DUE_SPAN;
    let mut found = Vec::new();
    view.scan(from, to, false, &mut |key, _| {
        let Some(note @ (until_ms, _, _)) = layout::parse_due(key) else {
            damaged("withheld hold", "its note cannot be read");
        };
        if until_ms > now_ms || found.len() >= limit {
            return ControlFlow::Break(());
        }
        found.push(note);
        ControlFlow::Continue(())
    });
    found
}
