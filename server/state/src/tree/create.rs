//! Adds znodes.

use crate::event::Keyspace;
use crate::ids::SessionId;
use crate::limits::{TTL_MS_MAX, VALUE_BYTES_MAX};
use crate::machine::scratch::Scratch;
use crate::tree::execute::{demand_acl, demand_length, record_children, record_put};
use crate::tree::node::{Family, Node};
use crate::tree::{BadArgument, Create, NodeKind, TreeError, TreeReply, layout, path, records};
use bytes::Bytes;

/// Adds a znode in the scratch's open transaction.
pub(super) fn create(scratch: &mut Scratch, create: &Create) -> Result<TreeReply, TreeError> {
    demand_form(create)?;
    if let NodeKind::Ephemeral(session) = create.kind
        && !scratch.session_exists(session)
    {
        return Err(TreeError::SessionExpired { session });
    }
    let path = place(scratch, create)?;
    let (parent, name) =
        path::split(&path).ok_or_else(|| TreeError::NodeExists { path: create.path.clone() })?;
    let node = insert(scratch, create, &path);
    records::add_child(scratch, parent, name, node.czxid);
    record_children(scratch, parent);
    let stat = create.want_stat.then(|| node.stat(&Family::default()));
    Ok(TreeReply::Created { path, stat })
}

/// Refuses what makes no sense whatever the state.
fn demand_form(create: &Create) -> Result<(), TreeError> {
    let path = &create.path;
    if create.sequential {
        path::validate_prefix(path)?;
    } else {
        path::validate(path)?;
    }
    let reason = match create.kind {
        NodeKind::Ttl(ttl_ms) if !(1..=TTL_MS_MAX).contains(&ttl_ms) => Some(BadArgument::BadTtl),
        NodeKind::Ephemeral(SessionId(0)) => Some(BadArgument::NoOwner),
        NodeKind::Persistent | NodeKind::Ephemeral(_) | NodeKind::Container | NodeKind::Ttl(_) => None,
    };
    if let Some(reason) = reason {
        return Err(TreeError::BadArguments { path: path.clone(), reason });
    }
    demand_length(path, &create.data, VALUE_BYTES_MAX, BadArgument::DataTooLong)?;
    demand_acl(path, &create.acl)
}

/// The whole path of the znode to add, once nothing speaks against adding it.
fn place(scratch: &Scratch, create: &Create) -> Result<Bytes, TreeError> {
    let parent = create.parent();
    let above = records::node(scratch, &parent).ok_or_else(|| TreeError::NoNode { path: parent.clone() })?;
    let path = if create.sequential {
        let path = numbered(&create.path, records::family(scratch, &parent).creates);
        path::validate(&path)?; // with the number it may have become too long
        path
    } else {
        create.path.clone()
    };
    if records::node(scratch, &path).is_some() {
        return Err(TreeError::NodeExists { path });
    }
    match above.kind {
        NodeKind::Ephemeral(_) => Err(TreeError::NoChildrenForEphemerals { path: parent }),
        NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl(_) => Ok(path),
    }
}

/// ZooKeeper's counter ends at 31 bits and goes on with negative numbers, which breaks the order of
/// names; this one has 64 bits and the order holds for the first ten thousand million children.
fn numbered(prefix: &[u8], number: u64) -> Bytes {
    let mut path = prefix.to_vec();
    path.extend_from_slice(format!("{number:010}").as_bytes());
    Bytes::from(path)
}

fn insert(scratch: &mut Scratch, create: &Create, path: &Bytes) -> Node {
    let (at, now_ms) = (scratch.change(), scratch.stamp_ms());
    let node = Node {
        czxid: at.0,
        changed: at,
        ctime_ms: now_ms,
        mtime_ms: now_ms,
        data_changes: 0,
        acl_changes: 0,
        kind: create.kind,
        acl: create.acl.clone(),
        data: create.data.clone(),
    };
    scratch.replace(layout::node(path), None, Some(node.encode()));
    scratch.attach(node.owner(), Keyspace::Tree, path);
    if node.may_idle() {
        scratch.put(layout::idle(path), Bytes::new());
    }
    record_put(scratch, path, &node, None);
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_ten_digits_and_grow_beyond() {
        assert_eq!(numbered(b"/a/n-", 7), "/a/n-0000000007");
        assert_eq!(numbered(b"/", 1 << 31), "/2147483648");
        assert_eq!(numbered(b"/", u64::MAX), "/18446744073709551615");
    }
}
