//! Reading the log back: what survived, what was torn, what is damaged.
//!
//! A record that does not check ends the readable part of its segment. What that means depends on
//! witnesses:
//!
//! * The segment is not the last: it was completed and synced, so this is damage.
//! * A later record of the segment was written when the bad one was already durable: damage.
//! * Otherwise the bad record belongs to a write that was never synced, hence never acknowledged:
//!   a torn tail, which is cut off.
//!
//! One case has no witness in the log: the very last write before the stop was synced, nothing was
//! written after it, and it was damaged since. It looks like a torn write. The commit index of the
//! surviving hard state gives it away if it had already covered the lost entries; the caller also
//! compares the applied index of the state with the log's end.

use super::memory::{Memory, Slot};
use super::record::{self, ALIGNMENT, EMPTY_RECORD_BYTES, Kind, Record};
use super::segment::{HEAD_BYTES, Head, Segment, sequence_of};
use crate::storage::disk::Disk;
use crate::storage::{StorageResult, damaged, io_error};
use raft::eraftpb::HardState;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// A write at the log's end that had not finished when the node stopped. It was cut off; it was
/// never acknowledged. Worth a line in the node's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where the readable part ends.
    pub offset: u64,
}

/// What was read.
pub(super) struct Recovered {
    /// Live segments, oldest first; empty for a new log.
    pub(super) segments: VecDeque<Segment>,
    /// Segments before a reset: void.
    pub(super) void: Vec<PathBuf>,
    pub(super) memory: Memory,
    pub(super) base: (u64, u64),
    pub(super) hard_state: HardState,
    /// Where the last segment's records end.
    pub(super) end: u64,
    /// Offset in the last segment from which on nothing proves that the bytes are durable.
    pub(super) unproven: u64,
    /// Whether the last segment carries its end record.
    pub(super) complete: bool,
    pub(super) torn: Option<TornTail>,
}

/// Reads the log in `dir`, whose files are `names`. Changes nothing.
pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    names: &[PathBuf],
    window_bytes: usize,
) -> StorageResult<Recovered> {
    let mut recovered = Recovered {
        segments: VecDeque::new(),
        void: Vec::new(),
        memory: Memory::new(1, window_bytes),
        base: (0, 0),
        hard_state: HardState::default(),
        end: 0,
        unproven: 0,
        complete: false,
        torn: None,
    };
    let live = open_live(disk, dir, names, &mut recovered.void)?;
    let last = live.len().saturating_sub(1);
    for (position, (head, segment)) in live.into_iter().enumerate() {
        recovered.replay(&head, &segment, position == last)?;
        recovered.segments.push_back(segment);
    }
    recovered.settle_base(dir)?;
    Ok(recovered)
}

/// Opens the segments from the last reset on, oldest first. Those before it go into `void`.
fn open_live(
    disk: &dyn Disk,
    dir: &Path,
    names: &[PathBuf],
    void: &mut Vec<PathBuf>,
) -> StorageResult<VecDeque<(Head, Segment)>> {
    let mut found: Vec<(u64, &PathBuf)> =
        names.iter().filter_map(|name| Some((sequence_of(name)?, name))).collect();
    found.sort_unstable();
    let mut live: VecDeque<(Head, Segment)> = VecDeque::new();
    for (sequence, name) in found.into_iter().rev() {
        let path = dir.join(name);
        if live.front().is_some_and(|(head, _)| head.reset) {
            void.push(path);
            continue;
        }
        if let Some((newer, segment)) = live.front()
            && newer.sequence != sequence + 1
        {
            let what =
                format!("segment {} of the log, which comes before this one, is missing", newer.sequence - 1);
            return Err(damaged(&segment.path, 0, what));
        }
        live.push_front(open_segment(disk, path, name)?);
    }
    void.reverse();
    Ok(live)
}

fn open_segment(disk: &dyn Disk, path: PathBuf, name: &Path) -> StorageResult<(Head, Segment)> {
    let file = disk.open(&path).map_err(|error| io_error("open", &path, error))?;
    let length = file.len().map_err(|error| io_error("measure", &path, error))?;
    if length < HEAD_BYTES as u64 {
        return Err(damaged(&path, length, "the segment is shorter than its head"));
    }
    let mut bytes = [0; HEAD_BYTES];
    file.read_at(0, &mut bytes).map_err(|error| io_error("read", &path, error))?;
    let head = Head::decode(&bytes, &path)?;
    if Path::new(&head.file_name()) != name {
        return Err(damaged(&path, 0, format!("its head belongs to a file named {}", head.file_name())));
    }
    let segment = Segment::new(path, file, &head)?;
    Ok((head, segment))
}

impl Recovered {
    fn replay(&mut self, head: &Head, segment: &Segment, is_last: bool) -> StorageResult<()> {
        self.begin_segment(head, segment)?;
        let mut bytes = vec![0; segment.capacity as usize];
        segment.read(0, &mut bytes)?;
        let mut offset = HEAD_BYTES;
        (self.complete, self.unproven) = (false, HEAD_BYTES as u64);
        while !self.complete
            && let Some((record, length)) = record::decode(segment.seed, &bytes[offset..])
        {
            self.take(record, segment, offset, length)?;
            self.unproven = record.durable.into();
            offset += length;
        }
        self.end = offset as u64;
        if !self.complete {
            if !is_last {
                let what = "a record does not match its checksum although later ones were written after it";
                return Err(damaged(&segment.path, self.end, what));
            }
            self.judge_tail(segment, &bytes, offset)?;
        }
        Ok(())
    }

    fn begin_segment(&mut self, head: &Head, segment: &Segment) -> StorageResult<()> {
        if self.segments.is_empty() {
            self.memory.restart(head.next_index);
        } else if self.memory.next_index() != head.next_index {
            let what = format!(
                "it begins with entry {} but the segment before ends before entry {}",
                head.next_index,
                self.memory.next_index()
            );
            return Err(damaged(&segment.path, 0, what));
        }
        self.base = head.base;
        self.hard_state = head.hard_state.clone();
        Ok(())
    }

    fn take(
        &mut self,
        record: Record<'_>,
        segment: &Segment,
        offset: usize,
        length: usize,
    ) -> StorageResult<()> {
        match record.kind {
            Kind::Entry => {
                if record.index > self.memory.next_index() {
                    let what =
                        format!("entry {} follows entry {}", record.index, self.memory.next_index() - 1);
                    return Err(damaged(&segment.path, offset as u64, what));
                }
                let slot = Slot {
                    term: record.term,
                    sequence: segment.sequence,
                    offset: offset as u32,
                    bytes: length as u32,
                };
                self.memory.put(record.to_entry(), slot);
            }
            Kind::HardState => self.hard_state = record.to_hard_state(),
            Kind::Base => self.base = (record.index, record.term),
            Kind::End => self.complete = true,
        }
        Ok(())
    }

    /// Decides whether the unreadable rest of the last segment is its unwritten part, a torn write
    /// or damage.
    fn judge_tail(&mut self, segment: &Segment, bytes: &[u8], end: usize) -> StorageResult<()> {
        let unwritten = bytes[end..].iter().take(EMPTY_RECORD_BYTES).all(|byte| *byte == 0);
        let mut found_later = false;
        let mut offset = end + ALIGNMENT;
        while offset + EMPTY_RECORD_BYTES <= bytes.len() {
            match record::decode(segment.seed, &bytes[offset..]) {
                Some((later, _)) if later.durable as usize > end => {
                    let what = format!(
                        "a record does not match its checksum but was durable when the one at byte {offset} was written"
                    );
                    return Err(damaged(&segment.path, end as u64, what));
                }
                Some((_, length)) => {
                    found_later = true;
                    offset += length;
                }
                None => offset += ALIGNMENT,
            }
        }
        if found_later || !unwritten {
            self.torn = Some(TornTail { path: segment.path.clone(), offset: end as u64 });
        }
        Ok(())
    }

    /// Forgets what lies below the base and checks that nothing is missing above it.
    fn settle_base(&mut self, dir: &Path) -> StorageResult<()> {
        let (base, _) = self.base;
        let last = self.memory.next_index() - 1;
        let first = self.memory.first_index();
        if last < base || (first > base + 1 && !self.memory.is_empty()) {
            let what = format!("it holds entries {first} to {last}, which do not follow on its base {base}");
            return Err(damaged(dir, 0, what));
        }
        self.memory.drop_to(base);
        if self.memory.is_empty() {
            self.memory.restart(base + 1);
        }
        let last = self.memory.next_index() - 1;
        if self.hard_state.commit > last {
            let what = format!(
                "entries up to {} are known to be committed but the log ends with entry {last}",
                self.hard_state.commit
            );
            return Err(damaged(dir, 0, what));
        }
        Ok(())
    }
}
