//! Why the tree refuses, with ZooKeeper's numbers.

use crate::ids::SessionId;
use bytes::Bytes;
use std::fmt;
use thiserror::Error;

/// Code of an operation that did not fail.
pub const CODE_OK: i32 = 0;
/// Code of the operations of a multi that stand behind the failed one.
pub const CODE_RUNTIME_INCONSISTENCY: i32 = -2;

/// A refusal. Nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TreeError {
    /// The znode, or the parent of the one to create, does not exist.
    #[error("znode {shown} does not exist", shown = shown(path))]
    NoNode {
        /// What is missing.
        path: Bytes,
    },
    /// The znode to create exists.
    #[error("znode {shown} exists already", shown = shown(path))]
    NodeExists {
        /// Its path.
        path: Bytes,
    },
    /// The znode to delete has children.
    #[error("znode {shown} has children; delete them first", shown = shown(path))]
    NotEmpty {
        /// Its path.
        path: Bytes,
    },
    /// The znode is at another version.
    #[error("znode {shown} is at version {actual}, not {expected}", shown = shown(path))]
    BadVersion {
        /// Its path.
        path: Bytes,
        /// The version that was demanded.
        expected: i32,
        /// The version that it has.
        actual: i32,
    },
    /// The parent of the znode to create is ephemeral.
    #[error("znode {shown} is ephemeral and cannot have children", shown = shown(path))]
    NoChildrenForEphemerals {
        /// The parent.
        path: Bytes,
    },
    /// The request makes no sense, whatever the state.
    #[error("bad arguments for znode {shown}: {reason}", shown = shown(path))]
    BadArguments {
        /// The path as it was given.
        path: Bytes,
        /// What is wrong.
        reason: BadArgument,
    },
    /// The access list is missing.
    #[error("znode {shown} needs an access list with at least one entry", shown = shown(path))]
    InvalidAcl {
        /// The path as it was given.
        path: Bytes,
    },
    /// The session that should own the ephemeral znode has ended.
    #[error("session {session} does not exist; it expired or was closed")]
    SessionExpired {
        /// The session.
        session: SessionId,
    },
    /// The znode that was to be removed for being idle is in use, or not of such a kind.
    #[error("znode {shown} is not idle", shown = shown(path))]
    NotIdle {
        /// Its path.
        path: Bytes,
    },
    /// The reads before this one of a multi-read fill a reply.
    #[error("the reply would be too large; read this apart from the others")]
    ReplyTooLarge,
    /// An operation of a multi was refused, and so all of them.
    #[error("operation {index} of {count}: {error}")]
    Multi {
        /// Which operation, from 0.
        index: u32,
        /// How many there were.
        count: u32,
        /// Why it was refused.
        error: Box<TreeError>,
    },
}

impl TreeError {
    /// ZooKeeper's number. For a multi, the number of the failed operation.
    pub fn code(&self) -> i32 {
        match self {
            Self::ReplyTooLarge => -5,
            Self::BadArguments { .. } => -8,
            Self::NoNode { .. } => -101,
            Self::BadVersion { .. } | Self::NotIdle { .. } => -103,
            Self::NoChildrenForEphemerals { .. } => -108,
            Self::NodeExists { .. } => -110,
            Self::NotEmpty { .. } => -111,
            Self::SessionExpired { .. } => -112,
            Self::InvalidAcl { .. } => -114,
            Self::Multi { error, .. } => error.code(),
        }
    }

    /// ZooKeeper's results of a failed multi, one number per operation: 0 before the failed one,
    /// its own code, and -2 behind it. A refusal of anything else is one number.
    pub fn codes(&self) -> Vec<i32> {
        match self {
            Self::Multi { index, count, error } => (0..*count)
                .map(|position| match position.cmp(index) {
                    std::cmp::Ordering::Less => CODE_OK,
                    std::cmp::Ordering::Equal => error.code(),
                    std::cmp::Ordering::Greater => CODE_RUNTIME_INCONSISTENCY,
                })
                .collect(),
            Self::NoNode { .. }
            | Self::NodeExists { .. }
            | Self::NotEmpty { .. }
            | Self::BadVersion { .. }
            | Self::NoChildrenForEphemerals { .. }
            | Self::BadArguments { .. }
            | Self::InvalidAcl { .. }
            | Self::SessionExpired { .. }
            | Self::ReplyTooLarge
            | Self::NotIdle { .. } => vec![self.code()],
        }
    }
}

/// A path as a person can read it.
fn shown(path: &Bytes) -> String {
    format!("{:?}", String::from_utf8_lossy(path))
}

/// What is wrong with a request. The numbers are part of the stored outcomes' format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BadArgument {
    /// The path is empty.
    PathEmpty = 0,
    /// The path is not absolute.
    PathNotAbsolute = 1,
    /// The path ends in a slash.
    PathEndsInSlash = 2,
    /// A name in the path is empty.
    EmptyName = 3,
    /// A name in the path is `.` or `..`.
    RelativeName = 4,
    /// The path has a character that ZooKeeper does not admit.
    BadCharacter = 5,
    /// The path is not UTF-8.
    NotUtf8 = 6,
    /// The path is longer than [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX).
    PathTooLong = 7,
    /// The data is longer than [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX).
    DataTooLong = 8,
    /// The time to live is zero or above [`TTL_MS_MAX`](crate::limits::TTL_MS_MAX).
    BadTtl = 9,
    /// The znode belongs to the tree itself and cannot be removed.
    Permanent = 10,
    /// A multi within a multi.
    NestedMulti = 11,
    /// More operations than [`TXN_OPS_MAX`](crate::limits::TXN_OPS_MAX).
    TooManyOperations = 12,
    /// An ephemeral znode without an owner session.
    NoOwner = 13,
    /// The access list is longer than [`ACL_BYTES_MAX`](crate::limits::ACL_BYTES_MAX).
    AclTooLong = 14,
}

impl BadArgument {
    const ALL: [Self; 15] = [
        Self::PathEmpty,
        Self::PathNotAbsolute,
        Self::PathEndsInSlash,
        Self::EmptyName,
        Self::RelativeName,
        Self::BadCharacter,
        Self::NotUtf8,
        Self::PathTooLong,
        Self::DataTooLong,
        Self::BadTtl,
        Self::Permanent,
        Self::NestedMulti,
        Self::TooManyOperations,
        Self::NoOwner,
        Self::AclTooLong,
    ];

    /// The fault of this number; `None` for a number of a later format.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PathEmpty => "the path is empty; it must begin with '/'",
            Self::PathNotAbsolute => "the path must begin with '/'",
            Self::PathEndsInSlash => "the path must not end in '/'",
            Self::EmptyName => "a name between two slashes is empty",
            Self::RelativeName => "the names '.' and '..' are not allowed",
            Self::BadCharacter => "the path has a control, surrogate or private character",
            Self::NotUtf8 => "the path is not UTF-8",
            Self::PathTooLong => "the path is too long",
            Self::DataTooLong => "the data is too long",
            Self::BadTtl => "the time to live must be between 1 ms and 2^40-1 ms",
            Self::Permanent => "this znode is permanent and cannot be removed",
            Self::NestedMulti => "a multi cannot hold another one",
            Self::TooManyOperations => "too many operations in one multi",
            Self::NoOwner => "an ephemeral znode needs an owner session",
            Self::AclTooLong => "the access list is too long",
        })
    }
}
