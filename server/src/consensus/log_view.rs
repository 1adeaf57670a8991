//! The log as the raft crate wants to see it.

use super::conf;
use crate::storage::{LogStore, StorageError};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage};
use std::cell::Cell;

/// Adapts a [`LogStore`] to [`raft::Storage`], and holds the snapshot on offer.
///
/// Errors of the store come out of the raft crate as panics, as it has no other way. A panic ends
/// the process; nothing is caught and nothing continues on a log that cannot be read.
pub(super) struct LogView {
    pub(super) log: Box<dyn LogStore>,
    /// The configuration at the start. Read once, by `RawNode::new`.
    initial: RaftState,
    offered: Option<Snapshot>,
    /// A follower needs a newer snapshot than the one on offer.
    wanted: Cell<bool>,
}

impl LogView {
    pub(super) fn new(log: Box<dyn LogStore>, hard_state: HardState, conf: ConfState) -> Self {
        Self { log, initial: RaftState::new(hard_state, conf), offered: None, wanted: Cell::new(false) }
    }

    /// Puts a snapshot on offer unless a newer one is.
    pub(super) fn offer(&mut self, snapshot: Snapshot) {
        let newest = self.offered.as_ref().map_or(0, |offered| offered.get_metadata().index);
        if snapshot.get_metadata().index > newest {
            self.offered = Some(snapshot);
        }
    }

    /// Whether a snapshot was asked for in vain since the last call.
    pub(super) fn take_wanted(&self) -> bool {
        self.wanted.replace(false)
    }

    /// The receiver must be part of the snapshot's configuration, or it would throw it away; and
    /// the log must continue where the snapshot ends.
    fn suits(&self, offered: &Snapshot, least_index: u64, to: u64) -> bool {
        let meta = offered.get_metadata();
        meta.index >= least_index.max(self.log.base().0) && conf::holds(meta.get_conf_state(), to)
    }
}

impl Storage for LogView {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low < self.log.first_index() {
            return Err(Error::Store(raft::StorageError::Compacted));
        }
        self.log.entries(low, high, max_size.into().unwrap_or(u64::MAX)).map_err(fatal)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index < self.log.base().0 {
            return Err(Error::Store(raft::StorageError::Compacted));
        }
        self.log.term(index).map_err(fatal)?.ok_or(Error::Store(raft::StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.log.first_index())
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.log.last_index())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> Result<Snapshot> {
        match &self.offered {
            Some(offered) if self.suits(offered, request_index, to) => Ok(offered.clone()),
            Some(_) | None => {
                self.wanted.set(true);
                Err(Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

fn fatal(error: StorageError) -> Error {
    Error::Store(raft::StorageError::Other(Box::new(error)))
}
