//! Shard pools: which member of a fleet owns which shard.
//!
//! A pool has *shards*, fixed slots or named ones, and *members*: instances of a program, each with a
//! stable name and bound to a session. A shard is owned by at most one member at a time; whatever
//! owns it has a fencing token, the *epoch*. Placement is the service's; a program says what it can,
//! prepares what it is told to, and lets go what it is asked for.
//!
//! | a program that | uses |
//! | --- | --- |
//! | administers | [`Client::pools`](crate::Client::pools): [`Pools`] |
//! | owns shards | [`Session::pool`](crate::Session::pool): [`Member`], by [`Assignment`]s or a [`Handler`] |
//! | reaches the owners | [`Client::pool`](crate::Client::pool): [`Routes`], and [`WrongOwner`] |
//! | tests itself | [`fake::FakePool`] |
//!
//! ```no_run
//! use oarlock_client::pool::{Assignment, Policy, Shards};
//! use oarlock_client::Client;
//! use std::time::Duration;
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! client.pools().create("carts", Shards::Slots(256), Policy::default()).await?;
//! let session = client.session().timeout(Duration::from_secs(5)).open().await?;
//! let mut member = session.pool("carts").join("carts-7").zone("a").address("10.0.0.7:80").start().await?;
//! while let Some(assignment) = member.next().await {
//!     match assignment? {
//!         Assignment::Assigned { shard, token } => println!("{shard:?} is ours under {token:?}"),
//!         Assignment::Prepare { shard, .. } | Assignment::Copy { shard } => member.ready(shard).await?,
//!         Assignment::Drain { shard, .. } => member.release(shard).await?,
//!         Assignment::Lost { shard, cause, .. } => println!("stop {shard:?}: {cause}"),
//!         Assignment::Keep { .. } | Assignment::Cancelled { .. } | Assignment::CopyDropped { .. } => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Failure model
//! A member acts on a shard only while [`Owned::token`] hands its token out, which is never longer than
//! the service promised; so two members that keep to it never work on one shard at the same time, as
//! long as their clocks run at about the same rate. One that does not keep to it, because it was
//! paused at the wrong moment, is caught where its token is checked: by a guard on writes to Oarlock,
//! by a [`FencingGate`](crate::FencingGate) elsewhere.
//!
//! Modules in reading order: [`policy`], [`pools`]; [`assignment`], [`owned`], [`member`], [`handler`],
//! `load` and `driver` (the task behind a member); [`slots`], [`routes`], [`wrong_owner`]; [`fake`].

pub mod assignment;
mod driver;
pub mod fake;
pub mod handler;
mod join;
mod load;
pub mod member;
pub mod owned;
pub mod policy;
pub mod pools;
pub mod routes;
pub mod slots;
pub mod wrong_owner;

pub use assignment::{Assignment, ShardLoss};
pub use handler::Handler;
pub use join::{JoinBuilder, PoolOfSession};
pub use member::{Member, MemberHandle};
pub use owned::Owned;
pub use policy::{Policy, Shards, Spread};
pub use pools::Pools;
pub use routes::{Endpoint, PoolRef, Primary, Route, RouteUpdate, Routes, RoutesBuilder, Secondary};
pub use slots::{slot_name, slot_of};
pub use wrong_owner::{NewOwner, WrongOwner};
