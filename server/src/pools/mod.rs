//! The planner of shard pools: where [placement](oarlock_state::pool::placement) meets the cluster.
//!
//! Each member runs one, above [`Handle`](crate::node::handle::Handle) like a door; the leader's works
//! and the others wait. It watches all pools, and whenever one has changed reads it, computes the next
//! steps on a thread of their own, and proposes them for the state that they were computed from. What
//! changed meanwhile makes apply refuse the plan, and the planner computes again. So it may be slow,
//! late, or twice there after an election, and can do no harm.
//!
//! [`agenda`] decides what is to be done when, and knows no clock; [`news`] is the watch; [`planner`]
//! does it.

pub mod agenda;
mod news;
pub mod planner;
