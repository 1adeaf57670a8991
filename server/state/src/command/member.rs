//! The cluster's members, what ails them, and why a change of them is refused.

use crate::ids::{NodeId, ProposalId};
use bytes::Bytes;

/// Membership as consensus decided it; carried by a configuration entry.
#[derive(Clone, Debug, PartialEq)]
pub struct MembershipChange {
    /// Consensus's own encoding of the resulting configuration; opaque here.
    pub conf_state: Bytes,
    /// Members to add, or to change from learner to voter.
    pub put: Vec<Member>,
    /// Members to remove. Their ids are remembered and never come back.
    pub remove: Vec<NodeId>,
    /// The proposal that asked for it, if a client waits.
    pub id: ProposalId,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Receives the log but has no vote.
    pub learner: bool,
    /// As a learner: is not made a voter by itself once it has caught up. Of a voter: false.
    pub stay_learner: bool,
    /// Version of its program; empty until it has started once.
    pub version: String,
}

/// Something that is wrong with a member, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// The member; zero for none in particular.
    pub node: NodeId,
    /// What is wrong.
    pub kind: AlarmKind,
}

/// What may be wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum AlarmKind {
    /// It has no room left.
    NoSpace = 1,
    /// Its data contradict those of others.
    Corrupt = 2,
}

impl AlarmKind {
    /// The kind of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::NoSpace, Self::Corrupt].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// What operators were told or have noted about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Raised alarms, by member.
    pub alarms: Vec<Alarm>,
    /// The release that operators are about to return to; empty for none.
    pub downgrade_to: String,
}

/// What stands in the way of a change of the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Obstacle {
    /// None of the others.
    #[default]
    Other = 0,
    /// A peer address belongs to a member already.
    AddressTaken = 1,
    /// The member that is spoken of does not exist.
    NoSuchMember = 2,
    /// The member that is to be promoted has a vote already.
    NoLearner = 3,
    /// The learner that is to be promoted lacks too much.
    LearnerBehind = 4,
    /// Too few members could be reached after the change: the cluster would stop.
    QuorumLost = 5,
    /// No voter would be left.
    LastVoter = 6,
    /// Another change is under way, or the leader is too new. Passes by itself.
    NotNow = 7,
}

impl Obstacle {
    /// All, by number.
    pub const ALL: [Self; 8] = [
        Self::Other,
        Self::AddressTaken,
        Self::NoSuchMember,
        Self::NoLearner,
        Self::LearnerBehind,
        Self::QuorumLost,
        Self::LastVoter,
        Self::NotNow,
    ];

    /// The obstacle of this number; one that this program does not know is [`Self::Other`].
    pub fn from_number(number: u32) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or_default()
    }
}
