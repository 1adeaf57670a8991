//! Leaving out instances that a caller could not use, for a while. Time comes in from outside.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// When a caller's reports of failures take an instance out, for this process alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// So many failures in a row. Too low: instances go for a single lost packet. Default: 3.
    pub failures: u32,
    /// For how long at the first time; each time in short order doubles it. Default: 5 s.
    pub first: Duration,
    /// At most for so long; and an instance that did well for as long begins anew. Default: 1 min.
    pub longest: Duration,
    /// Never more than this share of all instances at once, as then the fault is likely the
    /// caller's, or the load's. Default: 0.5.
    pub share_max: f64,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 3, first: Duration::from_secs(5), longest: Duration::from_secs(60), share_max: 0.5 }
    }
}

/// What is known of an instance that failed.
#[derive(Debug)]
struct Fault {
    in_a_row: u32,
    /// Times it was ejected in short order.
    times: u32,
    /// End of its last ejection.
    until: Option<Instant>,
}

/// Who is ejected. Invariant: an ejection begins only while fewer than the largest share are.
#[derive(Debug)]
pub(super) struct Ejections {
    options: Ejection,
    faults: BTreeMap<String, Fault>,
}

impl Ejections {
    pub(super) fn new(options: Ejection) -> Self {
        Self { options, faults: BTreeMap::new() }
    }

    /// Takes note of a failure of one of `total` instances; whether that ejects it.
    pub(super) fn failed(&mut self, id: &str, total: usize, now: Instant) -> bool {
        if self.is_ejected(id, now) {
            // A call that was under way; it tells nothing new.
            return false;
        }
        let ejected = self.faults.values().filter(|fault| fault.is_ejected(now)).count();
        let room = ((ejected + 1) as f64) <= total as f64 * self.options.share_max;
        let options = self.options;
        let fault = self.faults.entry(id.to_owned()).or_insert(Fault { in_a_row: 0, times: 0, until: None });
        fault.in_a_row += 1;
        if fault.in_a_row < options.failures || !room {
            return false;
        }
        if fault.until.is_some_and(|until| now.saturating_duration_since(until) >= options.longest) {
            fault.times = 0;
        }
        let doubled = options.first.saturating_mul(1 << fault.times.min(16));
        (fault.in_a_row, fault.times) = (0, fault.times.saturating_add(1));
        fault.until = Some(now + doubled.min(options.longest));
        true
    }

    /// Takes note of a success.
    pub(super) fn succeeded(&mut self, id: &str) {
        if let Some(fault) = self.faults.get_mut(id) {
            fault.in_a_row = 0;
        }
    }

    pub(super) fn is_ejected(&self, id: &str, now: Instant) -> bool {
        self.faults.get(id).is_some_and(|fault| fault.is_ejected(now))
    }

    /// When the next ejection ends.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        self.faults.values().filter_map(|fault| fault.until.filter(|&until| until > now)).min()
    }

    /// An instance of this name is not known any more; a later one begins anew.
    pub(super) fn forget(&mut self, id: &str) {
        self.faults.remove(id);
    }
}

impl Fault {
    fn is_ejected(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ejections() -> Ejections {
        Ejections::new(Ejection { failures: 3, first: SECOND, longest: 8 * SECOND, share_max: 0.5 })
    }

    /// Failures in a row until it is ejected.
    fn eject(ejections: &mut Ejections, id: &str, total: usize, now: Instant) -> bool {
        (0..3).any(|_| ejections.failed(id, total, now))
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let (mut ejections, now) = (ejections(), Instant::now());
        for _ in 0..5 {
            assert!(!ejections.failed("a", 4, now) && !ejections.failed("a", 4, now));
            ejections.succeeded("a");
        }
        assert!(eject(&mut ejections, "a", 4, now));
        assert!(ejections.is_ejected("a", now) && !ejections.is_ejected("b", now));
        assert_eq!(ejections.next_end(now), Some(now + SECOND));
        assert!(!ejections.is_ejected("a", now + SECOND));
    }

    #[test]
    fn each_time_takes_twice_as_long_until_it_did_well_for_a_while() {
        let (mut ejections, mut now) = (ejections(), Instant::now());
        for expected in [1, 2, 4, 8, 8] {
            assert!(eject(&mut ejections, "a", 4, now));
            assert!(!eject(&mut ejections, "a", 4, now), "it is out already");
            let end = ejections.next_end(now).expect("ejected");
            assert_eq!(end - now, expected * SECOND);
            now = end;
        }
        now += 8 * SECOND;
        assert!(eject(&mut ejections, "a", 4, now));
        assert_eq!(ejections.next_end(now), Some(now + SECOND));
        ejections.forget("a");
        assert!(!ejections.is_ejected("a", now));
    }

    #[test]
    fn never_more_than_the_largest_share_is_out_at_once() {
        let (mut ejections, now) = (ejections(), Instant::now());
        assert!(!eject(&mut ejections, "only", 1, now), "the only one stays");
        assert!(eject(&mut ejections, "a", 4, now));
        assert!(eject(&mut ejections, "b", 4, now));
        assert!(!eject(&mut ejections, "c", 4, now), "half are out");
        assert!(eject(&mut ejections, "c", 4, now + SECOND), "they are back");
    }
}
