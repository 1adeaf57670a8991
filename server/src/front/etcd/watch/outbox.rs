//! What waits to be sent on one stream.
//!
//! The node's thread puts in and never waits; the transport takes out when the socket has room. Events
//! are bounded by their credit, which is given back as they are taken. Everything else answers a
//! request, and requests are bounded: one is *open* from when it is read off the stream until its
//! answer was taken, and the reader waits while too many are.

use crate::node::handle::{ReplySink, frame_bytes};
use crate::node::request::{self, WatchFrame};
use futures::task::AtomicWaker;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};
use tokio::sync::Notify;
use tonic::Status;

/// Requests of one stream that may be open.
const OPEN_MAX: usize = 1024;
/// What an item costs beside its content.
const ITEM_BYTES: usize = 16;

/// Something to be sent.
#[derive(Debug)]
pub enum Item {
    /// The node's answer to a request.
    Reply {
        /// Of which watch.
        tag: u64,
        /// The answer.
        result: request::Result,
    },
    /// What the node says of a watch.
    Watch {
        /// Of which watch.
        tag: u64,
        /// What.
        frame: WatchFrame,
    },
    /// The stream ends, for this reason.
    End(Status),
}

/// Items that were taken together.
pub struct Batch {
    /// In order.
    pub items: Vec<Item>,
    /// Credit to give back for the watch frames among them.
    pub watch_bytes: usize,
}

/// The queue of one stream.
#[derive(Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    room: Notify,
    sender: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<(usize, Item)>,
    open: usize,
}

impl Outbox {
    /// Waits until one more request may be open, and counts it.
    pub async fn admit(&self) {
        loop {
            let room = self.room.notified();
            if self.try_admit() {
                return;
            }
            room.await;
        }
    }

    fn try_admit(&self) -> bool {
        let mut queue = self.lock();
        let fits = queue.open < OPEN_MAX;
        queue.open += usize::from(fits);
        fits
    }

    /// An open request was answered, or needs no answer.
    pub fn answered(&self) {
        let mut queue = self.lock();
        queue.open = queue.open.saturating_sub(1);
        drop(queue);
        self.room.notify_one();
    }

    /// The stream ends when what is in the queue was sent.
    pub fn end(&self, reason: Status) {
        self.lock().items.push_back((0, Item::End(reason)));
        self.sender.wake();
    }

    /// Takes up to about `bytes` of items, and at least one.
    pub fn poll_take(&self, context: &mut Context<'_>, bytes: usize) -> Poll<Batch> {
        self.sender.register(context.waker());
        let mut queue = self.lock();
        if queue.items.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(queue.take(bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code panics while it holds the queue")
    }
}

impl Queue {
    fn take(&mut self, bytes: usize) -> Batch {
        let mut batch = Batch { items: Vec::new(), watch_bytes: 0 };
        let mut taken = 0;
        while taken < bytes {
            let Some((weight, item)) = self.items.pop_front() else { break };
            taken += weight + ITEM_BYTES;
            batch.watch_bytes += weight;
            batch.items.push(item);
        }
        batch
    }
}

impl ReplySink for Outbox {
    fn reply(&self, tag: u64, result: request::Result) {
        self.lock().items.push_back((0, Item::Reply { tag, result }));
    }

    fn watch(&self, tag: u64, frame: WatchFrame) {
        self.lock().items.push_back((frame_bytes(&frame), Item::Watch { tag, frame }));
    }

    fn flush(&self) {
        self.sender.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::request::Response;
    use oarlock_state::Revision;

    fn take(outbox: &Outbox, bytes: usize) -> Poll<(usize, usize)> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        outbox.poll_take(&mut context, bytes).map(|batch| (batch.items.len(), batch.watch_bytes))
    }

    #[test]
    fn a_batch_is_bounded_and_only_frames_count_as_credit() {
        let outbox = Outbox::default();
        assert_eq!(take(&outbox, 10), Poll::Pending);
        outbox.reply(1, Ok(Response::Done));
        outbox.watch(1, WatchFrame::Progress { through: Revision(3) });
        assert_eq!(take(&outbox, 1), Poll::Ready((1, 0)));
        assert_eq!(take(&outbox, 1), Poll::Ready((1, 64)));
    }

    #[test]
    fn a_client_that_takes_no_answers_may_ask_no_more() {
        let outbox = Outbox::default();
        for _ in 0..OPEN_MAX {
            assert!(outbox.try_admit());
        }
        assert!(!outbox.try_admit());
        outbox.answered();
        assert!(outbox.try_admit());
    }
}
