//! Where the tree's records lie. Paths have no zero byte, which separates parent and name.
//!
//! | space | key after the space's byte | value |
//! | --- | --- | --- |
//! | Tree | path | [`Node`](super::node::Node) |
//! | Children | parent's path, 0x00 | [`Family`](super::node::Family): the children in numbers |
//! | Children | parent's path, 0x00, name | empty |
//! | Idle | path | empty: a container or TTL znode |
//!
//! A znode's children lie together, without what is below them; what is below it lies together in
//! Tree.

use crate::keys::Space;
use crate::tree::path::ROOT;
use bytes::Bytes;

const SEPARATOR: &[u8] = &[0];

/// A znode.
pub(crate) fn node(path: &[u8]) -> Bytes {
    Space::Tree.key(&[path])
}

/// The numbers of a znode's children.
pub(crate) fn family(path: &[u8]) -> Bytes {
    Space::Children.key(&[path, SEPARATOR])
}

/// A name below a parent.
pub(crate) fn child(parent: &[u8], name: &[u8]) -> Bytes {
    Space::Children.key(&[parent, SEPARATOR, name])
}

/// First full key of the names after `after` below a parent, and the first one beyond them.
pub(crate) fn children_after(parent: &[u8], after: &[u8]) -> (Bytes, Bytes) {
    let from = Space::Children.key(&[parent, SEPARATOR, after, SEPARATOR]);
    (from, Space::Children.key(&[parent, &[1]]))
}

/// First full key of the znodes below a path, at any depth, and the first one beyond them.
pub(crate) fn below(path: &[u8]) -> (Bytes, Bytes) {
    let path = if path == ROOT { b"" } else { path };
    let beyond = b'/' + 1;
    // The least name is longer than none: the root itself is left out.
    (Space::Tree.key(&[path, b"/", SEPARATOR]), Space::Tree.key(&[path, &[beyond]]))
}

/// The mark of a container or TTL znode.
pub(crate) fn idle(path: &[u8]) -> Bytes {
    Space::Idle.key(&[path])
}

/// First full key of the marks after a path, and the first one beyond all.
pub(crate) fn idle_after(path: &[u8]) -> (Bytes, Bytes) {
    (Space::Idle.key(&[path, SEPARATOR]), Bytes::copy_from_slice(&Space::Idle.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pinned() {
        assert_eq!(node(b"/a/b"), "t/a/b");
        assert_eq!(family(b"/a"), "c/a\0");
        assert_eq!(child(b"/a", b"b"), "c/a\0b");
        assert_eq!(child(b"/", b"b"), "c/\0b");
        assert_eq!(idle(b"/a"), "i/a");
    }

    #[test]
    fn children_are_apart_from_the_numbers_and_from_what_is_below() {
        let (from, to) = children_after(b"/a", b"");
        assert!(family(b"/a") < from);
        assert!(child(b"/a", b" ") > from && child(b"/a", "\u{ffef}".as_bytes()) < to);
        for other in [child(b"/a/b", b"c"), child(b"/a ", b"c"), child(b"/", b"a"), family(b"/a/b")] {
            assert!(other < from || other >= to);
        }
        let (from, _) = children_after(b"/a", b"b");
        assert!(child(b"/a", b"b") < from && child(b"/a", b"b ") > from);
    }

    #[test]
    fn what_is_below_excludes_the_znode_and_its_siblings() {
        let (from, to) = below(b"/a");
        for inside in ["/a/b", "/a/ ", "/a/b/c"] {
            assert!(node(inside.as_bytes()) >= from && node(inside.as_bytes()) < to);
        }
        for outside in ["/a", "/a.", "/a0", "/ab", "/b"] {
            let key = node(outside.as_bytes());
            assert!(key < from || key >= to, "{outside}");
        }
        let (from, to) = below(ROOT);
        assert!(node(ROOT) < from && node(b"/ ") > from && node(b"/zookeeper") < to);
    }
}
