//! What objects answer.

use crate::ids::{Revision, SessionId};
use crate::object::{Claim, Mode, ObjectKind};
use bytes::Bytes;

/// Answers to operations and questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectReply {
    /// Done; nothing to say.
    Done,
    /// The claim holds everything that it asked for.
    Granted {
        /// The fencing token, the same for all objects of one acquire.
        token: Revision,
    },
    /// The claim waits.
    Queued {
        /// Its ticket, the same in all queues.
        ticket: Revision,
        /// For each object, in order of name, how many wait before it.
        ahead: Vec<(Bytes, u64)>,
    },
    /// An object.
    Described(ObjectInfo),
    /// Objects.
    Listed {
        /// In order of name.
        objects: Vec<Summary>,
        /// There are more.
        more: bool,
    },
    /// What a session has.
    OfSession {
        /// Each with the object's name; holds first, then places in queues.
        places: Vec<(Bytes, PlaceInfo)>,
        /// There are more than one answer carries.
        more: bool,
    },
    /// Who waits for whom.
    Why(WaitGraph),
    /// When something is due, in milliseconds since 1970; `None` if nothing is withheld.
    NextDue(Option<u64>),
}

/// An object in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub name: Bytes,
    /// What it is.
    pub kind: ObjectKind,
    /// Revision that created it.
    pub created: Revision,
    /// The sum of the weights held and withheld.
    pub used: u64,
    /// How many hold it.
    pub holders: u64,
    /// How many holds of expired sessions are withheld.
    pub withheld: u64,
    /// How many wait.
    pub waiters: u64,
}

/// An object at length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The numbers.
    pub summary: Summary,
    /// By token.
    pub holders: Vec<PlaceInfo>,
    /// What expired sessions held and nobody may have yet.
    pub withheld: Vec<PlaceInfo>,
    /// The queue from the position asked for, first come first.
    pub queue: Vec<PlaceInfo>,
    /// Something was left out, for the limit or for its size.
    pub more: bool,
}

/// A hold, or a place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceInfo {
    /// Whose.
    pub claim: Claim,
    /// How it holds, or wants to.
    pub mode: Mode,
    /// Revision in which it arrived.
    pub ticket: Revision,
    /// Stamp of its arrival, in milliseconds since 1970.
    pub since_ms: u64,
    /// Priority in an election.
    pub priority: u32,
    /// What it said about itself.
    pub metadata: Bytes,
    /// How long others wait if its session expires.
    pub lock_delay_ms: u64,
    /// All objects of its acquire; empty for a single one.
    pub together_with: Vec<Bytes>,
    /// What it has come to.
    pub state: PlaceState,
}

/// What a place has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceState {
    /// It waits.
    Waiting {
        /// From 0, the head of the queue.
        position: u64,
    },
    /// It holds.
    Holding {
        /// The fencing token.
        token: Revision,
        /// Stamp of the grant, in milliseconds since 1970.
        granted_ms: u64,
    },
    /// Its session expired; nobody else is granted its weight yet.
    Withheld {
        /// Stamp at which that ends, in milliseconds since 1970.
        until_ms: u64,
    },
}

/// Who waits for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitGraph {
    /// One for each thing that keeps a claim waiting.
    pub edges: Vec<Wait>,
    /// Sessions that wait for each other in a circle. For locks this is a deadlock unless the
    /// session's requests are independent of each other; each edge names the requests.
    pub circles: Vec<Vec<SessionId>>,
    /// The graph is larger than one answer.
    pub more: bool,
}

/// One claim waits for another in the queue of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The object.
    pub name: Bytes,
    /// Who waits.
    pub waiter: Claim,
    /// For whom.
    pub blocker: Claim,
    /// What the blocker has there.
    pub state: PlaceState,
}
