//! A sharded fleet whose workers are killed and drained while they work. Checks that every shard is
//! worked on, by one worker at a time, and fails otherwise:
//! `cargo run --release -p oarlock-client --example fleet -- [SECONDS]`

use bytes::Bytes;
use oarlock_client::pool::{Handler, MemberHandle, Policy, ShardLoss, Shards};
use oarlock_client::{Client, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const SLOTS: u32 = 32;
const WORKERS: usize = 4;
const TTL: Duration = Duration::from_secs(2);

/// Who is in the middle of a step on a shard, and what went wrong: the example's own eyes.
#[derive(Default)]
struct Floor {
    busy: Mutex<BTreeMap<Bytes, String>>,
    overlaps: AtomicU64,
    steps: Mutex<BTreeMap<Bytes, u64>>,
}

/// One worker, on a runtime of its own so that it can die as a process dies.
struct Worker {
    name: String,
    handle: MemberHandle,
    runtime: Runtime,
}

/// What a worker does with its shards.
struct Work {
    name: String,
    floor: Arc<Floor>,
    handle: MemberHandle,
    /// The shards that it works on; taking one out stops the work.
    mine: Arc<Mutex<BTreeSet<Bytes>>>,
}

impl Handler for Work {
    async fn assigned(&self, shard: Bytes, _token: Token) {
        self.mine.lock().expect("whole").insert(shard.clone());
        let (name, floor, mine) = (self.name.clone(), self.floor.clone(), self.mine.clone());
        let handle = self.handle.clone();
        tokio::spawn(async move {
            while mine.lock().expect("whole").contains(&shard) {
                // Refused as soon as somebody else might own the shard.
                if handle.token(&shard).is_ok() {
                    floor.step(&shard, &name).await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    async fn drain(&self, shard: Bytes, _to: Option<Bytes>, _deadline: SystemTime) {
        self.mine.lock().expect("whole").remove(&shard);
        // A step that has begun is finished before the shard is let go.
        self.floor.wait_idle(&shard, &self.name).await;
    }

    async fn lost(&self, shard: Bytes, cause: ShardLoss) {
        println!("{} lost {}: {cause}", self.name, String::from_utf8_lossy(&shard));
        self.mine.lock().expect("whole").remove(&shard);
    }
}

impl Floor {
    /// Works on a shard for a moment, and notices anybody else who does.
    async fn step(&self, shard: &Bytes, name: &str) {
        if let Some(other) = self.busy.lock().expect("whole").insert(shard.clone(), name.to_owned()) {
            println!("{name} and {other} work on {} at the same time", String::from_utf8_lossy(shard));
            self.overlaps.fetch_add(1, SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.busy.lock().expect("whole").remove(shard);
        *self.steps.lock().expect("whole").entry(shard.clone()).or_default() += 1;
    }

    async fn wait_idle(&self, shard: &Bytes, name: &str) {
        while self.busy.lock().expect("whole").get(shard).is_some_and(|busy| busy == name) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whoever died is in the middle of nothing.
    fn forget(&self, name: &str) {
        self.busy.lock().expect("whole").retain(|_, busy| busy != name);
    }
}

impl Worker {
    async fn start(endpoints: Vec<String>, pool: String, name: String, floor: Arc<Floor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (sender, joined) = oneshot::channel();
        let instance = name.clone();
        runtime.spawn(async move {
            let client = Client::connect(endpoints).await.expect("the cluster answers");
            let session = client.session().timeout(TTL).open().await.expect("a session");
            let member = session.pool(pool).join(instance.clone()).start().await.expect("the pool exists");
            let _ = sender.send(member.handle());
            let work = Work { name: instance, floor, handle: member.handle(), mine: Arc::default() };
            member.run(work).await.expect("the pool stays");
        });
        let handle = joined.await.expect("it joins");
        Self { name, handle, runtime }
    }

    /// Dies without a word: its shards come free when its session ends.
    fn kill(self, floor: &Floor) {
        println!("{} is killed", self.name);
        self.runtime.shutdown_background();
        floor.forget(&self.name);
    }

    /// Hands everything over to warm successors, and leaves.
    async fn drain(self, floor: &Floor) {
        let owned = self.handle.owned().len();
        let left = self.handle.drain(Duration::from_secs(30)).await.expect("a member");
        println!("{} handed {} of {owned} shards over", self.name, owned - left.len());
        self.runtime.shutdown_background();
        floor.forget(&self.name);
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(20);
    let given = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    let endpoints: Vec<String> = given.split(',').map(str::to_owned).collect();
    let client = Client::connect(endpoints.clone()).await.expect("the cluster answers");
    let pool = format!("example/fleet/{}", std::process::id());
    let policy = Policy { handoff: Duration::from_secs(5), ..Policy::default() };
    client.pools().create(pool.clone(), Shards::Slots(SLOTS), policy).await.expect("a new pool");

    let floor = Arc::new(Floor::default());
    let start = |number: usize| {
        Worker::start(endpoints.clone(), pool.clone(), format!("worker-{number}"), floor.clone())
    };
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        workers.push(start(number).await);
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut next = WORKERS;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let victim = workers.remove(0);
        match next % 2 {
            0 => victim.kill(&floor),
            _ => victim.drain(&floor).await,
        }
        workers.push(start(next).await);
        next += 1;
    }
    // Until everything is owned again: a killed worker's session, and the grants.
    tokio::time::sleep(TTL * 2).await;
    let before = floor.steps.lock().expect("whole").clone();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = floor.steps.lock().expect("whole").clone();
    for worker in workers {
        worker.runtime.shutdown_background();
    }
    client.pools().delete(pool, true).await.expect("it is ours");

    let idle: Vec<u32> = (0..SLOTS)
        .filter(|slot| {
            let slot = Bytes::from(slot.to_string());
            after.get(&slot) <= before.get(&slot)
        })
        .collect();
    let (steps, overlaps) = (after.values().sum::<u64>(), floor.overlaps.load(SeqCst));
    println!(
        "{steps} steps on {SLOTS} shards, {overlaps} of them beside another's; idle at the end: {idle:?}"
    );
    if overlaps == 0 && idle.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
