//! What the tree answers.

use crate::ids::{Revision, SessionId};
use crate::tree::TreeError;
use bytes::Bytes;

/// Answers to [`TreeOp`](crate::tree::TreeOp)s and [`TreeQuery`](crate::tree::TreeQuery)s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeReply {
    /// A znode was added.
    Created {
        /// Its whole path, with the number of a sequential one.
        path: Bytes,
        /// Its numbers, when asked for.
        stat: Option<Stat>,
    },
    /// The znode was removed.
    Deleted,
    /// The data was replaced.
    DataSet(Stat),
    /// The access list was replaced.
    AclSet(Stat),
    /// The check held.
    Checked,
    /// One per operation, in order. Empty in a repeated reply whose results were too large to
    /// remember.
    Multi(Vec<TreeReply>),
    /// The znode exists.
    Exists(Stat),
    /// The znode's data.
    Data {
        /// The data.
        data: Bytes,
        /// The numbers.
        stat: Stat,
    },
    /// The znode's access list.
    Acl {
        /// The list; empty on `/` and ZooKeeper's own znodes until it is set, which means "anyone
        /// may do anything".
        acl: Bytes,
        /// The numbers.
        stat: Stat,
    },
    /// Children.
    Children {
        /// Their names, in byte order.
        names: Vec<Bytes>,
        /// There are more beyond the limit or the byte budget.
        more: bool,
        /// The parent's numbers.
        stat: Stat,
    },
    /// A number of znodes.
    Count(u64),
    /// Paths of a session's ephemeral znodes.
    Ephemerals {
        /// In byte order.
        paths: Vec<Bytes>,
        /// There are more beyond the limit or the byte budget.
        more: bool,
    },
    /// Container and TTL znodes to be removed.
    Idle {
        /// Path with `cversion` and `mzxid`, for [`DeleteIdle`](crate::tree::TreeOp::DeleteIdle).
        nodes: Vec<(Bytes, i32, Revision)>,
        /// Where to go on; `None` when all candidates were looked at.
        resume_after: Option<Bytes>,
    },
    /// One per read, in order.
    MultiRead(Vec<Result<TreeReply, TreeError>>),
}

/// The numbers of a znode, as ZooKeeper's clients know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Revision that created the znode; its fencing token.
    pub czxid: Revision,
    /// Revision that last changed its data.
    pub mzxid: Revision,
    /// Revision that last added or removed a child; the creation's until then.
    pub pzxid: Revision,
    /// Stamp of the creating entry, in milliseconds since 1970.
    pub ctime_ms: u64,
    /// Stamp of the entry that last changed the data, in milliseconds since 1970.
    pub mtime_ms: u64,
    /// Changes of the data since the creation, from 0. Wraps after `i32::MAX`, never to -1.
    pub version: i32,
    /// Children added plus children removed. Wraps.
    pub cversion: i32,
    /// Changes of the access list, from 0. Wraps after `i32::MAX`, never to -1.
    pub aversion: i32,
    /// Owner of an ephemeral znode; zero for every other kind.
    pub ephemeral_owner: SessionId,
    /// Bytes of data.
    pub data_length: u32,
    /// Children there are.
    pub num_children: u32,
}
