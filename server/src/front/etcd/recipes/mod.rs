//! The services `Lock` and `Election`: etcd's client recipes, run in the server.
//!
//! A candidate is a key below the name of what is wanted, attached to the candidate's lease:
//! `<name>/<lease in hex>`. Whose key was created first has it. Everybody else waits for the key
//! created just before the own one to go, so that a hand-over wakes one candidate and not all.
//!
//! | file | holds |
//! | --- | --- |
//! | [`queue`] | candidates: their keys, and what is read and written of them |
//! | [`feed`] | changes of keys, for as long as somebody waits |
//! | [`claim`] | from a request to a turn, or back without leaving anything behind |
//! | [`lock`], [`election`] | the services |
//! | [`observe`] | leaders, one after the other |
//!
//! etcd's recipes talk to the server through a client, whose errors lose their code on the way. So all
//! refusals of these services have the code `Unknown`, and only the text tells them apart.

pub mod claim;
pub mod election;
pub mod feed;
pub mod lock;
pub mod observe;
pub mod queue;

use tonic::Status;

/// A refusal as it comes out of a recipe.
pub fn recipe(status: &Status) -> Status {
    Status::unknown(status.message())
}
