//! One round: what is to be done, in which order. The numbers are the steps of the raft crate's
//! "Processing the `Ready` State".

use super::snapshot::{SendSnapshot, SnapshotMeta, meta_of};
use super::{Replica, entries};
use crate::storage::StorageResult;
use bytes::Bytes;
use oarlock_state::{Entry, NodeId};
use prost_raft::Message as _;
use raft::eraftpb::{self, HardState, Message, MessageType};
use std::mem::take;

/// What is to be done now. Nothing else may be told to the replica until the ticket is back.
#[derive(Debug)]
#[must_use = "messages, entries and the ticket are handed out once"]
pub struct Ready {
    /// Send these; nothing of them depends on this replica's disk. May be lost, not reordered.
    pub send_now: Vec<(NodeId, Bytes)>,
    /// Stream these; each must be reported by [`Replica::report_snapshot`].
    pub send_snapshots: Vec<SendSnapshot>,
    /// Confirmed reads: the context, and the index that must be applied before reading.
    pub reads: Vec<(u64, u64)>,
    /// Reads that will never be confirmed.
    pub failed_reads: Vec<u64>,
    /// A follower needs a snapshot and none on offer is good enough: make a checkpoint, then
    /// [`Replica::offer_snapshot`]. Asked for again while the need lasts.
    pub want_snapshot: bool,
    /// Put this staged snapshot in place of the state, then return the ticket by
    /// [`Replica::installed`] instead of [`Replica::persist`].
    pub install: Option<SnapshotMeta>,
    /// Apply these. More may follow in [`Persisted`].
    pub committed: Vec<Entry>,
    /// To be returned.
    pub ticket: Ticket,
}

/// What became possible by the write.
#[derive(Debug, Default)]
#[must_use = "messages and entries are handed out once"]
pub struct Persisted {
    /// Send these: they promise what is now on disk. May be lost, not reordered.
    pub send_after: Vec<(NodeId, Bytes)>,
    /// Stream these; each must be reported by [`Replica::report_snapshot`].
    pub send_snapshots: Vec<SendSnapshot>,
    /// Apply these, after those of the [`Ready`].
    pub committed: Vec<Entry>,
}

/// Proof that a [`Ready`] is outstanding. There is one at a time, and it is used once.
#[derive(Debug)]
#[must_use = "the replica waits for it"]
pub struct Ticket {
    number: u64,
}

/// What waits for the ticket.
pub(super) struct Outstanding {
    ready: raft::Ready,
    /// Committed entries from the first change of the configuration on.
    held_back: Vec<eraftpb::Entry>,
}

impl Replica {
    /// What is to be done now; `None` when nothing is.
    ///
    /// # Errors
    /// A committed entry cannot be read by this program. The member must stop.
    pub fn ready(&mut self) -> StorageResult<Option<Ready>> {
        self.assert_idle();
        let mut failed_reads = take(&mut self.lost_reads);
        failed_reads.extend(self.reads.lost(self.leads(), self.raw.raft.term));
        let want_snapshot = self.raw.store().take_wanted();
        if !self.raw.has_ready() && failed_reads.is_empty() && !want_snapshot {
            return Ok(None);
        }
        let mut ready = self.raw.ready();
        let mut post = Post::default();
        post.add(ready.take_messages()); // 1: a leader may send before it writes
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("answer_before_persist") {
            post.add(ready.take_persisted_messages());
        }
        let install = (!ready.snapshot().is_empty()).then(|| meta_of(ready.snapshot())); // 2
        let mut committed = ready.take_committed_entries(); // 3
        let held_back = committed.split_off(entries::before_configuration(&committed));
        let reads = self.reads.confirmed(ready.take_read_states());
        let ticket = Ticket { number: ready.number() };
        self.outstanding = Some(Outstanding { ready, held_back });
        Ok(Some(Ready {
            send_now: post.messages,
            send_snapshots: post.snapshots,
            reads,
            failed_reads,
            want_snapshot,
            install,
            committed: self.hand_out(committed)?,
            ticket,
        }))
    }

    /// Writes what the [`Ready`] brought: one append, at most one sync.
    ///
    /// # Errors
    /// The disk failed, or a committed entry cannot be read by this program. The member must stop.
    ///
    /// # Panics
    /// The ticket is of another [`Ready`], or of one with a snapshot to install.
    pub fn persist(&mut self, ticket: Ticket) -> StorageResult<Persisted> {
        let outstanding = self.redeem(&ticket);
        assert!(outstanding.ready.snapshot().is_empty(), "install the snapshot first, then call `installed`");
        self.append(&outstanding.ready)?;
        self.advance(outstanding)
    }

    /// The state was replaced by the snapshot that [`Ready::install`] named, durably. Begins the log
    /// anew after it.
    ///
    /// # Errors
    /// The disk failed. The member must stop.
    ///
    /// # Panics
    /// The ticket is of another [`Ready`], or the index of another snapshot.
    pub fn installed(&mut self, ticket: Ticket, index: u64) -> StorageResult<Persisted> {
        let outstanding = self.redeem(&ticket);
        let snapshot = meta_of(outstanding.ready.snapshot());
        assert_eq!(index, snapshot.index, "another snapshot was to be installed");
        self.note_hard_state(&outstanding.ready);
        self.hard_state_moved = false;
        // Entries that follow the snapshot are appended after the reset; what is committed among them
        // must not be on disk before they are.
        let hard_state = HardState { commit: index, ..self.hard_state.clone() };
        self.raw.mut_store().log.reset(index, snapshot.term, &hard_state)?;
        self.append(&outstanding.ready)?;
        let persisted = self.advance(outstanding)?;
        self.forget_strangers();
        self.applied_to(index);
        Ok(persisted)
    }

    fn redeem(&mut self, ticket: &Ticket) -> Outstanding {
        let outstanding = self.outstanding.take().expect("a ticket exists only while a Ready is outstanding");
        assert_eq!(ticket.number, outstanding.ready.number(), "the ticket is of another Ready");
        outstanding
    }

    fn note_hard_state(&mut self, ready: &raft::Ready) {
        if let Some(hard_state) = ready.hs() {
            self.hard_state = hard_state.clone();
            self.hard_state_moved = true;
        }
    }

    /// 4 and 5: entries and hard state in one write. Where only the commit index moved there is no
    /// sync; it can be found out again.
    fn append(&mut self, ready: &raft::Ready) -> StorageResult<()> {
        self.note_hard_state(ready);
        let hard_state = self.hard_state_moved.then(|| self.hard_state.clone());
        if ready.entries().is_empty() && hard_state.is_none() {
            return Ok(());
        }
        #[cfg(feature = "plant")]
        let hard_state = super::plant::hard_state(hard_state);
        let sync = ready.must_sync();
        #[cfg(feature = "plant")]
        let sync = sync && !oarlock_state::plant::is("skip_sync");
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("term_before_entries") {
            let log = &mut self.raw.mut_store().log;
            log.append(&[], hard_state.as_ref(), sync)?;
            log.append(ready.entries(), None, false)?;
            self.hard_state_moved = false;
            return Ok(());
        }
        self.raw.mut_store().log.append(ready.entries(), hard_state.as_ref(), sync)?;
        self.hard_state_moved = false;
        Ok(())
    }

    fn advance(&mut self, outstanding: Outstanding) -> StorageResult<Persisted> {
        let Outstanding { mut ready, held_back } = outstanding;
        let mut post = Post::default();
        post.add(ready.take_persisted_messages()); // 6: promises of what is on disk now
        let mut light = self.raw.advance_append(ready); // 7
        if let Some(commit) = light.commit_index() {
            self.hard_state.commit = commit; // 8: written with the next append
            self.hard_state_moved = true;
        }
        post.add(light.take_messages());
        let mut committed = held_back;
        committed.append(&mut light.take_committed_entries());
        // Configurations change only here, where nothing waits to be written: a leader that
        // removes itself has no place left for its own acknowledgements.
        let committed = self.hand_out(committed)?;
        self.step_down_without_vote();
        self.settle_applied(); // 9
        self.pin_timeout();
        Ok(Persisted { send_after: post.messages, send_snapshots: post.snapshots, committed })
    }
}

/// Outgoing messages; snapshots go another way.
#[derive(Default)]
struct Post {
    messages: Vec<(NodeId, Bytes)>,
    snapshots: Vec<SendSnapshot>,
}

impl Post {
    fn add(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = NodeId(message.to);
            let bytes = message.encode_to_vec().into();
            if message.msg_type() == MessageType::MsgSnapshot {
                let index = message.get_snapshot().get_metadata().index;
                self.snapshots.push(SendSnapshot { to, index, message: bytes });
            } else {
                self.messages.push((to, bytes));
            }
        }
    }
}
