//! Sessions, and keys that go with them.
//!
//! A client opens a session, hangs keys off it, and keeps it alive for a while. Then it closes it, or
//! falls silent. Others look whose keys are there: never gone before a promise has passed, and gone
//! some time after.

use super::{Insistence, Seat, Workload};
use crate::door::{Door, Freshness, Lease, Record};
use crate::history::Api;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The workload.
#[derive(Default)]
pub(super) struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    keys: AtomicU64,
    values: AtomicU64,
}

impl Workload for Sessions {
    fn name(&self) -> &'static str {
        "session"
    }
    fn about(&self) -> &'static str {
        "keys hang off sessions that are kept alive, closed or forgotten; they go in time and never early"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd, Api::Zookeeper]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        match seat.number % 2 {
            0 => Box::pin(holder(shared, seat)),
            _ => Box::pin(looker(shared, seat)),
        }
    }
    fn finish(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(finish(self.shared.clone(), seat))
    }
    fn checks(&self) -> &'static [&'static str] {
        &["session"]
    }
}

fn key(number: u64) -> String {
    format!("session/{number}")
}

async fn holder(shared: Arc<Shared>, mut seat: Seat) {
    while !seat.is_over() {
        let timeout_ms =
            *[1_000u64, 2_000, 3_000, 5_000].get(seat.chance.random_range(0..4)).unwrap_or(&2_000);
        let call = async |door: &mut Door| door.open(timeout_ms).await;
        let told = |lease: &Lease| json!({ "session": lease.id, "timeout_ms": lease.timeout_ms });
        let Ok(lease) = seat.run("open", None, json!({ "timeout_ms": timeout_ms }), call, told).await else {
            continue;
        };
        live(&shared, &mut seat, lease).await;
        if seat.chance.random_bool(0.4) {
            let call = async |door: &mut Door| door.close(lease.id).await;
            let _ = seat.run("close", None, json!({ "session": lease.id }), call, |()| json!({})).await;
        }
        seat.pause().await;
    }
}

/// One session's life: keys and signs of life, until it is lost or has lived long enough.
async fn live(shared: &Shared, seat: &mut Seat, lease: Lease) {
    for _ in 0..seat.chance.random_range(1..=3) {
        let single = key(shared.keys.fetch_add(1, Relaxed));
        let value = shared.values.fetch_add(1, Relaxed);
        let input = json!({ "session": lease.id, "value": value });
        let call = async |door: &mut Door| door.put_owned(&single, &value.to_string(), lease.id).await;
        let told = |revision: &u64| json!({ "revision": revision });
        let _ = seat.run("create", Some(&single), input, call, told).await;
    }
    for _ in 0..seat.chance.random_range(0..8) {
        seat.wait(Duration::from_millis(lease.timeout_ms / 3)).await;
        if seat.is_over() {
            return;
        }
        let call = async |door: &mut Door| door.keep_alive(lease.id).await;
        let told = |valid_for: &u64| json!({ "valid_for_ms": valid_for });
        let input = json!({ "session": lease.id });
        match seat.run("keepalive", None, input, call, told).await {
            Err(failure)
                if failure.is_definite() && failure.kind == crate::history::FailureKind::Rejected =>
            {
                return; // it is lost
            }
            Ok(_) | Err(_) => {}
        }
    }
}

async fn looker(shared: Arc<Shared>, mut seat: Seat) {
    while !seat.is_over() {
        let keys = shared.keys.load(Relaxed);
        if keys > 0 {
            let number = keys.saturating_sub(1 + seat.chance.random_range(0..30)).min(keys - 1);
            look(&mut seat, &key(number)).await;
        }
        seat.pause().await;
    }
}

async fn look(seat: &mut Seat, single: &str) -> bool {
    let call = async |door: &mut Door| door.get(single, Freshness::Linearizable).await;
    let told = |(record, at): &(Option<Record>, u64)| json!({ "owner": record.as_ref().map(|record| record.owner), "at": at });
    seat.run("look", Some(single), json!({}), call, told).await.is_ok()
}

/// Longer than any session's timeout after the last sign of life, the last keys are looked at.
async fn finish(shared: Arc<Shared>, mut seat: Seat) {
    tokio::time::sleep(Duration::from_secs(9)).await;
    let keys = shared.keys.load(Relaxed);
    for number in keys.saturating_sub(40)..keys {
        let insistence = Insistence::new();
        while !look(&mut seat, &key(number)).await && insistence.again().await {}
    }
}
