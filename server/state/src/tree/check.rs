//! Proves that the tree's records agree with each other. A scan of everything, for tests and
//! inspection.

use crate::codec::damaged;
use crate::event::Keyspace;
use crate::keys::{self, Space};
use crate::tree::node::{Family, Node};
use crate::tree::{NodeKind, layout, path, permanent, records};
use crate::view::View;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Names the first disagreement: a znode without its parent or below an ephemeral one, a family
/// whose numbers are wrong, a name without its znode, an ephemeral znode whose session is gone or
/// does not know it, an attached path or a mark without its znode.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let nodes: BTreeMap<Bytes, Node> = records_of(view, Space::Tree)
        .into_iter()
        .map(|(path, record)| (path, Node::decode(&record)))
        .collect();
    let mut counted: BTreeMap<Bytes, u64> = BTreeMap::new();
    for (path, node) in &nodes {
        below_a_parent(view, path)?;
        with_its_session(view, path, node)?;
        if node.may_idle() != view.get(&layout::idle(path)).is_some() {
            return Err(format!("znode {path:?}: its mark in the idle space is wrong"));
        }
    }
    families(view, &mut counted)?;
    for path in nodes.keys().filter(|path| !permanent::is(path)) {
        let Some((parent, _)) = path::split(path) else { continue };
        if !counted.contains_key(parent) {
            return Err(format!("znode {path:?}: its parent counts no children"));
        }
    }
    for (path, _) in records_of(view, Space::Idle) {
        if !nodes.contains_key(&path) {
            return Err(format!("idle mark {path:?} without a znode"));
        }
    }
    attached(view, &nodes)
}

fn below_a_parent(view: &dyn View, path: &Bytes) -> Result<(), String> {
    path::validate(path).map_err(|error| error.to_string())?;
    let Some((parent, name)) = path::split(path) else {
        return Ok(()); // the root
    };
    let Some(above) = records::node(view, parent) else {
        return Err(format!("znode {path:?} has no parent"));
    };
    if matches!(above.kind, NodeKind::Ephemeral(_)) {
        return Err(format!("znode {path:?} lies below an ephemeral one"));
    }
    let listed = view.get(&layout::child(parent, name)).is_some();
    if !listed && !permanent::is(path) {
        return Err(format!("znode {path:?} is not listed by its parent"));
    }
    Ok(())
}

fn with_its_session(view: &dyn View, path: &Bytes, node: &Node) -> Result<(), String> {
    let NodeKind::Ephemeral(session) = node.kind else {
        return Ok(());
    };
    if view.get(&keys::session(session)).is_none() {
        return Err(format!("ephemeral znode {path:?} outlived session {session}"));
    }
    if view.get(&keys::attached(session, Keyspace::Tree, path)).is_none() {
        return Err(format!("ephemeral znode {path:?} is not attached to session {session}"));
    }
    Ok(())
}

/// Compares every family with the names stored under it, which must all have a znode.
fn families(view: &dyn View, counted: &mut BTreeMap<Bytes, u64>) -> Result<(), String> {
    let mut claimed: BTreeMap<Bytes, Family> = BTreeMap::new();
    for (key, record) in records_of(view, Space::Children) {
        let Some(zero) = key.iter().position(|byte| *byte == 0) else {
            damaged("znode's children", "the key has no separator");
        };
        let (parent, name) = (key.slice(..zero), &key[zero + 1..]);
        if name.is_empty() {
            claimed.insert(parent, Family::decode(&record));
            continue;
        }
        let slash: &[u8] = if parent == path::ROOT { b"" } else { b"/" };
        let path = [&parent, slash, name].concat();
        if records::node(view, &path).is_none() {
            return Err(format!("{parent:?} lists {name:?}, which does not exist"));
        }
        *counted.entry(parent).or_default() += 1;
    }
    for (parent, family) in &claimed {
        let found = counted.get(parent).copied().unwrap_or(0);
        if family.children != found {
            let children = family.children;
            return Err(format!("{parent:?} counts {children} children and lists {found}"));
        }
        if records::node(view, parent).is_none() {
            return Err(format!("{parent:?} has a family but no znode"));
        }
    }
    match counted.keys().find(|parent| !claimed.contains_key(*parent)) {
        Some(parent) => Err(format!("{parent:?} lists children but does not count them")),
        None => Ok(()),
    }
}

fn attached(view: &dyn View, nodes: &BTreeMap<Bytes, Node>) -> Result<(), String> {
    for (key, _) in records_of(view, Space::Attached) {
        let full = Space::Attached.key(&[&key]);
        let Some((session, Keyspace::Tree, path)) = keys::parse_attached(&full) else {
            continue;
        };
        let owned = nodes.get(&path).map(|node| node.kind) == Some(NodeKind::Ephemeral(session));
        if !owned {
            return Err(format!("session {session} has {path:?} attached, which is not its own"));
        }
    }
    Ok(())
}

/// All records of a space, their keys without its byte.
fn records_of(view: &dyn View, space: Space) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    view.scan(&space.start(), &space.end(), false, &mut |key, record| {
        found.push((Bytes::copy_from_slice(&key[1..]), record.clone()));
        ControlFlow::Continue(())
    });
    found
}
