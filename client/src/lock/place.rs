//! What is known of objects and of those who hold them or wait for them.

use super::claim::{Claim, unix_ms};
use bytes::Bytes;
use oarlock_proto::v1;
use std::fmt;
use std::time::SystemTime;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// One holder.
    Mutex,
    /// Many readers or one writer.
    ReadWrite,
    /// Holders whose weights add up to no more than the capacity.
    Semaphore {
        /// The capacity.
        capacity: u64,
    },
    /// One leader among candidates.
    Election,
}

impl From<v1::ObjectKind> for ObjectKind {
    fn from(wire: v1::ObjectKind) -> Self {
        use v1::object_kind::Kind;
        match wire.kind() {
            Kind::Mutex => Self::Mutex,
            Kind::ReadWrite => Self::ReadWrite,
            Kind::Semaphore => Self::Semaphore { capacity: wire.capacity },
            Kind::Election => Self::Election,
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mutex => f.write_str("mutex"),
            Self::ReadWrite => f.write_str("read/write lock"),
            Self::Semaphore { capacity } => write!(f, "semaphore of {capacity}"),
            Self::Election => f.write_str("election"),
        }
    }
}

/// How much of an object somebody holds or wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of it.
    Exclusive,
    /// Beside others that read.
    Shared,
    /// This much of a semaphore.
    Weight(u64),
}

impl From<v1::HoldMode> for Mode {
    fn from(wire: v1::HoldMode) -> Self {
        match wire.mode() {
            v1::hold_mode::Mode::Exclusive => Self::Exclusive,
            v1::hold_mode::Mode::Shared => Self::Shared,
            v1::hold_mode::Mode::Weight => Self::Weight(wire.weight),
        }
    }
}

/// What a place has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceState {
    /// It waits behind so many others.
    Waiting {
        /// From 0, the head of the queue.
        position: u64,
    },
    /// It holds.
    Holding {
        /// The revision of the fencing token.
        token: u64,
        /// When it was granted, by the servers' clock.
        since: SystemTime,
    },
    /// Its session expired; nobody else is granted its part yet.
    Withheld {
        /// Until when, by the servers' clock.
        until: SystemTime,
    },
}

impl From<v1::PlaceState> for PlaceState {
    fn from(wire: v1::PlaceState) -> Self {
        use v1::place_state::State;
        match wire.state {
            Some(State::Holding(holding)) => {
                Self::Holding { token: holding.token, since: unix_ms(holding.granted_unix_ms) }
            }
            Some(State::Withheld(withheld)) => Self::Withheld { until: unix_ms(withheld.until_unix_ms) },
            Some(State::Waiting(waiting)) => Self::Waiting { position: waiting.position },
            None => Self::Waiting { position: 0 },
        }
    }
}

/// A hold, or a place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub claim: Claim,
    /// How it holds, or wants to.
    pub mode: Mode,
    /// Revision in which it arrived: its place in the order.
    pub ticket: u64,
    /// When it arrived, by the servers' clock.
    pub since: SystemTime,
    /// Its priority in an election.
    pub priority: u32,
    /// What it said about itself; a candidate's value.
    pub metadata: Bytes,
    /// For how many milliseconds others wait if its session expires.
    pub lock_delay_ms: u64,
    /// All objects that it wants together; empty for a single one.
    pub together_with: Vec<Bytes>,
    /// What it has come to.
    pub state: PlaceState,
}

impl From<v1::ObjectPlace> for Place {
    fn from(wire: v1::ObjectPlace) -> Self {
        Self {
            claim: wire.claim.unwrap_or_default().into(),
            mode: wire.mode.unwrap_or_default().into(),
            ticket: wire.ticket,
            since: unix_ms(wire.since_unix_ms),
            priority: wire.priority,
            metadata: wire.metadata,
            lock_delay_ms: wire.lock_delay_ms,
            together_with: wire.together_with,
            state: wire.state.unwrap_or_default().into(),
        }
    }
}

/// An object in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSummary {
    /// Its name.
    pub name: Bytes,
    /// What it is.
    pub kind: ObjectKind,
    /// Revision that created it.
    pub created: u64,
    /// The sum of the weights held and withheld.
    pub used: u64,
    /// How many hold it.
    pub holders: u64,
    /// How many holds of expired sessions are withheld.
    pub withheld: u64,
    /// How many wait.
    pub waiters: u64,
}

impl From<v1::ObjectSummary> for ObjectSummary {
    fn from(wire: v1::ObjectSummary) -> Self {
        let v1::ObjectSummary { name, kind, created, used, holders, withheld, waiters } = wire;
        Self { name, kind: kind.unwrap_or_default().into(), created, used, holders, withheld, waiters }
    }
}

/// An object at length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The numbers.
    pub summary: ObjectSummary,
    /// By token.
    pub holders: Vec<Place>,
    /// What expired sessions held and nobody may have yet.
    pub withheld: Vec<Place>,
    /// First come first.
    pub queue: Vec<Place>,
    /// Something was left out, for its size.
    pub more: bool,
}

impl From<v1::ObjectInfo> for ObjectInfo {
    fn from(wire: v1::ObjectInfo) -> Self {
        let places = |places: Vec<v1::ObjectPlace>| places.into_iter().map(Into::into).collect();
        Self {
            summary: wire.summary.unwrap_or_default().into(),
            holders: places(wire.holders),
            withheld: places(wire.withheld),
            queue: places(wire.queue),
            more: wire.more,
        }
    }
}

/// Who waits for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitGraph {
    /// One for each thing that keeps a claim waiting.
    pub edges: Vec<Wait>,
    /// Sessions that wait for each other in a circle: a deadlock, unless the requests of one session
    /// are independent of each other.
    pub circles: Vec<Vec<u64>>,
    /// The graph is larger than one answer.
    pub more: bool,
}

/// One claim waits for another at an object.
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

impl From<v1::WaitGraph> for WaitGraph {
    fn from(wire: v1::WaitGraph) -> Self {
        let edge = |edge: v1::wait_graph::Wait| Wait {
            name: edge.name,
            waiter: edge.waiter.unwrap_or_default().into(),
            blocker: edge.blocker.unwrap_or_default().into(),
            state: edge.state.unwrap_or_default().into(),
        };
        Self {
            edges: wire.edges.into_iter().map(edge).collect(),
            circles: wire.circles.into_iter().map(|circle| circle.sessions).collect(),
            more: wire.more,
        }
    }
}
