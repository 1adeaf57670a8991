//! Keys that change, and watchers who must be told of every change once and in order.
//!
//! A watcher's life ends when its connection does, or when it wishes; it goes on from the revision
//! after the last that it was told of, perhaps at another member. Some begin in the past, some in the
//! future.

use super::{Insistence, Seat, Workload};
use crate::door::{Change, Door, Freshness, Record, Told};
use crate::history::Api;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

const PREFIX: &str = "watch/";
const KEYS: u64 = 12;

/// The workload.
#[derive(Default)]
pub(super) struct Watches {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    values: AtomicU64,
    /// The highest revision that any writer was told.
    revision: AtomicU64,
}

impl Workload for Watches {
    fn name(&self) -> &'static str {
        "watch"
    }
    fn about(&self) -> &'static str {
        "watchers are told of every change once, in order, without gaps, over every reconnection"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        match seat.number % 2 {
            0 => Box::pin(writer(shared, seat)),
            _ => Box::pin(watcher(shared, seat)),
        }
    }
    fn finish(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let insistence = Insistence::new();
            while !read(&mut seat).await && insistence.again().await {}
        })
    }
    fn checks(&self) -> &'static [&'static str] {
        &["watch"]
    }
}

async fn writer(shared: Arc<Shared>, mut seat: Seat) {
    while !seat.is_over() {
        let key = format!("{PREFIX}{}", seat.chance.random_range(0..KEYS));
        let revision = if seat.chance.random_bool(0.8) {
            let value = shared.values.fetch_add(1, Relaxed);
            let call = async |door: &mut Door| door.put(&key, &value.to_string()).await;
            let told = |revision: &u64| json!({ "revision": revision });
            seat.run("put", Some(&key), json!({ "value": value }), call, told).await.ok()
        } else {
            let call = async |door: &mut Door| door.delete(&key).await;
            let told =
                |(existed, revision): &(bool, u64)| json!({ "existed": existed, "revision": revision });
            seat.run("delete", Some(&key), json!({}), call, told).await.ok().map(|(_, revision)| revision)
        };
        shared.revision.fetch_max(revision.unwrap_or(0), Relaxed);
        seat.pause().await;
    }
}

async fn watcher(shared: Arc<Shared>, mut seat: Seat) {
    let id = seat.number;
    let mut next = 0;
    // The one life that begins when all is over must still see the end.
    let mut is_last = false;
    while !is_last {
        is_last = seat.is_over();
        let known = shared.revision.load(Relaxed);
        let start = match seat.chance.random_range(0..20) {
            0 => known + seat.chance.random_range(1..50), // a revision that is not there yet
            1 => known.saturating_sub(seat.chance.random_range(0..200)), // one that may be compacted
            _ => next,
        };
        let start = if is_last { next } else { start };
        next = live(&shared, &mut seat, id, start, is_last).await.unwrap_or(next);
        seat.wait(Duration::from_millis(50)).await;
    }
}

/// One life. Returns where the next one goes on, if it can be said.
async fn live(shared: &Shared, seat: &mut Seat, id: usize, start: u64, is_last: bool) -> Option<u64> {
    let input = json!({ "watcher": id, "start": start, "prefix": PREFIX });
    let until = Instant::now() + Duration::from_millis(seat.chance.random_range(300..8_000));
    let mut over = seat.common.over.clone();
    let goal = shared.revision.load(Relaxed);
    let call = async |door: &mut Door| {
        let mut watching = door.watch(PREFIX, start).await?;
        let mut seen = Seen::default();
        let mut ask = tokio::time::interval(Duration::from_millis(700));
        // After the end a life lasts until it has seen what was written before.
        let deadline = if is_last { Instant::now() + Duration::from_secs(20) } else { until };
        loop {
            tokio::select! {
                told = watching.next() => if !seen.take(told) { break },
                _ = ask.tick() => watching.ask_progress(),
                () = tokio::time::sleep_until(deadline) => break,
                _ = over.wait_for(|over| *over), if !is_last => break,
            }
            if is_last && seen.through >= goal {
                break;
            }
        }
        Ok(seen)
    };
    let seen = seat.run("watch", None, input, call, Seen::value).await.ok()?;
    match seen.compacted {
        Some(_) => Some(0),
        None if seen.through > 0 => Some(seen.through + 1),
        None => seen.created,
    }
}

/// What a watcher was told in one life.
#[derive(Default)]
struct Seen {
    created: Option<u64>,
    batches: Vec<(u64, Vec<Change>)>,
    /// After how many batches progress up to which revision was told.
    progress: Vec<(usize, u64)>,
    through: u64,
    compacted: Option<u64>,
    end: Option<String>,
}

impl Seen {
    /// Whether more may come.
    fn take(&mut self, told: Option<Told>) -> bool {
        match told {
            Some(Told::Created(next)) => self.created = Some(next),
            Some(Told::Events { events, through }) => {
                self.through = self.through.max(through);
                self.batches.push((through, events));
            }
            Some(Told::Progress(through)) => {
                self.through = self.through.max(through);
                self.progress.push((self.batches.len(), through));
            }
            Some(Told::Compacted(revision)) => self.compacted = Some(revision),
            Some(Told::Ended(why)) => self.end = Some(why),
            None => self.end = Some("the connection ended".into()),
        }
        self.compacted.is_none() && self.end.is_none()
    }

    fn value(&self) -> Value {
        let number = |value: &Option<String>| value.as_ref().and_then(|text| text.parse::<u64>().ok());
        let event = |change: &Change| {
            json!({
                "revision": change.revision, "key": change.key, "value": number(&change.value),
                "create": change.created, "previous": number(&change.previous),
            })
        };
        let batch = |(through, events): &(u64, Vec<Change>)| json!({ "through": through, "events": events.iter().map(event).collect::<Value>() });
        let end = match (&self.compacted, &self.end) {
            (Some(_), _) => "compacted",
            (None, Some(_)) => "broken",
            (None, None) => "stopped",
        };
        json!({
            "created": self.created, "batches": self.batches.iter().map(batch).collect::<Value>(),
            "progress": self.progress, "end": end, "why": self.end, "compact_revision": self.compacted,
        })
    }
}

async fn read(seat: &mut Seat) -> bool {
    let call = async |door: &mut Door| door.range(PREFIX, Freshness::Linearizable).await;
    let told = |(records, at): &(Vec<Record>, u64)| {
        let record = |record: &Record| {
            (record.key.clone(), json!([record.value.parse::<u64>().unwrap_or(0), record.modified]))
        };
        let records: serde_json::Map<String, Value> = records.iter().map(record).collect();
        json!({ "records": records, "at": at })
    };
    seat.run("read", None, json!({ "final": true }), call, told).await.is_ok()
}
