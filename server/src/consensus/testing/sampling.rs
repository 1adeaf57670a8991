//! Things to propose.

use bytes::Bytes;
use oarlock_state::command::{KvOp, Member, Put, Txn};
use oarlock_state::{Command, NodeId, Proposal, ProposalId};

/// A proposal that puts `key`.
pub(crate) fn put(key: &str) -> Proposal {
    let put = Put { key: Bytes::copy_from_slice(key.as_bytes()), ..Put::default() };
    Proposal {
        id: ProposalId { node: NodeId(1), boot: 7, count: 1 },
        request: None,
        idempotency: None,
        guards: Vec::new(),
        caller: oarlock_state::Caller::Anonymous,
        command: Command::Txn(Txn { then: vec![KvOp::Put(put)], ..Txn::default() }),
    }
}

/// The member as a voter.
pub(crate) fn voter(node: u64) -> Member {
    Member {
        node: NodeId(node),
        name: format!("n{node}"),
        peer_urls: vec![format!("http://n{node}:2380")],
        client_urls: Vec::new(),
        learner: false,
        stay_learner: false,
        version: String::new(),
    }
}

/// The member as a learner.
pub(crate) fn learner(node: u64) -> Member {
    Member { learner: true, ..voter(node) }
}
