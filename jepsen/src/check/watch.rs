//! Watchers are told of every change, once, in order and truthfully.
//!
//! Sources: etcd's "Watch APIs guarantees" (ordered, unique, reliable, atomic, resumable, bookmarkable)
//! and the validators of its robustness tests (tests/robustness/validate/watch.go: filter, is-create,
//! previous value); Jepsen's report on etcd 3.4.3 (2020), section 3.2, for watches from a revision. A
//! watcher lives several lives, each from a revision on. What is judged, by name:
//!
//! | guarantee | in each life |
//! | --- | --- |
//! | ordered | revisions of events never go back |
//! | unique | no event comes twice |
//! | atomic | all events of a revision come in one batch |
//! | filter | events are of the keys that were asked for |
//! | start | no event is older than the revision that the life began at, be it past or future |
//! | bookmarkable | after progress up to a revision, or a batch through it, no event up to it comes |
//! | reliable | every known change between the beginning and the last revision told of came |
//! | truthful | events are what was written at their revision, or what a lost answer may have written |
//! | is-create, previous | an event tells what the event of its key before it left |
//! | compaction | a life that ends for compaction began before it |
//!
//! Known changes are acknowledged writes, events that any watcher was told of, and what the last reads
//! found. A watcher who goes on after the last revision that it was told of begins its next life there,
//! so that *resumable* follows from reliable and start; and so does that a compaction is told and not
//! passed over in silence.

mod changes;
mod life;

use super::{Anomaly, Check, Verdict};
use crate::history::History;
use changes::Changes;
use life::Life;
use std::collections::BTreeMap;

/// Judges what watchers were told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch;

const NAME: &str = "watch";

/// Anomalies that are shown of one guarantee.
const SHOWN: usize = 5;

/// What is wrong, by guarantee.
#[derive(Default)]
struct Findings {
    anomalies: Vec<Anomaly>,
    broken: BTreeMap<&'static str, u64>,
}

impl Findings {
    fn add(&mut self, guarantee: &'static str, what: String, operations: impl IntoIterator<Item = usize>) {
        let count = self.broken.entry(guarantee).or_default();
        *count += 1;
        if *count <= SHOWN as u64 {
            self.anomalies.push(Anomaly::new(format!("{guarantee}: {what}"), operations));
        }
    }
}

impl Check for Watch {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let (mut lives, mut unreadable) = (Vec::new(), 0);
        for operation in history.operations.iter().filter(|one| one.f == "watch" && one.is_ok()) {
            match Life::of(operation) {
                Some(life) => lives.push(life),
                None => unreadable += 1,
            }
        }
        let changes = Changes::of(history, &lives, &mut findings);
        let mut expected = 0;
        for life in &lives {
            life.judge(&mut findings);
            expected += changes.judge(life, &mut findings);
        }
        changes.judge_last_reads(history, &mut findings);
        let events: usize = lives.iter().map(|life| life.events().count()).sum();
        let broken: Vec<String> =
            findings.broken.iter().map(|(what, number)| format!("{what} {number}")).collect();
        let summary = format!(
            "{events} events in {} lives of watchers, of {} known changes: {}",
            lives.len(),
            changes.len(),
            if broken.is_empty() {
                "all as promised".into()
            } else {
                format!("broken: {}", broken.join(", "))
            }
        );
        let mut verdict = Verdict::of(NAME, summary, findings.anomalies)
            .unless_unread(unreadable + u64::from(events == 0))
            .count("lives", lives.len() as u64)
            .count("events", events as u64)
            .count("events that had to come", expected)
            .count(
                "lives that ended for compaction",
                lives.iter().filter(|life| life.is_compacted()).count() as u64,
            )
            .count("unreadable", unreadable);
        for (guarantee, number) in findings.broken {
            verdict = verdict.count(guarantee, number);
        }
        verdict
    }
}

#[cfg(test)]
mod tests;
