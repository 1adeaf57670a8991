//! The library's work queue: what is put in comes out once, however workers end.

use super::library::{self, ANY, failure, lives, tell};
use super::{Insistence, Seat, Workload, refused};
use crate::history::Api;
use futures::future::BoxFuture;
use oarlock_client::recipes::queue::{self, Worker};
use oarlock_client::{Client, Error, Session, SessionState, prefix};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const PATH: &str = "/queue";

/// The workload.
#[derive(Default)]
pub(super) struct Queue {
    items: Arc<AtomicU64>,
}

impl Workload for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }
    fn about(&self) -> &'static str {
        "items are put into a work queue and completed once each, by workers who stop, die and give back"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let items = self.items.clone();
        lives(seat, async move |seat: &mut Seat| life(&items, seat).await)
    }
    fn finish(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let insistence = Insistence::new();
            while !drain(&mut seat).await && insistence.again().await {}
            seat.process.invoke("drain", None, json!({}), ANY).ok(json!([]));
        })
    }
    fn checks(&self) -> &'static [&'static str] {
        &["queue"]
    }
}

/// Workers come and go, and an item is never given up because of that.
fn queue(client: &Client) -> queue::Queue {
    queue::Queue::new(client, PATH).attempts(u32::MAX)
}

/// One client, until it closes its session, loses it, or dies.
async fn life(items: &AtomicU64, seat: &mut Seat) {
    let Some(client) = library::connect(seat).await else { return };
    let timeout = Duration::from_millis(seat.chance.random_range(2_000..4_000));
    let Some(session) = library::open(seat, &client, timeout).await else { return };
    let queue = queue(&client);
    let mut worker = queue.worker(&session, "jepsen");
    for _ in 0..seat.chance.random_range(10..60) {
        if seat.is_over() || matches!(session.state(), SessionState::Lost { .. }) {
            break;
        }
        if seat.chance.random_bool(0.5) {
            let item = items.fetch_add(1, Relaxed);
            let call = queue.put(item.to_string());
            let _ = tell(seat, "enqueue", None, json!(item), call, |_| json!({})).await;
        } else if let Step::Died = dequeue(seat, &mut worker, &session).await {
            return;
        }
        seat.pause().await;
    }
    if seat.chance.random_bool(0.6) {
        library::close(seat, session).await;
    }
}

/// What came of one attempt to take an item.
enum Step {
    /// It was completed.
    Taken,
    /// There was none, it failed, or was given back.
    Failed,
    /// The worker dies: whoever gets this sends nothing more.
    Died,
}

/// Claims an item, works on it, and completes it, if the worker gets that far.
async fn dequeue(seat: &mut Seat, worker: &mut Worker, session: &Session) -> Step {
    let patience = Duration::from_millis(seat.chance.random_range(50..1_000));
    let (fate, time): (u32, u32) = (seat.chance.random_range(0..100), seat.chance.random_range(0..100));
    let pending = seat.process.invoke("dequeue", None, json!({}), ANY);
    let claim = match tokio::time::timeout(patience, worker.claim()).await {
        Ok(Ok(claim)) => claim,
        Err(_late) => {
            pending.failed(refused("no item was free in time"));
            return Step::Failed;
        }
        Ok(Err(error)) => {
            // Without a completion the item stays.
            pending.failed(refused(&error.to_string()));
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Step::Failed;
        }
    };
    match fate {
        0..5 => {
            pending.failed(refused("the worker died before it completed the item"));
            return Step::Died;
        }
        // The whole client is held up, for up to twice its session's timeout.
        5..10 => std::thread::sleep(session.timeout().mul_f64(0.3 + f64::from(time) / 60.0)),
        10..20 => {
            pending.failed(refused("the worker gives the item back"));
            return give_back(claim, fate).await;
        }
        _ => tokio::time::sleep(Duration::from_millis(u64::from(time) * 2)).await,
    }
    let item = std::str::from_utf8(claim.payload()).ok().and_then(|text| text.parse::<u64>().ok());
    match claim.complete().await {
        Ok(()) => {
            pending.ok(json!(item));
            Step::Taken
        }
        Err(error) => {
            pending.failed(failure(&error));
            Step::Failed
        }
    }
}

async fn give_back(claim: queue::Claim, fate: u32) -> Step {
    // If it does not get through, the session's end gives the item back.
    let _: Result<(), Error> = match fate {
        10..13 => claim.fail("by chance").await.map(drop),
        13..17 => claim.release().await,
        _ => {
            drop(claim);
            Ok(())
        }
    };
    Step::Failed
}

/// Takes out what is left; whether the queue is empty then. Items of workers that died are free only
/// when their sessions have ended.
async fn drain(seat: &mut Seat) -> bool {
    let Some(client) = library::connect_to_member(seat).await else { return false };
    let Some(session) = library::open(seat, &client, Duration::from_secs(10)).await else { return false };
    let mut worker = queue(&client).worker(&session, "drain");
    loop {
        let pending = seat.process.invoke("dequeue", None, json!({}), ANY);
        let outcome = async {
            let Some(claim) = worker.try_claim().await? else { return Ok(Value::Null) };
            let item = std::str::from_utf8(claim.payload()).ok().and_then(|text| text.parse::<u64>().ok());
            claim.complete().await?;
            Ok(json!(item))
        };
        let outcome: Result<Value, Error> = outcome.await;
        let is_last = outcome.as_ref().map_or(true, Value::is_null);
        pending.settle(outcome.map_err(|error| failure(&error)));
        if is_last {
            break;
        }
    }
    let left = client.range(prefix(format!("{PATH}/items/"))).count().await;
    library::close(seat, session).await;
    left.is_ok_and(|left| left == 0)
}
