//! Files, as the log needs them: few operations, each one a place where the simulator may fail.

use std::io;
use std::path::{Path, PathBuf};

pub use super::real_disk::RealDisk;

/// A directory of files. The real one is the operating system's; the simulator's loses unsynced
/// writes, tears them, flips bits, fills up and fails syncs.
///
/// # Correctness requirements
/// * `File::sync` returns `Ok` only if everything written to that file survives a power cut.
/// * `create`, `remove` and `rename` survive a power cut once `sync_dir` has returned `Ok`.
pub trait Disk: Send {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates an empty file; fails if it exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file over any existing one, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Names (not paths) of the files in a directory, in order of name.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes creations, removals and renames in the directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
pub trait File: Send {
    /// Fills `buffer` from `offset`; an end of file inside is an error of kind `UnexpectedEof`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes the file's written data durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|length| length == 0)
    }
    /// Cuts or extends the file with zeros, reserving the space.
    fn set_len(&mut self, length: u64) -> io::Result<()>;
}
