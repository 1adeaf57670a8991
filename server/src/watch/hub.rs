//! All watches of a node.

use super::connections::Connections;
use super::matcher::Matcher;
use super::recent::Recent;
use super::subscription::{Position, Subscription, frame_bytes};
use super::{Source, WatchId};
use crate::node::request::{Origin, Refusal, WatchFrame, WatchSpec};
use oarlock_state::command::{Answer, KeyValue};
use oarlock_state::{Event, Query, Rejection, Revision};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bounds of a hub.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Bytes of recent events kept in memory.
    pub recent_bytes: usize,
    /// Watches.
    pub watches_max: usize,
    /// Bytes that a new connection may be sent before it grants more.
    pub first_credit: usize,
    /// Bytes of events read for a watch that is behind, at once.
    pub page_bytes: usize,
    /// Microseconds without an event after which a watch that wants progress is told of it.
    pub progress_us: u64,
}

/// A frame for a watch.
pub type Addressed = (Origin, WatchFrame);

/// All watches of a node. Everything it wants sent is appended to the `out` it is given.
#[derive(Debug)]
pub struct Hub {
    pub(super) options: HubOptions,
    pub(super) watches: BTreeMap<WatchId, Subscription>,
    pub(super) connections: Connections,
    pub(super) matcher: Matcher,
    pub(super) recent: Recent,
    /// Revision of the state; every synced watch has everything up to it.
    pub(super) through: Revision,
    /// Watches that are not synced and whose connection may have credit.
    pub(super) queue: VecDeque<WatchId>,
    /// Connections that wait for one progress frame on behalf of all their watches, with its tag.
    conn_progress: BTreeMap<u64, u64>,
    /// When the watches that want progress are due for it, in microseconds.
    progress: BTreeSet<(u64, WatchId)>,
    next_id: u64,
    pub(super) now_us: u64,
}

impl Hub {
    /// A hub without watches, on a state of this revision.
    pub fn new(options: HubOptions, revision: Revision) -> Self {
        Self {
            options,
            watches: BTreeMap::new(),
            connections: Connections::new(options.first_credit),
            matcher: Matcher::default(),
            recent: Recent::new(revision, options.recent_bytes),
            through: revision,
            queue: VecDeque::new(),
            conn_progress: BTreeMap::new(),
            progress: BTreeSet::new(),
            next_id: 0,
            now_us: 0,
        }
    }

    /// Watches in place.
    pub fn len(&self) -> usize {
        self.watches.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Begins a watch. Its first frame says so; a refusal is a `Cancelled` frame, except that a name
    /// which is taken is returned as an error, because a frame would be taken for the other watch's.
    pub fn watch(
        &mut self,
        origin: Origin,
        spec: WatchSpec,
        source: &dyn Source,
        out: &mut Vec<Addressed>,
    ) -> Result<(), Refusal> {
        if self.watches.len() >= self.options.watches_max {
            out.push((origin, WatchFrame::Cancelled(Refusal::Busy { queue: "watches" })));
            return Ok(());
        }
        let id = WatchId(self.next_id);
        if !self.connections.add(origin.conn, origin.tag, id) {
            let what = format!("watch {} exists already on this connection; cancel it first", origin.tag);
            return Err(Refusal::Invalid { what });
        }
        self.next_id += 1;
        self.begin(id, origin, spec, source, out);
        Ok(())
    }

    fn begin(
        &mut self,
        id: WatchId,
        origin: Origin,
        spec: WatchSpec,
        source: &dyn Source,
        out: &mut Vec<Addressed>,
    ) {
        let start = if spec.start == Revision(0) { self.through.next() } else { spec.start };
        let is_compacted = start < source.compacted();
        let resyncs = is_compacted && spec.resync;
        let position = if resyncs {
            Position::Resync { revision: self.through, from: None }
        } else if start > self.through {
            Position::Synced
        } else {
            Position::Behind(start)
        };
        let next = if resyncs { self.through.next() } else { start };
        if spec.want_progress {
            self.progress.insert((self.now_us + self.options.progress_us, id));
        }
        match position {
            Position::Synced => self.matcher.insert(spec.keyspace, &spec.range, id),
            Position::Behind(_) | Position::Resync { .. } => self.queue.push_back(id),
        }
        let first = next;
        #[cfg(feature = "plant")]
        let first = super::plant::start(first, self.through.next());
        let watch =
            Subscription { origin, spec, position, start: first, owes_progress: false, sent_us: self.now_us };
        self.watches.insert(id, watch);
        self.send(id, WatchFrame::Created { next, current: self.through }, out);
        if is_compacted && !resyncs {
            self.cancel_compacted(id, start, source, out);
        }
    }

    /// Ends a watch at its owner's wish; false if there is none of this name.
    pub fn cancel(&mut self, origin: Origin) -> bool {
        let found = self.connections.find(origin.conn, origin.tag);
        if let Some(id) = found {
            self.drop_watch(id);
        }
        found.is_some()
    }

    /// Whether there is a watch of this name.
    pub fn has(&self, origin: Origin) -> bool {
        self.connections.find(origin.conn, origin.tag).is_some()
    }

    /// Ends every watch that `verdict` refuses.
    pub fn review(
        &mut self,
        verdict: &dyn Fn(Origin, &WatchSpec) -> Result<(), Refusal>,
        out: &mut Vec<Addressed>,
    ) {
        let judged = self.watches.iter().map(|(id, watch)| (*id, verdict(watch.origin, &watch.spec)));
        let ended: Vec<_> = judged.filter_map(|(id, verdict)| Some((id, verdict.err()?))).collect();
        for (id, refusal) in ended {
            self.end(id, refusal, out);
        }
    }

    /// A connection is gone.
    pub fn disconnected(&mut self, conn: u64) {
        self.conn_progress.remove(&conn);
        for id in self.connections.close(conn) {
            self.drop_watch(id);
        }
    }

    /// A connection takes so many bytes more.
    pub fn credit(&mut self, conn: u64, bytes: usize) {
        let resumed = self.connections.grant(conn, bytes);
        self.queue.extend(resumed);
    }

    /// Tells progress on every watch of the connection: at once where it is synced, and as soon as
    /// it is elsewhere. A watch that begins in the future has none to tell until then.
    pub fn tell_progress(&mut self, conn: u64, out: &mut Vec<Addressed>) {
        for id in self.connections.watches(conn) {
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.owes_progress = true;
            }
            self.pay_progress(id, out);
        }
    }

    /// Tells the connection once, under the tag of `origin`, that all its watches have everything up
    /// to one revision: as soon as they do, and not at all if it has none. Until then it is looked at
    /// with every tick, so that however many watches there are, catching up costs them nothing.
    pub fn tell_conn_progress(&mut self, origin: Origin, out: &mut Vec<Addressed>) {
        self.conn_progress.insert(origin.conn, origin.tag);
        self.pay_conn_progress(origin.conn, out);
    }

    fn pay_conn_progress(&mut self, conn: u64, out: &mut Vec<Addressed>) {
        let through = self.through;
        let has_all = |id: &WatchId| {
            let watch = self.watches.get(id);
            watch.is_none_or(|watch| watch.position == Position::Synced && watch.start <= through.next())
        };
        if !self.connections.watches_of(conn).all(has_all) {
            return;
        }
        let is_used = self.connections.watches_of(conn).next().is_some();
        if let Some(tag) = self.conn_progress.remove(&conn).filter(|_| is_used) {
            let frame = WatchFrame::Progress { through };
            self.connections.spend(conn, frame_bytes(&frame));
            out.push((Origin { conn, tag }, frame));
        }
    }

    /// Sends an owed progress frame if the watch is synced.
    pub(super) fn pay_progress(&mut self, id: WatchId, out: &mut Vec<Addressed>) {
        let through = self.through;
        let Some(watch) = self.watches.get_mut(&id) else {
            return;
        };
        let is_synced = watch.position == Position::Synced;
        #[cfg(feature = "plant")]
        let is_synced = is_synced || oarlock_state::plant::is("progress_too_early");
        if watch.owes_progress && is_synced && watch.start <= through.next() {
            watch.owes_progress = false;
            self.send(id, WatchFrame::Progress { through }, out);
        }
    }

    /// Time passed: tells progress to those that want it and have heard nothing for long.
    pub fn tick(&mut self, now_us: u64, out: &mut Vec<Addressed>) {
        self.now_us = now_us;
        let waiting: Vec<u64> = self.conn_progress.keys().copied().collect();
        for conn in waiting {
            self.pay_conn_progress(conn, out);
        }
        while let Some((due_us, id)) = self.progress.first().copied().filter(|(due, _)| *due <= now_us) {
            self.progress.remove(&(due_us, id));
            let Some(watch) = self.watches.get_mut(&id) else {
                continue;
            };
            let quiet_until_us = watch.sent_us + self.options.progress_us;
            if quiet_until_us > now_us {
                self.progress.insert((quiet_until_us, id));
                continue;
            }
            self.progress.insert((now_us + self.options.progress_us, id));
            if self.connections.has_credit(watch.origin.conn) {
                watch.owes_progress = true;
                self.pay_progress(id, out);
            }
        }
    }

    /// An entry was applied: `events` are its changes, in order, and the state, which `source`
    /// reads, is at revision `through` now. Costs what the watches that are concerned cost.
    pub fn publish(
        &mut self,
        events: &[Event],
        through: Revision,
        source: &dyn Source,
        out: &mut Vec<Addressed>,
    ) {
        self.through = through;
        if events.is_empty() {
            return;
        }
        self.recent.push(events);
        let mut hits: Vec<(WatchId, usize)> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            self.matcher.visit(event.keyspace, &event.key, &mut |group| {
                hits.extend(group.iter().map(|id| (*id, at)));
            });
        }
        hits.sort_unstable();
        let mut previous = BTreeMap::new();
        for run in hits.chunk_by(|(first, _), (second, _)| first == second) {
            let id = run[0].0;
            let concerned = run.iter().map(|(_, at)| &events[*at]);
            self.deliver(id, concerned, events[0].revision, &mut previous, source, out);
        }
    }

    fn deliver<'e>(
        &mut self,
        id: WatchId,
        concerned: impl Iterator<Item = &'e Event>,
        first: Revision,
        previous: &mut Previous,
        source: &dyn Source,
        out: &mut Vec<Addressed>,
    ) {
        let Some(watch) = self.watches.get_mut(&id) else {
            return;
        };
        let wanted: Vec<Event> = concerned.filter(|event| watch.wants(event)).cloned().collect();
        if wanted.is_empty() {
            return;
        }
        if !self.connections.has_credit(watch.origin.conn) {
            watch.position = Position::Behind(first);
            self.matcher.remove(watch.spec.keyspace, &watch.spec.range, id);
            self.connections.park(watch.origin.conn, id);
            return;
        }
        let frame = events_frame(wanted, watch.spec.want_previous, self.through, previous, source);
        self.send(id, frame, out);
    }

    /// The state was replaced by a snapshot of a later one. Every watch goes on from where it is.
    pub fn replaced(&mut self, source: &dyn Source) {
        let next = self.through.next();
        #[cfg(feature = "plant")]
        let next = super::plant::next_after_snapshot(next, source.revision());
        for (id, watch) in &mut self.watches {
            if watch.position == Position::Synced {
                self.matcher.remove(watch.spec.keyspace, &watch.spec.range, *id);
                watch.position = Position::Behind(next.max(watch.start));
                self.queue.push_back(*id);
            }
        }
        self.through = source.revision();
        self.recent.reset(self.through);
    }

    pub(super) fn send(&mut self, id: WatchId, frame: WatchFrame, out: &mut Vec<Addressed>) {
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.sent_us = self.now_us;
            self.connections.spend(watch.origin.conn, frame_bytes(&frame));
            out.push((watch.origin, frame));
        }
    }

    pub(super) fn cancel_compacted(
        &mut self,
        id: WatchId,
        asked: Revision,
        source: &dyn Source,
        out: &mut Vec<Addressed>,
    ) {
        let refusal = Rejection::Compacted { asked, oldest: source.compacted() };
        self.end(id, refusal.into(), out);
    }

    /// Ends a watch with a reason.
    pub(super) fn end(&mut self, id: WatchId, refusal: Refusal, out: &mut Vec<Addressed>) {
        self.send(id, WatchFrame::Cancelled(refusal), out);
        self.drop_watch(id);
    }

    /// Forgets a watch everywhere. Queues that still name it pass over it.
    fn drop_watch(&mut self, id: WatchId) {
        let Some(watch) = self.watches.remove(&id) else {
            return;
        };
        self.connections.remove(watch.origin.conn, watch.origin.tag);
        if watch.position == Position::Synced {
            self.matcher.remove(watch.spec.keyspace, &watch.spec.range, id);
        }
        // An entry of `progress` for it is dropped when it is due.
    }
}

/// Superseded records that were read already, for several watches of one entry.
pub(super) type Previous = BTreeMap<(Revision, u32), Option<KeyValue>>;

/// A frame of these events. Superseded records that were reclaimed meanwhile are left out.
pub(super) fn events_frame(
    events: Vec<Event>,
    want_previous: bool,
    through: Revision,
    known: &mut Previous,
    source: &dyn Source,
) -> WatchFrame {
    let read = |at: (Revision, u32)| match source.read(&Query::Previous { at }) {
        Ok(Answer::Previous(record)) => record,
        Ok(_) | Err(_) => None,
    };
    let mut of = |event: &Event| {
        let at = event.previous?;
        known.entry(at).or_insert_with(|| read(at)).clone()
    };
    let previous = if want_previous { events.iter().map(&mut of).collect() } else { Vec::new() };
    WatchFrame::Events { events, previous, through }
}
