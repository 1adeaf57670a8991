//! Files for segments to come: zeroed or recycled ahead of time, because syncing into blocks that
//! exist is about 1.5 times faster than growing a file.
//!
//! A spare's bytes mean nothing. Old records in it carry the seed of another segment.

use super::segment::ZEROS;
use crate::storage::disk::{Disk, File};
use crate::storage::{StorageResult, io_error};
use std::path::{Path, PathBuf};

/// Recycled files that are kept; more are removed.
const SPARES_MAX: usize = 2;
const PREFIX: &str = "spare-";

/// The spare files of one log directory.
pub(super) struct Spares {
    dir: PathBuf,
    segment_bytes: u64,
    ready: Vec<PathBuf>,
    growing: Option<Growing>,
    named: u64,
}

/// A spare that is being zeroed, a step at a time.
struct Growing {
    path: PathBuf,
    file: Box<dyn File>,
    zeroed: u64,
}

impl Spares {
    /// Takes over the spares found in `dir`; those of another size are removed.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        names: &[PathBuf],
        segment_bytes: u64,
    ) -> StorageResult<Self> {
        let mut spares =
            Self { dir: dir.to_path_buf(), segment_bytes, ready: Vec::new(), growing: None, named: 0 };
        for name in names {
            let Some(number) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            spares.named = spares.named.max(number.parse().unwrap_or(0));
            let path = dir.join(name);
            let file = disk.open(&path).map_err(|error| io_error("open", &path, error))?;
            let length = file.len().map_err(|error| io_error("measure", &path, error))?;
            if length == segment_bytes && spares.ready.len() < SPARES_MAX {
                spares.ready.push(path);
            } else {
                disk.remove(&path).map_err(|error| io_error("remove", &path, error))?;
            }
        }
        Ok(spares)
    }

    /// A file of `bytes` bytes with arbitrary content, still under a spare's name.
    pub(super) fn take(&mut self, disk: &dyn Disk, bytes: u64) -> StorageResult<(PathBuf, Box<dyn File>)> {
        if bytes == self.segment_bytes {
            if let Some(path) = self.ready.pop() {
                let file = disk.open(&path).map_err(|error| io_error("open", &path, error))?;
                return Ok((path, file));
            }
            if let Some(mut growing) = self.growing.take() {
                while !growing.step(bytes)? {}
                return Ok((growing.path, growing.file));
            }
        }
        let mut fresh = self.begin(disk, bytes)?;
        while !fresh.step(bytes)? {}
        Ok((fresh.path, fresh.file))
    }

    /// Does a bounded part (a mebibyte) of preparing a spare, if there is none. Called while the
    /// active segment fills, so that beginning the next one does not stall the log.
    pub(super) fn prepare(&mut self, disk: &dyn Disk) -> StorageResult<()> {
        if !self.ready.is_empty() {
            return Ok(());
        }
        let bytes = self.segment_bytes;
        let mut growing = match self.growing.take() {
            Some(growing) => growing,
            None => self.begin(disk, bytes)?,
        };
        if growing.step(bytes)? {
            self.ready.push(growing.path);
        } else {
            self.growing = Some(growing);
        }
        Ok(())
    }

    /// Turns a segment that is no longer needed into a spare, or removes it. Durable on return.
    pub(super) fn recycle(&mut self, disk: &dyn Disk, path: &Path, bytes: u64) -> StorageResult<()> {
        if bytes == self.segment_bytes && self.ready.len() < SPARES_MAX {
            let spare = self.next_path();
            disk.rename(path, &spare).map_err(|error| io_error("rename", path, error))?;
            self.ready.push(spare);
        } else {
            disk.remove(path).map_err(|error| io_error("remove", path, error))?;
        }
        disk.sync_dir(&self.dir).map_err(|error| io_error("sync", &self.dir, error))
    }

    /// Bytes on disk.
    pub(super) fn size_bytes(&self) -> u64 {
        (self.ready.len() + usize::from(self.growing.is_some())) as u64 * self.segment_bytes
    }

    fn begin(&mut self, disk: &dyn Disk, bytes: u64) -> StorageResult<Growing> {
        let path = self.next_path();
        let mut file = disk.create(&path).map_err(|error| io_error("create", &path, error))?;
        file.set_len(bytes).map_err(|error| io_error("reserve space for", &path, error))?;
        Ok(Growing { path, file, zeroed: 0 })
    }

    fn next_path(&mut self) -> PathBuf {
        self.named += 1;
        self.dir.join(format!("{PREFIX}{}", self.named))
    }
}

impl Growing {
    /// Zeros some more and tells whether the file is complete. Reserved blocks are not enough:
    /// the first write into each costs the file system a change of its own at the next sync.
    fn step(&mut self, bytes: u64) -> StorageResult<bool> {
        let length = ZEROS.len().min((bytes - self.zeroed) as usize);
        self.file
            .write_at(self.zeroed, &ZEROS[..length])
            .map_err(|error| io_error("write", &self.path, error))?;
        self.file.sync().map_err(|error| io_error("sync", &self.path, error))?;
        self.zeroed += length as u64;
        Ok(self.zeroed == bytes)
    }
}
