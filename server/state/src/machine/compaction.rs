//! Forgetting the past, in two parts that must not be mixed up.
//!
//! *Compaction* is decided in the log: it moves a mark, at the same entry on every replica, and
//! from then on reads below the mark are refused. *Reclaiming* removes what nobody can ask for any
//! more; each replica does it at its own pace, and nothing that a client can see depends on how far
//! it came.
//!
//! At the mark itself and above, everything stays: the record of each key as it was at the mark,
//! and all events of the mark's revision, deletions too (etcd #18089). The current revision is a
//! counter of its own, so it cannot move back when the newest event is a removed tombstone
//! (etcd #17780).
//!
//! Reclaiming walks the events up to the mark, oldest first. Each names the event that it
//! superseded; that one goes. A deletion below the mark goes itself. So each event is looked at
//! once or twice in its life, and nothing is searched.

use crate::codec::{Reader, Writer};
use crate::command::Rejection;
use crate::event::{Event, EventKind, Keyspace};
use crate::ids::Revision;
use crate::keys;
use crate::machine::counters::Counters;
use crate::machine::history;
use crate::view::{Mutation, View};
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT: u8 = 1;

/// Moves the mark.
pub(super) fn compact(counters: &mut Counters, revision: Revision) -> Result<(), Rejection> {
    if revision <= counters.compacted {
        return Err(Rejection::Compacted { asked: revision, oldest: counters.compacted });
    }
    if revision > counters.revision {
        return Err(Rejection::FutureRevision { asked: revision, current: counters.revision });
    }
    counters.compacted = revision;
    Ok(())
}

/// How far reclaiming came on this replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Marks up to here were worked through.
    done: Revision,
    /// First event to look at next, towards a mark above `done`.
    next: (Revision, u32),
}

impl Progress {
    pub(super) fn load(view: &dyn View) -> Self {
        let Some(record) = view.get(keys::RECLAIMED) else {
            return Self::default();
        };
        let mut reader = Reader::new("reclaim progress", FORMAT, &record);
        let progress =
            Self { done: Revision(reader.number()), next: (Revision(reader.number()), reader.number32()) };
        reader.end();
        progress
    }

    fn encode(&self) -> Bytes {
        let mut writer = Writer::new(FORMAT, 24);
        writer.number(self.done.get());
        writer.number(self.next.0.get());
        writer.number(u64::from(self.next.1));
        writer.finish()
    }

    /// Marks up to here were worked through.
    #[cfg(feature = "plant")]
    pub(super) fn done(&self) -> Revision {
        self.done
    }

    pub(super) fn is_done(&self, mark: Revision) -> bool {
        self.done >= mark
    }

    /// One step towards the mark: looks at no more than `budget` events. Empty when it is reached.
    pub(super) fn step(&mut self, view: &dyn View, mark: Revision, budget: usize) -> Vec<Mutation> {
        if self.is_done(mark) {
            return Vec::new();
        }
        let events = gather(view, self.next, mark, budget);
        let mut mutations = Vec::new();
        let below = mark;
        #[cfg(feature = "plant")]
        let below = super::plant::reclaimed_below(below);
        for event in &events {
            forget_superseded(view, event, &mut mutations);
            if event.revision < below && leaves_nothing(event) {
                forget(event.keyspace, &event.key, (event.revision, event.sub), &mut mutations);
            }
            self.next = (event.revision, event.sub + 1);
        }
        if events.len() < budget {
            self.done = mark;
            // Deletions at the mark were kept; they go on the way to the next mark.
            self.next = (mark, 0);
        }
        let key = Bytes::from_static(keys::RECLAIMED);
        mutations.push(Mutation::new(key, Some(self.encode())));
        mutations
    }
}

fn gather(view: &dyn View, next: (Revision, u32), mark: Revision, budget: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let (from, to) = (keys::history(next.0, next.1), keys::history(mark.next(), 0));
    view.scan(&from, &to, false, &mut |key, record| {
        let (revision, sub) = history::position(key);
        events.push(history::decode(revision, sub, record));
        if events.len() < budget { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    events
}

/// A put is the record of its key until something supersedes it; the others leave nothing to read.
fn leaves_nothing(event: &Event) -> bool {
    match event.kind {
        EventKind::Put { .. } => false,
        EventKind::Delete | EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => true,
    }
}

fn forget_superseded(view: &dyn View, event: &Event, mutations: &mut Vec<Mutation>) {
    let Some(at) = event.previous else {
        return;
    };
    // Deletions at the last mark are visited a second time; what they superseded is gone by then.
    if view.get(&keys::history(at.0, at.1)).is_some() {
        forget(event.keyspace, &event.key, at, mutations);
    }
}

fn forget(keyspace: Keyspace, key: &Bytes, at: (Revision, u32), mutations: &mut Vec<Mutation>) {
    mutations.push(Mutation::new(keys::history(at.0, at.1), None));
    match keyspace {
        Keyspace::Kv => mutations.push(Mutation::new(keys::version(key, at.0), None)),
        Keyspace::Tree | Keyspace::Object | Keyspace::Pool => {}
    }
}
