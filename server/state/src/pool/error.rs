//! Refusals of pools.

use crate::ids::{Revision, SessionId};
use crate::limits::{
    LOCK_DELAY_MS_MAX, METADATA_BYTES_MAX, OBJECT_NAME_BYTES_MAX, OBJECT_TEXT_BYTES_MAX, POOL_DELAY_MS_MAX,
    POOL_MEMBERS_MAX, POOL_PAUSE_MS_MAX, POOL_SHARDS_MAX, POOL_STEPS_MAX, SECONDARIES_MAX,
    SHARD_NAME_BYTES_MAX,
};
use bytes::Bytes;
use thiserror::Error;

/// Why an operation on a pool was refused. Nothing changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PoolError {
    /// The request itself cannot be right.
    #[error("{fault}")]
    BadRequest {
        /// What is wrong with it.
        fault: PoolFault,
    },
    /// There is a pool of that name, and it is not the same.
    #[error(
        "pool {} exists already, with other shards or another policy; use another name, or change its policy",
        shown(pool)
    )]
    PoolExists {
        /// The pool.
        pool: Bytes,
    },
    /// There is no such pool.
    #[error("pool {} does not exist; create it first", shown(pool))]
    PoolNotFound {
        /// The pool.
        pool: Bytes,
    },
    /// Somebody takes part, or has shards withheld.
    #[error(
        "pool {} has members, or shards that are withheld; stop its members first, or force it",
        shown(pool)
    )]
    NotEmpty {
        /// The pool.
        pool: Bytes,
    },
    /// The shards of a pool of slots are fixed.
    #[error(
        "pool {} has a fixed number of slots; only a pool of named shards gains and loses some",
        shown(pool)
    )]
    FixedShards {
        /// The pool.
        pool: Bytes,
    },
    /// No room for more members.
    #[error(
        "pool {} has {POOL_MEMBERS_MAX} members, which is the most allowed; wait until one is gone, or use another pool",
        shown(pool)
    )]
    TooManyMembers {
        /// The pool.
        pool: Bytes,
    },
    /// No room for more shards.
    #[error(
        "pool {} would have more than {POOL_SHARDS_MAX} shards, which is the most allowed; use another pool",
        shown(pool)
    )]
    TooManyShards {
        /// The pool.
        pool: Bytes,
    },
    /// There is no such shard.
    #[error("pool {} has no shard {}", shown(pool), shown(shard))]
    ShardNotFound {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
    },
    /// There is no such member.
    #[error("pool {} has no member {}", shown(pool), shown(instance))]
    MemberNotFound {
        /// The pool.
        pool: Bytes,
        /// The instance.
        instance: Bytes,
    },
    /// Another session has the instance's name.
    #[error(
        "instance {} takes part in pool {} under session {session}; end that session, or use another name",
        shown(instance),
        shown(pool)
    )]
    InstanceInUse {
        /// The pool.
        pool: Bytes,
        /// The instance.
        instance: Bytes,
        /// Whose it is.
        session: SessionId,
    },
    /// The instance does not take part under this session.
    #[error(
        "instance {} does not take part in pool {} under session {session}: it left, or its session ended; join again",
        shown(instance),
        shown(pool)
    )]
    NotMember {
        /// The pool.
        pool: Bytes,
        /// The instance.
        instance: Bytes,
        /// The session.
        session: SessionId,
    },
    /// The instance does not own the shard under this epoch.
    #[error(
        "shard {} of pool {} is not owned under epoch {epoch}: it was released or lost; stop working on it",
        shown(shard),
        shown(pool)
    )]
    NotOwned {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
        /// The epoch.
        epoch: Revision,
    },
    /// The plan was made for another state.
    #[error(
        "the plan for pool {} was made at revision {basis}, and the pool changed at {changed}; make it anew",
        shown(pool)
    )]
    Stale {
        /// The pool.
        pool: Bytes,
        /// What the plan was made for.
        basis: Revision,
        /// What is true.
        changed: Revision,
    },
    /// A step of a plan, or an operator's order, is not safe or not allowed.
    #[error("shard {} of pool {}: {fault}", shown(shard), shown(pool))]
    Step {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
        /// Why.
        fault: StepFault,
    },
}

/// What makes a request impossible. The numbers are part of the format of remembered outcomes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[repr(u8)]
pub enum PoolFault {
    /// The name of a pool.
    #[error("a pool's name has 1 to {OBJECT_NAME_BYTES_MAX} bytes, none of them zero")]
    PoolName = 0,
    /// The name of a shard.
    #[error("a shard's name has 1 to {SHARD_NAME_BYTES_MAX} bytes, none of them zero")]
    ShardName = 1,
    /// The name of an instance.
    #[error("an instance's name has 1 to {OBJECT_NAME_BYTES_MAX} bytes, none of them zero")]
    InstanceName = 2,
    /// How many slots.
    #[error("a pool has 1 to {POOL_SHARDS_MAX} slots")]
    Slots = 3,
    /// How many things are named.
    #[error("1 to {POOL_STEPS_MAX} shards or steps may be named at once")]
    Count = 4,
    /// A weight.
    #[error("a shard's weight is at least 1")]
    Weight = 5,
    /// A capacity.
    #[error("a member's capacity is at least 1")]
    Capacity = 6,
    /// Too much metadata.
    #[error("metadata has at most {METADATA_BYTES_MAX} bytes")]
    Metadata = 7,
    /// A text.
    #[error("a zone, an address and a reason have at most {OBJECT_TEXT_BYTES_MAX} bytes each")]
    Text = 8,
    /// How many secondaries.
    #[error("a shard has at most {SECONDARIES_MAX} secondaries")]
    Secondaries = 9,
    /// A lock-delay.
    #[error("a lock-delay is at most {LOCK_DELAY_MS_MAX} ms")]
    LockDelay = 10,
    /// A reassign-delay.
    #[error("a reassign-delay is at most {POOL_DELAY_MS_MAX} ms")]
    ReassignDelay = 11,
    /// The time for a handoff.
    #[error("the time for a handoff is 1 to {POOL_DELAY_MS_MAX} ms")]
    Handoff = 12,
    /// The length of a pause.
    #[error("a pause is at most {POOL_PAUSE_MS_MAX} ms; pause again before it is over")]
    Pause = 13,
}

impl PoolFault {
    /// All, by number.
    pub const ALL: [Self; 14] = [
        Self::PoolName,
        Self::ShardName,
        Self::InstanceName,
        Self::Slots,
        Self::Count,
        Self::Weight,
        Self::Capacity,
        Self::Metadata,
        Self::Text,
        Self::Secondaries,
        Self::LockDelay,
        Self::ReassignDelay,
        Self::Handoff,
        Self::Pause,
    ];
}

/// Why a step cannot be taken as things are. The numbers are part of the format of remembered outcomes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[repr(u8)]
pub enum StepFault {
    /// A grant of what somebody has.
    #[error("somebody owns it; move it instead")]
    Owned = 0,
    /// A move of what nobody has.
    #[error("nobody owns it; it can be granted, and neither moved nor taken away")]
    Unowned = 1,
    /// Its owner's session expired a short time ago.
    #[error("it is withheld, as its last owner may not know yet that it lost it; wait, or force it")]
    Withheld = 2,
    /// It is moving already.
    #[error("it is moving already; cancel that move first")]
    Moving = 3,
    /// There is no move to give up.
    #[error("it is not moving")]
    NotMoving = 4,
    /// It is to go.
    #[error("it is removed as soon as its owner releases it")]
    Retired = 5,
    /// The target has it.
    #[error("the target owns it already")]
    SameOwner = 6,
    /// The target does not take part.
    #[error("the target is no member, or is away")]
    NoMember = 7,
    /// The target may be given nothing.
    #[error("the target is cordoned or being drained; choose another, or uncordon it")]
    NotAccepting = 8,
    /// It has to be elsewhere.
    #[error("it is pinned to another instance; unpin it first")]
    Pinned = 9,
    /// Two copies would be in one zone.
    #[error("another copy is in the target's zone, which the pool's policy forbids")]
    Zone = 10,
    /// Enough moves are under way.
    #[error("as many moves are under way as the pool's policy allows")]
    MovesMax = 11,
    /// Enough moves were begun.
    #[error("as many moves were begun within this minute as the pool's policy allows")]
    MovesPerMinute = 12,
    /// The pool is paused.
    #[error("the pool is paused; move it by an order of its own, or end the pause")]
    Paused = 13,
    /// It has all its copies.
    #[error("it has as many secondaries as the pool's policy allows, with one that may be replaced")]
    CopiesMax = 14,
    /// The member has a copy.
    #[error("the target keeps a copy already")]
    HasCopy = 15,
    /// The member has no copy.
    #[error("that member keeps no copy")]
    NoCopy = 16,
}

impl StepFault {
    /// All, by number.
    pub const ALL: [Self; 17] = [
        Self::Owned,
        Self::Unowned,
        Self::Withheld,
        Self::Moving,
        Self::NotMoving,
        Self::Retired,
        Self::SameOwner,
        Self::NoMember,
        Self::NotAccepting,
        Self::Pinned,
        Self::Zone,
        Self::MovesMax,
        Self::MovesPerMinute,
        Self::Paused,
        Self::CopiesMax,
        Self::HasCopy,
        Self::NoCopy,
    ];
}

impl From<PoolFault> for PoolError {
    fn from(fault: PoolFault) -> Self {
        Self::BadRequest { fault }
    }
}

fn shown(name: &[u8]) -> String {
    crate::command::shown(name)
}
