//! Verbs of locks, semaphores and elections.

use clap::{Args, Subcommand};
use oarlock_client::lock::Claim;
use std::time::Duration;

/// How a hold is asked for, and what is done with it.
#[derive(Clone, Debug, Args)]
pub struct HoldArgs {
    /// Lifetime of the session that holds it.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// Do not wait: fail with exit code 4 if it is taken.
    #[arg(long = "try", conflicts_with = "wait")]
    pub at_once: bool,
    /// Wait for at most this long, then fail with exit code 4.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub wait: Option<Duration>,
    /// What others see of the holder; the host's name and the process id unless given.
    #[arg(long)]
    pub metadata: Option<String>,
    /// For how long nobody else is granted it if the session expires.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub lock_delay: Duration,
    /// The command and its arguments; without one it is held until interrupted. It finds the token in
    /// OARLOCK_TOKEN, and is stopped when the hold is lost.
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Arguments of `lock`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LockArgs {
    /// Look at locks, or take one away.
    #[command(subcommand)]
    pub verb: Option<LockVerb>,
    /// Hold one.
    #[command(flatten)]
    pub run: LockRunArgs,
}

/// Arguments of `lock NAME` and `lock run NAME`.
#[derive(Clone, Debug, Args)]
pub struct LockRunArgs {
    /// The lock's name. Several names are locked together: all or none.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// As a read/write lock, to read beside others.
    #[arg(long, conflicts_with = "write")]
    pub read: bool,
    /// As a read/write lock, to write alone.
    #[arg(long)]
    pub write: bool,
    /// How.
    #[command(flatten)]
    pub hold: HoldArgs,
}

/// Verbs of `lock`.
#[derive(Debug, Subcommand)]
pub enum LockVerb {
    /// Hold a lock while a command runs, whatever its name is.
    Run(LockRunArgs),
    /// List locks, semaphores and elections.
    Ls {
        /// What names begin with.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show holders and queue of one, and who waits for whom from there on.
    Why {
        /// Its name.
        name: String,
    },
    /// Tell the holders that somebody wants it.
    Ask {
        /// Its name.
        name: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a hold, or a place in the queue, away. Its holder may not know yet; its token is refused
    /// from now on.
    Revoke {
        /// Its name.
        name: String,
        /// Whose, as `lock why` shows it: SESSION/REQUEST.
        claim: Claim,
    },
}

/// Arguments of `semaphore`.
#[derive(Debug, Args)]
pub struct SemaphoreArgs {
    /// Its name.
    pub name: String,
    /// The sum of weights that may be held at a time; the same for all that use it.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub capacity: u64,
    /// How much to take.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub weight: u64,
    /// How.
    #[command(flatten)]
    pub hold: HoldArgs,
}

/// Verbs of `elect`.
#[derive(Debug, Subcommand)]
pub enum ElectVerb {
    /// Stand as a candidate, and run a command while leading.
    Run {
        /// The election's name.
        name: String,
        /// What others see of the leader, such as its address.
        value: String,
        /// Higher leads first.
        #[arg(long, default_value_t = 0)]
        priority: u32,
        /// Take the lead from a leader of lower priority.
        #[arg(long)]
        preempt: bool,
        /// Stand again after a command that ended, or a lead that was lost, instead of exiting.
        #[arg(long)]
        again: bool,
        /// How.
        #[command(flatten)]
        hold: HoldArgs,
    },
    /// Print who leads; exit code 3 if nobody does.
    Leader {
        /// The election's name.
        name: String,
    },
    /// Print who leads, each time that changes; vacancies too.
    Observe {
        /// The election's name.
        name: String,
    },
    /// List the leader and the candidates behind it.
    Ls {
        /// The election's name.
        name: String,
    },
}
