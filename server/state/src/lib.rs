//! The pure, deterministic heart of Oarlock: what every replica computes from the log.
//!
//! # The model on one page
//!
//! The state is **one ordered map of bytes**, divided into [spaces](keys::Space). A [`Machine`] is
//! a handful of counters over that map. [`Machine::apply`] takes a committed [`Entry`], reads
//! through a [`View`], and returns [`Applied`]: replies, events, session changes and the mutations
//! that turn the old map into the new one. It writes nothing itself. Equal maps and equal entries
//! give equal results on every replica, byte for byte, which [`digest`] proves continuously.
//!
//! * A *revision* counts the transactions that changed `kv`, `tree` or `objects`. All changes of
//!   one transaction share it. It is the MVCC revision, the znode zxid and the fencing token.
//! * A *session* owns ephemeral keys and a window of remembered outcomes. Its end removes all that
//!   hangs off it in one revision.
//! * A *refusal is a reply*: [`Rejection`] is replicated like any success. `apply` cannot fail.
//!   What the local machine cannot do (a broken disk) never reaches this crate.
//! * *Time* enters as [`EntryBody::Proposals`]'s stamp, put there by the leader and clamped to be monotone.
//!
//! **Architecture invariant:** this crate names no clock, disk, socket, thread, random source or
//! hash map. Cargo proves the coarse part (see its dependencies), `clippy.toml` the rest.
//!
//! Modules in reading order: [`ids`], [`command`], [`event`], [`view`], [`keys`], [`machine`]; then
//! [`tree`] and [`auth`].

pub mod auth;
pub mod codec;
pub mod command;
pub mod digest;
pub mod event;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod machine;
pub mod object;
#[cfg(feature = "plant")]
pub mod plant;
pub mod pool;
pub mod tree;
pub mod view;

pub use auth::{Caller, Principal};
pub use command::{Command, Entry, EntryBody, Outcome, Proposal, Query, Rejection, Reply};
pub use event::{Cause, Event, EventKind};
pub use ids::{Index, NodeId, ProposalId, RequestId, Revision, SessionId, Term};
pub use machine::{Applied, DigestCheck, LoadError, Machine, SessionChange};
pub use view::{MemoryView, Mutation, View};
