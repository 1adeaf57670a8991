//! A work queue: items are claimed, worked on, and completed exactly once.
//!
//! For hundreds of items a second that matter, such as jobs and commands; not for streams of events.
//!
//! # Model
//! An item is bytes with a priority. A [worker](Worker) claims one, works on it, and completes it. A
//! claim lasts as long as the worker's session: there is no time by which work must be done, and
//! nothing to renew. An item whose worker died is claimable again at once, and has one attempt
//! less. An item that has used up its attempts is set aside as *dead*, with the last reason.
//!
//! # Keys
//! * `{path}/items/{id}`: the payload. The id is the priority and a number that the service gives.
//! * `{path}/claims/{id}`: who works on it, owned by the worker's session. Its creation is the
//!   claim's [token](Claim::token).
//! * `{path}/attempts/{id}`: how often it was claimed.
//! * `{path}/holds/{id}`: when an item that failed may be tried again.
//! * `{path}/delayed/{due}-{random}`: a payload that becomes an item when it is due.
//! * `{path}/dead/{id}` and `{path}/reasons/{id}`: what was set aside, and why it failed last.
//!
//! # Guarantees
//! * An item is put once, completed once, and claimed by one session at a time. Completing, failing
//!   and releasing are one transaction each, guarded by the claim's token: a worker that was paused
//!   until its session expired is refused. What the work itself writes can go
//!   [into that transaction](Claim::complete_with), and then happens exactly once.
//! * No lost wake-up: a waiting worker watches from the revision at which it found nothing.
//! * Lower priorities first, then first in first out. Of workers in parallel, one that another was
//!   faster than takes one of the next few, so that they do not all meet at the same item again.
//!
//! # Failure model
//! The work of an item may begin more than once, after a worker's death: make its effects part of
//! the completion, or guard them with the token. Delays are measured by the clocks of the processes.
//!
//! ```no_run
//! use oarlock_client::recipes::queue::Queue;
//! use oarlock_client::{Session, op};
//!
//! # async fn example(session: Session) -> oarlock_client::Result<()> {
//! let queue = Queue::new(session.client(), "/queues/mail").attempts(5);
//! queue.put("to: alice").await?;
//! let mut worker = queue.worker(&session, "worker-3");
//! loop {
//!     let claim = worker.claim().await?;
//!     match std::str::from_utf8(claim.payload()) {
//!         Ok(mail) => {
//!             println!("attempt {}: sending {mail}", claim.attempt());
//!             let sent = op::put(format!("/sent/{}", claim.id()), "yes");
//!             claim.complete_with([sent]).await?;
//!         }
//!         Err(error) => {
//!             claim.fail(&error.to_string()).await?;
//!         }
//!     }
//! }
//! # }
//! ```

mod bell;
mod claim;
mod id;
mod look;
mod worker;

pub use claim::{Claim, Fate};
pub use look::{DeadItem, PendingItem, Stats};
pub use worker::Worker;

use super::place::{Place, Via};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::txn::op;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const ITEMS: &str = "items/";
const CLAIMS: &str = "claims/";
const ATTEMPTS: &str = "attempts/";
const DELAYED: &str = "delayed/";
const HOLDS: &str = "holds/";
const DEAD: &str = "dead/";
const REASONS: &str = "reasons/";

/// Attempts unless said otherwise.
const ATTEMPTS_DEFAULT: u32 = 3;
/// Priority unless said otherwise.
const PRIORITY_DEFAULT: u8 = 100;

/// A queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    via: Via,
    place: Arc<Place>,
    attempts: u32,
}

/// How an item is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOptions {
    /// Lower ones are claimed first. Default: 100.
    pub priority: u8,
    /// Time before it can be claimed.
    pub delay: Duration,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self { priority: PRIORITY_DEFAULT, delay: Duration::ZERO }
    }
}

impl Queue {
    /// The queue at a path.
    pub fn new(via: impl Into<Via>, path: impl Into<String>) -> Self {
        Self { via: via.into(), place: Arc::new(Place::new(path)), attempts: ATTEMPTS_DEFAULT }
    }

    /// How often an item is tried before it is set aside; at least 1. It is the worker's view that
    /// counts. Default: 3.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Puts an item, once. Returns its id.
    ///
    /// # Errors
    /// After [`Error::Unknown`] it may be there.
    pub async fn put(&self, payload: impl Into<Bytes>) -> Result<String> {
        self.put_with(payload, PutOptions::default()).await
    }

    /// Puts an item with a priority or a delay. Returns its id; a delayed item gets another one when
    /// it is due.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_with(&self, payload: impl Into<Bytes>, options: PutOptions) -> Result<String> {
        if options.delay.is_zero() {
            let prefix = self.key(ITEMS, &id::prefix(options.priority));
            let made = self.via.txn().then(op::put_sequential(prefix, payload)).await?.first_key()?;
            return self.id_of(ITEMS, &made);
        }
        let id = id::delayed(id::now_ms(), options.delay, options.priority);
        self.via.put(self.key(DELAYED, &id), payload).await?;
        Ok(id)
    }

    /// A worker of this queue. Its name is for people.
    pub fn worker(&self, session: &Session, name: impl Into<String>) -> Worker {
        Worker::new(self.clone(), session.clone(), name.into())
    }

    fn id_of(&self, part: &str, key: &[u8]) -> Result<String> {
        self.place.rest(part, key).map(str::to_owned).ok_or_else(|| {
            let key = String::from_utf8_lossy(key);
            Error::Unknown { message: format!("the service put the item under {key}, which is elsewhere") }
        })
    }

    fn key(&self, part: &str, id: &str) -> String {
        self.place.key(format_args!("{part}{id}"))
    }
}
