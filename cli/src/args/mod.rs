//! The arguments: every verb here, and the flags of each family of verbs in a file of its own.

mod cluster;
mod kv;
mod lock;
mod pool;
mod recipes;
mod service;
mod session;

pub use cluster::{CompactArgs, DevArgs, MemberVerb, MoveLeaderArgs, SnapshotVerb, StatusArgs};
pub use kv::{AddArgs, CasArgs, DeleteArgs, GetArgs, LsArgs, PutArgs, TxnArgs, WatchArgs};
pub use lock::{ElectVerb, HoldArgs, LockArgs, LockRunArgs, LockVerb, SemaphoreArgs};
pub use pool::{PlanArgs, PoolJoinArgs, PoolVerb};
pub use recipes::{BarrierVerb, EnterArgs, QueueVerb, RunArgs};
pub use service::{AgentArgs, RegisterArgs, ResolveArgs, ServiceVerb};
pub use session::{EphemeralArgs, SessionVerb};

use crate::bench::BenchArgs;
use crate::failure::Failure;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use oarlock_client::Client;
use std::time::Duration;

/// The command line of Oarlock, a coordination service.
///
/// Exit codes: 0 done, 1 this machine failed, 2 wrong usage, 3 not found, 4 a condition did not hold,
/// 5 refused, 6 not done and may be retried, 7 unknown whether it was done, 8 the session is lost.
#[derive(Debug, Parser)]
#[command(name = "oarlock", version, verbatim_doc_comment)]
pub struct Arguments {
    /// What goes with every verb.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What goes with every verb.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "With every verb")]
pub struct Common {
    /// Client URLs of the cluster's members.
    #[arg(
        long,
        short,
        global = true,
        env = "OARLOCK_ENDPOINTS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    pub endpoints: Vec<String>,
    /// How results are printed.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Time for each operation, retries included.
    #[arg(long, global = true, default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document, or one on each line for streams. Keys and values are in `…_base64` too
    /// when they are not UTF-8.
    Json,
}

impl Common {
    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Connects to the cluster.
    pub async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::builder().deadline(self.timeout).connect(self.endpoints.clone()).await?)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Set a key.
    Put(PutArgs),
    /// Read a key.
    Get(GetArgs),
    /// Remove a key, or a range of keys.
    #[command(visible_alias = "del")]
    Delete(DeleteArgs),
    /// List keys with their values.
    #[command(visible_alias = "range")]
    Ls(LsArgs),
    /// Set a key only if it was not changed since a revision.
    Cas(CasArgs),
    /// Add to a number in a key.
    Add(AddArgs),
    /// Run a transaction from a file or standard input.
    Txn(TxnArgs),
    /// Follow changes.
    Watch(WatchArgs),
    /// Open, list, look at and close sessions.
    #[command(subcommand)]
    Session(SessionVerb),
    /// Keep a key while a command runs.
    Ephemeral(EphemeralArgs),
    /// Hold a lock while a command runs: `oarlock lock NAME -- COMMAND`. Or look at locks.
    Lock(LockArgs),
    /// Hold part of a semaphore while a command runs.
    Semaphore(SemaphoreArgs),
    /// Lead while a command runs, or see who leads.
    #[command(subcommand)]
    Elect(ElectVerb),
    /// Make, look at and change shard pools, and take part in one.
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Register services, find them, and say how they are.
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Register and check the services of a machine.
    Agent(AgentArgs),
    /// Put, work on and look at items of work queues.
    #[command(subcommand)]
    Queue(QueueVerb),
    /// Hold and let go; begin and end together.
    #[command(subcommand)]
    Barrier(BarrierVerb),
    /// Show the members and how they stand.
    Status(StatusArgs),
    /// List, add, remove and promote members.
    #[command(subcommand)]
    Member(MemberVerb),
    /// Hand leadership to another member.
    MoveLeader(MoveLeaderArgs),
    /// Forget history.
    Compact(CompactArgs),
    /// Save the state to a file, or make a data directory from one.
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
    /// Measure a running cluster.
    Bench(BenchArgs),
    /// Run a throw-away three-node cluster in this process.
    Dev(DevArgs),
    /// Print a shell's completions.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Prints the completions of a shell.
pub fn print_completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "oarlock", &mut script);
    crate::output::write(format_args!("{}", String::from_utf8_lossy(&script)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
