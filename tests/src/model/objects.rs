//! Locks and elections as their events tell of them: who holds, who waits, and what is withheld.

use bytes::Bytes;
use oarlock_state::command::Command;
use oarlock_state::event::{Event, EventKind};
use oarlock_state::object::{Acquire, Claim, Mode, ObjectEvent, ObjectKind, ObjectOp};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What each claim asked for. Clients give each acquire a claim of its own.
pub type Asked<'a> = BTreeMap<Claim, &'a Acquire>;

/// What the claims of these commands asked for.
pub fn asked<'a>(commands: impl Iterator<Item = &'a Command>) -> Asked<'a> {
    let acquires = commands.filter_map(|command| match command {
        Command::Object(ObjectOp::Acquire(acquire)) => Some((acquire.claim, acquire)),
        _ => None,
    });
    acquires.collect()
}

/// A hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its token.
    pub token: u64,
    /// When it had come.
    pub ticket: u64,
    /// How it holds.
    pub mode: Mode,
}

/// Where a claim stands in a queue; the lowest is the head.
pub type Rank = (Reverse<u32>, u64);

/// One object.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// By claim.
    pub holders: BTreeMap<Claim, Hold>,
    /// What expired sessions held, and until when it is withheld.
    pub withheld: BTreeMap<(Claim, u64), (Mode, u64)>,
    /// In order of service.
    pub queue: BTreeMap<Rank, Claim>,
}

/// All objects.
#[derive(Debug)]
pub struct Objects<'a> {
    asked: &'a Asked<'a>,
    objects: BTreeMap<Bytes, Object>,
}

impl<'a> Objects<'a> {
    /// None yet.
    pub fn new(asked: &'a Asked<'a>) -> Self {
        Self { asked, objects: BTreeMap::new() }
    }

    /// An object, which may be empty.
    pub fn object(&mut self, name: &Bytes) -> &mut Object {
        self.objects.entry(name.clone()).or_default()
    }

    /// Takes an event in.
    ///
    /// # Errors
    /// An event that does not fit those before it.
    pub fn see(&mut self, event: &Event) -> Result<(), String> {
        let EventKind::Object(what) = &event.kind else { return Ok(()) };
        let revision = event.revision.get();
        let object = self.objects.entry(event.key.clone()).or_default();
        let fits = match what {
            ObjectEvent::Queued { claim, ticket, priority } => {
                object.queue.insert((Reverse(*priority), ticket.get()), *claim).is_none()
            }
            ObjectEvent::Granted { claim, ticket, priority, mode, .. } => {
                let waited = object.queue.remove(&(Reverse(*priority), ticket.get()));
                let hold = Hold { token: revision, ticket: ticket.get(), mode: *mode };
                waited.is_none_or(|waiter| waiter == *claim) && object.holders.insert(*claim, hold).is_none()
            }
            ObjectEvent::Left { claim, ticket, priority } => {
                object.queue.remove(&(Reverse(*priority), ticket.get())) == Some(*claim)
            }
            ObjectEvent::Lost { claim, token, withheld_until_ms, .. } => {
                let hold = object.holders.remove(claim).filter(|hold| hold.token == token.get());
                if let Some(hold) = hold.filter(|_| *withheld_until_ms > 0) {
                    object.withheld.insert((*claim, hold.ticket), (hold.mode, *withheld_until_ms));
                }
                hold.is_some()
            }
            ObjectEvent::Changed { claim, token, mode } => match object.holders.get_mut(claim) {
                Some(hold) => {
                    (hold.token, hold.mode) = (token.get(), *mode);
                    true
                }
                None => false,
            },
            ObjectEvent::Proclaimed { claim, token, .. } => {
                object.holders.get(claim).is_some_and(|hold| hold.token == token.get())
            }
            ObjectEvent::Elapsed { claim, ticket } => {
                object.withheld.remove(&(*claim, ticket.get())).is_some()
            }
            ObjectEvent::Vacant => object.holders.is_empty(),
            ObjectEvent::RevocationRequested { .. } => !object.holders.is_empty(),
        };
        if fits { Ok(()) } else { Err(format!("{event:?} comes upon {object:?}")) }
    }

    /// What an object is, as a claim on it says.
    pub fn kind(&self, name: &[u8], claim: Claim) -> Option<ObjectKind> {
        self.part(name, claim).map(|(kind, _)| kind)
    }

    fn part(&self, name: &[u8], claim: Claim) -> Option<(ObjectKind, Mode)> {
        let part = self.asked.get(&claim)?.parts.iter().find(|part| part.name == name)?;
        Some((part.kind, part.mode))
    }

    /// The weight that is taken of an object of this kind.
    pub fn used(&self, name: &[u8], kind: ObjectKind) -> u64 {
        let Some(object) = self.objects.get(name) else { return 0 };
        let held = object.holders.values().map(|hold| hold.mode);
        let withheld = object.withheld.values().map(|(mode, _)| *mode);
        held.chain(withheld).filter_map(|mode| kind.weight(mode)).sum()
    }

    /// The head of a queue, if it could be granted everywhere.
    pub fn grantable_head(&self, name: &[u8]) -> Option<Claim> {
        let (rank, claim) = self.objects.get(name)?.queue.first_key_value()?;
        let acquire = self.asked.get(claim)?;
        let is_free = acquire.parts.iter().all(|part| {
            let object = self.objects.get(&part.name);
            let heads = object.is_some_and(|object| object.queue.first_key_value() == Some((rank, claim)));
            let weight = part.kind.weight(part.mode).unwrap_or(0);
            heads && self.used(&part.name, part.kind) + weight <= part.kind.capacity()
        });
        is_free.then_some(*claim)
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Hand-made stories for the tests of checks.

    use super::*;
    use oarlock_state::event::{Cause, Keyspace};
    use oarlock_state::object::{Loss, Part};
    use oarlock_state::{Revision, SessionId};

    pub(crate) const NAME: Bytes = Bytes::from_static(b"lock");

    pub(crate) fn claim(session: u64) -> Claim {
        Claim { session: SessionId(session), request: 1 }
    }

    pub(crate) fn acquire(session: u64, kind: ObjectKind, mode: Mode) -> Command {
        Command::Object(ObjectOp::Acquire(Acquire {
            parts: vec![Part { name: NAME, kind, mode }],
            claim: claim(session),
            wait: true,
            metadata: Bytes::new(),
            priority: 0,
            preempt: false,
            lock_delay_ms: 0,
        }))
    }

    pub(crate) fn event(revision: u64, sub: u32, what: ObjectEvent) -> Event {
        Event {
            keyspace: Keyspace::Object,
            revision: Revision(revision),
            sub,
            key: NAME,
            kind: EventKind::Object(what),
            cause: Cause::Request,
            session: SessionId(0),
            previous: None,
        }
    }

    pub(crate) fn queued(revision: u64, session: u64, priority: u32) -> Event {
        let (claim, ticket) = (claim(session), Revision(revision));
        event(revision, 0, ObjectEvent::Queued { claim, ticket, priority })
    }

    pub(crate) fn granted(revision: u64, session: u64, ticket: u64, mode: Mode) -> Event {
        let (claim, ticket, metadata) = (claim(session), Revision(ticket), Bytes::new());
        event(revision, 1, ObjectEvent::Granted { claim, ticket, priority: 0, mode, metadata })
    }

    pub(crate) fn lost(revision: u64, session: u64, token: u64, loss: Loss, withheld_until_ms: u64) -> Event {
        let (claim, token) = (claim(session), Revision(token));
        event(revision, 0, ObjectEvent::Lost { claim, token, loss, withheld_until_ms })
    }
}
