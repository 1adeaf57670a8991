//! Putting a received snapshot in the place of the state.
//!
//! In this order, each step durable before the next:
//!
//! 1. `install.json` says what is about to happen.
//! 2. The state's directory becomes `old-state`.
//! 3. The snapshot's directory becomes the state's.
//! 4. The caller resets the log to the snapshot's index and term.
//! 5. `install.json` goes, then `old-state`.
//!
//! After a crash at any point the next start completes the rest: the snapshot was whole before step
//! 1, so there is no reason to go back. Every step may be repeated.

use super::{MANIFEST, Manifest, STATE, SnapshotStore, remove_dir, rename};
use crate::storage::checked_file;
use crate::storage::records::StateMeta;
use crate::storage::{StorageResult, damaged};
use std::path::PathBuf;

const INSTALL: &str = "install.json";
const OLD_STATE: &str = "old-state";

impl SnapshotStore {
    /// Swaps the received snapshot at `index` and `term` in. The base must be closed; open it again
    /// afterwards, reset the log to the returned index and term, and call [`Self::install_done`].
    ///
    /// # Errors
    /// Damage if there is no such snapshot, and everything the file system refuses. The node must
    /// stop; the next start completes the install.
    pub fn install(&self, index: u64, term: u64) -> StorageResult<StateMeta> {
        let complete = self.complete_dir(index, term);
        let Some(manifest) = checked_file::read::<Manifest>(&complete.join(MANIFEST))? else {
            return Err(damaged(&complete, 0, "the received snapshot is gone"));
        };
        checked_file::write(&self.dir.join(INSTALL), &manifest.meta)?;
        self.swap(&manifest.meta)?;
        Ok(manifest.meta)
    }

    /// Completes the swap of an install that a crash interrupted. To be called at every start,
    /// before the base is opened. When it returns a snapshot, the log must be reset to its index
    /// and term, and [`Self::install_done`] called, before anything else happens.
    ///
    /// # Errors
    /// As [`Self::install`].
    pub fn recover_install(&self) -> StorageResult<Option<StateMeta>> {
        let Some(meta) = checked_file::read::<StateMeta>(&self.dir.join(INSTALL))? else {
            remove_dir(&self.dir.join(OLD_STATE))?;
            return Ok(None);
        };
        self.swap(&meta)?;
        Ok(Some(meta))
    }

    /// Ends an install: the state and the log agree.
    ///
    /// # Errors
    /// Everything the file system refuses.
    pub fn install_done(&self) -> StorageResult<()> {
        checked_file::remove(&self.dir.join(INSTALL))?;
        self.remove_all(|name| name == OLD_STATE || name.starts_with("complete-"))
    }

    fn swap(&self, meta: &StateMeta) -> StorageResult<()> {
        let old_state = self.dir.join(OLD_STATE);
        let received = self.complete_dir(meta.index, meta.term).join(STATE);
        if !received.is_dir() {
            // Only the last step of the swap takes it away.
            if self.state_dir.is_dir() {
                return Ok(());
            }
            let what = format!("neither the state nor the snapshot at entry {} is there", meta.index);
            return Err(damaged(&self.state_dir, 0, what));
        }
        if self.state_dir.is_dir() {
            remove_dir(&old_state)?;
            rename(&self.state_dir, &old_state)?;
        }
        rename(&received, &self.state_dir)
    }

    fn complete_dir(&self, index: u64, term: u64) -> PathBuf {
        self.dir.join(format!("complete-{index:016x}-{term:016x}"))
    }
}
