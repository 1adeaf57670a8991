//! The receiving side of a transfer.

use super::manifest::size_and_crc;
use super::{CHUNK_BYTES_MAX, MANIFEST, Manifest, Position, STATE, TransferError, remove_dir, rename};
use crate::storage::checked_file::{self, sync_dir};
use crate::storage::{StorageResult, io_error};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Receives a snapshot file by file. Dropping it keeps what has arrived, to be resumed by
/// [`SnapshotStore::begin`](super::SnapshotStore::begin) with the same manifest.
///
/// What arrived before a restart is trusted only after [`Receiver::finish`] has read all of it.
pub struct Receiver {
    unfinished: PathBuf,
    complete: PathBuf,
    manifest: Manifest,
    position: Position,
    current: Option<File>,
}

impl Receiver {
    pub(super) fn begin(
        unfinished: PathBuf,
        complete: PathBuf,
        manifest: Manifest,
    ) -> Result<Self, TransferError> {
        let mut receiver =
            Self { unfinished, complete, manifest, position: Position::default(), current: None };
        if receiver.holds_same(&receiver.complete)? {
            receiver.position.file = receiver.manifest.files.len() as u32;
            return Ok(receiver);
        }
        remove_dir(&receiver.complete)?;
        if receiver.holds_same(&receiver.unfinished)? {
            receiver.go_to(0)?;
        } else {
            remove_dir(&receiver.unfinished)?;
            let state = receiver.unfinished.join(STATE);
            fs::create_dir_all(&state).map_err(|error| io_error("create", &state, error))?;
            checked_file::write(&receiver.unfinished.join(MANIFEST), &receiver.manifest)?;
        }
        receiver.skip_complete_files()?;
        Ok(receiver)
    }

    /// What is being received.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the next chunk must begin; `None` when everything has arrived.
    pub fn position(&self) -> Option<Position> {
        ((self.position.file as usize) < self.manifest.files.len()).then_some(self.position)
    }

    /// Stores the chunk that begins at [`Self::position`].
    ///
    /// # Errors
    /// [`TransferError::Refused`] for another position, a wrong checksum, or too many bytes;
    /// nothing is stored then and the transfer may go on.
    pub fn write_chunk(&mut self, position: Position, data: &[u8], crc: u32) -> Result<(), TransferError> {
        let refuse = |what: String| Err(TransferError::Refused(what));
        if self.position() != Some(position) {
            return refuse(format!("a chunk for {position:?} came instead of one for {:?}", self.position()));
        }
        let file = &self.manifest.files[position.file as usize];
        if data.is_empty() || data.len() > CHUNK_BYTES_MAX || data.len() as u64 > file.size - position.offset
        {
            return refuse(format!("a chunk of {} bytes does not fit into {}", data.len(), file.name));
        }
        if crc32fast::hash(data) != crc {
            return refuse(format!("a chunk of {} does not match its checksum", file.name));
        }
        let path = self.file_path(position.file);
        let current = match &mut self.current {
            Some(current) => current,
            None => self.current.insert(open(&path)?),
        };
        current.write_all_at(data, position.offset).map_err(|error| io_error("write", &path, error))?;
        self.position.offset += data.len() as u64;
        self.skip_complete_files()?;
        Ok(())
    }

    /// Reads everything back, compares it with the manifest, and makes it durable. After that it
    /// can be installed.
    ///
    /// # Errors
    /// [`TransferError::Refused`] if something is missing or a file differs; differing files are
    /// removed, so that resuming fetches them anew.
    pub fn finish(mut self) -> Result<Manifest, TransferError> {
        if let Some(position) = self.position() {
            return Err(TransferError::Refused(format!("it was finished before {position:?} arrived")));
        }
        if self.holds_same(&self.complete)? {
            return Ok(self.manifest);
        }
        self.current = None;
        let mut differing = Vec::new();
        for (place, file) in self.manifest.files.iter().enumerate() {
            let path = self.file_path(place as u32);
            let found = size_and_crc(&path).map_err(|error| io_error("read", &path, error))?;
            if found != (file.size, file.crc) {
                checked_file::remove(&path)?;
                differing.push(file.name.as_str());
            }
        }
        if !differing.is_empty() {
            let what = format!("{} arrived with other content than announced", differing.join(", "));
            return Err(TransferError::Refused(what));
        }
        sync_dir(&self.unfinished.join(STATE))?;
        rename(&self.unfinished, &self.complete)?;
        Ok(self.manifest)
    }

    /// Whether `dir` is about the same snapshot.
    fn holds_same(&self, dir: &Path) -> StorageResult<bool> {
        // A manifest that does not read is as good as none: the transfer begins anew.
        let found = checked_file::read::<Manifest>(&dir.join(MANIFEST)).unwrap_or(None);
        Ok(found.as_ref() == Some(&self.manifest) && dir.join(STATE).is_dir())
    }

    /// Goes to the next file if the current one is complete, past files already there and empty
    /// ones.
    fn skip_complete_files(&mut self) -> StorageResult<()> {
        while let Some(file) = self.manifest.files.get(self.position.file as usize) {
            if self.position.offset < file.size {
                return Ok(());
            }
            if file.size == 0 {
                open(&self.file_path(self.position.file))?;
            }
            self.current = None;
            self.go_to(self.position.file + 1)?;
        }
        Ok(())
    }

    /// Goes to the file at `place`, of which a part may have arrived before.
    fn go_to(&mut self, place: u32) -> StorageResult<()> {
        self.position = Position { file: place, offset: 0 };
        let Some(file) = self.manifest.files.get(place as usize) else {
            return Ok(());
        };
        let path = self.file_path(place);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= file.size => self.position.offset = metadata.len(),
            Ok(_) => checked_file::remove(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("measure", &path, error)),
        }
        Ok(())
    }

    fn file_path(&self, place: u32) -> PathBuf {
        self.unfinished.join(STATE).join(&self.manifest.files[place as usize].name)
    }
}

fn open(path: &Path) -> StorageResult<File> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    opened.map_err(|error| io_error("create", path, error))
}
