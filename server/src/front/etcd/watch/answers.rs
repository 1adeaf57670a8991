//! The responses of one stream.

use super::super::convert::event;
use super::super::door::{Door, number};
use super::super::errors;
use super::fragment;
use super::outbox::{Item, Outbox};
use super::registry::{Entry, NO_WATCH, Named, Registry, STREAM_PROGRESS};
use crate::node::handle::Conn;
use crate::node::request::{self, Refusal, WatchFrame};
use futures::Stream;
use oarlock_proto::etcd::etcdserverpb::WatchResponse;
use oarlock_state::command::KeyValue;
use oarlock_state::{Event, Rejection, Revision};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::AbortHandle;
use tonic::Status;

/// About as many bytes are taken from the queue at a time.
const BATCH_BYTES: usize = 64 * 1024;

/// The responses, as the transport takes them. Dropping it ends the stream's reader and watches.
pub struct Answers {
    door: Arc<Door>,
    outbox: Arc<Outbox>,
    conn: Arc<Conn>,
    registry: Arc<Registry>,
    /// Taken from the queue and not yet by the transport.
    items: VecDeque<Item>,
    /// The same, converted.
    ready: VecDeque<WatchResponse>,
    /// The latest revision that the stream's client was told, so that it never goes back.
    told: Revision,
    reader: AbortHandle,
}

impl Answers {
    /// What `outbox` collects, as responses.
    pub fn new(
        door: Arc<Door>,
        outbox: Arc<Outbox>,
        conn: Arc<Conn>,
        registry: Arc<Registry>,
        reader: AbortHandle,
    ) -> Self {
        let (items, ready) = (VecDeque::new(), VecDeque::new());
        Self { door, outbox, conn, registry, items, ready, told: Revision(0), reader }
    }

    /// Converts one item to responses in `ready`.
    ///
    /// # Errors
    /// The stream ends with this.
    fn take(&mut self, item: Item) -> Result<(), Status> {
        match item {
            Item::Watch { tag, frame } => self.frame(tag, frame),
            Item::Reply { tag, result } => {
                self.outbox.answered();
                self.reply(tag, result)?;
            }
            Item::End(status) => return Err(status),
        }
        Ok(())
    }

    fn frame(&mut self, tag: u64, frame: WatchFrame) {
        match frame {
            WatchFrame::Created { next: _, current } => {
                self.outbox.answered();
                if let Some(Named { id, .. }) = self.registry.created(tag) {
                    self.say(current, WatchResponse { watch_id: id, created: true, ..Default::default() });
                }
            }
            WatchFrame::Events { events, previous, through } => self.events(tag, events, previous, through),
            WatchFrame::Progress { through } if tag == STREAM_PROGRESS => {
                self.say(through, WatchResponse { watch_id: NO_WATCH, ..Default::default() });
            }
            WatchFrame::Progress { through } => {
                if let Some(Named { id, .. }) = self.registry.find(tag) {
                    self.say(through, WatchResponse { watch_id: id, ..Default::default() });
                }
            }
            WatchFrame::Cancelled(refusal) => self.cancelled(tag, &refusal),
            WatchFrame::Resync { .. } => debug_assert!(false, "no watch of this door asks for it"),
        }
    }

    fn events(&mut self, tag: u64, events: Vec<Event>, previous: Vec<Option<KeyValue>>, through: Revision) {
        let Some(Named { id, fragment, .. }) = self.registry.find(tag) else { return };
        // Empty unless it was asked for.
        let previous = previous.into_iter().chain(std::iter::repeat(None));
        let events = events.into_iter().zip(previous).map(|(one, before)| event(one, before)).collect();
        let response = WatchResponse { watch_id: id, events, ..Default::default() };
        let response = self.headed(through, response);
        if fragment {
            self.ready.extend(fragment::split(response, fragment::size(self.door.limits())));
        } else {
            self.ready.push_back(response);
        }
    }

    /// The node ended a watch, or did not begin it.
    fn cancelled(&mut self, tag: u64, refusal: &Refusal) {
        match self.registry.end(tag) {
            Some(Entry::Watch(Named { id, created: true, .. })) => {
                let over = WatchResponse { watch_id: id, canceled: true, ..Default::default() };
                match refusal {
                    // Clients know it by the compacted revision alone; etcd's header has none here.
                    Refusal::Rejected(Rejection::Compacted { oldest, .. }) => {
                        let compact_revision = number(oldest.get());
                        self.say(Revision(0), WatchResponse { compact_revision, ..over });
                    }
                    other => self.say_now(WatchResponse { cancel_reason: reason(other), ..over }),
                }
            }
            Some(Entry::Watch(Named { created: false, .. }) | Entry::Refused(_)) => {
                self.outbox.answered();
                self.refused(reason(refusal));
            }
            None => {}
        }
    }

    /// The node's answer to a cancellation, or to a creation that it did not take.
    fn reply(&mut self, tag: u64, result: request::Result) -> Result<(), Status> {
        if tag == STREAM_PROGRESS {
            return Ok(());
        }
        match (self.registry.end(tag), result) {
            (Some(Entry::Refused(reason)), _) => self.refused(reason),
            (Some(Entry::Watch(Named { id, .. })), Ok(_)) => {
                self.say_now(WatchResponse { watch_id: id, canceled: true, ..Default::default() });
            }
            (Some(Entry::Watch(Named { created: false, .. })), Err(refusal @ Refusal::Rejected(_))) => {
                self.refused(reason(&refusal));
            }
            (Some(Entry::Watch(_)), Err(refusal)) => return Err(errors::status(&refusal)),
            // It was over before its cancellation came.
            (None, _) => {}
        }
        Ok(())
    }

    /// A watch that cannot be is created and cancelled in one, under no number.
    fn refused(&mut self, cancel_reason: String) {
        let response = WatchResponse {
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason,
            ..Default::default()
        };
        self.say_now(response);
    }

    fn say(&mut self, revision: Revision, response: WatchResponse) {
        let response = self.headed(revision, response);
        self.ready.push_back(response);
    }

    /// Says what is of no particular revision.
    fn say_now(&mut self, response: WatchResponse) {
        let revision = self.told.max(self.door.handle().revision_now());
        self.say(revision, response);
    }

    fn headed(&mut self, revision: Revision, response: WatchResponse) -> WatchResponse {
        self.told = self.told.max(revision);
        WatchResponse { header: Some(self.door.header(revision)), ..response }
    }
}

/// Go's clients compare the whole text, in which etcd leaves the code where authentication refuses.
fn reason(refusal: &Refusal) -> String {
    let status = errors::status(refusal);
    match refusal {
        Refusal::Rejected(Rejection::Auth(_)) => {
            format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
        }
        _ => status.message().to_owned(),
    }
}

impl Stream for Answers {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(response)));
            }
            if let Some(item) = self.items.pop_front() {
                if let Err(status) = self.take(item) {
                    return Poll::Ready(Some(Err(status)));
                }
                continue;
            }
            let batch = std::task::ready!(self.outbox.poll_take(context, BATCH_BYTES));
            if batch.watch_bytes > 0 {
                self.conn.credit(batch.watch_bytes);
            }
            self.items.extend(batch.items);
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
