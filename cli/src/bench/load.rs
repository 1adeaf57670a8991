//! The closed loop of `put`, `get` and `fill`.

use super::report::Report;
use super::{Api, BenchError, LoadArgs, Mode, accounts, connect, etcd, stream, unary};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What each client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes random keys.
    Put,
    /// Reads random keys.
    Get,
    /// Writes each key once.
    Fill,
}

/// What the clients of one run share.
pub struct Shared {
    /// The options.
    pub args: LoadArgs,
    /// The work.
    pub kind: Kind,
    /// The value that is written.
    pub value: bytes::Bytes,
    /// Latencies count from when this is set.
    measuring: AtomicBool,
    stopping: AtomicBool,
    /// Next key of a fill.
    next_key: AtomicU64,
}

impl Shared {
    /// The key to use next; `None` when the client should stop.
    pub fn next_key(&self, random: &mut impl rand::Rng) -> Option<bytes::Bytes> {
        if self.stopping.load(Ordering::Relaxed) {
            return None;
        }
        let number = match self.kind {
            Kind::Put | Kind::Get => random.random_range(0..self.args.keys.max(1)),
            Kind::Fill => {
                let number = self.next_key.fetch_add(1, Ordering::Relaxed);
                if number >= self.args.keys {
                    return None;
                }
                number
            }
        };
        Some(format!("{}{number:012}", self.args.prefix).into())
    }

    /// Whether what is answered now counts.
    pub fn is_measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }
}

/// What one client saw while measuring.
pub struct Tally {
    /// Latencies of successful operations in microseconds.
    pub latency: Histogram<u64>,
    /// Failed operations.
    pub errors: u64,
    /// What the last failure said.
    pub last_error: String,
}

impl Tally {
    /// Nothing seen yet.
    pub fn new() -> Self {
        // Up to ten minutes in microseconds; slower ones count as that.
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are in order");
        Self { latency, errors: 0, last_error: String::new() }
    }

    /// Counts one answered operation.
    pub fn record(&mut self, since: Instant, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.latency.saturating_record(since.elapsed().as_micros() as u64),
            Err(error) => {
                self.errors += 1;
                self.last_error = error;
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("all histograms have one shape");
        self.errors += other.errors;
        if !other.last_error.is_empty() {
            self.last_error.clone_from(&other.last_error);
        }
    }
}

/// Runs the load and reports.
pub async fn run(kind: Kind, args: &LoadArgs, endpoints: &[String]) -> Result<Report, BenchError> {
    if (args.api, args.mode) == (Api::Etcd, Mode::Stream) {
        return Err(BenchError::NoStream);
    }
    let connections = match (args.mode, args.connections) {
        (Mode::Unary, 0) => args.clients.div_ceil(16).max(endpoints.len()),
        (Mode::Stream, 0) => args.clients.min(16).max(endpoints.len()),
        (_, given) => given,
    };
    let channels = connect(endpoints, connections).await?;
    let shared = Arc::new(Shared {
        args: args.clone(),
        kind,
        value: vec![b'v'; args.value_size].into(),
        measuring: AtomicBool::new(kind == Kind::Fill),
        stopping: AtomicBool::new(false),
        next_key: AtomicU64::new(0),
    });
    let mut clients = tokio::task::JoinSet::new();
    for channel in channels.iter().cycle().take(args.clients) {
        let (shared, channel) = (shared.clone(), channel.clone());
        match (args.api, args.mode) {
            (Api::Native, Mode::Unary) => clients.spawn(unary::client(shared, channel)),
            (Api::Native, Mode::Stream) => clients.spawn(stream::client(shared, channel)),
            (Api::Etcd, _) => clients.spawn(etcd::client(shared, channel)),
        };
    }
    let (before, started) = begin(&shared).await?;
    let (tally, elapsed, after) = finish(&shared, clients, started).await?;
    let operations = tally.latency.len();
    if operations == 0 {
        return Err(BenchError::NothingDone { errors: tally.errors, last: tally.last_error });
    }
    let report = Report::new(title(kind, args), operations, tally.errors, elapsed)
        .with_latency(&tally.latency)
        .with_usage(!args.pids.is_empty(), before, after);
    Ok(if tally.errors > 0 { report.note("last error", tally.last_error) } else { report })
}

/// Waits for the warm-up, then starts to count.
async fn begin(shared: &Shared) -> Result<(accounts::Usage, Instant), BenchError> {
    if shared.kind != Kind::Fill {
        tokio::time::sleep(Duration::from_secs(shared.args.warm_up)).await;
    }
    let before = accounts::read(&shared.args.pids)?;
    shared.measuring.store(true, Ordering::Relaxed);
    Ok((before, Instant::now()))
}

/// Waits for the measured time (a fill: for its end), stops the clients and sums up.
async fn finish(
    shared: &Shared,
    mut clients: tokio::task::JoinSet<Tally>,
    started: Instant,
) -> Result<(Tally, Duration, accounts::Usage), BenchError> {
    let mut measured = None;
    if shared.kind != Kind::Fill {
        tokio::time::sleep(Duration::from_secs(shared.args.seconds)).await;
        measured = Some((started.elapsed(), accounts::read(&shared.args.pids)?));
        shared.measuring.store(false, Ordering::Relaxed);
        shared.stopping.store(true, Ordering::Relaxed);
    }
    let mut sum = Tally::new();
    while let Some(tally) = clients.join_next().await {
        sum.add(&tally.expect("a bench client does not panic"));
    }
    let (elapsed, after) = match measured {
        Some(measured) => measured,
        None => (started.elapsed(), accounts::read(&shared.args.pids)?),
    };
    Ok((sum, elapsed, after))
}

fn title(kind: Kind, args: &LoadArgs) -> String {
    let LoadArgs { clients, in_flight, value_size, .. } = args;
    let way = match (args.api, args.mode) {
        (Api::Etcd, _) => "etcd's API".to_owned(),
        (Api::Native, Mode::Unary) => "unary".to_owned(),
        (Api::Native, Mode::Stream) => format!("stream, {in_flight} in flight each"),
    };
    match kind {
        Kind::Put => format!("put, {clients} clients, {way}, {value_size} B values"),
        Kind::Get => format!("get ({:?}), {clients} clients, {way}", args.consistency).to_lowercase(),
        Kind::Fill => format!("fill {} keys, {clients} clients, {way}, {value_size} B values", args.keys),
    }
}
