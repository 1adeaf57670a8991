//! A log in memory that survives its replica, and loses what was not synced.

use crate::storage::{LogStore, StorageError, StorageResult};
use raft::eraftpb::{Entry, HardState};
use std::sync::{Arc, Mutex, MutexGuard};

/// A [`LogStore`] whose clones share one log.
#[derive(Clone, Default)]
pub(crate) struct MemoryLog(Arc<Mutex<Contents>>);

#[derive(Clone, Default)]
struct Contents {
    base: (u64, u64),
    entries: Vec<Entry>,
    hard_state: HardState,
    /// What a power cut leaves of the hard state.
    synced_hard_state: HardState,
    syncs: u64,
    is_broken: bool,
}

impl MemoryLog {
    /// An empty log after `base`.
    pub(crate) fn new(base: (u64, u64)) -> Self {
        Self(Arc::new(Mutex::new(Contents { base, ..Contents::default() })))
    }

    /// Loses what was not synced.
    pub(crate) fn cut_power(&self) {
        let mut contents = self.lock();
        contents.hard_state = contents.synced_hard_state.clone();
    }

    /// Makes every later write fail.
    pub(crate) fn break_down(&self) {
        self.lock().is_broken = true;
    }

    /// Number of syncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Loses entries that were synced, as a disk that lies would.
    pub(crate) fn lose_after(&self, index: u64) {
        self.lock().entries.retain(|entry| entry.index <= index);
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test panics while it holds the log")
    }
}

impl Contents {
    fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    fn check(&self) -> StorageResult<()> {
        if self.is_broken { Err(StorageError::State("the disk broke down".to_owned())) } else { Ok(()) }
    }
}

impl LogStore for MemoryLog {
    fn base(&self) -> (u64, u64) {
        self.lock().base
    }

    fn last_index(&self) -> u64 {
        self.lock().last()
    }

    fn term(&self, index: u64) -> StorageResult<Option<u64>> {
        let contents = self.lock();
        if index == contents.base.0 {
            return Ok(Some(contents.base.1));
        }
        Ok(contents.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term))
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> StorageResult<Vec<Entry>> {
        let contents = self.lock();
        assert!(low > contents.base.0 && high <= contents.last() + 1, "[{low}, {high}) is not held");
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let is_first = bytes == 0;
            bytes += entry.data.len() as u64 + 24;
            is_first || bytes <= bytes_max
        };
        Ok(contents
            .entries
            .iter()
            .filter(|e| (low..high).contains(&e.index))
            .take_while(fits)
            .cloned()
            .collect())
    }

    fn hard_state(&self) -> HardState {
        self.lock().hard_state.clone()
    }

    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>, sync: bool) -> StorageResult<()> {
        let mut contents = self.lock();
        contents.check()?;
        if let Some(first) = entries.first() {
            assert!(
                contents.base.0 < first.index && first.index <= contents.last() + 1,
                "a gap before {first:?}"
            );
            assert!(sync, "entries are always synced");
            contents.entries.retain(|entry| entry.index < first.index);
            contents.entries.extend_from_slice(entries);
        }
        if let Some(hard_state) = hard_state {
            contents.hard_state = hard_state.clone();
        }
        if sync {
            contents.syncs += 1;
            contents.synced_hard_state = contents.hard_state.clone();
        }
        Ok(())
    }

    fn truncate_front(&mut self, index: u64) -> StorageResult<()> {
        let term = self.term(index)?.expect("the entry is held");
        let mut contents = self.lock();
        contents.entries.retain(|entry| entry.index > index);
        contents.base = (index, term);
        Ok(())
    }

    fn reset(&mut self, index: u64, term: u64, hard_state: &HardState) -> StorageResult<()> {
        let mut contents = self.lock();
        contents.check()?;
        contents.entries.clear();
        contents.base = (index, term);
        contents.hard_state = hard_state.clone();
        contents.synced_hard_state = hard_state.clone();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.lock().entries.iter().map(|entry| entry.data.len() as u64 + 24).sum()
    }
}
