//! What is stored of a pool, of each member and of each shard.

use crate::codec::{Reader, Writer};
use crate::ids::{Revision, SessionId};
use crate::pool::reply::{MemberInfo, Owner, PoolState, PoolSummary, Primary, Secondary, ShardInfo};
use crate::pool::{MemberState, Policy, ShardSet, Spread};
use bytes::Bytes;

const POOL_FORMAT: u8 = 1;
const MEMBER_FORMAT: u8 = 1;
const SHARD_FORMAT: u8 = 1;
/// Planned moves are counted in windows of this length, each begun by a move.
const WINDOW_MS: u64 = 60_000;

/// A pool in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) shards: ShardSet,
    pub(super) policy: Policy,
    /// Revision that created it.
    pub(super) created: Revision,
    /// Revision that last changed anything of it but loads, weights and pins.
    pub(super) changed: Revision,
    /// Zero when it is not paused.
    pub(super) paused_until_ms: u64,
    pub(super) pause_reason: String,
    pub(super) shard_count: u64,
    pub(super) member_count: u64,
    pub(super) owned: u64,
    pub(super) moving: u64,
    pub(super) withheld: u64,
    /// Stamp at which the present window of the budget began.
    pub(super) window_ms: u64,
    /// Planned moves begun in it.
    pub(super) begun: u32,
}

impl Pool {
    /// One without shards and members.
    pub(super) fn new(shards: ShardSet, policy: Policy, created: Revision) -> Self {
        Self {
            shards,
            policy,
            created,
            changed: created,
            paused_until_ms: 0,
            pause_reason: String::new(),
            shard_count: 0,
            member_count: 0,
            owned: 0,
            moving: 0,
            withheld: 0,
            window_ms: 0,
            begun: 0,
        }
    }

    /// Planned moves that may still be begun within this minute.
    pub(super) fn moves_left(&self, now_ms: u64) -> u32 {
        let begun = if self.window_is_over(now_ms) { 0 } else { self.begun };
        self.policy.moves_per_minute.saturating_sub(begun)
    }

    /// Counts a planned move that begins now.
    pub(super) fn count_move(&mut self, now_ms: u64) {
        if self.window_is_over(now_ms) {
            (self.window_ms, self.begun) = (now_ms, 0);
        }
        self.begun = self.begun.saturating_add(1);
    }

    fn window_is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.window_ms.saturating_add(WINDOW_MS)
    }

    pub(super) fn summary(&self, pool: Bytes) -> PoolSummary {
        PoolSummary {
            pool,
            shards: self.shards,
            shard_count: self.shard_count,
            member_count: self.member_count,
            owned: self.owned,
            moving: self.moving,
            changed: self.changed,
        }
    }

    pub(super) fn state(self, pool: Bytes, stamp_ms: u64) -> PoolState {
        PoolState {
            pool,
            moves_left: self.moves_left(stamp_ms),
            shards_of: self.shards,
            policy: self.policy,
            created: self.created,
            changed: self.changed,
            stamp_ms,
            paused_until_ms: self.paused_until_ms,
            pause_reason: self.pause_reason,
            members: Vec::new(),
            shards: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(POOL_FORMAT, 64 + self.pause_reason.len());
        write_shard_set(&mut writer, self.shards);
        write_policy(&mut writer, &self.policy);
        let numbers = [
            self.created.get(),
            self.changed.get(),
            self.paused_until_ms,
            self.shard_count,
            self.member_count,
            self.owned,
            self.moving,
            self.withheld,
            self.window_ms,
            u64::from(self.begun),
        ];
        numbers.into_iter().for_each(|number| writer.number(number));
        writer.text(&self.pause_reason);
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("pool", POOL_FORMAT, record);
        let pool = Self {
            shards: read_shard_set(&mut reader),
            policy: read_policy(&mut reader),
            created: Revision(reader.number()),
            changed: Revision(reader.number()),
            paused_until_ms: reader.number(),
            shard_count: reader.number(),
            member_count: reader.number(),
            owned: reader.number(),
            moving: reader.number(),
            withheld: reader.number(),
            window_ms: reader.number(),
            begun: reader.number32(),
            pause_reason: reader.text(),
        };
        reader.end();
        pool
    }
}

/// Writes a kind of shards: how many slots, or zero for named ones.
pub(super) fn write_shard_set(writer: &mut Writer, shards: ShardSet) {
    writer.number(match shards {
        ShardSet::Slots(count) => u64::from(count),
        ShardSet::Named => 0,
    });
}

/// Reads what [`write_shard_set`] wrote.
pub(super) fn read_shard_set(reader: &mut Reader<'_>) -> ShardSet {
    match reader.number32() {
        0 => ShardSet::Named,
        count @ 1.. => ShardSet::Slots(count),
    }
}

/// Writes a policy.
pub(super) fn write_policy(writer: &mut Writer, policy: &Policy) {
    writer.number(u64::from(policy.secondaries));
    writer.byte(match policy.spread {
        Spread::Ignore => 0,
        Spread::Prefer => 1,
        Spread::Require => 2,
    });
    let numbers = [
        policy.lock_delay_ms,
        policy.reassign_delay_ms,
        policy.handoff_ms,
        u64::from(policy.moves_max),
        u64::from(policy.moves_per_minute),
        u64::from(policy.tolerance_percent),
    ];
    numbers.into_iter().for_each(|number| writer.number(number));
    writer.flag(policy.sticky);
}

/// Reads what [`write_policy`] wrote.
pub(super) fn read_policy(reader: &mut Reader<'_>) -> Policy {
    Policy {
        secondaries: reader.number32(),
        spread: match reader.byte() {
            0 => Spread::Ignore,
            1 => Spread::Prefer,
            2 => Spread::Require,
            _ => reader.complain("unknown spread"),
        },
        lock_delay_ms: reader.number(),
        reassign_delay_ms: reader.number(),
        handoff_ms: reader.number(),
        moves_max: reader.number32(),
        moves_per_minute: reader.number32(),
        tolerance_percent: reader.number32(),
        sticky: reader.flag(),
    }
}

/// Writes what a member may be given.
pub(super) fn write_member_state(writer: &mut Writer, state: MemberState) {
    writer.byte(match state {
        MemberState::Active => 0,
        MemberState::Cordoned => 1,
        MemberState::Draining => 2,
    });
}

/// Reads what [`write_member_state`] wrote.
pub(super) fn read_member_state(reader: &mut Reader<'_>) -> MemberState {
    match reader.byte() {
        0 => MemberState::Active,
        1 => MemberState::Cordoned,
        2 => MemberState::Draining,
        _ => reader.complain("unknown state of a member"),
    }
}

/// Writes an instance that may be none.
pub(super) fn write_pin(writer: &mut Writer, pin: Option<&Bytes>) {
    // No instance has an empty name.
    writer.bytes(pin.map_or(b"", |instance| instance));
}

/// Reads what [`write_pin`] wrote.
pub(super) fn read_pin(reader: &mut Reader<'_>) -> Option<Bytes> {
    let instance = reader.bytes();
    (!instance.is_empty()).then_some(instance)
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Zero while it is away.
    pub(super) session: SessionId,
    pub(super) zone: String,
    pub(super) capacity: u32,
    pub(super) address: String,
    pub(super) metadata: Bytes,
    pub(super) state: MemberState,
    pub(super) joined: Revision,
    /// Zero while it is present; `u64::MAX` as long as something is withheld for it without an end.
    pub(super) away_until_ms: u64,
    /// When it is looked at while it is away: then, or at the end of a pause; zero for never.
    pub(super) note_ms: u64,
}

impl Member {
    pub(super) fn is_present(&self) -> bool {
        self.session != SessionId(0)
    }

    pub(super) fn info(self, instance: Bytes) -> MemberInfo {
        MemberInfo {
            instance,
            session: self.session,
            zone: self.zone,
            capacity: self.capacity,
            address: self.address,
            metadata: self.metadata,
            state: self.state,
            joined: self.joined,
            away_until_ms: self.away_until_ms,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let texts = self.zone.len() + self.address.len() + self.metadata.len();
        let mut writer = Writer::new(MEMBER_FORMAT, 40 + texts);
        write_member_state(&mut writer, self.state);
        let numbers = [
            self.session.get(),
            u64::from(self.capacity),
            self.joined.get(),
            self.away_until_ms,
            self.note_ms,
        ];
        numbers.into_iter().for_each(|number| writer.number(number));
        writer.text(&self.zone);
        writer.text(&self.address);
        writer.raw(&self.metadata);
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("member of a pool", MEMBER_FORMAT, record);
        Self {
            state: read_member_state(&mut reader),
            session: SessionId(reader.number()),
            capacity: reader.number32(),
            joined: Revision(reader.number()),
            away_until_ms: reader.number(),
            note_ms: reader.number(),
            zone: reader.text(),
            address: reader.text(),
            metadata: reader.rest(),
        }
    }
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) weight: u32,
    pub(super) load: u32,
    pub(super) pin: Option<Bytes>,
    pub(super) retired: bool,
    pub(super) primary: Primary,
    /// In order of name.
    pub(super) secondaries: Vec<Secondary>,
    /// While it is withheld: before this time not even its former owner is granted it.
    pub(super) lock_ms: u64,
    /// When it is looked at while it is withheld; zero for never.
    pub(super) note_ms: u64,
}

impl Shard {
    /// One that nobody has had yet.
    pub(super) const fn new(weight: u32, since_ms: u64) -> Self {
        Self {
            weight,
            load: 0,
            pin: None,
            retired: false,
            primary: Primary::Unassigned { since_ms },
            secondaries: Vec::new(),
            lock_ms: 0,
            note_ms: 0,
        }
    }

    pub(super) fn info(self, shard: Bytes) -> ShardInfo {
        ShardInfo {
            shard,
            weight: self.weight,
            load: self.load,
            pin: self.pin,
            retired: self.retired,
            primary: self.primary,
            secondaries: self.secondaries,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(SHARD_FORMAT, 64);
        writer.number(u64::from(self.weight));
        writer.number(u64::from(self.load));
        write_pin(&mut writer, self.pin.as_ref());
        writer.flag(self.retired);
        writer.number(self.lock_ms);
        writer.number(self.note_ms);
        write_primary(&mut writer, &self.primary);
        writer.number(self.secondaries.len() as u64);
        for secondary in &self.secondaries {
            writer.bytes(&secondary.instance);
            writer.number(secondary.session.get());
            writer.number(secondary.epoch.get());
            writer.flag(secondary.ready);
        }
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("shard of a pool", SHARD_FORMAT, record);
        let mut shard = Self {
            weight: reader.number32(),
            load: reader.number32(),
            pin: read_pin(&mut reader),
            retired: reader.flag(),
            lock_ms: reader.number(),
            note_ms: reader.number(),
            primary: read_primary(&mut reader),
            secondaries: Vec::new(),
        };
        shard.secondaries = (0..reader.number())
            .map(|_| Secondary {
                instance: reader.bytes(),
                session: SessionId(reader.number()),
                epoch: Revision(reader.number()),
                ready: reader.flag(),
            })
            .collect();
        reader.end();
        shard
    }
}

fn write_primary(writer: &mut Writer, primary: &Primary) {
    match primary {
        Primary::Unassigned { since_ms } => {
            writer.byte(0);
            writer.number(*since_ms);
        }
        Primary::Owned(owner) => {
            writer.byte(1);
            write_owner(writer, owner);
        }
        Primary::Moving { from, to, session, draining, deadline_ms } => {
            writer.byte(2);
            write_owner(writer, from);
            writer.bytes(to);
            writer.number(session.get());
            writer.flag(*draining);
            writer.number(*deadline_ms);
        }
        Primary::Withheld { instance, epoch, until_ms } => {
            writer.byte(3);
            writer.bytes(instance);
            writer.number(epoch.get());
            writer.number(*until_ms);
        }
    }
}

fn read_primary(reader: &mut Reader<'_>) -> Primary {
    match reader.byte() {
        0 => Primary::Unassigned { since_ms: reader.number() },
        1 => Primary::Owned(read_owner(reader)),
        2 => Primary::Moving {
            from: read_owner(reader),
            to: reader.bytes(),
            session: SessionId(reader.number()),
            draining: reader.flag(),
            deadline_ms: reader.number(),
        },
        3 => Primary::Withheld {
            instance: reader.bytes(),
            epoch: Revision(reader.number()),
            until_ms: reader.number(),
        },
        _ => reader.complain("unknown state of a primary"),
    }
}

fn write_owner(writer: &mut Writer, owner: &Owner) {
    writer.bytes(&owner.instance);
    writer.number(owner.session.get());
    writer.number(owner.epoch.get());
    writer.number(owner.granted_ms);
}

fn read_owner(reader: &mut Reader<'_>) -> Owner {
    Owner {
        instance: reader.bytes(),
        session: SessionId(reader.number()),
        epoch: Revision(reader.number()),
        granted_ms: reader.number(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            secondaries: 1,
            spread: Spread::Require,
            lock_delay_ms: 2,
            reassign_delay_ms: 300,
            handoff_ms: 4,
            moves_max: 5,
            moves_per_minute: 6,
            tolerance_percent: 7,
            sticky: true,
        }
    }

    #[test]
    fn pools_are_pinned() {
        let pool = Pool {
            shards: ShardSet::Slots(300),
            policy: policy(),
            created: Revision(8),
            changed: Revision(9),
            paused_until_ms: 10,
            pause_reason: "r".to_owned(),
            shard_count: 11,
            member_count: 12,
            owned: 13,
            moving: 14,
            withheld: 15,
            window_ms: 16,
            begun: 17,
        };
        let pinned =
            b"\x01\xac\x02\x01\x02\x02\xac\x02\x04\x05\x06\x07\x01\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x01r";
        assert_eq!(pool.encode(), pinned.as_slice());
        for spread in [Spread::Ignore, Spread::Prefer, Spread::Require] {
            let policy = Policy { spread, ..policy() };
            let pool = Pool { shards: ShardSet::Named, policy, ..pool.clone() };
            assert_eq!(Pool::decode(&pool.encode()), pool);
        }
    }

    #[test]
    fn members_are_pinned() {
        let member = Member {
            session: SessionId(1),
            zone: "z".to_owned(),
            capacity: 2,
            address: "a".to_owned(),
            metadata: Bytes::from_static(b"m"),
            state: MemberState::Draining,
            joined: Revision(3),
            away_until_ms: 4,
            note_ms: 5,
        };
        assert_eq!(member.encode(), b"\x01\x02\x01\x02\x03\x04\x05\x01z\x01am".as_slice());
        for state in [MemberState::Active, MemberState::Cordoned, MemberState::Draining] {
            let member = Member { state, ..member.clone() };
            assert_eq!(Member::decode(&member.encode()), member);
        }
    }

    #[test]
    fn shards_are_pinned() {
        let x = || Bytes::from_static(b"x");
        let owner = || Owner { instance: x(), session: SessionId(6), epoch: Revision(7), granted_ms: 8 };
        let shard = Shard {
            weight: 1,
            load: 2,
            pin: Some(x()),
            retired: true,
            primary: Primary::Moving {
                from: owner(),
                to: Bytes::from_static(b"y"),
                session: SessionId(9),
                draining: true,
                deadline_ms: 10,
            },
            secondaries: vec![Secondary {
                instance: x(),
                session: SessionId(3),
                epoch: Revision(4),
                ready: true,
            }],
            lock_ms: 11,
            note_ms: 12,
        };
        let pinned =
            b"\x01\x01\x02\x01x\x01\x0b\x0c\x02\x01x\x06\x07\x08\x01y\x09\x01\x0a\x01\x01x\x03\x04\x01";
        assert_eq!(shard.encode(), pinned.as_slice());
        for primary in [
            shard.primary.clone(),
            Primary::Unassigned { since_ms: 1 },
            Primary::Owned(owner()),
            Primary::Withheld { instance: x(), epoch: Revision(1), until_ms: 2 },
        ] {
            let shard = Shard { primary, pin: None, secondaries: Vec::new(), ..shard.clone() };
            assert_eq!(Shard::decode(&shard.encode()), shard);
        }
    }
}
