//! What was applied last, in memory and in order.

use super::merge::Layer;
use super::runs::Runs;
use bytes::Bytes;
use oarlock_state::Mutation;
use oarlock_state::keys::{self, Space};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Memory that a record takes beside its key and value.
const RECORD_OVERHEAD_BYTES: usize = 96;

/// A key beside its neighbours in a node of the tree, so that a search does not follow a pointer for
/// each comparison. Longer keys are on the heap.
pub(super) type Key = SmallVec<[u8; 64]>;

/// A record of the tree.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None` hides what the layers below have.
    pub(super) value: Option<Bytes>,
    /// The layers below have nothing under its key. What lives shortly, such as the outcome of a
    /// request or a place in a queue, never gets to the disk.
    is_born_here: bool,
}

/// Recent records; a removed one hides those of the layers below.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    tree: BTreeMap<Key, Slot>,
    /// Events come in the order of their keys, each beyond all before it, so that no search is needed.
    /// Where the tree has a key of these or of the versions too, the tree holds.
    history: Vec<(Bytes, Bytes)>,
    /// Versions come in any order, each once.
    versions: Runs,
    /// Keys of history and of versions that are in the tree.
    strays: usize,
    bytes: usize,
}

impl Overlay {
    /// Makes the mutation visible.
    pub(super) fn put(&mut self, mutation: Mutation) {
        let Mutation { key, value, creates } = mutation;
        self.bytes += value_bytes(value.as_ref());
        let is_past = keys::is_of_the_past(&key);
        let is_new = is_past && (self.strays == 0 || !self.tree.contains_key(&key[..]));
        match value {
            Some(value) if is_new && !is_history(&key) => {
                self.bytes += key.len() + RECORD_OVERHEAD_BYTES;
                self.versions.push(key, value);
            }
            Some(value) if is_new && self.history.last().is_none_or(|(last, _)| *last < key) => {
                self.bytes += key.len() + RECORD_OVERHEAD_BYTES;
                self.history.push((key, value));
            }
            None if self.tree.get(&key[..]).is_some_and(|slot| slot.is_born_here) => self.forget(&key),
            value => self.set(&key, value, creates),
        }
    }

    fn set(&mut self, key: &[u8], value: Option<Bytes>, creates: bool) {
        match self.tree.entry(Key::from_slice(key)) {
            Entry::Occupied(mut slot) => {
                self.bytes -= value_bytes(slot.get().value.as_ref());
                slot.get_mut().value = value;
            }
            Entry::Vacant(place) => {
                self.bytes += key.len() + RECORD_OVERHEAD_BYTES;
                self.strays += usize::from(keys::is_of_the_past(key));
                let is_born_here = creates && value.is_some();
                place.insert(Slot { value, is_born_here });
            }
        }
    }

    /// Removes what no layer below knows: nothing is left to hide.
    fn forget(&mut self, key: &[u8]) {
        if let Some(slot) = self.tree.remove(key) {
            self.bytes -= value_bytes(slot.value.as_ref()) + key.len() + RECORD_OVERHEAD_BYTES;
            self.strays -= usize::from(keys::is_of_the_past(key));
        }
    }

    /// What this layer knows of a key: nothing, that it is removed, or its value.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        if (self.strays > 0 || !keys::is_of_the_past(key))
            && let Some(slot) = self.tree.get(key)
        {
            return Some(slot.value.clone());
        }
        if is_history(key) {
            let place = self.history.binary_search_by(|(known, _)| known[..].cmp(key)).ok()?;
            Some(Some(self.history[place].1.clone()))
        } else if keys::is_of_the_past(key) {
            Some(Some(self.versions.get(key)?.clone()))
        } else {
            None
        }
    }

    /// Its records of `[from, to)`, the winning ones first.
    pub(super) fn layers(&self, from: &[u8], to: &[u8], reverse: bool) -> [Layer<'_>; 3] {
        let place = |bound: &[u8]| self.history.partition_point(|(key, _)| key < bound);
        let events = &self.history[place(from)..place(to)];
        // Most scans are of other spaces, and need not look at what is unsorted.
        let wants_versions = from < &Space::Versions.end()[..] && to > &Space::Versions.start()[..];
        let versions = if wants_versions { self.versions.range(from, to) } else { Vec::new() };
        [
            Layer::of_tree(&self.tree, from, to, reverse),
            Layer::of_run(events, reverse),
            Layer::of_records(versions, reverse),
        ]
    }

    /// An empty overlay with as much room for history as this one needed.
    pub(super) fn next(&self) -> Self {
        Self { history: Vec::with_capacity(self.history.len()), ..Self::default() }
    }

    /// How many records it holds.
    pub(super) fn len(&self) -> usize {
        self.tree.len() + self.history.len() + self.versions.len()
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn is_history(key: &[u8]) -> bool {
    key.first() == Some(&Space::History.byte())
}

fn value_bytes(value: Option<&Bytes>) -> usize {
    value.map_or(0, Bytes::len)
}
