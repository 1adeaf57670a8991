//! Schemas and the code generated from them, and the one format that is JSON: [`registry`].
//!
//! [`v1`] is the native API. [`internal::log`] is what the log holds on disk, [`internal::peer`]
//! what travels between members. See `README.md` of this crate for who may change what.

#![allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code; the schemas carry the comments"
)]

pub mod registry;

/// The native client API.
pub mod v1 {
    tonic::include_proto!("oarlock.v1");
}

/// etcd's v3 API, written from its wire facts. Packages are etcd's own.
pub mod etcd {
    /// Records and events.
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    /// Permissions.
    pub mod authpb {
        tonic::include_proto!("authpb");
    }
    /// The services KV, Watch, Lease, Cluster, Maintenance and Auth.
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// The service Lock.
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
    /// The service Election.
    pub mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
}

/// Formats that no client sees.
pub mod internal {
    /// What the log holds.
    pub mod log {
        tonic::include_proto!("oarlock.internal.log");
    }
    /// What travels between members.
    pub mod peer {
        tonic::include_proto!("oarlock.internal.peer");
    }
}

/// The encoded descriptor set of every schema, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
