//! What the log knows without reading: where each entry lies, its term, and the newest entries
//! themselves.

use raft::eraftpb::Entry;
use std::collections::VecDeque;

/// Where an entry lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The entry's term.
    pub(super) term: u64,
    /// Sequence number of the segment.
    pub(super) sequence: u64,
    /// Offset of its record in the segment.
    pub(super) offset: u32,
    /// Bytes of its record.
    pub(super) bytes: u32,
}

/// Index of all entries held, and a window of the newest.
pub(super) struct Memory {
    /// Index of the first slot, or the next index when there is none.
    first: u64,
    slots: VecDeque<Slot>,
    window: VecDeque<Entry>,
    window_bytes: usize,
    window_bytes_max: usize,
}

/// Bytes that an entry counts in budgets: its contents and a few for its numbers.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + 24
}

impl Memory {
    /// Nothing, before `next_index`.
    pub(super) fn new(next_index: u64, window_bytes_max: usize) -> Self {
        Self {
            first: next_index,
            slots: VecDeque::new(),
            window: VecDeque::new(),
            window_bytes: 0,
            window_bytes_max,
        }
    }

    /// Index of the first entry held; [`Self::next_index`] when there is none.
    pub(super) fn first_index(&self) -> u64 {
        self.first
    }

    /// Index that the next entry would have.
    pub(super) fn next_index(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Whether no entry is held.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where the entry at `index` lies; `None` if it is not held.
    pub(super) fn slot(&self, index: u64) -> Option<Slot> {
        let position = index.checked_sub(self.first)?;
        self.slots.get(usize::try_from(position).ok()?).copied()
    }

    /// The entry at `index`, if it is in the window.
    pub(super) fn recent(&self, index: u64) -> Option<&Entry> {
        let window_first = self.next_index() - self.window.len() as u64;
        let position = index.checked_sub(window_first)?;
        self.window.get(usize::try_from(position).ok()?)
    }

    /// Adds the entry at its index and forgets all after it. `index <= next_index()`.
    pub(super) fn put(&mut self, entry: Entry, slot: Slot) {
        assert!(entry.index <= self.next_index(), "entry {} leaves a gap", entry.index);
        if self.is_empty() || entry.index < self.first {
            self.restart(entry.index);
        }
        self.truncate_from(entry.index);
        self.slots.push_back(slot);
        self.window_bytes += entry_bytes(&entry);
        self.window.push_back(entry);
        while self.window_bytes > self.window_bytes_max && self.window.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Forgets everything; the next entry has index `next_index`.
    pub(super) fn restart(&mut self, next_index: u64) {
        self.first = next_index;
        self.slots.clear();
        self.window.clear();
        self.window_bytes = 0;
    }

    /// Forgets entries up to and including `index`.
    pub(super) fn drop_to(&mut self, index: u64) {
        while self.first <= index && self.slots.pop_front().is_some() {
            self.first += 1;
        }
        while self.window.len() > self.slots.len() {
            self.drop_oldest();
        }
    }

    /// Index of the last entry that lies in the segment `sequence` or in one before it.
    pub(super) fn last_within(&self, sequence: u64) -> Option<u64> {
        let entries = self.slots.partition_point(|slot| slot.sequence <= sequence);
        (entries > 0).then(|| self.first + entries as u64 - 1)
    }

    fn truncate_from(&mut self, index: u64) {
        self.slots.truncate((index - self.first) as usize);
        while self.window.back().is_some_and(|entry| entry.index >= index) {
            if let Some(entry) = self.window.pop_back() {
                self.window_bytes -= entry_bytes(&entry);
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.window.pop_front() {
            self.window_bytes -= entry_bytes(&entry);
        }
    }
}
