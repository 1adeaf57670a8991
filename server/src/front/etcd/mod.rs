//! etcd's v3 API: the gRPC services of etcd 3.5 to 3.7 on Oarlock's state.
//!
//! Every service checks form as etcd does, converts, asks the node through [`door`], and converts
//! back. Codes and texts of refusals are etcd's own ([`errors`]), because clients match on them. A
//! lease is a session; keys, revisions and versions are the same that every other door shows.

#![allow(clippy::result_large_err, reason = "tonic's services return `Status`, which is large, by value")]

mod alarms;
pub mod auth;
pub mod cluster;
pub mod convert;
pub mod door;
pub mod errors;
pub mod gateway;
mod hash;
pub mod kv;
pub mod leader;
pub mod lease;
pub mod maintenance;
pub mod oversize;
pub mod recipes;
pub mod saved;
pub mod watch;

use crate::config::Emulation;
use crate::front::h2::Table;
use crate::front::saved::SnapshotSource;
use auth::AuthService;
use cluster::ClusterService;
use door::Door;
use kv::{KvService, calls};
use lease::LeaseService;
use maintenance::MaintenanceService;
use oarlock_proto::etcd::etcdserverpb::auth_server::AuthServer;
use oarlock_proto::etcd::etcdserverpb::cluster_server::ClusterServer;
use oarlock_proto::etcd::etcdserverpb::kv_server::KvServer;
use oarlock_proto::etcd::etcdserverpb::lease_server::LeaseServer;
use oarlock_proto::etcd::etcdserverpb::maintenance_server::MaintenanceServer;
use oarlock_proto::etcd::etcdserverpb::watch_server::WatchServer;
use oarlock_proto::etcd::v3electionpb::election_server::ElectionServer;
use oarlock_proto::etcd::v3lockpb::lock_server::LockServer;
use oversize::Oversize;
use recipes::election::ElectionService;
use recipes::lock::LockService;
use std::sync::Arc;
use tonic::service::Routes;
use watch::WatchService;

/// What a message may be longer than the largest request (etcd's own number).
const OVERHEAD_BYTES: usize = 512 * 1024;

/// What the services need beside the node.
#[derive(Clone)]
pub struct Setup {
    /// What clients are told.
    pub emulation: Emulation,
    /// Where saved states come from.
    pub snapshots: Arc<dyn SnapshotSource>,
}

/// Adds etcd's services to those of the port.
pub fn add_to(routes: Routes, door: &Arc<Door>, kv: &KvService, setup: &Setup) -> Routes {
    let bytes = message_bytes(door);
    let maintenance = MaintenanceService::new(door.clone(), setup.clone());
    routes
        .add_service(AuthServer::new(AuthService::new(door.clone())).max_decoding_message_size(bytes))
        .add_service(Oversize(KvServer::new(kv.clone()).max_decoding_message_size(bytes)))
        .add_service(LeaseServer::new(LeaseService::new(door.clone())).max_decoding_message_size(bytes))
        .add_service(WatchServer::new(WatchService::new(door.clone())).max_decoding_message_size(bytes))
        .add_service(LockServer::new(LockService::new(door.clone())).max_decoding_message_size(bytes))
        .add_service(ElectionServer::new(ElectionService::new(door.clone())).max_decoding_message_size(bytes))
        .add_service(ClusterServer::new(ClusterService::new(door.clone())).max_decoding_message_size(bytes))
        .add_service(MaintenanceServer::new(maintenance).max_decoding_message_size(bytes))
}

/// The calls that most clients make most of the time.
pub fn fast_calls(kv: &KvService) -> Table {
    let bytes = message_bytes(kv.door());
    Table::default()
        .with::<calls::Range>(kv, bytes)
        .with::<calls::Put>(kv, bytes)
        .with::<calls::DeleteRange>(kv, bytes)
        .with::<calls::Txn>(kv, bytes)
}

/// As etcd: what is somewhat too large is refused in its words, more than that by the transport.
fn message_bytes(door: &Door) -> usize {
    door.limits().request_bytes + OVERHEAD_BYTES
}
