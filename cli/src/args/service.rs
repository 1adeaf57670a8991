//! Flags of services and the agent.

use clap::{Args, Subcommand, ValueEnum};
use oarlock_client::registry::{Check, Health};
use std::path::PathBuf;
use std::time::Duration;

/// What to do with services.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a process makes one")]
pub enum ServiceVerb {
    /// Keep an instance registered until interrupted, or while a command runs.
    Register(RegisterArgs),
    /// List the instances of a service that may be used.
    Resolve(ResolveArgs),
    /// List the services.
    #[command(visible_alias = "list")]
    Ls,
    /// Follow the instances of a service.
    Watch {
        /// The service.
        service: String,
        /// Stop after this many changes; the instances that are there count.
        #[arg(long)]
        count: Option<u64>,
    },
    /// Say how an instance stands, over its own word, until `passing` is said. Of an instance with
    /// a ttl check it is a report too.
    Health {
        /// The service.
        service: String,
        /// The instance.
        instance: String,
        /// How it stands.
        state: State,
        /// Why, for people.
        #[arg(long, default_value = "an operator said so")]
        reason: String,
    },
    /// Take an instance out. Whoever keeps it registered gives up.
    Deregister {
        /// The service.
        service: String,
        /// The instance.
        instance: String,
    },
}

/// How an instance stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    /// All is well.
    Passing,
    /// It serves, but something is not as it should be.
    Warning,
    /// No new work, please.
    Draining,
    /// Do not use it.
    Critical,
}

impl From<State> for Health {
    fn from(state: State) -> Self {
        match state {
            State::Passing => Self::Passing,
            State::Warning => Self::Warning,
            State::Draining => Self::Draining,
            State::Critical => Self::Critical,
        }
    }
}

/// Arguments of `service register`.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    /// The service: a label of DNS.
    pub service: String,
    /// The instance: a label of DNS. Of two that register the same the later takes it over.
    pub instance: String,
    /// Where it is reached: an IP address or host name.
    #[arg(long, default_value = "127.0.0.1")]
    pub address: String,
    /// Its port.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// The failure domain that it runs in.
    #[arg(long, default_value = "")]
    pub zone: String,
    /// Its share of the load, in comparison with others. 0: only if there is nobody else.
    #[arg(long, default_value_t = 100)]
    pub weight: u32,
    /// A word to choose instances by. May be repeated.
    #[arg(long)]
    pub tag: Vec<String>,
    /// Whatever else its clients want to know: KEY=VALUE. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub meta: Vec<String>,
    /// A health check: http=URL, tcp=HOST:PORT, grpc=URL, ttl=TIME, or command=WORDS for a shell.
    /// May be repeated; the worst counts.
    #[arg(long, value_name = "KIND=TARGET")]
    pub check: Vec<String>,
    /// How the checks are run.
    #[command(flatten)]
    pub pace: Pace,
    /// Takes the record out when it has been critical for so long, until its checks pass again.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub remove_after: Option<Duration>,
    /// Time without a sign of life after which the instance is gone.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// Time between asking for no new work and stopping, when interrupted.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub drain: Duration,
    /// The command; the instance is registered while it runs. When this program is told to stop it
    /// drains, stops the command with SIGTERM, waits for it, and deregisters.
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// How checks are run.
#[derive(Clone, Debug, Args)]
pub struct Pace {
    /// Time between the beginnings of two probes.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub check_every: Duration,
    /// Time for one probe.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub check_timeout: Duration,
    /// Worse results in a row before the instance stands worse.
    #[arg(long, default_value_t = 2)]
    pub check_failures: u32,
    /// Better results in a row before it stands better.
    #[arg(long, default_value_t = 1)]
    pub check_successes: u32,
}

impl Pace {
    /// A check at this pace.
    pub fn of(&self, check: Check) -> Check {
        check
            .every(self.check_every)
            .timeout(self.check_timeout)
            .failures(self.check_failures)
            .successes(self.check_successes)
    }
}

/// Arguments of `service resolve`.
#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// The service.
    pub service: String,
    /// Prefer instances of this zone, as long as half of them are usable.
    #[arg(long)]
    pub zone: Option<String>,
    /// Only instances with this tag. May be repeated; all must be there.
    #[arg(long)]
    pub tag: Vec<String>,
    /// All instances, whatever their health, zone and tags.
    #[arg(long, conflicts_with_all = ["zone", "tag"])]
    pub all: bool,
}

/// Arguments of `agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// What to register and how to check it, in TOML. See docs/guides/discovery.md.
    #[arg(long)]
    pub config: PathBuf,
    /// Check the configuration and stop.
    #[arg(long)]
    pub dry_run: bool,
}
