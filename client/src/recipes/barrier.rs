//! A barrier: a gate that is down until somebody opens it.
//!
//! # Model
//! While the key exists, the barrier is up and whoever [waits](Barrier::wait) is held. It goes up by
//! [`raise`](Barrier::raise) and stays up whatever becomes of who raised it, or by
//! [`raise_for`](Barrier::raise_for) and comes down by itself with that session.
//!
//! # Key
//! The barrier's own key; its value is what `raise` was given, such as a reason for people.
//!
//! # Guarantees
//! A waiter is let through when the barrier was down at some moment after it began to wait, however
//! short: raising it again at once holds only those who come later. Waiting survives the death of
//! members and goes on for as long as the cluster is away.
//!
//! # Failure model
//! A barrier that was raised without a session stays up when its owner dies: that is what it is for.
//! A waiter learns [how](How) it came down, so that it can tell "done" from "the owner died".
//!
//! ```no_run
//! use oarlock_client::recipes::barrier::{Barrier, How};
//! use oarlock_client::Session;
//! use std::time::Duration;
//!
//! # async fn example(session: Session) -> oarlock_client::Result<()> {
//! let barrier = Barrier::new(session.client(), "/migrations/42/running");
//! barrier.raise_for(&session, "adding the column").await?;
//! // Elsewhere:
//! match barrier.wait_for(Duration::from_secs(60)).await? {
//!     None => println!("still up"),
//!     Some(lifted) if lifted.how == How::OwnerGone => println!("whoever migrated has died"),
//!     Some(_) => println!("go"),
//! }
//! # Ok(())
//! # }
//! ```

use super::place::{patiently, within};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::txn::{compare, op};
use crate::types::{KeyValue, key};
use crate::watch::{WatchEvent, WatchItem};
use bytes::Bytes;
use futures::StreamExt;
use oarlock_proto::v1::watch_event::Cause;
use std::time::Duration;

/// A barrier. Cheap to clone.
#[derive(Clone)]
pub struct Barrier {
    client: Client,
    key: Bytes,
}

/// How a waiter was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifted {
    /// When: the revision at which the barrier was known to be down.
    pub revision: u64,
    /// How it came down.
    pub how: How,
}

/// How a barrier came down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was not up when the waiter came.
    NotUp,
    /// Somebody lifted it.
    Request,
    /// The session that it was raised for ended.
    OwnerGone,
    /// While the waiter was cut off, for so long that the history is compacted.
    Unseen,
}

impl Barrier {
    /// The barrier at a key.
    pub fn new(client: &Client, key: impl Into<Bytes>) -> Self {
        Self { client: client.clone(), key: key.into() }
    }

    /// Puts it up until it is lifted. Returns whether it was down.
    pub async fn raise(&self, reason: impl Into<Bytes>) -> Result<bool> {
        let up = op::put(self.key.clone(), reason);
        Ok(self.client.txn().when(compare::version(self.key.clone()).eq(0_u64)).then(up).await?.succeeded)
    }

    /// Puts it up until it is lifted or the session ends. Returns whether it was down.
    pub async fn raise_for(&self, session: &Session, reason: impl Into<Bytes>) -> Result<bool> {
        let up = op::put_owned(self.key.clone(), reason, session.id());
        Ok(session.txn().when(compare::version(self.key.clone()).eq(0_u64)).then(up).await?.succeeded)
    }

    /// Takes it down. Returns whether it was up.
    pub async fn lift(&self) -> Result<bool> {
        Ok(self.client.delete(key(self.key.clone())).await?.deleted > 0)
    }

    /// The barrier's record if it is up: the reason as its value, and since when.
    pub async fn raised(&self) -> Result<Option<KeyValue>> {
        self.client.get(self.key.clone()).await
    }

    /// Waits until it is down.
    ///
    /// # Errors
    /// Only what waiting cannot mend, such as a lack of permission.
    pub async fn wait(&self) -> Result<Lifted> {
        until_absent(&self.client, &self.key).await
    }

    /// Waits until it is down, for at most so long. `None`: it was still up.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_for(&self, patience: Duration) -> Result<Option<Lifted>> {
        within(patience, self.wait()).await
    }
}

/// Waits until the key does not exist, or did not for a moment.
pub(super) async fn until_absent(client: &Client, absent: &Bytes) -> Result<Lifted> {
    let page = patiently(|| async { client.range(key(absent.clone())).await }).await?;
    let Some(record) = page.records.first() else {
        return Ok(Lifted { revision: page.revision, how: How::NotUp });
    };
    let watch = client.watch(key(absent.clone())).from(page.revision + 1).deletes_only().resync();
    let mut items = watch.start();
    while let Some(item) = items.next().await {
        if let Some(lifted) = seen(&item?, record.create_revision) {
            return Ok(lifted);
        }
    }
    Err(Error::Unknown { message: "the watch ended".into() })
}

/// Whether an item shows that the generation of the key that began at `created` is over.
fn seen(item: &WatchItem, created: u64) -> Option<Lifted> {
    match item {
        WatchItem::Events(events) => events.iter().find(|event| event.deleted).map(lifted),
        WatchItem::Resync { revision, records, last: true } => {
            let is_there = records.iter().any(|record| record.create_revision == created);
            (!is_there).then_some(Lifted { revision: *revision, how: How::Unseen })
        }
        WatchItem::Created { .. } | WatchItem::Progress { .. } | WatchItem::Resync { .. } => None,
    }
}

fn lifted(event: &WatchEvent) -> Lifted {
    let how = match event.cause {
        Cause::Expired | Cause::Closed => How::OwnerGone,
        Cause::Request | Cause::TimedOut | Cause::Admin => How::Request,
    };
    Lifted { revision: event.record.mod_revision, how }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_generation_of_the_key_lets_through_too() {
        let record = |created| KeyValue { create_revision: created, ..KeyValue::default() };
        let page = |created| WatchItem::Resync { revision: 9, records: vec![record(created)], last: true };
        assert_eq!(seen(&page(5), 5), None);
        assert_eq!(seen(&page(7), 5), Some(Lifted { revision: 9, how: How::Unseen }));
        let event = |cause| WatchEvent {
            record: KeyValue { mod_revision: 6, ..KeyValue::default() },
            deleted: true,
            previous: None,
            cause,
            session: 1,
        };
        let how = |cause| seen(&WatchItem::Events(vec![event(cause)]), 5).map(|lifted| lifted.how);
        assert_eq!(how(Cause::Expired), Some(How::OwnerGone));
        assert_eq!(how(Cause::Request), Some(How::Request));
    }
}
