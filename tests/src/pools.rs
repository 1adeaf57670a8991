//! Fleets that take part in shard pools, and what the route stream says of them.
//!
//! Each worker runs on a runtime of its own, so that it can die as a process dies: without a word.

use bytes::Bytes;
use oarlock_client::pool::{Handler, MemberHandle, ShardLoss};
use oarlock_client::wire::{self, pools_client::PoolsClient, route_change::Change, route_response::Kind};
use oarlock_client::{Client, Token};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;

/// Who works on which shard right now, as the workers themselves see it.
#[derive(Clone, Default)]
pub struct Floor(Arc<Mutex<BTreeMap<Bytes, (String, u64)>>>);

impl Floor {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Bytes, (String, u64)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A worker begins on a shard.
    ///
    /// # Panics
    /// If another works on it.
    fn begin(&self, shard: Bytes, worker: &str, epoch: u64) {
        let before = self.lock().insert(shard.clone(), (worker.to_owned(), epoch));
        assert!(
            before.as_ref().is_none_or(|(other, _)| other == worker),
            "{worker} begins on {shard:?} under {epoch} while {before:?} works on it"
        );
    }

    fn end(&self, shard: &Bytes, worker: &str) {
        let mut floor = self.lock();
        if floor.get(shard).is_some_and(|(who, _)| who == worker) {
            floor.remove(shard);
        }
    }

    fn end_all(&self, worker: &str) {
        self.lock().retain(|_, (who, _)| who != worker);
    }

    /// How many shards each worker works on.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (worker, _) in self.lock().values() {
            *counts.entry(worker.clone()).or_default() += 1;
        }
        counts
    }

    /// Who works on a shard, and under which epoch.
    pub fn worker_of(&self, shard: &str) -> Option<(String, u64)> {
        self.lock().get(shard.as_bytes()).cloned()
    }
}

/// One worker.
pub struct Worker {
    /// Its instance's name.
    pub name: String,
    /// Its membership.
    pub handle: MemberHandle,
    /// Why it lost shards, in order.
    pub losses: Arc<Mutex<Vec<(Bytes, ShardLoss)>>>,
    floor: Floor,
    runtime: Option<Runtime>,
}

struct Working {
    name: String,
    floor: Floor,
    losses: Arc<Mutex<Vec<(Bytes, ShardLoss)>>>,
}

impl Handler for Working {
    async fn assigned(&self, shard: Bytes, token: Token) {
        self.floor.begin(shard, &self.name, token.revision);
    }

    async fn prepare(&self, _shard: Bytes, _deadline: SystemTime) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    async fn drain(&self, shard: Bytes, _to: Option<Bytes>, _deadline: SystemTime) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.floor.end(&shard, &self.name);
    }

    async fn lost(&self, shard: Bytes, cause: ShardLoss) {
        self.floor.end(&shard, &self.name);
        self.losses.lock().expect("nothing panics while it is held").push((shard, cause));
    }
}

impl Worker {
    /// Starts one and waits until it takes part.
    pub async fn start(endpoints: Vec<String>, pool: &str, name: &str, ttl: Duration, floor: &Floor) -> Self {
        let (pool, name, floor) = (pool.to_owned(), name.to_owned(), floor.clone());
        let losses: Arc<Mutex<Vec<_>>> = Arc::default();
        let working = Working { name: name.clone(), floor: floor.clone(), losses: losses.clone() };
        let (sender, joined) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let instance = name.clone();
        runtime.spawn(async move {
            let client = Client::connect(endpoints).await.expect("the cluster answers");
            let session = client.session().timeout(ttl).open().await.expect("a session");
            let join = session.pool(pool).join(instance.clone()).address(format!("{instance}:80"));
            let member = join.start().await.expect("the pool takes it");
            let _ = sender.send(member.handle());
            let _ = member.run(working).await;
        });
        let handle = joined.await.expect("the worker joins");
        Self { name, handle, losses, floor, runtime: Some(runtime) }
    }

    /// It dies without a word. Until when it might have acted.
    pub fn kill(mut self) -> Instant {
        let until = Instant::now() + self.handle.owned().valid_for();
        self.end();
        until
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.floor.end_all(&self.name);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// What happened to an owner.
#[derive(Clone, Debug)]
pub struct OwnerChange {
    /// The shard.
    pub shard: Bytes,
    /// Its new owner and epoch; `None` when nobody has it.
    pub owner: Option<(Bytes, u64)>,
    /// Version of the table.
    pub version: u64,
    /// When it was heard of.
    pub at: Instant,
}

/// The route stream, written down response by response: each is one step, whole.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    version: u64,
    owners: BTreeMap<Bytes, Option<(Bytes, u64)>>,
    epochs: BTreeMap<Bytes, u64>,
    changes: Vec<OwnerChange>,
    tables: usize,
}

impl Record {
    /// Begins to write down, over all failures of the cluster.
    pub fn begin(endpoints: Vec<String>, pool: &str) -> Self {
        let record = Self::default();
        let (writing, pool) = (record.clone(), pool.to_owned());
        tokio::spawn(async move {
            for endpoint in endpoints.iter().cycle() {
                writing.follow(endpoint, &pool).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        record
    }

    async fn follow(&self, endpoint: &str, pool: &str) {
        let endpoint = Endpoint::from_shared(endpoint.to_owned()).expect("a URL");
        let Ok(channel) = endpoint.connect_timeout(Duration::from_secs(1)).connect().await else { return };
        let after = self.lock().version;
        let request = wire::RouteRequest { pool: pool.to_owned().into(), after, options: None };
        let Ok(stream) = PoolsClient::new(channel).route(request).await else { return };
        let mut stream = stream.into_inner();
        while let Ok(Some(response)) = stream.message().await {
            self.lock().take(response);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How many changes of owners were written down.
    pub fn len(&self) -> usize {
        self.lock().changes.len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The changes after the first `skip`.
    pub fn since(&self, skip: usize) -> Vec<OwnerChange> {
        self.lock().changes[skip..].to_vec()
    }

    /// Moves from one owner to another, or from nobody to somebody, after the first `skip` changes.
    pub fn grants_since(&self, skip: usize) -> usize {
        self.since(skip).iter().filter(|change| change.owner.is_some()).count()
    }

    /// Shards that nobody owned after some response, after the first `skip` changes.
    pub fn unowned_since(&self, skip: usize) -> Vec<OwnerChange> {
        self.since(skip).into_iter().filter(|change| change.owner.is_none()).collect()
    }

    /// Who owns what, by the latest response.
    pub fn owners(&self) -> BTreeMap<Bytes, Option<(Bytes, u64)>> {
        self.lock().owners.clone()
    }

    /// How many times the whole table was sent.
    pub fn tables(&self) -> usize {
        self.lock().tables
    }
}

impl Written {
    fn take(&mut self, response: wire::RouteResponse) {
        let before = self.owners.clone();
        match response.kind {
            Some(Kind::Table(table)) => {
                self.tables += 1;
                self.replace(table);
            }
            Some(Kind::Changes(changes)) => {
                if let Some(table) = changes.founded {
                    self.replace(table);
                }
                changes
                    .changes
                    .into_iter()
                    .filter_map(|change| change.change)
                    .for_each(|one| self.change(one));
            }
            Some(Kind::Unchanged(_)) | None => {}
        }
        assert!(response.version >= self.version, "the version of the routes went back");
        self.version = response.version;
        let at = Instant::now();
        for (shard, owner) in &self.owners {
            if before.get(shard) == Some(owner) {
                continue;
            }
            if let Some((_, epoch)) = owner {
                let highest = self.epochs.entry(shard.clone()).or_default();
                assert!(epoch > highest, "epoch {epoch} of {shard:?} follows {highest}");
                *highest = *epoch;
            }
            let (shard, owner) = (shard.clone(), owner.clone());
            self.changes.push(OwnerChange { shard, owner, version: self.version, at });
        }
    }

    fn replace(&mut self, table: wire::RouteTable) {
        let owner = |route: wire::ShardRoute| {
            let owner = (route.epoch > 0).then_some((route.instance, route.epoch));
            (route.shard, owner)
        };
        self.owners = table.shards.into_iter().map(owner).collect();
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Owner(owner) => {
                let (instance, epoch) = (owner.instance, owner.epoch);
                self.owners.insert(owner.shard, (epoch > 0).then_some((instance, epoch)));
            }
            Change::Shard(route) => {
                self.owners.entry(route.shard).or_default();
            }
            Change::ShardGone(shard) => {
                self.owners.remove(&shard);
            }
            Change::PoolGone(_) => self.owners.clear(),
            Change::Member(_) | Change::MemberGone(_) | Change::Copy(_) | Change::CopyGone(_) => {}
        }
    }
}
