//! Values that were read lately, by hash: what a transaction reads is mostly what an earlier one
//! read or wrote, and a lookup here costs a tenth of one in the base.
//!
//! Two generations make it bounded without a list of uses: what is read moves into the young one;
//! when that has half of the budget it becomes the old one, and the old one goes.

use bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Memory that an entry takes beside its key and value.
const ENTRY_OVERHEAD_BYTES: usize = 96;

type Generation = HashMap<Bytes, Bytes, RandomState>;

/// Current values of some keys. Never the absence of one: keys that are asked for once and never
/// exist would crowd out the rest.
#[derive(Default)]
pub(super) struct ReadCache {
    young: Generation,
    young_bytes: usize,
    old: Generation,
    expired: Generation,
    bytes_max: usize,
}

impl ReadCache {
    /// An empty cache of at most `bytes_max` bytes; 0 turns it off.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// The value of `key`, if it is known.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<Bytes> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    /// Remembers a value that was read.
    pub(super) fn put(&mut self, key: Bytes, value: Bytes) {
        let bytes = key.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        if bytes > self.bytes_max / 2 {
            return;
        }
        self.young_bytes += bytes;
        self.young.insert(key, value);
        if self.young_bytes > self.bytes_max / 2 {
            self.young_bytes = 0;
            let young = std::mem::take(&mut self.young);
            self.expired = std::mem::replace(&mut self.old, young);
        }
    }

    /// Follows a write. Keys that were not read lately are not remembered: most of what is written
    /// is history that nobody asks for.
    pub(super) fn follow(&mut self, key: &[u8], value: Option<&Bytes>) {
        let known = self.young.get_mut(key).or_else(|| self.old.get_mut(key));
        match (known, value) {
            (Some(known), Some(value)) => {
                // A value that grows in place would escape the budget.
                if value.len() <= known.len() {
                    *known = value.clone();
                } else {
                    self.grow(key, value);
                }
            }
            (Some(_), None) => self.forget(key),
            (None, _) => {}
        }
    }

    /// What has fallen out; freeing it takes long and may be done elsewhere.
    pub(super) fn take_expired(&mut self) -> impl Send + use<> {
        std::mem::take(&mut self.expired)
    }

    fn grow(&mut self, key: &[u8], value: &Bytes) {
        let known = self.young.remove_entry(key).or_else(|| self.old.remove_entry(key));
        if let Some((key, _)) = known {
            self.put(key, value.clone());
        }
    }

    fn forget(&mut self, key: &[u8]) {
        if self.young.remove(key).is_none() {
            self.old.remove(key);
        }
    }
}
