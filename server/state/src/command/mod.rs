//! The whole vocabulary of the service: what may be asked, and what the log answers.
//!
//! Protocol-neutral. A door converts its protocol into these types and back; the log stores them
//! through `log_format`; the machine executes them.

mod guard;
mod kv;
mod member;
mod query;
mod rejection;
mod reply;

pub(crate) use guard::shown;
pub use guard::{Guard, TokenScope};
pub use kv::{
    Compare, CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, Put, RangeQuery, Txn, Update, successor,
};
pub use member::{Alarm, AlarmKind, Conditions, Member, MembershipChange, Obstacle};
pub use query::{Answer, OutcomeOf, Query, SessionInfo};
pub use rejection::Rejection;
pub use reply::{OpResult, Outcome, RangeReply, Reply, ReplyBody, TxnReply};

use crate::auth::{AuthOp, Caller};
use crate::ids::{Index, NodeId, ProposalId, RequestId, Revision, SessionId, Term};
use crate::object::ObjectOp;
use crate::pool::PoolOp;
use crate::tree::TreeOp;
use bytes::Bytes;

/// A committed log entry: the only thing that `apply` accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Position in the log.
    pub index: Index,
    /// Term in which it was proposed.
    pub term: Term,
    /// What it asks for.
    pub body: EntryBody,
}

/// What a log entry asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryBody {
    /// A new leader's first entry. Changes nothing but the applied index.
    Empty,
    /// Everything that one round of the leader collected, in order.
    Proposals {
        /// The leader's wall clock when it proposed, in milliseconds since 1970. Apply clamps it to
        /// never run backwards; retention periods and TTL nodes count in it.
        stamp_ms: u64,
        /// Executed one after the other; each is atomic by itself.
        proposals: Vec<Proposal>,
    },
    /// The cluster's membership after this entry, as consensus decided it.
    Membership(MembershipChange),
}

/// One request on its way through the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Who waits for it.
    pub id: ProposalId,
    /// Remembered under this name, so that a repetition has no second effect.
    pub request: Option<RequestId>,
    /// For callers without a session: remembered under this name for a time.
    pub idempotency: Option<IdempotencyKey>,
    /// All must hold, or nothing happens.
    pub guards: Vec<Guard>,
    /// On whose behalf.
    pub caller: Caller,
    /// What to do.
    pub command: Command,
}

/// A caller's own name for a request, remembered for `retain_ms` after it was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Up to [`limits::IDEMPOTENCY_KEY_BYTES_MAX`](crate::limits::IDEMPOTENCY_KEY_BYTES_MAX) bytes.
    pub key: Bytes,
    /// Milliseconds; clamped to a day.
    pub retain_ms: u64,
}

/// What may be asked of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Reads and writes of kv, atomically. A single put is a transaction without comparisons.
    Txn(Txn),
    /// An operation of the znode tree.
    Tree(TreeOp),
    /// An operation of locks and elections.
    Object(ObjectOp),
    /// An operation of shard pools.
    Pool(PoolOp),
    /// Forget the history up to and including this revision.
    Compact {
        /// Must be above the last compaction and not above the current revision.
        revision: Revision,
    },
    /// Begin a session.
    OpenSession(OpenSession),
    /// End a session at its owner's wish; everything attached to it goes.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// The leader saw these sessions alive. No revision, no event.
    TouchSessions {
        /// Unknown ones are passed over.
        sessions: Vec<SessionId>,
    },
    /// The leader saw no life in these sessions for their whole timeout.
    ExpireSessions {
        /// Each with the last touch that the leader knew; refused if touched, or begun anew, since.
        sessions: Vec<(SessionId, Index)>,
    },
    /// What a member says about itself once it runs (etcd: publish).
    PublishMember {
        /// The member.
        node: NodeId,
        /// Its name.
        name: String,
        /// Where clients reach it.
        client_urls: Vec<String>,
        /// Version of its program, for negotiation.
        version: String,
    },
    /// Change a member's peer addresses.
    UpdateMember {
        /// The member.
        node: NodeId,
        /// Where peers reach it.
        peer_urls: Vec<String>,
    },
    /// Raise or lower an alarm. What follows from it is for whoever reads
    /// [`Applied::conditions`](crate::machine::Applied).
    SetAlarm {
        /// Whose.
        alarm: Alarm,
        /// Raise it.
        raised: bool,
    },
    /// Note that operators are about to return to an earlier release. Has no effect of its own.
    SetDowngrade {
        /// That release; empty for "no longer".
        target: String,
    },
    /// The state's digest at an index, as the leader computed it. A replica whose own differs is
    /// damaged; see [`Applied::digest_check`](crate::machine::Applied).
    CheckDigest {
        /// The index after whose application the digest was taken.
        index: Index,
        /// The digest.
        digest: u128,
    },
    /// Change users, roles and permissions.
    Auth(AuthOp),
}

/// Begin a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Wished id (etcd clients choose lease ids); zero lets the log choose.
    pub id: SessionId,
    /// Whoever knows it may attach to the session again. Drawn at random by the client or door.
    pub secret: [u8; 16],
    /// Milliseconds without life after which the session ends.
    pub timeout_ms: u64,
    /// Who opened it. With authentication it is the caller, whatever this says.
    pub principal: String,
}
