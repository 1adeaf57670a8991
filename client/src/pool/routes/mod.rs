//! Routing: a cache of who owns which shard, kept current in the background.
//!
//! The cache is filled by a stream that tells what changed since the version it has, so that a
//! reconnection costs what was missed and not the whole table. While the cluster is away the cache
//! goes on answering; [`Routes::age`] tells for how long nothing was heard. What it says may be out of
//! date at any time: owners check their tokens, and tell whoever asks the wrong one
//! ([`WrongOwner`]).

mod follow;
mod store;
mod table;

pub use table::{Endpoint, Primary, Route, RouteUpdate, Secondary};

use super::slots::slot_name;
use super::wrong_owner::WrongOwner;
use crate::client::Client;
use crate::error::Result;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use oarlock_proto::v1;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use table::Table;
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

/// Updates that wait for a slow listener, which then hears that everything may have changed.
const UPDATES_MAX: usize = 1024;

/// A cache of a pool's routes. Cheap to clone; the clones share one cache and one stream, which ends
/// with the last of them.
#[derive(Clone)]
pub struct Routes {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Bytes,
    cache: Arc<Cache>,
    task: Option<AbortHandle>,
}

/// What the cache's handles and its task share.
struct Cache {
    table: RwLock<Table>,
    /// When the service was last heard; `None` before it was.
    heard: watch::Sender<Option<Instant>>,
    updates: broadcast::Sender<RouteUpdate>,
}

/// A cache that is about to be filled.
#[must_use = "nothing happens until it is awaited"]
pub struct RoutesBuilder {
    client: Client,
    pool: Bytes,
    file: Option<PathBuf>,
}

/// A pool, for whoever wants to reach its members. Made by [`Client::pool`].
#[derive(Clone)]
pub struct PoolRef {
    client: Client,
    pool: Bytes,
}

impl Client {
    /// A pool by name, for whoever wants to reach its members:
    /// `client.pool("carts").routes().await?`. See [`pools`](Self::pools) for administering one and
    /// [`Session::pool`](crate::Session::pool) for taking part.
    pub fn pool(&self, name: impl Into<Bytes>) -> PoolRef {
        PoolRef { client: self.clone(), pool: name.into() }
    }
}

impl PoolRef {
    /// A cache of its routes.
    pub fn routes(&self) -> RoutesBuilder {
        RoutesBuilder { client: self.client.clone(), pool: self.pool.clone(), file: None }
    }
}

impl RoutesBuilder {
    /// Keep the routes in this file, too, and begin with what it has: so that a start while the
    /// cluster is away can route. It is written at most once a second.
    pub fn persist(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Begins. Waits for the first table from the service, unless the file has one.
    ///
    /// # Errors
    /// What the service says, or [`Error::NotProposed`](crate::Error::NotProposed) if it is not
    /// reached within the client's deadline; [`Error::Invalid`](crate::Error::Invalid) if the file is
    /// damaged.
    pub async fn start(self) -> Result<Routes> {
        let kept = self.file.as_deref().map(store::read).transpose()?.flatten();
        let is_known = kept.is_some();
        let cache = Arc::new(Cache::new(kept.unwrap_or_default()));
        let (task, first) = follow::begin(self.client, self.pool.clone(), self.file, cache.clone());
        let routes = Routes { shared: Arc::new(Shared { pool: self.pool, cache, task: Some(task) }) };
        if !is_known {
            first.wait().await?;
        }
        Ok(routes)
    }
}

impl std::future::IntoFuture for RoutesBuilder {
    type Output = Result<Routes>;
    type IntoFuture = futures::future::BoxFuture<'static, Result<Routes>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

impl Routes {
    /// Routes that are fed by hand; see [`fake`](super::fake).
    pub(super) fn by_hand(pool: Bytes) -> (Self, Feed) {
        let cache = Arc::new(Cache::new(Table::default()));
        let feed = Feed { cache: cache.clone() };
        (Self { shared: Arc::new(Shared { pool, cache, task: None }) }, feed)
    }

    /// The pool's name.
    pub fn pool(&self) -> &Bytes {
        &self.shared.pool
    }

    /// Where a shard is, as far as is known; `None` if there is no such shard.
    pub fn lookup(&self, shard: impl AsRef<[u8]>) -> Option<Route> {
        self.read().lookup(shard.as_ref())
    }

    /// Where the slot of a key is; `None` if the pool has no slots.
    pub fn lookup_key(&self, key: impl AsRef<[u8]>) -> Option<Route> {
        let table = self.read();
        let slot = table.slot(key.as_ref())?;
        table.lookup(&slot_name(slot))
    }

    /// The slot of a key, as [`slot_of`](super::slot_of) says; `None` if the pool has no slots, or
    /// nothing is known of it yet.
    pub fn slot_of(&self, key: impl AsRef<[u8]>) -> Option<u32> {
        self.read().slot(key.as_ref())
    }

    /// How many slots the pool has; 0 if its shards have names.
    pub fn slots(&self) -> u32 {
        self.read().slots
    }

    /// All routes, in order of the shards' names.
    pub fn all(&self) -> Vec<Route> {
        self.read().routes()
    }

    /// All members, in order of name.
    pub fn members(&self) -> Vec<Endpoint> {
        self.read().members()
    }

    /// The revision that the routes are of; 0 while nothing is known.
    pub fn version(&self) -> u64 {
        self.read().version
    }

    /// For how long nothing was heard of the service; `None` if nothing ever was, as after a start
    /// from a file. Above some seconds the cluster is away, or cannot be reached.
    pub fn age(&self) -> Option<Duration> {
        self.shared.cache.heard.borrow().map(|heard| heard.elapsed())
    }

    /// What changes from now on. A listener that is too slow hears that everything may have.
    pub fn changes(&self) -> impl Stream<Item = RouteUpdate> + Send + Unpin + 'static {
        let cache = self.shared.cache.clone();
        let updates = BroadcastStream::new(cache.updates.subscribe());
        updates.map(move |update| {
            update.unwrap_or_else(|BroadcastStreamRecvError::Lagged(_)| RouteUpdate {
                version: cache.read().version,
                shards: Vec::new(),
                whole: true,
            })
        })
    }

    /// Waits until `found` finds something in the routes.
    pub async fn wait_for<T>(&self, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changes = self.changes();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            // The sender lives as long as this handle.
            changes.next().await;
        }
    }

    /// Takes a server's word that another member owns a shard, until the service says something newer.
    /// False if it is older than what is known, or names no owner.
    pub fn correct(&self, wrong: &WrongOwner) -> bool {
        let Some(owner) = &wrong.new_owner else { return false };
        if wrong.pool.as_bytes() != self.shared.pool {
            return false;
        }
        let shard = Bytes::copy_from_slice(wrong.shard.as_bytes());
        let at = Endpoint {
            instance: Bytes::copy_from_slice(owner.instance.as_bytes()),
            address: owner.address.clone(),
            ..Endpoint::default()
        };
        let cache = &self.shared.cache;
        let corrected = cache.write().correct(&shard, wrong.epoch, at);
        if corrected {
            let version = cache.read().version;
            let _ = cache.updates.send(RouteUpdate { version, shards: vec![shard], whole: false });
        }
        corrected
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.shared.cache.read()
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pool = String::from_utf8_lossy(&self.shared.pool);
        f.debug_struct("Routes").field("pool", &pool).field("version", &self.version()).finish()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Feeds routes by hand.
pub(super) struct Feed {
    cache: Arc<Cache>,
}

impl Feed {
    /// Takes a response as if the service had sent it.
    pub(super) fn take(&self, response: v1::RouteResponse) {
        self.cache.take(response);
    }
}

impl Cache {
    fn new(table: Table) -> Self {
        let (heard, _) = watch::channel(None);
        let (updates, _) = broadcast::channel(UPDATES_MAX);
        Self { table: RwLock::new(table), heard, updates }
    }

    /// Takes what the service sent; whether the routes are others now.
    fn take(&self, response: v1::RouteResponse) -> bool {
        let update = self.write().apply(response);
        self.heard.send_replace(Some(Instant::now()));
        let is_changed = update.is_some();
        if let Some(update) = update {
            // Nobody may be listening.
            let _ = self.updates.send(update);
        }
        is_changed
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Nothing panics while it is held, so a poisoned lock still holds a whole table.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
