//! From settings and a directory to a member that can run.
//!
//! ```text
//! Seat::find      who am I? founder, added before, asking to be added, or back again
//! Stores::open    the directory of that member: set up anew, or as it was left
//! Stores::replica consensus and state, continued from there
//! ```
//!
//! A founder writes the state of the new cluster itself: all founders compute the same one. Everybody
//! else begins with nothing and is sent the log or a snapshot.

mod seat;
mod stores;
mod swap;

pub use self::seat::{Birth, Seat};
pub use self::stores::{Kept, Stores, note_diverged};
pub use self::swap::SwapBase;

use crate::consensus;
use crate::storage::StorageError;
use oarlock_state::LoadError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// A member cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Consensus refuses what is on disk.
    #[error(transparent)]
    Consensus(#[from] consensus::StartError),
    /// The state does not read.
    #[error(transparent)]
    State(#[from] LoadError),
    /// It cannot listen.
    #[error("cannot listen on {url} ({setting}): {source}")]
    Listen {
        /// Where.
        url: String,
        /// The setting that says so.
        setting: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The cluster that it was to join does not have it, or does not answer.
    #[error("cannot become a member: {what}")]
    NotJoined {
        /// Why, and what to do.
        what: String,
    },
    /// Its state was found to differ from the leader's.
    #[error(
        "{path} says that this member's state differed from the leader's at entry {index}. The copy cannot be \
         trusted: remove the member from the cluster, and add it anew with an empty data directory"
    )]
    Diverged {
        /// The note that was left.
        path: PathBuf,
        /// Where it was noticed.
        index: String,
    },
    /// The system refused something basic.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl StartError {
    fn not_joined(what: impl Into<String>) -> Self {
        Self::NotJoined { what: what.into() }
    }
}
