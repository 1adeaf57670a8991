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
//! Modules in reading order: `record`, `segment`, `spares`, `memory`, `recovery`, then this one.

mod memory;
mod record;
mod recovery;
mod segment;
mod spares;
#[cfg(test)]
mod tests;

pub use recovery::TornTail;

use self::memory::{Memory, Slot, entry_bytes};
use self::record::{EMPTY_RECORD_BYTES, Encoder, Kind};
use self::segment::{HEAD_BYTES, Head, Segment};
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
    pub fn open(disk: Box<dyn Disk>, dir: &Path, options: LogOptions) -> StorageResult<(Self, Option<TornTail>)> {
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

    /// Makes sure that what was read is on disk and that nothing after it can ever be read.
    ///
    /// A previous process may have died of a failed sync, with pages that the system believes
    /// clean but never wrote. So what no record proves durable is written again.
    fn secure_tail(&mut self, unproven: u64, torn: bool) -> StorageResult<()> {
        let end = self.end;
        let active = active(&mut self.segments);
        let mut bytes = vec![0; end.saturating_sub(unproven) as usize];
        active.read(unproven, &mut bytes)?;
        active.write(unproven, &bytes)?;
        if torn {
            active.zero_from(end)?;
        }
        active.sync()
    }

    /// Begins a segment; durable on return. The one before has been completed and synced.
    fn begin_segment(&mut self, reset: bool, record_bytes: usize) -> StorageResult<()> {
        let head = Head {
            sequence: self.segments.back().map_or(0, |segment| segment.sequence) + 1,
            salt: self.options.salt,
            reset,
            next_index: self.memory.next_index(),
            base: self.base,
            hard_state: self.hard_state.clone(),
        };
        let least = HEAD_BYTES + record_bytes + EMPTY_RECORD_BYTES;
        let bytes = self.options.segment_bytes.max(least as u64);
        let (spare, file) = self.spares.take(&*self.disk, bytes)?;
        let mut segment = Segment::new(spare, file, &head)?;
        // The zeros after the head say that nothing follows yet, whatever the file held before.
        let mut first_bytes = head.encode().to_vec();
        first_bytes.resize(HEAD_BYTES + EMPTY_RECORD_BYTES, 0);
        segment.write(0, &first_bytes)?;
        segment.sync()?;
        let path = self.dir.join(head.file_name());
        self.disk.rename(&segment.path, &path).map_err(|error| io_error("rename", &segment.path, error))?;
        self.disk.sync_dir(&self.dir).map_err(|error| io_error("sync", &self.dir, error))?;
        segment.path = path;
        self.segments.push_back(segment);
        (self.end, self.durable) = (HEAD_BYTES as u64, HEAD_BYTES as u64);
        Ok(())
    }

    /// Completes the active segment and begins the next, with room for a record of `record_bytes`.
    fn roll(&mut self, record_bytes: usize) -> StorageResult<()> {
        let next_index = self.memory.next_index();
        self.encoder().end(next_index, &mut self.buffer);
        self.write_buffer(false)?;
        self.sync()?;
        self.begin_segment(false, record_bytes)
    }

    /// Begins the next segment unless a record of `record_bytes` and an end record fit.
    fn make_room(&mut self, record_bytes: usize) -> StorageResult<()> {
        let needed = self.end + (self.buffer.len() + record_bytes + EMPTY_RECORD_BYTES) as u64;
        let capacity = active(&mut self.segments).capacity;
        if needed > capacity { self.roll(record_bytes) } else { Ok(()) }
    }

    /// Writes the buffered records. With `terminate` they are followed by zeros, so that a recycled
    /// file's old bytes are never next to the end.
    fn write_buffer(&mut self, terminate: bool) -> StorageResult<()> {
        let length = self.buffer.len();
        if terminate {
            self.buffer.resize(length + EMPTY_RECORD_BYTES, 0);
        }
        active(&mut self.segments).write(self.end, &self.buffer)?;
        self.end += length as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> StorageResult<()> {
        active(&mut self.segments).sync()?;
        self.durable = self.end;
        Ok(())
    }

    fn encoder(&mut self) -> Encoder {
        let durable = u32::try_from(self.durable).expect("segments are smaller than 4 GiB");
        Encoder { seed: active(&mut self.segments).seed, durable }
    }

    fn buffer_entry(&mut self, entry: &Entry) -> StorageResult<()> {
        let bytes = record::entry_record_bytes(entry);
        self.make_room(bytes)?;
        let offset = self.end + self.buffer.len() as u64;
        let encoder = self.encoder();
        encoder.entry(entry, &mut self.buffer);
        let slot = Slot {
            term: entry.term,
            sequence: active(&mut self.segments).sequence,
            offset: u32::try_from(offset).expect("segments are smaller than 4 GiB"),
            bytes: u32::try_from(bytes).expect("limits keep entries below 4 GiB"),
        };
        self.memory.put(entry.clone(), slot);
        Ok(())
    }

    fn write_batch(&mut self, entries: &[Entry], hard_state: Option<&HardState>, sync: bool) -> StorageResult<()> {
        for entry in entries {
            self.buffer_entry(entry)?;
        }
        if let Some(state) = hard_state {
            self.make_room(record::hard_state_record_bytes())?;
            self.encoder().hard_state(state, &mut self.buffer);
            self.hard_state = state.clone();
        }
        if !self.buffer.is_empty() {
            self.write_buffer(true)?;
        }
        if sync && self.durable < self.end {
            self.sync()?;
        }
        if self.end > self.options.segment_bytes / 2 {
            self.spares.prepare(&*self.disk)?;
        }
        Ok(())
    }

    /// Writes down the new base, then lets go of the segments below it.
    fn move_base(&mut self, base: (u64, u64)) -> StorageResult<()> {
        self.make_room(EMPTY_RECORD_BYTES)?;
        self.encoder().base(base, &mut self.buffer);
        self.base = base;
        self.write_buffer(true)?;
        self.sync()?;
        self.memory.drop_to(base.0);
        self.recycle_through(base.0)
    }

    /// Recycles the oldest segments whose entries are all at or below `index`. One at a time, each
    /// durable, so that no crash leaves a gap.
    fn recycle_through(&mut self, index: u64) -> StorageResult<()> {
        while self.segments.len() > 1 && self.is_below(self.segments[0].sequence, index) {
            if let Some(segment) = self.segments.pop_front() {
                self.spares.recycle(&*self.disk, &segment.path, segment.capacity)?;
            }
        }
        Ok(())
    }

    fn is_below(&self, sequence: u64, index: u64) -> bool {
        self.memory.last_within(sequence).is_none_or(|last| last <= index)
    }

    fn restart(&mut self, index: u64, term: u64, hard_state: &HardState) -> StorageResult<()> {
        self.memory.restart(index + 1);
        self.base = (index, term);
        self.hard_state = hard_state.clone();
        let void = self.segments.len();
        self.begin_segment(true, 0)?;
        for _ in 0..void {
            if let Some(segment) = self.segments.pop_front() {
                self.spares.recycle(&*self.disk, &segment.path, segment.capacity)?;
            }
        }
        Ok(())
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
            Some(_) | None => {
                Err(damaged(&segment.path, slot.offset.into(), format!("entry {index} does not match its checksum")))
            }
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
