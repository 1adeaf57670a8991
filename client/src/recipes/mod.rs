//! What services build most often on keys, sessions and watches, built once and for all.
//!
//! Recipes have no privileges: they use the public API of this crate alone, and any program may do
//! the same with the same guarantees. Each module says what its model is, which keys it keeps, what
//! it guarantees, and what happens when somebody dies.
//!
//! | want | recipe |
//! | --- | --- |
//! | a range of keys in memory, always current | [`informer`] |
//! | hold everybody until something is done | [`barrier`] |
//! | begin together and end together | [`double_barrier`] |
//! | wait until so many have arrived | [`latch`] |
//! | a number that many change | [`counter`] |
//! | ids that are given out once | [`ids`] |
//! | who is there, in which state | [`group`] |
//! | configuration with versions, rollback and rollout | [`document`] |
//! | work that must be done, by whoever is free | [`queue`] |
//! | a task that runs in one process at a time | [`singleton`] |
//! | a task that runs at certain times | [`cron`] |

pub mod barrier;
pub mod counter;
pub mod cron;
pub mod document;
pub mod double_barrier;
pub mod group;
pub mod ids;
pub mod informer;
pub mod latch;
mod place;
pub mod queue;
pub mod singleton;

pub use barrier::Barrier;
pub use counter::{Counter, MaxRegister};
pub use cron::CronTask;
pub use document::Document;
pub use double_barrier::DoubleBarrier;
pub use group::Group;
pub use ids::Ids;
pub use informer::Informer;
pub use latch::Latch;
pub use place::Via;
pub use queue::Queue;
pub use singleton::Singleton;
