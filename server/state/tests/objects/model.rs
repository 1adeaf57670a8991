//! Locks and elections as simply as they can be told: lists in memory, and a rule that is tried again
//! everywhere until nothing changes.

use bytes::Bytes;
use oarlock_state::object::{
    Acquire, Claim, Held, Mode, ObjectError, ObjectKind, ObjectOp, ObjectReply, Part,
};
use oarlock_state::{Rejection, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// Somebody in an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub claim: Claim,
    pub mode: Mode,
    pub priority: u32,
    pub ticket: u64,
    pub token: u64,
    pub delay_ms: u64,
    pub until_ms: u64,
    pub names: Vec<Bytes>,
}

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub kind: ObjectKind,
    pub holders: Vec<Entry>,
    pub queue: Vec<Entry>,
    pub withheld: Vec<Entry>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub objects: BTreeMap<Bytes, Object>,
    pub sessions: BTreeSet<SessionId>,
    pub revision: u64,
    pub now_ms: u64,
}

/// What an operation came to. Refusals by the name of their kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    Done,
    Granted(u64),
    Queued(u64, Vec<u64>),
    Refused(&'static str),
}

impl Fate {
    /// What the machine answered.
    pub fn of(outcome: &Result<ObjectReply, Rejection>) -> Self {
        match outcome {
            Ok(ObjectReply::Done) => Self::Done,
            Ok(ObjectReply::Granted { token }) => Self::Granted(token.get()),
            Ok(ObjectReply::Queued { ticket, ahead }) => {
                Self::Queued(ticket.get(), ahead.iter().map(|(_, ahead)| *ahead).collect())
            }
            Ok(other) => panic!("an operation answered {other:?}"),
            Err(Rejection::SessionNotFound { .. }) => Self::Refused("session"),
            Err(Rejection::Object(error)) => Self::Refused(match error {
                ObjectError::BadRequest { .. } => "bad",
                ObjectError::Mismatch { .. } => "mismatch",
                ObjectError::Busy { .. } => "busy",
                ObjectError::QueueFull { .. } => "full",
                ObjectError::ClaimInUse { .. } => "in use",
                ObjectError::NotHeld { .. } => "not held",
                ObjectError::NotWaiting { .. } => "not waiting",
                ObjectError::AlreadyGranted { .. } => "granted",
                ObjectError::NotFound { .. } => "not found",
                ObjectError::Shared { .. } => "shared",
                ObjectError::WrongKind { .. } => "kind",
                ObjectError::NotCandidate { .. } => "no candidate",
            }),
            Err(other) => panic!("{other}"),
        }
    }
}

impl Object {
    fn weight(&self, mode: Mode) -> u64 {
        self.kind.weight(mode).expect("the model admits what fits the kind")
    }

    pub fn used(&self) -> u64 {
        self.holders.iter().chain(&self.withheld).map(|entry| self.weight(entry.mode)).sum()
    }

    /// The queue in the order of service.
    pub fn ordered(&self) -> Vec<&Entry> {
        let mut queue: Vec<&Entry> = self.queue.iter().collect();
        queue.sort_by_key(|entry| (u32::MAX - entry.priority, entry.ticket));
        queue
    }

    fn admits(&self, mode: Mode) -> bool {
        self.used() + self.weight(mode) <= self.kind.capacity()
    }
}

impl Model {
    /// Executes an operation. Refused means that nothing changed.
    pub fn execute(&mut self, op: &ObjectOp) -> Fate {
        let before = self.clone();
        self.revision += 1;
        let fate = self.attempt(op);
        match fate {
            Err(kind) => {
                *self = before;
                return Fate::Refused(kind);
            }
            // The others change nothing when there is nothing to change.
            Ok(_) if self.same_as(&before) => self.revision -= 1,
            Ok(_) => self.settle(),
        }
        match (op, fate) {
            (ObjectOp::Acquire(acquire), Ok(Fate::Done)) => match self.standing(acquire) {
                Fate::Queued(..) if !acquire.wait => {
                    *self = before;
                    Fate::Refused("busy")
                }
                // The reply of a first acquire is from before others moved, which is the same here.
                fate => fate,
            },
            (_, fate) => fate.expect("refusals are answered above"),
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        self.objects == other.objects
    }

    fn attempt(&mut self, op: &ObjectOp) -> Result<Fate, &'static str> {
        match op {
            ObjectOp::Acquire(acquire) => self.acquire(acquire),
            ObjectOp::Release { holds } => {
                for held in holds {
                    self.held(held)?;
                    self.remove(&held.name, held.claim);
                }
                Ok(Fate::Done)
            }
            ObjectOp::Cancel { name, claim } => match self.find(name, *claim) {
                None => Err("not waiting"),
                Some(entry) if entry.token > 0 => Err("granted"),
                Some(entry) => {
                    for name in entry.names {
                        self.remove(&name, *claim);
                    }
                    Ok(Fate::Done)
                }
            },
            ObjectOp::Revoke { name, claim } => match self.find(name, *claim) {
                None => Err("not waiting"),
                Some(entry) if entry.token > 0 => {
                    self.remove(name, *claim);
                    Ok(Fate::Done)
                }
                Some(entry) => {
                    entry.names.iter().for_each(|name| self.remove(name, *claim));
                    Ok(Fate::Done)
                }
            },
            ObjectOp::Downgrade(held) => {
                self.read_write(held)?;
                self.hold(held).mode = Mode::Shared;
                Ok(Fate::Granted(held.token.get()))
            }
            ObjectOp::Upgrade(held) => self.upgrade(held),
            ObjectOp::SetLockDelay { held, lock_delay_ms } => {
                self.held(held)?;
                self.hold(held).delay_ms = *lock_delay_ms;
                Ok(Fate::Done)
            }
            ObjectOp::Handoff { held, to } => self.handoff(held, *to),
            ObjectOp::Elapse => {
                let now_ms = self.now_ms;
                for object in self.objects.values_mut() {
                    object.withheld.retain(|entry| entry.until_ms > now_ms);
                }
                Ok(Fate::Done)
            }
            ObjectOp::Proclaim { .. } | ObjectOp::RequestRevocation { .. } => unreachable!("not told here"),
        }
    }

    fn acquire(&mut self, acquire: &Acquire) -> Result<Fate, &'static str> {
        let places: Vec<_> = acquire.parts.iter().map(|part| self.find(&part.name, acquire.claim)).collect();
        if places.iter().any(Option::is_some) {
            let same = |(entry, part): (&Option<Entry>, &Part)| {
                let Some(entry) = entry else { return false };
                let mode = entry.mode == part.mode || part.kind == ObjectKind::ReadWrite;
                mode && entry.names == names(acquire) && self.objects[&part.name].kind == part.kind
            };
            let all = places.iter().zip(&acquire.parts).all(same);
            let tokens: BTreeSet<_> =
                places.iter().flatten().map(|entry| (entry.token, entry.ticket)).collect();
            return if all && tokens.len() == 1 { Ok(self.standing(acquire)) } else { Err("in use") };
        }
        if !self.sessions.contains(&acquire.claim.session) {
            return Err("session");
        }
        for part in &acquire.parts {
            if self.objects.get(&part.name).is_some_and(|object| object.kind != part.kind) {
                return Err("mismatch");
            }
        }
        for part in &acquire.parts {
            let empty =
                Object { kind: part.kind, holders: Vec::new(), queue: Vec::new(), withheld: Vec::new() };
            let object = self.objects.entry(part.name.clone()).or_insert(empty);
            object.queue.push(Entry {
                claim: acquire.claim,
                mode: part.mode,
                priority: acquire.priority,
                ticket: self.revision,
                token: 0,
                delay_ms: acquire.lock_delay_ms,
                until_ms: 0,
                names: names(acquire),
            });
            let lower = object.holders.first().is_some_and(|leader| leader.priority < acquire.priority);
            if acquire.preempt && lower {
                let leader = object.holders.remove(0);
                object.queue.push(Entry { token: 0, ..leader });
            }
        }
        Ok(Fate::Done)
    }

    /// Where a claim is after its acquire.
    fn standing(&self, acquire: &Acquire) -> Fate {
        let mut ahead = Vec::new();
        for name in names(acquire) {
            let entry = self.find(&name, acquire.claim).expect("it was put there");
            if entry.token > 0 {
                return Fate::Granted(entry.token);
            }
            let queue = self.objects[&name].ordered();
            ahead.push(queue.iter().position(|other| **other == entry).expect("it waits") as u64);
        }
        let first = self.find(&acquire.parts[0].name, acquire.claim).expect("it was put there");
        Fate::Queued(first.ticket, ahead)
    }

    fn upgrade(&mut self, held: &Held) -> Result<Fate, &'static str> {
        let entry = self.read_write(held)?;
        if entry.mode == Mode::Exclusive {
            return Ok(Fate::Granted(held.token.get()));
        }
        if self.objects[&held.name].used() > 1 {
            return Err("shared");
        }
        let token = self.revision;
        let entry = self.hold(held);
        entry.mode = Mode::Exclusive;
        entry.token = token;
        Ok(Fate::Granted(token))
    }

    fn handoff(&mut self, held: &Held, to: Claim) -> Result<Fate, &'static str> {
        self.held(held)?;
        let ticket = self.revision;
        let object = self.objects.get_mut(&held.name).expect("it is held");
        if object.kind != ObjectKind::Election {
            return Err("kind");
        }
        let at = object.queue.iter().position(|entry| entry.claim == to).ok_or("no candidate")?;
        let successor = object.queue.remove(at);
        let leader = object.holders.remove(0);
        object.holders.push(Entry { token: ticket, ..successor });
        object.queue.push(Entry { token: 0, ticket, ..leader });
        Ok(Fate::Done)
    }

    /// Ends a session; whether it existed.
    pub fn end(&mut self, session: SessionId, expired: bool) -> bool {
        if !self.sessions.remove(&session) {
            return false;
        }
        let before = self.objects.clone();
        let now_ms = self.now_ms;
        for object in self.objects.values_mut() {
            let (gone, stay) =
                object.holders.drain(..).partition(|entry: &Entry| entry.claim.session == session);
            object.holders = stay;
            let gone = gone.into_iter().filter(|entry: &Entry| expired && entry.delay_ms > 0);
            object.withheld.extend(gone.map(|entry| Entry { until_ms: now_ms + entry.delay_ms, ..entry }));
            object.queue.retain(|entry| entry.claim.session != session);
        }
        if self.objects != before {
            self.revision += 1;
            self.settle();
        }
        true
    }

    /// Grants what can be granted, until nothing can.
    fn settle(&mut self) {
        while let Some((names, claim)) = self.grantable() {
            for name in names {
                let object = self.objects.get_mut(&name).expect("it is waited for");
                let at = object.queue.iter().position(|entry| entry.claim == claim).expect("it waits");
                let entry = object.queue.remove(at);
                object.holders.push(Entry { token: self.revision, ..entry });
            }
        }
        self.objects.retain(|_, object| {
            !(object.holders.is_empty() && object.queue.is_empty() && object.withheld.is_empty())
        });
    }

    fn grantable(&self) -> Option<(Vec<Bytes>, Claim)> {
        let heads = self.objects.values().filter_map(|object| object.ordered().first().copied());
        let fits = |entry: &&Entry| {
            entry.names.iter().all(|name| {
                let object = &self.objects[name];
                let head = object.ordered()[0];
                head.claim == entry.claim && object.admits(head.mode)
            })
        };
        heads.into_iter().find(fits).map(|entry| (entry.names.clone(), entry.claim))
    }

    fn find(&self, name: &Bytes, claim: Claim) -> Option<Entry> {
        let object = self.objects.get(name)?;
        object.holders.iter().chain(&object.queue).find(|entry| entry.claim == claim).cloned()
    }

    fn remove(&mut self, name: &Bytes, claim: Claim) {
        let object = self.objects.get_mut(name).expect("the claim is there");
        object.holders.retain(|entry| entry.claim != claim);
        object.queue.retain(|entry| entry.claim != claim);
    }

    fn held(&self, held: &Held) -> Result<Entry, &'static str> {
        let entry = self.find(&held.name, held.claim);
        entry.filter(|entry| entry.token > 0 && entry.token == held.token.get()).ok_or("not held")
    }

    fn read_write(&self, held: &Held) -> Result<Entry, &'static str> {
        let entry = self.held(held)?;
        if self.objects[&held.name].kind == ObjectKind::ReadWrite { Ok(entry) } else { Err("kind") }
    }

    fn hold(&mut self, held: &Held) -> &mut Entry {
        let object = self.objects.get_mut(&held.name).expect("it is held");
        object.holders.iter_mut().find(|entry| entry.claim == held.claim).expect("it is held")
    }
}

/// The objects of an acquire, in order.
pub fn names(acquire: &Acquire) -> Vec<Bytes> {
    let names: BTreeSet<Bytes> = acquire.parts.iter().map(|part| part.name.clone()).collect();
    names.into_iter().collect()
}
