//! What can go wrong, sorted by what the caller should do.

use oarlock_proto::v1;
use prost::Message;
use thiserror::Error;
use tonic::Status;

/// Result of a client call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call did not succeed. The variants answer the one question that matters after a failure:
/// did it happen?
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// It did not happen and will not. Safe to retry; the client has retried until its deadline.
    #[error("{message}")]
    NotProposed {
        /// The server's reason.
        code: v1::ErrorCode,
        /// What happened, why, and what to do.
        message: String,
    },
    /// The service decided: no. Retrying the same will not help unless the state changes.
    #[error("{message}")]
    Rejected {
        /// The reason.
        code: v1::ErrorCode,
        /// What happened, why, and what to do.
        message: String,
        /// For [`v1::ErrorCode::Compacted`]: the oldest revision that can still be read; else 0.
        oldest_revision: u64,
        /// What a lock or an election has to say; see [`Error::refusal`].
        object: Option<Box<v1::ObjectRefusal>>,
        /// What a pool has to say; see [`Error::pool_refusal`].
        pool: Option<Box<v1::PoolRefusal>>,
    },
    /// A lock, or the lead of an election, is not held, or may not be by now. It must not be acted
    /// upon.
    #[error("{what} is not held: {cause}. Stop what it protects, and acquire it again")]
    NotHeld {
        /// What.
        what: String,
        /// Why.
        cause: String,
    },
    /// It may have happened, or may yet. Ask with [`Client::outcome`](crate::Client::outcome) if
    /// the call had a name, or look at the state.
    #[error("{message}")]
    Unknown {
        /// What is known.
        message: String,
    },
    /// The session is gone, and everything it owned with it.
    #[error("session {session} is lost: {cause}. What it owned was removed; open a new session")]
    SessionLost {
        /// Its id.
        session: u64,
        /// Why.
        cause: String,
    },
    /// The request, or the client's configuration, makes no sense.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// Whether the operation certainly had no effect.
    pub fn had_no_effect(&self) -> bool {
        match self {
            Self::NotProposed { .. }
            | Self::Rejected { .. }
            | Self::NotHeld { .. }
            | Self::Invalid { .. } => true,
            Self::Unknown { .. } | Self::SessionLost { .. } => false,
        }
    }

    /// The service's reason, if it gave one.
    pub fn code(&self) -> Option<v1::ErrorCode> {
        match self {
            Self::NotProposed { code, .. } | Self::Rejected { code, .. } => Some(*code),
            Self::Unknown { .. } | Self::NotHeld { .. } | Self::SessionLost { .. } | Self::Invalid { .. } => {
                None
            }
        }
    }

    /// Why a lock or an election said no, for programs.
    pub fn refusal(&self) -> Option<&v1::ObjectRefusal> {
        match self {
            Self::Rejected { object, .. } => object.as_deref(),
            Self::NotProposed { .. }
            | Self::Unknown { .. }
            | Self::NotHeld { .. }
            | Self::SessionLost { .. }
            | Self::Invalid { .. } => None,
        }
    }

    /// Why a pool said no, for programs.
    pub fn pool_refusal(&self) -> Option<&v1::PoolRefusal> {
        match self {
            Self::Rejected { pool, .. } => pool.as_deref(),
            Self::NotProposed { .. }
            | Self::Unknown { .. }
            | Self::NotHeld { .. }
            | Self::SessionLost { .. }
            | Self::Invalid { .. } => None,
        }
    }

    /// Whether a pool said no for this reason.
    pub fn is_pool_refused(&self, reason: v1::pool_refusal::Reason) -> bool {
        self.pool_refusal().is_some_and(|refusal| refusal.reason() == reason)
    }

    /// Whether a lock or an election said no for this reason.
    pub(crate) fn is_refused(&self, reason: v1::object_refusal::Reason) -> bool {
        self.refusal().is_some_and(|refusal| refusal.reason() == reason)
    }

    /// Whether the same may succeed a moment later, here or at another member.
    pub fn is_passing(&self) -> bool {
        match self {
            // Space comes back only when somebody makes it.
            Self::NotProposed { code, .. } => *code != v1::ErrorCode::NoSpace,
            Self::Unknown { .. } => true,
            Self::Rejected { .. }
            | Self::NotHeld { .. }
            | Self::SessionLost { .. }
            | Self::Invalid { .. } => false,
        }
    }

    /// Whether a fencing token was refused.
    pub fn is_fenced(&self) -> bool {
        self.code() == Some(v1::ErrorCode::Fenced)
    }

    /// The typed error of a stream frame.
    pub(crate) fn from_wire(error: v1::Error) -> Self {
        let code = error.code();
        let message = error.message.clone();
        if error.certainty() == v1::Certainty::NotProposed && is_callers_fault(code) {
            return Self::Invalid { message };
        }
        match error.certainty() {
            v1::Certainty::NotProposed => Self::NotProposed { code, message },
            v1::Certainty::Rejected => {
                let (object, pool) = (error.object.map(Box::new), error.pool.map(Box::new));
                Self::Rejected { code, message, oldest_revision: error.oldest_revision, object, pool }
            }
            v1::Certainty::Committed | v1::Certainty::Unknown | v1::Certainty::Unspecified => {
                Self::Unknown { message }
            }
        }
    }

    /// The typed error of a call. Without the server's own word nothing is known: the connection
    /// may have broken after the request was sent.
    pub(crate) fn from_status(status: &Status) -> Self {
        let wire = status.metadata().get_bin("oarlock-error-bin").and_then(|value| value.to_bytes().ok());
        if let Some(error) = wire.and_then(|bytes| v1::Error::decode(bytes).ok()) {
            return Self::from_wire(error);
        }
        match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange | tonic::Code::Unimplemented => {
                Self::Invalid { message: status.message().to_owned() }
            }
            _ => Self::Unknown { message: format!("connection lost: {}", status.message()) },
        }
    }
}

/// Whether asking again, anywhere, can only get the same answer.
fn is_callers_fault(code: v1::ErrorCode) -> bool {
    matches!(
        code,
        v1::ErrorCode::InvalidArgument
            | v1::ErrorCode::TooLarge
            | v1::ErrorCode::Unimplemented
            | v1::ErrorCode::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(code: v1::ErrorCode, certainty: v1::Certainty) -> Error {
        Error::from_wire(v1::Error { code: code.into(), certainty: certainty.into(), ..v1::Error::default() })
    }

    #[test]
    fn certainty_decides_and_malformed_requests_are_not_asked_again() {
        use v1::{Certainty as C, ErrorCode as E};
        assert!(wire(E::NoLeader, C::NotProposed).is_passing());
        assert!(!wire(E::NoSpace, C::NotProposed).is_passing());
        assert!(!wire(E::InvalidArgument, C::NotProposed).is_passing());
        assert!(matches!(wire(E::InvalidArgument, C::NotProposed), Error::Invalid { .. }));
        assert!(matches!(wire(E::Fenced, C::Rejected), Error::Rejected { .. }));
        assert!(wire(E::TimedOut, C::Unknown).is_passing());
        let later = v1::Error { code: 9999, ..v1::Error::default() };
        assert!(!Error::from_wire(later).had_no_effect(), "without a certainty nothing is certain");
    }

    #[test]
    fn a_status_without_the_servers_word_means_unknown() {
        let broken = Error::from_status(&Status::unavailable("connection reset"));
        assert!(matches!(broken, Error::Unknown { .. }));
        let large = Error::from_status(&Status::out_of_range("message too large"));
        assert!(matches!(large, Error::Invalid { .. }));
    }
}
