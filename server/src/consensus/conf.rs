//! The encoding of configurations: who votes and who learns.
//!
//! To the rest of the program a configuration is opaque bytes. Equal configurations have equal
//! bytes on every replica (ids are sorted), because they are part of the replicated state.

use bytes::Bytes;
use oarlock_state::NodeId;
use prost_raft::Message;
use raft::eraftpb::ConfState;
use thiserror::Error;

/// Bytes that are no configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not an encoded configuration: {0}")]
pub struct BadConfiguration(String);

/// The configuration in which a cluster begins.
pub fn initial(voters: &[NodeId], learners: &[NodeId]) -> Bytes {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect::<Vec<_>>();
    encode(&ConfState::from((ids(voters), ids(learners))))
}

/// Who votes in a configuration, in order. While it changes: all of the new and the old.
///
/// # Errors
/// The bytes are no configuration.
pub fn voters(encoded: &Bytes) -> Result<Vec<NodeId>, BadConfiguration> {
    let conf = decode(encoded)?;
    let mut ids: Vec<NodeId> = conf.voters.iter().chain(&conf.voters_outgoing).copied().map(NodeId).collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// Whether the member votes or learns in the configuration.
///
/// # Errors
/// The bytes are no configuration.
pub fn contains(encoded: &Bytes, node: NodeId) -> Result<bool, BadConfiguration> {
    Ok(holds(&decode(encoded)?, node.get()))
}

/// Whether the configuration is on the way from one to another.
///
/// # Errors
/// The bytes are no configuration.
pub fn is_joint(encoded: &Bytes) -> Result<bool, BadConfiguration> {
    Ok(!decode(encoded)?.voters_outgoing.is_empty())
}

pub(super) fn holds(conf: &ConfState, id: u64) -> bool {
    // `learners_next` are among the outgoing voters.
    conf.voters.contains(&id) || conf.learners.contains(&id) || conf.voters_outgoing.contains(&id)
}

pub(super) fn encode(conf: &ConfState) -> Bytes {
    let mut sorted = conf.clone();
    for ids in
        [&mut sorted.voters, &mut sorted.learners, &mut sorted.voters_outgoing, &mut sorted.learners_next]
    {
        ids.sort_unstable();
    }
    sorted.encode_to_vec().into()
}

pub(super) fn decode(encoded: &Bytes) -> Result<ConfState, BadConfiguration> {
    ConfState::decode(encoded.clone()).map_err(|error| BadConfiguration(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter() {
        let one = initial(&[NodeId(3), NodeId(1)], &[NodeId(9), NodeId(4)]);
        let two = initial(&[NodeId(1), NodeId(3)], &[NodeId(4), NodeId(9)]);
        assert_eq!(one, two);
        assert_eq!(voters(&one), Ok(vec![NodeId(1), NodeId(3)]));
        assert_eq!(contains(&one, NodeId(9)), Ok(true));
        assert_eq!(contains(&one, NodeId(2)), Ok(false));
    }

    #[test]
    fn damage_is_noticed() {
        assert!(voters(&Bytes::from_static(b"\xff\xff")).is_err());
    }
}
