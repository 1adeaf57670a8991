//! Where an entry's changes live until they are handed over: an overlay on the view.
//!
//! Every reader inside one apply, the tree's included, reads through [`Scratch`] (it is a
//! [`View`]) and so sees what was done earlier in the same entry. A proposal that is refused is
//! undone by [`Scratch::undo`]; what was kept stays for the following proposals.
//!
//! How a change of data is made:
//! 1. [`Scratch::change`] gives the transaction's revision and the position of this change in it;
//! 2. [`Scratch::put`], [`Scratch::delete`] change records;
//! 3. [`Scratch::record`] makes the event of that position and writes it into history.

use crate::digest::Sum;
use crate::event::{Cause, Event, EventKind, Keyspace};
use crate::ids::{Revision, SessionId};
use crate::keys;
use crate::machine::counters::Counters;
use crate::machine::{SessionChange, history};
use crate::view::{Mutation, View};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

/// A record that this entry changed, or changed and then undid.
struct Slot {
    old: Old,
    new: Option<Bytes>,
}

/// The record before the entry.
enum Old {
    /// Nothing, and the view need not be asked: the record [is of the past](keys::is_of_the_past).
    Nothing,
    Read(Option<Bytes>),
}

/// The changes of one entry so far, over the state before it.
pub(crate) struct Scratch<'v> {
    view: &'v dyn View,
    /// Full key to position in `slots`.
    places: RefCell<BTreeMap<Bytes, u32>>,
    /// The same for records of the past that were added since somebody last looked at the past, which
    /// few do: most are never sorted in.
    unsorted: RefCell<Vec<(Bytes, u32)>>,
    slots: Vec<Slot>,
    /// Slots changed by the present proposal, oldest first, with what each held.
    undo: Vec<(u32, Option<Bytes>)>,
    /// The counters as they will be after what was done so far.
    pub(crate) counters: Counters,
    before: Before,
    /// Position of the next change in the open transaction; `None` while it has changed nothing.
    sub: Option<u32>,
    cause: Cause,
    actor: SessionId,
    events: Vec<Event>,
    sessions: Vec<SessionChange>,
}

/// What [`Scratch::undo`] goes back to.
#[derive(Clone, Copy)]
struct Before {
    counters: Counters,
    events: usize,
    sessions: usize,
}

/// What an entry did.
pub(super) struct Finished {
    pub(super) counters: Counters,
    pub(super) events: Vec<Event>,
    pub(super) sessions: Vec<SessionChange>,
    pub(super) mutations: Vec<Mutation>,
}

impl<'v> Scratch<'v> {
    /// An overlay without changes.
    pub(crate) fn new(view: &'v dyn View, counters: Counters) -> Self {
        Self {
            view,
            places: RefCell::default(),
            unsorted: RefCell::default(),
            slots: Vec::new(),
            undo: Vec::new(),
            counters,
            before: Before { counters, events: 0, sessions: 0 },
            sub: None,
            cause: Cause::Request,
            actor: SessionId(0),
            events: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// Begins a proposal: from here on everything can be undone.
    pub(crate) fn begin(&mut self, actor: SessionId) {
        self.undo.clear();
        self.before =
            Before { counters: self.counters, events: self.events.len(), sessions: self.sessions.len() };
        self.open_transaction(Cause::Request, actor);
    }

    /// Begins a transaction: its first change takes the next revision. Its events carry this cause
    /// and session.
    pub(crate) fn open_transaction(&mut self, cause: Cause, actor: SessionId) {
        self.sub = None;
        self.cause = cause;
        self.actor = actor;
    }

    /// Makes the events that follow in this transaction carry another cause.
    pub(crate) fn set_cause(&mut self, cause: Cause) {
        self.cause = cause;
    }

    /// Takes back everything since [`begin`](Self::begin).
    pub(crate) fn undo(&mut self) {
        while let Some((place, held)) = self.undo.pop() {
            self.slots[place as usize].new = held;
        }
        self.counters = self.before.counters;
        self.events.truncate(self.before.events);
        self.sessions.truncate(self.before.sessions);
        self.sub = None;
    }

    /// The clamped stamp of the entry, in milliseconds since 1970.
    pub(crate) fn stamp_ms(&self) -> u64 {
        self.counters.stamp_ms
    }

    /// The current revision: the transaction's own once it has changed something.
    pub(crate) fn revision(&self) -> Revision {
        self.counters.revision
    }

    /// The revision of the last transaction before the open one.
    pub(crate) fn settled_revision(&self) -> Revision {
        match self.sub {
            None => self.counters.revision,
            Some(_) => Revision(self.counters.revision.get() - 1),
        }
    }

    /// Takes the next position in the open transaction; the first one makes the revision.
    pub(crate) fn change(&mut self) -> (Revision, u32) {
        let revision = self.change_silently();
        let sub = self.sub.unwrap_or(0);
        self.sub = Some(sub + 1);
        (revision, sub)
    }

    /// Makes the revision for a change of which watchers learn nothing: positions have no gaps, so
    /// it takes none.
    pub(crate) fn change_silently(&mut self) -> Revision {
        if self.sub.is_none() {
            self.counters.revision = self.counters.revision.next();
            #[cfg(feature = "plant")]
            if crate::plant::is("reuse_revision") && self.counters.revision.get() % 50 == 0 {
                self.counters.revision.0 -= 1;
            }
            self.sub = Some(0);
        }
        self.counters.revision
    }

    /// Makes the event of a position given by [`change`](Self::change), and writes it into history
    /// (for kv also into the index of versions).
    pub(crate) fn record(
        &mut self,
        at: (Revision, u32),
        keyspace: Keyspace,
        key: Bytes,
        kind: EventKind,
        previous: Option<(Revision, u32)>,
    ) {
        let (revision, sub) = at;
        if keyspace == Keyspace::Kv {
            let put = matches!(kind, EventKind::Put { .. });
            self.put(keys::version(&key, revision), history::encode_version(sub, put));
        }
        let (cause, session) = (self.cause, self.actor);
        let event = Event { keyspace, revision, sub, key, kind, cause, session, previous };
        self.put(keys::history(revision, sub), history::encode(&event));
        self.events.push(event);
    }

    /// Reports a session change to whoever keeps deadlines.
    pub(crate) fn session_changed(&mut self, change: SessionChange) {
        self.sessions.push(change);
    }

    /// Sets the record under a full key.
    pub(crate) fn put(&mut self, key: Bytes, value: Bytes) {
        self.set(key, Some(value), None);
    }

    /// Removes the record under a full key.
    pub(crate) fn delete(&mut self, key: Bytes) {
        self.set(key, None, None);
    }

    /// As [`put`](Self::put) or [`delete`](Self::delete), for a caller that has just read the
    /// record: spares a second look at the view.
    pub(crate) fn replace(&mut self, key: Bytes, old: Option<Bytes>, new: Option<Bytes>) {
        self.set(key, new, Some(old));
    }

    fn set(&mut self, key: Bytes, new: Option<Bytes>, old: Option<Option<Bytes>>) {
        if keys::is_of_the_past(&key) {
            // It is there already only if an undone proposal had the same revision: the later one
            // holds.
            let place = self.add(Old::Nothing, None, new);
            self.unsorted.get_mut().push((key, place));
            return;
        }
        if let Some(&place) = self.places.get_mut().get(&key) {
            let held = std::mem::replace(&mut self.slots[place as usize].new, new);
            self.undo.push((place, held));
            return;
        }
        let old = old.unwrap_or_else(|| self.view.get(&key));
        let place = self.add(Old::Read(old.clone()), old, new);
        self.places.get_mut().insert(key, place);
    }

    fn add(&mut self, old: Old, held: Option<Bytes>, new: Option<Bytes>) -> u32 {
        let place = self.slots.len() as u32;
        self.slots.push(Slot { old, new });
        self.undo.push((place, held));
        place
    }

    /// Sorts in what somebody is about to look for.
    fn sort_in(&self) {
        // A visitor of a scan may read: the places are borrowed then, and everything is sorted in.
        let unsorted = std::mem::take(&mut *self.unsorted.borrow_mut());
        if !unsorted.is_empty() {
            self.places.borrow_mut().extend(unsorted);
        }
    }

    /// Whether the session exists.
    pub(crate) fn session_exists(&self, session: SessionId) -> bool {
        session != SessionId(0) && self.get(&keys::session(session)).is_some()
    }

    /// Makes a key or znode go with a session. Session zero means none and does nothing.
    pub(crate) fn attach(&mut self, session: SessionId, keyspace: Keyspace, key: &[u8]) {
        if session != SessionId(0) {
            self.put(keys::attached(session, keyspace, key), Bytes::new());
        }
    }

    /// Undoes [`attach`](Self::attach).
    pub(crate) fn detach(&mut self, session: SessionId, keyspace: Keyspace, key: &[u8]) {
        if session != SessionId(0) {
            self.delete(keys::attached(session, keyspace, key));
        }
    }

    /// Hands over what the entry did, each key once, and settles the digest.
    pub(super) fn finish(mut self) -> Finished {
        let mut counters = self.counters;
        let mut mutations = Vec::with_capacity(self.slots.len() + 2);
        for (key, place) in self.places.into_inner().into_iter().chain(self.unsorted.into_inner()) {
            let slot = &mut self.slots[place as usize];
            let new = slot.new.take();
            let old = match &slot.old {
                Old::Nothing => None,
                Old::Read(old) => old.as_ref(),
            };
            if old == new.as_ref() {
                continue;
            }
            if keys::in_digest(&key) {
                settle(&mut counters.sum, &key, old, new.as_ref());
            }
            let creates = old.is_none();
            mutations.push(Mutation { key, value: new, creates });
        }
        Finished { counters, events: self.events, sessions: self.sessions, mutations }
    }
}

fn settle(sum: &mut Sum, key: &[u8], old: Option<&Bytes>, new: Option<&Bytes>) {
    if let Some(old) = old {
        sum.remove(key, old);
    }
    if let Some(new) = new {
        sum.add(key, new);
    }
}

impl View for Scratch<'_> {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        if keys::is_of_the_past(key) {
            self.sort_in();
        }
        match self.places.borrow().get(key) {
            Some(place) => self.slots[*place as usize].new.clone(),
            None => self.view.get(key),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        if from >= to {
            return;
        }
        self.sort_in();
        let places = self.places.borrow();
        let own = places
            .range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
            .map(|(key, place)| (key, &self.slots[*place as usize].new));
        if reverse {
            merge(self.view, from, to, reverse, own.rev(), visit);
        } else {
            merge(self.view, from, to, reverse, own, visit);
        }
    }
}

/// Walks the view's records and the overlay's slots together; where both have a key the slot holds.
fn merge<'a>(
    view: &dyn View,
    from: &[u8],
    to: &[u8],
    reverse: bool,
    own: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
) {
    let mut own = own.peekable();
    let mut stopped = false;
    view.scan(from, to, reverse, &mut |key, value| {
        let mut hidden = false;
        while let Some((own_key, new)) = own
            .next_if(|(own_key, _)| if reverse { own_key.as_ref() >= key } else { own_key.as_ref() <= key })
        {
            hidden |= own_key.as_ref() == key;
            if let Some(new) = new
                && visit(own_key, new).is_break()
            {
                stopped = true;
                return ControlFlow::Break(());
            }
        }
        if !hidden && visit(key, value).is_break() {
            stopped = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    if stopped {
        return;
    }
    for (key, new) in own {
        if let Some(new) = new
            && visit(key, new).is_break()
        {
            return;
        }
    }
}
