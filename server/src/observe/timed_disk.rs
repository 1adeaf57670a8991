//! A disk that measures its syncs.

use crate::storage::disk::{Disk, File};
use prometheus_client::metrics::histogram::Histogram;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Passes everything on and observes, in seconds, how long each sync of a file took.
pub struct TimedDisk<D> {
    disk: D,
    seconds: Histogram,
}

impl<D: Disk> TimedDisk<D> {
    /// Measures the syncs of this disk.
    pub fn new(disk: D, seconds: Histogram) -> Self {
        Self { disk, seconds }
    }

    fn timed(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(TimedFile { file, seconds: self.seconds.clone() })
    }
}

impl<D: Disk> Disk for TimedDisk<D> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open(path).map(|file| self.timed(file))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.create(path).map(|file| self.timed(file))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

struct TimedFile {
    file: Box<dyn File>,
    seconds: Histogram,
}

impl File for TimedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
    fn sync(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let result = self.file.sync();
        self.seconds.observe(begun.elapsed().as_secs_f64());
        result
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
