//! Directories that are there only until the work in them is done.

use super::RestoreError;
use crate::storage::{StorageResult, io_error};
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A directory for the owner alone, removed with everything in it unless it is kept.
pub(super) struct Place {
    path: PathBuf,
    /// Where it goes when it is kept.
    target: Option<PathBuf>,
}

impl Place {
    /// Beside `target`, so that it can be renamed to it. What an interrupted restore into the same
    /// target left there is removed.
    pub(super) fn beside(target: &Path) -> Result<Self, RestoreError> {
        if target.exists() {
            return Err(RestoreError::Occupied(target.to_path_buf()));
        }
        let mut name = target.file_name().unwrap_or_default().to_os_string();
        name.push(".restoring");
        let path = target.with_file_name(name);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|error| io_error("create", parent, error))?;
        }
        remove(&path)?;
        make(&path)?;
        Ok(Self { path, target: Some(target.to_path_buf()) })
    }

    /// In the directory for temporary files.
    pub(super) fn temporary() -> StorageResult<Self> {
        let name = format!("oarlock-check-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        make(&path)?;
        Ok(Self { path, target: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the directory to its target, durably.
    pub(super) fn keep(mut self) -> Result<(), RestoreError> {
        let Some(target) = self.target.take() else { return Ok(()) };
        if target.exists() {
            return Err(RestoreError::Occupied(target));
        }
        rename(&self.path, &target)?;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // After `keep` nothing is left here. What cannot be removed is named by its suffix.
        let _ = remove(&self.path);
    }
}

fn make(path: &Path) -> StorageResult<()> {
    DirBuilder::new().mode(0o700).create(path).map_err(|error| io_error("create", path, error))
}

/// Renames a directory, durably.
pub(super) fn rename(from: &Path, to: &Path) -> StorageResult<()> {
    fs::rename(from, to).map_err(|error| io_error("rename", from, error))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| io_error("sync", parent, error))
}

/// Removes a directory with everything in it, if it is there.
pub(super) fn remove(path: &Path) -> StorageResult<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
