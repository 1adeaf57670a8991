//! Mutexes as the members keep them: one holder, a queue, and the events with their revisions.

use oarlock_proto::v1::{self, object_event::Event, object_op::Op, object_refusal::Reason};
use std::collections::{BTreeMap, VecDeque};

/// All mutexes, and what happened to them.
#[derive(Default)]
pub struct Objects {
    revision: u64,
    mutexes: BTreeMap<bytes::Bytes, Mutex>,
    events: Vec<v1::ObjectEvent>,
    /// Events before this revision are gone.
    compacted: u64,
    /// Operations by sequence, so that a repeated one has no second effect.
    outcomes: BTreeMap<u64, Result<v1::ObjectResponse, v1::ObjectRefusal>>,
}

#[derive(Default)]
struct Mutex {
    /// The holder and its token.
    holder: Option<(v1::Claim, u64)>,
    /// Claims that wait, with their tickets.
    queue: VecDeque<(v1::Claim, u64)>,
}

/// What a watch is sent.
pub enum Sent {
    Events(v1::watch_frame::Events),
    Compacted,
}

fn refused(reason: Reason, name: &bytes::Bytes, token: u64) -> v1::ObjectRefusal {
    v1::ObjectRefusal { reason: reason.into(), name: name.clone(), token, ..Default::default() }
}

impl Objects {
    /// Forgets what happened until now.
    pub fn compact(&mut self) {
        self.compacted = self.revision + 1;
        self.events.clear();
    }

    /// Whether nobody holds a mutex or waits for it.
    pub fn is_free(&self, name: &str) -> bool {
        self.mutexes.get(name.as_bytes()).is_none_or(|mutex| mutex.holder.is_none() && mutex.queue.is_empty())
    }

    /// How many wait.
    pub fn waiters(&self, name: &str) -> usize {
        self.mutexes.get(name.as_bytes()).map_or(0, |mutex| mutex.queue.len())
    }

    /// Takes a hold away, whoever has it, and gives it to the next.
    pub fn take_away(&mut self, name: &'static str) {
        let name = bytes::Bytes::from(name);
        self.revision += 1;
        self.lose(&name, v1::object_event::Loss::Revoked);
    }

    /// Executes an operation once.
    pub fn execute(&mut self, id: u64, op: v1::ObjectOp) -> Result<v1::ObjectResponse, v1::ObjectRefusal> {
        if let Some(outcome) = self.outcomes.get(&id) {
            return outcome.clone().map(|mut response| {
                response.header.get_or_insert_default().repeated = true;
                if let Some(v1::object_result::Result::Queued(queued)) =
                    response.result.as_mut().and_then(|result| result.result.as_mut())
                {
                    queued.ahead.clear();
                }
                response
            });
        }
        let before = self.revision;
        self.revision += 1;
        let outcome = match op.op.expect("an operation") {
            Op::Acquire(acquire) => self.acquire(acquire),
            Op::Cancel(cancel) => self.cancel(&cancel.name, cancel.claim.expect("a claim")),
            Op::Release(release) => self.release(&release.holds[0]),
            other => panic!("{other:?} is not in this cluster"),
        };
        if outcome.is_err() {
            self.revision = before;
        }
        let outcome = outcome.map(|result| {
            let header = v1::Header { revision: self.revision, ..Default::default() };
            v1::ObjectResponse { header: Some(header), result: Some(v1::ObjectResult { result }) }
        });
        self.outcomes.insert(id, outcome.clone());
        outcome
    }

    fn acquire(
        &mut self,
        acquire: v1::AcquireRequest,
    ) -> Result<Option<v1::object_result::Result>, v1::ObjectRefusal> {
        use v1::object_result::{Ahead, Granted, Queued, Result};
        let (name, claim) = (acquire.parts[0].name.clone(), acquire.claim.expect("a claim"));
        let ticket = self.revision;
        let mutex = self.mutexes.entry(name.clone()).or_default();
        if mutex.holder.is_none() {
            self.grant(&name, claim, ticket);
            return Ok(Some(Result::Granted(Granted { token: ticket })));
        }
        if !acquire.wait {
            return Err(refused(Reason::Taken, &name, 0));
        }
        let ahead = vec![Ahead { name: name.clone(), waiters: mutex.queue.len() as u64 }];
        mutex.queue.push_back((claim, ticket));
        self.happened(
            &name,
            Event::Queued(v1::object_event::Queued { claim: Some(claim), ticket, priority: 0 }),
        );
        Ok(Some(Result::Queued(Queued { ticket, ahead })))
    }

    fn cancel(
        &mut self,
        name: &bytes::Bytes,
        claim: v1::Claim,
    ) -> Result<Option<v1::object_result::Result>, v1::ObjectRefusal> {
        let mutex = self.mutexes.entry(name.clone()).or_default();
        if let Some((holder, token)) = mutex.holder
            && holder == claim
        {
            return Err(refused(Reason::AlreadyGranted, name, token));
        }
        let Some(at) = mutex.queue.iter().position(|(waiting, _)| *waiting == claim) else {
            return Err(refused(Reason::NotWaiting, name, 0));
        };
        let ticket = mutex.queue.remove(at).map_or(0, |(_, ticket)| ticket);
        self.happened(name, Event::Left(v1::object_event::Left { claim: Some(claim), ticket, priority: 0 }));
        Ok(None)
    }

    fn release(&mut self, held: &v1::Held) -> Result<Option<v1::object_result::Result>, v1::ObjectRefusal> {
        let mutex = self.mutexes.entry(held.name.clone()).or_default();
        if mutex.holder != Some((held.claim.expect("a claim"), held.token)) {
            return Err(refused(Reason::NotHeld, &held.name, held.token));
        }
        self.lose(&held.name, v1::object_event::Loss::Released);
        Ok(None)
    }

    fn lose(&mut self, name: &bytes::Bytes, loss: v1::object_event::Loss) {
        let mutex = self.mutexes.entry(name.clone()).or_default();
        let Some((claim, token)) = mutex.holder.take() else { return };
        let next = mutex.queue.pop_front();
        let lost =
            v1::object_event::Lost { claim: Some(claim), token, loss: loss.into(), ..Default::default() };
        self.happened(name, Event::Lost(lost));
        if let Some((claim, ticket)) = next {
            self.grant(name, claim, ticket);
        }
    }

    fn grant(&mut self, name: &bytes::Bytes, claim: v1::Claim, ticket: u64) {
        let token = self.revision;
        self.mutexes.entry(name.clone()).or_default().holder = Some((claim, token));
        let granted = v1::object_event::Granted { claim: Some(claim), ticket, ..Default::default() };
        self.happened(name, Event::Granted(granted));
    }

    fn happened(&mut self, name: &bytes::Bytes, event: Event) {
        let (name, revision, event) = (name.clone(), self.revision, Some(event));
        self.events.push(v1::ObjectEvent { name, revision, event, ..Default::default() });
    }

    /// What a watch from `next` on is sent now, if anything, and from where it goes on.
    pub fn after(&self, name: &bytes::Bytes, next: &mut u64) -> Option<Sent> {
        if *next < self.compacted {
            return Some(Sent::Compacted);
        }
        let wanted = self.events.iter().filter(|event| event.name == *name && event.revision >= *next);
        let objects: Vec<v1::ObjectEvent> = wanted.cloned().collect();
        *next = self.revision + 1;
        let through_revision = self.revision;
        let events = v1::watch_frame::Events { objects, through_revision, ..Default::default() };
        (!events.objects.is_empty()).then_some(Sent::Events(events))
    }

    /// What a claim has.
    pub fn places(&self, query: v1::ObjectQuery) -> v1::ObjectAnswer {
        use v1::place_state::{Holding, State, Waiting};
        let Some(v1::object_query::Query::OfSession(of)) = query.query else {
            panic!("{query:?} is not in this cluster")
        };
        let is_asked = |claim: &v1::Claim| Some(claim.request) == of.request && claim.session == of.session;
        let place = |name: &bytes::Bytes, ticket, state| {
            let state = Some(v1::PlaceState { state: Some(state) });
            let place = v1::ObjectPlace { ticket, state, ..Default::default() };
            v1::NamedPlace { name: name.clone(), place: Some(place) }
        };
        let mut places = Vec::new();
        for (name, mutex) in &self.mutexes {
            if let Some((_, token)) = mutex.holder.filter(|(claim, _)| is_asked(claim)) {
                places.push(place(name, 0, State::Holding(Holding { token, granted_unix_ms: 0 })));
            }
            let waiting = mutex.queue.iter().zip(0..).find(|((claim, _), _)| is_asked(claim));
            if let Some(((_, ticket), position)) = waiting {
                places.push(place(name, *ticket, State::Waiting(Waiting { position })));
            }
        }
        let header = Some(v1::Header { revision: self.revision, ..Default::default() });
        let places = v1::object_answer::Places { places, more: false };
        v1::ObjectAnswer { header, answer: Some(v1::object_answer::Answer::OfSession(places)) }
    }
}
