//! The client of Oarlock, a coordination service: keys with revisions, sessions, ephemeral keys,
//! fencing tokens, watches, and writes that happen exactly once.
//!
//! ```no_run
//! use oarlock_client::{Client, prefix};
//!
//! # async fn example() -> oarlock_client::Result<()> {
//! let client = Client::connect(["http://127.0.0.1:2379"]).await?;
//! client.put("/config/limit", "100").await?;
//! let limit = client.get("/config/limit").await?.expect("just written");
//! assert_eq!(limit.value, "100");
//!
//! // A key that goes with its owner, and the token that fences a former owner's writes.
//! let session = client.session().open().await?;
//! if let Ok(token) = session.acquire("/leader", "me").await? {
//!     client.put("/results/1", "42").guard(token).await?;
//! }
//! let page = client.range(prefix("/results/")).await?;
//! assert_eq!(page.records.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What a failure means
//! [`Error`] answers whether the operation happened. A write is repeated by the client itself only
//! where that is safe: when the service did nothing, or when the write has a name under which the
//! service remembers its outcome. Writes of a [`Session`] always have one.
//!
//! Modules in reading order: [`error`], [`types`], [`client`], [`kv`], [`txn`], [`session`],
//! [`watch`], [`lock`], [`election`], [`fencing`], [`pool`], [`cluster`], [`recipes`], [`registry`].

pub mod client;
pub mod cluster;
pub mod election;
mod endpoints;
pub mod error;
pub mod fencing;
pub mod kv;
pub mod lock;
pub mod pool;
pub mod recipes;
pub mod registry;
pub mod session;
mod target;
pub mod txn;
pub mod types;
pub mod watch;

pub use client::{Client, ClientBuilder};
pub use election::{Campaign, Candidate, Election, Leader, Leadership, Observation, Observed, Observer};
pub use error::{Error, Result};
pub use fencing::{FencingGate, Stale};
pub use kv::{Deleted, Outcome, Page, Written};
pub use lock::{Busy, Claim, Hold, Lock, Locks, LossCause, Lost, RevocationRequest, Waiting};
pub use oarlock_proto::v1 as wire;
pub use session::{Session, SessionState};
pub use txn::{TxnOutcome, compare, op};
pub use types::{KeyRange, KeyValue, Scope, Token, all, between, key, prefix};
pub use watch::{Watch, WatchEvent, WatchItem};
