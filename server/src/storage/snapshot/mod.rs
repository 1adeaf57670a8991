//! Snapshots: taken cheaply, sent in checked pieces, received resumably, installed by a swap that
//! a crash cannot leave half done.
//!
//! ```text
//! snapshot/out-<index>/manifest.json, state/…          taken here, to be sent; the newest two are kept
//! snapshot/in-<index>-<term>/manifest.json, state/…    being received
//! snapshot/complete-<index>-<term>/…                   received and verified, not yet installed
//! snapshot/install.json                                an install has begun
//! snapshot/old-state/                                  the state before the last install
//! ```

mod export;
mod install;
mod manifest;
mod receive;
#[cfg(test)]
mod tests;

pub use export::import;
pub use manifest::{Manifest, SnapshotFile};
pub use receive::Receiver;

use super::checked_file::{self, sync_dir};
use super::records::StateMeta;
use super::state::read_applied;
use super::{BaseStore, StorageError, StorageResult, io_error};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// Snapshots taken here that are kept.
const OUT_KEPT: usize = 2;
/// Bytes that one chunk may have.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
const MANIFEST: &str = "manifest.json";
const STATE: &str = "state";
const OUT: &str = "out-";

/// A transfer cannot go on. The node can.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The other side sent what does not fit.
    #[error("snapshot refused: {0}")]
    Refused(String),
    /// The snapshot is no longer kept.
    #[error("snapshot {0} is no longer kept; begin with a newer one")]
    Gone(u64),
    /// The local disk failed. The node stops.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A piece of a snapshot's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes.
    pub data: Vec<u8>,
    /// Their crc32.
    pub crc: u32,
}

/// Where a transfer stands: a file by its place in the manifest, and an offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Place of the file in the manifest.
    pub file: u32,
    /// Offset in the file.
    pub offset: u64,
}

/// The snapshots of one data directory.
pub struct SnapshotStore {
    dir: PathBuf,
    state_dir: PathBuf,
    cluster_id: u64,
    /// How many readers each snapshot has; those are not removed.
    read: Arc<Mutex<BTreeMap<u64, usize>>>,
}

impl SnapshotStore {
    /// The snapshots in `dir` (created if absent) of the state in `state_dir`. Removes what earlier
    /// runs left half done, except a transfer, which may be resumed, and an install: call
    /// [`Self::recover_install`] before opening the state.
    ///
    /// # Errors
    /// Everything the file system refuses.
    pub fn open(dir: &Path, state_dir: &Path, cluster_id: u64) -> StorageResult<Self> {
        fs::create_dir_all(dir).map_err(|error| io_error("create", dir, error))?;
        let store = Self {
            dir: dir.to_path_buf(),
            state_dir: state_dir.to_path_buf(),
            cluster_id,
            read: Arc::default(),
        };
        store.remove_all(|name| name.ends_with(".tmp"))?;
        Ok(store)
    }

    /// Takes a snapshot. The caller has flushed the state exactly up to `meta.index` and flushes
    /// nothing meanwhile; writes to the log and to the overlay go on.
    ///
    /// # Errors
    /// Those of the base and of the file system; [`StorageError::State`] if the base does not stand
    /// at `meta.index`.
    pub fn create(&self, base: &dyn BaseStore, meta: &StateMeta) -> StorageResult<Manifest> {
        let dir = self.out_dir(meta.index);
        if let Some(manifest) = checked_file::read::<Manifest>(&dir.join(MANIFEST))? {
            return Ok(manifest);
        }
        let unfinished = self.dir.join(format!("{OUT}{:016x}.tmp", meta.index));
        remove_dir(&unfinished)?;
        fs::create_dir(&unfinished).map_err(|error| io_error("create", &unfinished, error))?;
        require_applied(base, meta.index)?;
        base.checkpoint(&unfinished.join(STATE))?;
        require_applied(base, meta.index)?;
        let manifest = Manifest::of_dir(&unfinished.join(STATE), meta.clone())?;
        sync_dir(&unfinished.join(STATE))?;
        checked_file::write(&unfinished.join(MANIFEST), &manifest)?;
        rename(&unfinished, &dir)?;
        self.remove_old()?;
        Ok(manifest)
    }

    /// The newest snapshot taken here.
    ///
    /// # Errors
    /// A damaged manifest, or what the file system refuses.
    pub fn latest(&self) -> StorageResult<Option<Manifest>> {
        match self.out_indexes()?.last() {
            Some(index) => checked_file::read(&self.out_dir(*index).join(MANIFEST)),
            None => Ok(None),
        }
    }

    /// Opens a snapshot for reading; it is kept as long as the reader lives.
    ///
    /// # Errors
    /// [`TransferError::Gone`] if it is not kept.
    pub fn reader(&self, index: u64) -> Result<SnapshotReader, TransferError> {
        *self.lock_read().entry(index).or_default() += 1;
        let dir = self.out_dir(index);
        let mut reader = SnapshotReader {
            state: dir.join(STATE),
            manifest: Manifest { meta: StateMeta { index, ..StateMeta::default() }, files: Vec::new() },
            read: Arc::clone(&self.read),
        };
        reader.manifest = checked_file::read(&dir.join(MANIFEST))?.ok_or(TransferError::Gone(index))?;
        Ok(reader)
    }

    /// Begins or resumes to receive the snapshot that `manifest` describes. Others that were being
    /// received are given up.
    ///
    /// # Errors
    /// [`TransferError::Refused`] for a manifest that does not fit.
    pub fn begin(&self, manifest: Manifest) -> Result<Receiver, TransferError> {
        manifest.check(self.cluster_id)?;
        let meta = &manifest.meta;
        let name = format!("{:016x}-{:016x}", meta.index, meta.term);
        let (unfinished, complete) = (format!("in-{name}"), format!("complete-{name}"));
        self.remove_all(|name| {
            (name.starts_with("in-") && name != unfinished)
                || (name.starts_with("complete-") && name != complete)
        })?;
        Receiver::begin(self.dir.join(unfinished), self.dir.join(complete), manifest)
    }

    /// Removes the snapshots taken here: the state that they are copies of cannot be trusted.
    ///
    /// # Errors
    /// Everything the file system refuses.
    pub fn forget_taken(&self) -> StorageResult<()> {
        self.remove_all(|name| name.starts_with(OUT))
    }

    /// Bytes of the snapshots taken here. Files shared with the state count twice.
    pub fn size_bytes(&self) -> StorageResult<u64> {
        let mut bytes = 0;
        for index in self.out_indexes()? {
            let manifest: Option<Manifest> = checked_file::read(&self.out_dir(index).join(MANIFEST))?;
            bytes += manifest.map_or(0, |manifest| manifest.size_bytes());
        }
        Ok(bytes)
    }

    fn out_dir(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{OUT}{index:016x}"))
    }

    fn out_indexes(&self) -> StorageResult<Vec<u64>> {
        let mut indexes: Vec<u64> = self
            .names()?
            .iter()
            .filter_map(|name| u64::from_str_radix(name.strip_prefix(OUT)?, 16).ok())
            .collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    fn remove_old(&self) -> StorageResult<()> {
        let indexes = self.out_indexes()?;
        let surplus = indexes.len().saturating_sub(OUT_KEPT);
        for index in &indexes[..surplus] {
            // The lock is held so that no reader begins between the question and the removal.
            let read = self.lock_read();
            if !read.contains_key(index) {
                remove_dir(&self.out_dir(*index))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> StorageResult<Vec<String>> {
        let refused = |error| io_error("list", &self.dir, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(refused)? {
            names.extend(entry.map_err(refused)?.file_name().into_string());
        }
        Ok(names)
    }

    fn remove_all(&self, unwanted: impl Fn(&str) -> bool) -> StorageResult<()> {
        for name in self.names()?.iter().filter(|name| unwanted(name)) {
            let path = self.dir.join(name);
            if path.is_dir() {
                remove_dir(&path)?;
            } else {
                checked_file::remove(&path)?;
            }
        }
        Ok(())
    }

    fn lock_read(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a snapshot taken here.
pub struct SnapshotReader {
    state: PathBuf,
    manifest: Manifest,
    read: Arc<Mutex<BTreeMap<u64, usize>>>,
}

impl SnapshotReader {
    /// What it consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// At most `length` (and [`CHUNK_BYTES_MAX`]) bytes at `position`; empty at the file's end.
    ///
    /// # Errors
    /// [`TransferError::Refused`] for a position that is not in the snapshot.
    pub fn chunk(&self, position: Position, length: usize) -> Result<Chunk, TransferError> {
        let Some(file) = self.manifest.files.get(position.file as usize) else {
            return Err(TransferError::Refused(format!("it has no file {}", position.file)));
        };
        let Some(rest) = file.size.checked_sub(position.offset) else {
            return Err(TransferError::Refused(format!(
                "{} ends before byte {}",
                file.name, position.offset
            )));
        };
        let mut data = vec![0; rest.min(length.min(CHUNK_BYTES_MAX) as u64) as usize];
        let path = self.state.join(&file.name);
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut data, position.offset));
        read.map_err(|error| io_error("read", &path, error))?;
        Ok(Chunk { crc: crc32fast::hash(&data), data })
    }
}

impl Drop for SnapshotReader {
    fn drop(&mut self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.manifest.meta.index;
        if let Some(readers) = read.get_mut(&index) {
            *readers -= 1;
            if *readers == 0 {
                read.remove(&index);
            }
        }
    }
}

fn require_applied(base: &dyn BaseStore, index: u64) -> StorageResult<()> {
    let applied = read_applied(base)?;
    if applied == index {
        return Ok(());
    }
    let what = format!("a snapshot at entry {index} was asked of a state that stands at entry {applied}");
    Err(StorageError::State(what))
}

/// Removes a directory with everything in it, if it is there. Not made durable: what comes back
/// after a power cut is removed again.
fn remove_dir(path: &Path) -> StorageResult<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Renames a directory, durably.
fn rename(from: &Path, to: &Path) -> StorageResult<()> {
    sync_dir(from)?;
    fs::rename(from, to).map_err(|error| io_error("rename", from, error))?;
    checked_file::sync_parent(to)?;
    checked_file::sync_parent(from)
}
