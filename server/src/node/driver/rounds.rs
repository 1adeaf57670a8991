//! Rounds of leadership confirmation, which serve reads, keep-alives and followers alike.
//!
//! There is one round at a time. Whoever comes while it runs waits for the next, because a round
//! says something only about what came before it began. Each attempt has a context of its own that
//! is never used again; one that fails or takes too long is forgotten, and those who waited for it
//! join the next.

use crate::node::exchange::{Reign, TimeLimit, ToApplier};
use crate::node::request::{Origin, Refusal};
use oarlock_state::{Caller, NodeId, Query};

/// Who waits for a confirmed index.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    /// A read of this node.
    Read { origin: Origin, caller: Caller, query: Query },
    /// The members after a change of them.
    Members { origin: Origin, added: NodeId },
    /// A follower, with its own context.
    Peer { node: NodeId, context: u64 },
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) asker: Asker,
    pub(super) limit: TimeLimit,
}

/// A round that runs.
#[derive(Debug)]
struct Flight {
    context: u64,
    began_us: u64,
    reign: Reign,
    askers: Vec<Waiting>,
}

/// A confirmed round.
#[derive(Debug)]
pub(super) struct Confirmed {
    /// Its number.
    pub(super) round: u64,
    pub(super) began_us: u64,
    pub(super) askers: Vec<Waiting>,
}

/// All rounds of this node.
#[derive(Debug)]
pub(super) struct Rounds {
    waiting: Vec<Waiting>,
    flight: Option<Flight>,
    /// A round is wanted even if nobody waits for its index.
    wanted: bool,
    next_context: u64,
    /// Rounds begun.
    begun: u64,
    /// When the last confirmed round began, and what was committed then.
    pub(super) last: Option<(u64, u64)>,
}

impl Rounds {
    /// `boot` makes the contexts of this life unlike those of an earlier one.
    pub(super) fn new(boot: u64) -> Self {
        Self {
            waiting: Vec::new(),
            flight: None,
            wanted: false,
            next_context: boot.rotate_left(24) & !0xff_ffff,
            begun: 0,
            last: None,
        }
    }

    /// Those that wait, those of the running round included.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.flight.as_ref().map_or(0, |flight| flight.askers.len())
    }

    pub(super) fn ask(&mut self, asker: Waiting) {
        self.waiting.push(asker);
    }

    /// Has a round begin even if nobody waits for its index. Returns its number.
    pub(super) fn want(&mut self) -> u64 {
        self.wanted = true;
        self.begun + 1
    }

    /// The context for a round that should begin now; none if one runs or nobody wants one.
    pub(super) fn next(&mut self) -> Option<u64> {
        if self.flight.is_some() || (self.waiting.is_empty() && !self.wanted) {
            return None;
        }
        self.next_context = self.next_context.wrapping_add(1);
        Some(self.next_context)
    }

    /// The round of this context runs.
    pub(super) fn begin(&mut self, context: u64, reign: Reign, now_us: u64) {
        self.begun += 1;
        self.wanted = false;
        let askers = std::mem::take(&mut self.waiting);
        self.flight = Some(Flight { context, began_us: now_us, reign, askers });
    }

    /// A round is confirmed: everything up to `index` was committed when it began.
    pub(super) fn confirm(&mut self, context: u64, index: u64) -> Option<Confirmed> {
        let flight = self.flight.take_if(|flight| flight.context == context)?;
        self.last = self.last.max(Some((flight.began_us, index)));
        Some(Confirmed { round: self.begun, began_us: flight.began_us, askers: flight.askers })
    }

    /// A round failed.
    pub(super) fn fail(&mut self, context: u64) {
        if let Some(flight) = self.flight.take_if(|flight| flight.context == context) {
            self.again(flight);
        }
    }

    /// A round was refused by whoever was asked. It is given up at the next tick, not now: asking
    /// again at once would only be refused again.
    pub(super) fn refused(&mut self, context: u64) {
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.context == context) {
            flight.began_us = 0;
        }
    }

    /// Gives up a round that was begun before `since_us` or under another reign.
    pub(super) fn give_up(&mut self, reign: Reign, since_us: u64) {
        if let Some(flight) =
            self.flight.take_if(|flight| flight.reign != reign || flight.began_us < since_us)
        {
            self.again(flight);
        }
    }

    fn again(&mut self, flight: Flight) {
        let newer = std::mem::replace(&mut self.waiting, flight.askers);
        self.waiting.extend(newer);
        // Keep-alives that counted on the failed round are confirmed by any later one.
        self.wanted = true;
    }

    /// This node does not lead: followers that asked it must ask another. Returns them.
    pub(super) fn refuse_peers(&mut self) -> Vec<(NodeId, u64)> {
        let peer = |waiting: &Waiting| match waiting.asker {
            Asker::Peer { node, context } => Some((node, context)),
            Asker::Read { .. } | Asker::Members { .. } => None,
        };
        let refused = self.waiting.iter().filter_map(peer).collect();
        self.waiting.retain(|waiting| peer(waiting).is_none());
        self.wanted = false;
        refused
    }

    /// Refuses what waited too long.
    pub(super) fn expire(&mut self, now_us: u64, leader: NodeId) -> Vec<ToApplier> {
        let mut refused = Vec::new();
        let mut is_live = |waiting: &Waiting| {
            let TimeLimit { deadline_us, timeout_ms: after_ms } = waiting.limit;
            let late = deadline_us <= now_us;
            let refusal = match waiting.asker {
                // The change that they were asked after was made.
                Asker::Members { origin, .. } => Some((origin, Refusal::Unknown { after_ms })),
                Asker::Read { origin, .. } if leader.get() == 0 => Some((origin, Refusal::NoLeader)),
                Asker::Read { origin, .. } => Some((origin, Refusal::TimedOut { after_ms })),
                Asker::Peer { .. } => None,
            };
            if let Some((origin, refusal)) = refusal.filter(|_| late) {
                refused.push(ToApplier::Reply { origin, result: Err(refusal) });
            }
            !late
        };
        self.waiting.retain(&mut is_live);
        if let Some(flight) = &mut self.flight {
            flight.askers.retain(&mut is_live);
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(context: u64) -> Waiting {
        let asker = Asker::Peer { node: NodeId(2), context };
        Waiting { asker, limit: TimeLimit { deadline_us: 1_000, timeout_ms: 1 } }
    }

    #[test]
    fn late_comers_wait_for_the_next_round() {
        let mut rounds = Rounds::new(7);
        assert_eq!(rounds.next(), None);
        rounds.ask(peer(1));
        let first = rounds.next().expect("somebody waits");
        rounds.begin(first, Reign::default(), 10);
        rounds.ask(peer(2));
        assert_eq!(rounds.want(), 2, "the running round does not count");
        assert_eq!(rounds.next(), None, "one at a time");
        let confirmed = rounds.confirm(first, 5).expect("it runs");
        assert_eq!((confirmed.round, confirmed.askers.len()), (1, 1));
        let second = rounds.next().expect("the late comer waits");
        assert_ne!(first, second);
    }

    #[test]
    fn a_failed_round_is_repeated_under_another_context() {
        let mut rounds = Rounds::new(7);
        rounds.ask(peer(1));
        let first = rounds.next().expect("somebody waits");
        rounds.begin(first, Reign::default(), 10);
        rounds.give_up(Reign::default(), 11);
        assert!(rounds.confirm(first, 5).is_none(), "a late answer says nothing");
        let second = rounds.next().expect("it waits still");
        assert_ne!(first, second);
    }
}
