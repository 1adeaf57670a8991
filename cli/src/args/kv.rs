//! Flags of the verbs on keys: put, get, delete, ls, cas, add, txn, watch.

use clap::Args;
use std::path::PathBuf;

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
