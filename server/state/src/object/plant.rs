//! Deliberate bugs; see [`crate::plant`].

use crate::object::place::{Object, Place};
use crate::plant::is;

/// `grant_to_two` takes a lock for free that is taken, and that nobody waits for; `overtake_waiters` does
/// not see those who wait.
pub(super) fn is_free(object: Option<&Object>, weight: Option<u64>) -> bool {
    let (Some(object), Some(weight)) = (object, weight) else { return false };
    (is("grant_to_two") && object.waiters == 0) || (is("overtake_waiters") && object.fits(weight))
}

/// `ignore_lock_delay`: nobody asked for a delay.
pub(super) fn without_delay(place: Place) -> Place {
    if is("ignore_lock_delay") { Place { lock_delay_ms: 0, ..place } } else { place }
}
