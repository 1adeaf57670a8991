//! What the node answers to the calls of one connection. The node's thread puts in and never waits;
//! the connection's task takes out all of a round at once. There is at most one reply for each call
//! that waits, and their number is bounded.

use crate::node::handle::ReplySink;
use crate::node::request::{self, WatchFrame};
use futures::task::AtomicWaker;
use std::sync::{Mutex, MutexGuard};
use std::task::Context;

/// A reply, and the tag of its call.
pub(super) type Reply = (u64, request::Result);

/// Replies that were not taken yet.
#[derive(Default)]
pub(super) struct Replies {
    waiting: Mutex<Vec<Reply>>,
    connection: AtomicWaker,
}

impl Replies {
    /// Swaps all that are there with `emptied`; the task is woken when there are more.
    pub(super) fn take(&self, context: &mut Context<'_>, emptied: &mut Vec<Reply>) {
        self.connection.register(context.waker());
        std::mem::swap(&mut *self.lock(), emptied);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Reply>> {
        self.waiting.lock().expect("no code panics while it holds the replies")
    }
}

impl ReplySink for Replies {
    fn reply(&self, tag: u64, result: request::Result) {
        self.lock().push((tag, result));
    }

    fn watch(&self, _tag: u64, _frame: WatchFrame) {
        // No unary call begins a watch.
    }

    fn flush(&self) {
        self.connection.wake();
    }
}
