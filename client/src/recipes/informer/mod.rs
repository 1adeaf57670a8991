//! List and watch in one: the records of a range in memory, kept current, decoded.
//!
//! # Model
//! The range is read once, at one revision, and followed from the next one on. What the process has
//! in memory is always the state at one revision of the cluster ([`Snapshot::revision`]), and moves
//! forward through all revisions in order. When the history that a resumption would need is
//! compacted, the records come anew on the same stream and are compared with those at hand; readers
//! notice nothing but the differences.
//!
//! # Guarantees
//! * Reading is local: no request, no waiting, no failure.
//! * **It never empties by itself.** While the cluster is away, the last known records stay;
//!   [`age`](Informer::age) tells how old they may be.
//! * [`deltas`](Informer::deltas) begins with what is there and then tells every change. Whoever
//!   falls too far behind is told the differences instead of each step, and misses no key.
//! * A value that cannot be decoded replaces nothing: the last good one stays, and
//!   [`undecodable`](Informer::undecodable) names the key.
//! * It may be behind, as every cache: [`reached`](Informer::reached) waits for a revision, such as
//!   that of an own write.
//!
//! # Failure model
//! A refusal that will not pass (no permission) is shown by [`synced`](Informer::synced) and
//! [`failure`](Informer::failure), and tried again ever more slowly, as operators mend such things.
//! Every few seconds a linearizable read finds out the cluster's revision: if the watch does not
//! arrive there, its member is cut off, and the watch is moved to another.
//!
//! ```no_run
//! use futures::StreamExt;
//! use oarlock_client::recipes::informer::{Delta, Informer};
//! use oarlock_client::{Client, prefix};
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let services: Informer<String> = Informer::text(&client, prefix("/services/"));
//! services.synced().await?;
//! if let Some(service) = services.get("/services/mail") {
//!     println!("{} since revision {}", service.value, service.mod_revision);
//! }
//! let mut deltas = services.deltas();
//! while let Some(delta) = deltas.next().await {
//!     match delta {
//!         Delta::Upsert { item, .. } => println!("{:?} is {}", item.key, item.value),
//!         Delta::Remove { previous, .. } => println!("{:?} is gone", previous.key),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod deltas;
mod follow;
mod state;

pub use deltas::{Delta, Deltas};
pub use state::{Item, Snapshot};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::types::{KeyRange, KeyValue};
use bytes::Bytes;
use follow::Follower;
use serde::de::DeserializeOwned;
use state::State;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Deltas that wait for a slow reader; beyond it the reader gets differences.
const DELTAS_MAX: usize = 1024;

/// Turns a record into a value, or says in a sentence why that is impossible.
pub type Decode<T> = dyn Fn(&KeyValue) -> std::result::Result<T, String> + Send + Sync;

/// The records of a range, in memory and kept current. Cheap to clone; it stops following when the
/// last clone is dropped.
pub struct Informer<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Informer<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<T> {
    client: Client,
    shared: Arc<Shared<T>>,
    task: tokio::task::JoinHandle<()>,
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What readers and the follower share.
struct Shared<T> {
    state: Mutex<State<T>>,
    /// Ticks whenever the state changes in any way.
    ticks: watch::Sender<u64>,
    deltas: broadcast::Sender<Delta<T>>,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn tick(&self) {
        self.ticks.send_modify(|tick| *tick += 1);
    }
}

impl Informer<Bytes> {
    /// Values as they are.
    pub fn raw(client: &Client, range: impl Into<KeyRange>) -> Self {
        Self::with(client, range, |record| Ok(record.value.clone()))
    }
}

impl Informer<String> {
    /// Values that are text.
    pub fn text(client: &Client, range: impl Into<KeyRange>) -> Self {
        Self::with(client, range, |record| {
            String::from_utf8(record.value.to_vec()).map_err(|error| error.to_string())
        })
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Informer<T> {
    /// Values in JSON.
    pub fn json(client: &Client, range: impl Into<KeyRange>) -> Self {
        Self::with(client, range, |record| {
            serde_json::from_slice(&record.value).map_err(|error| error.to_string())
        })
    }
}

impl<T: Send + Sync + 'static> Informer<T> {
    /// Values as `decode` makes them. It must not block.
    pub fn with(
        client: &Client,
        range: impl Into<KeyRange>,
        decode: impl Fn(&KeyValue) -> std::result::Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            ticks: watch::Sender::new(0),
            deltas: broadcast::Sender::new(DELTAS_MAX),
        });
        let follower = Follower::new(client.clone(), range.into(), Box::new(decode), shared.clone());
        let task = tokio::spawn(follower.run());
        Self { inner: Arc::new(Inner { client: client.clone(), shared, task }) }
    }

    /// The client that it reads through.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Waits until the records are there for the first time.
    ///
    /// # Errors
    /// What the cluster refuses for good. Otherwise it waits for as long as the cluster is away.
    pub async fn synced(&self) -> Result<()> {
        self.wait(|state| match (&state.failure, state.is_synced()) {
            (_, true) => Some(Ok(())),
            (Some(error), false) if !error.is_passing() => Some(Err(error.clone())),
            (_, false) => None,
        })
        .await
    }

    /// Whether the records have been there once. They stay from then on.
    pub fn is_synced(&self) -> bool {
        self.inner.shared.state().is_synced()
    }

    /// One record.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Arc<Item<T>>> {
        self.inner.shared.state().items.get(key.as_ref()).cloned()
    }

    /// All records in key order, of one revision.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Item<T>>> + use<T> {
        self.snapshot().into_iter()
    }

    /// All records, of one revision. Taking one costs nothing; holding it while records change
    /// costs one copy of the map, whose records are shared.
    pub fn snapshot(&self) -> Snapshot<T> {
        self.inner.shared.state().snapshot()
    }

    /// The revision that the records are of; 0 before the first read.
    pub fn revision(&self) -> u64 {
        self.inner.shared.state().revision
    }

    /// How old the records may be: time since the start of the last read of the cluster whose
    /// revision has arrived here. `None` before the first. It stays within some seconds while the
    /// cluster serves, and grows while it is away.
    pub fn age(&self) -> Option<Duration> {
        self.inner.shared.state().confirmed.map(|at| at.elapsed())
    }

    /// Why following fails right now, if it does.
    pub fn failure(&self) -> Option<Error> {
        self.inner.shared.state().failure.clone()
    }

    /// Keys whose present value cannot be decoded, and why.
    pub fn undecodable(&self) -> BTreeMap<Bytes, String> {
        self.inner.shared.state().undecodable.clone()
    }

    /// What is there now, as upserts, and every change from then on. Before the first read nothing
    /// is there.
    pub fn deltas(&self) -> Deltas<T> {
        Deltas::new(self.inner.shared.clone())
    }

    /// Waits until the records are at least of this revision: `cache.reached(written.revision)`
    /// makes an own write visible.
    pub async fn reached(&self, revision: u64) {
        self.wait(|state| (state.revision >= revision).then_some(())).await;
    }

    /// Waits, once the records are there, until `condition` finds in them what it looks for. States
    /// that follow each other quickly may be seen as one.
    pub async fn until<R>(&self, mut condition: impl FnMut(&Snapshot<T>) -> Option<R>) -> R {
        self.wait(|state| if state.is_synced() { condition(&state.snapshot()) } else { None }).await
    }

    async fn wait<R>(&self, mut condition: impl FnMut(&State<T>) -> Option<R>) -> R {
        let mut ticks = self.inner.shared.ticks.subscribe();
        loop {
            ticks.mark_unchanged();
            if let Some(found) = condition(&self.inner.shared.state()) {
                return found;
            }
            // The sender lives in what `self` holds.
            let _ = ticks.changed().await;
        }
    }
}
