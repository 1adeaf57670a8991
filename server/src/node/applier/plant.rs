//! Deliberate bugs; see `oarlock_state::plant`.

use oarlock_state::plant::is;
use oarlock_state::{Index, Mutation, NodeId};

/// `skip_entry`: one member loses what an entry now and then did.
pub(super) fn mutations(node: NodeId, index: Index, mutations: Vec<Mutation>) -> Vec<Mutation> {
    let lost = is("skip_entry") && node == NodeId(2) && index.get() % 100 == 0;
    if lost { Vec::new() } else { mutations }
}
