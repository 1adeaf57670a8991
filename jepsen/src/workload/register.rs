//! Registers: reads, writes, swaps and deletes of single keys, which must be linearizable.
//!
//! A key is used for some two hundred operations and then left for the next, because the search for
//! an order grows with the length of what it judges.

use super::{Insistence, Seat, Workload};
use crate::door::Freshness;
use crate::history::Api;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Keys in use at a time.
const ACTIVE: u64 = 5;
/// Operations of a key, about.
const USES: u64 = 200;

/// The workload.
#[derive(Default)]
pub(super) struct Register {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    uses: AtomicU64,
    values: AtomicU64,
}

impl Workload for Register {
    fn name(&self) -> &'static str {
        "register"
    }
    fn about(&self) -> &'static str {
        "single keys are read, written, swapped and deleted; each behaves as one register"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd, Api::Zookeeper]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(client(self.shared.clone(), seat))
    }
    fn finish(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(finish(self.shared.clone(), seat))
    }
    fn checks(&self) -> &'static [&'static str] {
        &["linearizable", "revision_order"]
    }
}

impl Shared {
    fn key(&self, chosen: u64) -> String {
        let uses = self.uses.fetch_add(1, Relaxed);
        format!("register/{}", uses / (USES * ACTIVE) * ACTIVE + chosen % ACTIVE)
    }
}

async fn client(shared: Arc<Shared>, mut seat: Seat) {
    let mut seen: Option<i64> = None;
    while !seat.is_over() {
        let key = shared.key(seat.chance.random());
        seen = act(&mut seat, &key, seen, &shared.values).await;
        seat.pause().await;
    }
}

/// One operation on a register whose value was `seen`. Returns what is seen then.
pub(super) async fn act(seat: &mut Seat, key: &str, seen: Option<i64>, values: &AtomicU64) -> Option<i64> {
    match seat.chance.random_range(0..100) {
        0..40 => return read(seat, key, Freshness::Linearizable).await.unwrap_or(seen),
        40..50 => drop(read(seat, key, Freshness::Serializable).await),
        50..70 => write(seat, key, values).await,
        70..95 => swap(seat, key, seen, values).await,
        _ => delete(seat, key).await,
    }
    seen
}

/// The outer `None`: the read had no result.
pub(super) async fn read(seat: &mut Seat, key: &str, freshness: Freshness) -> Option<Option<i64>> {
    let consistency = match freshness {
        Freshness::Linearizable => "linearizable",
        Freshness::Serializable => "serializable",
    };
    let answer = seat
        .run(
            "read",
            Some(key),
            json!({ "consistency": consistency }),
            async |door| door.get(key, freshness).await,
            |(record, at)| {
                let value = record.as_ref().and_then(|record| record.value.parse::<i64>().ok());
                let at = Some(at).filter(|at| **at > 0);
                json!({ "value": value, "mod": record.as_ref().map_or(0, |r| r.modified), "at": at })
            },
        )
        .await;
    let (record, _) = answer.ok()?;
    Some(record.and_then(|record| record.value.parse().ok()))
}

pub(super) async fn write(seat: &mut Seat, key: &str, values: &AtomicU64) {
    let value = values.fetch_add(1, Relaxed);
    let call = async |door: &mut crate::door::Door| door.put(key, &value.to_string()).await;
    let _ = seat.run("write", Some(key), json!({ "value": value }), call, revision).await;
}

async fn swap(seat: &mut Seat, key: &str, seen: Option<i64>, values: &AtomicU64) {
    let new = values.fetch_add(1, Relaxed);
    let expected = seen.map(|number| number.to_string());
    let call =
        async |door: &mut crate::door::Door| door.cas(key, expected.as_deref(), &new.to_string()).await;
    let told = |(swapped, revision): &(bool, u64)| json!({ "swapped": swapped, "revision": revision });
    let _ = seat.run("cas", Some(key), json!({ "expected": seen, "new": new }), call, told).await;
}

async fn delete(seat: &mut Seat, key: &str) {
    let call = async |door: &mut crate::door::Door| door.delete(key).await;
    let told = |(existed, revision): &(bool, u64)| json!({ "existed": existed, "revision": revision });
    let _ = seat.run("delete", Some(key), json!({}), call, told).await;
}

fn revision(revision: &u64) -> Value {
    json!({ "revision": revision })
}

/// Every key that was in use last is read through every member.
async fn finish(shared: Arc<Shared>, mut seat: Seat) {
    let last = shared.uses.load(Relaxed) / (USES * ACTIVE) * ACTIVE;
    for number in last.saturating_sub(ACTIVE)..last + ACTIVE {
        let key = format!("register/{number}");
        let insistence = Insistence::new();
        while read(&mut seat, &key, Freshness::Linearizable).await.is_none() && insistence.again().await {}
    }
}
