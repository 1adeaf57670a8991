//! Keep-alives on their way to whoever leads.

use crate::node::exchange::{Reign, ToApplier};
use crate::node::request::{Origin, Refusal, Response};
use oarlock_state::limits::SESSIONS_PER_ENTRY_MAX;
use oarlock_state::{NodeId, Rejection, SessionId};
use std::collections::BTreeMap;

/// Keep-alives of this node that are not answered. They travel to the leader in batches, also when
/// the leader is this node. A batch that is not answered in time, or that another leader should
/// answer, is sent again.
#[derive(Debug, Default)]
pub(super) struct Alive {
    waiting: Vec<Asked>,
    batches: BTreeMap<u64, Batch>,
    last_batch: u64,
    asked: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) session: SessionId,
    pub(super) origin: Origin,
    /// Only how long it has left is asked.
    pub(super) look: bool,
    pub(super) deadline_us: u64,
    pub(super) timeout_ms: u64,
}

/// What is sent to the leader at once.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) batch: u64,
    pub(super) sessions: Vec<SessionId>,
    pub(super) look: bool,
}

#[derive(Debug)]
struct Batch {
    reign: Reign,
    sent_us: u64,
    asked: BTreeMap<SessionId, Vec<Asked>>,
}

impl Alive {
    pub(super) fn len(&self) -> usize {
        self.asked
    }

    pub(super) fn add(&mut self, asked: Asked) {
        self.asked += 1;
        self.waiting.push(asked);
    }

    /// What is to be sent to the leader now: signs of life, and looks, in batches of their own.
    pub(super) fn take_batches(&mut self, reign: Reign, now_us: u64) -> Vec<Parcel> {
        if reign.leader.get() == 0 || self.waiting.is_empty() {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut self.waiting);
        let (looks, signs): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|asked| asked.look);
        let mut sent = Vec::new();
        for part in signs.chunks(SESSIONS_PER_ENTRY_MAX).chain(looks.chunks(SESSIONS_PER_ENTRY_MAX)) {
            self.last_batch += 1;
            let mut asked: BTreeMap<SessionId, Vec<Asked>> = BTreeMap::new();
            for one in part {
                asked.entry(one.session).or_default().push(*one);
            }
            let (sessions, look) = (asked.keys().copied().collect(), part.iter().all(|one| one.look));
            sent.push(Parcel { batch: self.last_batch, sessions, look });
            self.batches.insert(self.last_batch, Batch { reign, sent_us: now_us, asked });
        }
        sent
    }

    /// The leader answered for some sessions of a batch.
    pub(super) fn answered(&mut self, batch: u64, answers: &[(SessionId, u64)]) -> Vec<ToApplier> {
        let mut replies = Vec::new();
        let Some(found) = self.batches.get_mut(&batch) else {
            return replies;
        };
        for (session, valid_for_ms) in answers {
            for asked in found.asked.remove(session).unwrap_or_default() {
                self.asked -= 1;
                let result = match *valid_for_ms {
                    0 => Err(Refusal::Rejected(Rejection::SessionNotFound { session: *session })),
                    left_ms if asked.look => Ok(Response::TimeLeft { left_ms }),
                    valid_for_ms => Ok(Response::Alive { valid_for_ms }),
                };
                replies.push(ToApplier::Reply { origin: asked.origin, result });
            }
        }
        if found.asked.is_empty() {
            self.batches.remove(&batch);
        }
        replies
    }

    /// A batch was refused: its receiver does not lead. It is sent again at the next tick, not now:
    /// it would only be refused again.
    pub(super) fn refused(&mut self, batch: u64) {
        if let Some(found) = self.batches.get_mut(&batch) {
            found.sent_us = 0;
        }
    }

    /// Takes back the batches of another reign, and those sent before `since_us`.
    pub(super) fn take_back(&mut self, reign: Reign, since_us: u64) {
        let stale = |batch: &Batch| batch.reign != reign || batch.sent_us < since_us;
        let batches: Vec<u64> =
            self.batches.iter().filter(|(_, batch)| stale(batch)).map(|(number, _)| *number).collect();
        for batch in batches {
            let found = self.batches.remove(&batch);
            self.waiting.extend(found.into_iter().flat_map(|batch| batch.asked.into_values().flatten()));
        }
    }

    /// Refuses what waited too long.
    pub(super) fn expire(&mut self, now_us: u64, leader: NodeId) -> Vec<ToApplier> {
        let mut refused = Vec::new();
        let asked_count = &mut self.asked;
        let mut is_live = |asked: &Asked| {
            let late = asked.deadline_us <= now_us;
            if late {
                *asked_count -= 1;
                let after_ms = asked.timeout_ms;
                let refusal =
                    if leader.get() == 0 { Refusal::NoLeader } else { Refusal::TimedOut { after_ms } };
                refused.push(ToApplier::Reply { origin: asked.origin, result: Err(refusal) });
            }
            !late
        };
        self.waiting.retain(&mut is_live);
        for batch in self.batches.values_mut() {
            batch.asked.retain(|_, asked| {
                asked.retain(&mut is_live);
                !asked.is_empty()
            });
        }
        self.batches.retain(|_, batch| !batch.asked.is_empty());
        refused
    }
}
