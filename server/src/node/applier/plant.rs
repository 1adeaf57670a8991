//! Deliberate bugs; see `oarlock_state::plant`.

use oarlock_state::plant::is;
use oarlock_state::{Index, Mutation, NodeId};
use std::sync::Mutex;

/// The member that installed a snapshot last, and the index of it.
static INSTALLED: Mutex<Option<(NodeId, u64)>> = Mutex::new(None);

/// A snapshot was installed.
pub(super) fn installed(node: NodeId, index: u64) {
    *INSTALLED.lock().expect("nobody panics while it holds the index") = Some((node, index));
}

/// `skip_entry`: one member loses what an entry now and then did. `hole_behind_snapshot`: what
/// follows a snapshot is taken for a part of it.
pub(super) fn mutations(node: NodeId, index: Index, mutations: Vec<Mutation>) -> Vec<Mutation> {
    let lost = is("skip_entry") && node == NodeId(2) && index.get() % 100 == 0;
    let follows = Some((node, index.get() - 1));
    let is_behind = || *INSTALLED.lock().expect("nobody panics while it holds the index") == follows;
    let lost = lost || (is("hole_behind_snapshot") && is_behind());
    if lost { Vec::new() } else { mutations }
}
