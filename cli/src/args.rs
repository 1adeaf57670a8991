//! The arguments: every verb and flag on one page.

use crate::bench::BenchArgs;
use crate::failure::Failure;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use oarlock_client::Client;
use std::path::PathBuf;
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

/// Arguments of `put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The key.
    pub key: String,
    /// The value; `-` reads it from standard input.
    pub value: String,
    /// The key goes when this session ends.
    #[arg(long)]
    pub owner: Option<u64>,
    /// Only if the key does not exist.
    #[arg(long)]
    pub if_absent: bool,
    /// Only while this token is current: KEY=REVISION. May be repeated.
    #[arg(long)]
    pub guard: Vec<String>,
    /// Print the record before.
    #[arg(long)]
    pub previous: bool,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The key.
    pub key: String,
    /// As of this revision.
    #[arg(long)]
    pub revision: Option<u64>,
    /// Whatever the member has, however old.
    #[arg(long)]
    pub serializable: bool,
    /// Print revisions, version and owner too.
    #[arg(long, short)]
    pub long: bool,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The key, or the prefix with --prefix.
    pub key: String,
    /// All keys that begin with KEY.
    #[arg(long)]
    pub prefix: bool,
    /// Only while this token is current: KEY=REVISION. May be repeated.
    #[arg(long)]
    pub guard: Vec<String>,
    /// Print the records before.
    #[arg(long)]
    pub previous: bool,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// What the keys begin with; all keys without it.
    #[arg(default_value = "")]
    pub prefix: String,
    /// At most this many.
    #[arg(long)]
    pub limit: Option<u64>,
    /// As of this revision.
    #[arg(long)]
    pub revision: Option<u64>,
    /// Only the keys.
    #[arg(long)]
    pub keys_only: bool,
    /// Only their number.
    #[arg(long)]
    pub count: bool,
    /// From the last to the first.
    #[arg(long)]
    pub reverse: bool,
    /// Print revisions, version and owner too.
    #[arg(long, short)]
    pub long: bool,
}

/// Arguments of `cas`.
#[derive(Debug, Args)]
pub struct CasArgs {
    /// The key.
    pub key: String,
    /// Revision of its last change; 0: it must not exist.
    pub mod_revision: u64,
    /// The new value.
    pub value: String,
}

/// Arguments of `add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The key.
    pub key: String,
    /// What to add.
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    pub delta: i64,
}

/// Arguments of `txn`.
#[derive(Debug, Args)]
pub struct TxnArgs {
    /// The file; `-` or nothing reads standard input. It has three parts with empty lines between
    /// them: conditions, what to do if all hold, and what to do otherwise.
    ///
    ///   mod("/k") = 7            also: create version owner count value, with = != < >
    ///   value("/k") != "x"
    ///   count("/p/") < 3         keys that begin with /p/
    ///
    ///   put KEY VALUE            words with spaces in double quotes
    ///   get KEY                  ls PREFIX
    ///   delete KEY               delete-prefix PREFIX
    ///   add KEY N                append KEY TEXT
    #[arg(verbatim_doc_comment)]
    pub file: Option<PathBuf>,
    /// Only while this token is current: KEY=REVISION. May be repeated.
    #[arg(long)]
    pub guard: Vec<String>,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The key, or the prefix with --prefix.
    pub key: String,
    /// All keys that begin with KEY.
    #[arg(long)]
    pub prefix: bool,
    /// From this revision on; without it from the next change on.
    #[arg(long)]
    pub revision: Option<u64>,
    /// Print the values before, too.
    #[arg(long)]
    pub previous: bool,
    /// When the history is compacted, print the records as they are and go on.
    #[arg(long)]
    pub resync: bool,
    /// Stop after this many events.
    #[arg(long)]
    pub count: Option<u64>,
}

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionVerb {
    /// Open one and keep it alive until interrupted; prints its id.
    Open {
        /// Time without a sign of life after which it ends.
        #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
    /// Show one, with the keys it owns.
    Get {
        /// Its id.
        session: u64,
    },
    /// List the live ones.
    Ls {
        /// At most this many.
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// End one; what it owns is removed.
    Close {
        /// Its id.
        session: u64,
    },
}

/// Arguments of `ephemeral`.
#[derive(Debug, Args)]
pub struct EphemeralArgs {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Time without a sign of life after which it goes.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// Wait until nobody else has the key, and take it: leadership, or a simple lock.
    #[arg(long)]
    pub exclusive: bool,
    /// The command; it runs while the key is there, with OARLOCK_SESSION, OARLOCK_KEY and
    /// OARLOCK_TOKEN in its environment, and is stopped if the key is lost. Without a command the
    /// key stays until interrupted.
    #[arg(last = true)]
    pub command: Vec<String>,
}

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
