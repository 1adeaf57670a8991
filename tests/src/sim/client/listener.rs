//! A watch of one object, from where a reply left off, for a claim that waits or holds.

use crate::sim::chance::Chance;
use crate::sim::desk::Desk;
use crate::sim::queue::{MS, Time};
use crate::watched::Watched;
use bytes::Bytes;
use oarlock_server::node::request::{Refusal, Request, WatchFrame, WatchSpec};
use oarlock_state::command::KeyRange;
use oarlock_state::event::{Event, Keyspace};
use oarlock_state::{Rejection, Revision};

/// A watch over all its lives.
#[derive(Debug)]
pub(super) struct Listener {
    name: Bytes,
    /// Everything up to here was delivered.
    through: u64,
    current: Option<Current>,
    pause_until: Time,
}

#[derive(Debug)]
struct Current {
    conn: u64,
    watched: usize,
}

/// What a frame tells.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) events: Vec<Event>,
    /// History was compacted beyond it: only asking again tells.
    pub(super) missed: bool,
}

impl Listener {
    /// Listens to what happens to an object after a revision.
    pub(super) fn new(name: Bytes, after: u64) -> Self {
        Self { name, through: after, current: None, pause_until: 0 }
    }

    /// Begins the watch unless it is under way.
    pub(super) fn tend(&mut self, desk: &mut Desk<'_>, chance: &mut Chance, client: u64) {
        if self.current.is_some() || desk.now < self.pause_until || desk.nodes.is_empty() {
            return;
        }
        let node = *chance.pick(desk.nodes);
        *desk.next_conn += 1;
        let conn = *desk.next_conn;
        let spec = WatchSpec {
            keyspace: Keyspace::Object,
            range: KeyRange::Key(self.name.clone()),
            start: Revision(self.through + 1),
            want_previous: false,
            no_put: false,
            no_delete: false,
            want_progress: true,
            resync: false,
        };
        desk.stats.count("lock: watch begun");
        self.current = Some(Current { conn, watched: desk.watched.len() });
        desk.watched.push(Watched { client, node, spec: spec.clone(), frames: Vec::new() });
        desk.sends.push((node, conn, 1, Request::Watch(spec)));
    }

    /// Whether the watch goes over this connection.
    pub(super) fn is_at(&self, conn: u64) -> bool {
        self.current.as_ref().is_some_and(|current| current.conn == conn)
    }

    /// Takes a frame.
    pub(super) fn frame(&mut self, desk: &mut Desk<'_>, frame: &WatchFrame) -> Heard {
        let mut heard = Heard::default();
        let Some(current) = &self.current else { return heard };
        desk.watched[current.watched].frames.push(frame.clone());
        match frame {
            WatchFrame::Events { events, through, .. } => {
                self.through = self.through.max(through.get());
                heard.events.clone_from(events);
            }
            WatchFrame::Progress { through } => self.through = self.through.max(through.get()),
            WatchFrame::Created { .. } | WatchFrame::Resync { .. } => {}
            WatchFrame::Cancelled(refusal) => {
                heard.missed = matches!(refusal, Refusal::Rejected(Rejection::Compacted { .. }));
                self.pause_until = desk.now + 50 * MS;
                self.close(desk);
            }
        }
        heard
    }

    /// The connection broke.
    pub(super) fn lost(&mut self) {
        self.current = None;
    }

    /// Listens no longer.
    pub(super) fn close(&mut self, desk: &mut Desk<'_>) {
        if let Some(current) = self.current.take() {
            desk.closes.push(current.conn);
        }
    }
}
