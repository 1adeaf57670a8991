//! Members, and what a configuration entry says about them beside Raft's own part.

use super::{FormatResult, id_from_proto, id_to_proto, required};
use bytes::Bytes;
use oarlock_proto::internal::log as pb;
use oarlock_state::command::Member;
use oarlock_state::{NodeId, ProposalId};
use prost::Message;

/// What a change of the membership puts and removes. Travels in the context of the configuration
/// entry, and from a follower to the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Members to add, or to change from learner to voter.
    pub put: Vec<Member>,
    /// Members to remove.
    pub remove: Vec<NodeId>,
    /// The proposal that asked for it, if somebody waits; else all zeros.
    pub id: ProposalId,
}

/// The context of a configuration entry.
pub fn encode_membership(membership: &Membership) -> Bytes {
    membership_to_proto(membership).encode_to_vec().into()
}

/// Reads what [`encode_membership`] wrote.
///
/// # Errors
/// The bytes are of a later version or damaged.
pub fn decode_membership(context: Bytes) -> FormatResult<Membership> {
    membership_from_proto(pb::Membership::decode(context)?)
}

/// The change as the log and the peers' messages carry it.
pub fn membership_to_proto(membership: &Membership) -> pb::Membership {
    pb::Membership {
        put: membership.put.iter().map(member_to_proto).collect(),
        remove: membership.remove.iter().map(|node| node.get()).collect(),
        id: Some(id_to_proto(membership.id)),
    }
}

/// The change that [`membership_to_proto`] wrote.
///
/// # Errors
/// It is of a later version or damaged.
pub fn membership_from_proto(membership: pb::Membership) -> FormatResult<Membership> {
    Ok(Membership {
        put: membership.put.into_iter().map(member_from_proto).collect(),
        remove: membership.remove.into_iter().map(NodeId).collect(),
        id: id_from_proto(&required(membership.id, "the id of a membership change")?),
    })
}

/// A member as the log and the peers' messages carry it.
pub fn member_to_proto(member: &Member) -> pb::Member {
    pb::Member {
        node: member.node.get(),
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        learner: member.learner,
        stay_learner: member.stay_learner,
        version: member.version.clone(),
    }
}

/// The member that [`member_to_proto`] wrote.
pub fn member_from_proto(member: pb::Member) -> Member {
    Member {
        node: NodeId(member.node),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
        stay_learner: member.stay_learner,
        version: member.version,
    }
}
