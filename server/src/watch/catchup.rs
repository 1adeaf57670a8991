//! Pages for the watches that are behind.

use super::hub::{Addressed, Hub, Previous, events_frame};
use super::subscription::{Position, event_bytes};
use super::{Source, WatchId};
use crate::node::request::{Refusal, WatchFrame};
use bytes::Bytes;
use oarlock_state::command::{Answer, KeyRange, RangeQuery, RangeReply, successor};
use oarlock_state::event::Keyspace;
use oarlock_state::{Event, Query, Rejection, Revision};

/// Recent events looked at for one page, in pages. Beyond it the others get their turn.
const LOOKED_AT_PAGES: usize = 8;

/// Part of what a watch missed.
struct Page {
    /// The events that it wants.
    events: Vec<Event>,
    /// Everything up to this revision was looked at.
    through: Revision,
    /// Bytes that were looked at.
    bytes: usize,
}

impl Hub {
    /// Moves the watches that are behind forward, one page each in turn, until about `bytes` were
    /// read. Returns whether more could be done at once.
    pub fn catch_up(&mut self, bytes: usize, source: &dyn Source, out: &mut Vec<Addressed>) -> bool {
        let mut left = bytes;
        while left > 0 {
            let Some(id) = self.queue.pop_front() else {
                return false;
            };
            // Even an empty page is work.
            left = left.saturating_sub(self.step(id, source, out).max(256));
        }
        !self.queue.is_empty()
    }

    fn step(&mut self, id: WatchId, source: &dyn Source, out: &mut Vec<Addressed>) -> usize {
        let Some(watch) = self.watches.get(&id) else {
            return 0;
        };
        let conn = watch.origin.conn;
        if !self.connections.has_credit(conn) {
            self.connections.park(conn, id);
            return 0;
        }
        match watch.position.clone() {
            Position::Synced => 0,
            Position::Behind(next) if next > self.through => {
                self.synced(id, out);
                0
            }
            Position::Behind(next) => self.events_step(id, next, source, out),
            Position::Resync { revision, from } => self.resync_step(id, revision, from, source, out),
        }
    }

    fn synced(&mut self, id: WatchId, out: &mut Vec<Addressed>) {
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.position = Position::Synced;
            self.matcher.insert(watch.spec.keyspace, &watch.spec.range, id);
        }
        self.pay_progress(id, out);
    }

    fn events_step(
        &mut self,
        id: WatchId,
        next: Revision,
        source: &dyn Source,
        out: &mut Vec<Addressed>,
    ) -> usize {
        let read = match self.recent_page(id, next) {
            Some(page) => Ok(page),
            None => self.history_page(id, next, source),
        };
        let page = match read {
            Ok(page) => page,
            Err(_) => return self.overtaken(id, next, source, out),
        };
        #[cfg(feature = "plant")]
        let page = Page { events: super::plant::page(page.events), ..page };
        let Some(watch) = self.watches.get_mut(&id) else {
            return 0;
        };
        watch.position = Position::Behind(page.through.next());
        let want_previous = watch.spec.want_previous;
        if !page.events.is_empty() {
            let mut known = Previous::new();
            let frame = events_frame(page.events, want_previous, page.through, &mut known, source);
            self.send(id, frame, out);
        }
        if page.through >= self.through {
            self.synced(id, out);
        } else {
            self.queue.push_back(id);
        }
        page.bytes
    }

    /// A page of whole revisions from memory; `None` if they are not there any more.
    fn recent_page(&self, id: WatchId, next: Revision) -> Option<Page> {
        let watch = self.watches.get(&id)?;
        let mut page = Page { events: Vec::new(), through: self.through, bytes: 0 };
        let (mut wanted_bytes, mut last) = (0, next);
        let looked_at_max = self.options.page_bytes * LOOKED_AT_PAGES;
        for event in self.recent.since(next)? {
            let begins = event.revision != last;
            if begins && (wanted_bytes >= self.options.page_bytes || page.bytes >= looked_at_max) {
                page.through = Revision(event.revision.get() - 1);
                break;
            }
            last = event.revision;
            page.bytes += event_bytes(event);
            if watch.matches(event) {
                wanted_bytes += event_bytes(event);
                page.events.push(event.clone());
            }
        }
        Some(page)
    }

    fn history_page(&self, id: WatchId, from: Revision, source: &dyn Source) -> Result<Page, Rejection> {
        let byte_budget = self.options.page_bytes as u64;
        let query = Query::History { from, to: self.through, byte_budget };
        let mut page = Page { events: Vec::new(), through: self.through, bytes: 0 };
        if let Answer::History { mut events, through } = source.read(&query)? {
            page.bytes = events.iter().map(event_bytes).sum();
            events.retain(|event| self.watches.get(&id).is_some_and(|watch| watch.matches(event)));
            (page.events, page.through) = (events, through);
        }
        Ok(page)
    }

    /// What the watch would read next is compacted.
    fn overtaken(
        &mut self,
        id: WatchId,
        next: Revision,
        source: &dyn Source,
        out: &mut Vec<Addressed>,
    ) -> usize {
        let revision = self.through;
        match self.watches.get_mut(&id) {
            Some(watch) if watch.spec.resync => {
                watch.position = Position::Resync { revision, from: None };
                self.queue.push_back(id);
            }
            #[cfg(feature = "plant")]
            Some(watch) if oarlock_state::plant::is("overtaken_in_silence") => {
                watch.position = Position::Behind(source.compacted());
                self.queue.push_back(id);
            }
            Some(_) => self.cancel_compacted(id, next, source, out),
            None => {}
        }
        0
    }

    fn resync_step(
        &mut self,
        id: WatchId,
        revision: Revision,
        from: Option<Bytes>,
        source: &dyn Source,
        out: &mut Vec<Addressed>,
    ) -> usize {
        let Some(watch) = self.watches.get(&id) else {
            return 0;
        };
        if watch.spec.keyspace != Keyspace::Kv {
            let what = "only a watch of keys can be resynchronized; read the znodes or objects and watch \
                        from there"
                .to_owned();
            self.end(id, Refusal::Invalid { what }, out);
            return 0;
        }
        let query = page_query(&watch.spec.range, from, revision, self.options.page_bytes);
        let answer = source.read(&query);
        let Ok(Answer::Range(RangeReply { records, more, .. })) = answer else {
            // Compaction overtook the revision that was being sent: again, from the current one.
            return self.overtaken(id, revision, source, out);
        };
        let after = records.last().map(|record| successor(&record.key));
        let frame = WatchFrame::Resync { revision, records, last: !more };
        let bytes = super::subscription::frame_bytes(&frame);
        self.send(id, frame, out);
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.position = match after {
                Some(from) if more => Position::Resync { revision, from: Some(from) },
                Some(_) | None => Position::Behind(revision.next()),
            };
            watch.start = revision.next();
            self.queue.push_back(id);
        }
        bytes
    }
}

fn page_query(range: &KeyRange, from: Option<Bytes>, revision: Revision, budget: usize) -> Query {
    let range = match (range, from) {
        (KeyRange::Span { end, .. }, Some(start)) => KeyRange::Span { start, end: end.clone() },
        (KeyRange::Key(_) | KeyRange::Span { .. }, _) => range.clone(),
    };
    Query::Range(RangeQuery { revision, byte_budget: budget as u64, ..RangeQuery::of(range) })
}
