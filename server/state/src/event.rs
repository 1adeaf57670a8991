//! What watchers may learn. Derived from one apply, never announced from inside it.

use crate::ids::{Revision, SessionId};
use crate::object::ObjectEvent;
use crate::pool::PoolEvent;
use bytes::Bytes;

/// One change of one key, znode, object or pool. All events of one transaction share its revision and are
/// numbered by `sub` from 0 in the order in which the transaction made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which keyspace changed.
    pub keyspace: Keyspace,
    /// Revision of the transaction.
    pub revision: Revision,
    /// Position within the transaction.
    pub sub: u32,
    /// The key, the znode's path, or the object's or pool's name.
    pub key: Bytes,
    /// Put or delete, with the record as it was left.
    pub kind: EventKind,
    /// Why it changed.
    pub cause: Cause,
    /// The session that asked for the change, or that ended; zero when there was none.
    pub session: SessionId,
    /// The revision and position of the event that this one superseded, if the key existed. Its
    /// record is the previous value, readable from history until it is compacted.
    pub previous: Option<(Revision, u32)>,
}

/// The flat divisions of the data that can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keyspace {
    /// Flat keys.
    Kv,
    /// Znodes.
    Tree,
    /// Locks and elections.
    Object,
    /// Shard pools.
    Pool,
}

/// What happened to the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Created or changed.
    Put {
        /// The new value.
        value: Bytes,
        /// Revision at which this generation of the key was created. Equal to the event's revision
        /// when the event created it.
        create_revision: Revision,
        /// Changes since creation, from 1.
        version: u64,
        /// Owner session of an ephemeral key; zero when persistent.
        owner: SessionId,
    },
    /// Removed.
    Delete,
    /// A znode's children changed (created, removed); the event's key is the parent. Tree only.
    Children,
    /// Something happened to a lock or an election. Object only.
    Object(ObjectEvent),
    /// Something happened to a shard pool. Pool only.
    Pool(PoolEvent),
}

/// Why a change happened. The numbers are part of the history format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cause {
    /// A client asked for it.
    Request = 0,
    /// The owner session timed out.
    Expired = 1,
    /// The owner session was closed or revoked.
    Closed = 2,
    /// A time-to-live ran out.
    TimedOut = 3,
    /// An operator's act.
    Admin = 4,
}

impl Cause {
    /// The cause of this number; `None` for a number of a later format.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Request,
            1 => Self::Expired,
            2 => Self::Closed,
            3 => Self::TimedOut,
            4 => Self::Admin,
            5.. => return None,
        })
    }
}
