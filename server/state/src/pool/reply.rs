//! What pools answer.

use crate::ids::{Revision, SessionId};
use crate::pool::{MemberState, Policy, ShardSet};
use bytes::Bytes;

/// Answers to operations and questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolReply {
    /// Done; nothing to say.
    Done,
    /// The instance takes part.
    Joined {
        /// Primaries that it owns now, with their epochs: it came back in time.
        owned: Vec<(Bytes, Revision)>,
    },
    /// Pools.
    Listed {
        /// In order of name.
        pools: Vec<PoolSummary>,
        /// There are more.
        more: bool,
    },
    /// A pool.
    State(Box<PoolState>),
    /// A shard.
    Shard(ShardInfo),
    /// When something is due, in milliseconds since 1970; `None` if nothing is.
    NextDue(Option<u64>),
}

/// A pool in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSummary {
    /// Its name.
    pub pool: Bytes,
    /// Its kind of shards.
    pub shards: ShardSet,
    /// How many shards.
    pub shard_count: u64,
    /// How many members, those that are away included.
    pub member_count: u64,
    /// Primaries that somebody owns.
    pub owned: u64,
    /// Planned moves under way.
    pub moving: u64,
    /// Revision that last changed anything of it but loads, weights and pins.
    pub changed: Revision,
}

/// A pool at length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Its name.
    pub pool: Bytes,
    /// Its kind of shards.
    pub shards_of: ShardSet,
    /// Its policy.
    pub policy: Policy,
    /// Revision that created it.
    pub created: Revision,
    /// Revision that last changed anything of it but loads, weights and pins.
    pub changed: Revision,
    /// The state's stamp, in milliseconds since 1970: the time that deadlines are compared with.
    pub stamp_ms: u64,
    /// Paused until then, in milliseconds since 1970; zero when it is not.
    pub paused_until_ms: u64,
    /// Why it is paused.
    pub pause_reason: String,
    /// Planned moves that may still be begun within this minute: a window that began with the first of
    /// them.
    pub moves_left: u32,
    /// In order of name.
    pub members: Vec<MemberInfo>,
    /// In order of name; of slots: of number.
    pub shards: Vec<ShardInfo>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The instance's name.
    pub instance: Bytes,
    /// Its session; zero while it is away.
    pub session: SessionId,
    /// Its failure domain.
    pub zone: String,
    /// Its share.
    pub capacity: u32,
    /// Where others reach it.
    pub address: String,
    /// What it said about itself.
    pub metadata: Bytes,
    /// What it may be given.
    pub state: MemberState,
    /// Revision in which it joined.
    pub joined: Revision,
    /// While it is away: until when its shards wait for it, in milliseconds since 1970; `u64::MAX` for
    /// as long as nobody forces them. Zero otherwise.
    pub away_until_ms: u64,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its name.
    pub shard: Bytes,
    /// Its weight.
    pub weight: u32,
    /// Its load as its owner reported it; zero if it did not.
    pub load: u32,
    /// Where it has to be.
    pub pin: Option<Bytes>,
    /// It is removed as soon as it is released.
    pub retired: bool,
    /// Who has the primary.
    pub primary: Primary,
    /// Who keeps copies, in order of name.
    pub secondaries: Vec<Secondary>,
}

impl ShardInfo {
    /// How much work it is: its reported load, or else its weight.
    pub const fn work(&self) -> u32 {
        if self.load > 0 { self.load } else { self.weight }
    }
}

/// Who owns a primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The instance.
    pub instance: Bytes,
    /// Its session.
    pub session: SessionId,
    /// Revision of the grant: the fencing token.
    pub epoch: Revision,
    /// Stamp of the grant, in milliseconds since 1970.
    pub granted_ms: u64,
}

/// What a primary has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primary {
    /// Nobody has it.
    Unassigned {
        /// Stamp since when, in milliseconds since 1970.
        since_ms: u64,
    },
    /// Somebody has it.
    Owned(Owner),
    /// Somebody has it, and another is to have it.
    Moving {
        /// Who has it.
        from: Owner,
        /// Who is to have it.
        to: Bytes,
        /// The target's session.
        session: SessionId,
        /// The target is warm, and the owner was asked to let go.
        draining: bool,
        /// When this phase is overdue, in milliseconds since 1970.
        deadline_ms: u64,
    },
    /// Its owner's session expired. Nobody else is granted it yet. Its former owner may be, once the
    /// lock-delay is over, if it comes back.
    Withheld {
        /// Who had it.
        instance: Bytes,
        /// The epoch that is over.
        epoch: Revision,
        /// Until then at the latest, in milliseconds since 1970, or until a pause is over; zero for as
        /// long as nobody forces it.
        until_ms: u64,
    },
}

impl Primary {
    /// Whoever owns it now.
    pub const fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Owned(owner) | Self::Moving { from: owner, .. } => Some(owner),
            Self::Unassigned { .. } | Self::Withheld { .. } => None,
        }
    }
}

/// Who keeps a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secondary {
    /// The instance.
    pub instance: Bytes,
    /// Its session.
    pub session: SessionId,
    /// Revision in which it was asked to.
    pub epoch: Revision,
    /// It said that it is warm.
    pub ready: bool,
}
