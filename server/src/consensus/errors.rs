//! The ways in which a replica says no. All but [`StartError`] and [`StepError::LogLost`] leave it
//! as it was.

use super::options::{ENTRY_BYTES_MAX, PENDING_READS_MAX};
use crate::storage::StorageError;
use oarlock_state::NodeId;
use oarlock_state::command::Obstacle;
use thiserror::Error;

/// The replica cannot start from what is on disk.
#[derive(Debug, Error)]
pub enum StartError {
    /// The state is ahead of the log.
    #[error(
        "the state holds everything up to entry {applied}, but the log ends at {last}: entries that this \
         member acknowledged are lost. Remove the member and add it anew with an empty data directory"
    )]
    LogLost {
        /// Last entry whose effects are durable in the state.
        applied: u64,
        /// Last entry in the log.
        last: u64,
    },
    /// The log begins after what the state needs next.
    #[error(
        "the state holds everything up to entry {applied}, but the log begins at {first}: entries between \
         them are missing. Remove the member and add it anew with an empty data directory"
    )]
    Gap {
        /// Last entry whose effects are durable in the state.
        applied: u64,
        /// First entry in the log.
        first: u64,
    },
    /// The log's own numbers contradict each other.
    #[error(
        "the log contradicts itself: {what}. Remove the member and add it anew with an empty data directory"
    )]
    Inconsistent {
        /// How.
        what: String,
    },
    /// An option is out of its range.
    #[error("bad option: {0}")]
    Options(String),
    /// The log cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A message from a peer was not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StepError {
    /// Not a Raft message.
    #[error("not a Raft message: {0}")]
    Malformed(String),
    /// Addressed to somebody else, or from nobody.
    #[error("message from {from} to {to} reached member {node}; check the peers' addresses")]
    Misdirected {
        /// Its sender.
        from: u64,
        /// Its addressee.
        to: u64,
        /// This member.
        node: NodeId,
    },
    /// A kind that does not travel between members of this service.
    #[error("messages of kind {kind} are not taken from peers")]
    Forbidden {
        /// Its kind, as the format numbers it.
        kind: i32,
    },
    /// A snapshot whose files have not been staged; see
    /// [`Replica::step_staged`](super::Replica::step_staged).
    #[error("a snapshot message came without its files")]
    NotStaged,
    /// The leader remembers that this member acknowledged entries that it does not have. It must
    /// stop: its vote and its acknowledgements cannot be trusted.
    #[error(
        "the leader knows that this member acknowledged entry {acknowledged}, but its log ends at {last}: \
         data was lost. Stop this member, remove it from the cluster and add it anew"
    )]
    LogLost {
        /// What the leader remembers.
        acknowledged: u64,
        /// Last entry in the log.
        last: u64,
    },
}

/// It is not in the log and will not get there by this call.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotProposed {
    /// Only the leader proposes; nothing is forwarded from here, as that could double a proposal.
    #[error("this member does not lead; the leader is {}", leader.map_or("unknown".to_string(), |id| id.to_string()))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Leadership is being handed over.
    #[error("leadership is being handed over to member {to}; ask again in a moment")]
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// This member was removed from the cluster.
    #[error("this member was removed from the cluster; ask another one")]
    Removed,
    /// Too much is waiting for a quorum.
    #[error("too many bytes wait to be committed; retry after a pause")]
    Full,
    /// The entry is over its limit.
    #[error("the entry has {bytes} bytes, and at most {ENTRY_BYTES_MAX} are allowed; split the request")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A change of the cluster that would be wrong or unsafe now.
    #[error("{reason}")]
    Refused {
        /// Of what kind the obstacle is.
        obstacle: Obstacle,
        /// Why, and what to do.
        reason: String,
    },
}

impl NotProposed {
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::hindered(Obstacle::Other, reason)
    }

    pub(super) fn hindered(obstacle: Obstacle, reason: impl Into<String>) -> Self {
        Self::Refused { obstacle, reason: reason.into() }
    }
}

/// A read cannot be confirmed here and now. Ask the leader, or later.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadRefused {
    /// Only the leader confirms reads.
    #[error("this member does not lead; the leader is {}", leader.map_or("unknown".to_string(), |id| id.to_string()))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// The new leader has not committed an entry of its own term, so it does not know yet what is
    /// committed (Raft dissertation, section 6.4).
    #[error("the leader has not committed in its own term yet; retry in a moment")]
    NotYet,
    /// Too many rounds wait for a quorum.
    #[error("{PENDING_READS_MAX} reads wait for a quorum already; retry after a pause")]
    TooMany,
}
