//! The options that kinds of work share, and how they are told in a report.

use super::error::BenchError;
use super::keys::Distribution;
use clap::{Args, FromArgMatches, ValueEnum};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

/// How operations travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One call for each operation; a client sends the next when it has the answer.
    Unary,
    /// Batched frames on one session stream for each client (native API).
    Stream,
}

/// Which API the server is asked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Api {
    /// Oarlock's own.
    Native,
    /// etcd's, which etcd itself speaks too.
    Etcd,
    /// ZooKeeper's, which ZooKeeper itself speaks too. A key is a node below one parent; `get` reads
    /// with getData, `put` writes with setData, `fill` with create.
    Zookeeper,
}

impl Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Etcd => "etcd",
            Self::Zookeeper => "zookeeper",
        })
    }
}

/// How fresh reads must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Freshness {
    /// Sees every acknowledged write. Over ZooKeeper's API: `sync` and the read behind it, which is as
    /// fresh as that protocol reads, unless the leader was replaced without knowing it.
    Linearizable,
    /// The member's own state.
    Serializable,
}

/// When operations are due, with `--rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// By chance, each independent of the others, as from many users.
    Poisson,
}

/// Options of all work that clients do one operation after the other.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Concurrent clients.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Connections that the clients share, spread over the endpoints; 0: one for 16 clients, or one for
    /// each client up to 16 with `--mode stream`.
    #[arg(long, default_value_t = 0)]
    pub connections: usize,
    /// Threads that the clients share; 0: one for each core. A connection belongs to one of them.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Which API the server is asked through.
    #[arg(long, value_enum, default_value_t = Api::Native)]
    pub api: Api,
    /// How operations travel.
    #[arg(long, value_enum, default_value_t = Mode::Unary)]
    pub mode: Mode,
    /// Operations that each client keeps on its way (stream mode).
    #[arg(long, default_value_t = 1)]
    pub in_flight: usize,
    /// Measured time, such as `30s` or `5m`; a number alone is seconds (not for `fill`).
    #[arg(long, visible_alias = "seconds", default_value = "10s", value_parser = time)]
    pub duration: Duration,
    /// Time before the measured time.
    #[arg(long, default_value = "2s", value_parser = time)]
    pub warm_up: Duration,
    /// Open loop: so many operations in each second over all clients, whether earlier ones were answered
    /// or not. Latency counts from when an operation was due. Without it each client sends its next
    /// operation when the last one was answered.
    #[arg(long)]
    pub rate: Option<f64>,
    /// When operations are due, with `--rate`.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    pub arrivals: Arrivals,
    /// Bytes in a value.
    #[arg(long, default_value_t = 256)]
    pub value_size: usize,
    /// Keys in the key space.
    #[arg(long, default_value_t = 10_000)]
    pub keys: u64,
    /// What comes before the number in each key.
    #[arg(long, default_value = "/bench/")]
    pub prefix: String,
    /// How keys are drawn: `uniform`, `zipf` or `zipf:EXPONENT` (0.99 if not said), or `sequential`.
    #[arg(long, default_value_t = Distribution::Uniform)]
    pub distribution: Distribution,
    /// How fresh reads must be.
    #[arg(long, value_enum, default_value_t = Freshness::Linearizable)]
    pub consistency: Freshness,
    /// Draws the same keys and arrivals again; the report tells it.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write every key once before anything else.
    #[arg(long)]
    pub fill: bool,
    /// Process ids of the servers, to account their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Write the distribution of latency to this file, as HdrHistogram prints it.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
}

impl Default for LoadArgs {
    /// As the command line has it when nothing is said.
    fn default() -> Self {
        let command = Self::augment_args(clap::Command::new("bench").no_binary_name(true));
        let matches = command.get_matches_from(std::iter::empty::<&str>());
        Self::from_arg_matches(&matches).expect("every option has a default")
    }
}

impl LoadArgs {
    /// Refuses what makes no sense, before anything is sent.
    pub fn check(&self) -> Result<(), BenchError> {
        if self.clients == 0 {
            return Err(BenchError::bad("clients", "there must be one at least"));
        }
        if self.keys == 0 {
            return Err(BenchError::bad("keys", "there must be one at least"));
        }
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(BenchError::bad("rate", "must be above 0"));
        }
        if self.duration.is_zero() {
            return Err(BenchError::bad("duration", "must be above 0"));
        }
        Ok(())
    }

    /// Connections to make: never more than there are clients to use them.
    pub fn connections(&self) -> usize {
        let wished = match (self.mode, self.connections) {
            (Mode::Unary, 0) => self.clients.div_ceil(16),
            (Mode::Stream, 0) => self.clients.min(16),
            (_, given) => given,
        };
        wished.clamp(1, self.clients.max(1))
    }

    /// The main options, for a report's title.
    pub fn way(&self) -> String {
        match (self.api, self.mode) {
            (Api::Etcd, _) => "etcd's API".to_owned(),
            (Api::Zookeeper, _) => "ZooKeeper's API".to_owned(),
            (Api::Native, Mode::Unary) => "unary".to_owned(),
            (Api::Native, Mode::Stream) => format!("stream, {} in flight each", self.in_flight),
        }
    }

    /// What a report tells of the options.
    pub fn setting(&self, seed: u64) -> Setting {
        Setting {
            api: self.api.to_string(),
            mode: if self.mode == Mode::Stream { "stream" } else { "unary" }.to_owned(),
            clients: self.clients,
            connections: self.connections(),
            in_flight: self.in_flight,
            rate: self.rate,
            arrivals: self.rate.map(|_| format!("{:?}", self.arrivals).to_lowercase()),
            value_size: self.value_size,
            keys: self.keys,
            distribution: self.distribution.to_string(),
            consistency: format!("{:?}", self.consistency).to_lowercase(),
            seed,
        }
    }
}

/// The options that a figure depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// Which API.
    pub api: String,
    /// How operations travelled.
    pub mode: String,
    /// Concurrent clients.
    pub clients: usize,
    /// Connections that they shared.
    pub connections: usize,
    /// Operations that each client of a stream kept on its way.
    pub in_flight: usize,
    /// Operations that were due in each second; none in a closed loop.
    pub rate: Option<f64>,
    /// How those came.
    pub arrivals: Option<String>,
    /// Bytes in a value.
    pub value_size: usize,
    /// Keys in the key space.
    pub keys: u64,
    /// How keys were drawn.
    pub distribution: String,
    /// How fresh reads were.
    pub consistency: String,
    /// Draws the same again.
    pub seed: u64,
}

/// A span of time: `30s`, `5m`, or a number of seconds.
pub fn time(word: &str) -> Result<Duration, String> {
    if let Ok(seconds) = word.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(word).map_err(|error| error.to_string())
}

/// A share from 0 to 1.
pub fn share(word: &str) -> Result<f64, String> {
    let share: f64 = word.parse().map_err(|_| format!("{word:?} is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is not from 0 to 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_of_seconds_or_has_a_unit() {
        assert_eq!(time("6"), Ok(Duration::from_secs(6)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        assert_eq!(time("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert!(time("-1").is_err() && time("soon").is_err());
    }

    #[test]
    fn a_share_is_from_0_to_1() {
        assert_eq!(share("0.9"), Ok(0.9));
        assert!(share("1.1").is_err() && share("half").is_err());
    }

    #[test]
    fn connections_are_shared_but_never_idle() {
        let with =
            |clients, connections, mode| LoadArgs { clients, connections, mode, ..LoadArgs::default() };
        assert_eq!(with(1, 0, Mode::Unary).connections(), 1);
        assert_eq!(with(64, 0, Mode::Unary).connections(), 4);
        assert_eq!(with(64, 0, Mode::Stream).connections(), 16);
        assert_eq!(with(4, 9, Mode::Unary).connections(), 4);
    }

    #[test]
    fn nonsense_is_refused() {
        let load = LoadArgs::default();
        assert!(load.check().is_ok());
        assert!(LoadArgs { rate: Some(0.0), ..load.clone() }.check().is_err());
        assert!(LoadArgs { clients: 0, ..load.clone() }.check().is_err());
        let refusal = LoadArgs { keys: 0, ..load }.check().expect_err("no keys");
        assert!(refusal.is_usage() && refusal.to_string().starts_with("--keys:"), "{refusal}");
    }
}
