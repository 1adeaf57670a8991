//! What can happen, and to whom.

use super::node::Checkpoint;
use super::queue::Time;
use bytes::Bytes;
use oarlock_proto::internal::peer::Envelope;
use oarlock_server::node::request::{Request, Result as Answered, WatchFrame};
use oarlock_server::storage::state::FlushJob;

/// Something that happens at a moment.
pub enum Happening {
    /// A member's clock ticks.
    Tick(Alive),
    /// A member has something to do.
    Work(Alive),
    /// A member's round is over: its effects happen.
    Release(Alive),
    /// A member's background work is done.
    Job(Alive, Job),
    /// A message arrives at a member.
    Peer {
        /// Its sender.
        from: u64,
        /// Its receiver.
        to: u64,
        /// The message.
        envelope: Envelope,
    },
    /// A snapshot arrives at a member, whole.
    Snapshot {
        /// Who sent it.
        from: Alive,
        /// Its receiver.
        to: u64,
        /// What it holds.
        checkpoint: Checkpoint,
        /// The Raft message that goes with it.
        message: Bytes,
    },
    /// A request arrives at a member.
    Ask {
        /// The connection.
        conn: u64,
        /// The client's number for it.
        tag: u64,
        /// The request.
        request: Request,
    },
    /// An answer arrives at a client.
    Answer {
        /// The connection.
        conn: u64,
        /// The client's number for it.
        tag: u64,
        /// The answer.
        result: Answered,
    },
    /// A watch frame arrives at a client.
    Frame {
        /// The connection.
        conn: u64,
        /// The watch.
        tag: u64,
        /// The frame.
        frame: WatchFrame,
    },
    /// A client took frames.
    Credit {
        /// The connection.
        conn: u64,
        /// Of so many bytes.
        bytes: usize,
    },
    /// A client's connection broke.
    Lost(u64),
    /// A client acts.
    Wake(usize),
    /// A member starts.
    Start(u64),
    /// A fault strikes.
    Strike,
    /// A fault is undone.
    Undo(Undo),
    /// A member dies and starts again.
    Crash {
        /// The member.
        node: u64,
        /// The process alone; otherwise the machine loses power.
        kill: bool,
        /// How long it is down.
        down: Time,
    },
    /// A member is cut off from the others.
    Detach(u64),
    /// An operator puts a new member in place of a lost one.
    Replace(u64),
}

/// A process of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// The member.
    pub node: u64,
    /// Which of its processes.
    pub life: u64,
}

/// Work beside the rounds.
pub enum Job {
    /// Write an overlay.
    Flush(FlushJob),
    /// Copy the state.
    Checkpoint,
    /// Swap the staged state in.
    Install(u64),
}

/// What ends a fault.
#[derive(Clone, Debug)]
pub enum Undo {
    /// Links between members open.
    Members,
    /// All links of a member open.
    Attach(u64),
    /// A client's link opens.
    Client(u64, u64),
}

/// A connection of a client to a process.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    /// Position of the client.
    pub client: usize,
    /// The process; its life is set when the first request arrives.
    pub node: u64,
    /// The process that took it.
    pub life: Option<u64>,
    /// Nothing passes any more.
    pub broken: bool,
}
