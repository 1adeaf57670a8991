//! Many sessions, or many watches, held for a time, with what they cost.

use super::report::Report;
use super::{BenchError, HoldArgs, accounts, connect};
use futures::stream::{self, StreamExt, TryStreamExt};
use oarlock_proto::v1::{
    self, kv_client::KvClient, sessions_client::SessionsClient, watch_client::WatchClient,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Calls on their way at a time while opening and keeping alive.
const CONCURRENCY: usize = 256;

/// Opens `count` sessions, keeps each alive three times in its timeout for the time asked, and
/// counts those that were lost.
pub async fn sessions(args: &HoldArgs, endpoints: &[String]) -> Result<Report, BenchError> {
    let channels = connect(endpoints, endpoints.len() * 2).await?;
    let opening = Instant::now();
    let ids: Vec<u64> = stream::iter(0..args.count)
        .map(|number| open(channels[number as usize % channels.len()].clone(), args.timeout_ms))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    let opened_in = opening.elapsed();
    let before = accounts::read(&args.pids)?;
    let started = Instant::now();
    let (mut alive, mut lost) = (0, 0);
    let pause = Duration::from_millis(args.timeout_ms / 3);
    while started.elapsed() < Duration::from_secs(args.seconds) {
        let round = Instant::now();
        let answers = keep_alive_all(&channels, &ids).await;
        alive += answers.iter().filter(|kept| **kept).count() as u64;
        lost += answers.iter().filter(|kept| !**kept).count() as u64;
        let rest = Duration::from_secs(args.seconds).saturating_sub(started.elapsed());
        tokio::time::sleep(pause.saturating_sub(round.elapsed()).min(rest)).await;
    }
    let after = accounts::read(&args.pids)?;
    let elapsed = started.elapsed();
    close_all(&channels, &ids).await;
    let title = format!("hold {} sessions of {} ms, keep-alives", args.count, args.timeout_ms);
    Ok(Report::new(title, alive, lost, elapsed)
        .with_usage(!args.pids.is_empty(), before, after)
        .note("opened in", format!("{:.1} s", opened_in.as_secs_f64())))
}

async fn open(channel: Channel, timeout_ms: u64) -> Result<u64, BenchError> {
    let request = v1::OpenSessionRequest { timeout_ms, ..Default::default() };
    Ok(SessionsClient::new(channel).open(request).await?.into_inner().session)
}

async fn keep_alive_all(channels: &[Channel], ids: &[u64]) -> Vec<bool> {
    stream::iter(ids.iter().enumerate())
        .map(|(number, &session)| {
            let mut client = SessionsClient::new(channels[number % channels.len()].clone());
            async move { client.keep_alive(v1::KeepAliveRequest { session }).await.is_ok() }
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

async fn close_all(channels: &[Channel], ids: &[u64]) {
    stream::iter(ids.iter().enumerate())
        .for_each_concurrent(CONCURRENCY, |(number, &session)| {
            let mut client = SessionsClient::new(channels[number % channels.len()].clone());
            async move {
                // A session that could not be closed expires by itself.
                let _ = client.close(v1::CloseSessionRequest { session, ..Default::default() }).await;
            }
        })
        .await;
}

/// Opens `count` watches of one prefix over `streams` streams, writes under it, and counts what
/// arrives: each write must reach every watch.
pub async fn watchers(args: &HoldArgs, endpoints: &[String]) -> Result<Report, BenchError> {
    let streams = args.streams.clamp(1, args.count.max(1) as usize);
    let channels = connect(endpoints, streams.div_ceil(8).max(endpoints.len())).await?;
    let received = Arc::new(AtomicU64::new(0));
    let created = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for (number, channel) in channels.iter().cycle().take(streams).enumerate() {
        let share = share_of(args.count, streams, number);
        tasks.spawn(watch(channel.clone(), args.prefix.clone(), share, created.clone(), received.clone()));
    }
    while created.load(Ordering::Relaxed) < args.count {
        if tasks.try_join_next().is_some() {
            return Err(tonic::Status::unavailable("a watch stream ended early").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = accounts::read(&args.pids)?;
    let started = Instant::now();
    let written = write_for(args, channels[0].clone()).await?;
    let expected = written * args.count;
    let deadline = Instant::now() + Duration::from_secs(20);
    while received.load(Ordering::Relaxed) < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let elapsed = started.elapsed();
    let after = accounts::read(&args.pids)?;
    tasks.abort_all();
    let arrived = received.load(Ordering::Relaxed);
    let title = format!("{} watches on one prefix over {streams} streams, deliveries", args.count);
    Ok(Report::new(title, arrived, expected.saturating_sub(arrived), elapsed)
        .with_usage(!args.pids.is_empty(), before, after)
        .note("writes", written))
}

/// The `number`-th of `streams` nearly equal shares of `count`.
fn share_of(count: u64, streams: usize, number: usize) -> u64 {
    let (streams, number) = (streams as u64, number as u64);
    count / streams + u64::from(number < count % streams)
}

async fn write_for(args: &HoldArgs, channel: Channel) -> Result<u64, BenchError> {
    let mut kv = KvClient::new(channel);
    let mut clock = tokio::time::interval(Duration::from_secs(1) / args.writes.max(1) as u32);
    let total = args.seconds * args.writes;
    for number in 0..total {
        clock.tick().await;
        let key = format!("{}{number:06}", args.prefix).into();
        kv.put(v1::PutRequest { key, value: "changed".into(), ..Default::default() }).await?;
    }
    Ok(total)
}

async fn watch(
    channel: Channel,
    prefix: String,
    count: u64,
    created: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
) -> Result<(), tonic::Status> {
    let (requests, outgoing) = mpsc::channel(64);
    let mut client = WatchClient::new(channel).max_decoding_message_size(64 << 20);
    let opening = tokio::spawn(async move {
        for watch_id in 1..=count {
            let create = create(&prefix, watch_id);
            if requests.send(create).await.is_err() {
                return;
            }
        }
        // Keeps the request half open for as long as the stream is read.
        requests.closed().await;
    });
    let mut incoming = client.watch(ReceiverStream::new(outgoing)).await?.into_inner();
    while let Some(response) = incoming.message().await? {
        match response.frame.and_then(|frame| frame.kind) {
            Some(v1::watch_frame::Kind::Created(_)) => created.fetch_add(1, Ordering::Relaxed),
            Some(v1::watch_frame::Kind::Events(events)) => {
                received.fetch_add(events.events.len() as u64, Ordering::Relaxed)
            }
            _ => 0,
        };
    }
    opening.abort();
    Ok(())
}

fn create(prefix: &str, watch_id: u64) -> v1::WatchRequest {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1; // prefixes of the bench are ASCII, so there is no carry
    }
    let range = v1::KeyRange { key: prefix.to_owned().into(), range_end: end.into() };
    let create = v1::WatchCreate { watch_id, range: Some(range), ..Default::default() };
    v1::WatchRequest { request: Some(v1::watch_request::Request::Create(create)) }
}
