//! The command line.

use clap::{Args, Parser, Subcommand};
use oarlock_jepsen::cluster::{Kind, Programs};
use oarlock_jepsen::history::Api;
use oarlock_jepsen::nemesis::Rhythm;
use oarlock_jepsen::run::Options;
use std::path::PathBuf;
use std::time::Duration;

/// Tests real servers under faults, and judges what their clients saw.
#[derive(Parser)]
#[command(name = "oarlock-jepsen", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// Start servers, drive them with clients, make faults, and judge the history.
    Run(Box<Run>),
    /// Run every workload with one draw of faults after the other, for a given time.
    Tour(Box<Tour>),
    /// Judge a history again.
    Check(Check),
    /// Write the report of a run again, or a summary of all runs below a directory.
    Report {
        /// Directory of a run, or of many.
        directory: PathBuf,
    },
    /// Write a history in Jepsen's EDN, for Knossos and Elle.
    Edn {
        /// The history.
        history: PathBuf,
        /// Only what was done to this key: Knossos judges one register at a time.
        #[arg(long)]
        key: Option<String>,
    },
    /// Name all workloads, faults and checks, and say what this machine cannot do.
    List,
}

/// Arguments of a run.
#[derive(Args, Clone)]
pub struct Run {
    /// What clients do; see `list`.
    #[arg(long, short)]
    pub workload: String,
    /// How it is made.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of a tour.
#[derive(Args, Clone)]
pub struct Tour {
    /// How long it takes altogether.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10m")]
    pub total: Duration,
    /// Workloads to take in turn. Default: all that the protocol allows.
    #[arg(long, value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// How each run is made; the time is that of each run.
    #[command(flatten)]
    pub common: Common,
}

/// How nodes are connected.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Connected {
    /// Each has a network of its own; packets can be spoiled.
    Namespaces,
    /// Each has a loopback address, and proxies before its ports.
    Proxies,
}

/// How runs are made.
#[derive(Args, Clone)]
pub struct Common {
    /// Faults, by name, joined by commas: one after the other; `a+b` makes both at the same time. Also
    /// none, all, and swarm (some of them, drawn by the seed).
    #[arg(long, short, value_delimiter = ',', default_value = "swarm")]
    pub nemesis: Vec<String>,
    /// Length of the phase with faults.
    #[arg(long, short, value_parser = humantime::parse_duration, default_value = "60s")]
    pub time: Duration,
    /// Servers at the start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    pub nodes: u16,
    /// What clients speak.
    #[arg(long, value_enum, default_value = "native")]
    pub api: Api,
    /// Which servers. Default: Oarlock, or ZooKeeper if its protocol is asked for.
    #[arg(long, value_enum)]
    pub server: Option<Kind>,
    /// What all chance comes from. Default: the time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Clients at the same time. Default: three for each server.
    #[arg(long)]
    pub clients: Option<u16>,
    /// Mean pause of a client between two operations.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30ms")]
    pub pace: Duration,
    /// How long clients wait for an answer.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "3s")]
    pub patience: Duration,
    /// Mean time that a fault lasts.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "4s")]
    pub fault_lasts: Duration,
    /// Mean time between two faults.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "4s")]
    pub fault_pause: Duration,
    /// How nodes are connected. Default: namespaces if this machine allows them.
    #[arg(long, value_enum)]
    pub network: Option<Connected>,
    /// Further flags of the servers.
    #[arg(long = "flag", allow_hyphen_values = true)]
    pub flags: Vec<String>,
    /// Where runs are kept.
    #[arg(long, default_value = "store")]
    pub store: PathBuf,
    /// The program `oarlockd`. Default: beside this one. `oarlock` is looked for beside it.
    #[arg(long)]
    pub oarlockd: Option<PathBuf>,
    /// An earlier `oarlockd`, from which `rolling-upgrade` begins.
    #[arg(long)]
    pub old_oarlockd: Option<PathBuf>,
    /// The program `etcd`.
    #[arg(long, env = "ETCD")]
    pub etcd: Option<PathBuf>,
    /// The directory of ZooKeeper's jars.
    #[arg(long, env = "ZOOKEEPER_JARS")]
    pub zookeeper_jars: Option<PathBuf>,
}

/// Arguments of a judgement.
#[derive(Args)]
pub struct Check {
    /// The history.
    pub history: PathBuf,
    /// Only these checks. Default: those of the history's workload.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
}

impl Common {
    /// The options of a run of this workload with this seed.
    pub fn options(&self, workload: &str, seed: u64) -> Options {
        let kind = self.server.unwrap_or(match self.api {
            Api::Native | Api::Etcd => Kind::Oarlock,
            Api::Zookeeper => Kind::Zookeeper,
        });
        let oarlockd = self.oarlockd.clone().unwrap_or_else(|| beside("oarlockd"));
        let oarlock = oarlockd.with_file_name("oarlock");
        let nodes = usize::from(self.nodes);
        Options {
            workload: workload.to_owned(),
            nemesis: self.nemesis.clone(),
            api: self.api,
            kind,
            nodes,
            clients: self.clients.map_or(nodes * 3, usize::from),
            time: self.time,
            seed,
            pace: self.pace,
            patience: self.patience,
            rhythm: Rhythm { lasts: self.fault_lasts, pause: self.fault_pause },
            programs: Programs {
                oarlockd,
                oarlock,
                old_oarlockd: self.old_oarlockd.clone(),
                etcd: self.etcd.clone(),
                zookeeper_jars: self.zookeeper_jars.clone(),
            },
            flags: self.flags.clone(),
            store: self.store.clone(),
            command: self.command(workload, kind, seed),
        }
    }

    /// The command that repeats the run.
    fn command(&self, workload: &str, kind: Kind, seed: u64) -> String {
        let mut words = vec![format!(
            "oarlock-jepsen run --workload {workload} --nemesis {} --time {} --nodes {} --api {} --server {} --seed {seed}",
            self.nemesis.join(","),
            humantime::format_duration(self.time),
            self.nodes,
            self.api,
            kind.name()
        )];
        words.extend(self.clients.map(|clients| format!("--clients {clients}")));
        let usual = [("pace", self.pace, 30), ("patience", self.patience, 3_000)];
        for (name, time, default_ms) in usual
            .into_iter()
            .chain([("fault-lasts", self.fault_lasts, 4_000), ("fault-pause", self.fault_pause, 4_000)])
        {
            if time != Duration::from_millis(default_ms) {
                words.push(format!(
                    "--{name} {}",
                    humantime::format_duration(time).to_string().replace(' ', "")
                ));
            }
        }
        words.extend(self.flags.iter().map(|flag| format!("--flag={flag}")));
        words.join(" ")
    }
}

/// A program in the directory of this one.
fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}
