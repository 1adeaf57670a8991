//! `oarlock bench`: measures a running cluster, of Oarlock or of those whose APIs it speaks.
//!
//! ```text
//!   work   what is done: which request comes next, what an API cannot do     pure, one file a kind
//!   keys, schedule, request, pace, tally                                     pure: seeds and times in
//!   ───────────────────────────────────────────────────────────────────────────────────────────────
//!   crew   threads of clients, each with its runtime, connections and tally
//!   door   clients of the APIs
//!   run    warm-up, readings of /proc, sums;  report, hdr, plot: what is told of it
//! ```
//!
//! Closed loop: each client sends its next operation when the last one was answered (or keeps
//! `--in-flight` of them on its way on a session stream). Open loop, with `--rate`: operations are due at
//! their times, and latency counts from then, so that a server which stands still is not asked less
//! (no coordinated omission). What is due within the measured time counts, whenever it is answered.
//! Latencies are in HDR histograms of microseconds. With `--pids` the CPU time and memory of the servers
//! are read from `/proc` at both ends of the measured part, so that the cost per operation can be told.
//!
//! Watches and locks have loops of their own: nobody asks for an event, and a lock is waited for.

mod accounts;
mod alarm;
mod crew;
mod door;
mod error;
mod figures;
mod hdr;
mod keys;
mod locks;
mod options;
mod pace;
mod plot;
mod progress;
mod report;
mod request;
mod run;
mod schedule;
mod silence;
mod tally;
mod watchers;
mod words;
mod work;

pub use error::BenchError;

use clap::{Args, Subcommand};
use std::sync::Arc;

/// Measure a running cluster.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to do to the cluster.
    #[command(subcommand)]
    pub kind: Kind,
}

/// The kinds of load.
#[derive(Debug, Subcommand)]
pub enum Kind {
    /// Write keys.
    Put(work::PutArgs),
    /// Read keys.
    Get(work::GetArgs),
    /// Ask whether keys are there, without their values.
    Exists(work::ExistsArgs),
    /// Read and write keys.
    Mixed(work::MixedArgs),
    /// Read keys, and write them if they are unchanged; if not, again.
    Cas(work::CasArgs),
    /// Read and write several keys in one transaction.
    Txn(work::TxnArgs),
    /// Read neighbouring keys.
    Range(work::RangeArgs),
    /// Write every key of the key space once, in order.
    Fill(work::FillArgs),
    /// Keep sessions, or etcd's leases, alive as often as the cluster takes it.
    KeepAlive(work::KeepAliveArgs),
    /// Open many sessions, or etcd's leases, and keep them alive.
    Sessions(work::SessionsArgs),
    /// Ask the registry over HTTP where services are.
    Resolve(work::ResolveArgs),
    /// Open many watches on one prefix or key, and measure how long writes take to reach them.
    Watchers(watchers::WatchersArgs),
    /// Acquire and release locks, alone or in contention.
    Locks(locks::LocksArgs),
    /// Puts and gets over both forms and several numbers of clients, as one Markdown table.
    Figures(figures::FiguresArgs),
    /// Draw reports of earlier runs, made with `--output json`, as SVG.
    Plot(plot::PlotArgs),
}

/// Runs the measurement against `endpoints` and prints its report.
pub async fn run(args: BenchArgs, endpoints: &[String], json: bool) -> Result<(), BenchError> {
    let work: Arc<dyn work::Work> = match args.kind {
        Kind::Put(work) => Arc::new(work),
        Kind::Get(work) => Arc::new(work),
        Kind::Exists(work) => Arc::new(work),
        Kind::Mixed(work) => Arc::new(work),
        Kind::Cas(work) => Arc::new(work),
        Kind::Txn(work) => Arc::new(work),
        Kind::Range(work) => Arc::new(work),
        Kind::Fill(work) => Arc::new(work),
        Kind::KeepAlive(work) => Arc::new(work),
        Kind::Sessions(sessions) => Arc::new(sessions.work()),
        Kind::Resolve(work) => Arc::new(work),
        Kind::Watchers(args) => {
            watchers::run(&args, endpoints).await?.print(json);
            return Ok(());
        }
        Kind::Locks(args) => {
            locks::run(&args, endpoints).await?.print(json);
            return Ok(());
        }
        Kind::Figures(args) => return figures::run(&args, endpoints, json).await,
        Kind::Plot(args) => return plot::run(&args),
    };
    run::run(work, endpoints).await?.print(json);
    Ok(())
}
