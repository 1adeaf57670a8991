//! Agreement on the log: the `raft` crate behind a wall that knows its traps.
//!
//! [`Replica`] is sans-IO: no thread, clock, socket or random source. It is told what happened
//! (`tick`, `step`, `propose`, …) and says in [`Ready`] and [`Persisted`] what is to be done. Only
//! the log is written from inside, through [`LogStore`](crate::storage::LogStore), because the
//! order of its sync and of messages is what consensus is about.
//!
//! ```text
//! tick / step / propose / read_index / …        any number, in any order
//! ready() ──► Some(Ready)                       send `send_now`, apply `committed`, answer `reads`
//!   no install:  persist(ticket)                one write, one sync
//!   install:     put the staged state in place, then installed(ticket, index)
//!         ──► Persisted                         send `send_after`, apply `committed`
//! applied_to(index) / durable_to(index)         as the state gets there
//! ```
//!
//! Between [`Replica::ready`] and the return of its [`Ticket`] nothing else may be told; the
//! replica asserts it, and [`Replica::is_waiting`] tells a caller that must queue.
//!
//! **Installing a snapshot** is three steps, and a crash between any two leaves a node that can
//! start: (1) the files are received whole and made durable, only then
//! [`Replica::step_staged`]; (2) the state is replaced, atomically by its own marker; (3)
//! [`Replica::installed`] resets the log. After a crash between 2 and 3 the state is ahead of the
//! log: whoever starts the node calls [`finish_install`] before [`Replica::new`].
//!
//! **Architecture invariant:** this module and `storage` are the only ones that name the `raft`
//! crate, and no vocabulary of `node` or of any door is named here.
//!
//! Modules in reading order: [`options`], [`errors`], `status`, `replica`, `inbound`, `ready`,
//! `entries`, `membership`, `transfer`, `reads`, `log_view`, `snapshot`, `truncate`, `election`,
//! [`conf`], `start`.

pub mod conf;
mod election;
mod entries;
pub mod errors;
mod inbound;
mod log_view;
mod membership;
pub mod options;
#[cfg(feature = "plant")]
mod plant;
mod reads;
mod ready;
mod replica;
mod snapshot;
mod start;
mod status;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transfer;
mod truncate;

pub use crate::log_format::Membership as MembershipProposal;
pub use errors::{NotProposed, ReadRefused, StartError, StepError};
pub use options::Options;
pub use ready::{Persisted, Ready, Ticket};
pub use replica::Replica;
pub use snapshot::{SendSnapshot, SnapshotMeta};
pub use start::finish_install;
pub use status::{Leadership, LogNumbers, PeerProgress, Role};
