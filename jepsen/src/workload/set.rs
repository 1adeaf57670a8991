//! A set that elements are added to and nothing is removed from: the cheapest way to see a lost write.

use super::{Insistence, Seat, Workload};
use crate::door::{Door, Freshness};
use crate::history::Api;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The workload.
#[derive(Default)]
pub(super) struct Set {
    next: Arc<AtomicU64>,
}

impl Workload for Set {
    fn name(&self) -> &'static str {
        "set"
    }
    fn about(&self) -> &'static str {
        "elements are added, each under a key of its own, and the whole is read; none is ever lost"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd, Api::Zookeeper]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(client(self.next.clone(), seat))
    }
    fn finish(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let insistence = Insistence::new();
            while !read(&mut seat, true).await && insistence.again().await {}
        })
    }
    fn checks(&self) -> &'static [&'static str] {
        &["set"]
    }
}

async fn client(next: Arc<AtomicU64>, mut seat: Seat) {
    while !seat.is_over() {
        if seat.chance.random_bool(0.95) {
            let element = next.fetch_add(1, Relaxed);
            let call = async |door: &mut Door| door.put(&format!("set/{element:08}"), "").await;
            let told = |revision: &u64| json!({ "revision": revision });
            let _ = seat.run("add", None, json!(element), call, told).await;
        } else {
            read(&mut seat, false).await;
        }
        seat.pause().await;
    }
}

async fn read(seat: &mut Seat, last: bool) -> bool {
    let input = json!({ "node": seat.address().node, "final": last });
    let call = async |door: &mut Door| door.keys("set/", Freshness::Linearizable).await;
    let elements = |keys: &Vec<String>| -> Value {
        let number = |key: &String| key.strip_prefix("set/").and_then(|text| text.parse::<u64>().ok());
        keys.iter().filter_map(number).collect()
    };
    seat.run("read", None, input, call, elements).await.is_ok()
}
