//! Names of items: their order in the queue.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the ids of a priority begin with. The service appends its number.
pub(super) fn prefix(priority: u8) -> String {
    format!("{priority:03}-")
}

/// Milliseconds since 1970 by this machine's clock.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// When something is due that is to happen after `delay`.
pub(super) fn due(now_ms: u64, delay: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}

/// The name of an item that is put now and due after `delay`.
pub(super) fn delayed(now_ms: u64, delay: Duration, priority: u8) -> String {
    let due = due(now_ms, delay);
    format!("{due:020}-{priority:03}-{:016x}", rand::random::<u64>())
}

/// When a delayed item is due, and its priority. `None` for what is no such name.
pub(super) fn parse_delayed(id: &str) -> Option<(u64, u8)> {
    let mut parts = id.split('-');
    let due = parts.next()?.parse().ok()?;
    let priority = parts.next()?.parse().ok()?;
    Some((due, priority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delayed_items_are_in_the_order_in_which_they_are_due() {
        let soon = delayed(1_000, Duration::from_millis(5), 7);
        let late = delayed(999, Duration::from_secs(100), 0);
        assert!(soon < late);
        assert_eq!(parse_delayed(&soon), Some((1_005, 7)));
        assert_eq!(parse_delayed("x-1-2"), None);
        assert!(prefix(9) < prefix(10));
        assert!(parse_delayed(&delayed(u64::MAX, Duration::MAX, 0)).is_some());
    }
}
