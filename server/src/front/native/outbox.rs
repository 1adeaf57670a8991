//! What waits to be sent on one stream: replies and watch frames from the node, and what the door
//! itself has to say, in one order.
//!
//! The node's thread puts in and never waits. The transport takes out when the socket has room. What
//! bounds the queue is admission: a request is *open* from when it is read off the stream until its
//! answer was taken, and the stream's reader waits while too many are open or too many bytes wait.
//! Watch frames are bounded by their credit, which is given back as they are taken.

use super::door::Limits;
use super::tags::{self, Kind};
use super::weights;
use crate::node::handle::{ReplySink, frame_bytes};
use crate::node::request::{self, WatchFrame};
use futures::task::AtomicWaker;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};
use tokio::sync::Notify;

/// Something to be sent. `T` is what the door itself says on this kind of stream.
pub enum Item<T> {
    /// The node's answer.
    Reply {
        /// Whose.
        tag: u64,
        /// The answer.
        result: request::Result,
    },
    /// The node's watch frame.
    Watch {
        /// Of which watch.
        tag: u64,
        /// The frame.
        frame: WatchFrame,
    },
    /// The door's own.
    Own(T),
}

/// Items that are sent together.
pub struct Batch<T> {
    /// In order.
    pub items: Vec<Item<T>>,
    /// Credit to give back for the watch frames among them.
    pub watch_bytes: usize,
}

/// The queue of one stream.
pub struct Outbox<T> {
    limits: Limits,
    queue: Mutex<Queue<T>>,
    room: Notify,
    sender: AtomicWaker,
}

struct Queue<T> {
    items: VecDeque<(usize, Item<T>)>,
    /// Bytes of replies among the items.
    reply_bytes: usize,
    open: usize,
    open_spans: usize,
    end: End,
}

/// How near a stream is to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// More requests may come.
    NotYet,
    /// No more requests come: it ends when all are answered.
    WhenAnswered,
    /// It ends when what is in the queue was sent.
    WhenSent,
}

impl<T> Outbox<T> {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        let queue =
            Queue { items: VecDeque::new(), reply_bytes: 0, open: 0, open_spans: 0, end: End::NotYet };
        Self { limits, queue: Mutex::new(queue), room: Notify::new(), sender: AtomicWaker::new() }
    }

    /// Counts a request as open if there is room for it now.
    pub fn try_admit(&self, kind: Kind) -> bool {
        let mut queue = self.lock();
        let fits = queue.open < self.limits.window
            && queue.reply_bytes < self.limits.waiting_bytes
            && (!is_large(kind) || queue.open_spans < self.limits.spans);
        if fits {
            queue.open += 1;
            queue.open_spans += usize::from(is_large(kind));
        }
        fits
    }

    /// Waits until a request may be open.
    pub async fn admit(&self, kind: Kind) {
        loop {
            let room = self.room.notified();
            if self.try_admit(kind) {
                return;
            }
            room.await;
        }
    }

    /// Puts in what the door itself says, and lets it go out.
    pub fn push(&self, own: T) {
        self.lock().items.push_back((0, Item::Own(own)));
        self.sender.wake();
    }

    /// An open request that the node did not take is answered by the door.
    pub fn push_refused(&self, kind: Kind, own: T) {
        self.lock().close_one(kind);
        self.push(own);
        self.room.notify_one();
    }

    /// No more requests come: the stream ends when all are answered.
    pub fn finish(&self) {
        self.end(End::WhenAnswered);
    }

    /// The stream ends when what is in the queue was sent.
    pub fn close(&self) {
        self.end(End::WhenSent);
    }

    fn end(&self, end: End) {
        self.lock().end = end;
        self.sender.wake();
    }

    /// Takes up to about `bytes` of items, and at least one; `None` at the end of the stream.
    pub fn poll_take(&self, context: &mut Context<'_>, bytes: usize) -> Poll<Option<Batch<T>>> {
        self.sender.register(context.waker());
        let mut queue = self.lock();
        if queue.items.is_empty() {
            let over = match queue.end {
                End::NotYet => false,
                End::WhenAnswered => queue.open == 0,
                End::WhenSent => true,
            };
            return if over { Poll::Ready(None) } else { Poll::Pending };
        }
        let batch = queue.take(bytes);
        drop(queue);
        self.room.notify_one();
        Poll::Ready(Some(batch))
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().expect("no code panics while it holds the queue")
    }
}

impl<T> Queue<T> {
    fn take(&mut self, bytes: usize) -> Batch<T> {
        let mut batch = Batch { items: Vec::with_capacity(self.items.len().min(1024)), watch_bytes: 0 };
        let mut taken = 0;
        while taken < bytes {
            let Some((weight, item)) = self.items.pop_front() else { break };
            taken += weight + ITEM_BYTES;
            match &item {
                Item::Reply { tag, .. } => {
                    self.reply_bytes -= weight;
                    if let Some((kind, _)) = tags::parts(*tag) {
                        self.close_one(kind);
                    }
                }
                Item::Watch { .. } => batch.watch_bytes += weight,
                Item::Own(_) => {}
            }
            batch.items.push(item);
        }
        batch
    }

    /// A request is no longer open. Watches never were: they are counted elsewhere.
    fn close_one(&mut self, kind: Kind) {
        if kind != Kind::Watch {
            self.open = self.open.saturating_sub(1);
            self.open_spans = self.open_spans.saturating_sub(usize::from(is_large(kind)));
        }
    }
}

/// Whether the answer to a request may be a page of several mebibytes.
fn is_large(kind: Kind) -> bool {
    matches!(kind, Kind::Span | Kind::ObjectQuery | Kind::PoolQuery)
}

/// What an item costs beside its content.
const ITEM_BYTES: usize = 16;

impl<T: Send> ReplySink for Outbox<T> {
    fn reply(&self, tag: u64, result: request::Result) {
        let weight = weights::result(&result);
        let mut queue = self.lock();
        queue.reply_bytes += weight;
        queue.items.push_back((weight, Item::Reply { tag, result }));
    }

    fn watch(&self, tag: u64, frame: WatchFrame) {
        let weight = frame_bytes(&frame);
        self.lock().items.push_back((weight, Item::Watch { tag, frame }));
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

    fn outbox() -> Outbox<&'static str> {
        Outbox::new(Limits { window: 2, spans: 1, ..Limits::default() })
    }

    fn take(outbox: &Outbox<&'static str>, bytes: usize) -> Poll<Option<usize>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        outbox.poll_take(&mut context, bytes).map(|batch| batch.map(|batch| batch.items.len()))
    }

    #[test]
    fn a_request_is_open_until_its_answer_was_taken() {
        let outbox = outbox();
        assert!(outbox.try_admit(Kind::Put) && outbox.try_admit(Kind::Span));
        assert!(!outbox.try_admit(Kind::Put), "the window is full");
        outbox.reply(tags::tag(Kind::Put, 1), Ok(Response::Done));
        assert!(!outbox.try_admit(Kind::Put), "answered, but not taken");
        assert_eq!(take(&outbox, 1000), Poll::Ready(Some(1)));
        assert!(!outbox.try_admit(Kind::Span), "one span at a time");
        assert!(outbox.try_admit(Kind::Put));
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_and_has_at_least_one_item() {
        let outbox = outbox();
        for _ in 0..3 {
            outbox.push("word");
        }
        assert_eq!(take(&outbox, 1), Poll::Ready(Some(1)));
        assert_eq!(take(&outbox, 1000), Poll::Ready(Some(2)));
        assert_eq!(take(&outbox, 1000), Poll::Pending);
    }

    #[test]
    fn a_stream_ends_when_all_is_answered_or_at_once() {
        let outbox = outbox();
        assert!(outbox.try_admit(Kind::Put));
        outbox.finish();
        assert_eq!(take(&outbox, 10), Poll::Pending);
        outbox.reply(tags::tag(Kind::Put, 1), Ok(Response::Done));
        assert_eq!(take(&outbox, 10), Poll::Ready(Some(1)));
        assert_eq!(take(&outbox, 10), Poll::Ready(None));

        let hasty = super::tests::outbox();
        assert!(hasty.try_admit(Kind::Put));
        hasty.push("goodbye");
        hasty.close();
        assert_eq!(take(&hasty, 10), Poll::Ready(Some(1)));
        assert_eq!(take(&hasty, 10), Poll::Ready(None));
    }

    #[test]
    fn the_credit_of_taken_watch_frames_is_given_back() {
        let outbox = outbox();
        let frame = WatchFrame::Progress { through: Revision(3) };
        let weight = frame_bytes(&frame);
        outbox.watch(tags::tag(Kind::Watch, 1), frame);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Some(batch)) = outbox.poll_take(&mut context, 10) else {
            panic!("a frame is waiting")
        };
        assert_eq!(batch.watch_bytes, weight);
    }
}
