//! One gRPC call of etcd's API for each operation, so that the same program measures both servers.

use super::Freshness;
use super::load::{Kind, Shared, Tally};
use oarlock_proto::etcd::etcdserverpb::{PutRequest, RangeRequest, kv_client::KvClient};
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
            Kind::Put | Kind::Fill => {
                let put = PutRequest { key, value: shared.value.clone(), ..Default::default() };
                kv.put(put).await.map(|_| ())
            }
            Kind::Get => {
                let serializable = shared.args.consistency == Freshness::Serializable;
                kv.range(RangeRequest { key, serializable, ..Default::default() }).await.map(|_| ())
            }
        };
        if shared.is_measuring() {
            tally.record(since, outcome.map_err(|status| status.message().to_owned()));
        }
    }
    tally
}
