//! The znodes that the tree is born with, as ZooKeeper's is: they exist without a record until
//! something changes them, and cannot be removed.

use crate::ids::Revision;
use crate::tree::NodeKind;
use crate::tree::node::{Family, Node};
use bytes::Bytes;

/// Each with the names of its permanent children, in byte order.
const PERMANENT: [(&[u8], &[&[u8]]); 4] = [
    (b"/", &[b"zookeeper"]),
    (b"/zookeeper", &[b"config", b"quota"]),
    (b"/zookeeper/config", &[]),
    (b"/zookeeper/quota", &[]),
];

/// The paths of all permanent znodes.
pub(crate) fn paths() -> impl Iterator<Item = &'static [u8]> {
    PERMANENT.iter().map(|(path, _)| *path)
}

/// Whether the znode is one of them.
pub(crate) fn is(path: &[u8]) -> bool {
    paths().any(|permanent| permanent == path)
}

/// The permanent children of a znode.
pub(crate) fn children(path: &[u8]) -> &'static [&'static [u8]] {
    PERMANENT.iter().find(|(permanent, _)| *permanent == path).map_or(&[], |(_, names)| *names)
}

/// A permanent znode as it is before its first change.
pub(crate) fn node(path: &[u8]) -> Option<Node> {
    is(path).then(|| Node {
        czxid: Revision(0),
        changed: (Revision(0), 0),
        ctime_ms: 0,
        mtime_ms: 0,
        data_changes: 0,
        acl_changes: 0,
        kind: NodeKind::Persistent,
        acl: Bytes::new(),
        data: Bytes::new(),
    })
}

/// The children of a znode as they are before the first is added or removed.
pub(crate) fn family(path: &[u8]) -> Family {
    Family { creates: 0, children: children(path).len() as u64, pzxid: Revision(0) }
}
