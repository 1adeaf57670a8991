//! The operating system's files as a [`Disk`].
//!
//! Plain buffered I/O with `pread`, `pwrite` and `fdatasync`. `O_DIRECT` was measured to win a few
//! microseconds per sync and is not worth its alignment rules.

use super::disk::{Disk, File};
use fs4::FileExt as _;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile {
    file: fs::File,
}

impl RealDisk {
    fn boxed(file: fs::File) -> Box<dyn File> {
        Box::new(RealFile { file })
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        OpenOptions::new().read(true).write(true).open(path).map(Self::boxed)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).open(path).map(Self::boxed)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(PathBuf::from(entry.file_name()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

impl File for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        if length <= self.len()? {
            return self.file.set_len(length);
        }
        match self.file.allocate(length) {
            // Not every file system can reserve; the log then finds a full disk while zeroing.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // The reservation leaves the length as it was.
        self.file.set_len(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_was_written_and_grows_with_zeros() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("file");
        let mut file = RealDisk.create(&path)?;
        assert!(RealDisk.create(&path).is_err(), "create must not open an existing file");
        file.write_at(4, b"oar")?;
        file.set_len(4096)?;
        file.sync()?;
        RealDisk.sync_dir(dir.path())?;

        let file = RealDisk.open(&path)?;
        assert_eq!(file.len()?, 4096);
        let mut bytes = [9; 9];
        file.read_at(0, &mut bytes)?;
        assert_eq!(&bytes, b"\0\0\0\0oar\0\0");
        let past_the_end = file.read_at(4090, &mut bytes);
        assert_eq!(past_the_end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

        RealDisk.rename(&path, &dir.path().join("other"))?;
        assert_eq!(RealDisk.list(dir.path())?, [PathBuf::from("other")]);
        RealDisk.remove(&dir.path().join("other"))?;
        assert!(RealDisk.list(dir.path())?.is_empty());
        Ok(())
    }
}
