//! How many queries one address may send: beyond it they are dropped, so that nobody takes the
//! member's time from the others, and nobody makes it send much to a forged address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Queries that one address may send in a second. A resolver that serves a whole site stays below.
const PER_SECOND: u32 = 10_000;
/// Addresses that are told apart in a second; all further ones count as one.
const ADDRESSES_MAX: usize = 16_384;
const WINDOW: Duration = Duration::from_secs(1);

/// Counts queries by address, anew each second.
pub struct Rates {
    window: Mutex<Window>,
}

struct Window {
    begun: Instant,
    counts: HashMap<IpAddr, u32>,
    others: u32,
}

impl Rates {
    /// Nobody has asked yet.
    pub fn new(now: Instant) -> Self {
        Self { window: Mutex::new(Window { begun: now, counts: HashMap::new(), others: 0 }) }
    }

    /// Whether one more query of this address is answered.
    pub fn admit(&self, from: IpAddr, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(window.begun) >= WINDOW {
            window.begun = now;
            window.counts.clear();
            window.others = 0;
        }
        let Window { counts, others, .. } = &mut *window;
        let known = counts.len();
        let count = match counts.get_mut(&from) {
            Some(count) => count,
            None if known < ADDRESSES_MAX => counts.entry(from).or_default(),
            None => others,
        };
        *count = count.saturating_add(1);
        *count <= PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_share_of_each_second() {
        let begun = Instant::now();
        let rates = Rates::new(begun);
        let ip = |number: u32| IpAddr::from(number.to_be_bytes());
        assert!((0..PER_SECOND).all(|_| rates.admit(ip(1), begun)));
        assert!(!rates.admit(ip(1), begun) && rates.admit(ip(2), begun));
        assert!(rates.admit(ip(1), begun + WINDOW));
    }

    #[test]
    fn whoever_forges_addresses_counts_as_one() {
        let begun = Instant::now();
        let rates = Rates::new(begun);
        let admitted =
            (0..100_000_u32).filter(|number| rates.admit(IpAddr::from(number.to_be_bytes()), begun));
        assert_eq!(admitted.count(), ADDRESSES_MAX + PER_SECOND as usize);
    }
}
