//! What a write may demand: that the tokens it carries are still current.

use crate::ids::Revision;
use bytes::Bytes;
use std::fmt;

/// "Only if this token is still current." For a key the token is its create revision: it stays
/// while the holder's key exists and is never given out again. For a lock, an election and a shard
/// it is the revision of the grant: it stays while the hold lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What the token was granted for.
    pub scope: TokenScope,
    /// The fencing token.
    pub token: Revision,
}

/// What a fencing token speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenScope {
    /// A key of kv.
    Key(Bytes),
    /// A znode, by path.
    Node(Bytes),
    /// A lock that somebody holds, by name.
    Lock(Bytes),
    /// The lead of an election, by name.
    Election(Bytes),
    /// The primary of a shard.
    Shard {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
    },
}

impl fmt::Display for TokenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key {}", shown(key)),
            Self::Node(path) => write!(f, "znode {}", shown(path)),
            Self::Lock(name) => write!(f, "lock {}", shown(name)),
            Self::Election(name) => write!(f, "election {}", shown(name)),
            Self::Shard { pool, shard } => write!(f, "shard {} of pool {}", shown(shard), shown(pool)),
        }
    }
}

/// A key in quotes, for messages to people; a long one is cut, as messages travel in headers.
pub(crate) fn shown(key: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 100;
    match key.get(..SHOWN_BYTES_MAX) {
        None => format!("{:?}", String::from_utf8_lossy(key)),
        Some(begin) => format!("{:?}… ({} bytes)", String::from_utf8_lossy(begin), key.len()),
    }
}
