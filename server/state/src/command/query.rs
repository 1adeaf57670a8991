//! What may be read from the state, and what it answers.

use super::{Conditions, Guard, KeyValue, Member, Outcome, RangeQuery, RangeReply, Txn, TxnReply};
use crate::auth::{AuthAnswer, AuthQuery};
use crate::event::Event;
use crate::ids::{Index, Revision, SessionId};
use crate::object::{ObjectQuery, ObjectReply};
use crate::pool::{PoolQuery, PoolReply};
use crate::tree::TreeReply;
use bytes::Bytes;

/// What may be read from the state, at one applied index.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Keys.
    Range(RangeQuery),
    /// A transaction without writes (ranges and comparisons only).
    ReadTxn(Txn),
    /// Znodes.
    Tree(crate::tree::TreeQuery),
    /// Locks and elections.
    Object(ObjectQuery),
    /// Shard pools.
    Pool(PoolQuery),
    /// One session, with what hangs off it.
    Session {
        /// The session.
        session: SessionId,
        /// Include the attached keys (at most a byte budget of them).
        want_attached: bool,
    },
    /// The live sessions above an id, in order, at most `limit`.
    Sessions {
        /// Exclusive lower bound; zero from the start.
        after: SessionId,
        /// At most this many.
        limit: u64,
    },
    /// What became of a request.
    Outcome {
        /// Which.
        request: OutcomeOf,
    },
    /// Whether a token is current.
    CheckToken(Guard),
    /// The cluster's members.
    Members,
    /// Alarms, and what else operators noted.
    Conditions,
    /// Changes of `[from, to]`, for watchers that are behind; at most a byte budget of them, whole
    /// revisions.
    History {
        /// First revision.
        from: Revision,
        /// Last revision.
        to: Revision,
        /// Stop after this many bytes; at least one revision is returned.
        byte_budget: u64,
    },
    /// The record that an event superseded.
    Previous {
        /// `Event::previous`.
        at: (Revision, u32),
    },
    /// Users and roles.
    Auth(AuthQuery),
}

/// Names a request whose outcome is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeOf {
    /// A session's write; answered until its outcome was acknowledged and, after the session's
    /// end, for the retention time.
    Session {
        /// The session.
        session: SessionId,
        /// The write's sequence.
        sequence: u64,
    },
    /// A sessionless caller's request.
    Idempotency {
        /// Its key.
        key: Bytes,
    },
}

/// Answers to queries.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Keys.
    Range(RangeReply),
    /// A read-only transaction.
    Txn(TxnReply),
    /// Znodes.
    Tree(TreeReply),
    /// Locks and elections.
    Object(ObjectReply),
    /// Shard pools.
    Pool(PoolReply),
    /// A session.
    Session(SessionInfo),
    /// Sessions.
    Sessions {
        /// In order of id.
        sessions: Vec<SessionInfo>,
        /// There are more.
        more: bool,
    },
    /// What became of a request; `None` when nothing is known of it: never executed, or forgotten.
    Outcome(Option<Outcome>),
    /// Whether the token is current.
    TokenCurrent(bool),
    /// Members, by id.
    Members(Vec<Member>),
    /// Alarms, and what else operators noted.
    Conditions(Conditions),
    /// Changes, in order, whole revisions.
    History {
        /// The events.
        events: Vec<Event>,
        /// All revisions up to this one are covered.
        through: Revision,
    },
    /// The record; `None` if it was a deletion.
    Previous(Option<KeyValue>),
    /// Users and roles.
    Auth(AuthAnswer),
}

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id.
    pub session: SessionId,
    /// Its timeout in milliseconds.
    pub timeout_ms: u64,
    /// The entry in which the log last saw it alive: its opening, or a touch.
    pub last_touch: Index,
    /// Who opened it.
    pub principal: String,
    /// Secret that proves the right to attach; doors must not show it.
    pub secret: [u8; 16],
    /// Stamp of the opening entry, in milliseconds since 1970.
    pub opened_ms: u64,
    /// Acknowledged write sequence.
    pub acked_up_to: u64,
    /// Highest write sequence ever executed.
    pub last_sequence: u64,
    /// Keys and znodes that go with it, objects in which it has a place, and pools in which it
    /// has an instance, when asked for.
    pub attached: Vec<(crate::event::Keyspace, Bytes)>,
}
