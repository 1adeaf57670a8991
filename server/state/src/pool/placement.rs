//! Where shards should be: computed outside of the log, from a [`PoolState`] and nothing else.
//!
//! [`plan`] returns the next steps towards a pool that is whole and in balance; whoever leads proposes
//! them as [`PoolOp::Assign`](super::PoolOp::Assign) and asks again when the pool has changed. Apply
//! never calls it, so that it may become cleverer from one version to the next without replicas
//! differing.
//!
//! In this order, and each within what the ones before left of the steps and of the budget:
//!
//! 1. Primaries that nobody owns are granted: to the member that they are pinned to, or else to a ready
//!    secondary, or else to whoever will have the least work for its capacity.
//! 2. Planned moves that came to nothing are given up.
//! 3. Primaries leave members that they are not pinned to, and members that are draining.
//! 4. Primaries move for balance, but only from or to members that are more than the tolerance away from
//!    their fair share, and only if the two members are nearer to each other afterwards. As each such
//!    move makes the sum of work² ÷ capacity less, planning comes to an end.
//! 5. Secondaries are kept: as many as the policy says, ready ones before those that drain are dropped,
//!    spread over zones and, when there is nothing else to do, over members.
//!
//! * Primaries are counted where they will be: a moving one at its target, a withheld one at the member
//!   that it waits for.
//! * A member that is away keeps what it has and gets nothing. What it has, and what cordoned members
//!   have, is no part of the balance of the others.
//! * Pins are kept whatever it costs: a shard goes to the member that it is pinned to even if that one
//!   is cordoned or draining, and while that one is not there it stays where it is, or unassigned. [`Spread::Require`](super::Spread::Require) costs copies, never a primary.
//! * While a pool is paused, only primaries that nobody owns are granted. A shard that is retired gets
//!   nothing.
//! * Ties are decided by rendezvous: a hash of shard and instance, so that the same pool gives the
//!   same plan, and shards of one member go to many.
//!
//! Modules in reading order: `draft` (the pool while it is planned), `grant`, `relocate`,
//! `balance`, `copies`; then `explain` and `whatif`.

mod balance;
mod copies;
mod draft;
mod explain;
mod grant;
mod level;
mod rank;
mod relocate;
#[cfg(test)]
mod tests;
mod whatif;

use crate::limits::POOL_STEPS_MAX;
use crate::pool::{PoolState, Step};
use bytes::Bytes;
use draft::{Bounds, Draft};

pub use explain::{Candidate, Exclusion, Explanation, Obstacle, explain};
pub use whatif::{WhatIf, simulate};

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order, at most [`POOL_STEPS_MAX`].
    pub steps: Vec<Step>,
    /// Primaries that change hands by these steps, in the order of the steps.
    pub transfers: Vec<Transfer>,
    /// Planned moves that are wanted and wait for the budget are left. At least one if any is.
    pub waiting: bool,
    /// There was more to do than one plan may say.
    pub cut: bool,
    /// Who has how much now.
    pub before: Vec<Load>,
    /// Who has how much once the steps are done.
    pub after: Vec<Load>,
}

/// A primary that changes hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The shard.
    pub shard: Bytes,
    /// Who has it; `None` if nobody does.
    pub from: Option<Bytes>,
    /// Who is to have it.
    pub to: Bytes,
}

/// How much one member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The member.
    pub instance: Bytes,
    /// Its capacity.
    pub capacity: u32,
    /// Its fair share of the primaries' work, rounded down; zero if it takes no part in the balance.
    pub fair: u64,
    /// The work of the primaries that it will have.
    pub work: u64,
    /// How many these are.
    pub primaries: u32,
    /// How many further copies it keeps.
    pub copies: u32,
}

/// The next steps for a pool. Empty when it is as it should be, paused, or waits for somebody.
pub fn plan(state: &PoolState) -> Plan {
    Draft::new(state, Bounds::of(state, POOL_STEPS_MAX)).into_plan()
}
