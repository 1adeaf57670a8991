//! What clients saw, without a lock: each thread has a tally of its own, and they are added at the end.

use super::pace::{Turn, Window};
use super::silence::Silence;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An operation that is sent later than this after it was due was late: clients were busy.
const LATE: Duration = Duration::from_millis(1);

/// A histogram of microseconds, up to ten minutes; what is slower counts as that.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are in order")
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// It read, and nothing was there.
    pub is_missing: bool,
    /// Attempts that others undid before it succeeded.
    pub retries: u64,
}

impl Done {
    /// At the first attempt, and nothing was missing.
    pub const PLAIN: Self = Self { is_missing: false, retries: 0 };
}

/// Counts of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Succeeded.
    pub done: u64,
    /// Failed.
    pub errors: u64,
    /// Of those that succeeded: read, and nothing was there.
    pub missing: u64,
    /// Attempts that others undid.
    pub retries: u64,
    /// Sent late.
    pub late: u64,
    /// Due, but never sent.
    pub unsent: u64,
}

/// What was answered in one second of the measured time.
pub struct Second {
    /// Latencies in microseconds of what succeeded. Two digits are enough for a curve.
    pub latency: Histogram<u32>,
    /// How many failed.
    pub failed: u64,
}

impl Second {
    fn new() -> Self {
        Self { latency: Histogram::new(2).expect("two digits are possible"), failed: 0 }
    }
}

/// What some clients saw of the operations that count.
pub struct Tally {
    window: Window,
    /// Latencies in microseconds of what succeeded, from when it was due; and of what was never sent,
    /// up to the end: it would have taken longer.
    pub latency: Histogram<u64>,
    /// The numbers.
    pub counts: Counts,
    /// What the last failure said.
    pub last_error: String,
    /// By the second of the answer. What was answered after the end is in none.
    pub seconds: Vec<Second>,
    /// When something succeeded.
    silence: Silence,
    /// Sent and not answered.
    in_flight: u64,
    /// All that succeeded, in the warm-up too, for whoever shows how it goes.
    progress: Arc<AtomicU64>,
}

impl Tally {
    /// Nothing seen yet.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            latency: histogram(),
            counts: Counts::default(),
            last_error: String::new(),
            seconds: Vec::new(),
            silence: Silence::default(),
            in_flight: 0,
            progress: Arc::default(),
        }
    }

    /// Shows how it goes here.
    pub fn with_progress(mut self, progress: Arc<AtomicU64>) -> Self {
        self.progress = progress;
        self
    }

    /// An operation is on its way.
    pub fn sent(&mut self, turn: Turn) {
        if self.window.holds(turn.due) {
            self.in_flight += 1;
            self.counts.late += u64::from(turn.given.saturating_duration_since(turn.due) > LATE);
        }
    }

    /// An operation that was sent is done, or failed with these words.
    pub fn answered(&mut self, due: Instant, outcome: Result<Done, String>) {
        if outcome.is_ok() {
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        if !self.window.holds(due) {
            return;
        }
        self.in_flight -= 1;
        let now = Instant::now();
        match outcome {
            Ok(done) => self.succeeded(due, now, &done),
            Err(error) => {
                self.fail(error);
                if let Some(second) = self.second(now) {
                    second.failed += 1;
                }
            }
        }
    }

    /// Something that nobody asked for came, such as a change that is watched, so long after it was sent.
    pub fn came(&mut self, sent: Instant, now: Instant) {
        if self.window.holds(sent) {
            self.succeeded(sent, now, &Done::PLAIN);
        }
    }

    fn succeeded(&mut self, due: Instant, now: Instant, done: &Done) {
        let micros = micros(now.saturating_duration_since(due));
        self.latency.saturating_record(micros);
        self.counts.done += 1;
        self.counts.missing += u64::from(done.is_missing);
        self.counts.retries += done.retries;
        if let Some(second) = self.second(now) {
            // It grows with what it is given, and there is memory for that.
            let _ = second.latency.record(micros);
            self.silence.break_at(now.duration_since(self.window.start));
        }
    }

    /// Something failed.
    pub fn fail(&mut self, error: String) {
        self.counts.errors += 1;
        self.last_error = error;
    }

    /// Nobody was free to send what was due then, until the end.
    pub fn unsent(&mut self, due: Instant) {
        let end = self.window.end.unwrap_or(due);
        self.latency.saturating_record(micros(end.saturating_duration_since(due)));
        self.counts.unsent += 1;
    }

    /// No answer is waited for any more.
    pub fn give_up(&mut self, words: &str) {
        if self.in_flight > 0 {
            self.counts.errors += std::mem::take(&mut self.in_flight);
            words.clone_into(&mut self.last_error);
        }
    }

    /// Adds what others saw in the same time.
    pub fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("all histograms have one shape");
        let Counts { done, errors, missing, retries, late, unsent } = other.counts;
        self.counts.done += done;
        self.counts.errors += errors;
        self.counts.missing += missing;
        self.counts.retries += retries;
        self.counts.late += late;
        self.counts.unsent += unsent;
        if !other.last_error.is_empty() {
            self.last_error.clone_from(&other.last_error);
        }
        self.silence.add(&other.silence);
        while self.seconds.len() < other.seconds.len() {
            self.seconds.push(Second::new());
        }
        for (mine, theirs) in self.seconds.iter_mut().zip(&other.seconds) {
            mine.latency.add(&theirs.latency).expect("it grows");
            mine.failed += theirs.failed;
        }
    }

    /// The longest time within the measured time, `elapsed` so far, in which nothing succeeded.
    pub fn longest_silence(&self, elapsed: Duration) -> Duration {
        let whole = self.window.end.map_or(elapsed, |end| end.duration_since(self.window.start));
        self.silence.longest(whole.min(elapsed))
    }

    fn second(&mut self, now: Instant) -> Option<&mut Second> {
        let number = self.window.second(now)?;
        while self.seconds.len() <= number {
            self.seconds.push(Second::new());
        }
        self.seconds.get_mut(number)
    }
}

/// Whole microseconds.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A measured time from two seconds ago to ten seconds from now.
    fn window() -> Window {
        let begin = Instant::now().checked_sub(Duration::from_secs(3)).expect("the machine runs longer");
        Window::new(begin, Duration::from_secs(1), Some(Duration::from_secs(12)))
    }

    fn turn(due: Instant) -> Turn {
        Turn { due, given: due }
    }

    #[test]
    fn latency_counts_from_when_it_was_due() {
        let window = window();
        let mut tally = Tally::new(window);
        let due = Instant::now() - Duration::from_millis(500);
        tally.sent(Turn { due, given: due + Duration::from_millis(400) });
        tally.answered(due, Ok(Done::PLAIN));
        assert!(tally.latency.min() >= 499_000, "{}", tally.latency.min());
        assert_eq!(tally.counts, Counts { done: 1, late: 1, ..Counts::default() });
        assert_eq!(tally.seconds.len(), 3, "it was answered in the third second");
        assert_eq!(tally.seconds[2].latency.len(), 1);
        let silence = tally.longest_silence(Duration::from_secs(60)).as_secs_f64();
        assert!((9.9..10.1).contains(&silence), "{silence}: from now to the end");
    }

    #[test]
    fn the_warm_up_does_not_count_but_shows() {
        let window = window();
        let shown = Arc::new(AtomicU64::new(0));
        let mut tally = Tally::new(window).with_progress(shown.clone());
        tally.sent(turn(window.begin));
        tally.answered(window.begin, Ok(Done::PLAIN));
        assert_eq!(tally.counts, Counts::default());
        assert_eq!(shown.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_is_never_answered_failed() {
        let window = window();
        let mut tally = Tally::new(window);
        tally.sent(turn(window.start));
        tally.sent(turn(window.start));
        tally.answered(window.start, Err("no".into()));
        assert_eq!((tally.counts.errors, tally.seconds[2].failed), (1, 1));
        tally.give_up("silence");
        tally.give_up("again");
        assert_eq!((tally.counts.errors, tally.last_error.as_str()), (2, "silence"));
    }

    #[test]
    fn what_was_never_sent_took_at_least_until_the_end() {
        let window = window();
        let mut tally = Tally::new(window);
        tally.unsent(window.start);
        assert_eq!(tally.counts, Counts { unsent: 1, ..Counts::default() });
        assert!(tally.latency.max() >= 12_000_000, "{}", tally.latency.max());
    }

    #[test]
    fn sums_are_by_second() {
        let window = window();
        let (mut one, mut two) = (Tally::new(window), Tally::new(window));
        for tally in [&mut one, &mut two] {
            tally.sent(turn(window.start));
            tally.answered(window.start, Ok(Done { is_missing: true, retries: 2 }));
        }
        two.seconds.push(Second { failed: 4, ..Second::new() });
        one.add(&two);
        assert_eq!(one.counts, Counts { done: 2, missing: 2, retries: 4, ..Counts::default() });
        assert_eq!(one.latency.len(), 2);
        let by_second: Vec<_> =
            one.seconds.iter().map(|second| (second.latency.len(), second.failed)).collect();
        assert_eq!(by_second, [(0, 0), (0, 0), (2, 0), (0, 4)]);
    }
}
