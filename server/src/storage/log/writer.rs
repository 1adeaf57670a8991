//! Writing: records into the active segment, one segment after the other.

use super::memory::Slot;
use super::record::{self, EMPTY_RECORD_BYTES, Encoder};
use super::segment::{HEAD_BYTES, Head, Segment};
use super::{SegmentedLog, active};
use crate::storage::{StorageResult, io_error};
use raft::eraftpb::{Entry, HardState};

impl SegmentedLog {
    /// Makes sure that what was read is on disk and that nothing after it can ever be read.
    ///
    /// A previous process may have died of a failed sync, with pages that the system believes
    /// clean but never wrote. So what no record proves durable is written again. It may also have
    /// died before it synced the directory.
    pub(super) fn secure_tail(&mut self, unproven: u64, torn: bool) -> StorageResult<()> {
        let end = self.end;
        let active = active(&mut self.segments);
        let mut bytes = vec![0; end.saturating_sub(unproven) as usize];
        active.read(unproven, &mut bytes)?;
        active.write(unproven, &bytes)?;
        if torn {
            active.zero_from(end)?;
        }
        active.sync()?;
        self.disk.sync_dir(&self.dir).map_err(|error| io_error("sync", &self.dir, error))
    }

    /// Begins a segment; durable on return. The one before has been completed and synced.
    pub(super) fn begin_segment(&mut self, reset: bool, record_bytes: usize) -> StorageResult<()> {
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

    pub(super) fn write_batch(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
        sync: bool,
    ) -> StorageResult<()> {
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
    pub(super) fn move_base(&mut self, base: (u64, u64)) -> StorageResult<()> {
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
    pub(super) fn recycle_through(&mut self, index: u64) -> StorageResult<()> {
        while self.segments.len() > 1 && self.is_below(self.segments[0].sequence, index) {
            if let Some(segment) = self.segments.pop_front() {
                self.spares.recycle(&*self.disk, &segment.path, segment.capacity)?;
            }
        }
        Ok(())
    }

    pub(super) fn is_below(&self, sequence: u64, index: u64) -> bool {
        self.memory.last_within(sequence).is_none_or(|last| last <= index)
    }

    pub(super) fn restart(&mut self, index: u64, term: u64, hard_state: &HardState) -> StorageResult<()> {
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
}
