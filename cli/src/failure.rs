//! Why a command failed, and what the shell is told.

use oarlock_client::Error;
use std::process::ExitCode;
use thiserror::Error as ThisError;

/// Why a command failed.
#[derive(Debug, ThisError)]
pub enum Failure {
    /// The cluster, or the way to it.
    #[error("{0}")]
    Client(#[from] Error),
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A condition did not hold.
    #[error("{0}")]
    ConditionFailed(String),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// This machine: a file, a pipe, a process.
    #[error("{0}")]
    Local(String),
    /// A measurement could not be made.
    #[error("{0}")]
    Bench(#[from] crate::bench::BenchError),
}

impl Failure {
    /// The exit code, as `docs/operations.md` lists them.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::Client(Error::Invalid { .. }) => 2,
            Self::Bench(refusal) if refusal.is_usage() => 2,
            Self::NotFound(_) => 3,
            Self::ConditionFailed(_) => 4,
            Self::Client(Error::Rejected { .. }) => 5,
            Self::Client(Error::NotProposed { .. }) => 6,
            Self::Client(Error::Unknown { .. }) => 7,
            Self::Client(Error::SessionLost { .. } | Error::NotHeld { .. }) => 8,
            Self::Local(_) | Self::Bench(_) => 1,
        })
    }

    /// A failure of this machine while doing something to a thing.
    pub fn local(what: &str, path: &std::path::Path, error: impl std::fmt::Display) -> Self {
        Self::Local(format!("cannot {what} {}: {error}", path.display()))
    }
}
