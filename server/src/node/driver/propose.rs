//! From the gathered writes to the log.

use super::Driver;
use crate::consensus::NotProposed;
use crate::node::exchange::{OWN_BUSINESS, ToApplier};
use crate::node::io::Now;
use crate::node::request::Refusal;
use oarlock_state::{Caller, Command, Proposal, ProposalId};

/// Log entries, or messages to the leader, made from the gathered writes in one round.
const BATCHES_PER_ROUND: usize = 16;
/// Commands of the leader's own account in one entry.
const OWN_PER_ENTRY: usize = 64;

/// How an entry is put together: own commands first, then what was forwarded, then local writes.
struct Parts {
    own: usize,
    relayed: usize,
    relayed_bytes: usize,
    local: usize,
}

impl Driver {
    /// Hands out what was gathered: into the log on the leader, to the leader elsewhere.
    pub(super) fn propose(&mut self, now: Now, to_applier: &mut Vec<ToApplier>) {
        let leads = self.leads();
        if !leads && self.reign.leader.get() == 0 {
            return;
        }
        for _ in 0..BATCHES_PER_ROUND {
            let more = if leads { self.propose_batch(now, to_applier) } else { self.forward_batch(now) };
            if !more {
                return;
            }
        }
    }

    /// Proposes one entry; returns whether another may follow.
    fn propose_batch(&mut self, now: Now, to_applier: &mut Vec<ToApplier>) -> bool {
        let (batch, parts) = self.gather(now);
        if batch.is_empty() {
            return false;
        }
        match self.replica.propose(now.wall_ms, batch) {
            Ok(()) => {
                self.writes.hand(self.reign.term, parts.local);
                self.one_by_one &= parts.local == 0;
                true
            }
            Err((batch, refused)) => {
                self.put_back(batch, &parts, refused, to_applier);
                false
            }
        }
    }

    /// Takes together what goes into the next entry. After an entry was too large, only things of
    /// one kind, and one local write at a time, so that the culprit is found.
    fn gather(&mut self, now: Now) -> (Vec<Proposal>, Parts) {
        let bytes_max = self.options.batch_bytes_max;
        let id = ProposalId { node: self.options.node, boot: OWN_BUSINESS, count: now.mono_us };
        let own = self.own.len().min(OWN_PER_ENTRY);
        let mut batch: Vec<Proposal> = self.own.drain(..own).map(|command| unnamed(id, command)).collect();
        let (mut relayed, mut relayed_bytes) = (Vec::new(), 0);
        if !self.one_by_one || batch.is_empty() {
            let most = if self.one_by_one { 0 } else { bytes_max };
            (relayed, relayed_bytes) = self.relayed.take(most);
        }
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("forwards_overtake") {
            relayed.reverse();
        }
        let relayed_count = relayed.len();
        batch.append(&mut relayed);
        let mut local = 0;
        if !self.one_by_one || batch.is_empty() {
            let most = if self.one_by_one { 0 } else { bytes_max };
            let mut writes = self.writes.next_batch(self.reign.term, most);
            local = writes.len();
            batch.append(&mut writes);
        }
        (batch, Parts { own, relayed: relayed_count, relayed_bytes, local })
    }

    /// Nothing of a batch was proposed: all of it waits for a better moment, except for what can
    /// never be proposed.
    fn put_back(
        &mut self,
        mut batch: Vec<Proposal>,
        parts: &Parts,
        refused: NotProposed,
        to_applier: &mut Vec<ToApplier>,
    ) {
        let is_too_large = match refused {
            NotProposed::TooLarge { .. } => true,
            NotProposed::NotLeader { .. }
            | NotProposed::Transferring { .. }
            | NotProposed::Removed
            | NotProposed::Full
            | NotProposed::Refused { .. } => false,
        };
        let found = is_too_large && self.one_by_one;
        self.one_by_one |= is_too_large;
        batch.truncate(parts.own + parts.relayed);
        let relayed = batch.split_off(parts.own);
        if found && parts.relayed > 0 {
            // Its sender hears of it no more; whoever waits is told "unknown" in time.
            slog::error!(self.logger, "forwarded proposals are too large"; "reason" => %refused);
        } else {
            self.relayed.put_back(relayed, parts.relayed_bytes);
        }
        for proposal in batch.into_iter().rev() {
            self.own.push_front(proposal.command);
        }
        if found
            && parts.local == 1
            && let Some(count) = self.writes.reject_first()
        {
            let refusal = Refusal::Invalid { what: refused.to_string() };
            to_applier.push(ToApplier::GiveUp { count, refusal });
        }
    }

    /// Forwards one batch; returns whether another may follow.
    fn forward_batch(&mut self, now: Now) -> bool {
        let batch = self.writes.next_batch(self.reign.term, self.options.batch_bytes_max);
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return false;
        };
        let (first, last) = (first.id.count, last.id.count);
        let sequence = self.sender.send(self.reign.term, first, last, now.mono_us);
        self.post_forward(sequence, &batch);
        self.writes.hand(self.reign.term, batch.len());
        true
    }
}

fn unnamed(id: ProposalId, command: Command) -> Proposal {
    Proposal { id, request: None, idempotency: None, guards: Vec::new(), caller: Caller::Server, command }
}
