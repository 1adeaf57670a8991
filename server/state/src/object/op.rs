//! Requests that change objects.

use crate::ids::{Revision, SessionId};
use crate::limits::HOLDERS_MAX;
use bytes::Bytes;
use std::fmt;

/// Who asks. The same claim asked again finds its own place, so a repetition is harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The session; its end gives up every hold and every place in a queue.
    pub session: SessionId,
    /// The caller's own number within the session: one for each activity that must exclude others.
    pub request: u64,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {} of session {}", self.request, self.session)
    }
}

/// What an object is. Fixed by whoever creates it, until it is empty again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// One holder.
    Mutex,
    /// Many readers or one writer.
    ReadWrite,
    /// Holders whose weights add up to no more than the capacity.
    Semaphore {
        /// From 1 to [`CAPACITY_MAX`](crate::limits::CAPACITY_MAX).
        capacity: u64,
    },
    /// One leader among candidates with priorities.
    Election,
}

impl ObjectKind {
    /// The sum of weights that may be held at once.
    pub const fn capacity(self) -> u64 {
        match self {
            Self::Mutex | Self::Election => 1,
            Self::ReadWrite => HOLDERS_MAX,
            Self::Semaphore { capacity } => capacity,
        }
    }

    /// The weight of a hold; `None` if this kind has no such mode.
    pub const fn weight(self, mode: Mode) -> Option<u64> {
        match (self, mode) {
            (Self::Mutex | Self::Election | Self::ReadWrite, Mode::Exclusive) => Some(self.capacity()),
            (Self::ReadWrite, Mode::Shared) => Some(1),
            (Self::Semaphore { .. }, Mode::Weight(weight)) => Some(weight),
            (Self::Mutex | Self::Election | Self::ReadWrite, _) | (Self::Semaphore { .. }, _) => None,
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mutex => f.write_str("mutex"),
            Self::ReadWrite => f.write_str("read/write lock"),
            Self::Semaphore { capacity } => write!(f, "semaphore of capacity {capacity}"),
            Self::Election => f.write_str("election"),
        }
    }
}

/// How much of an object a hold takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of it. The only mode of a mutex and of an election.
    Exclusive,
    /// Beside others that share. Read/write locks only.
    Shared,
    /// This much of a semaphore, at least 1.
    Weight(u64),
}

/// One object of an [`Acquire`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Up to [`OBJECT_NAME_BYTES_MAX`](crate::limits::OBJECT_NAME_BYTES_MAX) bytes, no zero byte.
    pub name: Bytes,
    /// What it must be, or is to be created as.
    pub kind: ObjectKind,
    /// How to hold it.
    pub mode: Mode,
}

/// Ask for one lock, for several at once, or for the lead of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// One object, or several locks: all are granted together, or none. Their order is of no
    /// importance, and no name may come twice.
    pub parts: Vec<Part>,
    /// Who asks.
    pub claim: Claim,
    /// Wait in the queue. Otherwise refused with [`Busy`](super::ObjectError::Busy) when it cannot be
    /// granted at once.
    pub wait: bool,
    /// Shown to others. The value of an election's candidate.
    pub metadata: Bytes,
    /// Higher leads first; zero for locks.
    pub priority: u32,
    /// Take the lead from a leader of lower priority instead of waiting for a vacancy. Elections only.
    pub preempt: bool,
    /// For how many milliseconds nobody else is granted what this claim holds if its session expires.
    pub lock_delay_ms: u64,
}

/// A hold, as its holder knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The object.
    pub name: Bytes,
    /// The holder.
    pub claim: Claim,
    /// The hold's token; refused if it is not current.
    pub token: Revision,
}

/// What may be done with objects. One transaction each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectOp {
    /// Ask for locks or for the lead.
    Acquire(Acquire),
    /// Give holds up (locks), or resign (elections): all of them in one revision, or none.
    Release {
        /// At least one.
        holds: Vec<Held>,
    },
    /// Leave the queue, and all queues of the same acquire. Refused, with the token, once granted.
    Cancel {
        /// The object, or one of several.
        name: Bytes,
        /// Who waits.
        claim: Claim,
    },
    /// From exclusive to shared. The token stays.
    Downgrade(Held),
    /// From shared to exclusive, for the only reader. Gives a new token, above the old one.
    Upgrade(Held),
    /// Let the holders know that someone wants the object. Changes nothing else.
    RequestRevocation {
        /// The object.
        name: Bytes,
        /// Who asks, for people.
        by: String,
        /// Why, for people.
        reason: String,
    },
    /// An operator's act: take a hold away, or a place in the queue, whatever its token.
    Revoke {
        /// The object.
        name: Bytes,
        /// Whose.
        claim: Claim,
    },
    /// Change what [`Acquire::lock_delay_ms`] said.
    SetLockDelay {
        /// The hold.
        held: Held,
        /// Milliseconds.
        lock_delay_ms: u64,
    },
    /// Change the metadata of a hold: the value of a leader.
    Proclaim {
        /// The hold.
        held: Held,
        /// The new metadata.
        metadata: Bytes,
    },
    /// Give the lead to a chosen candidate, and stand again behind those of one's own priority.
    Handoff {
        /// The leader's hold.
        held: Held,
        /// A candidate that waits.
        to: Claim,
    },
    /// Let go of what was withheld and is due at the entry's stamp, a bounded number of holds. The
    /// leader proposes it when [`ObjectQuery::NextDue`](super::ObjectQuery::NextDue) says so; without
    /// anything due it changes nothing.
    Elapse,
}
