//! `watchers`: many watches of one prefix, or of one key, and how long a write takes to reach them.
//!
//! Each write carries the moment at which it was sent, and each watch that is told of it counts how long
//! ago that was. Every write must reach every watch; what has not come long after the last write is
//! missing.

use super::accounts;
use super::door::connect_each;
use super::error::BenchError;
use super::hdr;
use super::options::{Api, Arrivals, time};
use super::pace::{Pace, Window};
use super::report::{Latency, Report};
use super::schedule::Schedule;
use super::tally::{Tally, histogram, micros};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use oarlock_proto::etcd::etcdserverpb as etcd;
use oarlock_proto::v1;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Largest frame that is taken, in bytes.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Digits of the moment in a value.
const STAMP_DIGITS: usize = 20;
/// How long after the last write deliveries are waited for.
const GRACE: Duration = Duration::from_secs(20);
/// Watches that share a connection's streams.
const STREAMS_PER_CONNECTION: usize = 8;

/// Options of `watchers`.
#[derive(Clone, Debug, Args)]
pub struct WatchersArgs {
    /// How many watches to hold.
    #[arg(long, default_value_t = 10_000)]
    pub count: u64,
    /// Which API the server is asked through.
    #[arg(long, value_enum, default_value_t = Api::Native)]
    pub api: Api,
    /// How long to write, such as `1m`; a number alone is seconds.
    #[arg(long, visible_alias = "seconds", default_value = "20s", value_parser = time)]
    pub duration: Duration,
    /// Streams that the watches share.
    #[arg(long, default_value_t = 100)]
    pub streams: usize,
    /// Writes in each second.
    #[arg(long, default_value_t = 10.0)]
    pub writes: f64,
    /// Watch one key that is written again and again, instead of a prefix with a new key each time.
    #[arg(long)]
    pub one_key: bool,
    /// Bytes in a value; 20 at least, for the moment of the write.
    #[arg(long, default_value_t = 64)]
    pub value_size: usize,
    /// What comes before the number in each key.
    #[arg(long, default_value = "/watched/")]
    pub prefix: String,
    /// Process ids of the servers, to account their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Write the distribution of latency to this file, as HdrHistogram prints it.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
}

/// What the streams share.
struct Shared {
    args: WatchersArgs,
    /// From when moments count.
    base: Instant,
    /// The measured time, once all watches are there.
    window: OnceLock<Window>,
    created: AtomicU64,
    came: AtomicU64,
}

/// What one stream saw; only that stream writes it, so its lock is free.
type Seen = Arc<Mutex<Option<Tally>>>;

/// Holds the watches, writes, and reports what arrived.
pub async fn run(args: &WatchersArgs, endpoints: &[String]) -> Result<Report, BenchError> {
    check(args)?;
    let streams = args.streams.clamp(1, args.count.max(1) as usize);
    let connections = streams.div_ceil(STREAMS_PER_CONNECTION).max(endpoints.len());
    let channels = connect_each(endpoints, connections).await?;
    let shared = Arc::new(Shared {
        args: args.clone(),
        base: Instant::now(),
        window: OnceLock::new(),
        created: AtomicU64::new(0),
        came: AtomicU64::new(0),
    });
    let mut following = JoinSet::new();
    let mut seen = Vec::new();
    for (number, channel) in channels.iter().cycle().take(streams).enumerate() {
        let mine = Seen::default();
        seen.push(mine.clone());
        following.spawn(follow(shared.clone(), channel.clone(), share_of(args.count, streams, number), mine));
    }
    wait_for_watches(&shared, &mut following).await?;
    let before = (accounts::read(&args.pids)?, accounts::own());
    let window = Window::new(Instant::now(), Duration::ZERO, Some(args.duration));
    shared.window.get_or_init(|| window);
    let written = write(&shared, window, &channels[0]).await?;
    wait_for_deliveries(&shared, written.expected(args)).await;
    let elapsed = window.begin.elapsed().max(args.duration);
    let after = (accounts::read(&args.pids)?, accounts::own());
    following.abort_all();
    let sum = sum(window, &seen, written.expected(args));
    if let Some(path) = &args.hdr {
        hdr::write(&sum.latency, path)?;
    }
    let report = Report::of(title(args, streams), "watchers", &sum, elapsed)
        .with_usage(!args.pids.is_empty(), before.0, after.0)
        .with_own(after.1.cpu.saturating_sub(before.1.cpu));
    Ok(written.told(report).note("missing", sum.counts.errors))
}

/// What all streams saw; what was expected and did not come has failed.
fn sum(window: Window, seen: &[Seen], expected: u64) -> Tally {
    let mut sum = Tally::new(window);
    for mine in seen {
        if let Some(tally) = mine.lock().unwrap_or_else(PoisonError::into_inner).take() {
            sum.add(&tally);
        }
    }
    sum.counts.errors = expected.saturating_sub(sum.counts.done);
    if sum.counts.errors > 0 {
        sum.last_error = format!("deliveries that had not come {GRACE:?} after the last write");
    }
    sum
}

fn check(args: &WatchersArgs) -> Result<(), BenchError> {
    if args.api == Api::Zookeeper {
        let why = "its watches do not say what was written, and so not when";
        return Err(BenchError::CannotDo { work: "watchers", api: args.api, why });
    }
    if args.count == 0 {
        return Err(BenchError::bad("count", "there must be one at least"));
    }
    if !args.writes.is_finite() || args.writes <= 0.0 {
        return Err(BenchError::bad("writes", "must be above 0"));
    }
    if args.prefix.bytes().last().is_none_or(|last| last >= 0x7f) {
        return Err(BenchError::bad("prefix", "must end with a character of ASCII"));
    }
    Ok(())
}

fn title(args: &WatchersArgs, streams: usize) -> String {
    let what = if args.one_key { "key" } else { "prefix" };
    let WatchersArgs { count, api, writes, .. } = args;
    format!("{count} watches on one {what} over {streams} streams, {api} API, {writes} writes/s, deliveries")
}

/// The `number`-th of `streams` nearly equal shares of `count`.
fn share_of(count: u64, streams: usize, number: usize) -> u64 {
    let (streams, number) = (streams as u64, number as u64);
    count / streams + u64::from(number < count % streams)
}

async fn wait_for_watches(
    shared: &Shared,
    following: &mut JoinSet<Result<(), tonic::Status>>,
) -> Result<(), BenchError> {
    while shared.created.load(Ordering::Relaxed) < shared.args.count {
        if let Some(ended) = following.try_join_next() {
            let early = || Err(tonic::Status::unavailable("a watch stream ended early"));
            ended.expect("a watch stream does not panic").and_then(|()| early())?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn wait_for_deliveries(shared: &Shared, expected: u64) {
    let deadline = Instant::now() + GRACE;
    while shared.came.load(Ordering::Relaxed) < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What became of the writes.
struct Written {
    /// From sending to the answer, in microseconds.
    latency: Histogram<u64>,
    failed: u64,
}

impl Written {
    /// Deliveries that must come. Those of a write that failed may come or not.
    fn expected(&self, args: &WatchersArgs) -> u64 {
        self.latency.len() * args.count
    }

    fn told(&self, report: Report) -> Report {
        let latency: Latency = (&self.latency).into();
        report
            .note("writes", self.latency.len())
            .note("writes failed", self.failed)
            .note("write_p50_us", latency.p50)
            .note("write_p99_us", latency.p99)
    }
}

/// Writes at the rate, whether earlier writes were answered or not.
async fn write(shared: &Arc<Shared>, window: Window, channel: &Channel) -> Result<Written, BenchError> {
    let schedule = Schedule::new(shared.args.writes, Arrivals::Constant, 0, 1, 0);
    let pace = Pace::open(window, schedule).map_err(BenchError::NoClients)?;
    let mut writing = JoinSet::new();
    let mut number = 0_u64;
    while pace.next().await.is_some() {
        let key = if shared.args.one_key { String::new() } else { format!("{number:06}") };
        let key = format!("{}{key}", shared.args.prefix);
        writing.spawn(put(shared.clone(), channel.clone(), key));
        number += 1;
    }
    let mut written = Written { latency: histogram(), failed: 0 };
    while let Some(done) = writing.join_next().await {
        match done.expect("a write does not panic") {
            Ok(span) => written.latency.saturating_record(micros(span)),
            Err(_) => written.failed += 1,
        }
    }
    if written.latency.is_empty() {
        return Err(BenchError::NothingDone { errors: written.failed, last: "no write succeeded".into() });
    }
    Ok(written)
}

async fn put(shared: Arc<Shared>, channel: Channel, key: String) -> Result<Duration, tonic::Status> {
    let sent = Instant::now();
    let nanos = sent.duration_since(shared.base).as_nanos();
    let mut value = format!("{nanos:0STAMP_DIGITS$}").into_bytes();
    value.resize(shared.args.value_size.max(STAMP_DIGITS), b'.');
    let (key, value): (Bytes, Bytes) = (key.into(), value.into());
    match shared.args.api {
        Api::Etcd => {
            let put = etcd::PutRequest { key, value, ..Default::default() };
            etcd::kv_client::KvClient::new(channel).put(put).await?;
        }
        Api::Native | Api::Zookeeper => {
            let put = v1::PutRequest { key, value, ..Default::default() };
            v1::kv_client::KvClient::new(channel).put(put).await?;
        }
    }
    Ok(sent.elapsed())
}

/// Opens some watches on one stream and counts what comes.
async fn follow(shared: Arc<Shared>, channel: Channel, count: u64, seen: Seen) -> Result<(), tonic::Status> {
    match shared.args.api {
        Api::Etcd => follow_etcd(&shared, channel, count, &seen).await,
        Api::Native | Api::Zookeeper => follow_native(&shared, channel, count, &seen).await,
    }
}

async fn follow_native(
    shared: &Shared,
    channel: Channel,
    count: u64,
    seen: &Seen,
) -> Result<(), tonic::Status> {
    let (key, range_end) = shared.range();
    let requests = requests((1..=count).map(move |watch_id| {
        let range = v1::KeyRange { key: key.clone(), range_end: range_end.clone() };
        let create = v1::WatchCreate { watch_id, range: Some(range), ..Default::default() };
        v1::WatchRequest { request: Some(v1::watch_request::Request::Create(create)) }
    }));
    let mut client = v1::watch_client::WatchClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let mut incoming = client.watch(requests).await?.into_inner();
    while let Some(response) = incoming.message().await? {
        match response.frame.and_then(|frame| frame.kind) {
            Some(v1::watch_frame::Kind::Created(_)) => shared.opened(),
            Some(v1::watch_frame::Kind::Events(events)) => {
                let records = events.events.iter().filter_map(|event| event.record.as_ref());
                shared.came(seen, records.map(|record| &record.value));
            }
            Some(v1::watch_frame::Kind::Cancelled(cancelled)) => {
                let why = cancelled.error.map_or_else(String::new, |error| error.message);
                return Err(tonic::Status::aborted(format!("a watch was cancelled: {why}")));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn follow_etcd(
    shared: &Shared,
    channel: Channel,
    count: u64,
    seen: &Seen,
) -> Result<(), tonic::Status> {
    let (key, range_end) = shared.range();
    let requests = requests((1..=count).map(move |_| {
        let (key, range_end) = (key.clone(), range_end.clone());
        let create = etcd::WatchCreateRequest { key, range_end, ..Default::default() };
        etcd::WatchRequest { request_union: Some(etcd::watch_request::RequestUnion::CreateRequest(create)) }
    }));
    let mut client = etcd::watch_client::WatchClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let mut incoming = client.watch(requests).await?.into_inner();
    while let Some(response) = incoming.message().await? {
        if response.canceled {
            let why = response.cancel_reason;
            return Err(tonic::Status::aborted(format!("a watch was cancelled: {why}")));
        }
        if response.created {
            shared.opened();
        }
        let records = response.events.iter().filter_map(|event| event.kv.as_ref());
        shared.came(seen, records.map(|record| &record.value));
    }
    Ok(())
}

/// Sends these, and keeps the request half open for as long as the stream is read.
fn requests<T: Send + 'static>(all: impl Iterator<Item = T> + Send + 'static) -> ReceiverStream<T> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        for request in all {
            if sender.send(request).await.is_err() {
                return;
            }
        }
        sender.closed().await;
    });
    ReceiverStream::new(receiver)
}

impl Shared {
    /// What is watched.
    fn range(&self) -> (Bytes, Bytes) {
        let key = self.args.prefix.clone().into_bytes();
        let mut end = if self.args.one_key { Vec::new() } else { key.clone() };
        if let Some(last) = end.last_mut() {
            *last += 1; // it is ASCII, so there is no carry
        }
        (key.into(), end.into())
    }

    fn opened(&self) {
        self.created.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what came in one frame, all of it now.
    fn came<'v>(&self, seen: &Seen, values: impl Iterator<Item = &'v Bytes>) {
        let Some(window) = self.window.get() else { return };
        let now = Instant::now();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = seen.get_or_insert_with(|| Tally::new(*window));
        let mut count = 0;
        for nanos in values.filter_map(|value| stamp(value)) {
            tally.came(self.base + Duration::from_nanos(nanos), now);
            count += 1;
        }
        self.came.fetch_add(count, Ordering::Relaxed);
    }
}

/// The moment in a value, in nanoseconds.
fn stamp(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.get(..STAMP_DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn args(words: &[&str]) -> WatchersArgs {
        let command = WatchersArgs::augment_args(clap::Command::new("watchers").no_binary_name(true));
        WatchersArgs::from_arg_matches(&command.get_matches_from(words)).expect("they are right")
    }

    fn shared(words: &[&str], window: Window) -> Shared {
        Shared {
            args: args(words),
            base: window.begin,
            window: window.into(),
            created: AtomicU64::new(0),
            came: AtomicU64::new(0),
        }
    }

    #[test]
    fn streams_share_the_watches() {
        assert_eq!((0..3).map(|number| share_of(10, 3, number)).collect::<Vec<_>>(), [4, 3, 3]);
    }

    #[test]
    fn deliveries_count_from_the_moment_in_the_value() {
        let begin = Instant::now().checked_sub(Duration::from_secs(1)).expect("the machine runs longer");
        let shared = shared(&[], Window::new(begin, Duration::ZERO, Some(Duration::from_secs(9))));
        let seen = Seen::default();
        let value = Bytes::from(format!("{:020}....", 500_000_000));
        shared.came(&seen, [&value, &value, &Bytes::from_static(b"another's")].into_iter());
        assert_eq!(shared.came.load(Ordering::Relaxed), 2);
        let tally = seen.lock().expect("nobody panicked").take().expect("something came");
        assert_eq!(tally.counts.done, 2);
        assert!((499_000..600_000_000).contains(&tally.latency.min()), "{}", tally.latency.min());
    }

    #[test]
    fn one_key_or_a_prefix_is_watched() {
        let window = Window::new(Instant::now(), Duration::ZERO, None);
        assert_eq!(shared(&[], window).range(), ("/watched/".into(), "/watched0".into()));
        assert_eq!(shared(&["--one-key"], window).range(), ("/watched/".into(), Bytes::new()));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(check(&args(&[])).is_ok());
        for bad in [["--api", "zookeeper"], ["--count", "0"], ["--writes", "0"], ["--prefix", ""]] {
            assert!(check(&args(&bad)).is_err_and(|refusal| refusal.is_usage()), "{bad:?}");
        }
    }
}
