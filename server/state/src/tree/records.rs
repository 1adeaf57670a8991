//! Reading and writing the records of a znode and of its family.

use crate::ids::Revision;
use crate::machine::scratch::Scratch;
use crate::tree::node::{Family, Node};
use crate::tree::{TreeError, layout, path, permanent};
use crate::view::View;
use bytes::Bytes;

/// The znode at a path, which need not be valid.
pub(crate) fn node(view: &dyn View, path: &[u8]) -> Option<Node> {
    match view.get(&layout::node(path)) {
        Some(record) => Some(Node::decode(&record)),
        None => permanent::node(path),
    }
}

/// The znode that a request names. Refused when the path is not valid or there is none.
pub(crate) fn existing(view: &dyn View, path: &Bytes) -> Result<Node, TreeError> {
    path::validate(path)?;
    node(view, path).ok_or_else(|| TreeError::NoNode { path: path.clone() })
}

/// The children of an existing znode, in numbers.
pub(crate) fn family(view: &dyn View, path: &[u8]) -> Family {
    match view.get(&layout::family(path)) {
        Some(record) => Family::decode(&record),
        None => permanent::family(path),
    }
}

/// Whether the names of a znode's children are still those that it was born with, and not stored.
pub(crate) fn is_untouched(view: &dyn View, path: &[u8]) -> bool {
    !permanent::children(path).is_empty() && view.get(&layout::family(path)).is_none()
}

/// Adds a name to a parent in the revision `zxid`.
pub(crate) fn add_child(scratch: &mut Scratch, parent: &[u8], name: &[u8], zxid: Revision) {
    if is_untouched(scratch, parent) {
        for permanent in permanent::children(parent) {
            scratch.put(layout::child(parent, permanent), Bytes::new());
        }
    }
    let mut family = family(scratch, parent);
    family.creates += 1;
    family.children += 1;
    family.pzxid = zxid;
    scratch.put(layout::family(parent), family.encode());
    scratch.put(layout::child(parent, name), Bytes::new());
}

/// Removes an existing name from a parent in the revision `zxid`.
pub(crate) fn remove_child(scratch: &mut Scratch, parent: &[u8], name: &[u8], zxid: Revision) {
    let mut family = family(scratch, parent);
    family.children -= 1;
    family.pzxid = zxid;
    scratch.put(layout::family(parent), family.encode());
    scratch.delete(layout::child(parent, name));
}
