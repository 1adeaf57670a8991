//! Assignments as callbacks.

use super::assignment::{Assignment, ShardLoss};
use super::member::{Member, MemberHandle};
use crate::error::Result;
use crate::types::Token;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::task::JoinHandle;

/// What a program does with its shards. The callbacks of one shard run one after the other; those of
/// different shards run at the same time. [`lost`](Self::lost) and [`cancelled`](Self::cancelled) do
/// not wait: whatever runs for the shard is dropped at its next await, and they run at once.
pub trait Handler: Send + Sync + 'static {
    /// The shard is this member's from now on. Begin to work on it and return; work that runs on its
    /// own asks [`Owned::token`](super::Owned::token) before everything it does.
    fn assigned(&self, shard: Bytes, token: Token) -> impl Future<Output = ()> + Send;

    /// The shard is to be this member's soon: warm up. It is reported as ready when this returns.
    fn prepare(&self, shard: Bytes, deadline: SystemTime) -> impl Future<Output = ()> + Send {
        let _ = (shard, deadline);
        async {}
    }

    /// The shard that was prepared for stays where it is.
    fn cancelled(&self, shard: Bytes) -> impl Future<Output = ()> + Send {
        let _ = shard;
        async {}
    }

    /// Finish what is under way and stop; the shard is released when this returns. `to` is warm.
    fn drain(&self, shard: Bytes, to: Option<Bytes>, deadline: SystemTime)
    -> impl Future<Output = ()> + Send;

    /// The shard is not this member's any more, and was not released by it: stop at once.
    fn lost(&self, shard: Bytes, cause: ShardLoss) -> impl Future<Output = ()> + Send;

    /// Keep a copy of the shard. It is reported as warm when this returns.
    fn copy(&self, shard: Bytes) -> impl Future<Output = ()> + Send {
        let _ = shard;
        async {}
    }

    /// Keep a copy no longer.
    fn copy_dropped(&self, shard: Bytes) -> impl Future<Output = ()> + Send {
        let _ = shard;
        async {}
    }
}

impl Member {
    /// Answers assignments by callbacks until the member left.
    ///
    /// # Errors
    /// What ended the member: the pool is gone, or does not let it take part.
    pub async fn run(mut self, handler: impl Handler) -> Result<()> {
        let handler = Arc::new(handler);
        let mut running: BTreeMap<Bytes, Running> = BTreeMap::new();
        let outcome = loop {
            let assignment = match self.next().await {
                Some(Ok(assignment)) => assignment,
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            };
            running.retain(|_, task| !task.0.is_finished());
            let shard = assignment.shard().clone();
            let before = running.remove(&shard);
            if let Some(before) = before.as_ref().filter(|_| is_urgent(&assignment)) {
                before.0.abort();
            }
            let (handler, handle) = (handler.clone(), self.handle());
            let task = tokio::spawn(async move {
                if let Some(mut before) = before {
                    // Aborted, or whatever it came to: its own business.
                    let _ = (&mut before.0).await;
                }
                answer(&*handler, &handle, assignment).await;
            });
            running.insert(shard, Running(task));
        };
        for (_, mut task) in running {
            let _ = (&mut task.0).await;
        }
        outcome
    }
}

/// What runs for a shard, and with it whatever ran before it: both end when nobody waits for them.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether what runs for the shard is pointless by now.
fn is_urgent(assignment: &Assignment) -> bool {
    match assignment {
        Assignment::Lost { .. } | Assignment::Cancelled { .. } | Assignment::CopyDropped { .. } => true,
        Assignment::Keep { .. } => true,
        Assignment::Assigned { .. }
        | Assignment::Prepare { .. }
        | Assignment::Drain { .. }
        | Assignment::Copy { .. } => false,
    }
}

async fn answer(handler: &impl Handler, handle: &MemberHandle, assignment: Assignment) {
    // What the service says to an answer shows in the assignments that follow.
    match assignment {
        Assignment::Assigned { shard, token } => handler.assigned(shard, token).await,
        Assignment::Prepare { shard, deadline } => {
            handler.prepare(shard.clone(), deadline).await;
            let _ = handle.ready(shard).await;
        }
        Assignment::Cancelled { shard } => handler.cancelled(shard).await,
        Assignment::Drain { shard, to, deadline } => {
            handler.drain(shard.clone(), to, deadline).await;
            let _ = handle.release(shard).await;
        }
        Assignment::Keep { shard } => {
            // The drain was dropped at an await or was done; either way the shard works again.
            if let Ok(token) = handle.token(&shard) {
                handler.assigned(shard, token).await;
            }
        }
        Assignment::Lost { shard, cause, .. } => handler.lost(shard, cause).await,
        Assignment::Copy { shard } => {
            handler.copy(shard.clone()).await;
            let _ = handle.ready(shard).await;
        }
        Assignment::CopyDropped { shard } => handler.copy_dropped(shard).await,
    }
}
