//! Changes of keys, for as long as somebody waits for them: dropping a feed ends its watches.

use super::super::door::{Caller, Door};
use super::super::errors;
use super::super::watch::outbox::{Item, Outbox};
use crate::node::handle::Conn;
use crate::node::request::{Refusal, Request as Ask, WatchFrame, WatchSpec};
use oarlock_state::command::KeyRange;
use oarlock_state::event::Keyspace;
use oarlock_state::{Event, Rejection, Revision};
use std::collections::VecDeque;
use std::sync::Arc;
use tonic::Status;

/// About as many bytes are taken from the queue at a time.
const BATCH_BYTES: usize = 64 * 1024;

/// Watches, as one series of events.
pub struct Feed {
    outbox: Arc<Outbox>,
    conn: Conn,
    items: VecDeque<Item>,
}

/// What a feed tells.
#[derive(Debug)]
pub enum News {
    /// Whole revisions.
    Events {
        /// The events.
        events: Vec<Event>,
        /// Everything up to this revision was told.
        through: Revision,
    },
    /// What comes next was compacted: look at the keys again, and watch from there.
    Overtaken,
}

impl Feed {
    /// Watches these, from the revision after `seen` on.
    ///
    /// # Errors
    /// What the node refuses.
    pub fn open(
        door: &Door,
        caller: &Caller,
        ranges: impl IntoIterator<Item = KeyRange>,
        seen: Revision,
        only_deletes: bool,
    ) -> Result<Self, Status> {
        let outbox = Arc::new(Outbox::default());
        let conn = door.open_conn(caller, outbox.clone());
        let watch = |range| {
            Ask::Watch(WatchSpec {
                keyspace: Keyspace::Kv,
                range,
                start: seen.next(),
                want_previous: false,
                no_put: only_deletes,
                no_delete: false,
                want_progress: false,
                resync: false,
            })
        };
        let watches = (1..).zip(ranges.into_iter().map(watch)).collect();
        conn.submit_all(watches).map_err(|refusal| errors::status(&refusal))?;
        Ok(Self { outbox, conn, items: VecDeque::new() })
    }

    /// What happens next.
    ///
    /// # Errors
    /// The watches ended.
    pub async fn next(&mut self) -> Result<News, Status> {
        loop {
            while let Some(item) = self.items.pop_front() {
                if let Some(news) = news(item)? {
                    return Ok(news);
                }
            }
            let batch = std::future::poll_fn(|context| self.outbox.poll_take(context, BATCH_BYTES)).await;
            if batch.watch_bytes > 0 {
                self.conn.credit(batch.watch_bytes);
            }
            self.items.extend(batch.items);
        }
    }
}

fn news(item: Item) -> Result<Option<News>, Status> {
    match item {
        Item::Watch { frame, .. } => match frame {
            WatchFrame::Events { events, through, .. } => Ok(Some(News::Events { events, through })),
            WatchFrame::Cancelled(Refusal::Rejected(Rejection::Compacted { .. })) => {
                Ok(Some(News::Overtaken))
            }
            WatchFrame::Cancelled(refusal) => Err(errors::status(&refusal)),
            WatchFrame::Created { .. } | WatchFrame::Progress { .. } | WatchFrame::Resync { .. } => Ok(None),
        },
        Item::Reply { result: Err(refusal), .. } => Err(errors::status(&refusal)),
        Item::Reply { result: Ok(_), .. } => Ok(None),
        Item::End(status) => Err(status),
    }
}
