//! The native API: gRPC services over [`Handle`](crate::node::handle::Handle).
//!
//! A message comes in, is checked for form and converted ([`convert`]), goes to the node, and its
//! answer is converted back. Nothing here knows how a cluster agrees.
//!
//! Modules in reading order: [`door`], [`convert`], [`errors`], the unary services [`kv`],
//! [`session`], [`locks`], [`pools`], [`cluster`] and [`maintenance`]; then the streams: [`outbox`] (what waits to be
//! sent), [`stream`] and [`frames`] (a session's two directions), [`watch`],
//! [`routes`].

#![allow(clippy::result_large_err, reason = "tonic's services return `Status`, which is large, by value")]

pub mod cluster;
pub mod convert;
pub mod door;
pub mod errors;
pub mod frames;
pub mod kv;
pub mod locks;
pub mod maintenance;
pub mod ops;
pub mod outbox;
pub mod pages;
pub mod pools;
pub mod routes;
pub mod session;
pub mod snapshots;
pub mod stream;
pub mod tags;
pub mod watch;
pub mod watch_ids;
pub mod weights;

#[cfg(test)]
mod tests;

use cluster::ClusterService;
use door::Door;
use kv::KvService;
use locks::LockService;
use maintenance::MaintenanceService;
use oarlock_proto::v1::{
    cluster_server::ClusterServer, kv_server::KvServer, locks_server::LocksServer,
    maintenance_server::MaintenanceServer, pools_server::PoolsServer, sessions_server::SessionsServer,
    watch_server::WatchServer,
};
use pools::PoolService;
use session::SessionService;
use std::sync::Arc;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use watch::WatchService;

/// The services of the native API, with gRPC's own health and reflection services.
///
/// The reporter is for whoever knows when the node is ready: health clients ask for the empty name.
///
/// # Errors
/// The compiled-in schemas cannot be read, which would be a fault of the build.
pub fn routes(door: Arc<Door>) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let limits = *door.limits();
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(oarlock_proto::DESCRIPTORS)
    };
    let mut routes = Routes::new(health);
    routes = routes
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(
            KvServer::new(KvService::new(door.clone())).max_decoding_message_size(limits.request_bytes),
        )
        .add_service(
            SessionsServer::new(SessionService::new(door.clone()))
                .max_decoding_message_size(limits.frame_bytes),
        )
        .add_service(
            WatchServer::new(WatchService::new(door.clone())).max_decoding_message_size(limits.request_bytes),
        )
        .add_service(
            LocksServer::new(LockService::new(door.clone())).max_decoding_message_size(limits.request_bytes),
        )
        .add_service(
            PoolsServer::new(PoolService::new(door.clone())).max_decoding_message_size(limits.request_bytes),
        )
        .add_service(ClusterServer::new(ClusterService::new(door.clone())))
        .add_service(MaintenanceServer::new(MaintenanceService::new(door)));
    Ok((routes, reporter))
}
