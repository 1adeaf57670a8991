//! Flags of the verbs on the cluster: status, member, move-leader, compact, snapshot, dev.

use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show it again every so often until interrupted.
    #[arg(long, num_args = 0..=1, default_missing_value = "1s", value_parser = humantime::parse_duration)]
    pub watch: Option<Duration>,
}

/// What to do with members.
#[derive(Debug, Subcommand)]
pub enum MemberVerb {
    /// List them.
    #[command(visible_alias = "list")]
    Ls,
    /// Add a learner, which becomes a voter by itself once it has caught up.
    Add {
        /// Its name.
        name: String,
        /// Where peers will reach it.
        #[arg(long, value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
        /// Keep it a learner.
        #[arg(long)]
        learner: bool,
    },
    /// Remove one for good.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its id (hexadecimal as printed) or name.
        member: String,
    },
    /// Make a learner that has caught up a voter.
    Promote {
        /// Its id or name.
        member: String,
    },
    /// Change where peers reach one.
    Update {
        /// Its id or name.
        member: String,
        /// Where peers will reach it.
        #[arg(long, value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
    },
}

/// Arguments of `move-leader`.
#[derive(Debug, Args)]
pub struct MoveLeaderArgs {
    /// Id or name of the member; without it whichever is most up to date.
    pub member: Option<String>,
}

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// Forget everything up to it; without it up to the current revision.
    pub revision: Option<u64>,
}

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotVerb {
    /// Save the state of a member to a file.
    Save {
        /// The file; must not exist.
        file: PathBuf,
    },
    /// Make the data directory of a new cluster's member from a file. Run it on every member of the
    /// new cluster with that member's flags, then start them.
    Restore {
        /// The file.
        file: PathBuf,
        /// The data directory to make; must not exist.
        #[arg(long)]
        data_dir: PathBuf,
        /// This member's name.
        #[arg(long)]
        name: String,
        /// All members of the new cluster: name=peer-url,…
        #[arg(long)]
        initial_cluster: String,
        /// The new cluster's token.
        #[arg(long, default_value = "oarlock-cluster")]
        initial_cluster_token: String,
    },
    /// Check a file and say what is in it.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Arguments of `dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    pub nodes: u16,
    /// Client port of the first node; the others follow at distances of 10.
    #[arg(long, default_value_t = 2379)]
    pub port: u16,
}
