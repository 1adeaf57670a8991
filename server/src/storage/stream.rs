//! Files that travel: frames with chained checksums, so that a lost, doubled or moved frame is
//! noticed as surely as a changed byte.
//!
//! `magic (8 bytes), format (u32), frame…`; a frame is `length (u32), crc32 (u32), payload`. Each
//! checksum begins with the one before. The payload's first byte says what it is; the last frame is
//! [`END`]. Numbers are little-endian.

use super::StorageError;
use crc32fast::Hasher;
use std::io::{self, Read, Write};
use thiserror::Error;

/// Kind of the frame that ends a stream.
pub(super) const END: u8 = b'E';
/// Bytes that a frame may carry; the largest records are far smaller.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Bytes of a frame from which on it should be written.
pub(super) const FRAME_BYTES_AIM: usize = 1 << 20;
const FORMAT: u32 = 1;

/// A stream cannot be written or is not what was written.
#[derive(Debug, Error)]
pub enum StreamError {
    /// It could not be read or written.
    #[error("cannot {action} the snapshot: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It is something else.
    #[error("this is no {expected}: it begins with other bytes. Choose a file that Oarlock saved")]
    Foreign {
        /// What it should have been.
        expected: &'static str,
    },
    /// It was written by another release.
    #[error(
        "the snapshot has format {format}, and this release reads format {FORMAT}. Use the release that wrote it"
    )]
    Format {
        /// The format found.
        format: u32,
    },
    /// Its end is missing.
    #[error(
        "the snapshot ends at byte {offset}, before its end mark: it was cut off while saved or copied. Use a complete copy"
    )]
    Truncated {
        /// Where it ends.
        offset: u64,
    },
    /// Its content changed.
    #[error("the snapshot is damaged at byte {offset}: {what}. Use another copy")]
    Damaged {
        /// Where.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// The local store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Writes a stream.
pub(super) struct FrameWriter<'a> {
    out: &'a mut dyn Write,
    chain: u32,
}

impl<'a> FrameWriter<'a> {
    /// Begins a stream of the kind that `magic` names.
    pub(super) fn new(out: &'a mut dyn Write, magic: &[u8; 8]) -> Result<Self, StreamError> {
        let mut writer = Self { out, chain: crc32fast::hash(magic) };
        writer.put(magic)?;
        writer.put(&FORMAT.to_le_bytes())?;
        Ok(writer)
    }

    /// Writes a frame. `payload` begins with its kind.
    pub(super) fn frame(&mut self, payload: &[u8]) -> Result<(), StreamError> {
        assert!(payload.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", payload.len());
        self.chain = checksum(self.chain, payload);
        self.put(&(payload.len() as u32).to_le_bytes())?;
        self.put(&self.chain.to_le_bytes())?;
        self.put(payload)
    }

    /// Writes the end and hands everything on.
    pub(super) fn end(mut self) -> Result<(), StreamError> {
        self.frame(&[END])?;
        self.out.flush().map_err(|source| StreamError::Io { action: "write", source })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.out.write_all(bytes).map_err(|source| StreamError::Io { action: "write", source })
    }
}

/// Reads a stream.
pub(super) struct FrameReader<'a> {
    input: &'a mut dyn Read,
    chain: u32,
    offset: u64,
}

impl<'a> FrameReader<'a> {
    /// Begins to read a stream of the kind that `magic` names; `expected` names it to people.
    pub(super) fn new(
        input: &'a mut dyn Read,
        magic: &[u8; 8],
        expected: &'static str,
    ) -> Result<Self, StreamError> {
        let mut reader = Self { input, chain: crc32fast::hash(magic), offset: 0 };
        let mut found = [0; 8];
        match reader.take(&mut found) {
            Err(StreamError::Truncated { .. }) => return Err(StreamError::Foreign { expected }),
            read => read?,
        }
        if &found != magic {
            return Err(StreamError::Foreign { expected });
        }
        match reader.number()? {
            FORMAT => Ok(reader),
            format => Err(StreamError::Format { format }),
        }
    }

    /// The next frame: its kind and the rest of its payload. `None` after the end frame.
    pub(super) fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, StreamError> {
        let start = self.offset;
        let length = self.number()? as usize;
        let crc = self.number()?;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(damaged(start, format!("a part claims to have {length} bytes")));
        }
        let mut payload = vec![0; length];
        self.take(&mut payload)?;
        self.chain = checksum(self.chain, &payload);
        if self.chain != crc {
            return Err(damaged(start, "a part does not match its checksum"));
        }
        let kind = payload.remove(0);
        Ok((kind != END).then_some((kind, payload)))
    }

    /// An error about the frame just read.
    pub(super) fn refuse(&self, what: impl Into<String>) -> StreamError {
        damaged(self.offset, what)
    }

    fn number(&mut self) -> Result<u32, StreamError> {
        let mut bytes = [0; 4];
        self.take(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<(), StreamError> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(StreamError::Truncated { offset: self.offset })
            }
            Err(source) => Err(StreamError::Io { action: "read", source }),
        }
    }
}

fn checksum(chain: u32, payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(chain);
    hasher.update(payload);
    hasher.finalize()
}

fn damaged(offset: u64, what: impl Into<String>) -> StreamError {
    StreamError::Damaged { offset, what: what.into() }
}
