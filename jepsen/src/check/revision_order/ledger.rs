//! Writes in the order of their revisions, played from the beginning.

use super::{Findings, Look};
use crate::history::{History, Operation};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A write that told its revision, and what it did.
pub(super) struct Write<'h> {
    pub(super) operation: &'h Operation,
    pub(super) revision: u64,
    act: Act,
}

/// What a write does.
enum Act {
    /// Sets a key, to nothing for a deletion; and saw what it replaced, or only whether there was anything.
    Set { key: String, new: Option<i64>, before: Option<Option<i64>>, existed: Option<bool> },
    /// Set it because this was there.
    Swap { key: String, expected: Option<i64>, new: i64 },
    /// Moved this much.
    Transfer { from: String, to: String, amount: i64 },
}

/// All writes.
pub(super) struct Ledger<'h> {
    /// In the order of their revisions.
    pub(super) writes: Vec<Write<'h>>,
    /// By key, values that a write whose answer was lost may have set: value, operation.
    maybe: BTreeMap<String, BTreeMap<Option<i64>, Vec<&'h Operation>>>,
    /// Whether there are transfers whose answer was lost.
    maybe_moved: Vec<&'h Operation>,
    /// Acknowledged writes that did not tell their revision.
    pub(super) without_revision: u64,
}

/// What a key holds at some point of the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    value: Option<i64>,
    /// The revision of the write, if it is known.
    revision: Option<u64>,
}

impl<'h> Ledger<'h> {
    /// That of a history.
    pub(super) fn of(history: &'h History) -> Self {
        let mut ledger =
            Self { writes: Vec::new(), maybe: BTreeMap::new(), maybe_moved: Vec::new(), without_revision: 0 };
        for operation in history.operations.iter().filter(|operation| operation.is_possible()) {
            let Some(act) = act(operation) else { continue };
            let changes_nothing = operation.output["swapped"] == false
                || operation.output["done"] == false
                || operation.output["existed"] == false;
            if operation.is_ok() && changes_nothing {
                continue;
            }
            // A deletion that does not say whether there was anything may have no revision of its own.
            let is_vague = operation.f == "delete" && operation.output["existed"].is_null();
            if operation.is_ok() && is_vague {
                ledger.suppose(operation, act);
                continue;
            }
            let revision = operation.output["revision"].as_u64();
            match (operation.is_ok(), revision) {
                (true, Some(revision)) => ledger.writes.push(Write { operation, revision, act }),
                (is_ok, _) => {
                    ledger.without_revision += u64::from(is_ok);
                    ledger.suppose(operation, act);
                }
            }
        }
        ledger.writes.sort_by_key(|write| write.revision);
        ledger
    }

    fn suppose(&mut self, operation: &'h Operation, act: Act) {
        let (key, value) = match act {
            Act::Set { key, new, .. } => (key, new),
            Act::Swap { key, new, .. } => (key, Some(new)),
            Act::Transfer { .. } => return self.maybe_moved.push(operation),
        };
        self.maybe.entry(key).or_default().entry(value).or_default().push(operation);
    }

    /// Plays the writes, and judges what each of them and each read found. Returns how many writes with
    /// lost answers had to be there.
    pub(super) fn replay(&self, looks: &[Look<'_>], findings: &mut Findings) -> u64 {
        let mut looks: Vec<&Look<'_>> = looks.iter().collect();
        looks.sort_by_key(|look| look.at);
        let mut looks = looks.into_iter().peekable();
        let mut replay =
            Replay { ledger: self, findings, store: BTreeMap::new(), recovered: BTreeSet::new() };
        let mut first_balances: BTreeMap<String, i64> = BTreeMap::new();
        for write in self.writes.iter().map(Some).chain([None]) {
            let until = write.map_or(u64::MAX, |write| write.revision);
            while let Some(look) = looks.next_if(|look| look.at < until) {
                if look.operation.output.get("balances").is_some() {
                    replay.balances(look, &mut first_balances);
                } else {
                    replay.look(look);
                }
            }
            write.into_iter().for_each(|write| replay.play(write));
        }
        replay.recovered.len() as u64
    }

    /// A write whose answer was lost that may have put this value there before the operation was over.
    fn explain(&self, key: &str, value: Option<i64>, operation: &Operation) -> Option<usize> {
        let lost = self.maybe.get(key)?.get(&value)?;
        let in_time = |one: &&&Operation| one.invoked <= operation.ended.unwrap_or(u64::MAX);
        lost.iter().find(in_time).map(|one| one.index)
    }
}

/// The store while its writes are played.
struct Replay<'l, 'h> {
    ledger: &'l Ledger<'h>,
    findings: &'l mut Findings,
    store: BTreeMap<String, Held>,
    /// Writes with lost answers that had to be there.
    recovered: BTreeSet<usize>,
}

impl Replay<'_, '_> {
    fn held(&self, key: &str) -> Held {
        self.store.get(key).copied().unwrap_or_default()
    }

    fn play(&mut self, write: &Write<'_>) {
        let revision = write.revision;
        let (key, new, expected, existed) = match &write.act {
            Act::Set { key, new, before, existed } => (key, *new, *before, *existed),
            Act::Swap { key, expected, new } => (key, Some(*new), Some(*expected), None),
            Act::Transfer { from, to, amount } => {
                for (account, by) in [(from, -amount), (to, *amount)] {
                    let value = Some(self.held(account).value.unwrap_or(0) + by);
                    self.store.insert(account.clone(), Held { value, revision: Some(revision) });
                }
                return;
            }
        };
        let held = self.held(key);
        if let Some(expected) = expected.filter(|expected| *expected != held.value) {
            let what = format!(
                "the write of revision {revision} to {key} found {expected:?}, where {:?} was written before",
                held.value
            );
            match self.ledger.explain(key, expected, write.operation) {
                Some(lost) => drop(self.recovered.insert(lost)),
                None => self.findings.add(3, what, [write.operation.index]),
            }
        }
        let is_certain = !self.ledger.maybe.contains_key(key);
        if is_certain && existed.is_some_and(|existed| existed != held.value.is_some()) {
            let what = format!("the deletion of revision {revision} of {key} found {existed:?}");
            self.findings.add(3, what, [write.operation.index]);
        }
        self.store.insert(key.clone(), Held { value: new, revision: Some(revision) });
    }

    fn look(&mut self, look: &Look<'_>) {
        for (key, value, modified) in &look.found {
            let held = self.held(key);
            let is_same_write =
                modified.is_none_or(|modified| held.revision.is_none_or(|held| held == modified));
            if *value == held.value && is_same_write {
                continue;
            }
            // What put it there came after the last acknowledged write, and not after this read.
            let fits =
                modified.is_none_or(|modified| modified > held.revision.unwrap_or(0) && modified <= look.at);
            let Some(lost) = self.ledger.explain(key, *value, look.operation).filter(|_| fits) else {
                let what = format!(
                    "{key} was read as {value:?} (written at {modified:?}) at revision {}, where {held:?} \
                     was last written",
                    look.at
                );
                self.findings.add(promise(look), what, [look.operation.index]);
                continue;
            };
            self.recovered.insert(lost);
            if modified.is_some() {
                self.store.insert(key.clone(), Held { value: *value, revision: *modified });
            }
        }
    }

    /// Accounts hold what they held at first and what was moved since. If answers of transfers are
    /// lost, only the total is known, and that is another check's.
    fn balances(&mut self, look: &Look<'_>, first: &mut BTreeMap<String, i64>) {
        if !self.ledger.maybe_moved.is_empty() || self.ledger.without_revision > 0 {
            return;
        }
        for (account, balance, _) in &look.found {
            let balance = balance.unwrap_or(0);
            let moved = self.held(account).value.unwrap_or(0);
            let before = *first.entry(account.clone()).or_insert(balance - moved);
            if before + moved != balance {
                let what = format!(
                    "account {account} had {balance} at revision {}, where transfers leave {}",
                    look.at,
                    before + moved
                );
                self.findings.add(promise(look), what, [look.operation.index]);
            }
        }
    }
}

/// The promise that a look at the store is judged by.
fn promise(look: &Look<'_>) -> u8 {
    if look.is_linearizable { 3 } else { 6 }
}

fn act(operation: &Operation) -> Option<Act> {
    let (input, output) = (&operation.input, &operation.output);
    let key = operation.key.clone().unwrap_or_default();
    match operation.f.as_str() {
        "write" | "put" => {
            let before = output.get("previous").map(Value::as_i64);
            Some(Act::Set { key, new: input["value"].as_i64(), before, existed: None })
        }
        "delete" => {
            let existed = output["existed"].as_bool();
            Some(Act::Set { key, new: None, before: None, existed })
        }
        "cas" => {
            let expected = input["expected"].as_i64();
            Some(Act::Swap { key, expected, new: input["new"].as_i64()? })
        }
        "transfer" => {
            let account = |name: &str| {
                let value = &input[name];
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            };
            Some(Act::Transfer {
                from: account("from"),
                to: account("to"),
                amount: input["amount"].as_i64()?,
            })
        }
        _ => None,
    }
}
