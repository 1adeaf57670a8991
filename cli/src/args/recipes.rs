//! Flags of the verbs on recipes: queue, barrier.

use clap::{Args, Subcommand};
use std::time::Duration;

/// What to do with work queues.
#[derive(Debug, Subcommand)]
pub enum QueueVerb {
    /// Put an item; prints its id.
    Put {
        /// Path of the queue.
        path: String,
        /// The item; `-` reads it from standard input.
        payload: String,
        /// Lower ones come first.
        #[arg(long, default_value_t = 100)]
        priority: u8,
        /// Time before it can be claimed.
        #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
        delay: Duration,
    },
    /// Claim items and run a command for each: done if it succeeds, tried again if it fails.
    #[command(visible_alias = "claim-and-run")]
    Run(RunArgs),
    /// List the items in the order in which they are claimed.
    Ls {
        /// Path of the queue.
        path: String,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// Those that were set aside instead.
        #[arg(long)]
        dead: bool,
    },
    /// Show how many items there are.
    Stats {
        /// Path of the queue.
        path: String,
    },
    /// Put an item that was set aside back in its place.
    Revive {
        /// Path of the queue.
        path: String,
        /// The item's id.
        id: String,
    },
    /// Remove an item that was set aside.
    Discard {
        /// Path of the queue.
        path: String,
        /// The item's id.
        id: String,
    },
}

/// Arguments of `queue run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Path of the queue.
    pub path: String,
    /// How many items; 0: until interrupted.
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// How long to wait for an item; without it as long as it takes.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub wait: Option<Duration>,
    /// How often an item is tried before it is set aside.
    #[arg(long, default_value_t = 3)]
    pub attempts: u32,
    /// Time before an item that failed is tried again.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub pause: Duration,
    /// What others see of this worker; without it the process id.
    #[arg(long)]
    pub name: Option<String>,
    /// Time without a sign of life after which the item goes to another worker.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// The command. The item is its standard input; OARLOCK_ITEM, OARLOCK_ATTEMPT, OARLOCK_SESSION,
    /// OARLOCK_KEY and OARLOCK_TOKEN are in its environment. It is stopped if the item is lost.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// What to do with barriers.
#[derive(Debug, Subcommand)]
pub enum BarrierVerb {
    /// Put a barrier up, until it is lifted or, with a command, while that runs.
    Raise {
        /// Its key.
        key: String,
        /// Why, for people.
        #[arg(long, default_value = "")]
        reason: String,
        /// Time without a sign of life after which the barrier of a command comes down.
        #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
        ttl: Duration,
        /// The command.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Take a barrier down.
    Lift {
        /// Its key.
        key: String,
    },
    /// Wait until a barrier is down.
    Wait {
        /// Its key.
        key: String,
        /// For at most so long.
        #[arg(long = "for", value_parser = humantime::parse_duration)]
        patience: Option<Duration>,
    },
    /// Run a command together with others: it begins when all are there, and this ends when all are done.
    Enter(EnterArgs),
    /// Take a participant of a double barrier out, as if it had left.
    Leave {
        /// Path of the barrier.
        path: String,
        /// The participant's session.
        session: u64,
    },
    /// Show who waits at a double barrier or is inside.
    Ls {
        /// Path of the barrier.
        path: String,
    },
}

/// Arguments of `barrier enter`.
#[derive(Debug, Args)]
pub struct EnterArgs {
    /// Path of the barrier.
    pub path: String,
    /// How many begin together. All must name the same number.
    #[arg(long)]
    pub size: u64,
    /// How long to wait for the others to come.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub patience: Option<Duration>,
    /// Time without a sign of life after which the others go on without this one.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// The command, with OARLOCK_SESSION and OARLOCK_GENERATION in its environment. Without one this
    /// stays inside until interrupted or taken out.
    #[arg(last = true)]
    pub command: Vec<String>,
}
