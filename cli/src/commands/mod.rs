//! The verbs, a file for each kind.

pub mod agent;
pub mod barrier;
pub mod cluster;
pub mod dev;
pub mod elect;
pub mod ephemeral;
pub mod kv;
pub mod lock;
pub mod objects;
pub mod pool;
pub mod queue;
pub mod service;
pub mod session;
pub mod snapshot;
pub mod status;
pub mod txn;
pub mod watch;
