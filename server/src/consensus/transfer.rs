//! Handing leadership over.

use super::options::CAUGHT_UP_ENTRIES;
use super::{NotProposed, Replica};
use oarlock_state::NodeId;

impl Replica {
    /// Hands leadership to a voter. Until it is done, or an election timeout has passed, nothing
    /// is proposed; so a member that looks dead or far behind is refused.
    ///
    /// # Errors
    /// Leadership stays here.
    pub fn transfer_leader(&mut self, to: NodeId) -> Result<(), NotProposed> {
        self.assert_idle();
        self.may_propose()?;
        self.check_successor(to)?;
        self.raw.transfer_leader(to.get());
        self.pin_timeout();
        Ok(())
    }

    /// Hands leadership to whichever voter is most up to date, and says to whom. For a leader whose
    /// disk stalls, or that stops.
    ///
    /// # Errors
    /// Leadership stays here; there may be nobody fit to take it.
    pub fn abdicate(&mut self) -> Result<NodeId, NotProposed> {
        self.may_propose()?;
        let successor = self
            .best_successor()
            .ok_or_else(|| NotProposed::refused("no other voter is reachable and up to date"))?;
        self.transfer_leader(successor).map(|()| successor)
    }

    /// A leader that lost its vote by a committed change stops leading at once, and calls the best
    /// voter to election. The raft crate would let it go on, and panics at the next answer to a
    /// leader that is no member.
    pub(super) fn step_down_without_vote(&mut self) {
        let raft = &self.raw.raft;
        if !self.leads() || raft.prs().conf().voters().contains(raft.id) {
            return;
        }
        let (term, successor) = (raft.term, self.best_successor());
        if let Some(successor) = successor {
            self.raw.raft.send_timeout_now(successor.get());
        }
        self.raw.raft.become_follower(term, raft::INVALID_ID);
        slog::info!(self.logger, "leader without a vote steps down"; "term" => term, "successor" => ?successor);
    }

    /// The voter that lacks the fewest entries among those that could take over.
    pub(super) fn best_successor(&self) -> Option<NodeId> {
        let fit = self.progress().into_iter().filter(|peer| self.check_successor(peer.node).is_ok());
        // Of equals, the one with the lowest id.
        fit.rev().max_by_key(|peer| peer.matched).map(|peer| peer.node)
    }

    fn check_successor(&self, to: NodeId) -> Result<(), NotProposed> {
        let id = to.get();
        if to == self.options.node {
            return Err(NotProposed::refused(format!("member {to} leads already")));
        }
        let raft = &self.raw.raft;
        if !raft.prs().conf().voters().contains(id) {
            return Err(NotProposed::refused(format!("member {to} has no vote, so it cannot lead")));
        }
        if !self.is_active(id) {
            return Err(NotProposed::refused(format!(
                "member {to} was not heard of lately; nothing could be written while it is waited for"
            )));
        }
        let lacks = raft.raft_log.last_index() - raft.prs().get(id).map_or(0, |progress| progress.matched);
        if lacks > CAUGHT_UP_ENTRIES {
            return Err(NotProposed::refused(format!(
                "member {to} lacks {lacks} entries; wait until it has caught up"
            )));
        }
        Ok(())
    }
}
