//! One file of the log: its name, its head and its bytes.
//!
//! A segment is prepared under a spare's name, given its head, synced and only then renamed. So a
//! file with a segment's name always has a whole head, and a head that does not check is damage.

use super::record::{number32, number64};
use crate::storage::disk::File;
use crate::storage::{StorageError, StorageResult, damaged, io_error};
use raft::eraftpb::HardState;
use std::path::{Path, PathBuf};

/// Bytes of a segment's head; records follow.
pub(super) const HEAD_BYTES: usize = 128;
const MAGIC: &[u8; 8] = b"OARLOCKL";
const FORMAT: u32 = 1;
const SUFFIX: &str = ".log";
const CRC_AT: usize = 12;

/// What the first bytes of a segment say: everything needed to read on from here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Head {
    /// Counts the segments of this log from 1.
    pub(super) sequence: u64,
    /// Chosen by the caller at each start; part of the seed.
    pub(super) salt: u64,
    /// Whether everything before this segment is void (a new log, or one after a snapshot).
    pub(super) reset: bool,
    /// Index that follows the last entry of the segment before.
    pub(super) next_index: u64,
    /// Index and term just before the first entry held.
    pub(super) base: (u64, u64),
    /// The hard state so far.
    pub(super) hard_state: HardState,
}

impl Head {
    /// The segment's file name.
    pub(super) fn file_name(&self) -> String {
        format!("{:016x}-{:016x}{SUFFIX}", self.sequence, self.next_index)
    }

    /// Seed for the checksums of this segment's records.
    pub(super) fn seed(&self) -> u32 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..].copy_from_slice(&self.salt.to_le_bytes());
        crc32fast::hash(&bytes)
    }

    /// The head's bytes.
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        let numbers = [
            self.sequence,
            self.salt,
            u64::from(self.reset),
            self.next_index,
            self.base.0,
            self.base.1,
            self.hard_state.term,
            self.hard_state.vote,
            self.hard_state.commit,
        ];
        for (place, number) in bytes[16..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a head. `path` is for the error.
    pub(super) fn decode(bytes: &[u8; HEAD_BYTES], path: &Path) -> StorageResult<Self> {
        let mut unsigned = *bytes;
        unsigned[CRC_AT..CRC_AT + 4].fill(0);
        if &bytes[..8] != MAGIC || crc32fast::hash(&unsigned) != number32(bytes, CRC_AT) {
            return Err(damaged(path, 0, "the segment's head does not match its checksum"));
        }
        let format = number32(bytes, 8);
        if format != FORMAT {
            return Err(StorageError::WrongDirectory {
                path: path.to_path_buf(),
                what: format!("holds a log of format {format}, and this release reads {FORMAT}"),
                advice: "Run the release that wrote it",
            });
        }
        let number = |position: usize| number64(bytes, 16 + 8 * position);
        Ok(Self {
            sequence: number(0),
            salt: number(1),
            reset: number(2) != 0,
            next_index: number(3),
            base: (number(4), number(5)),
            hard_state: HardState { term: number(6), vote: number(7), commit: number(8) },
        })
    }
}

/// Sequence number in a segment's file name; `None` for other files.
pub(super) fn sequence_of(name: &Path) -> Option<u64> {
    let (sequence, next_index) = name.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
    u64::from_str_radix(next_index, 16).ok()?;
    u64::from_str_radix(sequence, 16).ok()
}

/// An open segment.
pub(super) struct Segment {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its bytes.
    pub(super) file: Box<dyn File>,
    /// Counts the segments of this log.
    pub(super) sequence: u64,
    /// Seed of its records.
    pub(super) seed: u32,
    /// Bytes of the file.
    pub(super) capacity: u64,
}

impl Segment {
    /// A segment whose head is known.
    pub(super) fn new(path: PathBuf, file: Box<dyn File>, head: &Head) -> StorageResult<Self> {
        let capacity = file.len().map_err(|error| io_error("measure", &path, error))?;
        Ok(Self { path, file, sequence: head.sequence, seed: head.seed(), capacity })
    }

    /// Reads `buffer.len()` bytes at `offset`.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> StorageResult<()> {
        self.file.read_at(offset, buffer).map_err(|error| io_error("read", &self.path, error))
    }

    /// Writes `data` at `offset`.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> StorageResult<()> {
        self.file.write_at(offset, data).map_err(|error| io_error("write", &self.path, error))
    }

    /// Makes it durable.
    pub(super) fn sync(&mut self) -> StorageResult<()> {
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("ignore_sync_error") {
            let _ignored = self.file.sync();
            return Ok(());
        }
        self.file.sync().map_err(|error| io_error("sync", &self.path, error))
    }

    /// Writes zeros over `[from, capacity)`.
    pub(super) fn zero_from(&mut self, from: u64) -> StorageResult<()> {
        let mut offset = from;
        while offset < self.capacity {
            let length = ZEROS.len().min((self.capacity - offset) as usize);
            self.write(offset, &ZEROS[..length])?;
            offset += length as u64;
        }
        Ok(())
    }
}

/// Zeros to write, a mebibyte at once.
pub(super) static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
