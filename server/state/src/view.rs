//! The ordered map of bytes that the machine reads, and the mutations that it asks for.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A consistent, ordered view of the state. Keys begin with their [space](crate::keys::Space)'s
/// byte.
///
/// A view cannot fail: a store that cannot read its disk stops the node instead of answering.
pub trait View {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Option<Bytes>;

    /// Visits the records of `[from, to)` in order (from the last to the first when `reverse`)
    /// until `visit` breaks. Bounded work is the visitor's duty.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    );
}

/// One change of the map: the new value, or `None` to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Full key, its space's byte first.
    pub key: Bytes,
    /// New value; `None` removes the key.
    pub value: Option<Bytes>,
    /// There was no such record before, for certain. A store then need not remember its removal.
    pub creates: bool,
}

impl Mutation {
    /// A change of a record that may have been there before.
    pub fn new(key: Bytes, value: Option<Bytes>) -> Self {
        Self { key, value, creates: false }
    }
}

/// The reference view: a map in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    /// The whole map.
    pub records: BTreeMap<Bytes, Bytes>,
}

impl MemoryView {
    /// Makes the mutations true.
    pub fn write(&mut self, mutations: &[Mutation]) {
        for mutation in mutations {
            match &mutation.value {
                Some(value) => self.records.insert(mutation.key.clone(), value.clone()),
                None => self.records.remove(&mutation.key),
            };
        }
    }
}

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.records.get(key).cloned()
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        if from >= to {
            return;
        }
        use std::ops::Bound::{Excluded, Included};
        let range = self.records.range::<[u8], _>((Included(from), Excluded(to)));
        let mut step = |(key, value): (&Bytes, &Bytes)| visit(key, value).is_break();
        if reverse {
            let _ = range.rev().any(&mut step);
        } else {
            let mut range = range;
            let _ = range.any(&mut step);
        }
    }
}
