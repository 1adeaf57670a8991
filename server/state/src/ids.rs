//! The numbers of the service, each a type of its own so that they cannot be confused.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        number!($(#[$doc])* $name, Display);
    };
    ($(#[$doc:meta])* $name:ident, $shown_as:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The number itself.
            pub const fn get(self) -> u64 {
                self.0
            }
            /// The number after this one. Panics at the end of 64 bits, which is never reached.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::$shown_as::fmt(&self.0, f)
            }
        }
        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }
    };
}

number!(
    /// A position in the replicated log. The first entry after bootstrap has index 2.
    Index
);
number!(
    /// A leader's reign (Raft paper, section 5.1).
    Term
);
number!(
    /// Counts the transactions that changed `kv`, `tree` or `objects`. An empty cluster is at
    /// revision 1, as etcd's is; the first write makes revision 2.
    Revision
);
number!(
    /// A session: etcd's lease id, ZooKeeper's session id. Zero means "none".
    SessionId
);
number!(
    /// A member of the cluster. Never reused. Zero means "none". Shown in hexadecimal, as everywhere.
    NodeId, LowerHex
);

/// Names one proposal among all that were ever made: the node that made it, a nonce drawn at that
/// node's start, and a counter. The node that made it waits for this id to be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId {
    /// Node that accepted the request.
    pub node: NodeId,
    /// Drawn at the node's start, so that a restarted node never mistakes an old entry for its own.
    pub boot: u64,
    /// Counts this node's proposals since its start.
    pub count: u64,
}

/// Names one write of one session, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The session that writes.
    pub session: SessionId,
    /// Counts the session's writes from 1.
    pub sequence: u64,
    /// The client has the outcomes of all writes up to and including this one; they are forgotten.
    pub acked_up_to: u64,
}
