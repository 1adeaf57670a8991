//! kv as one would explain it: every key with all its versions, and transactions read aloud.

use crate::watched::covers;
use bytes::Bytes;
use oarlock_state::command::{
    Compare, CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, OpResult, Put, RangeQuery, RangeReply, Txn,
    TxnReply, Update,
};
use oarlock_state::event::{Event, EventKind};
use oarlock_state::{Revision, SessionId};
use std::collections::BTreeMap;

/// Digits of a sequential key's number.
const DIGITS: usize = 20;

/// All keys at all revisions.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Each key's versions in order; `None` is a deletion.
    keys: BTreeMap<Bytes, Vec<(u64, Option<KeyValue>)>>,
    /// Last number given under each prefix.
    sequences: BTreeMap<Bytes, u64>,
}

/// What a transaction does to the keys.
pub type Changes = BTreeMap<Bytes, Option<KeyValue>>;

/// A transaction under way: the keys as they were, and what it changed.
struct Work<'m> {
    model: &'m Model,
    at: u64,
    next: u64,
    changes: Changes,
    sequences: BTreeMap<Bytes, u64>,
}

impl Model {
    /// A key at a revision.
    pub fn get(&self, key: &[u8], at: u64) -> Option<&KeyValue> {
        let versions = self.keys.get(key)?;
        let up_to = versions.partition_point(|(revision, _)| *revision <= at);
        versions[..up_to].last()?.1.as_ref()
    }

    /// The keys of a range at a revision.
    pub fn range<'m>(&'m self, range: &'m KeyRange, at: u64) -> impl Iterator<Item = &'m KeyValue> {
        self.keys.keys().filter(|key| covers(range, key)).filter_map(move |key| self.get(key, at))
    }

    /// What a read at a revision returns. `None` for a read that this model does not explain.
    pub fn read(&self, query: &RangeQuery, at: u64) -> Option<RangeReply> {
        let plain = RangeQuery { revision: Revision(0), ..RangeQuery::of(query.range.clone()) };
        if (RangeQuery { revision: Revision(0), ..query.clone() }) != plain {
            return None;
        }
        let records: Vec<KeyValue> = self.range(&query.range, at).cloned().collect();
        Some(RangeReply { count: records.len() as u64, records, more: false })
    }

    /// Executes a transaction on the state of revision `at`, changing nothing. `given` are the
    /// results that were returned: numbers of sequential keys are taken from there, if they are
    /// allowed. `Err` says why those results cannot be.
    pub fn execute(&self, txn: &Txn, at: u64, given: &TxnReply) -> Result<(TxnReply, Changes), String> {
        let mut work =
            Work { model: self, at, next: at + 1, changes: Changes::new(), sequences: BTreeMap::new() };
        let reply = work.txn(txn, given)?;
        Ok((reply, work.changes))
    }

    /// Makes changes true at a revision.
    pub fn commit(&mut self, revision: u64, changes: &Changes) {
        for (key, record) in changes {
            self.keys.entry(key.clone()).or_default().push((revision, record.clone()));
            if record.is_some()
                && let Some((prefix, number)) = sequence_of(key)
            {
                let last = self.sequences.entry(prefix).or_default();
                *last = number.max(*last);
            }
        }
    }

    /// What the events of one revision did.
    pub fn changes_of(events: &[Event]) -> Changes {
        let mut changes = Changes::new();
        for event in events {
            match &event.kind {
                EventKind::Put { value, create_revision, version, owner } => {
                    let record = KeyValue {
                        key: event.key.clone(),
                        value: value.clone(),
                        create_revision: *create_revision,
                        mod_revision: event.revision,
                        version: *version,
                        owner: *owner,
                    };
                    changes.insert(event.key.clone(), Some(record));
                }
                EventKind::Delete => {
                    changes.insert(event.key.clone(), None);
                }
                EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => {}
            }
        }
        changes
    }
}

/// A key that ends in a sequence number, apart.
fn sequence_of(key: &Bytes) -> Option<(Bytes, u64)> {
    let split = key.len().checked_sub(DIGITS)?;
    let digits = std::str::from_utf8(&key[split..]).ok()?;
    Some((key.slice(..split), digits.parse().ok()?))
}

impl Work<'_> {
    fn get(&self, key: &[u8]) -> Option<KeyValue> {
        match self.changes.get(key) {
            Some(changed) => changed.clone(),
            None => self.model.get(key, self.at).cloned(),
        }
    }

    fn range(&self, range: &KeyRange) -> Vec<KeyValue> {
        let mut found: BTreeMap<Bytes, KeyValue> =
            self.model.range(range, self.at).map(|record| (record.key.clone(), record.clone())).collect();
        for (key, changed) in self.changes.iter().filter(|(key, _)| covers(range, key)) {
            match changed {
                Some(record) => found.insert(key.clone(), record.clone()),
                None => found.remove(key),
            };
        }
        found.into_values().collect()
    }

    fn txn(&mut self, txn: &Txn, given: &TxnReply) -> Result<TxnReply, String> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded { &txn.then } else { &txn.otherwise };
        let results = branch
            .iter()
            .enumerate()
            .map(|(position, op)| self.op(op, given.results.get(position)))
            .collect::<Result<_, _>>()?;
        Ok(TxnReply { succeeded, results })
    }

    fn holds(&self, compare: &Compare) -> bool {
        match &compare.range {
            KeyRange::Key(key) => compares(compare, self.get(key).as_ref()),
            KeyRange::Span { .. } => {
                self.range(&compare.range).iter().all(|record| compares(compare, Some(record)))
            }
        }
    }

    fn op(&mut self, op: &KvOp, given: Option<&OpResult>) -> Result<OpResult, String> {
        Ok(match op {
            KvOp::Range(query) => {
                let records = match query.revision.get() {
                    0 => self.range(&query.range),
                    past => self.model.range(&query.range, past).cloned().collect(),
                };
                OpResult::Range(RangeReply { count: records.len() as u64, records, more: false })
            }
            KvOp::Put(put) => self.put(put),
            KvOp::Delete { range, want_previous } => {
                let gone = self.range(range);
                for record in &gone {
                    self.changes.insert(record.key.clone(), None);
                }
                OpResult::Delete {
                    deleted: gone.len() as u64,
                    previous: if *want_previous { gone } else { Vec::new() },
                }
            }
            KvOp::Txn(txn) => match given {
                Some(OpResult::Txn(given)) => OpResult::Txn(self.txn(txn, given)?),
                other => return Err(format!("a transaction's result is {other:?}")),
            },
            KvOp::Update { key, update } => {
                let value = self.updated(key, update)?;
                let before = self.get(key);
                // A bound that holds already changes nothing.
                let is_bound = matches!(update, Update::Max(_) | Update::Min(_));
                if !is_bound || before.as_ref().is_none_or(|before| before.value != value) {
                    let owner = before.map_or(SessionId(0), |before| before.owner);
                    self.set(key.clone(), value.clone(), owner);
                }
                OpResult::Update { value }
            }
            KvOp::PutSequential { prefix, value, owner } => {
                let key = self.sequential(prefix, given)?;
                self.set(key.clone(), value.clone(), *owner);
                OpResult::PutSequential { key }
            }
        })
    }

    fn put(&mut self, put: &Put) -> OpResult {
        let previous = self.get(&put.key);
        self.set(put.key.clone(), put.value.clone(), put.owner);
        OpResult::Put { previous: previous.filter(|_| put.want_previous) }
    }

    fn set(&mut self, key: Bytes, value: Bytes, owner: SessionId) {
        let before = self.get(&key);
        let next = Revision(self.next);
        let record = KeyValue {
            key: key.clone(),
            value,
            create_revision: before.as_ref().map_or(next, |before| before.create_revision),
            mod_revision: next,
            version: before.map_or(1, |before| before.version + 1),
            owner,
        };
        self.changes.insert(key, Some(record));
    }

    fn updated(&self, key: &Bytes, update: &Update) -> Result<Bytes, String> {
        let before = self.get(key).map(|record| record.value).unwrap_or_default();
        let number = || match before.as_ref() {
            b"" => Ok(0),
            text => {
                std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()).ok_or("not a number")
            }
        };
        Ok(match update {
            Update::Add(by) => (number()? + by).to_string().into(),
            Update::Max(other) => number()?.max(*other).to_string().into(),
            Update::Min(other) => number()?.min(*other).to_string().into(),
            Update::Append(more) => [&before[..], more].concat().into(),
        })
    }

    fn sequential(&mut self, prefix: &Bytes, given: Option<&OpResult>) -> Result<Bytes, String> {
        let Some(OpResult::PutSequential { key }) = given else {
            return Err(format!("a sequential put's result is {given:?}"));
        };
        let Some((under, number)) = sequence_of(key).filter(|(under, _)| under == prefix) else {
            return Err(format!("sequential key {key:?} is not {prefix:?} and {DIGITS} digits"));
        };
        let last = self.sequences.get(&under).or_else(|| self.model.sequences.get(&under));
        if last.is_some_and(|last| *last >= number) {
            return Err(format!("sequential key {key:?} comes after number {last:?}"));
        }
        self.sequences.insert(under, number);
        Ok(key.clone())
    }
}

fn compares(compare: &Compare, record: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> u64| record.map_or(0, of);
    let order = match &compare.target {
        CompareTarget::Version(right) => number(|r| r.version).cmp(right),
        CompareTarget::CreateRevision(right) => number(|r| r.create_revision.get()).cmp(&right.get()),
        CompareTarget::ModRevision(right) => number(|r| r.mod_revision.get()).cmp(&right.get()),
        CompareTarget::Owner(right) => number(|r| r.owner.get()).cmp(&right.get()),
        CompareTarget::Count(right) => u64::from(record.is_some()).cmp(right),
        CompareTarget::Value(right) => match record {
            Some(record) => record.value.cmp(right),
            None => return false,
        },
    };
    match compare.op {
        CompareOp::Equal => order.is_eq(),
        CompareOp::NotEqual => order.is_ne(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::Less => order.is_lt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{delete, put, swap};

    fn run(model: &mut Model, txn: &Txn, at: u64) -> TxnReply {
        let given = TxnReply { succeeded: true, results: Vec::new() };
        let (reply, changes) = model.execute(txn, at, &given).expect("explained");
        model.commit(at + 1, &changes);
        reply
    }

    #[test]
    fn a_key_has_versions_and_a_past() {
        let key = Bytes::from_static(b"k");
        let mut model = Model::default();
        run(&mut model, &put(&key, "v1".into()), 1);
        run(&mut model, &put(&key, "v2".into()), 2);
        let now = model.get(&key, 3).expect("there");
        assert_eq!((now.create_revision.get(), now.mod_revision.get(), now.version), (2, 3, 2));
        assert_eq!(model.get(&key, 2).expect("there").value, "v1");
        run(&mut model, &delete(&key), 3);
        assert!(model.get(&key, 4).is_none() && model.get(&key, 1).is_none());
        let lost = run(&mut model, &swap(&key, Some("v2".into()), "v3".into()), 4);
        assert!(!lost.succeeded);
        assert!(run(&mut model, &swap(&key, None, "v3".into()), 4).succeeded);
        assert_eq!(model.get(&key, 5).expect("there").version, 1);
    }
}
