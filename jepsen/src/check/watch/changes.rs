//! All changes that anybody knows of, by revision: what every watcher must be told of.

use super::Findings;
use super::life::Life;
use crate::history::{History, Operation};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a change left in a key, and which operation tells of it.
#[derive(Clone, Copy)]
struct Change {
    value: Option<i64>,
    operation: usize,
}

/// Changes by revision and key.
#[derive(Default)]
pub(super) struct Changes {
    known: BTreeMap<u64, BTreeMap<String, Change>>,
}

impl Changes {
    /// Those of a history. Says which of them contradict each other, and which events nobody wrote.
    pub(super) fn of(history: &History, lives: &[Life], findings: &mut Findings) -> Self {
        let mut changes = Self::default();
        let mut maybe: BTreeSet<(&str, Option<i64>)> = BTreeSet::new();
        let mut is_vague = false;
        for operation in history.operations.iter().filter(|operation| operation.is_possible()) {
            let Some((key, value)) = written(operation) else { continue };
            if operation.output["existed"] == false {
                continue;
            }
            match operation.output["revision"].as_u64() {
                Some(revision) => changes.add(revision, key, value, operation.index, findings),
                None => drop(maybe.insert((key, value))),
            }
            is_vague |= operation.is_ok() && operation.output["revision"].is_null();
        }
        for look in history.operations.iter().filter(|one| one.f == "read" && one.is_ok()) {
            for (key, record) in look.output["records"].as_object().into_iter().flatten() {
                let (Some(value), Some(modified)) = (record[0].as_i64(), record[1].as_u64()) else {
                    continue;
                };
                changes.add(modified, key, Some(value), look.index, findings);
            }
        }
        for life in lives {
            for event in life.events() {
                let is_known =
                    changes.known.get(&event.revision).is_some_and(|keys| keys.contains_key(&event.key));
                if !is_known && !is_vague && !maybe.contains(&(event.key.as_str(), event.value)) {
                    let what = format!("nobody wrote {:?} to {}", event.value, event.key);
                    findings.add("truthful", what, [life.operation]);
                }
                changes.add(event.revision, &event.key, event.value, life.operation, findings);
            }
        }
        changes
    }

    /// Whoever tells of the same revision and key tells the same.
    fn add(
        &mut self,
        revision: u64,
        key: &str,
        value: Option<i64>,
        operation: usize,
        findings: &mut Findings,
    ) {
        let keys = self.known.entry(revision).or_default();
        let change = Change { value, operation };
        let first = *keys.entry(key.to_owned()).or_insert(change);
        if first.value != value {
            let what = format!("revision {revision} of {key} is {:?} and {value:?}", first.value);
            findings.add("truthful", what, [first.operation, operation]);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.values().map(BTreeMap::len).sum()
    }

    /// Whether a life was told of all changes in the time that it covers. Returns how many there were.
    pub(super) fn judge(&self, life: &Life, findings: &mut Findings) -> u64 {
        let Some((first, last)) = life.covered() else { return 0 };
        let told: BTreeSet<(u64, &str)> = life.events().map(|one| (one.revision, one.key.as_str())).collect();
        let mut expected = 0;
        for (revision, keys) in self.known.range(first..=last) {
            for (key, change) in keys.iter().filter(|(key, _)| life.is_of_interest(key)) {
                expected += 1;
                if !told.contains(&(*revision, key.as_str())) {
                    let what = format!(
                        "revision {revision} of {key} was not told, and all from {first} to {last} should be"
                    );
                    findings.add("reliable", what, [change.operation, life.operation]);
                }
            }
        }
        expected
    }

    /// What is read when all is over is what the last changes left.
    pub(super) fn judge_last_reads(&self, history: &History, findings: &mut Findings) {
        let is_last = |one: &&Operation| one.f == "read" && one.is_ok() && one.input["final"] == true;
        for look in history.operations.iter().filter(is_last) {
            let (Some(records), Some(at)) = (look.output["records"].as_object(), look.output["at"].as_u64())
            else {
                continue;
            };
            let mut last: BTreeMap<&str, (u64, Change)> = BTreeMap::new();
            for (revision, keys) in self.known.range(..=at) {
                last.extend(keys.iter().map(|(key, change)| (key.as_str(), (*revision, *change))));
            }
            for (key, (revision, change)) in last {
                let found = records.get(key).and_then(|record| record[1].as_u64());
                let expected = change.value.map(|_| revision);
                if found != expected {
                    let what = format!(
                        "at the end {key} was last written at {found:?}, and changes say {expected:?}"
                    );
                    findings.add("truthful", what, [change.operation, look.index]);
                }
            }
        }
    }
}

/// The key that an operation writes, and what.
fn written(operation: &Operation) -> Option<(&str, Option<i64>)> {
    let key = operation.key.as_deref()?;
    match operation.f.as_str() {
        "put" | "write" => Some((key, operation.input.get("value").and_then(Value::as_i64))),
        "delete" => Some((key, None)),
        _ => None,
    }
}
