//! A snapshot as one file, for `oarlock snapshot save` and `restore`.

use super::{CHUNK_BYTES_MAX, Manifest, Position, Receiver, SnapshotReader, TransferError};
use crate::storage::StorageError;
use crate::storage::stream::{FrameReader, FrameWriter, StreamError};
use std::io::{Read, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"OARLOCKS";
const MANIFEST: u8 = b'M';
const DATA: u8 = b'D';

impl SnapshotReader {
    /// Writes the whole snapshot to `out`.
    ///
    /// # Errors
    /// When `out` refuses or the snapshot cannot be read.
    pub fn export(&self, out: &mut dyn Write) -> Result<(), StreamError> {
        let mut writer = FrameWriter::new(out, MAGIC)?;
        let mut payload = vec![MANIFEST];
        serde_json::to_writer(&mut payload, self.manifest())
            .expect("numbers, strings and lists always encode");
        writer.frame(&payload)?;
        for (place, file) in self.manifest().files.iter().enumerate() {
            let mut position = Position { file: place as u32, offset: 0 };
            while position.offset < file.size {
                let chunk = self.chunk(position, CHUNK_BYTES_MAX).map_err(stream_error)?;
                payload.clear();
                payload.push(DATA);
                payload.extend_from_slice(&chunk.data);
                writer.frame(&payload)?;
                position.offset += chunk.data.len() as u64;
            }
        }
        writer.end()
    }
}

/// Reads an exported snapshot into the new directory `into`, which then holds `manifest.json` and
/// the store in `state`, verified and durable. Nothing is left at `into` after an error.
///
/// # Errors
/// All of [`StreamError`]; [`StorageError::WrongDirectory`] if there is something at `into`.
pub fn import(input: &mut dyn Read, into: &Path) -> Result<Manifest, StreamError> {
    if into.exists() {
        let what = "exists already".to_owned();
        let advice = "A snapshot is restored into a new directory only; name another one";
        return Err(StorageError::WrongDirectory { path: into.to_path_buf(), what, advice }.into());
    }
    let mut reader = FrameReader::new(input, MAGIC, "saved snapshot of Oarlock")?;
    let manifest: Manifest = match reader.frame()? {
        Some((MANIFEST, bytes)) => serde_json::from_slice(&bytes)
            .map_err(|error| reader.refuse(format!("its description does not read: {error}")))?,
        Some(_) | None => return Err(reader.refuse("its description is missing")),
    };
    manifest.check(manifest.meta.cluster_id).map_err(|error| reader.refuse(error.to_string()))?;
    let unfinished = into.with_extension("unfinished");
    super::remove_dir(&unfinished)?;
    let mut receiver =
        Receiver::begin(unfinished.clone(), into.to_path_buf(), manifest).map_err(stream_error)?;
    let received = receive(&mut reader, &mut receiver)
        .and_then(|()| receiver.finish().map_err(|error| reader.refuse(error.to_string())));
    if received.is_err() {
        super::remove_dir(&unfinished)?;
    }
    received
}

fn receive(reader: &mut FrameReader<'_>, receiver: &mut Receiver) -> Result<(), StreamError> {
    while let Some((kind, data)) = reader.frame()? {
        let Some(position) = receiver.position().filter(|_| kind == DATA) else {
            return Err(reader.refuse("it goes on after its last file"));
        };
        let crc = crc32fast::hash(&data);
        receiver.write_chunk(position, &data, crc).map_err(|error| match error {
            TransferError::Storage(error) => StreamError::Storage(error),
            TransferError::Refused(_) | TransferError::Gone(_) => reader.refuse(error.to_string()),
        })?;
    }
    Ok(())
}

/// For errors that only the local disk can cause.
fn stream_error(error: TransferError) -> StreamError {
    match error {
        TransferError::Storage(error) => StreamError::Storage(error),
        TransferError::Refused(what) => StreamError::Damaged { offset: 0, what },
        TransferError::Gone(index) => {
            StreamError::Damaged { offset: 0, what: format!("snapshot {index} is gone") }
        }
    }
}
