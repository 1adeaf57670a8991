//! Flags of the verbs on shard pools.

use clap::{Args, Subcommand, ValueEnum};
use oarlock_client::pool::{Policy, Spread};
use std::time::Duration;

/// What to do with shard pools.
#[derive(Debug, Subcommand)]
pub enum PoolVerb {
    /// Make a pool.
    Create(PoolCreateArgs),
    /// Change the policy of a pool; what is not given stays.
    Policy {
        /// The pool.
        pool: String,
        /// What to change.
        #[command(flatten)]
        policy: PolicyArgs,
    },
    /// Remove a pool.
    Delete {
        /// The pool.
        pool: String,
        /// Even if it has members: their shards are taken away.
        #[arg(long)]
        force: bool,
    },
    /// List pools.
    Ls {
        /// Only those whose name begins with this.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show a pool: members with their shards and load, moves under way, and what is overdue.
    Status {
        /// The pool.
        pool: String,
        /// Every shard, too.
        #[arg(long)]
        shards: bool,
    },
    /// Take part as an instance while a command runs.
    Join(PoolJoinArgs),
    /// Move everything away from a member, each shard as its successor is warm.
    Drain(MemberArgs),
    /// Give a member nothing new; it keeps what it has.
    Cordon(MemberArgs),
    /// Give a member shards again.
    Activate(MemberArgs),
    /// Begin a planned move of a shard, whatever balance says.
    Move {
        /// The pool.
        pool: String,
        /// The shard.
        shard: String,
        /// The member that is to have it.
        to: String,
    },
    /// Say where a shard has to be, or that it need not be anywhere.
    Pin {
        /// The pool.
        pool: String,
        /// The shard.
        shard: String,
        /// The instance; left out: anywhere.
        to: Option<String>,
    },
    /// Show what would be done next, or after changes that are only supposed. Changes nothing.
    Plan(PlanArgs),
    /// Show why a shard is where it is, and what stands against each member.
    Explain {
        /// The pool.
        pool: String,
        /// The shard.
        shard: String,
    },
    /// No planned moves and no reassignments for a time.
    Pause {
        /// The pool.
        pool: String,
        /// For how long; `0s` goes on at once.
        #[arg(value_parser = humantime::parse_duration)]
        duration: Duration,
        /// Why, for others.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a shard away from whoever owns it or has it withheld, at once. The former owner may not
    /// know yet; its token is refused from now on.
    Force {
        /// The pool.
        pool: String,
        /// The shard.
        shard: String,
    },
    /// Show who owns which shard, and where to reach them.
    Routes {
        /// The pool.
        pool: String,
        /// Go on with what changes, until interrupted.
        #[arg(long, short)]
        follow: bool,
        /// Only the slot of this key.
        #[arg(long, conflicts_with = "follow")]
        key: Option<String>,
    },
    /// Replace the weights of shards.
    Weights {
        /// The pool.
        pool: String,
        /// As SHARD=WEIGHT.
        #[arg(required = true)]
        weights: Vec<String>,
    },
    /// Add shards to a pool of named ones.
    Add {
        /// The pool.
        pool: String,
        /// As SHARD or SHARD=WEIGHT.
        #[arg(required = true)]
        shards: Vec<String>,
    },
    /// Remove shards from a pool of named ones, once their owners have released them.
    Remove {
        /// The pool.
        pool: String,
        /// Their names.
        #[arg(required = true)]
        shards: Vec<String>,
    },
}

/// A pool and a member of it.
#[derive(Debug, Args)]
pub struct MemberArgs {
    /// The pool.
    pub pool: String,
    /// The instance's name.
    pub instance: String,
}

/// Arguments of `pool create`.
#[derive(Debug, Args)]
pub struct PoolCreateArgs {
    /// Its name.
    pub pool: String,
    /// This many slots, for ever. Without it the shards have names, and are added later.
    #[arg(long)]
    pub slots: Option<u32>,
    /// What placement may do.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// What placement may do.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Further copies of each shard.
    #[arg(long)]
    pub secondaries: Option<u32>,
    /// How copies of one shard are spread over zones.
    #[arg(long, value_enum)]
    pub spread: Option<SpreadArg>,
    /// For how long nobody is granted what an expired session owned.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub lock_delay: Option<Duration>,
    /// For how long an instance that is away keeps its claim to its shards.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub reassign_delay: Option<Duration>,
    /// How long a target may prepare, and then an owner drain.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub handoff: Option<Duration>,
    /// Planned moves under way at a time.
    #[arg(long)]
    pub moves_max: Option<u32>,
    /// Planned moves begun within one minute.
    #[arg(long)]
    pub moves_per_minute: Option<u32>,
    /// How far above its fair share, in percent, a member's load may be.
    #[arg(long)]
    pub tolerance_percent: Option<u32>,
    /// Whether an expired owner's shards stay withheld until it comes back or they are forced.
    #[arg(long)]
    pub sticky: Option<bool>,
}

/// How copies are spread over zones.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SpreadArg {
    /// Zones are of no importance.
    Ignore,
    /// In different zones where that is possible.
    Prefer,
    /// Never two in one zone.
    Require,
}

impl PolicyArgs {
    /// The policy with what was given in place of what it has.
    pub fn over(&self, policy: Policy) -> Policy {
        let spread = self.spread.map(|spread| match spread {
            SpreadArg::Ignore => Spread::Ignore,
            SpreadArg::Prefer => Spread::Prefer,
            SpreadArg::Require => Spread::Require,
        });
        Policy {
            secondaries: self.secondaries.unwrap_or(policy.secondaries),
            spread: spread.unwrap_or(policy.spread),
            lock_delay: self.lock_delay.unwrap_or(policy.lock_delay),
            reassign_delay: self.reassign_delay.unwrap_or(policy.reassign_delay),
            handoff: self.handoff.unwrap_or(policy.handoff),
            moves_max: self.moves_max.unwrap_or(policy.moves_max),
            moves_per_minute: self.moves_per_minute.unwrap_or(policy.moves_per_minute),
            tolerance_percent: self.tolerance_percent.unwrap_or(policy.tolerance_percent),
            sticky: self.sticky.unwrap_or(policy.sticky),
        }
    }
}

/// Arguments of `pool plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The pool.
    pub pool: String,
    /// Suppose that this instance joined: NAME, NAME:CAPACITY or NAME:CAPACITY:ZONE.
    #[arg(long, value_name = "INSTANCE")]
    pub join: Vec<String>,
    /// Suppose that this member is gone.
    #[arg(long, value_name = "INSTANCE")]
    pub leave: Vec<String>,
    /// Suppose that this member is drained.
    #[arg(long, value_name = "INSTANCE")]
    pub drain: Vec<String>,
    /// Suppose that this shard has another weight: SHARD=WEIGHT.
    #[arg(long, value_name = "SHARD=WEIGHT")]
    pub weight: Vec<String>,
}

/// Arguments of `pool join`.
#[derive(Debug, Args)]
pub struct PoolJoinArgs {
    /// The pool.
    pub pool: String,
    /// The instance's name: the same after a restart, and no other's.
    #[arg(long)]
    pub instance: String,
    /// Its failure domain.
    #[arg(long, default_value = "")]
    pub zone: String,
    /// Its share of the load, in comparison with others.
    #[arg(long, default_value_t = 1)]
    pub capacity: u32,
    /// Where others reach it.
    #[arg(long, default_value = "")]
    pub address: String,
    /// Time without a sign of life after which its shards are lost.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// When interrupted: how long to wait until warm successors have everything.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub patience: Duration,
    /// The command says itself when it is warm for a shard and when it has let one go, by the lines
    /// `ready SHARD` and `release SHARD` on its standard output. Otherwise that is said for it as soon
    /// as it was told.
    #[arg(long)]
    pub answers: bool,
    /// The command. It is told of its shards by lines of JSON on its standard input, has
    /// OARLOCK_POOL, OARLOCK_INSTANCE, OARLOCK_SESSION and OARLOCK_ENDPOINTS in its environment, and is
    /// stopped if everything is lost. Without a command the lines go to standard output.
    #[arg(last = true)]
    pub command: Vec<String>,
}
