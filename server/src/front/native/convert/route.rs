//! Routing tables and their changes, outwards: what of a pool concerns whoever wants to reach an owner.

use bytes::Bytes;
use oarlock_proto::v1::{self, route_change as wire, route_response::Kind};
use oarlock_state::Revision;
use oarlock_state::pool::{MemberInfo, PoolEvent, PoolState, Secondary, ShardInfo, ShardSet};

/// The whole table of one revision.
pub fn table(version: Revision, state: PoolState) -> v1::RouteResponse {
    let table = v1::RouteTable {
        slots: slots(state.shards_of),
        members: state.members.into_iter().map(member).collect(),
        shards: state.shards.into_iter().map(shard).collect(),
    };
    v1::RouteResponse { version: version.get(), kind: Some(Kind::Table(table)) }
}

/// What events change, up to and including a revision.
pub fn changes(version: Revision, events: impl Iterator<Item = PoolEvent>) -> v1::RouteResponse {
    let kind = changes_of(events);
    v1::RouteResponse { version: version.get(), kind: Some(kind) }
}

/// Nothing changed up to this revision.
pub fn unchanged(version: Revision) -> v1::RouteResponse {
    v1::RouteResponse { version: version.get(), kind: Some(Kind::Unchanged(true)) }
}

fn changes_of(events: impl Iterator<Item = PoolEvent>) -> Kind {
    let mut changes = Vec::new();
    let mut founded = None;
    for event in events {
        if let PoolEvent::Created { shards, .. } = event {
            // A new pool: whatever was known of one of that name before is void.
            changes.clear();
            founded = Some(new_table(shards));
        } else {
            changes.extend(change(event));
        }
    }
    let changes = changes.into_iter().map(|change| v1::RouteChange { change: Some(change) }).collect();
    let changes = v1::RouteChanges { founded, changes };
    if changes == v1::RouteChanges::default() { Kind::Unchanged(true) } else { Kind::Changes(changes) }
}

/// The table of a pool that was just made.
fn new_table(shards: ShardSet) -> v1::RouteTable {
    let slots = slots(shards);
    let shard = |slot: u32| v1::ShardRoute { shard: slot.to_string().into(), ..Default::default() };
    v1::RouteTable { slots, members: Vec::new(), shards: (0..slots).map(shard).collect() }
}

/// What an event changes of the table, if anything.
fn change(event: PoolEvent) -> Option<wire::Change> {
    use wire::Change;
    Some(match event {
        PoolEvent::Joined { instance, zone, address, metadata, .. } => {
            Change::Member(v1::RouteMember { instance, address, zone, metadata })
        }
        PoolEvent::Left { instance } => Change::MemberGone(instance),
        PoolEvent::ShardAdded { shard, .. } => Change::Shard(v1::ShardRoute { shard, ..Default::default() }),
        PoolEvent::ShardRemoved { shard } => Change::ShardGone(shard),
        PoolEvent::Granted { shard, instance, epoch, .. } => {
            Change::Owner(wire::OwnerChange { shard, instance, epoch: epoch.get() })
        }
        PoolEvent::Lost { shard, .. } => Change::Owner(wire::OwnerChange { shard, ..Default::default() }),
        PoolEvent::SecondaryAdded { shard, instance, .. } => Change::Copy(copy(shard, instance, false)),
        PoolEvent::SecondaryReady { shard, instance } => Change::Copy(copy(shard, instance, true)),
        PoolEvent::SecondaryDropped { shard, instance } => Change::CopyGone(copy(shard, instance, false)),
        PoolEvent::Deleted => Change::PoolGone(true),
        // A table of its own.
        PoolEvent::Created { .. } => return None,
        // Of no interest to whoever wants to reach the owner.
        PoolEvent::PolicySet(_)
        | PoolEvent::Paused { .. }
        | PoolEvent::Away { .. }
        | PoolEvent::MemberStateSet { .. }
        | PoolEvent::ShardRetired { .. }
        | PoolEvent::ShardTuned { .. }
        | PoolEvent::Preparing { .. }
        | PoolEvent::Draining { .. }
        | PoolEvent::MoveCancelled { .. }
        | PoolEvent::Available { .. } => return None,
    })
}

fn copy(shard: Bytes, instance: Bytes, ready: bool) -> wire::CopyChange {
    wire::CopyChange { shard, instance, ready }
}

fn slots(shards: ShardSet) -> u32 {
    match shards {
        ShardSet::Slots(count) => count,
        ShardSet::Named => 0,
    }
}

fn member(member: MemberInfo) -> v1::RouteMember {
    let MemberInfo { instance, address, zone, metadata, .. } = member;
    v1::RouteMember { instance, address, zone, metadata }
}

fn shard(shard: ShardInfo) -> v1::ShardRoute {
    let owner = shard.primary.owner();
    let copy = |copy: Secondary| v1::shard_route::Copy { instance: copy.instance, ready: copy.ready };
    v1::ShardRoute {
        instance: owner.map(|owner| owner.instance.clone()).unwrap_or_default(),
        epoch: owner.map_or(0, |owner| owner.epoch.get()),
        shard: shard.shard,
        secondaries: shard.secondaries.into_iter().map(copy).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::SessionId;
    use oarlock_state::pool::{Policy, ShardLoss};

    fn moved() -> Vec<PoolEvent> {
        let (shard, instance) = (Bytes::from("1"), Bytes::from("old"));
        vec![
            PoolEvent::Lost {
                shard: shard.clone(),
                instance,
                epoch: Revision(3),
                loss: ShardLoss::Moved,
                withheld_until_ms: 0,
            },
            PoolEvent::Granted { shard, instance: "new".into(), session: SessionId(5), epoch: Revision(9) },
        ]
    }

    #[test]
    fn a_move_is_one_response_that_ends_with_an_owner() {
        let response = changes(Revision(9), moved().into_iter());
        let Some(Kind::Changes(changes)) = response.kind else { panic!("changes: {response:?}") };
        assert_eq!((response.version, changes.changes.len()), (9, 2));
        let Some(wire::Change::Owner(last)) = &changes.changes[1].change else { panic!("an owner") };
        assert_eq!((last.instance.as_ref(), last.epoch), (b"new".as_slice(), 9));
    }

    #[test]
    fn what_concerns_no_route_is_a_sign_of_life() {
        let event = PoolEvent::Paused { until_ms: 5, reason: String::new() };
        assert_eq!(changes(Revision(9), [event].into_iter()), unchanged(Revision(9)));
    }

    #[test]
    fn a_pool_that_is_made_anew_voids_what_was_known() {
        let created = PoolEvent::Created { shards: ShardSet::Slots(2), policy: Policy::default() };
        let events = moved().into_iter().chain([PoolEvent::Deleted, created]).chain(moved());
        let response = changes(Revision(9), events);
        let Some(Kind::Changes(changes)) = response.kind else { panic!("changes: {response:?}") };
        assert_eq!(changes.founded.map(|table| table.shards.len()), Some(2));
        assert_eq!(changes.changes.len(), 2, "what came after it");
    }
}
