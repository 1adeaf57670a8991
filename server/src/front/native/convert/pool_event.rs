//! What happens to shard pools, outwards.

use super::pool_reply::{member_state, policy, shard_set};
use bytes::Bytes;
use oarlock_proto::v1::{self, pool_event as wire};
use oarlock_state::SessionId;
use oarlock_state::event::Event;
use oarlock_state::pool::{PoolEvent, ShardLoss};

/// Something that happened to a pool. `around` is the event that says it.
pub fn event(around: Event, what: PoolEvent) -> v1::PoolEvent {
    v1::PoolEvent {
        pool: around.key,
        revision: around.revision.get(),
        session: around.session.get(),
        event: Some(kind(what)),
    }
}

fn kind(what: PoolEvent) -> wire::Event {
    use wire::Event as Kind;
    match what {
        PoolEvent::Created { shards, policy: of } => {
            Kind::Created(wire::Created { shards: Some(shard_set(shards)), policy: Some(policy(of)) })
        }
        PoolEvent::PolicySet(of) => Kind::PolicySet(policy(of)),
        PoolEvent::Deleted => Kind::Deleted(true),
        PoolEvent::Paused { until_ms, reason } => {
            Kind::Paused(wire::Paused { until_unix_ms: until_ms, reason })
        }
        PoolEvent::Joined { instance, session, zone, capacity, address, metadata } => {
            let session = session.get();
            let member =
                v1::PoolMember { instance, session, zone, capacity, address, metadata, ..Default::default() };
            Kind::Joined(member)
        }
        PoolEvent::Away { instance, until_ms } => {
            Kind::Away(wire::Away { instance, until_unix_ms: until_ms })
        }
        PoolEvent::Left { instance } => Kind::Left(instance),
        PoolEvent::MemberStateSet { instance, state } => {
            Kind::MemberStateSet(wire::MemberStateSet { instance, state: member_state(state).into() })
        }
        PoolEvent::ShardAdded { shard, weight } => {
            Kind::ShardAdded(v1::ShardNumber { shard, number: weight })
        }
        PoolEvent::ShardRetired { shard } => Kind::ShardRetired(shard),
        PoolEvent::ShardRemoved { shard } => Kind::ShardRemoved(shard),
        PoolEvent::ShardTuned { shard, weight, load, pin } => {
            Kind::ShardTuned(wire::ShardTuned { shard, weight, load, pin: pin.unwrap_or_default() })
        }
        PoolEvent::Granted { shard, instance, session, epoch } => {
            let (session, epoch) = (session.get(), epoch.get());
            Kind::Granted(wire::Granted { shard, instance, session, epoch })
        }
        PoolEvent::Preparing { shard, from, to, deadline_ms } => {
            Kind::Preparing(wire::Moving { shard, from, to, deadline_unix_ms: deadline_ms })
        }
        PoolEvent::Draining { shard, from, to, deadline_ms } => {
            Kind::Draining(wire::Moving { shard, from, to, deadline_unix_ms: deadline_ms })
        }
        PoolEvent::MoveCancelled { shard, to } => Kind::MoveCancelled(wire::MoveCancelled { shard, to }),
        PoolEvent::Lost { shard, instance, epoch, loss: why, withheld_until_ms } => Kind::Lost(wire::Lost {
            shard,
            instance,
            epoch: epoch.get(),
            loss: loss(why).into(),
            withheld_until_unix_ms: withheld_until_ms,
        }),
        PoolEvent::Available { shard } => Kind::Available(shard),
        PoolEvent::SecondaryAdded { shard, instance, session: SessionId(session), epoch } => {
            Kind::SecondaryAdded(wire::Copy { shard, instance, session, epoch: epoch.get() })
        }
        PoolEvent::SecondaryReady { shard, instance } => Kind::SecondaryReady(copy(shard, instance)),
        PoolEvent::SecondaryDropped { shard, instance } => Kind::SecondaryDropped(copy(shard, instance)),
    }
}

fn copy(shard: Bytes, instance: Bytes) -> wire::Copy {
    wire::Copy { shard, instance, ..Default::default() }
}

fn loss(loss: ShardLoss) -> wire::Loss {
    match loss {
        ShardLoss::Released => wire::Loss::Released,
        ShardLoss::Expired => wire::Loss::Expired,
        ShardLoss::Closed => wire::Loss::Closed,
        ShardLoss::Forced => wire::Loss::Forced,
        ShardLoss::Moved => wire::Loss::Moved,
    }
}
