//! What is stored of a znode, in two records.
//!
//! [`Node`] is the znode itself. [`Family`] counts its children and is a record of its own, so that
//! adding a child to a znode with much data does not write that data again; a znode that never had
//! a child has none.

use crate::codec::{Reader, Writer};
use crate::ids::{Revision, SessionId};
use crate::tree::{NodeKind, Stat};
use bytes::Bytes;

/// The znode without its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Revision that created it.
    pub(crate) czxid: Revision,
    /// The put event that last changed its data: revision and position in it.
    pub(crate) changed: (Revision, u32),
    /// Stamp of the creation, in milliseconds.
    pub(crate) ctime_ms: u64,
    /// Stamp of the last change of the data, in milliseconds.
    pub(crate) mtime_ms: u64,
    /// Changes of the data since creation.
    pub(crate) data_changes: u64,
    /// Changes of the access list since creation.
    pub(crate) acl_changes: u64,
    /// What ends its life.
    pub(crate) kind: NodeKind,
    /// Access list.
    pub(crate) acl: Bytes,
    /// Data.
    pub(crate) data: Bytes,
}

/// A znode's children in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    /// Children ever added by a create.
    pub(crate) creates: u64,
    /// Children there are.
    pub(crate) children: u64,
    /// Revision that last added or removed one; zero if none ever did.
    pub(crate) pzxid: Revision,
}

impl Node {
    /// The owner of an ephemeral znode, else zero.
    pub(crate) fn owner(&self) -> SessionId {
        match self.kind {
            NodeKind::Ephemeral(session) => session,
            NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl(_) => SessionId(0),
        }
    }

    /// Whether the leader must look after it: its kind ends by itself, without a session.
    pub(crate) fn may_idle(&self) -> bool {
        match self.kind {
            NodeKind::Container | NodeKind::Ttl(_) => true,
            NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
        }
    }

    /// Whether its kind says that it should go now.
    pub(crate) fn is_idle(&self, family: &Family, now_ms: u64) -> bool {
        family.children == 0
            && match self.kind {
                NodeKind::Container => family.creates > 0,
                NodeKind::Ttl(ttl_ms) => now_ms >= self.mtime_ms.saturating_add(ttl_ms),
                NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
            }
    }

    /// The numbers that clients see.
    pub(crate) fn stat(&self, family: &Family) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.changed.0,
            pzxid: family.pzxid.max(self.czxid),
            ctime_ms: self.ctime_ms,
            mtime_ms: self.mtime_ms,
            version: shown_version(self.data_changes),
            cversion: family.cversion(),
            aversion: shown_version(self.acl_changes),
            ephemeral_owner: self.owner(),
            data_length: saturated(self.data.len() as u64),
            num_children: saturated(family.children),
        }
    }
}

impl Family {
    /// Children added plus children removed, as ZooKeeper's clients see it. The children that the
    /// tree was born with were never added, which makes it negative for their parents.
    pub(crate) fn cversion(&self) -> i32 {
        let removed_and_added = self.creates.wrapping_mul(2).wrapping_sub(self.children);
        removed_and_added as i32 // truncation is the wrap that the protocol demands
    }
}

const NODE_FORMAT: u8 = 1;
const FAMILY_FORMAT: u8 = 1;

impl Node {
    /// The stored record.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(NODE_FORMAT, self.acl.len() + self.data.len() + 48);
        writer.number(self.czxid.get());
        writer.number(self.changed.0.get());
        writer.number(u64::from(self.changed.1));
        writer.number(self.ctime_ms);
        writer.number(self.mtime_ms);
        writer.number(self.data_changes);
        writer.number(self.acl_changes);
        let (kind, detail) = match self.kind {
            NodeKind::Persistent => (b'p', 0),
            NodeKind::Ephemeral(session) => (b'e', session.get()),
            NodeKind::Container => (b'c', 0),
            NodeKind::Ttl(ttl_ms) => (b't', ttl_ms),
        };
        writer.byte(kind);
        writer.number(detail);
        writer.bytes(&self.acl);
        writer.raw(&self.data);
        writer.finish()
    }

    /// Reads a stored record; access list and data share its memory.
    pub(crate) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("znode", NODE_FORMAT, record);
        let czxid = Revision(reader.number());
        let changed = (Revision(reader.number()), reader.number32());
        let (ctime_ms, mtime_ms) = (reader.number(), reader.number());
        let (data_changes, acl_changes) = (reader.number(), reader.number());
        let kind = match (reader.byte(), reader.number()) {
            (b'p', 0) => NodeKind::Persistent,
            (b'e', session) => NodeKind::Ephemeral(SessionId(session)),
            (b'c', 0) => NodeKind::Container,
            (b't', ttl_ms) => NodeKind::Ttl(ttl_ms),
            _ => reader.complain("an unknown kind"),
        };
        let (acl, data) = (reader.bytes(), reader.rest());
        Self { czxid, changed, ctime_ms, mtime_ms, data_changes, acl_changes, kind, acl, data }
    }
}

impl Family {
    /// The stored record.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(FAMILY_FORMAT, 16);
        writer.number(self.creates);
        writer.number(self.children);
        writer.number(self.pzxid.get());
        writer.finish()
    }

    /// Reads a stored record.
    pub(crate) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("znode's children", FAMILY_FORMAT, record);
        let family =
            Self { creates: reader.number(), children: reader.number(), pzxid: Revision(reader.number()) };
        reader.end();
        family
    }
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A 64-bit count of changes as a 32-bit version that never is -1, since that means "any".
pub(crate) fn shown_version(changes: u64) -> i32 {
    const VERSIONS: u64 = u32::MAX as u64; // all 32-bit numbers but -1
    (changes % VERSIONS) as u32 as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_skip_minus_one() {
        assert_eq!(shown_version(0), 0);
        assert_eq!(shown_version(i32::MAX as u64), i32::MAX);
        assert_eq!(shown_version(i32::MAX as u64 + 1), i32::MIN);
        assert_eq!(shown_version(u32::MAX as u64 - 1), -2);
        assert_eq!(shown_version(u32::MAX as u64), 0);
    }

    #[test]
    fn records_are_pinned() {
        let node = Node {
            czxid: Revision(2),
            changed: (Revision(300), 1),
            ctime_ms: 4,
            mtime_ms: 5,
            data_changes: 6,
            acl_changes: 7,
            kind: NodeKind::Ephemeral(SessionId(8)),
            acl: Bytes::from_static(b"all"),
            data: Bytes::from_static(b"x"),
        };
        let record = node.encode();
        assert_eq!(record, b"\x01\x02\xac\x02\x01\x04\x05\x06\x07e\x08\x03allx".as_slice());
        assert_eq!(Node::decode(&record), node);
        for kind in [NodeKind::Persistent, NodeKind::Container, NodeKind::Ttl(9)] {
            let other = Node { kind, ..node.clone() };
            assert_eq!(Node::decode(&other.encode()), other);
        }
        let family = Family { creates: 3, children: 2, pzxid: Revision(1) };
        assert_eq!(family.encode(), b"\x01\x03\x02\x01".as_slice());
        assert_eq!(Family::decode(&family.encode()), family);
    }

    #[test]
    fn cversion_counts_both_ways_and_wraps() {
        let family = |creates, children| Family { creates, children, pzxid: Revision(0) };
        assert_eq!(family(0, 1).cversion(), -1);
        assert_eq!(family(3, 1).cversion(), 5);
        assert_eq!(family(1 << 30, 0).cversion(), i32::MIN);
    }
}
