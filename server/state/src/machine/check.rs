//! The invariants of the whole state, proven by a scan. Each complaint names the record.

use crate::auth;
use crate::digest::Sum;
use crate::event::{Event, EventKind, Keyspace};
use crate::ids::SessionId;
use crate::keys::{self, Forget, Space};
use crate::machine::counters::Counters;
use crate::machine::dedup::{Idempotent, Window};
use crate::machine::kv::Record;
use crate::machine::{Machine, history, outcome, session};
use crate::object;
use crate::pool;
use crate::tree;
use crate::view::View;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Checks everything.
pub(super) fn all(machine: &Machine, view: &dyn View) -> Result<(), String> {
    let state = State { machine, view };
    state.counters()?;
    state.digest()?;
    state.keys()?;
    state.events()?;
    state.versions()?;
    state.reclaimed()?;
    state.attached()?;
    state.sessions()?;
    state.outcomes()?;
    state.notes()?;
    tree::check(view)?;
    object::check(view)?;
    pool::check(view)?;
    auth::check(view)?;
    ensure(*machine.auth() == auth::Settings::load(view), || {
        format!("the machine knows {:?} of authentication", machine.auth())
    })
}

/// Compares the digest that is kept with one that was computed anew.
pub(super) fn sum(machine: &Machine, found: Sum) -> Result<(), String> {
    let own = machine.counters.sum;
    ensure(found == own, || format!("digest {own:x?} is kept, {found:x?} is true"))
}

struct State<'a> {
    machine: &'a Machine,
    view: &'a dyn View,
}

fn ensure(holds: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}

impl State<'_> {
    fn records(&self, from: &[u8], to: &[u8]) -> Vec<(Bytes, Bytes)> {
        let mut records = Vec::new();
        self.view.scan(from, to, false, &mut |key, value| {
            records.push((Bytes::copy_from_slice(key), value.clone()));
            ControlFlow::Continue(())
        });
        records
    }

    fn space(&self, space: Space) -> Vec<(Bytes, Bytes)> {
        self.records(&space.start(), &space.end())
    }

    fn session_exists(&self, session: SessionId) -> bool {
        self.view.get(&keys::session(session)).is_some()
    }

    /// The machine and the view belong together, and the marks are in order.
    fn counters(&self) -> Result<(), String> {
        let own = self.machine.counters;
        match self.view.get(keys::COUNTERS) {
            Some(record) => ensure(Counters::decode(&record) == own, || {
                format!("the view holds {:?}, the machine {own:?}", Counters::decode(&record))
            })?,
            None => ensure(own == Counters::FRESH, || format!("counters {own:?} are not stored"))?,
        }
        ensure(own.compacted <= own.revision, || {
            format!("compacted {} is above revision {}", own.compacted, own.revision)
        })
    }

    fn digest(&self) -> Result<(), String> {
        let mut sum = Sum::default();
        self.view.scan(&[], &[0xff], false, &mut |key, value| {
            if keys::in_digest(key) {
                sum.add(key, value);
            }
            ControlFlow::Continue(())
        });
        self::sum(self.machine, sum)
    }

    /// Every current record has its event, its version and, when owned, its owner.
    fn keys(&self) -> Result<(), String> {
        for (full, stored) in self.space(Space::Kv) {
            let key = full.slice(1..);
            let record = Record::decode(&stored);
            let owner = record.owner;
            let event = history::event(self.view, record.changed);
            let left = event.and_then(history::key_value);
            ensure(left.as_ref() == Some(&record.clone().into_key_value(key.clone())), || {
                format!("key {key:?} is {record:?}, its event left {left:?}")
            })?;
            let (revision, sub) = record.changed;
            let version = self.view.get(&keys::version(&key, revision));
            ensure(version.map(|v| history::decode_version(&v)) == Some((sub, true)), || {
                format!("key {key:?} has no version {revision}.{sub}")
            })?;
            let attached = self.view.get(&keys::attached(owner, Keyspace::Kv, &key)).is_some();
            ensure(attached == (owner != SessionId(0)), || {
                format!("key {key:?} of owner {owner} is attached: {attached}")
            })?;
        }
        Ok(())
    }

    /// Events are numbered without gaps above the compacted revision, and each of kv has a version.
    fn events(&self) -> Result<(), String> {
        let compacted = self.machine.counters.compacted;
        let mut last = (compacted, None);
        for (full, record) in self.space(Space::History) {
            let (revision, sub) = history::position(&full);
            let event = history::decode(revision, sub, &record);
            ensure(revision <= self.machine.counters.revision, || {
                format!("event {revision}.{sub} is in the future")
            })?;
            if revision > compacted {
                let follows = match last {
                    (of, Some(before)) if of == revision => sub == before + 1,
                    _ => sub == 0,
                };
                ensure(follows, || format!("event {revision}.{sub} does not follow {last:?}"))?;
                last = (revision, Some(sub));
            }
            self.event_has_version(&event)?;
        }
        Ok(())
    }

    fn event_has_version(&self, event: &Event) -> Result<(), String> {
        match event.keyspace {
            Keyspace::Tree | Keyspace::Object | Keyspace::Pool => Ok(()),
            Keyspace::Kv => {
                let put = matches!(event.kind, EventKind::Put { .. });
                let version = self.view.get(&keys::version(&event.key, event.revision));
                let version = version.map(|record| history::decode_version(&record));
                ensure(version == Some((event.sub, put)), || {
                    format!("event {event:?} has the version {version:?}")
                })
            }
        }
    }

    /// Each version has its event, and the newest one tells whether the key exists.
    fn versions(&self) -> Result<(), String> {
        let mut newest = BTreeMap::new();
        for (full, record) in self.space(Space::Versions) {
            let (key, revision) =
                keys::parse_version(&full).ok_or_else(|| format!("version {full:?} is unreadable"))?;
            let (sub, put) = history::decode_version(&record);
            let event = history::event(self.view, (revision, sub));
            ensure(event.is_some_and(|event| event.key == key), || {
                format!("version {revision}.{sub} of {key:?} has no event")
            })?;
            newest.insert(key, put);
        }
        for (key, put) in newest {
            let exists = self.view.get(&keys::kv(&key)).is_some();
            ensure(exists == put, || format!("key {key:?} exists: {exists}, newest version: {put}"))?;
        }
        Ok(())
    }

    /// Once reclaiming is done, nothing superseded is left below the mark.
    fn reclaimed(&self) -> Result<(), String> {
        let mark = self.machine.counters.compacted;
        if !self.machine.is_reclaimed() {
            return Ok(());
        }
        let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
        for (full, record) in self.space(Space::Versions) {
            let Some((key, revision)) = keys::parse_version(&full) else {
                continue;
            };
            let (_, put) = history::decode_version(&record);
            ensure(put || revision >= mark, || format!("{key:?}: old deletion at {revision}"))?;
            ensure(revision > mark || seen.insert(key.clone()), || {
                format!("{key:?}: two versions up to the mark {mark}, one at {revision}")
            })?;
        }
        Ok(())
    }

    fn attached(&self) -> Result<(), String> {
        for (full, _) in self.space(Space::Attached) {
            let (session, keyspace, key) =
                keys::parse_attached(&full).ok_or_else(|| format!("attached key {full:?} is unreadable"))?;
            ensure(self.session_exists(session), || {
                format!("{key:?} is attached to session {session}, which does not exist")
            })?;
            let owned = match keyspace {
                Keyspace::Kv => {
                    crate::machine::kv::get(self.view, &key).is_some_and(|record| record.owner == session)
                }
                Keyspace::Tree => self.view.get(&Space::Tree.key(&[&key])).is_some(),
                Keyspace::Object | Keyspace::Pool => continue, // their own checks look
            };
            ensure(owned, || format!("{key:?} is attached to session {session} without being its"))?;
        }
        Ok(())
    }

    fn sessions(&self) -> Result<(), String> {
        for (full, record) in self.space(Space::Sessions) {
            let id = keys::parse_session(&full).ok_or_else(|| format!("session {full:?}"))?;
            session::Record::decode(&record);
            let window = self.view.get(&keys::window(id)).map(|window| Window::decode(&window));
            ensure(window.is_none_or(|window| window.forget_at_ms.is_none()), || {
                format!("session {id} lives, and its window is to be forgotten")
            })?;
        }
        Ok(())
    }

    /// Every outcome lies in its session's window, and the window of an ended session has a note.
    fn outcomes(&self) -> Result<(), String> {
        for (full, record) in self.records(b"dw", b"dx") {
            let session = SessionId(last_number(&full));
            let window = Window::decode(&record);
            let ends_well = match window.forget_at_ms {
                None => self.session_exists(session),
                Some(at) => self.view.get(&keys::forget(at, &Forget::Session(session))).is_some(),
            };
            ensure(ends_well, || format!("session {session}: {window:?} is never forgotten"))?;
        }
        for (full, record) in self.records(b"do", b"dp") {
            let sequence = last_number(&full);
            let session = SessionId(last_number(&full[..full.len() - 8]));
            let window = self.view.get(&keys::window(session)).map(|window| Window::decode(&window));
            ensure(window.as_ref().is_some_and(|w| sequence > w.acked_up_to && sequence <= w.last), || {
                format!("outcome {sequence} of session {session} is outside of {window:?}")
            })?;
            let _ = outcome::decode(&record);
        }
        for (full, record) in self.records(b"di", b"dj") {
            let at = Idempotent::decode(&record).forget_at_ms;
            let note = keys::forget(at, &Forget::Idempotent(full.slice(2..)));
            let noted = self.view.get(&note).is_some();
            ensure(noted, || format!("idempotency key {full:?} is never forgotten"))?;
        }
        Ok(())
    }

    /// Every note has its subject, and none is due before the counters say so.
    fn notes(&self) -> Result<(), String> {
        let (from, to) = keys::FORGET_SPAN;
        for (full, _) in self.records(from, to) {
            let (at_ms, what) =
                keys::parse_forget(&full).ok_or_else(|| format!("note {full:?} is unreadable"))?;
            let next = self.machine.counters.next_forget_ms;
            ensure(next <= at_ms, || format!("a note at {at_ms} ms, the next is at {next} ms"))?;
            let subject = match &what {
                Forget::Session(session) => keys::window(*session),
                Forget::Idempotent(key) => keys::idempotent(key),
            };
            ensure(self.view.get(&subject).is_some(), || format!("note {what:?} has no subject"))?;
        }
        Ok(())
    }
}

fn last_number(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
