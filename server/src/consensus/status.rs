//! What a replica knows of itself and, if it leads, of the others.

use super::Replica;
use crate::consensus::conf;
use oarlock_state::NodeId;
use raft::{ProgressState, StateRole};

/// What part a node plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Receives the log without a vote.
    Learner,
}

/// How far a peer is, as its leader knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerProgress {
    /// The peer.
    pub node: NodeId,
    /// Highest index known to be in its log.
    pub matched: u64,
    /// Heard of within the last election timeout.
    pub active: bool,
    /// A snapshot is on its way.
    pub snapshot: bool,
}

/// Who leads, as far as this replica knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// This replica's part.
    pub role: Role,
    /// The current term.
    pub term: u64,
    /// The leader; zero if unknown.
    pub leader: NodeId,
    /// This replica leads and has committed an entry of its own term: it knows what is committed.
    pub committed_in_term: bool,
    /// This replica leads and is handing over to this member.
    pub transferring: Option<NodeId>,
    /// A committed entry removed this replica from the cluster. It neither votes nor proposes any
    /// more; stop it.
    pub removed: bool,
}

/// Where the log begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogNumbers {
    /// First index held.
    pub first: u64,
    /// Last index, durable or not.
    pub last: u64,
    /// Highest index known to be committed.
    pub committed: u64,
    /// Highest index that the caller reported as applied.
    pub applied: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Replica {
    /// Who leads, as far as this replica knows.
    pub fn leadership(&self) -> Leadership {
        let raft = &self.raw.raft;
        let leads = self.leads();
        Leadership {
            role: self.role(),
            term: raft.term,
            leader: NodeId(raft.leader_id),
            committed_in_term: leads && raft.commit_to_current_term(),
            transferring: raft.lead_transferee.filter(|_| leads).map(NodeId),
            removed: self.removed,
        }
    }

    /// On the leader, how far every other member is, in order of id; elsewhere nothing.
    pub fn progress(&self) -> Vec<PeerProgress> {
        if !self.leads() {
            return Vec::new();
        }
        let others = self.raw.raft.prs().iter().filter(|(id, _)| **id != self.raw.raft.id);
        let mut peers: Vec<PeerProgress> = others
            .map(|(id, progress)| PeerProgress {
                node: NodeId(*id),
                matched: progress.matched,
                active: self.is_active(*id),
                snapshot: progress.state == ProgressState::Snapshot,
            })
            .collect();
        peers.sort_by_key(|peer| peer.node);
        peers
    }

    /// Where the log begins and ends.
    pub fn numbers(&self) -> LogNumbers {
        let raft_log = &self.raw.raft.raft_log;
        LogNumbers {
            first: raft_log.first_index(),
            last: raft_log.last_index(),
            committed: raft_log.committed,
            applied: raft_log.applied,
            bytes: self.log().size_bytes(),
        }
    }

    /// The configuration as of the last entry handed out, encoded by [`conf`].
    pub fn conf_state(&self) -> bytes::Bytes {
        conf::encode(&self.raw.raft.prs().conf().to_conf_state())
    }

    pub(super) fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Who leads, if somebody does.
    pub(super) fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raw.raft.leader_id)).filter(|leader| leader.get() != 0)
    }

    /// Whether the peer was heard of within the last election timeout. The raft crate's own mark
    /// is cleared at each quorum check, which would make everybody look dead for a moment.
    pub(super) fn is_active(&self, id: u64) -> bool {
        let window = self.options.election_ticks as u64;
        id == self.raw.raft.id || self.heard.get(&id).is_some_and(|tick| self.ticks - tick < window)
    }

    fn role(&self) -> Role {
        let raft = &self.raw.raft;
        match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower if raft.prs().conf().learners().contains(&raft.id) => Role::Learner,
            StateRole::Follower => Role::Follower,
        }
    }
}
