//! Why the log, or the state that was read, says no.

use super::{Obstacle, TokenScope, shown};
use crate::auth::AuthError;
use crate::ids::{NodeId, Revision, SessionId};
use bytes::Bytes;
use thiserror::Error;

/// No, with a reason. Replicated like any reply; sending the same again will not help unless the
/// state changes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// The key is empty.
    #[error("the key is empty")]
    KeyEmpty,
    /// A key, value, transaction or other thing is over its limit.
    #[error("{what} is {size}, and at most {limit} is allowed")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The same key is put twice, or put and deleted, in one transaction.
    #[error("key {} is changed twice in one transaction", shown(key))]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// `keep_value` or `keep_owner` on an absent key, or another need of an existing key.
    #[error("key {} does not exist", shown(key))]
    KeyNotFound {
        /// The key.
        key: Bytes,
    },
    /// `if_absent` on an existing key.
    #[error("key {} exists already", shown(key))]
    KeyExists {
        /// The key.
        key: Bytes,
    },
    /// A typed operation met a value that is not of its type, or would overflow.
    #[error("value of key {}: {reason}", shown(key))]
    BadValue {
        /// The key.
        key: Bytes,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A read of the past, or a compaction, at or below what was already forgotten.
    #[error("revision {asked} was compacted; the oldest that can be read is {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// What can still be read.
        oldest: Revision,
    },
    /// A revision that is not there yet.
    #[error("revision {asked} is in the future; the current one is {current}")]
    FutureRevision {
        /// What was asked for.
        asked: Revision,
        /// What is current.
        current: Revision,
    },
    /// There is no such session (any more).
    #[error("session {session} does not exist; it expired or was closed")]
    SessionNotFound {
        /// The session.
        session: SessionId,
    },
    /// The wished session id is taken.
    #[error("session {session} exists already")]
    SessionExists {
        /// The session.
        session: SessionId,
    },
    /// The client itself acknowledged this sequence earlier; its outcome is forgotten.
    #[error("sequence {sequence} was acknowledged up to {acked_up_to}; its outcome is forgotten")]
    StaleSequence {
        /// The repeated sequence.
        sequence: u64,
        /// The session's watermark.
        acked_up_to: u64,
    },
    /// More unacknowledged writes than the window holds.
    #[error(
        "sequence {sequence} is beyond the window that ends at {window_end}; acknowledge earlier outcomes first"
    )]
    WindowFull {
        /// The sequence.
        sequence: u64,
        /// Last sequence that the window admits.
        window_end: u64,
    },
    /// A guard's token is not current.
    #[error("token {token} of {scope} is no longer current")]
    Fenced {
        /// What the token was granted for.
        scope: TokenScope,
        /// The token.
        token: Revision,
    },
    /// A tree operation was refused; the numbers are ZooKeeper's.
    #[error("tree: {0}")]
    Tree(#[from] crate::tree::TreeError),
    /// Authentication says no.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// An operation of locks and elections was refused.
    #[error("{0}")]
    Object(#[from] crate::object::ObjectError),
    /// An operation of shard pools was refused.
    #[error("{0}")]
    Pool(#[from] crate::pool::PoolError),
    /// The member does not exist.
    #[error("member {node} does not exist")]
    MemberNotFound {
        /// The member.
        node: NodeId,
    },
    /// A membership change was refused.
    #[error("membership change refused: {reason}")]
    MembershipRefused {
        /// Of what kind the obstacle is.
        obstacle: Obstacle,
        /// Why, and what to do.
        reason: String,
    },
}
