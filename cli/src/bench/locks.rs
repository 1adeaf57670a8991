//! Locks in a closed loop: each contender acquires, releases, and acquires again.
//!
//! Contender `i` takes lock `i` modulo the number of locks, under a session and over a connection of
//! its own, as a process of its own would. *Acquire* is from asking to being granted. *Hand-over* is
//! from just before a holder sends its release to when the next one, which waited then, knows that it
//! holds; it is measured where contenders share locks.

use super::accounts;
use super::door::connect_each;
use super::error::BenchError;
use super::options::{Api, time};
use super::pace::{Turn, Window};
use super::report::Report;
use super::tally::{Done, Tally, histogram, micros};
use clap::Args;
use hdrhistogram::Histogram;
use oarlock_client::{Client, Session};
use oarlock_proto::etcd::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, lease_client::LeaseClient};
use oarlock_proto::etcd::v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Lifetime of each contender's session: longer than a measurement, so that etcd's leases, which
/// nothing keeps alive here, last.
const TTL_SECONDS: u64 = 600;

/// Options of `locks`.
#[derive(Clone, Debug, Args)]
pub struct LocksArgs {
    /// Who takes locks.
    #[arg(long, default_value_t = 64)]
    pub contenders: u64,
    /// How many locks they share.
    #[arg(long, default_value_t = 1)]
    pub locks: u64,
    /// Which API the server is asked through.
    #[arg(long, value_enum, default_value_t = Api::Native)]
    pub api: Api,
    /// Measured time, such as `30s`; a number alone is seconds.
    #[arg(long, visible_alias = "seconds", default_value = "10s", value_parser = time)]
    pub duration: Duration,
    /// Time before the measured time.
    #[arg(long, default_value = "2s", value_parser = time)]
    pub warm_up: Duration,
    /// Process ids of the servers, to account their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
}

/// What the contenders share.
struct Shared {
    window: Window,
    /// For each lock, when it was last released, in nanoseconds since the begin.
    released: Vec<AtomicU64>,
}

/// What one contender saw while measuring.
struct Seen {
    acquired: Tally,
    handed_over: Histogram<u64>,
}

/// One contender's way to its lock.
enum Contender {
    Native { session: Session, name: String },
    Etcd { channel: Channel, lease: i64, name: String },
}

/// What was acquired.
enum Taken {
    Native(oarlock_client::lock::Hold),
    Etcd(bytes::Bytes),
}

/// Runs the contenders and reports.
pub async fn run(args: &LocksArgs, endpoints: &[String]) -> Result<Report, BenchError> {
    if args.api == Api::Zookeeper {
        let why = "it has no locks; its client libraries build them from nodes";
        return Err(BenchError::CannotDo { work: "locks", api: args.api, why });
    }
    let locks = args.locks.max(1);
    let mut contenders = Vec::new();
    for number in 0..args.contenders {
        // Each begins at another member.
        let mut mine = endpoints.to_vec();
        mine.rotate_left((number % endpoints.len() as u64) as usize);
        contenders.push(Contender::new(args.api, &mine, format!("bench/{}", number % locks)).await?);
    }
    let window = Window::new(Instant::now(), args.warm_up, Some(args.duration));
    let released = (0..locks).map(|_| AtomicU64::new(0)).collect();
    let shared = Arc::new(Shared { window, released });
    let mut running = tokio::task::JoinSet::new();
    for (number, contender) in contenders.into_iter().enumerate() {
        running.spawn(contender.contend(shared.clone(), number % locks as usize));
    }
    tokio::time::sleep(args.warm_up).await;
    let before = (accounts::read(&args.pids)?, accounts::own());
    tokio::time::sleep(args.duration).await;
    let after = (accounts::read(&args.pids)?, accounts::own());
    let mut all = Seen::new(window);
    while let Some(seen) = running.join_next().await {
        all.add(&seen.expect("a contender does not panic"));
    }
    let own = after.1.cpu.saturating_sub(before.1.cpu);
    Ok(report(args, &all)?.with_usage(!args.pids.is_empty(), before.0, after.0).with_own(own))
}

fn report(args: &LocksArgs, all: &Seen) -> Result<Report, BenchError> {
    if all.acquired.counts.done == 0 {
        let (errors, last) = (all.acquired.counts.errors, all.acquired.last_error.clone());
        return Err(BenchError::NothingDone { errors, last });
    }
    let title = format!("locks, {} contenders for {}, {} API", args.contenders, args.locks, args.api);
    let report = Report::of(title, "locks", &all.acquired, args.duration);
    if all.handed_over.is_empty() {
        return Ok(report);
    }
    let at = |quantile| all.handed_over.value_at_quantile(quantile);
    Ok(report.note("handover_p50_us", at(0.5)).note("handover_p99_us", at(0.99)))
}

impl Contender {
    async fn new(api: Api, endpoints: &[String], name: String) -> Result<Self, BenchError> {
        let ttl = Duration::from_secs(TTL_SECONDS);
        match api {
            Api::Native => {
                let client = Client::connect(endpoints.to_vec()).await?;
                Ok(Self::Native { session: client.session().timeout(ttl).open().await?, name })
            }
            // Without locks of its own ZooKeeper was refused before.
            Api::Etcd | Api::Zookeeper => {
                let channel = connect_each(endpoints, 1).await?.remove(0);
                let grant = LeaseGrantRequest { ttl: TTL_SECONDS as i64, id: 0 };
                let lease = LeaseClient::new(channel.clone()).lease_grant(grant).await?.into_inner().id;
                Ok(Self::Etcd { channel, lease, name })
            }
        }
    }

    async fn contend(mut self, shared: Arc<Shared>, lock: usize) -> Seen {
        let Shared { window, released } = &*shared;
        let (mut seen, released) = (Seen::new(*window), &released[lock]);
        loop {
            let asked = Instant::now();
            if window.is_over(asked) {
                break;
            }
            seen.acquired.sent(Turn { due: asked, given: asked });
            let taken = match self.acquire().await {
                Ok(taken) => taken,
                Err(error) => {
                    seen.acquired.answered(asked, Err(error));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let granted = Instant::now();
            seen.acquired.answered(asked, Ok(Done::PLAIN));
            let before = window.begin + Duration::from_nanos(released.load(Ordering::Relaxed));
            if before > asked && window.holds(granted) {
                seen.handed_over.saturating_record(micros(granted.duration_since(before)));
            }
            released.store(window.begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
            if let Err(error) = self.release(taken).await {
                seen.acquired.fail(error);
            }
        }
        self.end().await;
        seen
    }

    async fn acquire(&mut self) -> Result<Taken, String> {
        match self {
            Self::Native { session, name } => {
                let hold = session.mutex(name.clone()).acquire().await;
                hold.map(Taken::Native).map_err(|error| error.to_string())
            }
            Self::Etcd { channel, lease, name } => {
                let request = LockRequest { name: name.clone().into(), lease: *lease };
                let key = LockClient::new(channel.clone())
                    .lock(request)
                    .await
                    .map_err(|status| status.message().to_owned())?;
                Ok(Taken::Etcd(key.into_inner().key))
            }
        }
    }

    async fn release(&mut self, taken: Taken) -> Result<(), String> {
        match (self, taken) {
            (_, Taken::Native(hold)) => hold.release().await.map_err(|error| error.to_string()),
            (Self::Etcd { channel, .. }, Taken::Etcd(key)) => {
                let done = LockClient::new(channel.clone()).unlock(UnlockRequest { key }).await;
                done.map(drop).map_err(|status| status.message().to_owned())
            }
            (Self::Native { .. }, Taken::Etcd(_)) => unreachable!("a contender uses one API"),
        }
    }

    async fn end(self) {
        // What is not closed expires.
        let close = async {
            match self {
                Self::Native { session, .. } => drop(session.close().await),
                Self::Etcd { channel, lease, .. } => {
                    let revoke = LeaseRevokeRequest { id: lease };
                    drop(LeaseClient::new(channel).lease_revoke(revoke).await);
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), close).await;
    }
}

impl Seen {
    fn new(window: Window) -> Self {
        Self { acquired: Tally::new(window), handed_over: histogram() }
    }

    fn add(&mut self, other: &Self) {
        self.acquired.add(&other.acquired);
        self.handed_over.add(&other.handed_over).expect("all histograms have one shape");
    }
}
