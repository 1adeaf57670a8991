//! Requests that change pools.

use crate::ids::{Revision, SessionId};
use bytes::Bytes;

/// Which shards a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardSet {
    /// This many slots for ever, named by their decimal numbers from 0. From 1 to
    /// [`POOL_SHARDS_MAX`](crate::limits::POOL_SHARDS_MAX).
    Slots(u32),
    /// Whatever [`PoolOp::AddShards`] adds and [`PoolOp::RemoveShards`] removes.
    Named,
}

/// How the copies of one shard are spread over zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Zones are of no importance.
    #[default]
    Ignore,
    /// In different zones where that is possible.
    Prefer,
    /// Never two in one zone; rather one less.
    Require,
}

/// What placement may do, and when. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Further copies of each shard, at most
    /// [`SECONDARIES_MAX`](crate::limits::SECONDARIES_MAX).
    pub secondaries: u32,
    /// How copies are spread over zones.
    pub spread: Spread,
    /// For how long nobody is granted what an *expired* session owned. Zero relies on sessions alone:
    /// a session expires only after its owner's validity is over.
    pub lock_delay_ms: u64,
    /// For how long an instance that is away keeps its claim to its shards, so that a restart moves
    /// nothing. If it joins again within that time it is granted what it had. Not shorter than the
    /// lock-delay in effect.
    pub reassign_delay_ms: u64,
    /// How long a target may prepare, and then an owner drain. A target that is late is given up; an
    /// owner that is late is reported, and keeps its shard.
    pub handoff_ms: u64,
    /// Planned moves under way at a time. Zero: no planned moves at all.
    pub moves_max: u32,
    /// Planned moves begun within one minute. Grants of unowned shards do not count.
    pub moves_per_minute: u32,
    /// How far, in percent of the fair share, a member's load may be above or below it before shards
    /// are moved for balance alone.
    pub tolerance_percent: u32,
    /// An expired owner's shards stay withheld until it comes back or an operator forces them.
    pub sticky: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            secondaries: 0,
            spread: Spread::Ignore,
            lock_delay_ms: 0,
            reassign_delay_ms: 0,
            handoff_ms: 30_000,
            moves_max: 16,
            moves_per_minute: 600,
            tolerance_percent: 10,
            sticky: false,
        }
    }
}

/// What a member may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// Shards as they come.
    #[default]
    Active,
    /// Nothing new; it keeps what it has.
    Cordoned,
    /// Nothing new, and what it has is moved away.
    Draining,
}

/// An instance takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The instance's name, the same after a restart; at most
    /// [`OBJECT_NAME_BYTES_MAX`](crate::limits::OBJECT_NAME_BYTES_MAX) bytes, no zero byte.
    pub instance: Bytes,
    /// The session that it lives by.
    pub session: SessionId,
    /// Its failure domain; may be empty.
    pub zone: String,
    /// Its share of the load, in comparison with others; at least 1.
    pub capacity: u32,
    /// Where others reach it; routing tables carry it.
    pub address: String,
    /// Shown to others.
    pub metadata: Bytes,
}

/// A shard, as its owner knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardToken {
    /// The shard.
    pub shard: Bytes,
    /// The epoch of the grant; refused if it is not current.
    pub epoch: Revision,
}

/// One step of a plan. Each is checked by itself; one that is refused refuses the whole plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Grant an unassigned primary.
    Grant {
        /// The shard.
        shard: Bytes,
        /// The member.
        to: Bytes,
    },
    /// Begin a planned move of an owned primary.
    Move {
        /// The shard.
        shard: Bytes,
        /// The member that is to have it.
        to: Bytes,
    },
    /// Give a planned move up; the owner goes on as before.
    CancelMove {
        /// The shard.
        shard: Bytes,
    },
    /// Have a member keep a copy.
    AddSecondary {
        /// The shard.
        shard: Bytes,
        /// The member.
        to: Bytes,
    },
    /// Have a member drop its copy.
    DropSecondary {
        /// The shard.
        shard: Bytes,
        /// The member.
        from: Bytes,
    },
}

/// What may be done with pools. One transaction each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolOp {
    /// Make a pool. Refused if one of that name exists, unless it is exactly the same.
    Create {
        /// Its name.
        pool: Bytes,
        /// Its shards.
        shards: ShardSet,
        /// Its policy.
        policy: Policy,
    },
    /// Replace the policy.
    SetPolicy {
        /// The pool.
        pool: Bytes,
        /// The new one.
        policy: Policy,
    },
    /// Remove a pool without members, or with `force` whatever is in it.
    Delete {
        /// The pool.
        pool: Bytes,
        /// Take shards away from their owners.
        force: bool,
    },
    /// Add shards to a pool of named ones. Those that exist are passed over; one that was to go stays.
    AddShards {
        /// The pool.
        pool: Bytes,
        /// Names and weights.
        shards: Vec<(Bytes, u32)>,
    },
    /// Remove named shards: at once if nobody owns them, else once their owners have released them.
    RemoveShards {
        /// The pool.
        pool: Bytes,
        /// Their names; unknown ones are passed over.
        shards: Vec<Bytes>,
    },
    /// Take part, or change what was said when joining. An instance that is away takes its place
    /// again; one that is present under another session is refused.
    Join {
        /// The pool.
        pool: Bytes,
        /// Who.
        join: Join,
    },
    /// Take part no longer. Whatever the instance owns is released.
    Leave {
        /// The pool.
        pool: Bytes,
        /// Who.
        instance: Bytes,
        /// Its session.
        session: SessionId,
    },
    /// An instance is warm: for the move of a primary to it, or as a secondary. What it is not asked for
    /// any more is passed over.
    Ready {
        /// The pool.
        pool: Bytes,
        /// Who.
        instance: Bytes,
        /// Its session.
        session: SessionId,
        /// What it is ready for.
        shards: Vec<Bytes>,
    },
    /// An owner lets primaries go. One that is moving to a ready target is granted to it in the same
    /// revision.
    Release {
        /// The pool.
        pool: Bytes,
        /// Who.
        instance: Bytes,
        /// Its session.
        session: SessionId,
        /// What; all of them or none.
        shards: Vec<ShardToken>,
    },
    /// How much work shards are, as a member measured it, in place of their weights.
    Report {
        /// The pool.
        pool: Bytes,
        /// Who.
        instance: Bytes,
        /// Its session.
        session: SessionId,
        /// Shards that it owns, and their load; zero takes the weight again. Others are passed over, and
        /// so is a load that differs by less than a tenth from the one before.
        loads: Vec<(Bytes, u32)>,
    },
    /// Say what a member may be given.
    SetMemberState {
        /// The pool.
        pool: Bytes,
        /// Who.
        instance: Bytes,
        /// From now on.
        state: MemberState,
    },
    /// Say where a shard has to be, or with `None` that it need not.
    Pin {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
        /// The instance; need not be a member yet.
        to: Option<Bytes>,
    },
    /// Replace the weights of shards.
    SetWeights {
        /// The pool.
        pool: Bytes,
        /// Shards and weights, at least 1.
        weights: Vec<(Bytes, u32)>,
    },
    /// No planned moves and no reassignments until then, or until another pause of zero: what is
    /// withheld stays withheld for whoever had it. What nobody has a claim to is granted all the same.
    Pause {
        /// The pool.
        pool: Bytes,
        /// Milliseconds from now; zero goes on at once.
        for_ms: u64,
        /// Why, for people.
        reason: String,
    },
    /// An operator's order: begin a planned move, whatever balance says. Counts against no budget, and
    /// is obeyed in a pause. One that moves elsewhere is redirected; one that nobody has is granted.
    Move {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
        /// The member that is to have it.
        to: Bytes,
    },
    /// An operator's act: take a primary away from whoever owns it or has it withheld, at once. The
    /// former owner may not know yet; its token is not current any more.
    Force {
        /// The pool.
        pool: Bytes,
        /// The shard.
        shard: Bytes,
    },
    /// A plan, made outside of the log.
    Assign {
        /// The pool.
        pool: Bytes,
        /// [`PoolState::changed`](super::PoolState::changed) of the state that it was made for.
        basis: Revision,
        /// In order.
        steps: Vec<Step>,
    },
    /// Let go of what is due at the entry's stamp, a bounded number: withheld primaries, members that
    /// are away for too long, targets that are late, pauses. The leader proposes it when
    /// [`PoolQuery::NextDue`](super::PoolQuery::NextDue) says so.
    Elapse,
}
