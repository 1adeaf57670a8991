//! What an informer has in memory, and how it changes.

use super::{Decode, Delta};
use crate::error::Error;
use crate::types::{KeyValue, Token};
use crate::watch::WatchEvent;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<T> {
    /// Its key.
    pub key: Bytes,
    /// Its value, decoded.
    pub value: T,
    /// Revision at which this generation of the key began. It is the key's fencing token.
    pub create_revision: u64,
    /// Revision of the last change.
    pub mod_revision: u64,
    /// Changes since creation, from 1.
    pub version: u64,
    /// The session whose end removes the key; 0 for a persistent key.
    pub owner: u64,
}

impl<T> Item<T> {
    fn of(record: &KeyValue, value: T) -> Self {
        let KeyValue { key, create_revision, mod_revision, version, owner, .. } = record.clone();
        Self { key, value, create_revision, mod_revision, version, owner }
    }

    /// The fencing token of this generation of the key.
    pub fn token(&self) -> Token {
        let record =
            KeyValue { key: self.key.clone(), create_revision: self.create_revision, ..KeyValue::default() };
        record.token()
    }
}

pub(super) type Items<T> = BTreeMap<Bytes, Arc<Item<T>>>;

/// The records of an informer's range at one revision.
#[derive(Debug)]
pub struct Snapshot<T> {
    revision: u64,
    items: Arc<Items<T>>,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self { revision: self.revision, items: self.items.clone() }
    }
}

impl<T> Snapshot<T> {
    /// The revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One record.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Arc<Item<T>>> {
        self.items.get(key.as_ref())
    }

    /// The records in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Item<T>>> {
        self.items.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<T> IntoIterator for Snapshot<T> {
    type Item = Arc<Item<T>>;
    type IntoIter = std::vec::IntoIter<Arc<Item<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.values().cloned().collect::<Vec<_>>().into_iter()
    }
}

/// Everything an informer knows. Invariant: `items` is the range at `revision`, but for values that
/// could not be decoded.
pub(super) struct State<T> {
    pub(super) items: Arc<Items<T>>,
    /// 0 before the first read.
    pub(super) revision: u64,
    /// When the read began that last proved the records current.
    pub(super) confirmed: Option<Instant>,
    /// Why following fails.
    pub(super) failure: Option<Error>,
    pub(super) undecodable: BTreeMap<Bytes, String>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            items: Arc::default(),
            revision: 0,
            confirmed: None,
            failure: None,
            undecodable: BTreeMap::new(),
        }
    }
}

impl<T> State<T> {
    pub(super) fn is_synced(&self) -> bool {
        self.revision > 0
    }

    pub(super) fn snapshot(&self) -> Snapshot<T> {
        Snapshot { revision: self.revision, items: self.items.clone() }
    }

    /// Takes the whole range at `revision` in the place of what is there, and tells the differences.
    pub(super) fn replace(
        &mut self,
        revision: u64,
        records: &[KeyValue],
        decode: &Decode<T>,
    ) -> Vec<Delta<T>> {
        let present: std::collections::BTreeSet<&Bytes> = records.iter().map(|record| &record.key).collect();
        let gone = |key: &&Bytes| !present.contains(*key);
        let removed: Vec<Bytes> = self.items.keys().filter(gone).cloned().collect();
        self.undecodable.retain(|key, _| present.contains(key));
        let mut deltas = Vec::new();
        // A cluster that went back is another one, and equal revisions there mean nothing.
        let is_same_cluster = revision >= self.revision;
        for key in removed {
            if let Some(previous) = Arc::make_mut(&mut self.items).remove(&key) {
                deltas.push(Delta::Remove { previous, revision, cause: None, session: 0 });
            }
        }
        for record in records {
            let known = self.items.get(&record.key).filter(|_| is_same_cluster);
            if known.is_none_or(|known| known.mod_revision != record.mod_revision) {
                deltas.extend(self.upsert(record, decode));
            } else {
                self.undecodable.remove(&record.key);
            }
        }
        self.revision = revision;
        deltas
    }

    /// Takes one change.
    pub(super) fn apply(&mut self, event: &WatchEvent, decode: &Decode<T>) -> Option<Delta<T>> {
        let revision = event.record.mod_revision;
        self.revision = self.revision.max(revision);
        if !event.deleted {
            return self.upsert(&event.record, decode);
        }
        self.undecodable.remove(&event.record.key);
        let previous = Arc::make_mut(&mut self.items).remove(&event.record.key)?;
        Some(Delta::Remove { previous, revision, cause: Some(event.cause), session: event.session })
    }

    fn upsert(&mut self, record: &KeyValue, decode: &Decode<T>) -> Option<Delta<T>> {
        let value = match decode(record) {
            Ok(value) => value,
            Err(why) => {
                self.undecodable.insert(record.key.clone(), why);
                return None;
            }
        };
        self.undecodable.remove(&record.key);
        let item = Arc::new(Item::of(record, value));
        let previous = Arc::make_mut(&mut self.items).insert(record.key.clone(), item.clone());
        Some(Delta::Upsert { item, previous })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_proto::v1::watch_event::Cause;

    fn record(key: &str, value: &str, revision: u64) -> KeyValue {
        KeyValue {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            owner: 0,
        }
    }

    fn number(record: &KeyValue) -> Result<i64, String> {
        record.text().parse().map_err(|_| format!("{} is no number", record.text()))
    }

    fn event(record: KeyValue, deleted: bool) -> WatchEvent {
        WatchEvent { record, deleted, previous: None, cause: Cause::Request, session: 0 }
    }

    fn told(deltas: &[Delta<i64>]) -> Vec<String> {
        let tell = |delta: &Delta<i64>| match delta {
            Delta::Upsert { item, previous } => {
                format!("{:?}={} was {:?}", item.key, item.value, previous.as_ref().map(|p| p.value))
            }
            Delta::Remove { previous, revision, .. } => format!("{:?} gone at {revision}", previous.key),
        };
        deltas.iter().map(tell).collect()
    }

    #[test]
    fn a_new_listing_tells_the_differences_and_nothing_else() {
        let mut state = State::default();
        let first = state.replace(5, &[record("a", "1", 3), record("b", "2", 4)], &number);
        assert_eq!(told(&first), [r#"b"a"=1 was None"#, r#"b"b"=2 was None"#]);
        let second = state.replace(9, &[record("b", "3", 8), record("c", "4", 9)], &number);
        assert_eq!(told(&second), [r#"b"a" gone at 9"#, r#"b"b"=3 was Some(2)"#, r#"b"c"=4 was None"#]);
        assert!(state.replace(11, &[record("b", "3", 8), record("c", "4", 9)], &number).is_empty());
        assert_eq!(state.revision, 11);
        let other = state.replace(3, &[record("c", "5", 9)], &number);
        assert_eq!(told(&other), [r#"b"b" gone at 3"#, r#"b"c"=5 was Some(4)"#], "another cluster");
    }

    #[test]
    fn what_cannot_be_decoded_replaces_nothing() {
        let mut state = State::default();
        state.replace(5, &[record("a", "1", 3)], &number);
        let mut bad = record("a", "x", 6);
        bad.create_revision = 3;
        assert!(state.apply(&event(bad, false), &number).is_none());
        assert_eq!(state.items["a".as_bytes()].value, 1);
        assert_eq!(state.undecodable["a".as_bytes()], "x is no number");
        assert!(state.apply(&event(record("a", "2", 7), false), &number).is_some());
        assert!(state.undecodable.is_empty());
        assert_eq!((state.items["a".as_bytes()].value, state.revision), (2, 7));
    }

    #[test]
    fn a_snapshot_does_not_change_under_its_reader() {
        let mut state = State::default();
        state.replace(5, &[record("a", "1", 3)], &number);
        let before = state.snapshot();
        let gone = state.apply(&event(record("a", "", 6), true), &number);
        assert!(matches!(gone, Some(Delta::Remove { cause: Some(Cause::Request), revision: 6, .. })));
        assert_eq!((before.len(), before.revision()), (1, 5));
        assert!(state.snapshot().is_empty());
        assert!(state.apply(&event(record("a", "", 7), true), &number).is_none(), "it was not there");
    }
}
