//! Small files that are replaced as a whole and tell when they were changed.
//!
//! The content is JSON, `{"body": …, "crc32": "…"}`, so that a person can read it. The checksum is
//! over the body's bytes.

use super::{StorageResult, damaged, io_error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const HEAD: &str = "{\"body\":";
const MIDDLE: &str = ",\"crc32\":\"";
const TAIL: &str = "\"}\n";

/// Writes `body` to `path` by way of a temporary file; durable and whole, or not at all.
pub(super) fn write<T: Serialize>(path: &Path, body: &T) -> StorageResult<()> {
    let json = serde_json::to_string(body).expect("numbers, strings and lists always encode");
    let text = format!("{HEAD}{json}{MIDDLE}{:08x}{TAIL}", crc32fast::hash(json.as_bytes()));
    let temporary = path.with_extension("tmp");
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|error| io_error("write", path, error))?;
    sync_parent(path)
}

/// Reads what [`write`] wrote; `None` if there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> StorageResult<Option<T>> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path, error)),
    };
    let parts = text
        .strip_prefix(HEAD)
        .and_then(|rest| rest.strip_suffix(TAIL))
        .and_then(|rest| rest.rsplit_once(MIDDLE));
    let Some((json, crc)) = parts else {
        return Err(damaged(path, 0, "it does not have the form of a checked file"));
    };
    if crc != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
        return Err(damaged(path, 0, "it does not match its checksum"));
    }
    match serde_json::from_str(json) {
        Ok(body) => Ok(Some(body)),
        Err(error) => Err(damaged(path, HEAD.len() as u64, format!("it does not read: {error}"))),
    }
}

/// Removes a file, if it is there; durable.
pub(super) fn remove(path: &Path) -> StorageResult<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("remove", path, error)),
    }
}

/// Makes changes of a directory's names durable.
pub(super) fn sync_dir(dir: &Path) -> StorageResult<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| io_error("sync", dir, error))
}

/// Makes a change of `path`'s name durable.
pub(super) fn sync_parent(path: &Path) -> StorageResult<()> {
    sync_dir(path.parent().expect("a file in a directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_noticed_and_an_absent_file_is_none() -> StorageResult<()> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file.json");
        assert_eq!(read::<Vec<u64>>(&path)?, None);
        write(&path, &vec![1_u64])?;
        write(&path, &vec![7_u64, 1 << 63])?;
        assert_eq!(read(&path)?, Some(vec![7_u64, 1 << 63]));
        let bytes = fs::read(&path).expect("read");
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            fs::write(&path, changed).expect("write");
            assert!(read::<Vec<u64>>(&path).is_err(), "byte {position}");
        }
        remove(&path)?;
        remove(&path)?;
        assert_eq!(read::<Vec<u64>>(&path)?, None);
        Ok(())
    }
}
