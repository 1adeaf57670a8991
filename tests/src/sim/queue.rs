//! What happens when: a priority queue over virtual time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Virtual time in microseconds since the run began.
pub type Time = u64;
/// A millisecond.
pub const MS: Time = 1000;
/// A second.
pub const SECOND: Time = 1000 * MS;

/// Happenings in order of time; those of one moment in the order in which they were planned.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Planned<T>>>,
    sequence: u64,
    now: Time,
}

#[derive(Debug)]
struct Planned<T> {
    at: Time,
    sequence: u64,
    what: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0, now: 0 }
    }
}

impl<T> Queue<T> {
    /// The moment of what was taken last.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Plans something at a moment; the past counts as now.
    pub fn at(&mut self, at: Time, what: T) {
        self.sequence += 1;
        self.heap.push(Reverse(Planned { at: at.max(self.now), sequence: self.sequence, what }));
    }

    /// Plans something after a while.
    pub fn after(&mut self, delay: Time, what: T) {
        self.at(self.now + delay, what);
    }

    /// Takes what comes next, and moves time to it.
    pub fn take(&mut self) -> Option<T> {
        let Reverse(next) = self.heap.pop()?;
        self.now = next.at;
        Some(next.what)
    }

    /// Moves time to a moment before the next happening.
    pub fn pass_to(&mut self, at: Time) {
        self.now = at.max(self.now).min(self.next_at().unwrap_or(Time::MAX));
    }

    /// When the next one happens.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }
}

impl<T> Planned<T> {
    fn order(&self) -> (Time, u64) {
        (self.at, self.sequence)
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}
impl<T> Eq for Planned<T> {}
impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_equal_moments_keep_their_order() {
        let mut queue = Queue::default();
        queue.at(5, 'c');
        queue.at(1, 'a');
        queue.at(5, 'd');
        assert_eq!((queue.take(), queue.now()), (Some('a'), 1));
        queue.at(0, 'b'); // planned for the past: happens now
        let rest: Vec<char> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(rest, ['b', 'c', 'd']);
        assert_eq!(queue.now(), 5);
    }
}
