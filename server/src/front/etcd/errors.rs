//! etcd's refusals: each a gRPC code and a text, which clients compare letter by letter.
//!
//! The table is of etcd 3.7 (its package `rpctypes`). What Oarlock refuses and etcd cannot has the
//! fitting code and a text of ours.

use crate::node::request::{Refusal, Response};
use oarlock_state::Rejection;
use oarlock_state::auth::AuthError;
use oarlock_state::command::{AlarmKind, Obstacle};
use oarlock_state::limits::{DELETE_RANGE_KEYS_MAX, RANGE_BYTES_MAX};
use std::sync::Arc;
use tonic::{Code, Status};

/// One of etcd's refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtcdError {
    /// The code.
    pub code: Code,
    /// The text after `etcdserver: `.
    pub text: &'static str,
}

impl From<EtcdError> for Status {
    fn from(error: EtcdError) -> Self {
        Self::new(error.code, error.message())
    }
}

impl EtcdError {
    /// The whole text.
    pub fn message(self) -> String {
        format!("etcdserver: {}", self.text)
    }

    /// Whether a call was refused with this.
    pub fn is(self, status: &Status) -> bool {
        status.code() == self.code && status.message().strip_prefix("etcdserver: ") == Some(self.text)
    }
}

macro_rules! errors {
    ($($name:ident = $code:ident, $text:literal;)*) => {
        $(
            #[doc = $text]
            pub const $name: EtcdError = EtcdError { code: Code::$code, text: $text };
        )*
        /// All of them.
        pub const ALL: &[EtcdError] = &[$($name),*];
    };
}

errors! {
    EMPTY_KEY = InvalidArgument, "key is not provided";
    KEY_NOT_FOUND = InvalidArgument, "key not found";
    VALUE_PROVIDED = InvalidArgument, "value is provided";
    LEASE_PROVIDED = InvalidArgument, "lease is provided";
    TOO_MANY_OPS = InvalidArgument, "too many operations in txn request";
    DUPLICATE_KEY = InvalidArgument, "duplicate key given in txn request";
    INVALID_CLIENT_API_VERSION = InvalidArgument, "invalid client api version";
    INVALID_SORT_OPTION = InvalidArgument, "invalid sort option";
    COMPACTED = OutOfRange, "mvcc: required revision has been compacted";
    FUTURE_REVISION = OutOfRange, "mvcc: required revision is a future revision";
    NO_SPACE = ResourceExhausted, "mvcc: database space exceeded";
    LEASE_NOT_FOUND = NotFound, "requested lease not found";
    LEASE_EXISTS = FailedPrecondition, "lease already exists";
    LEASE_TTL_TOO_LARGE = OutOfRange, "too large lease TTL";
    WATCH_CANCELED = Cancelled, "watch canceled";
    MEMBER_EXISTS = FailedPrecondition, "member ID already exist";
    PEER_URL_EXISTS = FailedPrecondition, "Peer URLs already exists";
    MEMBER_NOT_ENOUGH_STARTED = FailedPrecondition,
        "re-configuration failed due to not enough started members";
    MEMBER_BAD_URLS = InvalidArgument, "given member URLs are invalid";
    MEMBER_NOT_FOUND = NotFound, "member not found";
    MEMBER_NOT_LEARNER = FailedPrecondition, "can only promote a learner member";
    LEARNER_NOT_READY = FailedPrecondition,
        "can only promote a learner member which is in sync with leader";
    TOO_MANY_LEARNERS = FailedPrecondition, "too many learner members in cluster";
    CLUSTER_ID_MISMATCH = FailedPrecondition, "cluster ID mismatch";
    REQUEST_TOO_LARGE = InvalidArgument, "request is too large";
    TOO_MANY_REQUESTS = ResourceExhausted, "too many requests";
    ROOT_USER_NOT_EXIST = FailedPrecondition, "root user does not exist";
    ROOT_ROLE_NOT_EXIST = FailedPrecondition, "root user does not have root role";
    USER_EXISTS = FailedPrecondition, "user name already exists";
    USER_EMPTY = InvalidArgument, "user name is empty";
    USER_NOT_FOUND = FailedPrecondition, "user name not found";
    ROLE_EXISTS = FailedPrecondition, "role name already exists";
    ROLE_NOT_FOUND = FailedPrecondition, "role name not found";
    ROLE_EMPTY = InvalidArgument, "role name is empty";
    AUTH_FAILED = InvalidArgument, "authentication failed, invalid user ID or password";
    PERMISSION_NOT_GIVEN = InvalidArgument, "permission not given";
    PERMISSION_DENIED = PermissionDenied, "permission denied";
    ROLE_NOT_GRANTED = FailedPrecondition, "role is not granted to the user";
    PERMISSION_NOT_GRANTED = FailedPrecondition, "permission is not granted to the role";
    AUTH_NOT_ENABLED = FailedPrecondition, "authentication is not enabled";
    INVALID_AUTH_TOKEN = Unauthenticated, "invalid auth token";
    INVALID_AUTH_MANAGEMENT = InvalidArgument, "invalid auth management";
    AUTH_OLD_REVISION = InvalidArgument, "revision of auth store is old";
    NO_LEADER = Unavailable, "no leader";
    NOT_LEADER = FailedPrecondition, "not leader";
    LEADER_CHANGED = Unavailable, "leader changed";
    NOT_CAPABLE = FailedPrecondition, "not capable";
    STOPPED = Unavailable, "server stopped";
    TIMEOUT = Unavailable, "request timed out";
    TIMEOUT_LEADER_FAILED = Unavailable, "request timed out, possibly due to previous leader failure";
    TIMEOUT_CONNECTION_LOST = Unavailable, "request timed out, possibly due to connection lost";
    TIMEOUT_WAIT_APPLIED_INDEX = Unavailable, "request timed out, waiting for the applied index took too long";
    UNHEALTHY = Unavailable, "unhealthy cluster";
    CORRUPT = DataLoss, "corrupt cluster";
    NOT_SUPPORTED_FOR_LEARNER = FailedPrecondition, "rpc not supported for learner";
    BAD_LEADER_TRANSFEREE = FailedPrecondition, "bad leader transferee";
    WRONG_DOWNGRADE_VERSION_FORMAT = InvalidArgument, "wrong downgrade target version format";
    INVALID_DOWNGRADE_TARGET_VERSION = InvalidArgument, "invalid downgrade target version";
    CLUSTER_VERSION_UNAVAILABLE = FailedPrecondition, "cluster version not found during downgrade";
    DOWNGRADE_IN_PROCESS = FailedPrecondition, "cluster has a downgrade job in progress";
    NO_INFLIGHT_DOWNGRADE = FailedPrecondition, "no inflight downgrade job";
    CANCELED = Cancelled, "request canceled";
    DEADLINE_EXCEEDED = DeadlineExceeded, "context deadline exceeded";
}

/// An answer of another kind than was asked for: a fault of ours.
pub fn unexpected(response: &Response) -> Status {
    let kind = match response {
        Response::Written(_) => "a write's",
        Response::Answer { .. } => "another read's",
        Response::Alive { .. } => "a keep-alive's",
        Response::TimeLeft { .. } => "another question's",
        Response::Members { .. } => "a membership change's",
        Response::Done => "nobody's",
        Response::Status(_) => "a status",
    };
    Status::internal(format!("the node gave {kind} answer to this request; that is a bug in oarlockd"))
}

/// What the node refuses, in etcd's words.
pub fn status(refusal: &Refusal) -> Status {
    let known = match refusal {
        Refusal::Rejected(rejection) => return rejected(rejection),
        Refusal::NoLeader => NO_LEADER,
        Refusal::Busy { .. } => TOO_MANY_REQUESTS,
        Refusal::NotProposed { .. } => LEADER_CHANGED,
        Refusal::Unknown { .. } | Refusal::TimedOut { .. } => TIMEOUT,
        Refusal::ShuttingDown => STOPPED,
        Refusal::NoSpace { .. }
        | Refusal::OverQuota { .. }
        | Refusal::Alarmed { kind: AlarmKind::NoSpace, .. } => NO_SPACE,
        Refusal::Alarmed { kind: AlarmKind::Corrupt, .. } => CORRUPT,
        Refusal::Lagging { .. } => return Status::resource_exhausted(format!("etcdserver: {refusal}")),
        Refusal::Invalid { .. } => return Status::invalid_argument(format!("etcdserver: {refusal}")),
    };
    known.into()
}

/// What stands in the way of a change of the members, if etcd has a word for it.
fn hindered(obstacle: Obstacle) -> Option<EtcdError> {
    match obstacle {
        Obstacle::Other => None,
        Obstacle::AddressTaken => Some(PEER_URL_EXISTS),
        Obstacle::NoSuchMember => Some(MEMBER_NOT_FOUND),
        Obstacle::NoLearner => Some(MEMBER_NOT_LEARNER),
        Obstacle::LearnerBehind => Some(LEARNER_NOT_READY),
        Obstacle::QuorumLost | Obstacle::NotNow => Some(UNHEALTHY),
        Obstacle::LastVoter => Some(MEMBER_NOT_ENOUGH_STARTED),
    }
}

/// Whether a request was refused because it would return more than one answer of the log holds.
pub fn is_answer_too_large(status: &Status) -> bool {
    let source = std::error::Error::source(status).and_then(|source| source.downcast_ref());
    matches!(source, Some(Rejection::TooLarge { limit: RANGE_BYTES_MAX, .. }))
}

/// Whether this bound is on what is returned or removed, which etcd does not bound, and not on what
/// is sent.
fn is_large_answer(limit: u64) -> bool {
    limit == RANGE_BYTES_MAX || limit == DELETE_RANGE_KEYS_MAX as u64
}

/// What the log, or the state that was read, said no to, in etcd's words.
pub fn rejected(rejection: &Rejection) -> Status {
    let known = match rejection {
        Rejection::KeyEmpty => EMPTY_KEY,
        Rejection::TooLarge { limit, .. } if is_large_answer(*limit) => {
            let mut status = Status::resource_exhausted(format!("etcdserver: {rejection}"));
            status.set_source(Arc::new(rejection.clone()));
            return status;
        }
        Rejection::TooLarge { .. } => REQUEST_TOO_LARGE,
        Rejection::DuplicateKey { .. } => DUPLICATE_KEY,
        Rejection::KeyNotFound { .. } => KEY_NOT_FOUND,
        Rejection::Compacted { .. } => COMPACTED,
        // A negative one, which etcd looks for in the past.
        Rejection::FutureRevision { asked, .. } if asked.get() > i64::MAX.cast_unsigned() => COMPACTED,
        Rejection::FutureRevision { .. } => FUTURE_REVISION,
        Rejection::SessionNotFound { .. } => LEASE_NOT_FOUND,
        Rejection::SessionExists { .. } => LEASE_EXISTS,
        Rejection::MemberNotFound { .. } => MEMBER_NOT_FOUND,
        Rejection::MembershipRefused { obstacle, .. } => match hindered(*obstacle) {
            Some(known) => known,
            None => return Status::failed_precondition(format!("etcdserver: {rejection}")),
        },
        Rejection::Auth(error) => auth(*error),
        // No request of etcd's API leads to these, unless it opted in to exactly-once.
        Rejection::KeyExists { .. }
        | Rejection::BadValue { .. }
        | Rejection::StaleSequence { .. }
        | Rejection::WindowFull { .. }
        | Rejection::Fenced { .. }
        | Rejection::Tree(_)
        | Rejection::Object(_)
        | Rejection::Pool(_) => {
            return Status::failed_precondition(format!("etcdserver: {rejection}"));
        }
    };
    known.into()
}

/// What authentication says no to, in etcd's words.
fn auth(error: AuthError) -> EtcdError {
    match error {
        AuthError::NoToken | AuthError::UserNameEmpty => USER_EMPTY,
        AuthError::Stale => INVALID_AUTH_TOKEN,
        AuthError::PermissionDenied => PERMISSION_DENIED,
        AuthError::NoRootUser => ROOT_USER_NOT_EXIST,
        AuthError::NoRootRole => ROOT_ROLE_NOT_EXIST,
        AuthError::NotEnabled => AUTH_NOT_ENABLED,
        AuthError::Failed => AUTH_FAILED,
        AuthError::UserExists => USER_EXISTS,
        AuthError::UserNotFound => USER_NOT_FOUND,
        AuthError::RoleNameEmpty => ROLE_EMPTY,
        AuthError::RoleExists => ROLE_EXISTS,
        AuthError::RoleNotFound => ROLE_NOT_FOUND,
        AuthError::RoleNotGranted => ROLE_NOT_GRANTED,
        AuthError::PermissionNotGranted => PERMISSION_NOT_GRANTED,
        AuthError::InvalidManagement => INVALID_AUTH_MANAGEMENT,
    }
}
