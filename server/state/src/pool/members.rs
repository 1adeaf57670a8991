//! What instances do themselves: join, leave, be ready, release, report.

use crate::command::Rejection;
use crate::ids::{Revision, SessionId};
use crate::limits::{
    METADATA_BYTES_MAX, OBJECT_NAME_BYTES_MAX, OBJECT_TEXT_BYTES_MAX, POOL_MEMBERS_MAX, POOL_STEPS_MAX,
};
use crate::pool::layout::Role;
use crate::pool::ledger::{self, Ledger};
use crate::pool::records::{Member, Shard};
use crate::pool::reply::Primary;
use crate::pool::{Join, MemberState, PoolError, PoolEvent, PoolFault, ShardLoss, ShardToken};
use bytes::Bytes;

/// A reported load that differs by less than one part in this many changes nothing, so that
/// measurements alone do not fill the history.
const LOAD_PARTS: u64 = 10;

impl Ledger<'_, '_> {
    /// Has an instance take part. Gives what it owns then.
    pub(super) fn join(&mut self, join: &Join) -> Result<Vec<(Bytes, Revision)>, Rejection> {
        demand_join(join).map_err(PoolError::from)?;
        let Join { instance, session, .. } = join;
        if !self.work.session_exists(*session) {
            return Err(Rejection::SessionNotFound { session: *session });
        }
        let old = self.member(instance);
        match &old {
            None if self.pool.member_count >= POOL_MEMBERS_MAX as u64 => {
                return Err(PoolError::TooManyMembers { pool: self.name.clone() }.into());
            }
            Some(member) if member.is_present() && member.session != *session => {
                let (pool, instance) = (self.name.clone(), instance.clone());
                return Err(PoolError::InstanceInUse { pool, instance, session: member.session }.into());
            }
            None | Some(_) => self.take_part(join, old.as_ref()),
        }
        Ok(self.owned_by(instance))
    }

    fn take_part(&mut self, join: &Join, old: Option<&Member>) {
        let Join { instance, session, zone, capacity, address, metadata } = join.clone();
        let was_present = old.is_some_and(Member::is_present);
        let member = Member {
            session,
            zone: zone.clone(),
            capacity,
            address: address.clone(),
            metadata: metadata.clone(),
            state: old.map_or(MemberState::Active, |old| old.state),
            joined: old.map_or(Revision(0), |old| old.joined),
            away_until_ms: 0,
            note_ms: 0,
        };
        if old == Some(&member) {
            return;
        }
        let joined = if was_present { member.joined } else { self.epoch() };
        self.set_member(&instance, old, Some(&Member { joined, ..member }));
        self.tell(PoolEvent::Joined {
            instance: instance.clone(),
            session,
            zone,
            capacity,
            address,
            metadata,
        });
        if !was_present {
            self.give_back(&instance);
        }
    }

    fn owned_by(&self, instance: &Bytes) -> Vec<(Bytes, Revision)> {
        let owned = self.shards_of(instance, Role::Primary).into_iter();
        let epoch = |shard: &Bytes| self.find(shard)?.primary.owner().map(|owner| owner.epoch);
        owned.filter_map(|shard| epoch(&shard).map(|epoch| (shard, epoch))).collect()
    }

    /// Refuses an instance that does not take part under this session.
    fn demand_member(&self, instance: &Bytes, session: SessionId) -> Result<(), PoolError> {
        let member = self.member(instance).filter(Member::is_present);
        if member.is_some_and(|member| member.session == session) {
            return Ok(());
        }
        Err(PoolError::NotMember { pool: self.name.clone(), instance: instance.clone(), session })
    }

    /// Has an instance take part no longer.
    pub(super) fn leave(&mut self, instance: &Bytes, session: SessionId) -> Result<(), PoolError> {
        self.demand_member(instance, session)?;
        self.give_up_plans(instance);
        self.depart(instance, ShardLoss::Closed);
        Ok(())
    }

    /// Notes that an instance is warm. What it is not asked for any more is passed over: that may
    /// have changed while it got ready.
    pub(super) fn ready(
        &mut self,
        instance: &Bytes,
        session: SessionId,
        shards: &[Bytes],
    ) -> Result<(), PoolError> {
        demand_count(shards.len())?;
        self.demand_member(instance, session)?;
        for shard in shards {
            if let Some(entry) = self.find(shard) {
                let entry = self.copy_is_ready(shard, entry, instance);
                self.target_is_ready(shard, &entry, instance);
            }
        }
        Ok(())
    }

    fn copy_is_ready(&mut self, shard: &Bytes, entry: Shard, instance: &Bytes) -> Shard {
        let Some(place) = entry.secondaries.iter().position(|one| one.instance == *instance && !one.ready)
        else {
            return entry;
        };
        let entry = self.change_shard(shard, &entry, |entry| entry.secondaries[place].ready = true);
        self.tell(PoolEvent::SecondaryReady { shard: shard.clone(), instance: instance.clone() });
        entry
    }

    fn target_is_ready(&mut self, shard: &Bytes, entry: &Shard, instance: &Bytes) {
        let Primary::Moving { from, to, draining: false, .. } = &entry.primary else { return };
        if to != instance {
            return;
        }
        let late_ms = self.deadline_ms();
        self.change_shard(shard, entry, |entry| {
            if let Primary::Moving { draining, deadline_ms, .. } = &mut entry.primary {
                (*draining, *deadline_ms) = (true, late_ms);
            }
        });
        let (from, to) = (from.instance.clone(), to.clone());
        self.tell(PoolEvent::Draining { shard: shard.clone(), from, to, deadline_ms: late_ms });
    }

    /// Has an owner let primaries go, all or none.
    pub(super) fn release(
        &mut self,
        instance: &Bytes,
        session: SessionId,
        shards: &[ShardToken],
    ) -> Result<(), PoolError> {
        demand_count(shards.len())?;
        self.demand_member(instance, session)?;
        for ShardToken { shard, epoch } in shards {
            // A shard that is named twice has another epoch, or none, the second time.
            let entry = self.find(shard).filter(|entry| {
                let owner = entry.primary.owner();
                owner.is_some_and(|owner| owner.instance == *instance && owner.epoch == *epoch)
            });
            let Some(entry) = entry else {
                let (pool, shard) = (self.name.clone(), shard.clone());
                return Err(PoolError::NotOwned { pool, shard, epoch: *epoch });
            };
            self.lose(shard, &entry, ShardLoss::Released, None);
        }
        Ok(())
    }

    /// Notes how much work shards are. Those that the instance does not own any more are passed over.
    pub(super) fn report(
        &mut self,
        instance: &Bytes,
        session: SessionId,
        loads: &[(Bytes, u32)],
    ) -> Result<(), PoolError> {
        demand_count(loads.len())?;
        self.demand_member(instance, session)?;
        for (shard, load) in loads {
            let owned = self
                .find(shard)
                .filter(|entry| entry.primary.owner().is_some_and(|owner| owner.instance == *instance));
            if let Some(entry) = owned.filter(|entry| is_another_load(entry.load, *load)) {
                self.tune(shard, &entry, |entry| entry.load = *load);
            }
        }
        Ok(())
    }

    /// Changes weight, load or pin of a shard.
    pub(super) fn tune(&mut self, shard: &Bytes, entry: &Shard, change: impl FnOnce(&mut Shard)) {
        let Shard { weight, load, pin, .. } = self.change_shard(shard, entry, change);
        self.tell(PoolEvent::ShardTuned { shard: shard.clone(), weight, load, pin });
    }
}

/// Whether a load differs from the present one by so much that it counts.
fn is_another_load(old: u32, new: u32) -> bool {
    let difference = u64::from(old.abs_diff(new));
    difference > 0 && (old == 0 || new == 0 || difference * LOAD_PARTS >= u64::from(old))
}

/// Refuses to name nothing, or too much.
pub(super) fn demand_count(count: usize) -> Result<(), PoolFault> {
    if count == 0 || count > POOL_STEPS_MAX { Err(PoolFault::Count) } else { Ok(()) }
}

/// Refuses an impossible name of an instance.
pub(super) fn demand_instance(instance: &[u8]) -> Result<(), PoolFault> {
    if ledger::is_name(instance, OBJECT_NAME_BYTES_MAX) { Ok(()) } else { Err(PoolFault::InstanceName) }
}

fn demand_join(join: &Join) -> Result<(), PoolFault> {
    demand_instance(&join.instance)?;
    if join.capacity == 0 {
        return Err(PoolFault::Capacity);
    }
    if join.zone.len().max(join.address.len()) > OBJECT_TEXT_BYTES_MAX {
        return Err(PoolFault::Text);
    }
    if join.metadata.len() > METADATA_BYTES_MAX {
        return Err(PoolFault::Metadata);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_counts_from_a_tenth_on() {
        let table = [(0, 0, false), (0, 1, true), (5, 0, true), (100, 109, false), (100, 110, true)];
        for (old, new, counts) in table {
            assert_eq!(is_another_load(old, new), counts, "{old} to {new}");
            assert!(old != new || !is_another_load(new, old));
        }
        assert!(is_another_load(100, 90) && !is_another_load(100, 91) && is_another_load(u32::MAX, 1));
    }
}
