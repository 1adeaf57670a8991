//! What a door asks of a node, and what it gets back. Protocol-neutral plain data.

use bytes::Bytes;
use oarlock_state::auth::AuthError;
use oarlock_state::command::{
    AlarmKind, Answer, Conditions, Guard, IdempotencyKey, KeyRange, KeyValue, Member,
};
use oarlock_state::event::{Event, Keyspace};
use oarlock_state::{Command, NodeId, Query, Rejection, Reply, RequestId, Revision, SessionId};
use thiserror::Error;

pub use crate::consensus::{PeerProgress, Role};

/// Where a reply goes: a connection (or a single call) of a door, and that door's own number for
/// the request. The runtime keeps the map from `conn` to a sink; a reply to a `conn` that is gone
/// is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The connection. Never reused while the node runs.
    pub conn: u64,
    /// The door's own number on that connection.
    pub tag: u64,
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Propose a command to the log. Writes of one `conn` enter the log in the order they came in.
    Write(Write),
    /// Read the state.
    Read {
        /// What.
        query: Query,
        /// How fresh.
        consistency: Consistency,
        /// Milliseconds after which the reply is [`Refusal::TimedOut`]; zero for the default.
        timeout_ms: u32,
    },
    /// Show that a session lives. Answered by [`Response::Alive`], only after the leader was
    /// confirmed by a quorum since the request came in.
    KeepAlive {
        /// The session.
        session: SessionId,
    },
    /// How long a session has left if nothing more is heard of it. Not a sign of life. Answered by
    /// [`Response::TimeLeft`], confirmed like a keep-alive.
    SessionTimeLeft {
        /// The session.
        session: SessionId,
    },
    /// Begin a watch; the origin's tag names it until it is cancelled. Frames come as
    /// [`Output::Watch`](super::io::Output).
    Watch(WatchSpec),
    /// End the watch that this origin's tag names.
    CancelWatch,
    /// Send a progress frame on every watch of this connection, in order with their events.
    WatchProgress,
    /// Send one progress frame, under this origin's tag, once every watch of this connection has
    /// everything up to one revision: in order with the events of all of them. A later request of the
    /// same connection takes the place of one that still waits.
    ConnProgress,
    /// Change the membership or the leader.
    Admin(Admin),
    /// What the node knows of itself; answered at once, even without a leader.
    Status,
}

/// A write on its way to the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Exactly-once name, if the caller has a session.
    pub request: Option<RequestId>,
    /// Exactly-once name for callers without one.
    pub idempotency: Option<IdempotencyKey>,
    /// Tokens that must be current.
    pub guards: Vec<Guard>,
    /// What to do.
    pub command: Command,
    /// Milliseconds after which the reply is "unknown"; zero for the default.
    pub timeout_ms: u32,
}

impl Write {
    /// A plain write without a name or guards.
    pub fn of(command: Command) -> Self {
        Self { request: None, idempotency: None, guards: Vec::new(), command, timeout_ms: 0 }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write acknowledged before the read was asked for.
    Linearizable,
    /// This node's state as it is.
    Serializable,
    /// This node's state if a leader confirmed it within so many milliseconds, else linearizable.
    Bounded {
        /// Largest age in milliseconds.
        max_ms: u32,
    },
}

/// What a watcher wants to know.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchSpec {
    /// Which keyspace.
    pub keyspace: Keyspace,
    /// Which keys.
    pub range: KeyRange,
    /// First revision of interest; zero for whatever comes after the node's current revision.
    pub start: Revision,
    /// Deliver the superseded records too.
    pub want_previous: bool,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletes.
    pub no_delete: bool,
    /// Send [`WatchFrame::Progress`] when idle.
    pub want_progress: bool,
    /// When `start` is compacted: send the current records and continue, instead of ending.
    pub resync: bool,
}

/// What a watcher gets, in this order: `Created` first, then anything, `Cancelled` last.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchFrame {
    /// The watch is in place; events follow from `next` on.
    Created {
        /// First revision that will be delivered.
        next: Revision,
        /// Revision of the state in which it was put in place.
        current: Revision,
    },
    /// Whole revisions, in order; `previous` parallel to `events` when asked for, else empty.
    Events {
        /// The events that match.
        events: Vec<Event>,
        /// What they superseded.
        previous: Vec<Option<KeyValue>>,
        /// Everything up to this revision was delivered.
        through: Revision,
    },
    /// Nothing to tell; everything up to this revision was delivered.
    Progress {
        /// That revision.
        through: Revision,
    },
    /// A page of the current records, because the start was compacted.
    Resync {
        /// The records are of this revision; events follow from the next one.
        revision: Revision,
        /// A page of them.
        records: Vec<KeyValue>,
        /// The last page.
        last: bool,
    },
    /// The watch is over.
    Cancelled(Refusal),
}

/// Changes of the cluster itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Admin {
    /// Add a learner. Its id is in the reply's members, found by its peer URLs.
    AddMember {
        /// Where peers will reach it; not empty, and of no other member.
        peer_urls: Vec<String>,
        /// Its name, if known already.
        name: String,
        /// Do not promote it by itself once it has caught up.
        stay_learner: bool,
    },
    /// Remove a member for good.
    RemoveMember(NodeId),
    /// Make a learner that has caught up a voter.
    PromoteMember(NodeId),
    /// Hand leadership over; zero: to whichever voter is most up to date.
    MoveLeader(NodeId),
}

/// Yes.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// The log executed the command.
    Written(Reply),
    /// What was read, with the revision and index at which it was.
    Answer {
        /// The data.
        answer: Answer,
        /// Revision of the state that was read.
        revision: Revision,
        /// Applied index of the state that was read.
        index: u64,
    },
    /// The session lives for at least this long from the moment its keep-alive was SENT.
    Alive {
        /// Milliseconds.
        valid_for_ms: u64,
    },
    /// The session ends after this time unless something is heard of it.
    TimeLeft {
        /// Milliseconds, at least one.
        left_ms: u64,
    },
    /// The membership after the change.
    Members {
        /// Id that was added, or zero.
        added: NodeId,
        /// All members.
        members: Vec<Member>,
    },
    /// It is done.
    Done,
    /// What the node knows of itself.
    Status(Box<NodeStatus>),
}

/// What a request comes to.
pub type Result = std::result::Result<Response, Refusal>;

/// No. Each variant is one of four kinds: see [`Refusal::certainty`].
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Refusal {
    /// The log, or the state that was read, says no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There is no leader that this node knows of; it was not proposed.
    #[error(
        "no leader is known to this member at the moment; nothing was done. Retry, or ask another member"
    )]
    NoLeader,
    /// A queue is full; it was not proposed.
    #[error("member is busy ({queue} is full); nothing was done. Retry after a pause")]
    Busy {
        /// Which queue.
        queue: &'static str,
    },
    /// It was not proposed, for a passing reason.
    #[error("not proposed: {reason}. Nothing was done; retry")]
    NotProposed {
        /// Why.
        reason: String,
    },
    /// It was handed to the log, and nothing was heard of it in time.
    #[error(
        "no outcome within {after_ms} ms; it may have happened or may yet. Ask for the outcome, or repeat it under the same session and sequence"
    )]
    Unknown {
        /// Milliseconds waited.
        after_ms: u64,
    },
    /// A read, keep-alive or administrative request was not confirmed in time, or a read was and what
    /// it must see did not come to this node in time; reads have no effect.
    #[error("not confirmed by a quorum, or this node did not catch up, within {after_ms} ms; retry")]
    TimedOut {
        /// Milliseconds waited.
        after_ms: u64,
    },
    /// The node is stopping; it was not proposed.
    #[error("member is shutting down; nothing was done. Ask another member")]
    ShuttingDown,
    /// The state is over its quota: only deletes, sessions and compaction are accepted.
    #[error(
        "the state takes {used_mib} MiB, over the quota of {quota_mib} MiB; delete keys and compact, or raise --quota-backend-bytes. Nothing was done"
    )]
    OverQuota {
        /// MiB of state.
        used_mib: u64,
        /// MiB allowed.
        quota_mib: u64,
    },
    /// An alarm is raised that forbids it.
    #[error("alarm {kind:?} of member {node} is raised; disarm it when its cause is gone. Nothing was done")]
    Alarmed {
        /// The member.
        node: NodeId,
        /// What is wrong with it.
        kind: AlarmKind,
    },
    /// Disk space is below the hard watermark: only deletes, sessions and compaction are accepted.
    #[error(
        "member has less than {left_mib} MiB of disk left; delete keys, compact, or add space. Nothing was done"
    )]
    NoSpace {
        /// MiB left.
        left_mib: u64,
    },
    /// The watcher is too slow, and its watch was ended to protect the rest; it may resume.
    #[error("watch fell behind; resume it from revision {resume}")]
    Lagging {
        /// Where to resume.
        resume: Revision,
    },
    /// A request that makes no sense whatever the state.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it and how it should be.
        what: String,
    },
}

/// How much is known of a request's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It has not happened and will not.
    NotProposed,
    /// The log refused it.
    Rejected,
    /// It may have happened.
    Unknown,
}

impl Refusal {
    /// Which of the kinds it is.
    pub const fn certainty(&self) -> Certainty {
        match self {
            // Refused before its names were looked at: an earlier attempt may have been executed.
            Self::Rejected(Rejection::Auth(AuthError::NoToken | AuthError::Stale)) => Certainty::NotProposed,
            Self::Rejected(_) => Certainty::Rejected,
            Self::Unknown { .. } => Certainty::Unknown,
            Self::NoLeader
            | Self::Busy { .. }
            | Self::NotProposed { .. }
            | Self::TimedOut { .. }
            | Self::ShuttingDown
            | Self::NoSpace { .. }
            | Self::OverQuota { .. }
            | Self::Alarmed { .. }
            | Self::Lagging { .. }
            | Self::Invalid { .. } => Certainty::NotProposed,
        }
    }
}

/// What a node knows of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// The cluster's id.
    pub cluster_id: u64,
    /// Its part.
    pub role: Role,
    /// Current term.
    pub term: u64,
    /// The leader, or zero.
    pub leader: NodeId,
    /// Highest index known to be committed.
    pub committed: u64,
    /// Highest index applied.
    pub applied: u64,
    /// Highest index whose effects survive without the log.
    pub durable: u64,
    /// First index in the log.
    pub first: u64,
    /// Last index in the log.
    pub last: u64,
    /// Current revision.
    pub revision: Revision,
    /// Compacted revision.
    pub compacted: Revision,
    /// Nothing superseded is left on disk up to `compacted`.
    pub reclaimed: bool,
    /// Digest of the state at `applied`.
    pub digest: u128,
    /// Live sessions.
    pub sessions: u64,
    /// Watches on this node.
    pub watches: u64,
    /// Bytes of the state on disk.
    pub state_bytes: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Bytes of the overlay in memory.
    pub overlay_bytes: u64,
    /// Members, as applied here.
    pub members: Vec<Member>,
    /// Alarms and notes of operators, as applied here.
    pub conditions: Conditions,
    /// This member accepts only what frees space.
    pub is_full: bool,
    /// On the leader: how far each peer is.
    pub peers: Vec<PeerProgress>,
}

/// The bytes of a request that count against a queue's bound.
pub fn weight(request: &Request) -> usize {
    const OVERHEAD: usize = 256;
    match request {
        Request::Write(write) => OVERHEAD + command_bytes(&write.command),
        Request::Read { .. }
        | Request::KeepAlive { .. }
        | Request::SessionTimeLeft { .. }
        | Request::Watch(_)
        | Request::CancelWatch
        | Request::WatchProgress
        | Request::ConnProgress
        | Request::Admin(_)
        | Request::Status => OVERHEAD,
    }
}

fn command_bytes(command: &Command) -> usize {
    use oarlock_state::command::KvOp;
    fn op_bytes(op: &KvOp) -> usize {
        let of = |bytes: &Bytes| bytes.len();
        64 + match op {
            KvOp::Put(put) => of(&put.key) + of(&put.value),
            KvOp::PutSequential { prefix, value, .. } => of(prefix) + of(value),
            KvOp::Txn(txn) => txn.then.iter().chain(&txn.otherwise).map(op_bytes).sum(),
            KvOp::Range(_) | KvOp::Delete { .. } | KvOp::Update { .. } => 0,
        }
    }
    match command {
        Command::Txn(txn) => txn.then.iter().chain(&txn.otherwise).map(op_bytes).sum(),
        _ => 64,
    }
}
