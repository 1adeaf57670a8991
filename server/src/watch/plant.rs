//! Deliberate bugs; see `oarlock_state::plant`.

use oarlock_state::Event;
use oarlock_state::plant::is;

/// `watch_drops_event`: a page for a watcher that is behind lacks its last event.
pub(super) fn page(mut events: Vec<Event>) -> Vec<Event> {
    if is("watch_drops_event") && events.len() > 1 {
        events.pop();
    }
    events
}
