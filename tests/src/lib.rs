//! The proof: a deterministic simulator of whole clusters, the properties that it checks, and
//! clusters of real processes.
//!
//! | module | holds |
//! | --- | --- |
//! | [`sim`] | clusters on one thread from one seed, over the production code |
//! | [`checks`] | one property per file, judging plain data |
//! | [`model`] | executable specifications |
//! | [`cluster`] | clusters of real processes on loopback |
//! | [`pools`] | fleets that take part in shard pools |
//! | [`history`], [`watched`] | what clients and watchers saw |
//! | [`shards`] | who had which shard of a pool, and what must be true of that |

pub mod checks;
pub mod cluster;
pub mod history;
pub mod model;
pub mod pools;
pub mod shards;
pub mod sim;
pub mod watched;
