//! How a measurement goes, on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From one look to the next.
const EACH: Duration = Duration::from_millis(250);

/// A line on standard error that says how far it is and how fast. Nothing, where that is no terminal.
pub struct Progress {
    bar: ProgressBar,
    counts: Vec<Arc<AtomicU64>>,
    last: (Instant, u64),
    /// Operations in all, if that is known before.
    total: Option<u64>,
}

impl Progress {
    /// Of clients that count here.
    pub fn new(counts: Vec<Arc<AtomicU64>>, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent} %  {msg}");
        bar.set_style(style.expect("the template is right"));
        Self { bar, counts, last: (Instant::now(), 0), total }
    }

    /// Shows it until then.
    pub async fn until(&mut self, what: &'static str, begin: Instant, end: Instant) {
        self.bar.set_prefix(what);
        self.bar.set_length(end.saturating_duration_since(begin).as_millis() as u64);
        loop {
            let now = Instant::now();
            self.bar.set_position(now.saturating_duration_since(begin).as_millis() as u64);
            self.show(now);
            if now >= end {
                return;
            }
            tokio::time::sleep_until((now + EACH).min(end).into()).await;
        }
    }

    /// Shows it for as long as this takes.
    pub async fn during<T>(&mut self, what: &'static str, work: impl Future<Output = T>) -> T {
        self.bar.set_prefix(what);
        self.bar.set_length(self.total.unwrap_or(0));
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(EACH, &mut work).await {
                return done;
            }
            let count = self.show(Instant::now());
            if self.total.is_some() {
                self.bar.set_position(count);
            }
        }
    }

    /// Leaves no trace.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }

    fn show(&mut self, now: Instant) -> u64 {
        let count = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let span = now.duration_since(self.last.0).as_secs_f64();
        if span > 0.0 {
            self.bar.set_message(format!("{:.0} /s", (count - self.last.1) as f64 / span));
        }
        self.last = (now, count);
        count
    }
}
