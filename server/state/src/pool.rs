//! Shard pools as replicated state: which member of a fleet owns which shard, and how shards move.
//!
//! A pool has a name, *shards*, *members* and a [`Policy`]. A member is an instance of a program: a
//! stable name, bound to a session. A shard's *primary* is owned by at most one member at a time; its
//! *secondaries* are further members that keep a copy.
//!
//! | a shard's primary is | it becomes | by |
//! | --- | --- | --- |
//! | unassigned | owned | a grant |
//! | owned | moving: preparing | a planned move: the target warms up while the owner goes on |
//! | moving: preparing | moving: draining | the target says that it is ready; the owner is asked to let go |
//! | moving: draining | owned by the target | the owner's release: one revision, no unowned moment |
//! | owned or moving | withheld | the owner's session *expired*: nobody has it until the delay is over |
//! | withheld | unassigned | the delay is over |
//! | owned or moving | unassigned (moving: owned by a ready target) | release, leave, close, or an operator's force |
//!
//! * An *epoch* is the revision of the grant, and the fencing token.
//! * *Apply keeps it safe, and nothing else*: epoch e+1 is granted only after the owner of e let go, or
//!   its session ended and the delay is over, or an operator forced it. Where a shard should be is
//!   computed outside the log by [`placement`], a pure function of [`PoolState`], and proposed as
//!   [`PoolOp::Assign`]; apply refuses a plan whose steps are not safe, or that was made for another
//!   state of the pool.
//! * An owner that does not release in time keeps its shard: only its session's end or an operator's
//!   [`PoolOp::Force`] takes it away. The move is reported as overdue.
//!
//! Modules in reading order: [`op`] and [`query`] (requests), [`reply`], [`error`], [`event`]; then
//! `layout` and `records` (what is stored), `ledger` (how it is written), `transfer` (how a shard
//! passes on), `plan`, `members`, `execute`, `departure`, `read`, `outcome`, `check`; and
//! [`placement`].

mod check;
mod departure;
pub mod error;
pub mod event;
mod execute;
mod layout;
mod ledger;
mod members;
pub mod op;
mod outcome;
pub mod placement;
mod plan;
pub mod query;
mod read;
mod records;
pub mod reply;
mod transfer;

pub(crate) use check::check;
pub(crate) use departure::end_session;
pub use error::{PoolError, PoolFault, StepFault};
pub use event::{PoolEvent, ShardLoss};
pub(crate) use event::{read_event, write_event};
pub(crate) use execute::execute;
pub use op::{Join, MemberState, Policy, PoolOp, ShardSet, ShardToken, Spread, Step};
pub(crate) use outcome::{read_error, read_reply, write_error, write_reply};
pub use query::PoolQuery;
pub(crate) use read::{epoch, read};
pub use reply::{MemberInfo, Owner, PoolReply, PoolState, PoolSummary, Primary, Secondary, ShardInfo};
