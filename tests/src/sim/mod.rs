//! Whole clusters on one thread, on virtual time, from one seed, over the production code.
//!
//! ```text
//!   clients ── Request ──►  network  ──►  node::core::Core  (Replica + Applier: production)
//!      ▲  ◄─ reply, frame ──   │              │          │
//!      │                       │         SegmentedLog   StateStore      (production)
//!   history, watched           │              │          │
//!      │                    clocks        SimDisk     SimBase           (lose power, tear, rot)
//!      ▼                                      │
//!   checks  ◄──────── ledger ◄── tap, observer: every append, every apply
//! ```
//!
//! A run has two phases. With faults, nothing wrong may happen. After healing, everything must come
//! right in bounded time. The same seed gives the same run, which the hash of its [`trace`] proves.
//!
//! Modules in reading order: [`chance`], [`queue`], [`trace`], [`clock`], [`disk`], [`base`],
//! [`network`], [`tap`], [`node`], [`workload`], [`objects`], [`desk`], [`client`], [`watcher`], [`limits`], [`faults`],
//! [`ledger`], [`coverage`], [`happening`], [`world`], `notes`, `wire`, `strike`, `storm`, [`finale`], [`report`], [`shrink`]; then
//! [`hand`] and [`scenarios`]: directed schedules in place of drawn ones.

pub mod base;
pub mod chance;
pub mod client;
pub mod clock;
pub mod coverage;
pub mod desk;
pub mod disk;
pub mod faults;
pub mod finale;
pub mod hand;
pub mod happening;
pub mod ledger;
pub mod limits;
pub mod network;
pub mod node;
mod notes;
pub mod objects;
#[cfg(feature = "plant")]
pub mod plants;
pub mod queue;
pub mod report;
pub mod scenarios;
pub mod shrink;
mod storm;
mod strike;
pub mod tap;
pub mod trace;
pub mod watcher;
mod wire;
pub mod workload;
pub mod world;
