//! Reads of the tree.

use crate::ids::SessionId;
use bytes::Bytes;

/// One read of the tree, at one applied index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeQuery {
    /// The znode's numbers.
    Exists {
        /// Which.
        path: Bytes,
    },
    /// The znode's data and numbers.
    GetData {
        /// Which.
        path: Bytes,
    },
    /// The znode's access list and numbers.
    GetAcl {
        /// Which.
        path: Bytes,
    },
    /// Names of the znode's children in byte order. Reads the children alone, not what is below.
    GetChildren {
        /// The parent.
        path: Bytes,
        /// Only names after this one; empty for all.
        after: Bytes,
        /// At most this many; zero for no limit.
        limit: u64,
        /// Stop once this many bytes of names were gathered (at least one name is returned); zero
        /// for [`RANGE_BYTES_MAX`](crate::limits::RANGE_BYTES_MAX).
        byte_budget: u64,
    },
    /// How many znodes there are below this one, at any depth. Costs a walk over them.
    GetAllChildrenNumber {
        /// The topmost.
        path: Bytes,
    },
    /// Paths of a session's ephemeral znodes, in byte order.
    GetEphemerals {
        /// The owner.
        session: SessionId,
        /// Only paths that begin with this; empty for all.
        prefix: Bytes,
        /// Only paths after this one; empty for all.
        after: Bytes,
        /// At most this many; zero for no limit but the byte budget of
        /// [`RANGE_BYTES_MAX`](crate::limits::RANGE_BYTES_MAX).
        limit: u64,
    },
    /// Container and TTL znodes that [`DeleteIdle`](crate::tree::TreeOp::DeleteIdle) would remove:
    /// without children, and either a container that once had one or a TTL whose time is up.
    Idle {
        /// Only paths after this one; empty for all.
        after: Bytes,
        /// The time to compare TTLs with, in milliseconds since 1970.
        now_ms: u64,
        /// Look at no more than this many candidates; zero counts as one.
        limit: u64,
    },
    /// Several reads at the same index, each with a result of its own. They must not be
    /// `MultiRead` themselves.
    MultiRead(Vec<TreeQuery>),
}
