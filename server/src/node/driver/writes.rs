//! Writes between their door and the log.
//!
//! ```text
//! admitted ──► queued ──hand out in term t──► handed ──► applied
//!                ▲                              │
//!                └── an entry of a later term was applied: it is lost for certain
//! ```
//!
//! **Why lost is certain.** A write is handed out for one term only: this node proposes it as that
//! term's leader, or forwards it to that term's leader, which refuses it in any other term. So its
//! entry, if there is one, is of that term. Terms never fall along the log, so once an entry of a
//! later term is applied and the write was not, it never will be. It is handed out again, in the old
//! order and before everything newer; the caller notices only the delay. This needs no exactly-once
//! name. The exception is a snapshot, which hides the entries it covers: then a write with a name is
//! repeated under it, and any other one is reported as unknown. If a write that came later turns out
//! to be applied first, the snapshot holds the earlier one: nobody repeats it any more, and it is
//! reported as unknown as well.
//!
//! **Order.** Nothing is handed out in a new term while something of an old one is undecided, so
//! the writes of a connection enter the log in the order in which they came.

use crate::node::exchange::ToApplier;
use crate::node::request::Refusal;
use oarlock_state::{NodeId, Proposal};
use std::collections::VecDeque;

/// A write that waits for its outcome.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) proposal: Proposal,
    /// Microseconds on the monotonic clock.
    pub(super) deadline_us: u64,
    pub(super) timeout_ms: u64,
    /// Bytes that it counts.
    pub(super) weight: usize,
    /// Whoever waited was told "unknown". It is kept only until its fate is known.
    abandoned: bool,
    /// It was handed out before a snapshot took the place of the state, and may be in it.
    hidden: bool,
}

impl Pending {
    pub(super) fn new(proposal: Proposal, deadline_us: u64, timeout_ms: u64, weight: usize) -> Self {
        Self { proposal, deadline_us, timeout_ms, weight, abandoned: false, hidden: false }
    }

    pub(super) fn count(&self) -> u64 {
        self.proposal.id.count
    }

    fn has_name(&self) -> bool {
        self.proposal.request.is_some() || self.proposal.idempotency.is_some()
    }
}

/// All writes of this node that are under way, oldest first.
#[derive(Debug, Default)]
pub(super) struct Writes {
    queued: VecDeque<Pending>,
    handed: VecDeque<Pending>,
    /// The term in which `handed` were handed out.
    term: u64,
    bytes: usize,
}

impl Writes {
    pub(super) fn len(&self) -> usize {
        self.queued.len() + self.handed.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn add(&mut self, write: Pending) {
        self.bytes += write.weight;
        self.queued.push_back(write);
    }

    /// The next writes to hand out in `term`, up to about `bytes_max` bytes; empty if there are none,
    /// or if some of an earlier term are undecided. To be confirmed by [`hand`](Self::hand).
    pub(super) fn next_batch(&self, term: u64, bytes_max: usize) -> Vec<Proposal> {
        if !self.handed.is_empty() && self.term != term {
            return Vec::new();
        }
        let mut bytes = 0;
        let fits = |write: &&Pending| {
            let first = bytes == 0;
            bytes += write.weight;
            first || bytes <= bytes_max
        };
        self.queued.iter().take_while(fits).map(|write| write.proposal.clone()).collect()
    }

    /// The first `count` of the queue were handed out in `term`. With none, what an earlier term was
    /// given stays that term's: it would not be missed otherwise when this term's entries come.
    pub(super) fn hand(&mut self, term: u64, count: usize) {
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("adopt_old_writes") {
            self.term = term;
        }
        if count == 0 {
            return;
        }
        assert!(self.handed.is_empty() || self.term == term, "some of an earlier term are undecided");
        self.term = term;
        self.handed.extend(self.queued.drain(..count));
    }

    /// Takes out the first of the queue, which can never be proposed.
    pub(super) fn reject_first(&mut self) -> Option<u64> {
        let write = self.queued.pop_front()?;
        self.bytes -= write.weight;
        Some(write.count())
    }

    /// What was handed out between these counts, to be sent again.
    pub(super) fn handed_between(&self, first: u64, last: u64) -> Vec<Proposal> {
        let from = self.handed.partition_point(|write| write.count() < first);
        let wanted = self.handed.range(from..).take_while(|write| write.count() <= last);
        wanted.map(|write| write.proposal.clone()).collect()
    }

    /// Everything up to an entry of `term` was applied, and with it this node's proposals up to the
    /// count `own`. Returns what those are told that wait in vain: the snapshot holds their outcome.
    pub(super) fn applied(&mut self, term: u64, own: Option<u64>, now_us: u64) -> Vec<ToApplier> {
        let mut hidden = Vec::new();
        let own = own.unwrap_or(0);
        while let Some(write) = self.handed.pop_front_if(|write| write.count() <= own) {
            self.bytes -= write.weight;
            // Whoever was answered with this entry waits no more and is not told anything.
            if write.hidden && !write.abandoned {
                hidden.push(write.unknown(now_us));
            }
        }
        if term > self.term {
            self.take_back(|_| true);
        }
        hidden
    }

    /// A snapshot of `term` took the place of the state, and may hold what was handed out. What has
    /// a name is handed out again; returns the refusals for the rest.
    pub(super) fn skipped(&mut self, now_us: u64) -> Vec<ToApplier> {
        let mut lost = Vec::new();
        self.take_back(|write| {
            write.hidden = true;
            if !write.has_name() {
                lost.push(write.unknown(now_us));
            }
            write.has_name()
        });
        lost
    }

    /// Puts what was handed out back before the queue, unless nobody waits or `keep` says no.
    fn take_back(&mut self, mut keep: impl FnMut(&mut Pending) -> bool) {
        while let Some(mut write) = self.handed.pop_back() {
            if !write.abandoned && keep(&mut write) {
                self.queued.push_front(write);
            } else {
                self.bytes -= write.weight;
            }
        }
    }

    /// Refuses what waited too long; `leader` decides how.
    pub(super) fn expire(&mut self, now_us: u64, leader: NodeId) -> Vec<ToApplier> {
        let mut refused = Vec::new();
        for write in &mut self.handed {
            if write.deadline_us <= now_us && !write.abandoned {
                write.abandoned = true;
                refused.push(write.unknown(now_us));
            }
        }
        let bytes = &mut self.bytes;
        self.queued.retain(|write| {
            let late = write.deadline_us <= now_us;
            if late {
                *bytes -= write.weight;
                refused.push(write.not_proposed(leader));
            }
            !late
        });
        refused
    }
}

impl Pending {
    fn unknown(&self, now_us: u64) -> ToApplier {
        let left_ms = self.deadline_us.saturating_sub(now_us) / 1_000;
        let after_ms = self.timeout_ms.saturating_sub(left_ms);
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("unknown_as_not_proposed") {
            return self.not_proposed(NodeId(0));
        }
        ToApplier::GiveUp { count: self.count(), refusal: Refusal::Unknown { after_ms } }
    }

    fn not_proposed(&self, leader: NodeId) -> ToApplier {
        let refusal = if leader.get() == 0 {
            Refusal::NoLeader
        } else {
            let reason = format!("the leader took no new writes for {} ms", self.timeout_ms);
            Refusal::NotProposed { reason }
        };
        ToApplier::GiveUp { count: self.count(), refusal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::{Caller, Command, ProposalId, RequestId, SessionId};

    fn write(count: u64) -> Pending {
        let id = ProposalId { node: NodeId(1), boot: 1, count };
        let command = Command::TouchSessions { sessions: vec![SessionId(count)] };
        let (request, idempotency, guards) = (None, None, Vec::new());
        let proposal = Proposal { id, request, idempotency, guards, caller: Caller::Server, command };
        Pending::new(proposal, 1_000, 1, 1)
    }

    #[test]
    fn an_entry_without_local_writes_does_not_adopt_those_of_an_earlier_term() {
        let mut writes = Writes::default();
        writes.add(write(1));
        writes.hand(2, 1);
        writes.add(write(2));
        // The new leader proposes what others forwarded before it applied an entry of its term.
        assert!(writes.next_batch(3, 100).is_empty(), "the first is undecided");
        writes.hand(3, 0);
        assert!(writes.next_batch(3, 100).is_empty(), "it is so still");
        assert!(writes.applied(3, None, 0).is_empty());
        let counts: Vec<_> = writes.next_batch(3, 100).iter().map(|proposal| proposal.id.count).collect();
        assert_eq!(counts, [1, 2], "the first was lost, and goes before the second");
    }

    #[test]
    fn a_write_that_a_snapshot_holds_is_not_waited_for_when_a_later_one_is_applied() {
        let mut writes = Writes::default();
        for count in 1..=3 {
            let mut named = write(count);
            named.proposal.request =
                Some(RequestId { session: SessionId(1), sequence: count, acked_up_to: 0 });
            writes.add(named);
        }
        writes.hand(2, 2);
        assert!(writes.skipped(0).is_empty(), "both have names");
        assert_eq!(writes.next_batch(2, 100).len(), 3, "they are repeated");
        writes.hand(2, 3);
        let counts: Vec<u64> = (writes.applied(2, Some(2), 0).iter())
            .map(|told| match told {
                ToApplier::GiveUp { count, refusal: Refusal::Unknown { .. } } => *count,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts, [1, 2], "the applier knows which of them it has answered");
        assert!(writes.applied(2, Some(3), 0).is_empty(), "the third was handed out once");
        assert!(writes.is_empty() && writes.bytes() == 0);
    }
}
