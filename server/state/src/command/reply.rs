//! What the log decided.

use super::{KeyValue, Member, Rejection};
use crate::ids::{Index, Revision, SessionId};
use crate::object::ObjectReply;
use crate::pool::PoolReply;
use crate::tree::TreeReply;
use bytes::Bytes;

/// What the log decided.
pub type Outcome = Result<Reply, Rejection>;

/// Yes, with data.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The state's revision after the command. For a repeated request: the one of its first and
    /// only execution.
    pub revision: Revision,
    /// Position in the log.
    pub index: Index,
    /// This is the remembered outcome of an earlier execution.
    pub repeated: bool,
    /// What the command returns.
    pub body: ReplyBody,
}

/// What each kind of command returns.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyBody {
    /// Nothing but the header.
    Done,
    /// A transaction's results.
    Txn(TxnReply),
    /// A tree operation's results.
    Tree(TreeReply),
    /// What an operation of locks and elections came to.
    Object(ObjectReply),
    /// What an operation of shard pools came to.
    Pool(PoolReply),
    /// A session began.
    SessionOpened {
        /// Its id.
        session: SessionId,
        /// Its timeout, clamped to the limits, in milliseconds.
        timeout_ms: u64,
    },
    /// For each session of an expiry, whether it ended.
    Expired {
        /// The sessions that ended.
        ended: Vec<SessionId>,
    },
    /// The cluster's members after the change.
    Members(Vec<Member>),
}

/// A transaction's results.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnReply {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// One per operation of the branch that ran. Empty in a repeated reply whose results were not
    /// small enough to remember.
    pub results: Vec<OpResult>,
}

/// The result of one operation inside a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum OpResult {
    /// What was read.
    Range(RangeReply),
    /// A key was set.
    Put {
        /// The record before, when asked for.
        previous: Option<KeyValue>,
    },
    /// Keys were removed.
    Delete {
        /// How many.
        deleted: u64,
        /// The records before, when asked for.
        previous: Vec<KeyValue>,
    },
    /// A transaction ran within.
    Txn(TxnReply),
    /// A value was computed.
    Update {
        /// The value after.
        value: Bytes,
    },
    /// A key was put under the next number.
    PutSequential {
        /// The whole key.
        key: Bytes,
    },
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeReply {
    /// The records, in the order asked for.
    pub records: Vec<KeyValue>,
    /// There are more beyond the limit or the byte budget.
    pub more: bool,
    /// Keys in the whole range, if it was asked for or cost nothing; else the number returned.
    pub count: u64,
}
