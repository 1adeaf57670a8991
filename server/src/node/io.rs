//! What enters a [`Core`](super::core::Core) and what leaves it: all of it data.

use super::request::{Origin, Request, Result, Role, WatchFrame};
use crate::storage::state::{FlushDone, FlushJob};
use oarlock_proto::internal::peer::Envelope;
use oarlock_state::auth::Settings;
use oarlock_state::command::Member;
use oarlock_state::{Caller, NodeId};
use std::sync::Arc;

/// A moment, as the outside tells it. The core has no clock of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Microseconds on this node's monotonic clock. Never goes back.
    pub mono_us: u64,
    /// Milliseconds since 1970 on the wall clock. May jump.
    pub wall_ms: u64,
}

/// What a core is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are requests, which a box would only slow down")]
pub enum Input {
    /// Time passed. The runtime sends it about every `tick_ms`; after a stall it is sent once, and
    /// the core sees from `now` how long the stall was.
    Tick,
    /// A message from a member.
    Peer {
        /// Its sender, as the transport authenticated it.
        from: NodeId,
        /// The message.
        envelope: Envelope,
    },
    /// A door asks.
    Request {
        /// Where the reply goes.
        origin: Origin,
        /// On whose behalf.
        caller: Caller,
        /// What it asks.
        request: Request,
    },
    /// A connection is gone: its watches end and its replies have nowhere to go.
    Disconnected {
        /// The connection.
        conn: u64,
    },
    /// A connection took watch frames; it may be sent this many bytes more. A connection's watches
    /// wait when its credit is used up, without costing anybody else.
    WatchCredit {
        /// The connection.
        conn: u64,
        /// Bytes of credit to add.
        bytes: usize,
    },
    /// A peer cannot be reached.
    Unreachable(NodeId),
    /// A snapshot that was to be sent has been installed by its receiver, or has failed.
    SnapshotSent {
        /// The receiver.
        to: NodeId,
        /// It was received whole and handed to the receiver's consensus.
        delivered: bool,
    },
    /// A snapshot was received whole, verified and staged on this node; `message` is the Raft
    /// message to step now.
    SnapshotStaged {
        /// Index of the snapshot.
        index: u64,
        /// `eraftpb.Message`, encoded.
        message: bytes::Bytes,
    },
    /// A flush of the overlay is done.
    Flushed(FlushDone),
    /// A snapshot was installed in place of the state: continue on this store.
    Installed {
        /// Its index.
        index: u64,
        /// The base store that holds it.
        base: Arc<dyn crate::storage::BaseStore>,
    },
    /// Somebody wants a checkpoint of the state as it is now; `Output::Checkpoint` follows once
    /// that is flushed.
    Checkpoint,
    /// A checkpoint that was asked for exists.
    Checkpointed {
        /// Its index; zero when it failed.
        index: u64,
        /// Term of that index.
        term: u64,
        /// Configuration at that index, as consensus encodes it.
        conf_state: bytes::Bytes,
    },
    /// Bytes that the state takes, told from time to time.
    StateBytes(u64),
    /// Disk space left, told from time to time.
    DiskSpace {
        /// Bytes left.
        left: u64,
    },
    /// Hand over leadership, refuse new work, finish what was begun. `Output::Stopped` follows.
    Shutdown,
}

/// What a core wants done. In order, except that flushes, checkpoints and snapshots may take as
/// long as they like.
#[derive(Debug)]
pub enum Output {
    /// Send to a member. May be dropped, not reordered.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        envelope: Envelope,
    },
    /// Answer a request.
    Reply {
        /// Whose.
        origin: Origin,
        /// The answer.
        result: Result,
    },
    /// Something for a watcher. Comes before any reply of the same connection that could reveal it.
    Watch {
        /// The watch's origin.
        origin: Origin,
        /// The frame.
        frame: WatchFrame,
    },
    /// Run on another thread, then tell `Flushed`.
    Flush(FlushJob),
    /// Make a checkpoint of the base store as it is on disk, then tell `Checkpointed`.
    Checkpoint,
    /// Stream the newest checkpoint to a member, then step `message` there; tell `SnapshotSent`.
    SendSnapshot {
        /// To whom.
        to: NodeId,
        /// Index of the checkpoint.
        index: u64,
        /// `eraftpb.Message`, encoded: delivered after the files.
        message: bytes::Bytes,
    },
    /// Authentication was turned on or off, or users or roles changed. Told once at the start.
    Auth(Settings),
    /// Put the staged snapshot in place of the state, then tell `Installed`. Nothing is applied
    /// until then.
    Install {
        /// Index of the staged snapshot.
        index: u64,
    },
    /// The members changed: connect to the new, drop the removed.
    Members(Vec<Member>),
    /// The node's part changed.
    Role {
        /// Now.
        role: Role,
        /// In this term.
        term: u64,
        /// Under this leader; zero if unknown.
        leader: NodeId,
    },
    /// This member was removed from the cluster; stop for good.
    Removed,
    /// Shutdown is complete.
    Stopped,
    /// This replica's state differs from the leader's: it is damaged. Stop serving, wipe the state
    /// and rebuild from a snapshot.
    Diverged {
        /// Where it was noticed.
        index: u64,
    },
}
