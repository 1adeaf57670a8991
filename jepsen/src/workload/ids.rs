//! Revisions as unique ids that rise with time.

use super::{Seat, Workload};
use crate::door::Door;
use crate::history::Api;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The workload.
#[derive(Default)]
pub(super) struct Ids {
    writes: Arc<AtomicU64>,
}

impl Workload for Ids {
    fn name(&self) -> &'static str {
        "ids"
    }
    fn about(&self) -> &'static str {
        "every write's revision is taken as an id; no two are the same, and they rise with real time"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd, Api::Zookeeper]
    }
    fn client(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        let writes = self.writes.clone();
        Box::pin(async move {
            while !seat.is_over() {
                let key = format!("ids/{}", seat.chance.random_range(0..20));
                let value = writes.fetch_add(1, Relaxed).to_string();
                let call = async |door: &mut Door| door.put(&key, &value).await;
                let told = |revision: &u64| json!({ "id": revision, "revision": revision });
                let _ = seat.run("generate", None, json!({}), call, told).await;
                seat.pause().await;
            }
        })
    }
    fn checks(&self) -> &'static [&'static str] {
        &["ids"]
    }
}
