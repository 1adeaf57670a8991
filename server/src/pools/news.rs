//! Which pools changed, as a watch of all of them tells. Bounded by the number of pools: it keeps their
//! names, not their events.

use crate::node::handle::{Conn, Handle, ReplySink, frame_bytes};
use crate::node::request::{self, Refusal, Request, WatchFrame, WatchSpec};
use bytes::Bytes;
use oarlock_state::command::KeyRange;
use oarlock_state::event::{EventKind, Keyspace};
use oarlock_state::pool::PoolEvent;
use oarlock_state::{Caller, Event, Revision};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// A watch of all pools, until it is dropped.
pub(super) struct News {
    sink: Arc<Sink>,
    conn: Conn,
}

/// What was heard since the last time.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The watch is in place: what is listed from now on misses nothing.
    pub placed: bool,
    /// The watch is over, and must be begun anew.
    pub over: bool,
    /// Pools that changed; true for those of which only loads, weights or pins did.
    pub changed: BTreeMap<Bytes, bool>,
    bytes: usize,
}

impl News {
    /// Begins to watch.
    ///
    /// # Errors
    /// What the node refuses.
    pub fn open(handle: &Handle) -> Result<Self, Refusal> {
        let sink = Arc::new(Sink::default());
        let conn = handle.open_conn_as(Caller::Server, sink.clone());
        let watch = WatchSpec {
            keyspace: Keyspace::Pool,
            range: KeyRange::prefix(b""),
            start: Revision(0),
            want_previous: false,
            no_put: false,
            no_delete: false,
            want_progress: false,
            resync: false,
        };
        conn.submit(1, Request::Watch(watch))?;
        Ok(Self { sink, conn })
    }

    /// Completes when there is something to [`take`](Self::take).
    pub async fn wait(&self) {
        self.sink.notify.notified().await;
    }

    /// What was heard since the last time.
    pub fn take(&self) -> Heard {
        let heard = std::mem::take(&mut *self.sink.lock());
        if heard.bytes > 0 {
            self.conn.credit(heard.bytes);
        }
        heard
    }
}

#[derive(Default)]
struct Sink {
    heard: Mutex<Heard>,
    notify: Notify,
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no code panics while it holds what was heard")
    }
}

impl ReplySink for Sink {
    fn reply(&self, _tag: u64, result: request::Result) {
        if result.is_err() {
            self.lock().over = true;
            self.notify.notify_one();
        }
    }

    fn watch(&self, _tag: u64, frame: WatchFrame) {
        let mut heard = self.lock();
        heard.bytes += frame_bytes(&frame);
        match frame {
            WatchFrame::Created { .. } => heard.placed = true,
            WatchFrame::Events { events, .. } => {
                for event in events {
                    let tuned = is_tuned(&event);
                    heard.changed.entry(event.key).and_modify(|only| *only &= tuned).or_insert(tuned);
                }
            }
            WatchFrame::Progress { .. } => {}
            // A watch from now on is not resynced; if it ever is, the pools are listed.
            WatchFrame::Resync { .. } => heard.placed = true,
            WatchFrame::Cancelled(_) => heard.over = true,
        }
        drop(heard);
        self.notify.notify_one();
    }
}

fn is_tuned(event: &Event) -> bool {
    matches!(event.kind, EventKind::Pool(PoolEvent::ShardTuned { .. }))
}
