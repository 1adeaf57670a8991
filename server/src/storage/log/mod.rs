//! The Raft log: records appended to segments, one write and one sync per batch.
//!
//! ```text
//! 0000000000000007-000000000001a2b3.log    head | record | record | … | end of segment
//! 0000000000000008-000000000001f000.log    head | record | record | zeros, or a recycled file's past
//! spare-12                                 a file for a segment to come
//! ```
//!
//! * A later record wins: an entry replaces all entries from its index on, so truncation after a
//!   conflict writes nothing of its own.
//! * Every segment's head repeats the hard state and the base, so the oldest segments can go.
//! * A reset (after a snapshot) is a segment whose head says that everything before it is void.
//!   It comes into being by one rename.
//! * The first failure closes the log for good: after a failed sync nobody knows what is on disk.
//!
//! Modules in reading order: `record`, `segment`, `spares`, `memory`, `recovery`, `writer`, this one.

mod memory;
mod record;
mod recovery;
mod segment;
mod spares;
#[cfg(test)]
mod tests;
mod writer;

pub use recovery::TornTail;

use self::memory::{Memory, Slot, entry_bytes};
use self::record::Kind;
use self::segment::Segment;
use self::spares::Spares;
use super::disk::{Disk, RealDisk};
use super::{LogStore, StorageError, StorageResult, damaged, io_error};
use raft::eraftpb::{Entry, HardState};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Sizes of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes of a segment file. A larger record gets a larger segment.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory; older ones are read from disk.
    pub window_bytes: usize,
    /// A random number that makes new segments' checksums unlike any other log's, so that a client
    /// cannot store bytes that pass for records. Fresh at every start.
    pub salt: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, window_bytes: 64 << 20, salt: 0 }
    }
}

/// A [`LogStore`] over a [`Disk`].
pub struct SegmentedLog {
    disk: Box<dyn Disk>,
    dir: PathBuf,
    options: LogOptions,
    spares: Spares,
    /// Oldest first; the last one is written to. Never empty once open.
    segments: VecDeque<Segment>,
    memory: Memory,
    base: (u64, u64),
    hard_state: HardState,
    /// Where the next write goes in the last segment.
    end: u64,
    /// Below this, the last segment is durable.
    durable: u64,
    /// Records not yet written.
    buffer: Vec<u8>,
    /// Whether an operation failed.
    failed: bool,
}

impl SegmentedLog {
    /// Opens the log in `dir`, which exists, or begins an empty one with base `(0, 0)`. A torn tail
    /// is cut off and returned.
    ///
    /// # Errors
    /// Damage, and everything the disk refuses.
    pub fn open(
        disk: Box<dyn Disk>,
        dir: &Path,
        options: LogOptions,
    ) -> StorageResult<(Self, Option<TornTail>)> {
        let names = disk.list(dir).map_err(|error| io_error("list", dir, error))?;
        let recovered = recovery::recover(&*disk, dir, &names, options.window_bytes)?;
        let mut log = Self {
            spares: Spares::open(&*disk, dir, &names, options.segment_bytes)?,
            disk,
            dir: dir.to_path_buf(),
            options,
            segments: recovered.segments,
            memory: recovered.memory,
            base: recovered.base,
            hard_state: recovered.hard_state,
            end: recovered.end,
            durable: recovered.end,
            buffer: Vec::new(),
            failed: false,
        };
        for path in &recovered.void {
            log.spares.recycle(&*log.disk, path, 0)?;
        }
        if log.segments.is_empty() {
            log.begin_segment(true, 0)?;
        } else {
            log.secure_tail(recovered.unproven, recovered.torn.is_some())?;
        }
        if recovered.complete {
            log.begin_segment(false, 0)?;
        }
        log.recycle_through(log.base.0)?;
        Ok((log, recovered.torn))
    }

    /// Runs an operation that writes; its failure closes the log.
    fn guarded(&mut self, operation: impl FnOnce(&mut Self) -> StorageResult<()>) -> StorageResult<()> {
        if self.failed {
            return Err(StorageError::State(format!("the log {} has failed before", self.dir.display())));
        }
        self.failed = true;
        operation(self)?;
        self.failed = false;
        Ok(())
    }

    fn read_entry(&self, index: u64, slot: Slot) -> StorageResult<Entry> {
        let position = self.segments.partition_point(|segment| segment.sequence < slot.sequence);
        let segment = &self.segments[position];
        let mut bytes = vec![0; slot.bytes as usize];
        segment.read(slot.offset.into(), &mut bytes)?;
        match record::decode(segment.seed, &bytes) {
            Some((record, _)) if record.kind == Kind::Entry && record.index == index => Ok(record.to_entry()),
            Some(_) | None => Err(damaged(
                &segment.path,
                slot.offset.into(),
                format!("entry {index} does not match its checksum"),
            )),
        }
    }
}

/// Whether `dir` exists and holds a log.
///
/// # Errors
/// When the directory cannot be read.
pub fn exists(dir: &Path) -> StorageResult<bool> {
    match RealDisk.list(dir) {
        Ok(names) => Ok(names.iter().any(|name| segment::sequence_of(name).is_some())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("list", dir, error)),
    }
}

/// The segment that is written to.
fn active(segments: &mut VecDeque<Segment>) -> &mut Segment {
    segments.back_mut().expect("an open log has a segment: open() begins one")
}

impl LogStore for SegmentedLog {
    fn base(&self) -> (u64, u64) {
        self.base
    }

    fn last_index(&self) -> u64 {
        self.memory.next_index() - 1
    }

    fn term(&self, index: u64) -> StorageResult<Option<u64>> {
        if index == self.base.0 {
            return Ok(Some(self.base.1));
        }
        Ok(self.memory.slot(index).map(|slot| slot.term))
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> StorageResult<Vec<Entry>> {
        assert!(
            low > self.base.0 && high <= self.memory.next_index(),
            "entries [{low}, {high}) are not held; the log has {} to {}",
            self.first_index(),
            self.last_index()
        );
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in low..high {
            let entry = match (self.memory.recent(index), self.memory.slot(index)) {
                (Some(entry), _) => entry.clone(),
                (None, Some(slot)) => self.read_entry(index, slot)?,
                (None, None) => unreachable!("the range was checked above"),
            };
            bytes += entry_bytes(&entry) as u64;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn hard_state(&self) -> HardState {
        self.hard_state.clone()
    }

    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>, sync: bool) -> StorageResult<()> {
        if let Some(first) = entries.first() {
            assert!(
                self.base.0 < first.index && first.index <= self.memory.next_index(),
                "entry {} does not follow on a log of {} to {}",
                first.index,
                self.first_index(),
                self.last_index()
            );
        }
        self.guarded(|log| log.write_batch(entries, hard_state, sync))
    }

    fn truncate_front(&mut self, index: u64) -> StorageResult<()> {
        assert!(index <= self.last_index(), "cannot forget entry {index}, the log ends before");
        let active_sequence = active(&mut self.segments).sequence;
        let mut base = None;
        for segment in &self.segments {
            if segment.sequence == active_sequence || !self.is_below(segment.sequence, index) {
                break;
            }
            base = self.memory.last_within(segment.sequence).or(base);
        }
        let Some(base) = base else {
            return Ok(());
        };
        let term = self.term(base)?.expect("the last entry of a segment is held");
        self.guarded(|log| log.move_base((base, term)))
    }

    fn reset(&mut self, index: u64, term: u64, hard_state: &HardState) -> StorageResult<()> {
        self.guarded(|log| log.restart(index, term, hard_state))
    }

    fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.capacity).sum::<u64>() + self.spares.size_bytes()
    }
}
