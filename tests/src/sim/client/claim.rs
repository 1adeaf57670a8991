//! One claim on locks, or on the lead, as its client knows it.
//!
//! What a reply says and what the watch says may come in any order. Both name a revision, and the
//! later one is believed.

use super::listener::Listener;
use crate::checks::lock_exclusive::Tenure;
use crate::sim::chance::Chance;
use crate::sim::desk::Desk;
use crate::sim::queue::{MS, Time};
use bytes::Bytes;
use oarlock_state::Revision;
use oarlock_state::event::{Event, EventKind};
use oarlock_state::object::{Acquire, Claim, Held, Mode, ObjectEvent, ObjectKind};

/// What a client believes of its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// It has asked, and was not answered.
    Asked,
    /// It waits in the queue.
    Waiting,
    /// It holds.
    Holding { token: Revision },
    /// It has no place any more.
    Gone,
}

/// A claim.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) acquire: Acquire,
    pub(super) belief: Belief,
    /// How it holds; a read/write lock's holder may change it.
    pub(super) mode: Mode,
    /// Those of its objects that it has still.
    pub(super) names: Vec<Bytes>,
    /// Revision up to which replies told.
    replied_at: u64,
    /// Revision up to which events told.
    heard_at: u64,
    /// Holds that are written down as held still.
    tenures: Vec<(Bytes, usize)>,
    /// A request of it is under way.
    pub(super) is_asking: bool,
    /// Only a cancellation tells where it stands.
    pub(super) unsure: bool,
    /// When it gives up, waiting or holding.
    pub(super) lets_go: Time,
    /// It asks whether it was granted, and does not listen.
    pub(super) polls: bool,
    /// When it asks again.
    pub(super) asks_again: Option<Time>,
    pub(super) listener: Option<Listener>,
    /// Another claim on the same object, heard of last.
    pub(super) rival: Option<Claim>,
}

impl Claimed {
    /// A claim that is about to be made.
    pub(super) fn new(acquire: Acquire, chance: &mut Chance, now: Time) -> Self {
        // A leader may be sent back to the queue, which only a watch tells.
        let polls = acquire.parts[0].kind != ObjectKind::Election && chance.one_in(4);
        Self {
            belief: Belief::Asked,
            mode: acquire.parts[0].mode,
            names: acquire.parts.iter().map(|part| part.name.clone()).collect(),
            replied_at: 0,
            heard_at: 0,
            tenures: Vec::new(),
            is_asking: false,
            unsure: false,
            lets_go: now,
            polls,
            asks_again: polls.then_some(now),
            listener: None,
            rival: None,
            acquire,
        }
    }

    pub(super) fn claim(&self) -> Claim {
        self.acquire.claim
    }

    pub(super) fn kind(&self) -> ObjectKind {
        self.acquire.parts[0].kind
    }

    /// The token, while it holds and has not begun to let go.
    pub(super) fn token(&self) -> Option<Revision> {
        match self.belief {
            Belief::Holding { token } if !self.tenures.is_empty() => Some(token),
            Belief::Asked | Belief::Waiting | Belief::Holding { .. } | Belief::Gone => None,
        }
    }

    /// Its hold of one object.
    pub(super) fn held(&self, name: &Bytes) -> Held {
        let token = match self.belief {
            Belief::Holding { token } => token,
            Belief::Asked | Belief::Waiting | Belief::Gone => Revision(0),
        };
        Held { name: name.clone(), claim: self.claim(), token }
    }

    /// A reply of a revision says where it stands.
    pub(super) fn replied(&mut self, desk: &mut Desk<'_>, chance: &mut Chance, at: u64, belief: Belief) {
        if at >= self.heard_at {
            self.replied_at = self.replied_at.max(at);
            self.believe(desk, chance, belief);
        }
        if !self.polls && self.listener.is_none() {
            self.asks_again = None;
            self.listener = Some(Listener::new(self.acquire.parts[0].name.clone(), at));
        }
    }

    /// An event of the object that it listens to.
    pub(super) fn heard(&mut self, desk: &mut Desk<'_>, chance: &mut Chance, event: &Event) {
        let EventKind::Object(what) = &event.kind else { return };
        let own = self.claim();
        if let ObjectEvent::Queued { claim, .. } = what
            && *claim != own
        {
            self.rival = Some(*claim);
        }
        if let ObjectEvent::RevocationRequested { .. } = what
            && self.token().is_some()
            && chance.one_in(2)
        {
            desk.stats.count("lock: gave way");
            self.lets_go = desk.now;
        }
        if event.revision.get() <= self.replied_at {
            return;
        }
        let belief = match what {
            ObjectEvent::Queued { claim, .. } if *claim == own => Belief::Waiting,
            ObjectEvent::Granted { claim, .. } if *claim == own => {
                desk.stats.count("lock: heard of the grant");
                Belief::Holding { token: event.revision }
            }
            ObjectEvent::Changed { claim, token, mode } if *claim == own => {
                self.mode = *mode;
                Belief::Holding { token: *token }
            }
            ObjectEvent::Left { claim, .. } if *claim == own => Belief::Gone,
            ObjectEvent::Lost { claim, .. } if *claim == own => {
                desk.stats.count("lock: heard of the loss");
                self.drop_name(desk, &event.key);
                if self.names.is_empty() || self.acquire.parts.len() == 1 {
                    Belief::Gone
                } else {
                    self.lets_go = desk.now;
                    self.belief
                }
            }
            _ => return,
        };
        self.heard_at = event.revision.get();
        self.believe(desk, chance, belief);
    }

    /// One of several objects is not held any more.
    pub(super) fn drop_name(&mut self, desk: &mut Desk<'_>, name: &Bytes) {
        if self.acquire.parts.len() > 1 {
            self.names.retain(|other| other != name);
        }
        for (of, tenure) in &self.tenures {
            if of == name {
                desk.tenures[*tenure].until = Some(desk.now);
            }
        }
        self.tenures.retain(|(of, _)| of != name);
    }

    /// Believes something from now on.
    pub(super) fn believe(&mut self, desk: &mut Desk<'_>, chance: &mut Chance, belief: Belief) {
        let before = std::mem::replace(&mut self.belief, belief);
        self.unsure = false;
        match belief {
            Belief::Holding { .. } => {
                let has_same =
                    self.tenures.first().is_some_and(|(_, of)| desk.tenures[*of].mode == self.mode);
                if before != belief || !(has_same || self.acquire.parts.len() > 1) {
                    self.stop(desk);
                    self.hold(desk, belief);
                    self.lets_go = desk.now + chance.exponential(600 * MS);
                }
            }
            Belief::Waiting => {
                self.stop(desk);
                if before != belief {
                    self.lets_go = desk.now + chance.exponential(8_000 * MS);
                }
            }
            Belief::Asked | Belief::Gone => self.stop(desk),
        }
    }

    /// Counts itself as a holder from now on.
    pub(super) fn hold(&mut self, desk: &mut Desk<'_>, belief: Belief) {
        let Belief::Holding { token } = belief else { return };
        for part in self.acquire.parts.iter().filter(|part| self.names.contains(&part.name)) {
            let mode = if self.acquire.parts.len() == 1 { self.mode } else { part.mode };
            self.tenures.push((part.name.clone(), desk.tenures.len()));
            desk.tenures.push(Tenure {
                name: part.name.clone(),
                kind: part.kind,
                claim: self.acquire.claim,
                mode,
                token: token.get(),
                from: desk.now,
                until: None,
            });
        }
    }

    /// Counts itself as a holder no longer.
    pub(super) fn stop(&mut self, desk: &mut Desk<'_>) {
        for (_, tenure) in self.tenures.drain(..) {
            desk.tenures[tenure].until = Some(desk.now);
        }
    }
}
