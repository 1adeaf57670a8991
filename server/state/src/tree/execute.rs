//! Executes changes. Checks come in ZooKeeper's order, so that of several reasons to refuse the
//! same one is given.
//!
//! A refusal may leave earlier operations of a multi behind in the scratch: whoever calls undoes
//! the whole proposal.

use crate::event::{Cause, EventKind, Keyspace};
use crate::ids::Revision;
use crate::limits::{ACL_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX};
use crate::machine::scratch::Scratch;
use crate::tree::node::{Node, shown_version};
use crate::tree::op::ANY_VERSION;
use crate::tree::{BadArgument, TreeError, TreeOp, TreeReply, create, layout, path, permanent, records};
use crate::view::View;
use bytes::Bytes;

/// Executes one operation in the scratch's open transaction.
pub(crate) fn execute(scratch: &mut Scratch, op: &TreeOp) -> Result<TreeReply, TreeError> {
    match op {
        TreeOp::Create(create) => create::create(scratch, create),
        TreeOp::Delete { path, version } => delete(scratch, path, *version),
        TreeOp::SetData { path, data, version } => set_data(scratch, path, data, *version),
        TreeOp::SetAcl { path, acl, version } => set_acl(scratch, path, acl, *version),
        TreeOp::Check { path, version } => check(scratch, path, *version),
        TreeOp::Multi(ops) => multi(scratch, ops),
        TreeOp::DeleteIdle { path, cversion, mzxid } => delete_idle(scratch, path, *cversion, *mzxid),
    }
}

/// Removes an ephemeral znode at the end of its owner session. The transaction's cause and actor
/// are the caller's.
pub(crate) fn remove_ephemeral(scratch: &mut Scratch, path: &[u8]) {
    if let Some(node) = records::node(scratch, path) {
        remove(scratch, &Bytes::copy_from_slice(path), &node);
    }
}

/// The fencing token of a znode: the revision that created it. `None` if it does not exist.
pub(crate) fn token(view: &dyn View, path: &[u8]) -> Option<Revision> {
    records::node(view, path).map(|node| node.czxid)
}

fn delete(scratch: &mut Scratch, path: &Bytes, version: i32) -> Result<TreeReply, TreeError> {
    let node = removable(scratch, path)?;
    demand_version(path, version, shown_version(node.data_changes))?;
    demand_no_children(scratch, path)?;
    remove(scratch, path, &node);
    Ok(TreeReply::Deleted)
}

fn delete_idle(
    scratch: &mut Scratch,
    path: &Bytes,
    cversion: i32,
    mzxid: Revision,
) -> Result<TreeReply, TreeError> {
    let node = removable(scratch, path)?;
    demand_no_children(scratch, path)?;
    let family = records::family(scratch, path);
    let unchanged = family.cversion() == cversion && node.changed.0 == mzxid;
    if !unchanged || !node.is_idle(&family, scratch.stamp_ms()) {
        return Err(TreeError::NotIdle { path: path.clone() });
    }
    scratch.set_cause(Cause::TimedOut);
    remove(scratch, path, &node);
    scratch.set_cause(Cause::Request);
    Ok(TreeReply::Deleted)
}

fn set_data(scratch: &mut Scratch, path: &Bytes, data: &Bytes, version: i32) -> Result<TreeReply, TreeError> {
    let mut node = records::existing(scratch, path)?;
    demand_length(path, data, VALUE_BYTES_MAX, BadArgument::DataTooLong)?;
    demand_version(path, version, shown_version(node.data_changes))?;
    let previous = node.changed;
    node.changed = scratch.change();
    node.mtime_ms = scratch.stamp_ms();
    node.data_changes += 1;
    node.data = data.clone();
    scratch.put(layout::node(path), node.encode());
    // A permanent znode's first state has no event.
    record_put(scratch, path, &node, (previous.0 != Revision(0)).then_some(previous));
    Ok(TreeReply::DataSet(node.stat(&records::family(scratch, path))))
}

fn set_acl(scratch: &mut Scratch, path: &Bytes, acl: &Bytes, version: i32) -> Result<TreeReply, TreeError> {
    path::validate(path)?;
    demand_acl(path, acl)?;
    let mut node = records::existing(scratch, path)?;
    demand_version(path, version, shown_version(node.acl_changes))?;
    node.acl_changes += 1;
    node.acl = acl.clone();
    scratch.change_silently();
    scratch.put(layout::node(path), node.encode());
    Ok(TreeReply::AclSet(node.stat(&records::family(scratch, path))))
}

fn check(scratch: &Scratch, path: &Bytes, version: i32) -> Result<TreeReply, TreeError> {
    let node = records::existing(scratch, path)?;
    demand_version(path, version, shown_version(node.data_changes))?;
    Ok(TreeReply::Checked)
}

fn multi(scratch: &mut Scratch, ops: &[TreeOp]) -> Result<TreeReply, TreeError> {
    if ops.len() > TXN_OPS_MAX {
        let reason = BadArgument::TooManyOperations;
        return Err(TreeError::BadArguments { path: Bytes::new(), reason });
    }
    let mut replies = Vec::with_capacity(ops.len());
    for (index, op) in ops.iter().enumerate() {
        let result = match op {
            TreeOp::Multi(_) => {
                let reason = BadArgument::NestedMulti;
                Err(TreeError::BadArguments { path: Bytes::new(), reason })
            }
            TreeOp::Create(_)
            | TreeOp::Delete { .. }
            | TreeOp::SetData { .. }
            | TreeOp::SetAcl { .. }
            | TreeOp::Check { .. }
            | TreeOp::DeleteIdle { .. } => execute(scratch, op),
        };
        let fail = |error| TreeError::Multi {
            index: index as u32, // TXN_OPS_MAX fits
            count: ops.len() as u32,
            error: Box::new(error),
        };
        replies.push(result.map_err(fail)?);
    }
    Ok(TreeReply::Multi(replies))
}

/// Announces a znode's new data.
pub(super) fn record_put(
    scratch: &mut Scratch,
    path: &Bytes,
    node: &Node,
    previous: Option<(Revision, u32)>,
) {
    let kind = EventKind::Put {
        value: node.data.clone(),
        create_revision: node.czxid,
        version: node.data_changes + 1,
        owner: node.owner(),
    };
    scratch.record(node.changed, Keyspace::Tree, path.clone(), kind, previous);
}

/// Announces that a znode's children changed.
pub(super) fn record_children(scratch: &mut Scratch, path: &[u8]) {
    let at = scratch.change();
    let path = Bytes::copy_from_slice(path);
    scratch.record(at, Keyspace::Tree, path, EventKind::Children, None);
}

fn remove(scratch: &mut Scratch, path: &Bytes, node: &Node) {
    let Some((parent, name)) = path::split(path) else {
        return; // the root is permanent
    };
    let at = scratch.change();
    scratch.delete(layout::node(path));
    scratch.delete(layout::family(path));
    scratch.detach(node.owner(), Keyspace::Tree, path);
    if node.may_idle() {
        scratch.delete(layout::idle(path));
    }
    scratch.record(at, Keyspace::Tree, path.clone(), EventKind::Delete, Some(node.changed));
    records::remove_child(scratch, parent, name, at.0);
    record_children(scratch, parent);
}

fn removable(view: &dyn View, path: &Bytes) -> Result<Node, TreeError> {
    path::validate(path)?;
    if permanent::is(path) {
        let reason = BadArgument::Permanent;
        return Err(TreeError::BadArguments { path: path.clone(), reason });
    }
    records::existing(view, path)
}

fn demand_no_children(view: &dyn View, path: &Bytes) -> Result<(), TreeError> {
    match records::family(view, path).children {
        0 => Ok(()),
        _ => Err(TreeError::NotEmpty { path: path.clone() }),
    }
}

fn demand_version(path: &Bytes, expected: i32, actual: i32) -> Result<(), TreeError> {
    if expected == ANY_VERSION || expected == actual {
        return Ok(());
    }
    Err(TreeError::BadVersion { path: path.clone(), expected, actual })
}

/// Refuses an access list that is missing or too long.
pub(super) fn demand_acl(path: &Bytes, acl: &Bytes) -> Result<(), TreeError> {
    if acl.is_empty() {
        return Err(TreeError::InvalidAcl { path: path.clone() });
    }
    demand_length(path, acl, ACL_BYTES_MAX, BadArgument::AclTooLong)
}

/// Refuses a byte string above its limit.
pub(super) fn demand_length(
    path: &Bytes,
    bytes: &Bytes,
    limit: usize,
    reason: BadArgument,
) -> Result<(), TreeError> {
    if bytes.len() <= limit {
        return Ok(());
    }
    Err(TreeError::BadArguments { path: path.clone(), reason })
}
