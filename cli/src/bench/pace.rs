//! When a client may send, and what counts.
//!
//! In a *closed loop* the next operation is due when a client asks for it. In an *open loop* it is due
//! at its time, whether somebody is free or not: clients that share a pace take the times in order, so an
//! operation waits only while all of them are busy, and that wait is part of its latency.

use super::alarm::Alarm;
use super::schedule::Schedule;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The times of a run. What is due from `start` to `end` counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When clients begin.
    pub begin: Instant,
    /// When the warm-up is over.
    pub start: Instant,
    /// When clients stop; `None`: when there is nothing left to do.
    pub end: Option<Instant>,
}

impl Window {
    /// Begins now.
    pub fn new(begin: Instant, warm_up: Duration, duration: Option<Duration>) -> Self {
        let start = begin + warm_up;
        Self { begin, start, end: duration.map(|duration| start + duration) }
    }

    /// Whether what is due then counts.
    pub fn holds(&self, due: Instant) -> bool {
        due >= self.start && !self.is_over(due)
    }

    /// Whether nothing is begun any more.
    pub fn is_over(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| now >= end)
    }

    /// Which of its seconds a moment is in; `None` outside.
    pub fn second(&self, moment: Instant) -> Option<usize> {
        self.holds(moment).then(|| moment.duration_since(self.start).as_secs() as usize)
    }
}

/// Leave to send an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// From when its latency counts.
    pub due: Instant,
    /// When the leave was given: never before it was due.
    pub given: Instant,
}

/// Gives leave to send. Cheap to clone; clones share the times of an open loop.
#[derive(Clone)]
pub struct Pace {
    window: Window,
    open: Option<Rc<Mutex<Open>>>,
}

struct Open {
    schedule: Schedule,
    alarm: Alarm,
}

impl Pace {
    /// An operation is due whenever one is asked for.
    pub fn closed(window: Window) -> Self {
        Self { window, open: None }
    }

    /// Operations are due as scheduled.
    ///
    /// # Errors
    /// If this machine has no timer for it.
    pub fn open(window: Window, schedule: Schedule) -> std::io::Result<Self> {
        let open = Open { schedule, alarm: Alarm::new()? };
        Ok(Self { window, open: Some(Rc::new(Mutex::new(open))) })
    }

    /// Waits for the next operation to be due; `None` when the time is over. A wait that is given up
    /// takes nothing away.
    pub async fn next(&self) -> Option<Turn> {
        let Some(open) = &self.open else { return self.at_once() };
        let mut open = open.lock().await;
        let due = self.next_due(&mut open.schedule)?;
        open.alarm.until(due).await;
        open.schedule.advance();
        Some(Turn { due, given: Instant::now() })
    }

    /// An operation that is due already, for somebody who has something else to wait for.
    pub fn ready(&self) -> Option<Turn> {
        let Some(open) = &self.open else { return self.at_once() };
        let mut open = open.try_lock().ok()?;
        let due = self.next_due(&mut open.schedule)?;
        let now = Instant::now();
        (due <= now).then(|| {
            open.schedule.advance();
            Turn { due, given: now }
        })
    }

    /// Whether operations are due whenever somebody asks.
    pub fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// What was due, and counts, but nobody was free to send until the time was over.
    pub fn unsent(&self) -> Vec<Instant> {
        let (Some(open), Some(end)) = (&self.open, self.window.end) else { return Vec::new() };
        let mut open = open.try_lock().expect("nobody asks for leave after the end");
        let mut unsent = Vec::new();
        loop {
            let due = self.window.begin + open.schedule.next();
            if due >= end {
                return unsent;
            }
            if self.window.holds(due) {
                unsent.push(due);
            }
            open.schedule.advance();
        }
    }

    fn at_once(&self) -> Option<Turn> {
        let now = Instant::now();
        (!self.window.is_over(now)).then_some(Turn { due: now, given: now })
    }

    /// `None` when the time is over, for what is due as for who would send it.
    fn next_due(&self, schedule: &mut Schedule) -> Option<Instant> {
        let now = Instant::now();
        // What a server could not take in the warm-up must not keep it from what is measured.
        while now >= self.window.start && self.window.begin + schedule.next() < self.window.start {
            schedule.advance();
        }
        let due = self.window.begin + schedule.next();
        (!self.window.is_over(due) && !self.window.is_over(now)).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::Arrivals;

    fn ago(millis: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_millis(millis)).expect("the machine runs longer")
    }

    fn open(window: Window, rate: f64) -> Pace {
        Pace::open(window, Schedule::new(rate, Arrivals::Constant, 0, 1, 0)).expect("a timer")
    }

    #[test]
    fn only_what_is_due_in_the_measured_time_counts() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let window = Window::new(begin, Duration::from_secs(1), Some(Duration::from_secs(2)));
        assert!(!window.holds(at(999)) && window.holds(at(1000)));
        assert!(window.holds(at(2999)) && !window.holds(at(3000)));
        assert_eq!(
            [999, 1000, 2500, 3000].map(|millis| window.second(at(millis))),
            [None, Some(0), Some(1), None]
        );
        let endless = Window::new(begin, Duration::ZERO, None);
        assert!(endless.holds(at(1 << 40)));
    }

    #[tokio::test]
    async fn a_stall_is_part_of_the_latency_of_all_that_was_due_meanwhile() {
        // 100 operations were due in the last second, and nobody was free.
        let pace = open(Window::new(ago(1000), Duration::ZERO, Some(Duration::from_secs(60))), 100.0);
        for number in 0..100 {
            let turn = pace.next().await.expect("the time is not over");
            let waited = turn.given.duration_since(turn.due);
            assert!(waited >= Duration::from_millis(1000 - 10 * number - 1), "{number}: {waited:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_given_before_it_is_due() {
        let pace = open(Window::new(Instant::now(), Duration::ZERO, Some(Duration::from_millis(50))), 1000.0);
        let mut turns = 0;
        while let Some(turn) = pace.next().await {
            assert!(turn.given >= turn.due);
            turns += 1;
        }
        assert_eq!(turns + pace.unsent().len(), 50);
    }

    #[tokio::test]
    async fn what_nobody_sent_is_counted() {
        // 10 of them were due in the warm-up, and do not count.
        let warm_up = Duration::from_millis(100);
        let pace = open(Window::new(ago(1200), warm_up, Some(Duration::from_secs(1))), 100.0);
        assert_eq!(pace.next().await, None, "the time is over");
        assert_eq!(pace.unsent().len(), 100);
        assert!(pace.unsent().is_empty(), "it is counted once");
    }

    #[tokio::test]
    async fn what_was_not_sent_in_the_warm_up_is_passed_over() {
        let warm_up = Duration::from_millis(200);
        let window = Window::new(ago(500), warm_up, Some(Duration::from_secs(60)));
        let pace = open(window, 100.0);
        let first = pace.next().await.expect("the time is not over");
        assert!(window.holds(first.due) && first.due < window.start + Duration::from_millis(11));
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_nothing() {
        let begin = Instant::now() + Duration::from_millis(50);
        let pace = open(Window::new(begin, Duration::ZERO, Some(Duration::from_secs(1))), 10.0);
        assert!(tokio::time::timeout(Duration::from_millis(5), pace.next()).await.is_err());
        assert_eq!(pace.ready(), None);
        assert_eq!(pace.next().await.map(|turn| turn.due), Some(begin));
    }
}
