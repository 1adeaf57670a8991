//! What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// The progress of one run.
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
    total: Duration,
    before: Seen,
    rate: f64,
    lines: Option<Lines>,
}

/// Operations that had ended as ok by a time since the run began.
#[derive(Clone, Copy, Default)]
struct Seen {
    at: Duration,
    ok: u64,
}

/// Where lines go in place of a bar.
struct Lines {
    write: fn(&str),
    next: Duration,
}

impl Progress {
    /// A run of this length begins now.
    pub fn begin(total: Duration) -> Self {
        if std::io::stderr().is_terminal() {
            return Self::new(total, ProgressDrawTarget::stderr(), None);
        }
        let write: fn(&str) = |line| eprintln!("{line}");
        Self::new(total, ProgressDrawTarget::hidden(), Some(write))
    }

    fn new(total: Duration, target: ProgressDrawTarget, write: Option<fn(&str)>) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total.as_secs().max(1)), target);
        let style = ProgressStyle::with_template("{elapsed} of {prefix} {wide_bar} {msg}").expect("fits");
        bar.set_style(style);
        bar.set_prefix(indicatif::HumanDuration(total).to_string());
        let lines = write.map(|write| Lines { write, next: LINE_EVERY });
        Self { bar, began: Instant::now(), total, before: Seen::default(), rate: 0.0, lines }
    }

    /// Shows where the run is: operations by outcome (ok, fail, info) as
    /// [`Journal::counts`](crate::history::Journal::counts) gives them, and the faults of the moment.
    pub fn show(&mut self, counts: [u64; 3], faults: &[String]) {
        self.show_at(self.began.elapsed(), counts, faults);
    }

    fn show_at(&mut self, at: Duration, counts: [u64; 3], faults: &[String]) {
        let since = at.saturating_sub(self.before.at);
        // Over less than a second a rate says more about chance than about the servers.
        if since >= Duration::from_secs(1) {
            self.rate = counts[0].saturating_sub(self.before.ok) as f64 / since.as_secs_f64();
            self.before = Seen { at, ok: counts[0] };
        }
        let message = message(self.rate, counts, faults);
        self.bar.set_position(at.as_secs().min(self.total.as_secs()));
        if let Some(lines) = self.lines.as_mut().filter(|lines| at >= lines.next) {
            lines.next = at + LINE_EVERY;
            (lines.write)(&format!("{} of {} s: {message}", at.as_secs(), self.total.as_secs()));
        }
        self.bar.set_message(message);
    }

    /// Takes the bar away: the run is over.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn message(rate: f64, [ok, fail, info]: [u64; 3], faults: &[String]) -> String {
    let faults = if faults.is_empty() { "none".to_owned() } else { faults.join(", ") };
    format!("{rate:.0} ok/s, {ok} ok, {fail} fail, {info} info; faults: {faults}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static WRITTEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn write(line: &str) {
        WRITTEN.with_borrow_mut(|lines| lines.push(line.to_owned()));
    }

    #[test]
    fn without_a_terminal_a_line_comes_every_thirty_seconds() {
        let hidden = ProgressDrawTarget::hidden();
        let mut progress = Progress::new(Duration::from_secs(90), hidden, Some(write));
        for second in 0..=61 {
            let faults = if second > 40 { vec!["kill".to_owned(), "slow".to_owned()] } else { Vec::new() };
            progress.show_at(Duration::from_secs(second), [second * 10, 2, 1], &faults);
        }
        progress.finish();
        let expected = [
            "30 of 90 s: 10 ok/s, 300 ok, 2 fail, 1 info; faults: none",
            "60 of 90 s: 10 ok/s, 600 ok, 2 fail, 1 info; faults: kill, slow",
        ];
        assert_eq!(WRITTEN.take(), expected);
    }
}
