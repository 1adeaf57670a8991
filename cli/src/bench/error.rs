//! Why a measurement could not be made.

use super::options::Api;
use std::path::PathBuf;
use thiserror::Error;

/// The measurement could not be made.
#[derive(Debug, Error)]
pub enum BenchError {
    /// An endpoint is not a URL.
    #[error("endpoint {endpoint:?} is not a URL such as http://127.0.0.1:2379")]
    BadEndpoint {
        /// As given.
        endpoint: String,
    },
    /// A server did not answer.
    #[error("cannot reach {endpoint}: {source}. Is the cluster running there?")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// A server took no call.
    #[error("cannot reach {endpoint}: {why}. Is the cluster running there?")]
    Unanswered {
        /// Where.
        endpoint: String,
        /// Why not.
        why: String,
    },
    /// A server of ZooKeeper's protocol did not answer as it should.
    #[error("ZooKeeper at {endpoint}: {source}")]
    Zookeeper {
        /// Where.
        endpoint: String,
        /// What went wrong.
        source: zookeeper_client::Error,
    },
    /// The cluster, through the client library.
    #[error("{0}")]
    Client(#[from] oarlock_client::Error),
    /// A server refused what the measurement needs.
    #[error("server refused: {0}")]
    Refused(#[from] Box<tonic::Status>),
    /// A process to account does not exist.
    #[error("cannot read the accounts of process {pid}: {source}")]
    NoProcess {
        /// Its id.
        pid: u32,
        /// Why not.
        source: std::io::Error,
    },
    /// The work cannot be done through this API. Nothing was sent.
    #[error("{work} cannot be measured through --api {api}: {why}")]
    CannotDo {
        /// The kind of work.
        work: &'static str,
        /// The API.
        api: Api,
        /// What is missing.
        why: &'static str,
    },
    /// An option, alone or beside others, makes no sense. Nothing was sent.
    #[error("--{option}: {why}")]
    BadOption {
        /// Its name.
        option: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// This machine gave no thread or no runtime.
    #[error("cannot start the clients: {0}")]
    NoClients(std::io::Error),
    /// Some keys could not be written before the measurement.
    #[error("{errors} keys could not be written before the measurement; the last said: {last}")]
    NotFilled {
        /// How many.
        errors: u64,
        /// What the last failure said.
        last: String,
    },
    /// Not one operation succeeded.
    #[error(
        "no operation succeeded in the measured time ({errors} failed{}{last})",
        if last.is_empty() { "" } else { "; the last said: " }
    )]
    NothingDone {
        /// How many failed.
        errors: u64,
        /// What the last failure said.
        last: String,
    },
}

impl BenchError {
    /// Whether other arguments would help.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::CannotDo { .. } | Self::BadOption { .. })
    }

    /// An option that makes no sense.
    pub fn bad(option: &'static str, why: impl Into<String>) -> Self {
        Self::BadOption { option, why: why.into() }
    }
}

impl From<tonic::Status> for BenchError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}
