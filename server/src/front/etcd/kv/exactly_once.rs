//! Exactly-once writes for clients of etcd's API that opt in by the metadata of their calls.
//!
//! A client with a lease names its writes by the lease's id (a lease is a session) and a sequence
//! that it counts up from 1; one without sends an idempotency key. A repeated request changes
//! nothing and is answered as it was the first time; `oarlock-repeated` on the answer tells.

use super::answer::Done;
use crate::node::request::Write;
use oarlock_state::command::IdempotencyKey;
use oarlock_state::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use oarlock_state::{RequestId, SessionId};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};

/// The session, which is a lease's id: decimal, or hexadecimal after `0x`.
const SESSION: &str = "oarlock-session";
/// The write's number among those of its session, from 1.
const SEQUENCE: &str = "oarlock-sequence";
/// The client has the outcomes of all writes up to this one.
const ACKED: &str = "oarlock-acked";
/// A name of the client's own choice, for those without a session.
const IDEMPOTENCY_KEY: &str = "oarlock-idempotency-key";
/// For how many milliseconds it is remembered.
const IDEMPOTENCY_RETAIN: &str = "oarlock-idempotency-retain-ms";
/// On an answer: it is that of an earlier request of the same name.
const REPEATED: &str = "oarlock-repeated";
/// How long an idempotency key is remembered unless the client says otherwise, in milliseconds:
/// longer than any client retries.
const RETAIN_MS: u64 = 15 * 60 * 1000;

/// The name of a write, if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    request: Option<RequestId>,
    idempotency: Option<IdempotencyKey>,
}

impl Name {
    /// The name that the metadata of a call gives its write.
    ///
    /// # Errors
    /// The metadata names it incompletely, twice, or with something that is not a number.
    pub fn of(metadata: &MetadataMap) -> Result<Self, Status> {
        let request = request_id(metadata)?;
        let idempotency = idempotency(metadata)?;
        if request.is_some() && idempotency.is_some() {
            return Err(invalid(format!(
                "the request is named twice, by {SESSION} and by {IDEMPOTENCY_KEY}; it can have one name"
            )));
        }
        Ok(Self { request, idempotency })
    }

    /// Whether the write has no name.
    pub fn is_none(&self) -> bool {
        self.request.is_none() && self.idempotency.is_none()
    }

    /// The write under this name.
    pub fn on(self, write: Write) -> Write {
        Write { request: self.request, idempotency: self.idempotency, ..write }
    }
}

/// Marks the answer to a repeated request.
pub fn marked<T>(mut response: Response<T>, repeated: bool) -> Response<T> {
    if repeated {
        response.metadata_mut().insert(REPEATED, MetadataValue::from_static("true"));
    }
    response
}

/// Refuses to make up the results of a repeated request that were too large to remember: clients
/// would take them for the truth. That it was executed, and at which revision, is told.
///
/// # Errors
/// They were.
pub fn remembered(done: &Done, operations: usize) -> Result<(), Status> {
    if !done.repeated || done.txn.results.len() == operations {
        return Ok(());
    }
    let held = if done.txn.succeeded { "held" } else { "did not hold" };
    let mut status = Status::failed_precondition(format!(
        "etcdserver: this request was executed before, at revision {}, and its results were too large to \
         remember; its comparisons {held}. Read what it changed",
        done.revision
    ));
    status.metadata_mut().insert(REPEATED, MetadataValue::from_static("true"));
    Err(status)
}

fn request_id(metadata: &MetadataMap) -> Result<Option<RequestId>, Status> {
    let (session, sequence) = (text(metadata, SESSION)?, text(metadata, SEQUENCE)?);
    let (session, sequence) = match (session, sequence) {
        (None, None) => return Ok(None),
        (Some(session), Some(sequence)) => (session_id(session)?, number(SEQUENCE, sequence)?),
        (Some(_), None) | (None, Some(_)) => {
            return Err(invalid(format!("{SESSION} and {SEQUENCE} name a request together; one is missing")));
        }
    };
    if sequence == 0 {
        return Err(invalid(format!("{SEQUENCE} is 0; a session's requests count from 1")));
    }
    let acked_up_to = text(metadata, ACKED)?.map_or(Ok(0), |text| number(ACKED, text))?;
    if acked_up_to >= sequence {
        return Err(invalid(format!(
            "{ACKED} {acked_up_to} covers the request's own {SEQUENCE} {sequence}; a request cannot \
             acknowledge itself"
        )));
    }
    Ok(Some(RequestId { session, sequence, acked_up_to }))
}

fn idempotency(metadata: &MetadataMap) -> Result<Option<IdempotencyKey>, Status> {
    let Some(key) = metadata.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let length = key.as_bytes().len();
    if length == 0 || length > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(invalid(format!(
            "{IDEMPOTENCY_KEY} has {length} bytes; it must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX}"
        )));
    }
    let retain = text(metadata, IDEMPOTENCY_RETAIN)?;
    let retain_ms = retain.map_or(Ok(RETAIN_MS), |text| number(IDEMPOTENCY_RETAIN, text))?;
    if retain_ms == 0 {
        return Err(invalid(format!("{IDEMPOTENCY_RETAIN} is 0; say for how long it is to be remembered")));
    }
    let key = bytes::Bytes::copy_from_slice(key.as_bytes());
    Ok(Some(IdempotencyKey { key, retain_ms }))
}

fn session_id(text: &str) -> Result<SessionId, Status> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        // As a lease's id it may be written with a sign.
        None => text.parse().ok().or_else(|| text.parse().ok().map(i64::cast_unsigned)),
    };
    parsed.filter(|session| *session != 0).map(SessionId).ok_or_else(|| {
        invalid(format!("{SESSION} is {text:?}; it must be a lease's id, decimal, or hexadecimal after 0x"))
    })
}

fn number(name: &str, text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| invalid(format!("{name} is {text:?}; it must be a decimal number")))
}

fn text<'m>(metadata: &'m MetadataMap, name: &str) -> Result<Option<&'m str>, Status> {
    let value = metadata.get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| invalid(format!("{name} is not printable ASCII")))
}

fn invalid(what: String) -> Status {
    Status::invalid_argument(format!("etcdserver: {what}"))
}
