//! Refusals as clients see them: a [`v1::Error`] in stream frames, and a gRPC status with the same
//! error as its details on unary calls.
//!
//! The status codes are those that etcd's clients know where etcd has the case. The certainty is
//! always set: a client decides by it, not by the code, whether it may repeat a request.

use super::convert::{object_reply, pool_reply};
use super::door::Door;
use crate::node::request::{Certainty, Refusal};
use bytes::Bytes;
use oarlock_proto::v1;
use oarlock_state::Rejection;
use oarlock_state::command::AlarmKind;
use oarlock_state::object::ObjectError;
use oarlock_state::pool::PoolError;
use prost::Message;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::{Code, Status};

/// Binary metadata of a status that carries the encoded [`v1::Error`].
pub const DETAILS: &str = "oarlock-error-bin";

/// A refusal as an error, with the leader's whereabouts if they are known.
pub fn error(refusal: &Refusal, door: &Door) -> v1::Error {
    let (leader_id, leader_url) = door.leader();
    v1::Error { leader_id, leader_url, ..plain(refusal) }
}

/// A refusal as an error.
pub fn plain(refusal: &Refusal) -> v1::Error {
    let code = match refusal {
        Refusal::Rejected(reason) => return rejection(reason),
        Refusal::NoLeader => v1::ErrorCode::NoLeader,
        Refusal::Busy { .. } => v1::ErrorCode::Busy,
        Refusal::NotProposed { .. } => v1::ErrorCode::Unavailable,
        Refusal::Unknown { .. } | Refusal::TimedOut { .. } => v1::ErrorCode::TimedOut,
        Refusal::ShuttingDown => v1::ErrorCode::ShuttingDown,
        Refusal::NoSpace { .. }
        | Refusal::OverQuota { .. }
        | Refusal::Alarmed { kind: AlarmKind::NoSpace, .. } => v1::ErrorCode::NoSpace,
        Refusal::Alarmed { kind: AlarmKind::Corrupt, .. } => v1::ErrorCode::Unavailable,
        Refusal::Lagging { .. } => v1::ErrorCode::Lagging,
        Refusal::Invalid { .. } => v1::ErrorCode::InvalidArgument,
    };
    let resume_revision = match refusal {
        Refusal::Lagging { resume } => resume.get(),
        _ => 0,
    };
    v1::Error {
        code: code.into(),
        certainty: certainty(refusal.certainty()).into(),
        message: refusal.to_string(),
        resume_revision,
        ..v1::Error::default()
    }
}

fn certainty(certainty: Certainty) -> v1::Certainty {
    match certainty {
        Certainty::NotProposed => v1::Certainty::NotProposed,
        Certainty::Rejected => v1::Certainty::Rejected,
        Certainty::Unknown => v1::Certainty::Unknown,
    }
}

/// What the log, or the state that was read, said no to.
pub fn rejection(rejection: &Rejection) -> v1::Error {
    let code = match rejection {
        Rejection::KeyEmpty => v1::ErrorCode::InvalidArgument,
        Rejection::TooLarge { .. } => v1::ErrorCode::TooLarge,
        Rejection::DuplicateKey { .. } => v1::ErrorCode::DuplicateKey,
        Rejection::KeyNotFound { .. } => v1::ErrorCode::KeyNotFound,
        Rejection::KeyExists { .. } => v1::ErrorCode::KeyExists,
        Rejection::BadValue { .. } => v1::ErrorCode::BadValue,
        Rejection::Compacted { .. } => v1::ErrorCode::Compacted,
        Rejection::FutureRevision { .. } => v1::ErrorCode::FutureRevision,
        Rejection::SessionNotFound { .. } => v1::ErrorCode::SessionNotFound,
        Rejection::SessionExists { .. } => v1::ErrorCode::SessionExists,
        Rejection::StaleSequence { .. } => v1::ErrorCode::StaleSequence,
        Rejection::WindowFull { .. } => v1::ErrorCode::WindowFull,
        Rejection::Fenced { .. } => v1::ErrorCode::Fenced,
        Rejection::Tree(_) => v1::ErrorCode::Tree,
        Rejection::Object(ObjectError::BadRequest { .. }) => v1::ErrorCode::InvalidArgument,
        Rejection::Pool(PoolError::BadRequest { .. }) => v1::ErrorCode::InvalidArgument,
        Rejection::Object(_) => v1::ErrorCode::Object,
        Rejection::Pool(_) => v1::ErrorCode::Pool,
        Rejection::MemberNotFound { .. } => v1::ErrorCode::MemberNotFound,
        Rejection::MembershipRefused { .. } => v1::ErrorCode::MembershipRefused,
        Rejection::Auth(_) => v1::ErrorCode::PermissionDenied,
    };
    let (oldest_revision, current_revision) = match rejection {
        Rejection::Compacted { oldest, .. } => (oldest.get(), 0),
        Rejection::FutureRevision { current, .. } => (0, current.get()),
        _ => (0, 0),
    };
    let object = match rejection {
        Rejection::Object(error) => Some(object_reply::refusal(error)),
        _ => None,
    };
    let pool = match rejection {
        Rejection::Pool(error) => Some(pool_reply::refusal(error)),
        _ => None,
    };
    v1::Error {
        code: code.into(),
        certainty: v1::Certainty::Rejected.into(),
        message: rejection.to_string(),
        oldest_revision,
        current_revision,
        object,
        pool,
        ..v1::Error::default()
    }
}

/// A fault of the server's own: the request may have been executed.
pub fn internal(what: impl Into<String>) -> v1::Error {
    v1::Error {
        code: v1::ErrorCode::Internal.into(),
        certainty: v1::Certainty::Unknown.into(),
        message: format!("fault of the server: {}. Please report it", what.into()),
        ..v1::Error::default()
    }
}

/// A request that this server, as it is set up, cannot fulfil.
pub fn unimplemented(what: impl Into<String>) -> v1::Error {
    v1::Error {
        code: v1::ErrorCode::Unimplemented.into(),
        certainty: v1::Certainty::NotProposed.into(),
        message: what.into(),
        ..v1::Error::default()
    }
}

/// Someone who does not prove the right to what they ask.
pub fn denied(what: impl Into<String>) -> v1::Error {
    v1::Error {
        code: v1::ErrorCode::PermissionDenied.into(),
        certainty: v1::Certainty::NotProposed.into(),
        message: what.into(),
        ..v1::Error::default()
    }
}

/// The status of a unary call, with the error as its details.
pub fn status(error: v1::Error) -> Status {
    let mut metadata = MetadataMap::with_capacity(1);
    let details = BinaryMetadataValue::from_bytes(&error.encode_to_vec());
    metadata.insert_bin(DETAILS, details);
    let code = grpc_code(error.code());
    Status::with_details_and_metadata(code, error.message, Bytes::new(), metadata)
}

/// The gRPC code of each error code.
pub fn grpc_code(code: v1::ErrorCode) -> Code {
    use v1::ErrorCode as E;
    match code {
        E::InvalidArgument | E::TooLarge | E::DuplicateKey => Code::InvalidArgument,
        E::KeyNotFound | E::SessionNotFound | E::MemberNotFound => Code::NotFound,
        E::KeyExists | E::SessionExists => Code::AlreadyExists,
        E::Compacted | E::FutureRevision => Code::OutOfRange,
        E::BadValue | E::StaleSequence | E::Fenced | E::Tree | E::Object | E::Pool | E::MembershipRefused => {
            Code::FailedPrecondition
        }
        E::NoLeader | E::ShuttingDown | E::Unavailable => Code::Unavailable,
        E::WindowFull | E::Busy | E::NoSpace => Code::ResourceExhausted,
        E::TimedOut => Code::DeadlineExceeded,
        E::Lagging => Code::Aborted,
        E::PermissionDenied => Code::PermissionDenied,
        E::Unimplemented => Code::Unimplemented,
        E::Internal => Code::Internal,
        E::ErrorUnspecified => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::command::TokenScope;
    use oarlock_state::{Revision, SessionId};

    fn refusals() -> Vec<(Refusal, Code, v1::Certainty)> {
        use v1::Certainty::{NotProposed, Rejected, Unknown};
        let compacted = Rejection::Compacted { asked: Revision(1), oldest: Revision(5) };
        let fenced = Rejection::Fenced { scope: TokenScope::Key(Bytes::from("k")), token: Revision(3) };
        let gone = Rejection::SessionNotFound { session: SessionId(1) };
        vec![
            (Refusal::NoLeader, Code::Unavailable, NotProposed),
            (Refusal::Busy { queue: "q" }, Code::ResourceExhausted, NotProposed),
            (Refusal::NotProposed { reason: "election".into() }, Code::Unavailable, NotProposed),
            (Refusal::Unknown { after_ms: 5 }, Code::DeadlineExceeded, Unknown),
            (Refusal::TimedOut { after_ms: 5 }, Code::DeadlineExceeded, NotProposed),
            (Refusal::ShuttingDown, Code::Unavailable, NotProposed),
            (Refusal::NoSpace { left_mib: 1 }, Code::ResourceExhausted, NotProposed),
            (Refusal::Lagging { resume: Revision(8) }, Code::Aborted, NotProposed),
            (Refusal::Invalid { what: "odd".into() }, Code::InvalidArgument, NotProposed),
            (Refusal::Rejected(compacted), Code::OutOfRange, Rejected),
            (Refusal::Rejected(fenced), Code::FailedPrecondition, Rejected),
            (Refusal::Rejected(gone), Code::NotFound, Rejected),
        ]
    }

    #[test]
    fn every_refusal_has_its_code_and_certainty_and_travels_whole() {
        for (refusal, code, certainty) in refusals() {
            let error = plain(&refusal);
            assert_eq!(error.certainty(), certainty, "{refusal:?}");
            assert_eq!(error.message, refusal.to_string());
            let sent = status(error.clone());
            assert_eq!((sent.code(), sent.message()), (code, error.message.as_str()));
            let details =
                sent.metadata().get_bin(DETAILS).expect("always there").to_bytes().expect("encoded");
            assert_eq!(v1::Error::decode(details).expect("readable"), error);
        }
    }

    #[test]
    fn revisions_that_help_are_named() {
        let compacted = Rejection::Compacted { asked: Revision(1), oldest: Revision(5) };
        assert_eq!(rejection(&compacted).oldest_revision, 5);
        let future = Rejection::FutureRevision { asked: Revision(9), current: Revision(4) };
        assert_eq!(rejection(&future).current_revision, 4);
        assert_eq!(plain(&Refusal::Lagging { resume: Revision(8) }).resume_revision, 8);
    }
}
