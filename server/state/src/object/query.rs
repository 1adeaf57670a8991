//! Questions about objects.

use crate::ids::SessionId;
use bytes::Bytes;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectQuery {
    /// Everything about one object.
    Describe {
        /// The object.
        name: Bytes,
        /// Leave out this many places at the head of the queue.
        skip: u64,
        /// At most this many places of the queue.
        limit: u64,
    },
    /// The objects whose name begins with a prefix, in order.
    List {
        /// What names begin with.
        prefix: Bytes,
        /// Only names after this one; empty from the start.
        after: Bytes,
        /// At most this many.
        limit: u64,
    },
    /// What a session holds and waits for.
    OfSession {
        /// The session.
        session: SessionId,
        /// Only the places of this request of the session.
        request: Option<u64>,
    },
    /// Who waits for whom, from the queue of an object onwards, with the circles.
    Why {
        /// The object.
        name: Bytes,
    },
    /// When the next withheld hold is due.
    NextDue,
}
