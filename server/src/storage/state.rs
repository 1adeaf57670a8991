//! The state as the machine sees it: recent records in memory over a store on disk.
//!
//! ```text
//! active overlay   what was applied last; grows with every write
//! frozen overlay   on its way to disk, by a [`FlushJob`] in the background; afterwards it is kept
//!                  as a cache until the next one is frozen
//! base             a [`BaseStore`]
//! ```
//!
//! A flush writes a frozen overlay together with its applied index in one atomic batch. So the
//! store on disk is always the state after some whole number of entries, and replaying the log from
//! there gives the same state again. Nothing is written twice that was overwritten in between.

mod cache;
mod merge;
mod overlay;
mod runs;
#[cfg(test)]
mod tests;

use self::cache::ReadCache;
use self::merge::Merge;
use self::overlay::Overlay;
use super::{BaseStore, StorageError, StorageResult};
use bytes::Bytes;
use oarlock_state::{Mutation, View, keys};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the base keeps the applied index. Below every space of the state, and never visited.
pub(super) const APPLIED_KEY: &[u8] = b"\0applied";
/// Keys of the state are not below this.
pub(super) const FIRST_KEY: &[u8] = &[1];
/// No key of the state is at or above this.
pub(super) const END_KEY: &[u8] = &[0xff];
/// An active overlay of so many thresholds makes writers wait for the flush.
const OVERFULL_THRESHOLDS: usize = 4;

/// When to write behind, and what to do when the base fails.
#[derive(Clone, Copy, Debug)]
pub struct StateOptions {
    /// Bytes of the active overlay from which on it should be flushed.
    pub freeze_bytes: usize,
    /// Records of the active overlay from which on it should be flushed.
    pub freeze_records: usize,
    /// Bytes of values kept in memory because they were read lately.
    pub cache_bytes: usize,
    /// Stops the node, because a view must not answer what it could not read.
    pub on_failure: fn(&StorageError) -> !,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            freeze_bytes: 64 << 20,
            freeze_records: 400_000,
            cache_bytes: 128 << 20,
            on_failure: panic_on_failure,
        }
    }
}

fn panic_on_failure(error: &StorageError) -> ! {
    panic!("{error}")
}

/// The state: a [`View`] that can be written and is written behind.
pub struct StateStore {
    base: Arc<dyn BaseStore>,
    options: StateOptions,
    active: Overlay,
    /// The overlay frozen last. While `flushing`, it holds records that the base does not have.
    frozen: Arc<Overlay>,
    flushing: bool,
    /// Values as they are now, whichever layer they come from.
    cache: Mutex<ReadCache>,
    applied: u64,
    durable_applied: u64,
}

/// A frozen overlay to be written. Run it on any thread, then hand the result to
/// [`StateStore::flushed`]. Dropping it instead loses nothing but progress: the records stay
/// readable, and nothing is flushed any more.
#[must_use = "the state is written when the job runs"]
pub struct FlushJob {
    base: Arc<dyn BaseStore>,
    overlay: Arc<Overlay>,
    applied: u64,
    /// What nobody reads any more, freed here because that takes long.
    expired: Box<dyn Send>,
}

/// Proof that a frozen overlay is durable.
#[derive(Debug)]
pub struct FlushDone {
    applied: u64,
}

impl std::fmt::Debug for FlushJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlushJob").field("applied", &self.applied).finish_non_exhaustive()
    }
}

impl FlushJob {
    /// Writes the overlay and its applied index in one batch and waits until it is durable.
    ///
    /// # Errors
    /// Those of the base. The node must stop.
    pub fn run(self) -> StorageResult<FlushDone> {
        let applied = self.applied.to_be_bytes();
        let index = std::iter::once((APPLIED_KEY, Some(&applied[..])));
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("index_before_data") {
            self.base.write(&mut index.clone())?;
        }
        let records = Merge::new(self.overlay.layers(FIRST_KEY, END_KEY, false), false);
        let records = records.map(|(key, value)| (key, value.map(|value| &value[..])));
        self.base.write(&mut index.chain(records))?;
        drop(self.expired);
        Ok(FlushDone { applied: self.applied })
    }

    /// Applied index that will be durable.
    pub fn applied(&self) -> u64 {
        self.applied
    }
}

impl StateStore {
    /// The state that `base` holds.
    ///
    /// # Errors
    /// Those of the base, and an applied index that does not read as one.
    pub fn open(base: Arc<dyn BaseStore>, options: StateOptions) -> StorageResult<Self> {
        let applied = read_applied(&*base)?;
        Ok(Self {
            base,
            options,
            active: Overlay::default(),
            frozen: Arc::default(),
            flushing: false,
            cache: Mutex::new(ReadCache::new(options.cache_bytes)),
            applied,
            durable_applied: applied,
        })
    }

    /// Makes the mutations of the entries up to `applied` visible. Memory only.
    pub fn write(&mut self, mutations: Vec<Mutation>, applied: u64) {
        assert!(applied >= self.applied, "entry {applied} is applied after entry {}", self.applied);
        let cache = self.cache.get_mut().unwrap_or_else(PoisonError::into_inner);
        for mutation in mutations {
            // What is added to the past was never there before, and so never read.
            if mutation.value.is_none() || !keys::is_of_the_past(&mutation.key) {
                cache.follow(&mutation.key, mutation.value.as_ref());
            }
            self.active.put(mutation);
        }
        self.applied = applied;
    }

    /// A flush if the active overlay has reached its threshold and no flush is running.
    pub fn maybe_freeze(&mut self) -> Option<FlushJob> {
        let due = self.active.bytes() >= self.options.freeze_bytes
            || self.active.len() >= self.options.freeze_records;
        if due { self.freeze_now() } else { None }
    }

    /// A flush of everything written so far, unless one is running or all of it is durable.
    pub fn freeze_now(&mut self) -> Option<FlushJob> {
        if self.flushing || (self.active.len() == 0 && self.applied == self.durable_applied) {
            return None;
        }
        let next = self.active.next();
        let overlay = Arc::new(std::mem::replace(&mut self.active, next));
        let frozen_before = std::mem::replace(&mut self.frozen, Arc::clone(&overlay));
        let expired = Box::new((frozen_before, self.lock_cache().take_expired()));
        self.flushing = true;
        Some(FlushJob { base: Arc::clone(&self.base), overlay, applied: self.applied, expired })
    }

    /// Takes note that a flush is done. The flushed records stay in memory as a cache until the
    /// next overlay is frozen.
    pub fn flushed(&mut self, done: FlushDone) {
        assert!(self.flushing, "a flush that was never begun");
        self.flushing = false;
        self.durable_applied = done.applied;
    }

    /// Index of the last entry whose mutations were written.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Highest applied index whose state survives a power cut.
    pub fn durable_applied(&self) -> u64 {
        self.durable_applied
    }

    /// Bytes of records that are not yet on disk.
    pub fn overlay_bytes(&self) -> usize {
        self.active.bytes() + if self.flushing { self.frozen.bytes() } else { 0 }
    }

    /// Whether so much was written during a flush that the caller must wait for its end.
    pub fn is_overfull(&self) -> bool {
        self.flushing && self.active.bytes() >= OVERFULL_THRESHOLDS * self.options.freeze_bytes
    }

    /// Whether a flush is running.
    pub fn is_flushing(&self) -> bool {
        self.flushing
    }

    /// The store below.
    pub fn base(&self) -> &Arc<dyn BaseStore> {
        &self.base
    }

    /// The value of `key` in the newest layer that has one.
    fn look_up(&self, key: &[u8]) -> Option<Bytes> {
        for overlay in [&self.active, &*self.frozen] {
            if let Some(value) = overlay.get(key) {
                return value;
            }
        }
        self.must(self.base.get(key))
    }

    fn lock_cache(&self) -> MutexGuard<'_, ReadCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn must<T>(&self, result: StorageResult<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => (self.options.on_failure)(&error),
        }
    }
}

/// The applied index that a base carries; 0 if it was never flushed to.
pub(super) fn read_applied(base: &dyn BaseStore) -> StorageResult<u64> {
    let Some(bytes) = base.get(APPLIED_KEY)? else {
        return Ok(0);
    };
    let bytes: [u8; 8] = bytes[..].try_into().map_err(|_| {
        StorageError::State(format!(
            "its applied index has {} bytes instead of 8; the store is damaged",
            bytes.len()
        ))
    })?;
    Ok(u64::from_be_bytes(bytes))
}

impl View for StateStore {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        if let Some(value) = self.lock_cache().get(key) {
            return Some(value);
        }
        let value = self.look_up(key)?;
        self.lock_cache().put(Bytes::copy_from_slice(key), value.clone());
        Some(value)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        let from = from.max(FIRST_KEY);
        if from >= to {
            return;
        }
        let [a, b, c] = self.active.layers(from, to, reverse);
        let [d, e, f] = self.frozen.layers(from, to, reverse);
        let mut recent = Merge::new([a, b, c, d, e, f], reverse);
        let mut flow = ControlFlow::Continue(());
        let scanned = self.base.scan(from, to, reverse, &mut |key, value| {
            flow = recent.visit_through(key, value, visit);
            flow
        });
        self.must(scanned);
        if flow.is_continue() {
            recent.visit_rest(visit);
        }
    }
}
