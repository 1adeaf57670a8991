//! Fault tests of real processes: real disks, real sockets, and a fault at any moment.
//!
//! ```text
//!   workload ── door ──► network ──►  oarlockd, etcd, ZooKeeper    one host for each
//!      │                    ▲   ▲        disk, clock
//!      ▼                    │   │          ▲
//!   history  ◄───────────  nemesis ────────┘
//!      │
//!      ▼
//!   checks ──► verdicts ──► report
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`history`] | what was asked and answered, and which faults there were: the evidence |
//! | [`door`] | the protocols, one request at a time |
//! | [`workload`] | what clients do |
//! | [`cluster`] | server processes, and what an operator does to them |
//! | [`nemesis`] | what goes wrong, and when |
//! | [`run`] | one run from its beginning to its verdicts |
//! | [`check`] | what must be true of a history, one promise per file |
//! | [`host`] | the thread that starts one node's processes |
//! | [`net`] | the network between nodes and clients: links, partitions, loss |
//! | [`clock`] | the time that one node sees: jumps and drift |
//! | [`disk`] | a disk that can lose its power, fill up, fail and stall; damage to files |
//! | [`report`] | what people read of it: pages, plots, tables |
//! | [`progress`] | what they see meanwhile |

pub mod check;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod door;
pub mod history;
pub mod host;
pub mod nemesis;
pub mod net;
pub mod progress;
pub mod report;
pub mod run;
pub mod workload;
