//! A watcher that knows nothing but events: it keeps the table of each pool, and objects to events
//! that no rule of ownership allows.

use bytes::Bytes;
use oarlock_state::pool::{
    MemberInfo, Owner, Policy, PoolEvent, PoolState, Primary, Secondary, ShardInfo, ShardLoss, ShardSet,
};
use oarlock_state::{Cause, Event, EventKind, Revision, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// The tables of all pools.
#[derive(Default)]
pub struct Watcher {
    pub pools: BTreeMap<Bytes, PoolState>,
    /// The highest epoch of each shard, its pools of the same name taken together.
    epochs: BTreeMap<(Bytes, Bytes), Revision>,
    /// Before this time nobody may be granted the shard: its owner's session expired.
    locked: BTreeMap<(Bytes, Bytes), u64>,
    /// Shards that must be granted in the same revision.
    owed: BTreeSet<(Bytes, Bytes)>,
}

impl Watcher {
    /// Takes the events of one entry, which has this stamp.
    pub fn see(&mut self, events: &[Event], now_ms: u64) {
        let mut revision = None;
        for event in events {
            if revision.replace(event.revision).is_some_and(|before| before != event.revision) {
                self.settle();
            }
            self.event(event, now_ms);
        }
        self.settle();
    }

    /// A planned move leaves no moment in which nobody owns the shard.
    fn settle(&self) {
        assert!(self.owed.is_empty(), "unowned after a planned move: {:?}", self.owed);
    }

    fn event(&mut self, event: &Event, now_ms: u64) {
        let EventKind::Pool(what) = &event.kind else { panic!("{event:?}") };
        if let PoolEvent::Created { shards, policy } = what {
            let pool = created(event, *shards, policy);
            assert!(self.pools.insert(event.key.clone(), pool).is_none(), "{event:?} again");
            return;
        }
        self.judge(event, what, now_ms);
        if *what == PoolEvent::Deleted {
            self.pools.remove(&event.key).expect("it exists");
            return;
        }
        let pool = self.pools.get_mut(&event.key).expect("it exists");
        if !matches!(what, PoolEvent::ShardTuned { .. }) {
            pool.changed = event.revision;
        }
        of_members(pool, event.revision, what);
        of_shards(pool, what);
    }

    /// Whether the event is one that the rules of ownership allow.
    fn judge(&mut self, event: &Event, what: &PoolEvent, now_ms: u64) {
        let pool = &self.pools[&event.key];
        let of = |shard: &Bytes| (event.key.clone(), shard.clone());
        match what {
            PoolEvent::Granted { shard, instance, epoch, .. } => {
                assert_eq!(*epoch, event.revision);
                let last = self.epochs.insert(of(shard), *epoch).unwrap_or_default();
                assert!(*epoch > last, "epoch {epoch} after {last}");
                match &find(pool, shard).primary {
                    Primary::Unassigned { .. } => {}
                    Primary::Withheld { instance: former, .. } => assert_eq!(former, instance),
                    owned => panic!("{event:?}, which is {owned:?}"),
                }
                let locked = self.locked.remove(&of(shard)).unwrap_or(0);
                assert!(now_ms >= locked, "{event:?} at {now_ms}, locked until {locked}");
                self.owed.remove(&of(shard));
            }
            PoolEvent::Lost { shard, instance, epoch, loss, .. } => {
                let owner = find(pool, shard).primary.owner().expect("somebody owns it");
                assert_eq!((&owner.instance, &owner.epoch), (instance, epoch));
                match loss {
                    ShardLoss::Released => assert_eq!(event.cause, Cause::Request),
                    ShardLoss::Moved => {
                        assert_eq!(event.cause, Cause::Request);
                        self.owed.insert(of(shard));
                    }
                    ShardLoss::Expired => {
                        assert_eq!(event.cause, Cause::Expired);
                        self.locked.insert(of(shard), now_ms + pool.policy.lock_delay_ms);
                    }
                    ShardLoss::Closed => assert!(matches!(event.cause, Cause::Closed | Cause::Request)),
                    ShardLoss::Forced => assert_eq!(event.cause, Cause::Admin),
                }
            }
            PoolEvent::Available { shard } => {
                let locked = self.locked.remove(&of(shard)).unwrap_or(0);
                assert!(event.cause == Cause::Admin || now_ms >= locked, "{event:?} at {now_ms}");
            }
            PoolEvent::Deleted => self.locked.retain(|(pool, _), _| *pool != event.key),
            _ => {}
        }
    }
}

fn created(event: &Event, shards: ShardSet, policy: &Policy) -> PoolState {
    let slots = match shards {
        ShardSet::Slots(count) => (0..count).map(|number| fresh(number.to_string().into(), 1)).collect(),
        ShardSet::Named => Vec::new(),
    };
    PoolState {
        pool: event.key.clone(),
        shards_of: shards,
        policy: policy.clone(),
        created: event.revision,
        changed: event.revision,
        stamp_ms: 0,
        paused_until_ms: 0,
        pause_reason: String::new(),
        moves_left: 0,
        members: Vec::new(),
        shards: slots,
    }
}

fn fresh(shard: Bytes, weight: u32) -> ShardInfo {
    let primary = Primary::Unassigned { since_ms: 0 };
    ShardInfo { shard, weight, load: 0, pin: None, retired: false, primary, secondaries: Vec::new() }
}

fn find<'a>(pool: &'a PoolState, shard: &Bytes) -> &'a ShardInfo {
    pool.shards.iter().find(|one| one.shard == *shard).expect("there is such a shard")
}

fn of_members(pool: &mut PoolState, revision: Revision, what: &PoolEvent) {
    let place = |pool: &PoolState, instance: &Bytes| {
        pool.members.binary_search_by(|member| member.instance.cmp(instance))
    };
    match what {
        PoolEvent::PolicySet(policy) => pool.policy = policy.clone(),
        PoolEvent::Paused { until_ms, reason } => {
            (pool.paused_until_ms, pool.pause_reason) = (*until_ms, reason.clone());
        }
        PoolEvent::Joined { instance, session, zone, capacity, address, metadata } => {
            let old = place(pool, instance).map(|at| pool.members.remove(at)).ok();
            let stays = old.as_ref().filter(|member| member.session == *session);
            let member = MemberInfo {
                instance: instance.clone(),
                session: *session,
                zone: zone.clone(),
                capacity: *capacity,
                address: address.clone(),
                metadata: metadata.clone(),
                state: old.as_ref().map_or_else(Default::default, |member| member.state),
                joined: stays.map_or(revision, |member| member.joined),
                away_until_ms: 0,
            };
            let at = place(pool, instance).expect_err("it was taken out");
            pool.members.insert(at, member);
        }
        PoolEvent::Away { instance, until_ms } => {
            let at = place(pool, instance).expect("it takes part");
            let member = &mut pool.members[at];
            (member.session, member.away_until_ms) = (SessionId(0), *until_ms);
        }
        PoolEvent::Left { instance } => {
            let at = place(pool, instance).expect("it takes part");
            pool.members.remove(at);
        }
        PoolEvent::MemberStateSet { instance, state } => {
            let at = place(pool, instance).expect("it takes part");
            pool.members[at].state = *state;
        }
        _ => {}
    }
}

fn of_shards(pool: &mut PoolState, what: &PoolEvent) {
    let (PoolEvent::ShardAdded { shard, .. }
    | PoolEvent::ShardRetired { shard }
    | PoolEvent::ShardRemoved { shard }
    | PoolEvent::ShardTuned { shard, .. }
    | PoolEvent::Granted { shard, .. }
    | PoolEvent::Preparing { shard, .. }
    | PoolEvent::Draining { shard, .. }
    | PoolEvent::MoveCancelled { shard, .. }
    | PoolEvent::Lost { shard, .. }
    | PoolEvent::Available { shard }
    | PoolEvent::SecondaryAdded { shard, .. }
    | PoolEvent::SecondaryReady { shard, .. }
    | PoolEvent::SecondaryDropped { shard, .. }) = what
    else {
        return;
    };
    let sessions: BTreeMap<Bytes, SessionId> =
        pool.members.iter().map(|member| (member.instance.clone(), member.session)).collect();
    let at = match pool.shards.iter().position(|one| one.shard == *shard) {
        Some(at) => at,
        None => {
            let at = pool.shards.partition_point(|one| one.shard < *shard);
            pool.shards.insert(at, fresh(shard.clone(), 0));
            at
        }
    };
    if matches!(what, PoolEvent::ShardRemoved { .. }) {
        let removed = pool.shards.remove(at);
        assert_eq!(removed.primary.owner(), None, "{removed:?} was removed");
        return;
    }
    of_shard(&mut pool.shards[at], &sessions, what);
}

fn of_shard(info: &mut ShardInfo, sessions: &BTreeMap<Bytes, SessionId>, what: &PoolEvent) {
    match what {
        PoolEvent::ShardAdded { weight, .. } => (info.weight, info.retired) = (*weight, false),
        PoolEvent::ShardRetired { .. } => info.retired = true,
        PoolEvent::ShardTuned { weight, load, pin, .. } => {
            (info.weight, info.load, info.pin) = (*weight, *load, pin.clone());
        }
        PoolEvent::Granted { instance, session, epoch, .. } => {
            let (instance, session, epoch) = (instance.clone(), *session, *epoch);
            info.primary = Primary::Owned(Owner { instance, session, epoch, granted_ms: 0 });
        }
        PoolEvent::Preparing { to, deadline_ms, .. } => {
            let from = info.primary.owner().expect("somebody owns it").clone();
            let session = sessions[to];
            let (to, deadline_ms) = (to.clone(), *deadline_ms);
            info.primary = Primary::Moving { from, to, session, draining: false, deadline_ms };
        }
        // A shard that is to go drains for nobody; the table says that it is retired.
        PoolEvent::Draining { to, .. } if to.is_empty() => assert!(info.retired),
        PoolEvent::Draining { to: target, deadline_ms: until_ms, .. } => match &mut info.primary {
            Primary::Moving { to, draining, deadline_ms, .. } if to == target => {
                (*draining, *deadline_ms) = (true, *until_ms);
            }
            other => panic!("{what:?}, and it is {other:?}"),
        },
        PoolEvent::MoveCancelled { to: target, .. } => match &info.primary {
            Primary::Moving { from, to, .. } if to == target => info.primary = Primary::Owned(from.clone()),
            other => panic!("{what:?}, and it is {other:?}"),
        },
        PoolEvent::Lost { instance, epoch, withheld_until_ms, .. } => {
            let (instance, epoch) = (instance.clone(), *epoch);
            info.primary = match *withheld_until_ms {
                0 => Primary::Unassigned { since_ms: 0 },
                u64::MAX => Primary::Withheld { instance, epoch, until_ms: 0 },
                until_ms => Primary::Withheld { instance, epoch, until_ms },
            };
        }
        PoolEvent::Available { .. } => {
            assert!(matches!(info.primary, Primary::Withheld { .. }), "{what:?}, and it is {info:?}");
            info.primary = Primary::Unassigned { since_ms: 0 };
        }
        PoolEvent::SecondaryAdded { instance, session, epoch, .. } => {
            let (instance, session, epoch) = (instance.clone(), *session, *epoch);
            info.secondaries.push(Secondary { instance, session, epoch, ready: false });
            info.secondaries.sort_by(|one, other| one.instance.cmp(&other.instance));
        }
        PoolEvent::SecondaryReady { instance, .. } => {
            let copy = info.secondaries.iter_mut().find(|copy| copy.instance == *instance);
            copy.expect("it keeps a copy").ready = true;
        }
        PoolEvent::SecondaryDropped { instance, .. } => {
            let before = info.secondaries.len();
            info.secondaries.retain(|copy| copy.instance != *instance);
            assert_eq!(info.secondaries.len() + 1, before, "{what:?}");
        }
        _ => {}
    }
}
