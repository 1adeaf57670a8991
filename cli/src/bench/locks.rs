//! Locks in a closed loop: each contender acquires, releases, and acquires again.
//!
//! Contender `i` takes lock `i` modulo the number of locks, under a session and over a connection of
//! its own, as a process of its own would. *Acquire* is from asking to being granted. *Hand-over* is
//! from just before a holder sends its release to when the next one, which waited then, knows that it
//! holds; it is measured where contenders share locks.

use super::report::Report;
use super::{Api, BenchError, accounts, connect};
use clap::Args;
use hdrhistogram::Histogram;
use oarlock_client::{Client, Session};
use oarlock_proto::etcd::etcdserverpb::{LeaseGrantRequest, lease_client::LeaseClient};
use oarlock_proto::etcd::v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// Measured time in seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seconds before the measured time.
    #[arg(long, default_value_t = 2)]
    pub warm_up: u64,
    /// Process ids of the servers, to account their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
}

/// What the contenders share.
struct Shared {
    measuring: AtomicBool,
    over: AtomicBool,
    began: Instant,
    /// For each lock, when it was last released, in nanoseconds since the begin.
    released: Vec<AtomicU64>,
}

/// What one contender saw while measuring.
struct Tally {
    acquired: Histogram<u64>,
    handed_over: Histogram<u64>,
    errors: u64,
    last_error: String,
}

/// One contender's way to its lock.
enum Contender {
    Native { session: Session, name: String },
    Etcd { service: LockClient<Channel>, lease: i64, name: String },
}

/// What was acquired.
enum Taken {
    Native(oarlock_client::lock::Hold),
    Etcd(bytes::Bytes),
}

/// Runs the contenders and reports.
pub async fn run(args: &LocksArgs, endpoints: &[String]) -> Result<Report, BenchError> {
    let locks = args.locks.max(1);
    let shared = Arc::new(Shared {
        measuring: AtomicBool::new(false),
        over: AtomicBool::new(false),
        began: Instant::now(),
        released: (0..locks).map(|_| AtomicU64::new(0)).collect(),
    });
    let mut contenders = Vec::new();
    for number in 0..args.contenders {
        // Each begins at another member.
        let mut mine = endpoints.to_vec();
        mine.rotate_left((number % endpoints.len() as u64) as usize);
        contenders.push(Contender::new(args.api, &mine, format!("bench/{}", number % locks)).await?);
    }
    let mut running = tokio::task::JoinSet::new();
    for (number, contender) in contenders.into_iter().enumerate() {
        running.spawn(contender.contend(shared.clone(), number % locks as usize));
    }
    tokio::time::sleep(Duration::from_secs(args.warm_up)).await;
    let before = accounts::read(&args.pids)?;
    let started = Instant::now();
    shared.measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    shared.measuring.store(false, Ordering::Relaxed);
    let (elapsed, after) = (started.elapsed(), accounts::read(&args.pids)?);
    shared.over.store(true, Ordering::Relaxed);
    let mut all = Tally::new();
    while let Some(tally) = running.join_next().await {
        all.add(&tally.expect("a contender does not panic"));
    }
    report(args, &all, elapsed, before, after)
}

fn report(
    args: &LocksArgs,
    all: &Tally,
    elapsed: Duration,
    before: accounts::Usage,
    after: accounts::Usage,
) -> Result<Report, BenchError> {
    if all.acquired.is_empty() {
        return Err(BenchError::NothingDone { errors: all.errors, last: all.last_error.clone() });
    }
    let title = format!("locks, {} contenders for {}, {:?} API", args.contenders, args.locks, args.api);
    let mut report = Report::new(title, all.acquired.len(), all.errors, elapsed)
        .with_latency(&all.acquired)
        .with_usage(!args.pids.is_empty(), before, after);
    if !all.handed_over.is_empty() {
        let at = |quantile| all.handed_over.value_at_quantile(quantile);
        report = report.note("handover_p50_us", at(0.5)).note("handover_p99_us", at(0.99));
    }
    Ok(if all.errors > 0 { report.note("last error", &all.last_error) } else { report })
}

impl Contender {
    async fn new(api: Api, endpoints: &[String], name: String) -> Result<Self, BenchError> {
        let ttl = Duration::from_secs(TTL_SECONDS);
        match api {
            Api::Native => {
                let client = Client::connect(endpoints.to_vec()).await?;
                Ok(Self::Native { session: client.session().timeout(ttl).open().await?, name })
            }
            Api::Etcd => {
                let channel = connect(endpoints, 1).await?.remove(0);
                let grant = LeaseGrantRequest { ttl: TTL_SECONDS as i64, id: 0 };
                let lease = LeaseClient::new(channel.clone()).lease_grant(grant).await?.into_inner().id;
                Ok(Self::Etcd { service: LockClient::new(channel), lease, name })
            }
        }
    }

    async fn contend(mut self, shared: Arc<Shared>, lock: usize) -> Tally {
        let mut tally = Tally::new();
        let released = &shared.released[lock];
        while !shared.over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let taken = match self.acquire().await {
                Ok(taken) => taken,
                Err(error) => {
                    tally.fail(error);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let granted = Instant::now();
            if shared.measuring.load(Ordering::Relaxed) {
                tally.acquired.saturating_record(granted.duration_since(asked).as_micros() as u64);
                let before = shared.began + Duration::from_nanos(released.load(Ordering::Relaxed));
                if before > asked {
                    tally.handed_over.saturating_record(granted.duration_since(before).as_micros() as u64);
                }
            }
            released.store(shared.began.elapsed().as_nanos() as u64, Ordering::Relaxed);
            if let Err(error) = self.release(taken).await {
                tally.fail(error);
            }
        }
        self.end().await;
        tally
    }

    async fn acquire(&mut self) -> Result<Taken, String> {
        match self {
            Self::Native { session, name } => {
                let hold = session.mutex(name.clone()).acquire().await;
                hold.map(Taken::Native).map_err(|error| error.to_string())
            }
            Self::Etcd { service, lease, name } => {
                let request = LockRequest { name: name.clone().into(), lease: *lease };
                let key = service.lock(request).await.map_err(|status| status.message().to_owned())?;
                Ok(Taken::Etcd(key.into_inner().key))
            }
        }
    }

    async fn release(&mut self, taken: Taken) -> Result<(), String> {
        match (self, taken) {
            (_, Taken::Native(hold)) => hold.release().await.map_err(|error| error.to_string()),
            (Self::Etcd { service, .. }, Taken::Etcd(key)) => {
                let done = service.unlock(UnlockRequest { key }).await;
                done.map(drop).map_err(|status| status.message().to_owned())
            }
            (Self::Native { .. }, Taken::Etcd(_)) => unreachable!("a contender uses one API"),
        }
    }

    async fn end(self) {
        if let Self::Native { session, .. } = self {
            // What is not closed expires.
            let _ = tokio::time::timeout(Duration::from_secs(1), session.close()).await;
        }
    }
}

impl Tally {
    fn new() -> Self {
        // Up to ten minutes in microseconds; slower ones count as that.
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are in order");
        Self { acquired: histogram(), handed_over: histogram(), errors: 0, last_error: String::new() }
    }

    fn fail(&mut self, error: String) {
        self.errors += 1;
        self.last_error = error;
    }

    fn add(&mut self, other: &Self) {
        self.acquired.add(&other.acquired).expect("all histograms have one shape");
        self.handed_over.add(&other.handed_over).expect("all histograms have one shape");
        self.errors += other.errors;
        if !other.last_error.is_empty() {
            self.last_error.clone_from(&other.last_error);
        }
    }
}
