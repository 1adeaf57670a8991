//! Changing who belongs to the cluster, safely.

use super::options::CAUGHT_UP_ENTRIES;
use super::{MembershipProposal, NotProposed, PeerProgress, Replica, conf};
use crate::log_format::encode_membership;
use oarlock_state::NodeId;
use oarlock_state::command::{Member, Obstacle};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};
use std::collections::BTreeSet;

impl Replica {
    /// Proposes a change of the membership. Changes of a single voter are made in one step, larger
    /// ones through a joint configuration that is left by itself. There is one change at a time.
    ///
    /// The caller knows its change by the id in the [`Membership`] entry that is handed out.
    ///
    /// [`Membership`]: oarlock_state::EntryBody::Membership
    ///
    /// # Errors
    /// Nothing was proposed; the reason says what would have been wrong and what to do.
    pub fn propose_membership(&mut self, change: MembershipProposal) -> Result<(), NotProposed> {
        self.assert_idle();
        self.may_propose()?;
        // A new leader may not know the latest configuration yet, and two that overlap in no
        // majority would both be valid.
        if !self.raw.raft.commit_to_current_term() {
            return Err(NotProposed::hindered(
                Obstacle::NotNow,
                "the leader has not committed in its own term yet; retry in a moment",
            ));
        }
        let conf = self.raw.raft.prs().conf().to_conf_state();
        if self.raw.raft.has_pending_conf() || !conf.voters_outgoing.is_empty() {
            return Err(NotProposed::hindered(
                Obstacle::NotNow,
                "another change of the membership is under way; retry when it is done",
            ));
        }
        let raft_log = &self.raw.raft.raft_log;
        let situation = Situation {
            node: self.options.node,
            conf: &conf,
            peers: &self.progress(),
            committed: raft_log.committed,
        };
        let singles = situation.check(&change)?;
        let mut order = ConfChangeV2::default();
        order.set_changes(singles);
        order.set_context(encode_membership(&change).into());
        let proposed = self.raw.propose_conf_change(Vec::new(), order);
        self.pin_timeout();
        proposed.map_err(|_| NotProposed::Full)
    }

    /// The learners that lack so little that they could be made voters, in order of id. Empty on
    /// other members than the leader.
    pub fn caught_up_learners(&self) -> Vec<NodeId> {
        let conf = self.raw.raft.prs().conf().to_conf_state();
        let peers = self.progress();
        let committed = self.raw.raft.raft_log.committed;
        let situation = Situation { node: self.options.node, conf: &conf, peers: &peers, committed };
        let learners = peers.iter().map(|peer| peer.node).filter(|node| conf.learners.contains(&node.get()));
        learners.filter(|node| situation.check_caught_up(*node).is_ok()).collect()
    }
}

/// What decides whether a change is safe.
struct Situation<'a> {
    /// The leader.
    node: NodeId,
    conf: &'a ConfState,
    /// All other members.
    peers: &'a [PeerProgress],
    committed: u64,
}

impl Situation<'_> {
    /// The change in Raft's words.
    fn check(&self, change: &MembershipProposal) -> Result<Vec<ConfChangeSingle>, NotProposed> {
        self.check_named_once(change)?;
        let mut singles = Vec::new();
        let mut voters: BTreeSet<u64> = self.conf.voters.iter().copied().collect();
        for member in &change.put {
            let kind = self.check_put(member)?;
            match kind {
                ConfChangeType::AddNode => voters.insert(member.node.get()),
                ConfChangeType::AddLearnerNode | ConfChangeType::RemoveNode => {
                    voters.remove(&member.node.get())
                }
            };
            singles.push(single(member.node, kind));
        }
        for node in &change.remove {
            if !conf::holds(self.conf, node.get()) {
                return Err(NotProposed::hindered(
                    Obstacle::NoSuchMember,
                    format!("member {node} is not in the cluster; nothing to remove"),
                ));
            }
            voters.remove(&node.get());
            singles.push(single(*node, ConfChangeType::RemoveNode));
        }
        self.check_quorum(&voters)?;
        Ok(singles)
    }

    fn check_named_once(&self, change: &MembershipProposal) -> Result<(), NotProposed> {
        let named = change.put.iter().map(|member| member.node).chain(change.remove.iter().copied());
        let mut seen = BTreeSet::new();
        for node in named {
            if node.get() == 0 {
                return Err(NotProposed::refused("no member has the id 0"));
            }
            if !seen.insert(node) {
                return Err(NotProposed::refused(format!("member {node} is named twice in one change")));
            }
        }
        if seen.is_empty() {
            return Err(NotProposed::refused("the change names no member"));
        }
        Ok(())
    }

    fn check_put(&self, member: &Member) -> Result<ConfChangeType, NotProposed> {
        let (node, id) = (member.node, member.node.get());
        let votes = self.conf.voters.contains(&id);
        let learns = self.conf.learners.contains(&id);
        match (member.learner, votes, learns) {
            (true, true, _) | (true, false, false) => Ok(ConfChangeType::AddLearnerNode),
            (true, false, true) => Err(NotProposed::refused(format!("member {node} is a learner already"))),
            (false, true, _) => {
                Err(NotProposed::hindered(Obstacle::NoLearner, format!("member {node} is a voter already")))
            }
            (false, false, true) => {
                self.check_caught_up(node)?;
                Ok(ConfChangeType::AddNode)
            }
            (false, false, false) => Err(NotProposed::refused(format!(
                "member {node} is unknown; add it as a learner first and promote it when it has caught up"
            ))),
        }
    }

    fn check_caught_up(&self, node: NodeId) -> Result<(), NotProposed> {
        let peer = self.peers.iter().find(|peer| peer.node == node);
        let matched = peer.map_or(0, |peer| peer.matched);
        let is_there = peer.is_some_and(|peer| peer.active && !peer.snapshot && peer.matched > 0);
        if is_there && matched + CAUGHT_UP_ENTRIES >= self.committed {
            return Ok(());
        }
        Err(NotProposed::hindered(
            Obstacle::LearnerBehind,
            format!(
                "learner {node} has not caught up: it holds {matched} of {} entries{}. Wait, then promote it",
                self.committed,
                if is_there { "" } else { " and was not heard of lately, or waits for a snapshot" },
            ),
        ))
    }

    /// Refuses a change after which the members that are reachable now would be no quorum.
    fn check_quorum(&self, voters: &BTreeSet<u64>) -> Result<(), NotProposed> {
        if voters.is_empty() {
            return Err(NotProposed::hindered(
                Obstacle::LastVoter,
                "the last voter cannot be removed; stop the cluster instead",
            ));
        }
        if self.conf.voters.len() == voters.len() && self.conf.voters.iter().all(|id| voters.contains(id)) {
            return Ok(());
        }
        let is_there = |id: &&u64| {
            **id == self.node.get() || self.peers.iter().any(|peer| peer.node.get() == **id && peer.active)
        };
        let (reachable, quorum) = (voters.iter().filter(is_there).count(), voters.len() / 2 + 1);
        if reachable < quorum {
            return Err(NotProposed::hindered(
                Obstacle::QuorumLost,
                format!(
                    "only {reachable} of the {} voters after this change can be reached, and {quorum} are needed: \
                 the cluster would stop. Bring back or remove the unreachable ones first",
                    voters.len(),
                ),
            ));
        }
        Ok(())
    }
}

fn single(node: NodeId, kind: ConfChangeType) -> ConfChangeSingle {
    let mut single = ConfChangeSingle { node_id: node.get(), ..ConfChangeSingle::default() };
    single.set_change_type(kind);
    single
}
