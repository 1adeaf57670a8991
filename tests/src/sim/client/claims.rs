//! What a client does with locks and elections: it asks, waits, hears, holds, writes under its token,
//! lets go; or it dies and somebody else has to notice.

use super::claim::{Belief, Claimed};
use super::listener::Listener;
use super::{CALLS_MAX, Client, Desk, Purpose, RETAIN_MS};
use crate::history::{Fate, put, value_of};
use crate::sim::objects;
use crate::sim::queue::{MS, Time};
use crate::sim::workload::protected;
use bytes::Bytes;
use oarlock_server::node::request::{Request, Response, WatchFrame, Write};
use oarlock_state::command::{Guard, IdempotencyKey, ReplyBody};
use oarlock_state::object::{Claim, Mode, ObjectError, ObjectKind, ObjectOp, ObjectReply};
use oarlock_state::{Command, Rejection, Reply, RequestId, Revision};
use std::collections::BTreeMap;

/// Claims that a client has at most.
const CLAIMS_MAX: usize = 3;

/// A client's claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    last_request: u64,
    by_request: BTreeMap<u64, Claimed>,
    /// What it held when its session was lost: a paused holder goes on under that token.
    ghost: Option<Guard>,
}

/// What a request is to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Ask,
    Cancel,
    Release { names: Vec<Bytes> },
    Handoff,
    Regrade { to: Mode },
    Write,
    Other,
}

impl Claims {
    /// A claim that something is to be done with. Who begins nothing new lets go of everything, and
    /// waits for the rest.
    fn due(&self, now: Time, active: bool) -> Option<u64> {
        let is_due = |claimed: &Claimed| match claimed.belief {
            Belief::Waiting => {
                let gives_up = active && claimed.lets_go <= now;
                claimed.unsure || gives_up || claimed.asks_again.is_some_and(|at| at <= now)
            }
            Belief::Holding { .. } => claimed.unsure || !active || claimed.lets_go <= now,
            Belief::Asked | Belief::Gone => false,
        };
        self.by_request.iter().find(|(_, claimed)| !claimed.is_asking && is_due(claimed)).map(|(n, _)| *n)
    }
}

impl Client {
    /// What it knows to hold.
    pub fn known_claims(&self) -> impl Iterator<Item = Claim> {
        let holds = |claimed: &&Claimed| matches!(claimed.belief, Belief::Holding { .. });
        self.claims.by_request.values().filter(holds).map(Claimed::claim)
    }

    /// A claim that was granted without its client having heard of it, or that is not let go yet.
    pub fn open_claim(&self, holders: &BTreeMap<(Bytes, Claim), u64>) -> Option<String> {
        let is_open = |claimed: &&Claimed| match claimed.belief {
            Belief::Waiting => {
                claimed.unsure
                    || claimed.names.iter().any(|name| holders.contains_key(&(name.clone(), claimed.claim())))
            }
            Belief::Asked | Belief::Holding { .. } => true,
            Belief::Gone => false,
        };
        let open = self.claims.by_request.values().find(is_open)?;
        Some(format!("client {} has not heard of, or not let go of {open:?}", self.number))
    }

    /// Listens, asks again, gives up, lets go: whatever is due.
    pub(super) fn tend_claims(&mut self, desk: &mut Desk<'_>) {
        let number = self.number;
        for claimed in self.claims.by_request.values_mut() {
            if let Some(listener) = &mut claimed.listener {
                listener.tend(desk, &mut self.chance, number);
            }
        }
        self.drop_gone_claims(desk);
        while self.calls.len() < CALLS_MAX
            && !self.is_closing()
            && let Some(request) = self.claims.due(desk.now, self.active)
        {
            self.let_go_or_ask(desk, request);
        }
    }

    fn drop_gone_claims(&mut self, desk: &mut Desk<'_>) {
        self.claims.by_request.retain(|_, claimed| {
            let stays = claimed.is_asking || claimed.belief != Belief::Gone;
            if !stays && let Some(listener) = &mut claimed.listener {
                listener.close(desk);
            }
            stays
        });
    }

    fn let_go_or_ask(&mut self, desk: &mut Desk<'_>, request: u64) {
        let Some(mut claimed) = self.claims.by_request.remove(&request) else { return };
        let name = claimed.names.first().cloned().unwrap_or_default();
        let holds = matches!(claimed.belief, Belief::Holding { .. });
        let (op, step) = if claimed.unsure || (!holds && self.active && claimed.lets_go <= desk.now) {
            (ObjectOp::Cancel { name, claim: claimed.claim() }, Step::Cancel)
        } else if holds {
            let all = claimed.names.len() <= 1 || self.chance.one_in(2);
            let names = if all { claimed.names.clone() } else { claimed.names[..1].to_vec() };
            let holds = names.iter().map(|name| claimed.held(name)).collect();
            claimed.stop(desk);
            (ObjectOp::Release { holds }, Step::Release { names })
        } else {
            desk.stats.count("lock: asked again");
            let pause = self.chance.between(200, 1_500) * MS;
            claimed.asks_again = claimed.polls.then_some(desk.now + pause);
            (ObjectOp::Acquire(claimed.acquire.clone()), Step::Ask)
        };
        self.ask_for(desk, request, claimed, op, step);
    }

    /// Sends a request of a claim.
    fn ask_for(&mut self, desk: &mut Desk<'_>, request: u64, mut claimed: Claimed, op: ObjectOp, step: Step) {
        if let Some(name) = self.next_name() {
            claimed.is_asking = true;
            let write = Write { request: Some(name), ..Write::of(Command::Object(op)) };
            self.ask(desk, Request::Write(write), Purpose::Claim { request, step });
        }
        self.claims.by_request.insert(request, claimed);
    }

    /// Begins something with locks.
    pub(super) fn begin_claim(&mut self, desk: &mut Desk<'_>) {
        let Some(session) = self.session.as_ref().filter(|_| !self.is_closing()).map(|session| session.id)
        else {
            return;
        };
        if let Some(ghost) = self.claims.ghost.clone().filter(|_| self.chance.one_in(6)) {
            return self.write_under(desk, ghost, Purpose::Ghost, None);
        }
        let idle = |claimed: &&Claimed| !claimed.is_asking && claimed.token().is_some();
        let idle: Vec<u64> =
            self.claims.by_request.values().filter(idle).map(|claimed| claimed.claim().request).collect();
        if self.claims.by_request.len() < CLAIMS_MAX && (idle.is_empty() || self.chance.one_in(3)) {
            self.claims.last_request += 1;
            let request = self.claims.last_request;
            let acquire = objects::acquire(&mut self.chance, Claim { session, request });
            let claimed = Claimed::new(acquire.clone(), &mut self.chance, desk.now);
            desk.stats.count("lock: asked");
            return self.ask_for(desk, request, claimed, ObjectOp::Acquire(acquire), Step::Ask);
        }
        if !idle.is_empty() {
            let request = *self.chance.pick(&idle);
            self.use_claim(desk, request);
        }
    }

    /// Does something with a hold.
    fn use_claim(&mut self, desk: &mut Desk<'_>, request: u64) {
        let Some(mut claimed) = self.claims.by_request.remove(&request) else { return };
        let name = claimed.names.first().cloned().unwrap_or_default();
        let held = claimed.held(&name);
        let (op, step) = match (self.chance.below(12), claimed.kind(), claimed.rival) {
            (0, ObjectKind::Election, _) => {
                let metadata = value_of(desk.history.len() as u64 + 1);
                (ObjectOp::Proclaim { held, metadata }, Step::Other)
            }
            (1 | 2, ObjectKind::Election, Some(to)) => {
                claimed.stop(desk);
                (ObjectOp::Handoff { held, to }, Step::Handoff)
            }
            (0..3, ObjectKind::ReadWrite, _) if claimed.acquire.parts.len() == 1 => {
                if claimed.mode == Mode::Exclusive {
                    claimed.stop(desk);
                    (ObjectOp::Downgrade(held), Step::Regrade { to: Mode::Shared })
                } else {
                    (ObjectOp::Upgrade(held), Step::Regrade { to: Mode::Exclusive })
                }
            }
            (3, _, _) => {
                let lock_delay_ms = objects::lock_delay(&mut self.chance);
                (ObjectOp::SetLockDelay { held, lock_delay_ms }, Step::Other)
            }
            (4, _, _) => {
                let name = objects::any(&mut self.chance);
                let (by, reason) = (format!("client {}", self.number), "urgent".to_owned());
                (ObjectOp::RequestRevocation { name, by, reason }, Step::Other)
            }
            (5, _, Some(claim)) if self.chance.one_in(4) => (ObjectOp::Revoke { name, claim }, Step::Other),
            _ => {
                let guard = Guard { scope: objects::scope(&name, claimed.kind()), token: held.token };
                claimed.is_asking = true;
                self.claims.by_request.insert(request, claimed);
                let (purpose, name) = (Purpose::Claim { request, step: Step::Write }, self.next_name());
                return self.write_under(desk, guard, purpose, name);
            }
        };
        self.ask_for(desk, request, claimed, op, step);
    }

    /// Writes what an object protects, under a name of the session or under one of its own.
    fn write_under(&mut self, desk: &mut Desk<'_>, guard: Guard, purpose: Purpose, name: Option<RequestId>) {
        let number = desk.history.len() as u64 + 1;
        let key = protected(&Bytes::from(guard.scope.to_string()));
        let command = Command::Txn(put(&key, value_of(number)));
        let own = || IdempotencyKey { key: number.to_string().into(), retain_ms: RETAIN_MS };
        let idempotency = if name.is_none() { Some(own()) } else { None };
        let write = Write { request: name, idempotency, guards: vec![guard], ..Write::of(command) };
        self.ask(desk, Request::Write(write), purpose);
    }

    /// The first thing that a process does when it gets the processor back: it goes on.
    pub(super) fn go_on(&mut self, desk: &mut Desk<'_>) {
        let Some(ghost) = self.ghost() else { return };
        desk.stats.count("lock: went on after a freeze");
        self.write_under(desk, ghost, Purpose::Ghost, None);
    }

    /// Something that it believes to hold.
    fn ghost(&self) -> Option<Guard> {
        let claimed = self.claims.by_request.values().find(|claimed| claimed.token().is_some())?;
        let scope = objects::scope(claimed.names.first()?, claimed.kind());
        Some(Guard { scope, token: claimed.token()? })
    }

    /// Its session is lost, or given up: so is every claim.
    pub(super) fn abandon_claims(&mut self, desk: &mut Desk<'_>) {
        self.claims.ghost = self.ghost().or(self.claims.ghost.take());
        for (_, mut claimed) in std::mem::take(&mut self.claims.by_request) {
            claimed.stop(desk);
            if let Some(listener) = &mut claimed.listener {
                listener.close(desk);
            }
        }
    }

    /// It dies: nothing is remembered, not even that it held something.
    pub(super) fn forget_claims(&mut self) {
        let last_request = self.claims.last_request;
        self.claims = Claims { last_request, ..Claims::default() };
    }

    /// A request under an old token was answered.
    pub(super) fn ghost_answered(&mut self, desk: &mut Desk<'_>, fate: &Fate) {
        if let Fate::Rejected(Rejection::Fenced { .. }) = fate {
            desk.stats.count("lock: stale writer fenced");
            self.claims.ghost = None;
        }
    }

    /// A request of a claim was answered.
    pub(super) fn claim_answered(&mut self, desk: &mut Desk<'_>, request: u64, step: &Step, fate: &Fate) {
        let Some(mut claimed) = self.claims.by_request.remove(&request) else { return };
        claimed.is_asking = false;
        match fate {
            Fate::Done(Response::Written(reply)) => self.claim_done(desk, &mut claimed, step, reply),
            Fate::Rejected(Rejection::Object(error)) => self.claim_refused(desk, &mut claimed, error),
            Fate::Rejected(Rejection::Fenced { .. }) => {
                desk.stats.count("lock: fenced");
                claimed.lets_go = desk.now;
            }
            // Its session is gone.
            _ if claimed.belief == Belief::Asked => claimed.believe(desk, &mut self.chance, Belief::Gone),
            _ => {}
        }
        self.claims.by_request.insert(request, claimed);
        self.drop_gone_claims(desk);
    }

    fn claim_done(&mut self, desk: &mut Desk<'_>, claimed: &mut Claimed, step: &Step, reply: &Reply) {
        let chance = &mut self.chance;
        let at = reply.revision.get();
        match (step, &reply.body) {
            (Step::Ask | Step::Regrade { .. }, ReplyBody::Object(ObjectReply::Granted { token })) => {
                desk.stats.count(match (step, claimed.belief) {
                    (Step::Regrade { .. }, _) => "lock: up- or downgraded",
                    (_, Belief::Asked) => "lock: granted at once",
                    (_, _) => "lock: told of the grant",
                });
                if let Step::Regrade { to } = step {
                    claimed.mode = *to;
                }
                claimed.replied(desk, chance, at, Belief::Holding { token: *token });
            }
            (Step::Ask, ReplyBody::Object(ObjectReply::Queued { .. })) => {
                desk.stats.count("lock: queued");
                claimed.replied(desk, chance, at, Belief::Waiting);
            }
            (Step::Handoff, _) => {
                desk.stats.count("lock: handed off");
                claimed.replied(desk, chance, at, Belief::Waiting);
            }
            (Step::Cancel, _) => {
                desk.stats.count("lock: cancelled");
                claimed.believe(desk, chance, Belief::Gone);
            }
            (Step::Release { names }, _) => {
                desk.stats.count("lock: released");
                claimed.names.retain(|name| !names.contains(name));
                if claimed.names.is_empty() {
                    claimed.believe(desk, chance, Belief::Gone);
                }
            }
            (Step::Ask | Step::Regrade { .. } | Step::Write | Step::Other, _) => {}
        }
    }

    fn claim_refused(&mut self, desk: &mut Desk<'_>, claimed: &mut Claimed, error: &ObjectError) {
        let chance = &mut self.chance;
        match error {
            ObjectError::AlreadyGranted { token, .. } => {
                desk.stats.count("lock: granted before it was cancelled");
                claimed.unsure = false;
                claimed.replied(desk, chance, token.get(), Belief::Holding { token: *token });
                claimed.lets_go = desk.now;
            }
            ObjectError::NotHeld { name, token, .. } if *token != Revision(0) => {
                desk.stats.count("lock: not held any more");
                if claimed.acquire.parts.len() > 1 {
                    claimed.drop_name(desk, name);
                    claimed.lets_go = desk.now;
                } else {
                    // A leader that was preempted stands again.
                    claimed.stop(desk);
                    claimed.unsure = true;
                }
                if claimed.names.is_empty() {
                    claimed.believe(desk, chance, Belief::Gone);
                }
            }
            ObjectError::NotCandidate { .. } => {
                let belief = claimed.belief;
                claimed.hold(desk, belief);
                claimed.rival = None;
            }
            ObjectError::Busy { .. } => {
                desk.stats.count("lock: busy");
                claimed.believe(desk, chance, Belief::Gone);
            }
            ObjectError::NotWaiting { claim, .. } if *claim == claimed.claim() => {
                claimed.believe(desk, chance, Belief::Gone);
            }
            // An operator took one of several away while nobody listened.
            ObjectError::ClaimInUse { .. } => {
                claimed.believe(desk, chance, Belief::Gone);
                self.close_session(desk);
            }
            _ => {}
        }
    }

    /// A connection that one of its claims listens on.
    pub(super) fn listens_on(&self, conn: u64) -> Option<u64> {
        let listens = |claimed: &&Claimed| claimed.listener.as_ref().is_some_and(|it| it.is_at(conn));
        self.claims.by_request.values().find(listens).map(|claimed| claimed.claim().request)
    }

    /// A frame of a listening claim came.
    pub(super) fn claim_frame(&mut self, desk: &mut Desk<'_>, request: u64, frame: &WatchFrame) {
        let Some(mut claimed) = self.claims.by_request.remove(&request) else { return };
        if let Some(listener) = &mut claimed.listener {
            let heard = listener.frame(desk, frame);
            for event in &heard.events {
                claimed.heard(desk, &mut self.chance, event);
            }
            if heard.missed {
                desk.stats.count("lock: missed for a compaction");
                claimed.listener = None;
                (claimed.asks_again, claimed.lets_go) = (Some(desk.now), desk.now);
            }
        }
        self.claims.by_request.insert(request, claimed);
        self.drop_gone_claims(desk);
    }

    /// The connection of a listening claim broke, or its watch was refused.
    pub(super) fn claim_unheard(&mut self, request: u64) {
        let claimed = self.claims.by_request.get_mut(&request);
        if let Some(listener) = claimed.and_then(|claimed| claimed.listener.as_mut()) {
            Listener::lost(listener);
        }
    }
}
