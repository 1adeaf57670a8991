//! A thousand shards on twenty members, of which some are killed, stand still, are drained, and come, at
//! random, against a cluster of real processes: what the members and an observer saw is judged by
//! [`oarlock_tests::shards`].
//!
//! Members are sessions of this process, each on a thread with a runtime of its own: one that is killed
//! loses its runtime and says nothing more, and one that stands still does so with everything that it
//! has. `OARLOCK_POOL_SOAK_SECONDS` makes it last longer, `OARLOCK_POOL_SOAK_SEED` repeats what is done
//! to whom, and the figures are printed.

use bytes::Bytes;
use futures::StreamExt;
use oarlock_client::Client;
use oarlock_client::pool::{Assignment, Member, MemberHandle, Policy, Shards};
use oarlock_proto::v1::{self, pool_event, watch_client::WatchClient, watch_frame, watch_request};
use oarlock_tests::cluster::{Cluster, turn};
use oarlock_tests::shards::{Deed, Event, History, Round, What};
use rand::prelude::*;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const POOL: &str = "soak";
const SHARDS: u32 = 1_000;
const MEMBERS: usize = 20;
const MEMBERS_MIN: usize = 15;
const MEMBERS_MAX: usize = 24;
/// Long enough for a machine that is busy with other tests.
const SESSION: Duration = Duration::from_secs(3);
const FREEZE: Duration = Duration::from_secs(5);
/// How often each member looks at all its tokens.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Nothing happened for so long: the pool has come to rest.
const QUIET: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(90);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What all threads write into.
#[derive(Clone)]
struct Shared {
    begun: Instant,
    history: Arc<Mutex<History>>,
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // Whoever panicked while holding it has failed the test already.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which tokens a member is handed right now.
    fn look(&self, member: &MemberHandle, name: &str) {
        let mut seen = Vec::new();
        for shard in member.owned().shards() {
            let asked_us = self.now_us();
            if let Ok(token) = member.token(&shard) {
                seen.push((shard, token.revision, asked_us, self.now_us()));
            }
        }
        let mut history = self.history();
        for (shard, epoch, asked_us, answered_us) in seen {
            history.sight(name, &text(&shard), epoch, asked_us, answered_us);
        }
    }
}

fn text(name: &Bytes) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// What a member is told by the test.
enum Order {
    Freeze,
    Drain,
    Kill,
}

/// A member on its thread.
struct Runner {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl Runner {
    /// Starts one; it has joined when this returns.
    async fn start(name: &str, endpoints: Vec<String>, shared: Shared) -> Self {
        let (orders, ordered) = mpsc::channel(4);
        let (joined, has_joined) = tokio::sync::oneshot::channel();
        let member = name.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for a member");
            let left = runtime.block_on(live(member, endpoints, shared, ordered, joined));
            // First everything that could still speak, then what would say goodbye.
            drop(runtime);
            drop(left);
        });
        has_joined.await.expect("it joins");
        Self { orders, thread }
    }

    async fn tell(&self, order: Order) {
        self.orders.send(order).await.expect("it lives");
    }
}

/// A member's life; returns what must outlive its runtime.
async fn live(
    name: String,
    endpoints: Vec<String>,
    shared: Shared,
    mut orders: mpsc::Receiver<Order>,
    joined: tokio::sync::oneshot::Sender<()>,
) -> Option<(Client, oarlock_client::Session, Member)> {
    let client = Client::connect(endpoints).await.expect("connected");
    let session = client.session().timeout(SESSION).open().await.expect("a session");
    let mut member = session.pool(POOL).join(name.clone()).start().await.expect("joined");
    joined.send(()).expect("somebody waits");
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            assignment = member.next() => match assignment {
                Some(assignment) => answer(&member.handle(), assignment.expect("the pool lets it take part")),
                None => return None, // it was drained, and left
            },
            _ = looks.tick() => shared.look(&member, &name),
            order = orders.recv() => match order.expect("the test outlives its members") {
                Order::Kill => return Some((client, session, member)),
                Order::Freeze => {
                    std::thread::sleep(FREEZE);
                    // Before anything else has run: what would a thread do that knows nothing of it?
                    shared.look(&member, &name);
                }
                Order::Drain => {
                    let handle = member.handle();
                    tokio::spawn(async move { handle.drain(PATIENCE).await.expect("the cluster is there") });
                }
            },
        }
    }
}

/// Does at once what it is asked for.
fn answer(member: &MemberHandle, assignment: Assignment) {
    let member = member.clone();
    match assignment {
        Assignment::Prepare { shard, .. } | Assignment::Copy { shard } => {
            // Refusals show in what is asked next: it is warm for nothing, and that is all.
            tokio::spawn(async move { member.ready(shard).await });
        }
        Assignment::Drain { shard, .. } => {
            tokio::spawn(async move { member.release(shard).await });
        }
        Assignment::Assigned { .. }
        | Assignment::Cancelled { .. }
        | Assignment::Keep { .. }
        | Assignment::Lost { .. }
        | Assignment::CopyDropped { .. } => {}
    }
}

/// Follows the pool from its beginning, and goes on where it was when a connection breaks.
async fn observe(endpoints: Vec<String>, from: u64, shared: Shared) {
    let mut next = from;
    for endpoint in endpoints.iter().cycle() {
        if let Err(status) = follow(endpoint.clone(), &mut next, &shared).await {
            eprintln!("observer: {status}; it goes on from {next}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn follow(endpoint: String, next: &mut u64, shared: &Shared) -> Result<(), tonic::Status> {
    let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
    let mut client = WatchClient::connect(endpoint).await.map_err(unavailable)?;
    let create = v1::WatchCreate {
        watch_id: 1,
        start_revision: *next,
        pool: Bytes::from(POOL),
        ..v1::WatchCreate::default()
    };
    let create = v1::WatchRequest { request: Some(watch_request::Request::Create(create)) };
    let requests = futures::stream::iter([create]).chain(futures::stream::pending());
    let mut frames = client.watch(requests).await?.into_inner();
    while let Some(response) = frames.message().await? {
        let frame =
            response.frame.ok_or_else(|| tonic::Status::internal(format!("{:?}", response.refused)))?;
        match frame.kind {
            Some(watch_frame::Kind::Events(events)) => {
                let at_us = shared.now_us();
                shared
                    .history()
                    .events
                    .extend(events.pools.into_iter().filter_map(|event| noted(event, at_us)));
                *next = events.through_revision + 1;
            }
            Some(watch_frame::Kind::Cancelled(why)) => panic!("the observer's watch ended: {why:?}"),
            _ => {}
        }
    }
    Ok(())
}

fn noted(event: v1::PoolEvent, at_us: u64) -> Option<Event> {
    let revision = event.revision;
    let note = |shard: &Bytes, member: &Bytes, epoch, what| {
        Some(Event { at_us, revision, shard: text(shard), member: text(member), epoch, what })
    };
    match event.event? {
        pool_event::Event::Granted(granted) => {
            note(&granted.shard, &granted.instance, granted.epoch, What::Granted)
        }
        pool_event::Event::Lost(lost) => {
            let what = match lost.loss() {
                pool_event::Loss::Moved => What::Moved,
                pool_event::Loss::Expired => What::Expired,
                pool_event::Loss::Released | pool_event::Loss::Closed | pool_event::Loss::Forced => {
                    What::GivenUp
                }
            };
            note(&lost.shard, &lost.instance, lost.epoch, what)
        }
        _ => None,
    }
}

/// The whole: a cluster, its members, and what was done to them.
struct Soak {
    endpoints: Vec<String>,
    shared: Shared,
    runners: BTreeMap<String, Runner>,
    started: usize,
    random: SmallRng,
    deeds: Vec<(Deed, String, u64)>,
}

impl Soak {
    async fn start_member(&mut self) {
        let name = format!("m{:03}", self.started);
        self.started += 1;
        self.deeds.push((Deed::Started, name.clone(), self.shared.now_us()));
        let runner = Runner::start(&name, self.endpoints.clone(), self.shared.clone()).await;
        self.runners.insert(name, runner);
    }

    fn victim(&mut self) -> String {
        let names: Vec<&String> = self.runners.keys().collect();
        names[self.random.random_range(0..names.len())].clone()
    }

    async fn disturb(&mut self, deed: Deed) {
        let now_us = self.shared.now_us();
        match deed {
            Deed::Started => self.start_member().await,
            Deed::Frozen => {
                let name = self.victim();
                self.deeds.push((deed, name.clone(), now_us));
                self.runners[&name].tell(Order::Freeze).await;
                // It has lost everything by the time that it goes on; only then others may be at rest.
                tokio::time::sleep(FREEZE).await;
            }
            Deed::Killed => {
                let name = self.victim();
                self.deeds.push((deed, name.clone(), now_us));
                let runner = self.runners.remove(&name).expect("it runs");
                runner.tell(Order::Kill).await;
                join(runner).await;
                tokio::time::sleep(SESSION).await;
            }
            Deed::Drained => {
                let name = self.victim();
                self.deeds.push((deed, name.clone(), now_us));
                let runner = self.runners.remove(&name).expect("it runs");
                runner.tell(Order::Drain).await;
                join(runner).await;
            }
        }
    }

    /// What is to happen next: whatever keeps the number of members about where it is.
    fn choose(&mut self, round: usize) -> Deed {
        let all = [Deed::Killed, Deed::Started, Deed::Drained, Deed::Frozen];
        let deed = if round < all.len() { all[round] } else { all[self.random.random_range(0..all.len())] };
        match deed {
            Deed::Killed | Deed::Drained if self.runners.len() <= MEMBERS_MIN => Deed::Started,
            Deed::Started if self.runners.len() >= MEMBERS_MAX => Deed::Drained,
            Deed::Started | Deed::Killed | Deed::Drained | Deed::Frozen => deed,
        }
    }

    /// Waits until all shards are owned by those who live, and nothing has happened for a while.
    async fn come_to_rest(&mut self) {
        let begun = Instant::now();
        loop {
            let (owners, last_us) = self.owners();
            let alive: BTreeSet<&String> = self.runners.keys().collect();
            let whole = owners.len() == SHARDS as usize && owners.values().all(|owner| alive.contains(owner));
            let busy: BTreeSet<&String> = owners.values().collect();
            let quiet_us = self.shared.now_us().saturating_sub(last_us);
            if whole && busy.len() == alive.len() && quiet_us > QUIET.as_micros() as u64 {
                break;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "no rest within {PATIENCE:?}: {} shards of {} members are owned, by {} of them, quiet for {quiet_us} us",
                owners.len(),
                alive.len(),
                busy.len()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let round = Round {
            deeds: std::mem::take(&mut self.deeds),
            until_us: self.shared.now_us(),
            members: self.runners.len(),
        };
        self.shared.history().rounds.push(round);
    }

    /// Who owns what, as the observer knows it, and when it last heard something.
    fn owners(&self) -> (BTreeMap<String, String>, u64) {
        let history = self.shared.history();
        let mut owners = BTreeMap::new();
        for event in &history.events {
            match event.what {
                What::Granted => drop(owners.insert(event.shard.clone(), event.member.clone())),
                What::Moved | What::Expired | What::GivenUp => drop(owners.remove(&event.shard)),
            }
        }
        (owners, history.events.last().map_or(0, |event| event.at_us))
    }
}

async fn join(runner: Runner) {
    let joined = tokio::task::spawn_blocking(move || runner.thread.join()).await.expect("not cancelled");
    assert!(joined.is_ok(), "a member's thread panicked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_shard_has_two_owners_whatever_happens_to_members() {
    let _turn = turn().await;
    let seed = number("OARLOCK_POOL_SOAK_SEED", rand::random());
    let length = Duration::from_secs(number("OARLOCK_POOL_SOAK_SECONDS", 20));
    eprintln!("seed {seed}: OARLOCK_POOL_SOAK_SEED={seed} does the same to the same members");
    let cluster = Cluster::start(3, &[]).await;
    let client = Client::connect(cluster.endpoints()).await.expect("connected");
    let policy = Policy { moves_max: 32, moves_per_minute: 100_000, ..Policy::default() };
    let created = client.pools().create(POOL, Shards::Slots(SHARDS), policy).await.expect("a pool");
    let history = History { shards: SHARDS as usize, ..History::default() };
    let shared = Shared { begun: Instant::now(), history: Arc::new(Mutex::new(history)) };
    let observer = tokio::spawn(observe(cluster.endpoints(), created, shared.clone()));
    let mut soak = Soak {
        endpoints: cluster.endpoints(),
        shared: shared.clone(),
        runners: BTreeMap::new(),
        started: 0,
        random: SmallRng::seed_from_u64(seed),
        deeds: Vec::new(),
    };
    for _ in 0..MEMBERS {
        soak.start_member().await;
    }
    soak.come_to_rest().await;
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < length || round < 4 {
        let deed = soak.choose(round);
        soak.disturb(deed).await;
        // From time to time the next comes before the pool is at rest.
        if round >= 4 && soak.random.random_bool(0.3) {
            let deed = soak.choose(round);
            soak.disturb(deed).await;
        }
        soak.come_to_rest().await;
        round += 1;
    }
    for (_, runner) in std::mem::take(&mut soak.runners) {
        runner.tell(Order::Kill).await;
        join(runner).await;
    }
    observer.abort();
    let history = shared.history();
    let figures = history.figures();
    eprintln!("{} rounds: {figures:#?}", history.rounds.len());
    let violations = history.violations();
    assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    // A check of nothing proves nothing.
    assert!(history.spans.len() > SHARDS as usize, "{} grants were seen at work", history.spans.len());
    assert!(figures.moves > 0 && !figures.after_crash.is_empty() && !figures.after_drain.is_empty());
}
