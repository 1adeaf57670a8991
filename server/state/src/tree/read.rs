//! Answers reads.

use crate::event::Keyspace;
use crate::ids::SessionId;
use crate::keys;
use crate::limits::{RANGE_BYTES_MAX, TXN_OPS_MAX};
use crate::tree::{BadArgument, TreeError, TreeQuery, TreeReply, layout, permanent, records};
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

/// Answers one read.
pub(crate) fn read(view: &dyn View, query: &TreeQuery) -> Result<TreeReply, TreeError> {
    match query {
        TreeQuery::Exists { path } => {
            let node = records::existing(view, path)?;
            Ok(TreeReply::Exists(node.stat(&records::family(view, path))))
        }
        TreeQuery::GetData { path } => {
            let node = records::existing(view, path)?;
            let stat = node.stat(&records::family(view, path));
            Ok(TreeReply::Data { data: node.data, stat })
        }
        TreeQuery::GetAcl { path } => {
            let node = records::existing(view, path)?;
            let stat = node.stat(&records::family(view, path));
            Ok(TreeReply::Acl { acl: node.acl, stat })
        }
        TreeQuery::GetChildren { path, after, limit, byte_budget } => {
            let stat = records::existing(view, path)?.stat(&records::family(view, path));
            let (names, more) = children(view, path, after, Gather::new(*limit, *byte_budget));
            Ok(TreeReply::Children { names, more, stat })
        }
        TreeQuery::GetAllChildrenNumber { path } => {
            records::existing(view, path)?;
            Ok(TreeReply::Count(count_below(view, path)))
        }
        TreeQuery::GetEphemerals { session, prefix, after, limit } => {
            let (paths, more) = ephemerals(view, *session, prefix, after, *limit);
            Ok(TreeReply::Ephemerals { paths, more })
        }
        TreeQuery::Idle { after, now_ms, limit } => Ok(idle(view, after, *now_ms, *limit)),
        TreeQuery::MultiRead(queries) => multi_read(view, queries),
    }
}

/// Names or paths under a limit and a byte budget.
struct Gather {
    limit: u64,
    byte_budget: u64,
    bytes: u64,
    found: Vec<Bytes>,
    more: bool,
}

impl Gather {
    /// Zero means no limit, or the greatest budget.
    fn new(limit: u64, byte_budget: u64) -> Self {
        let limit = if limit == 0 { u64::MAX } else { limit };
        let byte_budget = if byte_budget == 0 { RANGE_BYTES_MAX } else { byte_budget };
        Self { limit, byte_budget, bytes: 0, found: Vec::new(), more: false }
    }

    fn add(&mut self, name: &[u8]) -> ControlFlow<()> {
        if self.found.len() as u64 >= self.limit || self.bytes >= self.byte_budget {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.bytes += name.len() as u64;
        self.found.push(Bytes::copy_from_slice(name));
        ControlFlow::Continue(())
    }
}

fn children(view: &dyn View, path: &[u8], after: &[u8], mut gather: Gather) -> (Vec<Bytes>, bool) {
    if records::is_untouched(view, path) {
        let names = permanent::children(path).iter().filter(|name| **name > after);
        let _ = names.copied().try_for_each(|name| gather.add(name));
        return (gather.found, gather.more);
    }
    let (from, to) = layout::children_after(path, after);
    let name_at = layout::family(path).len();
    view.scan(&from, &to, false, &mut |key, _| gather.add(&key[name_at..]));
    (gather.found, gather.more)
}

fn count_below(view: &dyn View, path: &[u8]) -> u64 {
    let (from, to) = layout::below(path);
    let mut count = 0;
    view.scan(&from, &to, false, &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    });
    let unstored = permanent::paths()
        .map(layout::node)
        .filter(|key| *key >= from && *key < to && view.get(key).is_none());
    count + unstored.count() as u64
}

fn ephemerals(
    view: &dyn View,
    session: SessionId,
    prefix: &[u8],
    after: &[u8],
    limit: u64,
) -> (Vec<Bytes>, bool) {
    let (start, to) = keys::attached_span(session, Keyspace::Tree);
    let beyond_after = keys::attached(session, Keyspace::Tree, &[after, &[0]].concat());
    let from = beyond_after.max(keys::attached(session, Keyspace::Tree, prefix));
    let mut gather = Gather::new(limit, RANGE_BYTES_MAX);
    view.scan(&from, &to, false, &mut |key, _| match &key[start.len()..] {
        path if path.starts_with(prefix) => gather.add(path),
        _ => ControlFlow::Break(()),
    });
    (gather.found, gather.more)
}

fn idle(view: &dyn View, after: &[u8], now_ms: u64, limit: u64) -> TreeReply {
    let (from, to) = layout::idle_after(after);
    let mut candidates = Gather::new(limit.max(1), RANGE_BYTES_MAX);
    view.scan(&from, &to, false, &mut |key, _| candidates.add(&key[1..]));
    let resume_after = candidates.more.then(|| candidates.found.last().cloned()).flatten();
    let nodes = candidates.found.into_iter().filter_map(|path| {
        let (node, family) = (records::node(view, &path)?, records::family(view, &path));
        let idle = node.is_idle(&family, now_ms);
        idle.then(|| (path, family.cversion(), node.changed.0))
    });
    TreeReply::Idle { nodes: nodes.collect(), resume_after }
}

fn multi_read(view: &dyn View, queries: &[TreeQuery]) -> Result<TreeReply, TreeError> {
    let refuse = |reason| TreeError::BadArguments { path: Bytes::new(), reason };
    if queries.len() > TXN_OPS_MAX {
        return Err(refuse(BadArgument::TooManyOperations));
    }
    let mut bytes = 0;
    let one = |query: &TreeQuery| {
        if matches!(query, TreeQuery::MultiRead(_)) {
            return Err(refuse(BadArgument::NestedMulti));
        }
        if bytes >= RANGE_BYTES_MAX {
            return Err(TreeError::ReplyTooLarge);
        }
        let reply = read(view, query)?;
        bytes += size(&reply);
        Ok(reply)
    };
    Ok(TreeReply::MultiRead(queries.iter().map(one).collect()))
}

/// About how many bytes a read's answer holds.
fn size(reply: &TreeReply) -> u64 {
    let names = |names: &[Bytes]| names.iter().map(Bytes::len).sum::<usize>();
    let bytes = match reply {
        TreeReply::Data { data, .. } => data.len(),
        TreeReply::Acl { acl, .. } => acl.len(),
        TreeReply::Children { names: found, .. } => names(found),
        TreeReply::Ephemerals { paths, .. } => names(paths),
        TreeReply::Idle { nodes, .. } => nodes.iter().map(|(path, _, _)| path.len()).sum(),
        TreeReply::Created { .. }
        | TreeReply::Deleted
        | TreeReply::DataSet(_)
        | TreeReply::AclSet(_)
        | TreeReply::Checked
        | TreeReply::Multi(_)
        | TreeReply::Exists(_)
        | TreeReply::Count(_)
        | TreeReply::MultiRead(_) => 0,
    };
    bytes as u64
}
