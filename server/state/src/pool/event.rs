//! What watchers of a pool learn: the deltas of its routing table. The key of the event is the pool's
//! name.
//!
//! Whoever has a pool's state at one revision and applies the events of the following ones has its
//! state at theirs, but for the stamps and the budget. Each event but [`PoolEvent::ShardTuned`] makes
//! its revision the one that last [changed](super::PoolState::changed) the pool. When a shard is
//! removed, its copies go without an event of their own.

use crate::codec::{Reader, Writer};
use crate::ids::{Revision, SessionId};
use crate::pool::records::{
    read_member_state, read_pin, read_policy, read_shard_set, write_member_state, write_pin, write_policy,
    write_shard_set,
};
use crate::pool::{MemberState, Policy, ShardSet};
use bytes::Bytes;

/// What happened to a pool. Why, and at whose request, is in the [event](crate::Event) around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolEvent {
    /// The pool exists from now on. Slots exist with it, each of weight 1.
    Created {
        /// Its kind of shards.
        shards: ShardSet,
        /// Its policy.
        policy: Policy,
    },
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
    /// There is a shard; or one that was to go stays, with this weight.
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

/// Writes an event as the last part of a record.
pub(crate) fn write_event(writer: &mut Writer, event: &PoolEvent) {
    match event {
        PoolEvent::Created { shards, policy } => {
            writer.byte(0);
            write_shard_set(writer, *shards);
            write_policy(writer, policy);
        }
        PoolEvent::PolicySet(policy) => {
            writer.byte(1);
            write_policy(writer, policy);
        }
        PoolEvent::Deleted => writer.byte(2),
        PoolEvent::Paused { until_ms, reason } => {
            writer.byte(3);
            writer.number(*until_ms);
            writer.text(reason);
        }
        PoolEvent::Joined { instance, session, zone, capacity, address, metadata } => {
            write_named(writer, 4, instance, &[session.get(), u64::from(*capacity)]);
            writer.text(zone);
            writer.text(address);
            writer.bytes(metadata);
        }
        PoolEvent::Away { instance, until_ms } => write_named(writer, 5, instance, &[*until_ms]),
        PoolEvent::Left { instance } => write_named(writer, 6, instance, &[]),
        PoolEvent::MemberStateSet { instance, state } => {
            write_named(writer, 7, instance, &[]);
            write_member_state(writer, *state);
        }
        PoolEvent::ShardAdded { shard, weight } => write_named(writer, 8, shard, &[u64::from(*weight)]),
        PoolEvent::ShardRetired { shard } => write_named(writer, 9, shard, &[]),
        PoolEvent::ShardRemoved { shard } => write_named(writer, 10, shard, &[]),
        PoolEvent::ShardTuned { shard, weight, load, pin } => {
            write_named(writer, 11, shard, &[u64::from(*weight), u64::from(*load)]);
            write_pin(writer, pin.as_ref());
        }
        PoolEvent::Granted { .. }
        | PoolEvent::Preparing { .. }
        | PoolEvent::Draining { .. }
        | PoolEvent::MoveCancelled { .. }
        | PoolEvent::Lost { .. }
        | PoolEvent::Available { .. }
        | PoolEvent::SecondaryAdded { .. }
        | PoolEvent::SecondaryReady { .. }
        | PoolEvent::SecondaryDropped { .. } => write_transfer(writer, event),
    }
}

/// Writes what became of a primary or of a copy.
fn write_transfer(writer: &mut Writer, event: &PoolEvent) {
    match event {
        PoolEvent::Granted { shard, instance, session, epoch } => {
            write_pair(writer, 12, shard, instance, &[session.get(), epoch.get()]);
        }
        PoolEvent::Preparing { shard, from, to, deadline_ms } => {
            write_pair(writer, 13, shard, from, &[*deadline_ms]);
            writer.bytes(to);
        }
        PoolEvent::Draining { shard, from, to, deadline_ms } => {
            write_pair(writer, 14, shard, from, &[*deadline_ms]);
            writer.bytes(to);
        }
        PoolEvent::MoveCancelled { shard, to } => write_pair(writer, 15, shard, to, &[]),
        PoolEvent::Lost { shard, instance, epoch, loss, withheld_until_ms } => {
            write_pair(writer, 16, shard, instance, &[epoch.get(), *withheld_until_ms]);
            writer.byte(*loss as u8);
        }
        PoolEvent::Available { shard } => write_named(writer, 17, shard, &[]),
        PoolEvent::SecondaryAdded { shard, instance, session, epoch } => {
            write_pair(writer, 18, shard, instance, &[session.get(), epoch.get()]);
        }
        PoolEvent::SecondaryReady { shard, instance } => write_pair(writer, 19, shard, instance, &[]),
        PoolEvent::SecondaryDropped { shard, instance } => write_pair(writer, 20, shard, instance, &[]),
        PoolEvent::Created { .. }
        | PoolEvent::PolicySet(_)
        | PoolEvent::Deleted
        | PoolEvent::Paused { .. }
        | PoolEvent::Joined { .. }
        | PoolEvent::Away { .. }
        | PoolEvent::Left { .. }
        | PoolEvent::MemberStateSet { .. }
        | PoolEvent::ShardAdded { .. }
        | PoolEvent::ShardRetired { .. }
        | PoolEvent::ShardRemoved { .. }
        | PoolEvent::ShardTuned { .. } => unreachable!("write_event writes these itself"),
    }
}

fn write_named(writer: &mut Writer, tag: u8, name: &Bytes, numbers: &[u64]) {
    writer.byte(tag);
    writer.bytes(name);
    numbers.iter().for_each(|number| writer.number(*number));
}

fn write_pair(writer: &mut Writer, tag: u8, shard: &Bytes, instance: &Bytes, numbers: &[u64]) {
    writer.byte(tag);
    writer.bytes(shard);
    writer.bytes(instance);
    numbers.iter().for_each(|number| writer.number(*number));
}

/// Reads what [`write_event`] wrote.
pub(crate) fn read_event(reader: &mut Reader<'_>) -> PoolEvent {
    match reader.byte() {
        0 => PoolEvent::Created { shards: read_shard_set(reader), policy: read_policy(reader) },
        1 => PoolEvent::PolicySet(read_policy(reader)),
        2 => PoolEvent::Deleted,
        3 => PoolEvent::Paused { until_ms: reader.number(), reason: reader.text() },
        4 => PoolEvent::Joined {
            instance: reader.bytes(),
            session: SessionId(reader.number()),
            capacity: reader.number32(),
            zone: reader.text(),
            address: reader.text(),
            metadata: reader.bytes(),
        },
        5 => PoolEvent::Away { instance: reader.bytes(), until_ms: reader.number() },
        6 => PoolEvent::Left { instance: reader.bytes() },
        7 => PoolEvent::MemberStateSet { instance: reader.bytes(), state: read_member_state(reader) },
        8 => PoolEvent::ShardAdded { shard: reader.bytes(), weight: reader.number32() },
        9 => PoolEvent::ShardRetired { shard: reader.bytes() },
        10 => PoolEvent::ShardRemoved { shard: reader.bytes() },
        11 => PoolEvent::ShardTuned {
            shard: reader.bytes(),
            weight: reader.number32(),
            load: reader.number32(),
            pin: read_pin(reader),
        },
        17 => PoolEvent::Available { shard: reader.bytes() },
        tag => read_transfer(reader, tag),
    }
}

fn read_transfer(reader: &mut Reader<'_>, tag: u8) -> PoolEvent {
    let (shard, instance) = (reader.bytes(), reader.bytes());
    match tag {
        12 => PoolEvent::Granted {
            shard,
            instance,
            session: SessionId(reader.number()),
            epoch: Revision(reader.number()),
        },
        13 => {
            PoolEvent::Preparing { shard, from: instance, deadline_ms: reader.number(), to: reader.bytes() }
        }
        14 => PoolEvent::Draining { shard, from: instance, deadline_ms: reader.number(), to: reader.bytes() },
        15 => PoolEvent::MoveCancelled { shard, to: instance },
        16 => {
            let (epoch, withheld_until_ms) = (Revision(reader.number()), reader.number());
            let Some(loss) = ShardLoss::from_number(reader.byte()) else { reader.complain("unknown loss") };
            PoolEvent::Lost { shard, instance, epoch, loss, withheld_until_ms }
        }
        18 => PoolEvent::SecondaryAdded {
            shard,
            instance,
            session: SessionId(reader.number()),
            epoch: Revision(reader.number()),
        },
        19 => PoolEvent::SecondaryReady { shard, instance },
        20 => PoolEvent::SecondaryDropped { shard, instance },
        _ => reader.complain("unknown event of a pool"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(event: &PoolEvent) -> Vec<u8> {
        let mut writer = Writer::new(1, 0);
        write_event(&mut writer, event);
        let record = writer.finish();
        let mut reader = Reader::new("test", 1, &record);
        assert_eq!(read_event(&mut reader), *event);
        reader.end();
        record[1..].to_vec()
    }

    fn of_pools_and_members() -> Vec<(PoolEvent, &'static [u8])> {
        let instance = Bytes::from_static(b"x");
        let policy = Policy { handoff_ms: 3, moves_per_minute: 5, ..Policy::default() };
        vec![
            (
                PoolEvent::Created { shards: ShardSet::Slots(300), policy: policy.clone() },
                b"\0\xac\x02\0\0\0\0\x03\x10\x05\x0a\0",
            ),
            (PoolEvent::PolicySet(policy), b"\x01\0\0\0\0\x03\x10\x05\x0a\0"),
            (PoolEvent::Deleted, b"\x02"),
            (PoolEvent::Paused { until_ms: 300, reason: "r".to_owned() }, b"\x03\xac\x02\x01r"),
            (
                PoolEvent::Joined {
                    instance: instance.clone(),
                    session: SessionId(7),
                    zone: "z".to_owned(),
                    capacity: 9,
                    address: "a".to_owned(),
                    metadata: Bytes::from_static(b"m"),
                },
                b"\x04\x01x\x07\x09\x01z\x01a\x01m",
            ),
            (PoolEvent::Away { instance: instance.clone(), until_ms: 300 }, b"\x05\x01x\xac\x02"),
            (PoolEvent::Left { instance: instance.clone() }, b"\x06\x01x"),
            (PoolEvent::MemberStateSet { instance, state: MemberState::Draining }, b"\x07\x01x\x02"),
        ]
    }

    fn of_shards() -> Vec<(PoolEvent, &'static [u8])> {
        let (shard, instance, to) =
            (Bytes::from_static(b"1"), Bytes::from_static(b"x"), Bytes::from_static(b"y"));
        let (session, epoch, from, deadline_ms) = (SessionId(7), Revision(300), instance.clone(), 5);
        let loss = ShardLoss::Moved;
        let pin = Some(to.clone());
        let shard = || shard.clone();
        let instance = || instance.clone();
        vec![
            (PoolEvent::ShardAdded { shard: shard(), weight: 2 }, b"\x08\x011\x02"),
            (PoolEvent::ShardRetired { shard: shard() }, b"\x09\x011"),
            (PoolEvent::ShardRemoved { shard: shard() }, b"\x0a\x011"),
            (PoolEvent::ShardTuned { shard: shard(), weight: 2, load: 3, pin }, b"\x0b\x011\x02\x03\x01y"),
            (
                PoolEvent::Granted { shard: shard(), instance: instance(), session, epoch },
                b"\x0c\x011\x01x\x07\xac\x02",
            ),
            (
                PoolEvent::Preparing { shard: shard(), from: from.clone(), to: to.clone(), deadline_ms },
                b"\x0d\x011\x01x\x05\x01y",
            ),
            (
                PoolEvent::Draining { shard: shard(), from, to: to.clone(), deadline_ms },
                b"\x0e\x011\x01x\x05\x01y",
            ),
            (PoolEvent::MoveCancelled { shard: shard(), to }, b"\x0f\x011\x01y"),
            (
                PoolEvent::Lost { shard: shard(), instance: instance(), epoch, loss, withheld_until_ms: 6 },
                b"\x10\x011\x01x\xac\x02\x06\x04",
            ),
            (PoolEvent::Available { shard: shard() }, b"\x11\x011"),
            (
                PoolEvent::SecondaryAdded { shard: shard(), instance: instance(), session, epoch },
                b"\x12\x011\x01x\x07\xac\x02",
            ),
            (PoolEvent::SecondaryReady { shard: shard(), instance: instance() }, b"\x13\x011\x01x"),
            (PoolEvent::SecondaryDropped { shard: shard(), instance: instance() }, b"\x14\x011\x01x"),
        ]
    }

    #[test]
    fn events_are_pinned() {
        for (event, bytes) in of_pools_and_members().into_iter().chain(of_shards()) {
            assert_eq!(round_trip(&event), bytes, "{event:?}");
        }
    }

    #[test]
    fn losses_have_their_numbers() {
        let all: Vec<u8> = (0..=u8::MAX).filter_map(ShardLoss::from_number).map(|loss| loss as u8).collect();
        assert_eq!(all, [0, 1, 2, 3, 4]);
    }
}
