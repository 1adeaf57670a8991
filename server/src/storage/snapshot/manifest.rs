//! What a snapshot consists of.

use super::TransferError;
use crate::storage::records::StateMeta;
use crate::storage::{StorageResult, io_error};
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Files in one snapshot; far above what a store makes, and a bound for what a peer may claim.
const FILES_MAX: usize = 100_000;
const NAME_BYTES_MAX: usize = 100;
const READ_BYTES: usize = 1 << 20;

/// A snapshot's description: which state, and the files it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which state this is.
    pub meta: StateMeta,
    /// Its files, in order of name.
    pub files: Vec<SnapshotFile>,
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Name within the store's directory.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Crc32 of the content.
    pub crc: u32,
}

impl Manifest {
    /// Describes the files in `dir`, reading each once, and makes them durable.
    pub(super) fn of_dir(dir: &Path, meta: StateMeta) -> StorageResult<Self> {
        let entries = fs::read_dir(dir).map_err(|error| io_error("list", dir, error))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| io_error("list", dir, error))?.path();
            let (size, crc) = size_and_crc(&path).map_err(|error| io_error("read", &path, error))?;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            files.push(SnapshotFile { name, size, crc });
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { meta, files })
    }

    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Checks what a peer or a file claims: plain names in order, so that nothing is written
    /// outside of the snapshot's directory or twice.
    pub(super) fn check(&self, cluster_id: u64) -> Result<(), TransferError> {
        if self.meta.cluster_id != cluster_id {
            let what = format!("it is of cluster {:016x}, not of {cluster_id:016x}", self.meta.cluster_id);
            return Err(TransferError::Refused(what));
        }
        if self.files.is_empty() || self.files.len() > FILES_MAX {
            return Err(TransferError::Refused(format!("it has {} files", self.files.len())));
        }
        if let Some(file) = self.files.iter().find(|file| !is_plain(&file.name)) {
            return Err(TransferError::Refused(format!("{:?} is no file name", file.name)));
        }
        if !self.files.is_sorted_by(|one, other| one.name < other.name) {
            return Err(TransferError::Refused("its files are not in order".into()));
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) && !name.starts_with('.')
}

/// Reads a file to its end, and makes it durable, as one might copy it from then on.
pub(super) fn size_and_crc(path: &Path) -> std::io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut size = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        size += length as u64;
    }
    file.sync_all()?;
    Ok((size, hasher.finalize()))
}
