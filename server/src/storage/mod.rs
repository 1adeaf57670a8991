//! What a node keeps on disk, behind small synchronous traits.
//!
//! | on disk | trait | real | simulated |
//! | --- | --- | --- | --- |
//! | bytes in files | [`disk::Disk`] | `disk::RealDisk` | the simulator's faulty disk |
//! | the Raft log | [`LogStore`] | `log::SegmentedLog` over a `Disk` | the same code over the faulty disk |
//! | the state | [`BaseStore`] | `rocks::RocksBase` | `memory::MemoryBase` |
//!
//! Above a `BaseStore` lies [`state::StateStore`]: an ordered overlay of recent records in memory,
//! written behind in large batches. It is the [`View`](oarlock_state::View) that the machine reads.
//!
//! **Failure model.** An `Err` from anything here means that the node cannot keep its promises and
//! must stop; nothing is retried and nothing is guessed. A torn tail of the log is the one damage
//! that is repaired, because a write that never finished was never acknowledged.

use bytes::Bytes;
use raft::eraftpb::{Entry, HardState};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use thiserror::Error;

mod checked_file;
#[cfg(test)]
mod conformance;
pub mod data_dir;
pub mod disk;
#[cfg(test)]
mod fault_disk;
pub mod log;
pub mod memory;
mod real_disk;
pub mod records;
pub mod rocks;
pub mod snapshot;
pub mod state;
pub mod stream;

/// Local storage failed. The node stops.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What was read is not what was written.
    #[error("{path} is damaged at byte {offset}: {what}. {advice}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What does not fit.
        what: String,
        /// What a person should do.
        advice: &'static str,
    },
    /// The data directory belongs to another member, cluster or time.
    #[error("data directory {path} {what}. {advice}")]
    WrongDirectory {
        /// The directory.
        path: PathBuf,
        /// What does not fit.
        what: String,
        /// What a person should do.
        advice: &'static str,
    },
    /// A committed entry is of a kind that this program does not know, so it cannot be applied.
    #[error("log entry {index} cannot be read by this version of the program: {what}")]
    Unreadable {
        /// Which entry.
        index: u64,
        /// What is not known.
        what: String,
    },
    /// The state's own store failed.
    #[error("state store: {0}")]
    State(String),
}

/// Result of a storage operation.
pub type StorageResult<T> = Result<T, StorageError>;

/// What to do with a member whose disk lies. The others hold the data.
const REPLACE_MEMBER: &str = "This copy cannot be trusted and nothing was changed. Keep the directory for \
    analysis, remove this member from the cluster, and add it anew with an empty data directory; if it is \
    the only member, restore a saved snapshot";

pub(crate) fn io_error(action: &'static str, path: &Path, source: std::io::Error) -> StorageError {
    StorageError::Io { action, path: path.to_path_buf(), source }
}

fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> StorageError {
    StorageError::Damaged { path: path.to_path_buf(), offset, what: what.into(), advice: REPLACE_MEMBER }
}

/// The Raft log and hard state.
///
/// Indexes are contiguous from `first_index()` to `last_index()`. The entry before the first one is
/// known by term alone (`base()`), as Raft's consistency check needs it.
///
/// # Correctness requirements
/// * When `append` returns `Ok`, everything it was given survives a power cut.
/// * `entries` and `term` see appended entries at once.
/// * After a crash the log holds a prefix of what was appended since the last successful `append`,
///   and all of what was appended by it.
pub trait LogStore: Send {
    /// Index and term of the entry just before the first one; `(1, 1)` after bootstrap.
    fn base(&self) -> (u64, u64);
    /// Index of the first entry held: `base().0 + 1`.
    fn first_index(&self) -> u64 {
        self.base().0 + 1
    }
    /// Index of the last entry; `base().0` when the log is empty.
    fn last_index(&self) -> u64;
    /// Term of the entry at `index`, also of the base; `None` outside of what is held.
    fn term(&self, index: u64) -> StorageResult<Option<u64>>;
    /// Entries of `[low, high)`, as many as fit in `bytes_max` (at least one).
    /// The range must be held; asking for less than the first index is a caller's bug.
    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> StorageResult<Vec<Entry>>;
    /// The hard state last appended.
    fn hard_state(&self) -> HardState;
    /// Writes entries (replacing everything from the first one's index on) and the hard state, then
    /// makes all of it durable with one sync. With `sync` false the sync may be left to the next
    /// call that asks for it (only the commit index moved).
    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>, sync: bool) -> StorageResult<()>;
    /// Forgets entries up to and including `index` where whole segments allow it. Keeps the term of
    /// the new base. Never beyond `last_index()`.
    fn truncate_front(&mut self, index: u64) -> StorageResult<()>;
    /// Drops all entries and starts anew after a snapshot at `(index, term)`. Durable on return.
    fn reset(&mut self, index: u64, term: u64, hard_state: &HardState) -> StorageResult<()>;
    /// Bytes on disk.
    fn size_bytes(&self) -> u64;
}

/// Takes a record's key and value, and says whether to go on.
pub type VisitRecord<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// The ordered store below the overlay. One flat keyspace; keys as the state crate lays them out.
///
/// # Correctness requirements
/// * `write` is atomic: after a crash all of a batch is there or none.
/// * When `write` returns `Ok`, the batch survives a power cut.
/// * Reads see every earlier `write`.
pub trait BaseStore: Send + Sync + 'static {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> StorageResult<Option<Bytes>>;
    /// Visits `[from, to)` in order, or backwards, until `visit` breaks.
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, visit: &mut VisitRecord<'_>) -> StorageResult<()>;
    /// Applies a batch, whose keys ascend, atomically and durably. `None` removes.
    ///
    /// # Errors
    /// Those of the disk, and keys out of order; nothing was applied then.
    fn write(&self, batch: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>) -> StorageResult<()>;
    /// Writes a consistent copy of the whole store into the new directory `into`, cheaply (hard
    /// links) where possible. Includes every earlier `write`.
    fn checkpoint(&self, into: &std::path::Path) -> StorageResult<()>;
    /// Bytes on disk.
    fn size_bytes(&self) -> u64;
}

impl std::fmt::Debug for dyn BaseStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BaseStore")
    }
}
