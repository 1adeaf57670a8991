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

mod rebuild;
mod seat;
mod stores;
mod swap;

pub use self::rebuild::{note_diverged, rebuild};
pub use self::seat::{Birth, Seat};
pub use self::stores::{Kept, Stores};
pub use self::swap::SwapBase;

use crate::consensus;
use crate::storage::StorageError;
use oarlock_state::LoadError;
use std::io;
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
