//! What watchers of a pool learn: the deltas of its routing table. The key of the event is the pool's
//! name.

use crate::ids::{Revision, SessionId};
use crate::pool::{MemberState, Policy};
use bytes::Bytes;

/// What happened to a pool. Why, and at whose request, is in the [event](crate::Event) around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolEvent {
    /// The pool exists from now on.
    Created,
    /// It has another policy.
    PolicySet(Policy),
    /// It exists no longer.
    Deleted,
    /// It is paused, or goes on.
    Paused {
        /// Until then, in milliseconds since 1970; zero when it goes on.
        until_ms: u64,
        /// Why.
        reason: String,
    },
    /// An instance takes part, or said something else about itself.
    Joined {
        /// Its name.
        instance: Bytes,
        /// Its session.
        session: SessionId,
        /// Its failure domain.
        zone: String,
        /// Its share.
        capacity: u32,
        /// Where others reach it.
        address: String,
        /// What it said about itself.
        metadata: Bytes,
    },
    /// A member's session ended; its place is kept.
    Away {
        /// Its name.
        instance: Bytes,
        /// Until then, in milliseconds since 1970.
        until_ms: u64,
    },
    /// An instance takes part no longer.
    Left {
        /// Its name.
        instance: Bytes,
    },
    /// A member may be given something else.
    MemberStateSet {
        /// Its name.
        instance: Bytes,
        /// From now on.
        state: MemberState,
    },
    /// There is a shard.
    ShardAdded {
        /// The shard.
        shard: Bytes,
        /// Its weight.
        weight: u32,
    },
    /// A shard is to go as soon as it is released.
    ShardRetired {
        /// The shard.
        shard: Bytes,
    },
    /// A shard is gone.
    ShardRemoved {
        /// The shard.
        shard: Bytes,
    },
    /// A shard's weight, load or pin is another.
    ShardTuned {
        /// The shard.
        shard: Bytes,
        /// Its weight.
        weight: u32,
        /// Its reported load, or zero.
        load: u32,
        /// Where it has to be.
        pin: Option<Bytes>,
    },
    /// A primary is owned from now on.
    Granted {
        /// The shard.
        shard: Bytes,
        /// By whom.
        instance: Bytes,
        /// Its session.
        session: SessionId,
        /// The epoch: the event's revision.
        epoch: Revision,
    },
    /// A planned move began: the target warms up.
    Preparing {
        /// The shard.
        shard: Bytes,
        /// Who has it.
        from: Bytes,
        /// Who is to have it.
        to: Bytes,
        /// When the target is late, in milliseconds since 1970.
        deadline_ms: u64,
    },
    /// The target is warm: the owner is to let go.
    Draining {
        /// The shard.
        shard: Bytes,
        /// Who has it.
        from: Bytes,
        /// Who is to have it; empty when the shard is retired.
        to: Bytes,
        /// When the owner is late, in milliseconds since 1970.
        deadline_ms: u64,
    },
    /// A planned move was given up.
    MoveCancelled {
        /// The shard.
        shard: Bytes,
        /// Who was to have it.
        to: Bytes,
    },
    /// A primary is not owned under this epoch any more.
    Lost {
        /// The shard.
        shard: Bytes,
        /// By whom.
        instance: Bytes,
        /// The epoch, which is not current any more.
        epoch: Revision,
        /// Why.
        loss: ShardLoss,
        /// Until when it is withheld, in milliseconds since 1970; 0 for not at all, `u64::MAX` for
        /// until it is forced.
        withheld_until_ms: u64,
    },
    /// A primary is withheld no longer.
    Available {
        /// The shard.
        shard: Bytes,
    },
    /// A member is to keep a copy.
    SecondaryAdded {
        /// The shard.
        shard: Bytes,
        /// The member.
        instance: Bytes,
        /// Its session.
        session: SessionId,
        /// The event's revision.
        epoch: Revision,
    },
    /// A copy is warm.
    SecondaryReady {
        /// The shard.
        shard: Bytes,
        /// The member.
        instance: Bytes,
    },
    /// A member keeps a copy no longer.
    SecondaryDropped {
        /// The shard.
        shard: Bytes,
        /// The member.
        instance: Bytes,
    },
}

/// Why a primary was lost. The numbers are part of the history format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ShardLoss {
    /// Its owner released it.
    Released = 0,
    /// Its owner's session timed out.
    Expired = 1,
    /// Its owner's session was closed, or its owner left the pool.
    Closed = 2,
    /// An operator took it away.
    Forced = 3,
    /// A planned move came to its end: the owner released it to the target.
    Moved = 4,
}

impl ShardLoss {
    /// The loss of this number; `None` for one of a later format.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Released,
            1 => Self::Expired,
            2 => Self::Closed,
            3 => Self::Forced,
            4 => Self::Moved,
            5.. => return None,
        })
    }
}
