//! One gRPC call for each operation.

use super::Freshness;
use super::load::{Kind, Shared, Tally};
use oarlock_proto::v1::{self, kv_client::KvClient};
use rand::SeedableRng;
use std::sync::Arc;
use std::time::Instant;

/// Sends one operation after the other until told to stop.
pub async fn client(shared: Arc<Shared>, channel: tonic::transport::Channel) -> Tally {
    let mut kv = KvClient::new(channel);
    let mut random = rand::rngs::SmallRng::from_os_rng();
    let mut tally = Tally::new();
    while let Some(key) = shared.next_key(&mut random) {
        let since = Instant::now();
        let outcome = match shared.kind {
            Kind::Put | Kind::Fill => kv.put(put(&shared, key)).await.map(|_| ()),
            Kind::Get => kv.range(get(&shared, key)).await.map(|_| ()),
        };
        if shared.is_measuring() {
            tally.record(since, outcome.map_err(|status| status.message().to_owned()));
        }
    }
    tally
}

/// A put of `key`.
pub fn put(shared: &Shared, key: bytes::Bytes) -> v1::PutRequest {
    v1::PutRequest { key, value: shared.value.clone(), ..Default::default() }
}

/// A read of `key`.
pub fn get(shared: &Shared, key: bytes::Bytes) -> v1::RangeRequest {
    let consistency = match shared.args.consistency {
        Freshness::Linearizable => v1::Consistency::Linearizable,
        Freshness::Serializable => v1::Consistency::Serializable,
    };
    v1::RangeRequest {
        range: Some(v1::KeyRange { key, range_end: bytes::Bytes::new() }),
        options: Some(v1::ReadOptions { consistency: consistency.into(), ..Default::default() }),
        ..Default::default()
    }
}
