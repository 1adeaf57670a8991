//! Signs of life: which were sent when, and which were confirmed.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The keep-alives of one stream.
pub(super) struct Pulse {
    timeout: Duration,
    /// Number and time of each that was sent and not answered.
    sent: VecDeque<(u64, Instant)>,
    next: u64,
    /// When the latest that was confirmed had been sent, or the stream began.
    confirmed: Instant,
}

impl Pulse {
    /// Of a session with this timeout, on a stream that begins now.
    pub(super) fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, sent: VecDeque::new(), next: 1, confirmed: now }
    }

    /// How long to wait from one to the next.
    pub(super) fn interval(&self) -> Duration {
        self.timeout / 3
    }

    /// How long to wait after one that no quorum confirmed.
    pub(super) fn retry_interval(&self) -> Duration {
        (self.timeout / 20).max(Duration::from_millis(20))
    }

    /// A number for one that is sent now.
    pub(super) fn send(&mut self, now: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        self.sent.push_back((number, now));
        number
    }

    /// One was answered: when it had been sent. Those before it will not be.
    pub(super) fn answered(&mut self, number: u64) -> Option<Instant> {
        while let Some((sent, at)) = self.sent.front().copied() {
            if sent > number {
                return None;
            }
            self.sent.pop_front();
            if sent == number {
                return Some(at);
            }
        }
        None
    }

    /// One was confirmed that had been sent then.
    pub(super) fn confirm(&mut self, sent: Instant) {
        self.confirmed = self.confirmed.max(sent);
    }

    /// The server confirms nothing: it is cut off, or hangs. A third of the timeout is left to find
    /// another.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.confirmed) >= self.timeout * 2 / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_from_when_its_own_sign_was_sent() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(Duration::from_millis(900), start);
        let numbers = [pulse.send(at(0)), pulse.send(at(300)), pulse.send(at(600))];
        assert_eq!(pulse.answered(numbers[1]), Some(at(300)));
        assert_eq!(pulse.answered(numbers[0]), None, "it is older than the one that was answered");
        assert_eq!(pulse.answered(numbers[2]), Some(at(600)));
        assert_eq!(pulse.answered(99), None);
    }

    #[test]
    fn a_server_that_confirms_nothing_is_left_in_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(Duration::from_millis(900), start);
        assert!(!pulse.is_overdue(at(599)) && pulse.is_overdue(at(600)));
        pulse.confirm(at(300));
        assert!(!pulse.is_overdue(at(899)) && pulse.is_overdue(at(900)));
    }
}
