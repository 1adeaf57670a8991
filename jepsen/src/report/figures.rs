//! What is counted in a history, for pages and for tables over many runs.

use crate::history::outage::Outages;
use crate::history::{FailureKind, FaultWindow, History, Operation, Outcome, SKIPPED};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many texts of failures are told apart; the rarest are left out beyond.
const FAILURES_MAX: usize = 40;
/// How many effects of a fault that are not plain numbers are kept, as examples.
const NOTES_MAX: usize = 4;

/// Operations by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// They happened.
    pub ok: u64,
    /// They did not happen.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.ok + self.fail + self.info
    }

    /// Those of one outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Ok => self.ok,
            Outcome::Fail => self.fail,
            Outcome::Info => self.info,
        }
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Fail => self.fail += 1,
            Outcome::Info => self.info += 1,
        }
    }
}

/// Failures that say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// What they say about the operation.
    pub kind: FailureKind,
    /// Their words, with `…` for numbers of four and more digits, so that alike failures are alike.
    pub text: String,
    /// How many.
    pub count: u64,
}

/// What a kind of fault came to in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultFigures {
    /// How often it struck.
    pub times: u64,
    /// How long it was there, in microseconds; time with two of a kind is counted once.
    pub total: u64,
    /// Sums of the numbers that its maker saw: packets dropped, bytes lost.
    pub effects: BTreeMap<String, u64>,
    /// Examples of what else its maker saw.
    pub notes: Vec<String>,
    /// The longest time without a successful write that touched one of its windows, in microseconds;
    /// see [`Outages`]. `None` if the workload writes nothing.
    pub longest_without_write: Option<u64>,
}

/// The figures of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Operations by name and outcome.
    pub operations: BTreeMap<String, Counts>,
    /// Failures by kind and text, the most frequent first.
    pub failures: Vec<Failures>,
    /// Faults by name.
    pub faults: BTreeMap<String, FaultFigures>,
    /// How often a fault could not be made, by its name and the reason.
    #[serde(default)]
    pub skipped: BTreeMap<String, u64>,
    /// The longest time without a successful write in the whole run, in microseconds; `None` if the
    /// workload writes nothing.
    pub longest_without_write: Option<u64>,
    /// Length of the run, in microseconds.
    pub length: u64,
}

impl Figures {
    /// Counts a history.
    pub fn of(history: &History) -> Self {
        let outages = Outages::of(history);
        let mut operations: BTreeMap<String, Counts> = BTreeMap::new();
        for operation in &history.operations {
            operations.entry(operation.f.clone()).or_default().add(operation.outcome);
        }
        Self {
            operations,
            failures: failures(&history.operations),
            faults: faults(history, &outages),
            skipped: skipped(&history.faults),
            longest_without_write: outages.longest(),
            length: history.end,
        }
    }

    /// All operations by outcome.
    pub fn total(&self) -> Counts {
        self.operations.values().fold(Counts::default(), |sum, counts| Counts {
            ok: sum.ok + counts.ok,
            fail: sum.fail + counts.fail,
            info: sum.info + counts.info,
        })
    }
}

fn failures(operations: &[Operation]) -> Vec<Failures> {
    let mut counted: BTreeMap<(FailureKind, String), u64> = BTreeMap::new();
    for failure in operations.iter().filter_map(|operation| operation.failure.as_ref()) {
        *counted.entry((failure.kind, without_numbers(&failure.text))).or_default() += 1;
    }
    let failures = counted.into_iter().map(|((kind, text), count)| Failures { kind, text, count });
    let mut failures: Vec<_> = failures.collect();
    failures.sort_by_key(|failures| std::cmp::Reverse(failures.count));
    failures.truncate(FAILURES_MAX);
    failures
}

/// A text with `…` for every number of four and more digits: ports, sessions and revisions differ
/// between failures that are alike.
fn without_numbers(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let length = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        kept.push_str(before);
        kept.push_str(if length < 4 { &number[..length] } else { "…" });
        rest = &number[length..];
    }
    kept + rest
}

fn faults(history: &History, outages: &Outages) -> BTreeMap<String, FaultFigures> {
    let mut windows: BTreeMap<&str, Vec<&FaultWindow>> = BTreeMap::new();
    for window in history.faults_made() {
        windows.entry(&window.fault).or_default().push(window);
    }
    let figures = |windows: Vec<&FaultWindow>| {
        let mut figures = FaultFigures { times: windows.len() as u64, ..FaultFigures::default() };
        let mut counted_to = 0;
        for window in windows {
            let ended = window.ended.unwrap_or(history.end);
            figures.total += ended.saturating_sub(window.began.max(counted_to));
            counted_to = counted_to.max(ended);
            figures.add_effect(&window.effect);
            figures.longest_without_write =
                figures.longest_without_write.max(outages.longest_touching(window.began, ended));
        }
        figures
    };
    windows.into_iter().map(|(fault, windows)| (fault.to_owned(), figures(windows))).collect()
}

fn skipped(faults: &[FaultWindow]) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for window in faults.iter().filter(|window| window.fault == SKIPPED) {
        let word = |name: &str| window.what.get(name).and_then(Value::as_str).unwrap_or("-");
        let why = without_numbers(word("why"));
        *counted.entry(format!("{}: {why}", word("fault"))).or_default() += 1;
    }
    counted
}

impl FaultFigures {
    /// Adds what the same kind of fault came to in another run.
    pub fn merge(&mut self, other: &Self) {
        self.times += other.times;
        self.total += other.total;
        other.effects.iter().for_each(|(name, number)| self.sum(name, Some(*number)));
        other.notes.iter().for_each(|note| self.note(note.clone()));
        self.longest_without_write = self.longest_without_write.max(other.longest_without_write);
    }

    fn add_effect(&mut self, effect: &Value) {
        match effect {
            Value::Null => {}
            Value::Number(number) if number.is_u64() => self.sum("", number.as_u64()),
            Value::Object(fields) if fields.values().all(Value::is_u64) => {
                fields.iter().for_each(|(name, number)| self.sum(name, number.as_u64()));
            }
            other => self.note(other.as_str().map_or_else(|| other.to_string(), str::to_owned)),
        }
    }

    fn sum(&mut self, name: &str, number: Option<u64>) {
        let sum = self.effects.entry(name.to_owned()).or_default();
        *sum = sum.saturating_add(number.unwrap_or(0));
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, fault, operation};
    use super::*;
    use crate::history::Failure;
    use serde_json::json;

    #[test]
    fn operations_and_failures_are_counted() {
        let failed = |text: &str, kind| {
            let failure = Some(Failure::new(kind, text));
            Operation { outcome: Outcome::Info, failure, ..operation("write", 0, 5) }
        };
        let history = testing::small(
            vec![
                operation("write", 0, 5),
                operation("read", 1, 6),
                failed("no answer from 127.0.0.1:34567 within 2 s", FailureKind::Unknown),
                failed("no answer from 127.0.0.1:4567 within 2 s", FailureKind::Unknown),
                failed("12345", FailureKind::Untyped),
            ],
            vec![],
        );
        let figures = Figures::of(&history);
        assert_eq!(figures.operations["write"], Counts { ok: 1, fail: 0, info: 3 });
        assert_eq!(figures.total(), Counts { ok: 2, fail: 0, info: 3 });
        let failures: Vec<_> = figures.failures.iter().map(|f| (f.text.as_str(), f.count)).collect();
        assert_eq!(failures, [("no answer from 127.0.0.1:… within 2 s", 2), ("…", 1)]);
    }

    #[test]
    fn time_with_two_faults_of_a_kind_is_counted_once() {
        let mut open = fault("slow", 50, 0);
        open.ended = None;
        let mut dropped = fault("cut", 20, 40);
        dropped.effect = json!({"packets": 3, "bytes": 100});
        let mut more = fault("cut", 30, 60);
        more.effect = json!({"packets": 4});
        let mut told = fault("cut", 70, 70);
        told.effect = json!("refused");
        let mut attempt = fault(SKIPPED, 80, 81);
        attempt.what = json!({"fault": "move", "why": "nobody leads"});
        let faults = vec![dropped, more, open, told, attempt];
        let history = testing::small(vec![operation("read", 0, 100)], faults);
        let figures = Figures::of(&history);
        let cut = &figures.faults["cut"];
        assert_eq!((cut.times, cut.total), (3, 40));
        assert_eq!(cut.effects, BTreeMap::from([("bytes".to_owned(), 100), ("packets".to_owned(), 7)]));
        assert_eq!(cut.notes, ["refused"]);
        assert_eq!(cut.longest_without_write, None, "nothing is written");
        assert_eq!(figures.faults["slow"].total, 50);
        assert_eq!(figures.faults.len(), 2, "an attempt is no fault");
        assert_eq!(figures.skipped, BTreeMap::from([("move: nobody leads".to_owned(), 1)]));
    }
}
