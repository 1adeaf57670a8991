//! A client that watches, and resumes elsewhere after the last revision that it was vouched for.

use super::chance::Chance;
use super::client::Desk;
use super::queue::{MS, Time};
use crate::watched::Watched;
use bytes::Bytes;
use oarlock_server::node::request::{Refusal, Request, Result as Answered, WatchFrame, WatchSpec};
use oarlock_state::command::KeyRange;
use oarlock_state::event::Keyspace;
use oarlock_state::{Rejection, Revision};

/// Watches one range for the whole run, over many lives of the watch.
pub struct Watcher {
    number: u64,
    chance: Chance,
    keyspace: Keyspace,
    range: KeyRange,
    current: Option<Current>,
    /// Everything up to here was delivered; zero before the first frame.
    through: u64,
    /// Nothing is tried before.
    pause_until: Time,
    next_tag: u64,
}

/// The watch that is under way.
#[derive(Debug)]
struct Current {
    conn: u64,
    tag: u64,
    watched: usize,
    ends: Time,
}

impl Watcher {
    /// Watches something drawn at random.
    pub fn new(number: u64, mut chance: Chance) -> Self {
        let span = |start: &'static [u8], end: Option<&'static [u8]>| KeyRange::Span {
            start: Bytes::from_static(start),
            end: end.map(Bytes::from_static),
        };
        let keyspace = if chance.one_in(4) { Keyspace::Tree } else { Keyspace::Kv };
        let range = match chance.below(4) {
            _ if keyspace == Keyspace::Tree => span(b"/", None),
            0 => KeyRange::Key(Bytes::from_static(b"r/0")),
            1 => span(b"r/", Some(b"r0")),
            2 => span(b"e/", Some(b"e0")),
            _ => span(b"\0", None),
        };
        Self { number, chance, keyspace, range, current: None, through: 0, pause_until: 0, next_tag: 1 }
    }

    /// Up to where everything was delivered.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Begins a watch if none is under way; now and then moves to another member.
    pub fn wake(&mut self, desk: &mut Desk<'_>) {
        if self.current.as_ref().is_some_and(|current| current.ends <= desk.now)
            && let Some(current) = self.current.take()
        {
            desk.closes.push(current.conn);
            if self.chance.one_in(2) {
                // Long enough for a compaction to overtake.
                self.pause_until = desk.now + self.chance.below(5_000) * MS;
            }
        }
        if self.current.is_some() || desk.now < self.pause_until || desk.nodes.is_empty() {
            return;
        }
        let node = *self.chance.pick(desk.nodes);
        *desk.next_conn += 1;
        let (conn, tag) = (*desk.next_conn, self.next_tag);
        self.next_tag += 1;
        let start = if self.through == 0 { 1 } else { self.through + 1 };
        let spec = WatchSpec {
            keyspace: self.keyspace,
            range: self.range.clone(),
            start: Revision(start),
            want_previous: self.chance.one_in(3),
            no_put: false,
            no_delete: false,
            want_progress: true,
            resync: self.keyspace == Keyspace::Kv && self.chance.one_in(2),
        };
        desk.stats.count(if self.through == 0 { "watch: begun" } else { "watch: resumed" });
        self.current = Some(Current {
            conn,
            tag,
            watched: desk.watched.len(),
            ends: desk.now + self.chance.between(500, 20_000) * MS,
        });
        desk.watched.push(Watched { client: self.number, node, spec: spec.clone(), frames: Vec::new() });
        desk.sends.push((node, conn, tag, Request::Watch(spec)));
    }

    /// A frame came.
    pub fn frame(&mut self, desk: &mut Desk<'_>, conn: u64, tag: u64, frame: WatchFrame) {
        let Some(current) = &self.current else { return };
        if (current.conn, current.tag) != (conn, tag) {
            return;
        }
        match &frame {
            WatchFrame::Created { .. } => desk.stats.count("watch: created"),
            WatchFrame::Events { through, events, .. } => {
                desk.stats.add("watch: events", events.len() as u64);
                self.through = self.through.max(through.get());
            }
            WatchFrame::Progress { through } => {
                desk.stats.count("watch: progress");
                self.through = self.through.max(through.get());
            }
            WatchFrame::Resync { revision, last, .. } => {
                if *last {
                    desk.stats.count("watch: resynced");
                    self.through = revision.get();
                }
            }
            WatchFrame::Cancelled(refusal) => {
                desk.stats.count("watch: cancelled");
                if let Refusal::Rejected(Rejection::Compacted { oldest, .. }) = refusal {
                    self.through = self.through.max(oldest.get().saturating_sub(1));
                }
            }
        }
        desk.watched[current.watched].frames.push(frame.clone());
        if matches!(frame, WatchFrame::Cancelled(_)) {
            self.pause_until = desk.now + 50 * MS;
            if let Some(current) = self.current.take() {
                desk.closes.push(current.conn);
            }
        }
    }

    /// A watch that is refused is answered instead.
    pub fn answered(&mut self, conn: u64, _tag: u64, result: Answered) {
        if result.is_err() {
            self.lost(conn);
        }
    }

    /// The connection broke.
    pub fn lost(&mut self, conn: u64) {
        if self.current.as_ref().is_some_and(|current| current.conn == conn) {
            self.current = None;
        }
    }
}
