//! A counter that clients add to.

use super::{Insistence, Seat, Workload};
use crate::door::{Answer, Door, Freshness, Step};
use crate::history::Api;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::json;

const KEY: &str = "counter/total";

/// The workload.
pub(super) struct Counter;

impl Workload for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }
    fn about(&self) -> &'static str {
        "a number is added to and read; it is never less than what was acknowledged, nor more than what was asked"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd, Api::Zookeeper]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(client(seat))
    }
    fn finish(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let insistence = Insistence::new();
            while !read(&mut seat).await && insistence.again().await {}
        })
    }
    fn checks(&self) -> &'static [&'static str] {
        &["counter"]
    }
}

async fn client(mut seat: Seat) {
    let atomic = seat.common.api == Api::Native;
    while !seat.is_over() {
        if seat.chance.random_bool(0.8) {
            let delta = seat.chance.random_range(1..5u64);
            let call = async |door: &mut Door| match atomic {
                true => add_at_once(door, delta).await,
                false => read_then_swap(door, delta).await,
            };
            let _ = seat.run("add", None, json!(delta), call, |value| json!({ "value": value })).await;
        } else {
            read(&mut seat).await;
        }
        seat.pause().await;
    }
}

async fn add_at_once(door: &mut Door, delta: u64) -> Answer<u64> {
    let steps = [Step::Add(KEY.into(), delta), Step::Get(KEY.into())];
    let (_, reads, _) = door.transact(&[], &steps).await?;
    let sum = reads.into_iter().flatten().next().and_then(|record| record.value.parse().ok());
    sum.ok_or_else(|| super::untyped("the sum is no number"))
}

async fn read_then_swap(door: &mut Door, delta: u64) -> Answer<u64> {
    let (record, _) = door.get(KEY, Freshness::Linearizable).await?;
    let before = record.map(|record| record.value);
    let sum = before.as_ref().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) + delta;
    match door.cas(KEY, before.as_deref(), &sum.to_string()).await? {
        (true, _) => Ok(sum),
        (false, _) => Err(super::refused("somebody else added first")),
    }
}

async fn read(seat: &mut Seat) -> bool {
    let call = async |door: &mut Door| door.get(KEY, Freshness::Linearizable).await;
    let value = |(record, _): &(Option<crate::door::Record>, u64)| {
        json!(record.as_ref().and_then(|record| record.value.parse::<u64>().ok()).unwrap_or(0))
    };
    seat.run("read", None, json!({}), call, value).await.is_ok()
}
