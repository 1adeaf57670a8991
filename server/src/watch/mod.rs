//! Watches: ordered, unique, atomic per revision, resumable, and cheap for everybody else.
//!
//! A watch is a cursor over the events. Three positions are possible:
//!
//! * *synced*: it has everything. It stands in the [`matcher`], and what is applied finds it there.
//! * *behind*: it reads pages, from the [`recent`] events in memory or from history, until it is
//!   synced. It is not in the matcher, so it costs the others nothing.
//! * *resync*: its start was compacted and it wants the current records first, page by page at one
//!   revision; then it is behind.
//!
//! **Promises.** Frames hold whole revisions, in rising order, each once. A progress frame claims
//! only what was delivered. Nothing older than the start is delivered, also when the start is in
//! the future. After a snapshot took the place of the state, every watch goes on from where *it* was,
//! in the new history, or ends with "compacted"; it never goes back.
//!
//! **Order towards replies.** The frames for an applied entry leave before its replies and before
//! every later reply. So a reply that carries revision `r` to a connection comes after all events up
//! to `r` of that connection's *synced* watches. A watch that is behind or resyncing makes no such
//! promise until it is synced; it says by `through` how far it is.
//!
//! **Flow.** A connection has credit in bytes. A watch that would send without credit falls behind
//! instead, and its cursor waits. It may be overtaken by compaction, and says so then.
//!
//! | file | holds |
//! | --- | --- |
//! | [`hub`] | all watches of the node, publishing |
//! | [`catchup`] | pages for those that are behind |
//! | [`subscription`] | one watch: position, filter, frames |
//! | [`connections`] | credit, and who belongs to whom |
//! | [`matcher`], [`intervals`] | which watches a key concerns |
//! | [`recent`] | the last events, in memory |

pub mod catchup;
pub mod connections;
pub mod hub;
pub mod intervals;
pub mod matcher;
#[cfg(feature = "plant")]
mod plant;
pub mod recent;
pub mod subscription;

#[cfg(test)]
mod tests;

use oarlock_state::command::Answer;
use oarlock_state::{Query, Rejection, Revision};

/// The state, as the watches read it.
pub trait Source {
    /// Answers from the state as it is.
    fn read(&self, query: &Query) -> Result<Answer, Rejection>;
    /// Its revision.
    fn revision(&self) -> Revision;
    /// Its oldest readable revision.
    fn compacted(&self) -> Revision;
}

/// Names a watch inside its hub. Never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub u64);
