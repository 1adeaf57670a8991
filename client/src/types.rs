//! Keys, records and ranges, as callers see them.

use bytes::Bytes;
use oarlock_proto::v1;
use std::fmt;
use std::ops::{Bound, RangeBounds};

/// A key with all that is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value; empty in a keys-only read.
    pub value: Bytes,
    /// Revision at which this generation of the key began. It is the key's fencing token.
    pub create_revision: u64,
    /// Revision of the last change.
    pub mod_revision: u64,
    /// Changes since creation, from 1.
    pub version: u64,
    /// The session whose end removes the key; 0 for a persistent key.
    pub owner: u64,
}

impl KeyValue {
    /// The fencing token of this generation of the key.
    pub fn token(&self) -> Token {
        Token { scope: Scope::Key(self.key.clone()), revision: self.create_revision }
    }

    /// The value as text, with replacement characters where it is not UTF-8.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

impl From<v1::KeyValue> for KeyValue {
    fn from(wire: v1::KeyValue) -> Self {
        let v1::KeyValue { key, value, create_revision, mod_revision, version, owner } = wire;
        Self { key, value, create_revision, mod_revision, version, owner }
    }
}

/// A fencing token: proof of having held something at `revision`. Any write may carry it as a guard,
/// and resources outside may ask whether it is still current, or remember the highest one that they
/// saw ([`FencingGate`](crate::FencingGate)).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// What it was granted for.
    pub scope: Scope,
    /// Grows with every grant, over all scopes.
    pub revision: u64,
}

impl Token {
    /// The token of a key: its create revision.
    pub fn of_key(key: impl Into<Bytes>, revision: u64) -> Self {
        Self { scope: Scope::Key(key.into()), revision }
    }

    /// The token of a lock or semaphore: the revision of the grant.
    pub fn of_lock(name: impl Into<Bytes>, revision: u64) -> Self {
        Self { scope: Scope::Lock(name.into()), revision }
    }

    /// The token of a shard's owner: the epoch of the grant.
    pub fn of_shard(pool: impl Into<Bytes>, shard: impl Into<Bytes>, epoch: u64) -> Self {
        Self { scope: Scope::Shard { pool: pool.into(), shard: shard.into() }, revision: epoch }
    }

    /// The token of a leader: the revision of the grant.
    pub fn of_election(name: impl Into<Bytes>, revision: u64) -> Self {
        Self { scope: Scope::Election(name.into()), revision }
    }
}

/// What a fencing token speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// A key, by name.
    Key(Bytes),
    /// A znode, by path.
    Node(Bytes),
    /// A lock or a semaphore, by name.
    Lock(Bytes),
    /// The lead of an election, by name.
    Election(Bytes),
    /// The primary of a pool's shard.
    Shard {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
    },
}

impl Scope {
    /// The key, path or name; of a shard without its pool's.
    pub fn name(&self) -> &Bytes {
        match self {
            Self::Key(name) | Self::Node(name) | Self::Lock(name) | Self::Election(name) => name,
            Self::Shard { shard, .. } => shard,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        let kind = match self {
            Self::Key(_) => "key",
            Self::Node(_) => "znode",
            Self::Lock(_) => "lock",
            Self::Election(_) => "election",
            Self::Shard { pool, .. } => {
                return write!(f, "shard {:?} of pool {:?}", text(self.name()), text(pool));
            }
        };
        write!(f, "{kind} {:?}", text(self.name()))
    }
}

impl From<Token> for v1::Guard {
    fn from(token: Token) -> Self {
        let scope = match token.scope {
            Scope::Key(key) => v1::guard::Scope::Key(key),
            Scope::Node(path) => v1::guard::Scope::NodePath(path),
            Scope::Lock(name) => v1::guard::Scope::Lock(name),
            Scope::Election(name) => v1::guard::Scope::Election(name),
            Scope::Shard { pool, shard } => v1::guard::Scope::Shard(v1::ShardName { pool, shard }),
        };
        Self { scope: Some(scope), token: token.revision }
    }
}

/// Which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange(pub(crate) v1::KeyRange);

/// The single key.
pub fn key(key: impl Into<Bytes>) -> KeyRange {
    KeyRange(v1::KeyRange { key: key.into(), range_end: Bytes::new() })
}

/// All keys that begin with `prefix`. The empty prefix means all keys.
pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
    let key = prefix.into();
    let range_end = end_of_prefix(&key);
    let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
    KeyRange(v1::KeyRange { key, range_end })
}

/// All keys.
pub fn all() -> KeyRange {
    prefix(Bytes::new())
}

/// The keys between two bounds, such as `between(b"a".as_slice()..b"b".as_slice())`.
pub fn between<'a>(bounds: impl RangeBounds<&'a [u8]>) -> KeyRange {
    let after = |key: &[u8]| Bytes::from([key, b"\0"].concat());
    let key = match bounds.start_bound() {
        Bound::Included(key) => Bytes::copy_from_slice(key),
        Bound::Excluded(key) => after(key),
        Bound::Unbounded => Bytes::from_static(b"\0"),
    };
    let range_end = match bounds.end_bound() {
        Bound::Included(key) => after(key),
        Bound::Excluded(key) => Bytes::copy_from_slice(key),
        Bound::Unbounded => Bytes::from_static(b"\0"),
    };
    KeyRange(v1::KeyRange { key, range_end })
}

impl<T: Into<Bytes>> From<T> for KeyRange {
    fn from(single: T) -> Self {
        key(single)
    }
}

/// The first key that does not begin with `prefix`: its last byte below 0xff raised by one. A
/// prefix without such a byte has no end, which the wire writes as one zero byte.
fn end_of_prefix(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|&byte| byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => Bytes::from_static(b"\0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_the_next_begins() {
        assert_eq!(end_of_prefix(b"/a/"), "/a0");
        assert_eq!(end_of_prefix(b"a\xff"), "b");
        assert_eq!(end_of_prefix(b"\xff\xff"), "\0");
        assert_eq!(end_of_prefix(b""), "\0");
    }

    #[test]
    fn bounds_become_half_open_ranges() {
        let range = between((Bound::Excluded(b"a".as_slice()), Bound::Included(b"b".as_slice())));
        assert_eq!(range.0.key, "a\0");
        assert_eq!(range.0.range_end, "b\0");
    }
}
