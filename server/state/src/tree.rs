//! ZooKeeper's znode tree as replicated state: what may be asked of it, and how it answers.
//!
//! A znode is a path with data, an access list and a [`Stat`]. Its parent exists, `/` always
//! exists, and an ephemeral znode has no children. The revision of the transaction is the zxid.
//!
//! Where ZooKeeper's 32-bit counters would wrap, this tree keeps 64 bits and shows the wrapped
//! number only where the protocol has no room: the `version` fields of [`Stat`] are 32 bits wide,
//! while the suffix of sequential names simply grows beyond ten digits.
//!
//! A change announces itself in ZooKeeper's order: first what happened to the znode, then that the
//! parent's children changed. Access lists change without a word.
//!
//! Modules in reading order: [`op`] and [`query`] (requests), [`reply`], [`error`], [`path`]; then
//! `layout` and `node` (what is stored), `permanent`, `records`, `execute`, `create`, `read`,
//! `outcome`, `check`.

mod check;
mod create;
pub mod error;
mod execute;
mod layout;
mod node;
pub mod op;
mod outcome;
pub mod path;
mod permanent;
pub mod query;
mod read;
mod records;
pub mod reply;

pub(crate) use check::check;
pub use error::{BadArgument, TreeError};
pub(crate) use execute::{execute, remove_ephemeral, token};
pub use op::{Create, NodeKind, TreeOp};
pub(crate) use outcome::{read_error, read_reply, remembered, write_error, write_reply};
pub use query::TreeQuery;
pub(crate) use read::read;
pub use reply::{Stat, TreeReply};
