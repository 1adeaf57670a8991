//! `oarlock bench`: measures a running cluster.
//!
//! Closed loop: each client sends its next operation when the last one was answered (or keeps
//! `--in-flight` of them on its way on a session stream). Latency is from send to answer, in an HDR
//! histogram of microseconds. With `--pids` the CPU time and memory of the servers are read from
//! `/proc` at both ends of the measured part, so that the cost per operation can be told.

mod accounts;
mod etcd;
mod figures;
mod hold;
mod load;
mod locks;
mod report;
mod stream;
mod unary;

use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;
use thiserror::Error;

/// Measure a running cluster.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to do to the cluster.
    #[command(subcommand)]
    pub work: Work,
}

/// The kinds of load.
#[derive(Debug, Subcommand)]
pub enum Work {
    /// Write random keys of the key space.
    Put(LoadArgs),
    /// Read random keys of the key space.
    Get(LoadArgs),
    /// Write every key of the key space once, in order.
    Fill(LoadArgs),
    /// Open many sessions and keep them alive.
    Sessions(HoldArgs),
    /// Open many watches on one prefix, then write under it.
    Watchers(HoldArgs),
    /// Acquire and release locks, alone or in contention.
    Locks(locks::LocksArgs),
    /// Puts and gets over both forms and several numbers of clients, as one Markdown table.
    Figures(figures::FiguresArgs),
}

/// How operations travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One gRPC call for each operation.
    Unary,
    /// Batched frames on one session stream for each client.
    Stream,
}

/// Which API the server is asked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Api {
    /// Oarlock's own.
    Native,
    /// etcd's, which etcd itself speaks too; unary calls only.
    Etcd,
}

/// How fresh reads must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Freshness {
    /// Sees every acknowledged write.
    Linearizable,
    /// The member's own state.
    Serializable,
}

/// Options of `put`, `get` and `fill`.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Concurrent clients.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// gRPC connections that the clients share, spread over the endpoints; 0: one for 16 clients.
    #[arg(long, default_value_t = 0)]
    pub connections: usize,
    /// Which API the server is asked through.
    #[arg(long, value_enum, default_value_t = Api::Native)]
    pub api: Api,
    /// How operations travel.
    #[arg(long, value_enum, default_value_t = Mode::Unary)]
    pub mode: Mode,
    /// Operations that each client keeps on its way (stream mode).
    #[arg(long, default_value_t = 1)]
    pub in_flight: usize,
    /// Measured time in seconds (not for `fill`).
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seconds before the measured time.
    #[arg(long, default_value_t = 2)]
    pub warm_up: u64,
    /// Bytes in a value.
    #[arg(long, default_value_t = 256)]
    pub value_size: usize,
    /// Keys in the key space.
    #[arg(long, default_value_t = 10_000)]
    pub keys: u64,
    /// What comes before the number in each key.
    #[arg(long, default_value = "/bench/")]
    pub prefix: String,
    /// How fresh reads must be.
    #[arg(long, value_enum, default_value_t = Freshness::Linearizable)]
    pub consistency: Freshness,
    /// Process ids of the servers, to account their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
}

/// Options of `sessions` and `watchers`.
#[derive(Clone, Debug, Args)]
pub struct HoldArgs {
    /// How many to hold.
    #[arg(long, default_value_t = 10_000)]
    pub count: u64,
    /// Seconds to hold them.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Timeout of each session in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    pub timeout_ms: u64,
    /// Streams that the watches share.
    #[arg(long, default_value_t = 100)]
    pub streams: usize,
    /// Writes in each second while watches are held.
    #[arg(long, default_value_t = 10)]
    pub writes: u64,
    /// What comes before the number in each key.
    #[arg(long, default_value = "/watched/")]
    pub prefix: String,
    /// Process ids of the servers, to account their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
}

/// The measurement could not be made.
#[derive(Debug, Error)]
pub enum BenchError {
    /// An endpoint is not a URL.
    #[error("endpoint {endpoint:?} is not a URL such as http://127.0.0.1:2379")]
    BadEndpoint {
        /// As given.
        endpoint: String,
    },
    /// A server did not answer.
    #[error("cannot reach {endpoint}: {source}. Is the cluster running there?")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The cluster, through the client library.
    #[error("{0}")]
    Client(#[from] oarlock_client::Error),
    /// A server refused what the measurement needs.
    #[error("server refused: {0}")]
    Refused(#[from] Box<tonic::Status>),
    /// A process to account does not exist.
    #[error("cannot read the accounts of process {pid}: {source}")]
    NoProcess {
        /// Its id.
        pid: u32,
        /// Why not.
        source: std::io::Error,
    },
    /// etcd's API has no session stream.
    #[error("--api etcd has no session stream to measure; leave --mode stream out")]
    NoStream,
    /// Not one operation succeeded.
    #[error("no operation succeeded in the measured time ({errors} failed; the last said: {last})")]
    NothingDone {
        /// How many failed.
        errors: u64,
        /// What the last failure said.
        last: String,
    },
}

impl From<tonic::Status> for BenchError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// Runs the measurement against `endpoints` and prints its report.
pub async fn run(args: &BenchArgs, endpoints: &[String], json: bool) -> Result<(), BenchError> {
    let report = match &args.work {
        Work::Put(load) => load::run(load::Kind::Put, load, endpoints).await?,
        Work::Get(load) => load::run(load::Kind::Get, load, endpoints).await?,
        Work::Fill(load) => load::run(load::Kind::Fill, load, endpoints).await?,
        Work::Sessions(hold) => hold::sessions(hold, endpoints).await?,
        Work::Watchers(hold) => hold::watchers(hold, endpoints).await?,
        Work::Locks(locks) => locks::run(locks, endpoints).await?,
        Work::Figures(figures) => return figures::run(figures, endpoints, json).await,
    };
    report.print(json);
    Ok(())
}

/// Connects `count` channels, spread over the endpoints in turn.
async fn connect(endpoints: &[String], count: usize) -> Result<Vec<tonic::transport::Channel>, BenchError> {
    let mut channels = Vec::with_capacity(count);
    for endpoint in endpoints.iter().cycle().take(count) {
        let bad = |_| BenchError::BadEndpoint { endpoint: endpoint.clone() };
        let channel = tonic::transport::Endpoint::from_shared(endpoint.clone())
            .map_err(bad)?
            .connect_timeout(Duration::from_secs(5))
            .initial_stream_window_size(Some(1 << 20))
            .initial_connection_window_size(Some(8 << 20))
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|source| BenchError::Unreachable { endpoint: endpoint.clone(), source })?;
        channels.push(channel);
    }
    Ok(channels)
}
