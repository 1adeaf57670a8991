//! A client: it asks, waits, gives up, asks again elsewhere, and writes down what it was told.
//!
//! With a session it names its writes and repeats them until it knows their outcome, keeps the
//! session alive, takes locks and writes under their tokens. Without, it asks once.
//!
//! Modules: `arrival` (what comes over connections), `session` (opening, keeping alive), `claims` (what
//! it does with locks and elections), `claim` (what it knows of one), `listener` (the watch of one).

mod arrival;
mod claim;
mod claims;
mod listener;
mod session;

use self::arrival::Arrival;
use self::claims::{Claims, Step};
use self::session::Session;
use super::chance::Chance;
pub use super::desk::Desk;
use super::desk::outcome_name;
use super::queue::{MS, SECOND, Time};
use super::workload;
use crate::checks::session_not_early::Promise;
use crate::history::{Fate, Operation};
use bytes::Bytes;
use oarlock_server::node::request::{
    Certainty, Consistency, Refusal, Request, Response, Result as Answered, Write,
};
use oarlock_state::command::{Guard, IdempotencyKey, OutcomeOf, ReplyBody, TokenScope};
use oarlock_state::{Command, Query, Rejection, Revision, SessionId};
use std::collections::BTreeMap;

/// Requests that a client has under way at most.
const CALLS_MAX: usize = 4;

/// Milliseconds for which idempotency keys are remembered: longer than clocks may jump.
const RETAIN_MS: u64 = 3_600_000;

/// What kind of client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has a session and writes under names.
    Session,
    /// Has a session and fights for locks and elections.
    Claimant,
    /// Has none and asks once.
    Raw,
    /// Watches.
    Watcher,
    /// Does nothing: it was left out.
    Absent,
}

/// A client.
pub struct Client {
    /// Its number.
    pub number: u64,
    kind: Kind,
    chance: Chance,
    link: Option<Link>,
    calls: BTreeMap<u64, Call>,
    next_tag: u64,
    session: Option<Session>,
    opens: u64,
    /// A lock that it took: key and token. Kept beyond the session's end, as a paused holder does.
    lock: Option<(Bytes, Revision)>,
    /// Highest revision that it was told.
    known: u64,
    watch: super::watcher::Watcher,
    claims: Claims,
    /// It begins new operations.
    pub active: bool,
    /// It shows no sign of life until then.
    pub silent_until: Time,
    /// It gets no processor until then.
    pub frozen_until: Time,
    /// What came meanwhile.
    backlog: Vec<Arrival>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    conn: u64,
    node: u64,
}

#[derive(Debug)]
struct Call {
    operation: usize,
    conn: u64,
    sent: Time,
    deadline: Time,
    /// When it is sent again; it waits for no answer until then.
    again_at: Option<Time>,
    /// Some attempt may have had an effect.
    doubtful: bool,
    purpose: Purpose,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Open {
        principal: String,
    },
    KeepAlive,
    Close,
    Plain,
    Lock {
        key: Bytes,
    },
    Unlock,
    /// Of a claim on locks, or on the lead.
    Claim {
        request: u64,
        step: Step,
    },
    /// Under the token of a hold that may be lost.
    Ghost,
}

impl Client {
    /// A client of a kind.
    pub fn new(number: u64, kind: Kind, mut chance: Chance) -> Self {
        let watch = super::watcher::Watcher::new(number, chance.fork());
        Self {
            number,
            kind,
            chance,
            link: None,
            calls: BTreeMap::new(),
            next_tag: 1,
            session: None,
            opens: 0,
            lock: None,
            known: 0,
            watch,
            claims: Claims::default(),
            active: true,
            silent_until: 0,
            frozen_until: 0,
            backlog: Vec::new(),
        }
    }

    /// Whether it waits for something.
    pub fn is_busy(&self) -> bool {
        !self.calls.is_empty()
    }

    /// What it waits for, for messages.
    pub fn waits_for(&self, history: &[Operation]) -> String {
        let calls = self.calls.values().map(|call| format!("{call:?} {:?}", history[call.operation]));
        format!("client {}: {}", self.number, calls.collect::<Vec<_>>().join("; "))
    }

    /// Lets go of the session without closing it: it must end by itself.
    pub fn forget_session(&mut self) {
        self.session = None;
        self.forget_claims();
    }

    /// The process dies, and another one begins that knows nothing. What it asked for may still happen.
    pub fn die(&mut self, desk: &mut Desk<'_>) {
        if self.kind == Kind::Watcher {
            return;
        }
        self.calls.clear();
        self.hang_up(desk);
        self.abandon_claims(desk);
        self.forget_session();
        self.lock = None;
    }

    /// Watches only: everything up to this revision was delivered.
    pub fn watched_through(&self) -> Option<u64> {
        (self.kind == Kind::Watcher).then(|| self.watch.through())
    }

    /// Time passed: gives up, asks again, begins something new.
    pub fn wake(&mut self, desk: &mut Desk<'_>) {
        if desk.now < self.frozen_until || self.kind == Kind::Absent {
            return;
        }
        if !self.backlog.is_empty() {
            self.go_on(desk);
        }
        for arrival in std::mem::take(&mut self.backlog) {
            self.arrive(desk, arrival);
        }
        if self.kind == Kind::Watcher {
            return self.watch.wake(desk);
        }
        self.overdue(desk);
        self.repeat(desk);
        if matches!(self.kind, Kind::Session | Kind::Claimant) && desk.now >= self.silent_until {
            self.tend_session(desk);
        }
        self.tend_claims(desk);
        if self.active && self.calls.len() < CALLS_MAX {
            self.begin(desk);
        }
    }

    /// Gives up on what took too long: nobody knows whether it happened.
    fn overdue(&mut self, desk: &mut Desk<'_>) {
        let late: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| call.again_at.is_none() && call.deadline <= desk.now)
            .map(|(tag, _)| *tag)
            .collect();
        if late.is_empty() {
            return;
        }
        self.hang_up(desk);
        for tag in late {
            desk.stats.count("client: gave up waiting");
            self.conclude(desk, tag, Err(Refusal::Unknown { after_ms: 0 }));
        }
    }

    fn hang_up(&mut self, desk: &mut Desk<'_>) {
        let Some(link) = self.link.take() else { return };
        desk.closes.push(link.conn);
        // Their answers went to the connection that is gone.
        let of_link = |call: &Call| call.conn == link.conn && call.again_at.is_none();
        let open: Vec<u64> =
            self.calls.iter().filter(|(_, call)| of_link(call)).map(|(tag, _)| *tag).collect();
        for tag in open {
            self.conclude(desk, tag, Err(Refusal::Unknown { after_ms: 0 }));
        }
    }

    fn repeat(&mut self, desk: &mut Desk<'_>) {
        let due = |call: &Call| call.again_at.is_some_and(|at| at <= desk.now);
        let mut tags: Vec<u64> =
            self.calls.iter().filter(|(_, call)| due(call)).map(|(tag, _)| *tag).collect();
        tags.sort_unstable();
        for tag in tags {
            let Some(mut call) = self.calls.remove(&tag) else { continue };
            let operation = &mut desk.history[call.operation];
            operation.attempts += 1;
            let mut request = operation.request.clone();
            if let (Request::Write(write), Some(session)) = (&mut request, &self.session)
                && let Some(name) = &mut write.request
            {
                name.acked_up_to = session.acked.min(name.sequence - 1);
            }
            desk.stats.count("client: repeated");
            call.again_at = None;
            self.send(desk, call, request);
        }
    }

    /// Begins an operation.
    fn begin(&mut self, desk: &mut Desk<'_>) {
        let number = desk.history.len() as u64 + 1;
        if self.kind == Kind::Claimant && !self.chance.one_in(8) {
            return self.begin_claim(desk);
        }
        if self.chance.one_in(3) {
            let (query, consistency) = workload::read(&mut self.chance, self.known);
            return self.ask(desk, Request::Read { query, consistency, timeout_ms: 0 }, Purpose::Plain);
        }
        match self.kind {
            Kind::Watcher | Kind::Absent => {}
            Kind::Raw => {
                let command = workload::command(desk.menu, &mut self.chance, number, SessionId(0));
                let key = || IdempotencyKey { key: number.to_string().into(), retain_ms: RETAIN_MS };
                let idempotency = self.chance.one_in(3).then(key);
                self.ask(desk, Request::Write(Write { idempotency, ..Write::of(command) }), Purpose::Plain);
            }
            Kind::Session | Kind::Claimant => self.begin_named(desk, number),
        }
    }

    fn begin_named(&mut self, desk: &mut Desk<'_>, number: u64) {
        let Some(session) = &self.session else { return };
        let owner = session.id;
        if self.chance.one_in(60) {
            return self.close_session(desk);
        }
        let (command, guards, purpose) = match (&self.lock, self.chance.below(6)) {
            (None, 0) => {
                let key = workload::lock(&mut self.chance);
                (Command::Txn(workload::acquire(&key, number, owner)), Vec::new(), Purpose::Lock { key })
            }
            (Some((key, token)), 0 | 1) => {
                let guard = Guard { scope: TokenScope::Key(key.clone()), token: *token };
                let txn = crate::history::put(&workload::protected(key), crate::history::value_of(number));
                (Command::Txn(txn), vec![guard], Purpose::Plain)
            }
            (Some((key, token)), 2) if self.chance.one_in(3) => {
                let guard = Guard { scope: TokenScope::Key(key.clone()), token: *token };
                (Command::Txn(crate::history::delete(key)), vec![guard], Purpose::Unlock)
            }
            _ => (workload::command(desk.menu, &mut self.chance, number, owner), Vec::new(), Purpose::Plain),
        };
        let Some(request) = self.next_name() else { return };
        let write = Write { request: Some(request), guards, ..Write::of(command) };
        self.ask(desk, Request::Write(write), purpose);
    }

    /// Asks something new.
    fn ask(&mut self, desk: &mut Desk<'_>, request: Request, purpose: Purpose) {
        let operation = desk.history.len();
        desk.history.push(Operation {
            number: operation as u64 + 1,
            client: self.number,
            node: 0,
            invoked: desk.now,
            returned: None,
            request: request.clone(),
            attempts: 1,
            fate: Fate::Pending,
        });
        let call =
            Call { operation, conn: 0, sent: 0, deadline: 0, again_at: None, doubtful: false, purpose };
        self.send(desk, call, request);
    }

    /// Asks a certain member, over a connection of its own.
    pub fn ask_of(&mut self, desk: &mut Desk<'_>, node: u64, request: Request) {
        if self.link.is_none_or(|link| link.node != node) {
            *desk.next_conn += 1;
            self.link = Some(Link { conn: *desk.next_conn, node });
        }
        self.ask(desk, request, Purpose::Plain);
    }

    fn send(&mut self, desk: &mut Desk<'_>, mut call: Call, request: Request) {
        if self.link.is_none() && !desk.nodes.is_empty() {
            let node = *self.chance.pick(desk.nodes);
            *desk.next_conn += 1;
            self.link = Some(Link { conn: *desk.next_conn, node });
        }
        call.sent = desk.now;
        call.deadline = desk.now + self.chance.between(500, 8_000) * MS;
        let tag = self.next_tag;
        self.next_tag += 1;
        if let Some(link) = self.link {
            call.conn = link.conn;
            desk.history[call.operation].node = link.node;
            desk.sends.push((link.node, link.conn, tag, request));
        }
        self.calls.insert(tag, call);
    }

    /// Decides what an answer means: the outcome, or another attempt.
    fn conclude(&mut self, desk: &mut Desk<'_>, tag: u64, result: Answered) {
        let Some(mut call) = self.calls.remove(&tag) else { return };
        desk.stats.count(outcome_name(&result));
        let may_repeat = self.may_repeat(&desk.history[call.operation].request);
        if let Err(refusal) = &result
            && refusal.certainty() != Certainty::Rejected
            && !matches!(refusal, Refusal::Invalid { .. })
        {
            call.doubtful |= refusal.certainty() == Certainty::Unknown;
            if !matches!(refusal, Refusal::Unknown { .. }) && self.chance.one_in(2) {
                // Another member may know better. What is under way here is asked again there.
                self.hang_up(desk);
            }
            if may_repeat {
                call.again_at = Some(desk.now + self.chance.between(1, 300) * MS);
                self.calls.insert(tag, call);
                return;
            }
        }
        self.finish(desk, call, result);
    }

    /// Reads and named requests have no second effect. A write of a session that is gone is not
    /// repeated: its outcome would be "no such session" whatever happened before.
    fn may_repeat(&self, request: &Request) -> bool {
        match request {
            Request::Write(write) => match write.request {
                Some(name) => self.session.as_ref().is_some_and(|session| session.id == name.session),
                None => write.idempotency.is_some(),
            },
            Request::Read { .. } => true,
            Request::KeepAlive { .. }
            | Request::SessionTimeLeft { .. }
            | Request::Watch(_)
            | Request::CancelWatch
            | Request::WatchProgress
            | Request::ConnProgress
            | Request::Admin(_)
            | Request::Status => false,
        }
    }

    fn finish(&mut self, desk: &mut Desk<'_>, call: Call, result: Answered) {
        let mut fate = Fate::of(result);
        let lost = matches!(&fate, Fate::Rejected(Rejection::SessionNotFound { .. }));
        if call.doubtful && (lost || matches!(fate, Fate::NotDone(_))) {
            fate = Fate::Unknown; // an earlier attempt may have been executed
        }
        let operation = &mut desk.history[call.operation];
        operation.returned = Some(desk.now);
        operation.fate = fate;
        let through_leader = desk.leaders.contains_key(&operation.node);
        desk.coverage.answered(operation, through_leader, desk.now);
        if let Request::Write(Write { request: Some(name), .. }) = &operation.request
            && let Some(session) = self.session.as_mut().filter(|session| session.id == name.session)
        {
            session.finish(name.sequence);
        }
        let told = operation.reply().map(|reply| reply.revision.get()).or(operation.ranged().map(|(_, r)| r));
        self.known = self.known.max(told.unwrap_or(0));
        let fate = operation.fate.clone();
        if lost {
            desk.stats.count("client: session lost");
            self.session = None;
            self.abandon_claims(desk);
        }
        self.ask_outcome(desk, call.operation, &fate);
        self.follow_up(desk, &call, &fate);
    }

    /// What became of a write whose session is gone: the cluster still knows.
    fn ask_outcome(&mut self, desk: &mut Desk<'_>, operation: usize, fate: &Fate) {
        let Some(name) = desk.history[operation].write().and_then(|write| write.request) else { return };
        let is_gone = self.session.as_ref().is_none_or(|session| session.id != name.session);
        if *fate != Fate::Unknown || !is_gone || self.calls.len() >= 2 * CALLS_MAX {
            return;
        }
        desk.stats.count("client: asked for an outcome");
        let request = OutcomeOf::Session { session: name.session, sequence: name.sequence };
        let query = Query::Outcome { request };
        let consistency = Consistency::Linearizable;
        self.ask(desk, Request::Read { query, consistency, timeout_ms: 0 }, Purpose::Plain);
    }

    fn follow_up(&mut self, desk: &mut Desk<'_>, call: &Call, fate: &Fate) {
        let succeeded = match fate {
            Fate::Done(Response::Written(reply)) => match &reply.body {
                ReplyBody::Txn(results) => results.succeeded.then_some(reply.revision),
                _ => None,
            },
            _ => None,
        };
        match (&call.purpose, fate) {
            (Purpose::Open { principal }, Fate::Done(Response::Written(reply))) => {
                self.session = Session::opened(reply, principal, desk.now).or(self.session.take());
            }
            (Purpose::KeepAlive, Fate::Done(Response::Alive { valid_for_ms })) => {
                if let Request::KeepAlive { session } = desk.history[call.operation].request {
                    let (sent, answered, valid_for) = (call.sent, desk.now, valid_for_ms * MS);
                    desk.promises.push(Promise { session: session.get(), sent, answered, valid_for });
                }
            }
            (Purpose::Close, _) => self.session = None,
            (Purpose::Claim { request, step }, _) => self.claim_answered(desk, *request, step, fate),
            (Purpose::Ghost, _) => self.ghost_answered(desk, fate),
            (Purpose::Lock { key }, _) => {
                self.lock = succeeded.map(|token| (key.clone(), token)).or(self.lock.take())
            }
            (Purpose::Unlock, _) if !matches!(fate, Fate::NotDone(_)) => self.lock = None,
            (Purpose::Plain, Fate::Rejected(Rejection::Fenced { .. })) => {
                desk.stats.count("client: fenced");
                self.lock = None;
            }
            _ => {}
        }
    }
}

/// How long a silent client stays silent.
pub fn silence(chance: &mut Chance) -> Time {
    chance.between(1, 15) * SECOND
}
