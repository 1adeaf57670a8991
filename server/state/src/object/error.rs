//! Refusals of objects.

use crate::ids::Revision;
use crate::limits::{
    ACQUIRE_PARTS_MAX, CAPACITY_MAX, LOCK_DELAY_MS_MAX, METADATA_BYTES_MAX, OBJECT_NAME_BYTES_MAX,
    OBJECT_TEXT_BYTES_MAX, WAITERS_MAX,
};
use crate::object::{Claim, ObjectKind};
use bytes::Bytes;
use thiserror::Error;

/// Why an operation on an object was refused. Nothing changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ObjectError {
    /// The request itself cannot be right.
    #[error("{fault}")]
    BadRequest {
        /// What is wrong with it.
        fault: Fault,
    },
    /// The object exists as something else.
    #[error(
        "object {} exists as {exists}, and this asks for {asked}; use another name, or wait until it is empty",
        shown(name)
    )]
    Mismatch {
        /// The object.
        name: Bytes,
        /// What it is.
        exists: ObjectKind,
        /// What was asked for.
        asked: ObjectKind,
    },
    /// It cannot be granted at once, and the caller does not wait.
    #[error("object {} is taken; ask again, or wait in its queue", shown(name))]
    Busy {
        /// The object, or the first of several.
        name: Bytes,
    },
    /// Too many wait.
    #[error(
        "{} requests wait for object {} already, which is the most allowed; try later",
        WAITERS_MAX,
        shown(name)
    )]
    QueueFull {
        /// The object.
        name: Bytes,
    },
    /// The claim has a place there already, but for something else.
    #[error(
        "{claim} has asked for object {} already, and otherwise; use another request number",
        shown(name)
    )]
    ClaimInUse {
        /// The object.
        name: Bytes,
        /// The claim.
        claim: Claim,
    },
    /// The claim does not hold the object under this token.
    #[error(
        "{claim} does not hold object {} under token {token}: it was released or lost; acquire it again",
        shown(name)
    )]
    NotHeld {
        /// The object.
        name: Bytes,
        /// The claim.
        claim: Claim,
        /// The token.
        token: Revision,
    },
    /// The claim does not wait there.
    #[error("{claim} neither waits for object {} nor holds it", shown(name))]
    NotWaiting {
        /// The object.
        name: Bytes,
        /// The claim.
        claim: Claim,
    },
    /// The claim does not wait any more: it holds the object.
    #[error("{claim} was granted object {} under token {token}; release it instead", shown(name))]
    AlreadyGranted {
        /// The object.
        name: Bytes,
        /// The claim.
        claim: Claim,
        /// The hold's token.
        token: Revision,
    },
    /// Nobody holds the object.
    #[error("object {} does not exist, or nobody holds it", shown(name))]
    NotFound {
        /// The object.
        name: Bytes,
    },
    /// An upgrade beside other readers.
    #[error(
        "object {} is shared with others; release it and acquire it exclusively, or wait until they are gone",
        shown(name)
    )]
    Shared {
        /// The object.
        name: Bytes,
    },
    /// The operation is not for objects of this kind.
    #[error("object {} is of the kind {kind}, which has no such operation", shown(name))]
    WrongKind {
        /// The object.
        name: Bytes,
        /// What it is.
        kind: ObjectKind,
    },
    /// The lead was to go to someone who is no candidate.
    #[error("{claim} is no candidate of election {}; choose one that waits", shown(name))]
    NotCandidate {
        /// The election.
        name: Bytes,
        /// The one chosen.
        claim: Claim,
    },
}

/// What makes a request impossible. The numbers are part of the format of remembered outcomes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// The name of an object.
    #[error("an object's name has 1 to {OBJECT_NAME_BYTES_MAX} bytes, none of them zero")]
    Name = 0,
    /// How many objects are named.
    #[error("1 to {ACQUIRE_PARTS_MAX} objects may be named at once")]
    Count = 1,
    /// A name comes twice.
    #[error("an object is named twice in one request")]
    NamedTwice = 2,
    /// A semaphore's capacity.
    #[error("a semaphore's capacity is 1 to {CAPACITY_MAX}")]
    Capacity = 3,
    /// The mode does not suit the kind.
    #[error(
        "a mutex and an election are held exclusively, a read/write lock shared or exclusively, a semaphore by weight"
    )]
    Mode = 4,
    /// A weight.
    #[error("a weight is 1 to the semaphore's capacity")]
    Weight = 5,
    /// An election among several objects.
    #[error("only locks can be acquired together; ask for the lead of an election alone")]
    ElectionAmongSeveral = 6,
    /// Priority or preemption for a lock.
    #[error("only an election has priorities and preemption; a lock's queue is in order of arrival")]
    Priority = 7,
    /// Too much metadata.
    #[error("metadata has at most {METADATA_BYTES_MAX} bytes")]
    Metadata = 8,
    /// A lock-delay.
    #[error("a lock-delay is at most {LOCK_DELAY_MS_MAX} ms")]
    LockDelay = 9,
    /// The texts of a request for revocation.
    #[error("who asks for a revocation, and why, have at most {OBJECT_TEXT_BYTES_MAX} bytes each")]
    Text = 10,
}

impl Fault {
    /// All, by number.
    pub const ALL: [Self; 11] = [
        Self::Name,
        Self::Count,
        Self::NamedTwice,
        Self::Capacity,
        Self::Mode,
        Self::Weight,
        Self::ElectionAmongSeveral,
        Self::Priority,
        Self::Metadata,
        Self::LockDelay,
        Self::Text,
    ];
}

impl From<Fault> for ObjectError {
    fn from(fault: Fault) -> Self {
        Self::BadRequest { fault }
    }
}

fn shown(name: &[u8]) -> String {
    crate::command::shown(name)
}
