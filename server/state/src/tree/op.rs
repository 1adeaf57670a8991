//! Changes of the tree, as the log carries them.

use crate::ids::{Revision, SessionId};
use crate::tree::path::ROOT;
use bytes::Bytes;

/// Matches every version in [`TreeOp`]'s version fields.
pub const ANY_VERSION: i32 = -1;

/// One change of the tree. Everything that it does happens in one revision, or nothing happens.
///
/// Paths are absolute, as [`validate`](crate::tree::path::validate) demands. Version fields compare
/// with the [`Stat`](crate::tree::Stat) of the znode; [`ANY_VERSION`] matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeOp {
    /// Add a znode.
    Create(Create),
    /// Remove a znode that has no children.
    Delete {
        /// Which.
        path: Bytes,
        /// Expected data version.
        version: i32,
    },
    /// Replace a znode's data.
    SetData {
        /// Which.
        path: Bytes,
        /// The new data; may be empty.
        data: Bytes,
        /// Expected data version.
        version: i32,
    },
    /// Replace a znode's access list. Watchers learn nothing of it, as in ZooKeeper.
    SetAcl {
        /// Which.
        path: Bytes,
        /// The new list, opaque here; not empty.
        acl: Bytes,
        /// Expected access list version.
        version: i32,
    },
    /// Demand that a znode exists at a data version. Changes nothing by itself.
    Check {
        /// Which.
        path: Bytes,
        /// Expected data version.
        version: i32,
    },
    /// All of these in order, each seeing what the earlier ones did, or none of them. They must
    /// not be `Multi` themselves.
    Multi(Vec<TreeOp>),
    /// The leader found a container or TTL znode to be [idle](crate::tree::TreeQuery::Idle).
    /// Refused if the znode changed since, has children, or its time is not up.
    DeleteIdle {
        /// Which.
        path: Bytes,
        /// The `cversion` that the leader saw.
        cversion: i32,
        /// The `mzxid` that the leader saw.
        mzxid: Revision,
    },
}

/// Add a znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Its path; for a sequential znode the path before the number, which may end in `/`.
    pub path: Bytes,
    /// Its data; may be empty.
    pub data: Bytes,
    /// Its access list, opaque here; not empty.
    pub acl: Bytes,
    /// What ends its life.
    pub kind: NodeKind,
    /// Append the number of znodes that the parent ever got, in at least ten digits.
    pub sequential: bool,
    /// Return the [`Stat`](crate::tree::Stat) (ZooKeeper's `create2`).
    pub want_stat: bool,
}

impl Create {
    /// The path of the parent, if [`path`](Self::path) is valid.
    pub fn parent(&self) -> Bytes {
        match self.path.iter().rposition(|byte| *byte == b'/') {
            None | Some(0) => Bytes::from_static(ROOT),
            Some(slash) => self.path.slice(..slash),
        }
    }
}

/// What ends the life of a znode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeKind {
    /// Only a delete.
    #[default]
    Persistent,
    /// The end of this session. Has no children.
    Ephemeral(SessionId),
    /// The removal of its last child, some time after.
    Container,
    /// This many milliseconds without a change of its data and without children.
    Ttl(u64),
}
