//! A log that tells what is done to it, so that checks can follow every member's log.

use oarlock_server::storage::log::SegmentedLog;
use oarlock_server::storage::{LogStore, StorageResult};
use raft::eraftpb::{Entry, HardState};
use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::{Arc, Mutex};

/// Something that happened to a log, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogNote {
    /// An entry was appended; everything from its index on was replaced.
    Appended {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// Of its content.
        hash: u64,
    },
    /// The hard state was written.
    HardState {
        /// Term.
        term: u64,
        /// Vote in this term; zero for none.
        vote: u64,
        /// Commit index.
        commit: u64,
    },
    /// The log begins anew after this entry.
    Reset {
        /// Index of the base.
        index: u64,
        /// Term of the base.
        term: u64,
    },
}

/// Notes of one log, oldest first; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Mutex<VecDeque<LogNote>>>);

impl Tap {
    /// The next note.
    pub fn take(&self) -> Option<LogNote> {
        self.0.lock().expect("the simulator has one thread and ends at a panic").pop_front()
    }

    fn note(&self, note: LogNote) {
        self.0.lock().expect("the simulator has one thread and ends at a panic").push_back(note);
    }
}

/// The production log, tapped.
pub struct TappedLog {
    log: SegmentedLog,
    tap: Tap,
}

impl TappedLog {
    /// Notes on the tap what is done to the log from now on.
    pub fn new(log: SegmentedLog, tap: Tap) -> Self {
        Self { log, tap }
    }

    fn note_hard_state(&self, hard_state: &HardState) {
        let HardState { term, vote, commit } = *hard_state;
        self.tap.note(LogNote::HardState { term, vote, commit });
    }
}

/// The hash of an entry's content.
pub fn entry_hash(entry: &Entry) -> u64 {
    // The default keys of this hasher are fixed, so runs are comparable.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_i32(entry.entry_type);
    hasher.write(&entry.data);
    hasher.write(&entry.context);
    hasher.finish()
}

impl LogStore for TappedLog {
    fn base(&self) -> (u64, u64) {
        self.log.base()
    }

    fn last_index(&self) -> u64 {
        self.log.last_index()
    }

    fn term(&self, index: u64) -> StorageResult<Option<u64>> {
        self.log.term(index)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> StorageResult<Vec<Entry>> {
        self.log.entries(low, high, bytes_max)
    }

    fn hard_state(&self) -> HardState {
        self.log.hard_state()
    }

    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>, sync: bool) -> StorageResult<()> {
        self.log.append(entries, hard_state, sync)?;
        for entry in entries {
            let (index, term, hash) = (entry.index, entry.term, entry_hash(entry));
            self.tap.note(LogNote::Appended { index, term, hash });
        }
        if let Some(hard_state) = hard_state {
            self.note_hard_state(hard_state);
        }
        Ok(())
    }

    fn truncate_front(&mut self, index: u64) -> StorageResult<()> {
        self.log.truncate_front(index)
    }

    fn reset(&mut self, index: u64, term: u64, hard_state: &HardState) -> StorageResult<()> {
        self.log.reset(index, term, hard_state)?;
        self.tap.note(LogNote::Reset { index, term });
        self.note_hard_state(hard_state);
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }
}
