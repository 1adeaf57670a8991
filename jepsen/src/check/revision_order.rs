//! All writes have their place in one order, that of their revisions, and everything that clients saw
//! follows from it: which swaps won, what reads found, and what was there at a revision.
//!
//! Sources: etcd's "KV API guarantees" (revisions are one sequence for the whole store) and its
//! robustness tests, which replay histories in the order of revisions (tests/robustness/validate);
//! ZooKeeper's zxids ("ZooKeeper Internals", atomic broadcast). What is judged:
//!
//! 1. no two writes have one revision;
//! 2. a write that began after another was over has a higher revision;
//! 3. played in this order, writes give the answers that clients got, and linearizable reads find the
//!    last write of their key before the revision at which they were answered;
//! 4. what was found and no acknowledged write explains is one of the writes whose answer was lost;
//! 5. a linearizable read is answered at no lower revision than anything that was over before it, and at
//!    none that nobody had asked for;
//! 6. a serializable read finds what was there at its revision, and a process that keeps to one member
//!    never goes back.
//!
//! Unlike a search, this takes O(n log n) and sees the whole store; but it needs revisions.

mod ledger;

use super::order::{Numbered, against_earlier, falling};
use super::{Anomaly, Check, Verdict};
use crate::history::{Failure, FailureKind, History, Operation};
use ledger::{Ledger, Write};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Judges registers and accounts by revisions.
#[derive(Clone, Copy, Debug, Default)]
pub struct RevisionOrder;

const NAME: &str = "revision_order";

/// Anomalies that are shown of one kind.
const SHOWN: usize = 5;

/// What a read found, and at which revision it was answered.
struct Look<'h> {
    operation: &'h Operation,
    at: u64,
    is_linearizable: bool,
    /// By key: the value, and the revision of its write if that was told.
    found: Vec<(String, Option<i64>, Option<u64>)>,
}

#[derive(Default)]
struct Findings {
    anomalies: Vec<Anomaly>,
    broken: BTreeMap<u8, usize>,
}

impl Findings {
    /// Something against one of the numbered promises.
    fn add(&mut self, promise: u8, what: String, operations: impl IntoIterator<Item = usize>) {
        let count = self.broken.entry(promise).or_default();
        *count += 1;
        if *count <= SHOWN {
            self.anomalies.push(Anomaly::new(what, operations));
        }
    }
}

impl Check for RevisionOrder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let ledger = Ledger::of(history);
        let looks: Vec<Look<'_>> = history.operations.iter().filter_map(look).collect();
        let failed_swaps = history.operations.iter().filter(|one| one.output["swapped"] == false).count();
        unique(&ledger.writes, &mut findings);
        let numbered: Vec<_> =
            ledger.writes.iter().map(|write| Numbered::of(write.operation, write.revision)).collect();
        for (earlier, later) in falling(&numbered).into_iter().filter(|(a, b)| a.number != b.number) {
            let what =
                format!("the write of revision {} began after that of {}", later.number, earlier.number);
            findings.add(2, what, [earlier.operation, later.operation]);
        }
        let recovered = ledger.replay(&looks, &mut findings);
        real_time(&numbered, &looks, &ledger, &mut findings);
        processes_go_forward(history, &looks, &mut findings);
        let summary = format!(
            "{} writes with revisions and {} reads; {} revisions are of writes whose answer was lost; {} \
             contradictions",
            ledger.writes.len(),
            looks.len(),
            recovered,
            findings.broken.values().sum::<usize>()
        );
        Verdict::of(NAME, summary, findings.anomalies)
            .unless_unread(ledger.without_revision + u64::from(ledger.writes.is_empty()))
            .count("writes", ledger.writes.len() as u64)
            .count("writes without a revision", ledger.without_revision)
            .count("reads", looks.len() as u64)
            .count("swaps that lost", failed_swaps as u64)
            .count("recovered writes", recovered)
    }
}

/// A read that says at which revision it was answered.
fn look(operation: &Operation) -> Option<Look<'_>> {
    if operation.f != "read" || !operation.is_ok() {
        return None;
    }
    let output = &operation.output;
    let found = if let Some(balances) = output.get("balances").and_then(Value::as_object) {
        balances.iter().map(|(key, balance)| Some((key.clone(), Some(balance.as_i64()?), None))).collect()
    } else if let Some(records) = output.get("records").and_then(Value::as_object) {
        let record = |(key, record): (&String, &Value)| (key.clone(), record[0].as_i64(), record[1].as_u64());
        Some(records.iter().map(record).collect())
    } else {
        let value = output.get("value")?;
        let modified = output["mod"].as_u64().filter(|_| !value.is_null());
        Some(vec![(operation.key.clone().unwrap_or_default(), value.as_i64(), modified)])
    };
    let is_linearizable = operation.input["consistency"] != "serializable";
    Some(Look { operation, at: output["at"].as_u64()?, is_linearizable, found: found? })
}

fn unique(writes: &[Write<'_>], findings: &mut Findings) {
    for pair in writes.windows(2).filter(|pair| pair[0].revision == pair[1].revision) {
        let what = format!("two writes have revision {}", pair[0].revision);
        findings.add(1, what, [pair[0].operation.index, pair[1].operation.index]);
    }
}

/// Promise 5, both halves.
fn real_time(writes: &[Numbered<u64>], looks: &[Look<'_>], ledger: &Ledger<'_>, findings: &mut Findings) {
    let numbered = |is_wanted: fn(&Look<'_>) -> bool| -> Vec<Numbered<u64>> {
        looks
            .iter()
            .filter(|look| is_wanted(look))
            .map(|look| Numbered::of(look.operation, look.at))
            .collect()
    };
    let seen: Vec<_> = writes.iter().copied().chain(numbered(|_| true)).collect();
    for (earlier, later) in
        against_earlier(&seen, &numbered(|look| look.is_linearizable), |earlier, later| earlier > later)
    {
        let (at, before) = (later.number, earlier.number);
        let what = format!("a linearizable read was answered at revision {at} after {before} was known");
        findings.add(5, what, [earlier.operation, later.operation]);
    }
    // A revision that was answered belongs to a write that had been asked for.
    let mut by_revision: Vec<(u64, u64, usize)> = ledger
        .writes
        .iter()
        .map(|write| (write.revision, write.operation.invoked, write.operation.index))
        .collect();
    by_revision.sort_unstable();
    for look in looks {
        let at = by_revision.partition_point(|(revision, ..)| *revision < look.at);
        let Some((revision, invoked, write)) = by_revision.get(at).filter(|(it, ..)| *it == look.at) else {
            continue;
        };
        if look.operation.ended.is_some_and(|ended| ended < *invoked) {
            let what = format!("a read was answered at revision {revision} before anybody asked for it");
            findings.add(5, what, [look.operation.index, *write]);
        }
    }
}

/// Promise 6, second half: while a process talks to one member without a break, it never goes back. A
/// member that restarts may begin behind what it told before.
fn processes_go_forward(history: &History, looks: &[Look<'_>], findings: &mut Findings) {
    let mut breaks: BTreeMap<Option<&str>, BTreeSet<u64>> = BTreeMap::new();
    for operation in &history.operations {
        let is_break = |failure: &Failure| failure.kind != FailureKind::Rejected;
        if !operation.is_ok() && operation.failure.as_ref().is_none_or(is_break) {
            let times = [operation.invoked, operation.ended.unwrap_or(history.end)];
            breaks.entry(operation.node.as_deref()).or_default().extend(times);
        }
    }
    let mut last: BTreeMap<(u64, Option<&str>), &Look<'_>> = BTreeMap::new();
    for look in looks.iter().filter(|look| !look.is_linearizable) {
        let operation = look.operation;
        let node = operation.node.as_deref();
        let Some(before) = last.insert((operation.process, node), look) else { continue };
        let meanwhile = before.operation.invoked..=operation.ended.unwrap_or(history.end);
        let is_broken = breaks.get(&node).is_some_and(|times| times.range(meanwhile).next().is_some());
        if before.at > look.at && !is_broken {
            let what = format!("one process read at revision {} and then at {}", before.at, look.at);
            findings.add(6, what, [before.operation.index, operation.index]);
        }
    }
}

#[cfg(test)]
mod tests;
