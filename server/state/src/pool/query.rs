//! Questions about pools.

use bytes::Bytes;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolQuery {
    /// The pools whose name begins with a prefix, in order.
    List {
        /// What names begin with.
        prefix: Bytes,
        /// Only names after this one; empty from the start.
        after: Bytes,
        /// At most this many.
        limit: u64,
    },
    /// A pool with all its members and shards: what routing tables begin with and placement works on.
    State {
        /// The pool.
        pool: Bytes,
    },
    /// One shard.
    Shard {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
    },
    /// When something is due next, in any pool.
    NextDue,
}
