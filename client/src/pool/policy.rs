//! What a pool is made of, and what placement may do in it.

use oarlock_proto::v1::{self, pool_policy};
use std::time::Duration;

/// Which shards a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// This many slots for ever, named by their decimal numbers from 0. Keys are spread over them by
    /// [`slot_of`](super::slot_of).
    Slots(u32),
    /// Whatever is added and removed, by name.
    Named,
}

impl From<Shards> for v1::ShardSet {
    fn from(shards: Shards) -> Self {
        use v1::shard_set::Kind;
        let kind = match shards {
            Shards::Slots(count) => Kind::Slots(count),
            Shards::Named => Kind::Named(true),
        };
        Self { kind: Some(kind) }
    }
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

/// What placement may do, and when. `Policy { secondaries: 1, ..Policy::default() }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Further copies of each shard. Default: 0.
    pub secondaries: u32,
    /// How copies are spread over zones. Default: zones are of no importance.
    pub spread: Spread,
    /// For how long nobody is granted what an *expired* session owned. Default: zero, which relies on
    /// sessions alone: one expires only after its owner's validity is over. Choose more if owners
    /// cannot be trusted to stop in time and what they write to checks no tokens.
    pub lock_delay: Duration,
    /// For how long an instance that is away keeps its claim to its shards, so that a restart moves
    /// nothing. Default: zero.
    pub reassign_delay: Duration,
    /// How long a target may prepare, and then an owner drain. Default: 30 s.
    pub handoff: Duration,
    /// Planned moves under way at a time; zero: none at all. Default: 16.
    pub moves_max: u32,
    /// Planned moves begun within one minute. Default: 600.
    pub moves_per_minute: u32,
    /// How far above its fair share, in percent, a member's load may be before shards are moved for
    /// balance alone. Default: 10.
    pub tolerance_percent: u32,
    /// What an expired session owned stays withheld until its owner comes back or an operator forces
    /// it. Default: no.
    pub sticky: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            secondaries: 0,
            spread: Spread::Ignore,
            lock_delay: Duration::ZERO,
            reassign_delay: Duration::ZERO,
            handoff: Duration::from_secs(30),
            moves_max: 16,
            moves_per_minute: 600,
            tolerance_percent: 10,
            sticky: false,
        }
    }
}

impl From<Policy> for v1::PoolPolicy {
    fn from(policy: Policy) -> Self {
        let spread = match policy.spread {
            Spread::Ignore => pool_policy::Spread::Ignore,
            Spread::Prefer => pool_policy::Spread::Prefer,
            Spread::Require => pool_policy::Spread::Require,
        };
        Self {
            secondaries: policy.secondaries,
            spread: spread.into(),
            lock_delay_ms: whole_ms(policy.lock_delay),
            reassign_delay_ms: whole_ms(policy.reassign_delay),
            handoff_ms: whole_ms(policy.handoff),
            moves_max: policy.moves_max,
            moves_per_minute: policy.moves_per_minute,
            tolerance_percent: policy.tolerance_percent,
            sticky: policy.sticky,
        }
    }
}

impl From<&v1::PoolPolicy> for Policy {
    fn from(wire: &v1::PoolPolicy) -> Self {
        let spread = match wire.spread() {
            pool_policy::Spread::Ignore => Spread::Ignore,
            pool_policy::Spread::Prefer => Spread::Prefer,
            pool_policy::Spread::Require => Spread::Require,
        };
        Self {
            secondaries: wire.secondaries,
            spread,
            lock_delay: Duration::from_millis(wire.lock_delay_ms),
            reassign_delay: Duration::from_millis(wire.reassign_delay_ms),
            handoff: Duration::from_millis(wire.handoff_ms),
            moves_max: wire.moves_max,
            moves_per_minute: wire.moves_per_minute,
            tolerance_percent: wire.tolerance_percent,
            sticky: wire.sticky,
        }
    }
}

/// Milliseconds of a duration, as the wire carries them.
pub(crate) fn whole_ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_comes_back_as_it_was_sent() {
        let policy = Policy {
            secondaries: 2,
            spread: Spread::Require,
            lock_delay: Duration::from_secs(1),
            reassign_delay: Duration::from_secs(2),
            handoff: Duration::from_millis(3),
            moves_max: 4,
            moves_per_minute: 5,
            tolerance_percent: 6,
            sticky: true,
        };
        let wire: v1::PoolPolicy = policy.clone().into();
        assert_eq!(Policy::from(&wire), policy);
    }
}
