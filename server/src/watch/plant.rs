//! Deliberate bugs; see `oarlock_state::plant`.

use oarlock_state::plant::is;
use oarlock_state::{Event, Revision};

/// `watch_drops_event`: a page for a watcher that is behind lacks its last event.
pub(super) fn page(mut events: Vec<Event>) -> Vec<Event> {
    if is("watch_drops_event") && events.len() > 1 {
        events.pop();
    }
    events
}

/// `future_is_now`: a watch from a revision that is not there yet gets what comes next.
pub(super) fn start(start: Revision, next: Revision) -> Revision {
    if is("future_is_now") { start.min(next) } else { start }
}

/// `watch_skips_snapshot`: a watch does not get what came with a snapshot.
pub(super) fn next_after_snapshot(next: Revision, now: Revision) -> Revision {
    if is("watch_skips_snapshot") { now.next() } else { next }
}
