//! Executes operations, each in the scratch's open transaction.
//!
//! A refusal may leave changes behind in the scratch: whoever calls undoes the whole proposal.

use crate::command::Rejection;
use crate::limits::{
    LOCK_DELAY_MS_MAX, OBJECT_TEXT_BYTES_MAX, POOL_DELAY_MS_MAX, POOL_PAUSE_MS_MAX, POOL_SHARDS_MAX,
    SECONDARIES_MAX, SHARD_NAME_BYTES_MAX,
};
use crate::machine::scratch::Scratch;
use crate::pool::departure::elapse;
use crate::pool::ledger::{self, Ledger};
use crate::pool::members::{demand_count, demand_instance};
use crate::pool::records::{Member, Pool, Shard};
use crate::pool::reply::Primary;
use crate::pool::{
    MemberState, Policy, PoolError, PoolEvent, PoolFault, PoolOp, PoolReply, ShardSet, layout,
};
use bytes::Bytes;

/// Executes one operation.
pub(crate) fn execute(work: &mut Scratch<'_>, op: &PoolOp) -> Result<PoolReply, Rejection> {
    let pool = match op {
        PoolOp::Create { pool, shards, policy } => {
            create(work, pool, *shards, policy)?;
            return Ok(PoolReply::Done);
        }
        PoolOp::Delete { pool, force } => {
            delete(work, pool, *force)?;
            return Ok(PoolReply::Done);
        }
        PoolOp::Elapse => {
            elapse(work);
            return Ok(PoolReply::Done);
        }
        PoolOp::SetPolicy { pool, .. }
        | PoolOp::AddShards { pool, .. }
        | PoolOp::RemoveShards { pool, .. }
        | PoolOp::Join { pool, .. }
        | PoolOp::Leave { pool, .. }
        | PoolOp::Ready { pool, .. }
        | PoolOp::Release { pool, .. }
        | PoolOp::Report { pool, .. }
        | PoolOp::SetMemberState { pool, .. }
        | PoolOp::Pin { pool, .. }
        | PoolOp::SetWeights { pool, .. }
        | PoolOp::Pause { pool, .. }
        | PoolOp::Move { pool, .. }
        | PoolOp::Force { pool, .. }
        | PoolOp::Assign { pool, .. } => pool,
    };
    let mut ledger = Ledger::open(work, pool)?;
    let reply = within(&mut ledger, op)?;
    ledger.close();
    Ok(reply)
}

/// Executes an operation of a pool that exists.
fn within(ledger: &mut Ledger<'_, '_>, op: &PoolOp) -> Result<PoolReply, Rejection> {
    match op {
        PoolOp::Join { join, .. } => {
            let owned = ledger.join(join)?;
            return Ok(PoolReply::Joined { owned });
        }
        PoolOp::SetPolicy { policy, .. } => ledger.set_policy(policy),
        PoolOp::AddShards { shards, .. } => ledger.add_shards(shards),
        PoolOp::RemoveShards { shards, .. } => ledger.remove_shards(shards),
        PoolOp::Leave { instance, session, .. } => ledger.leave(instance, *session),
        PoolOp::Ready { instance, session, shards, .. } => ledger.ready(instance, *session, shards),
        PoolOp::Release { instance, session, shards, .. } => ledger.release(instance, *session, shards),
        PoolOp::Report { instance, session, loads, .. } => ledger.report(instance, *session, loads),
        PoolOp::SetMemberState { instance, state, .. } => ledger.set_member_state(instance, *state),
        PoolOp::Pin { shard, to, .. } => ledger.pin(shard, to.as_ref()),
        PoolOp::SetWeights { weights, .. } => ledger.set_weights(weights),
        PoolOp::Pause { for_ms, reason, .. } => ledger.pause_for(*for_ms, reason),
        PoolOp::Move { shard, to, .. } => ledger.order_move(shard, to),
        PoolOp::Force { shard, .. } => ledger.force(shard),
        PoolOp::Assign { basis, steps, .. } => ledger.assign(*basis, steps),
        PoolOp::Create { .. } | PoolOp::Delete { .. } | PoolOp::Elapse => Ok(()),
    }?;
    Ok(PoolReply::Done)
}

fn create(work: &mut Scratch<'_>, name: &Bytes, shards: ShardSet, policy: &Policy) -> Result<(), PoolError> {
    ledger::demand_name(name)?;
    demand_policy(policy)?;
    let slots = match shards {
        ShardSet::Named => 0,
        ShardSet::Slots(count) if (1..=POOL_SHARDS_MAX).contains(&count) => count,
        ShardSet::Slots(_) => return Err(PoolFault::Slots.into()),
    };
    if let Some(found) = ledger::pool(work, name) {
        let is_same = found.shards == shards && found.policy == *policy;
        return if is_same { Ok(()) } else { Err(PoolError::PoolExists { pool: name.clone() }) };
    }
    let created = work.change_silently();
    let mut ledger = Ledger::create(work, name, Pool::new(shards, policy.clone(), created));
    ledger.tell(PoolEvent::Created { shards, policy: policy.clone() });
    let slot = Shard::new(1, ledger.now_ms());
    for number in 0..slots {
        ledger.set_shard(&number.to_string().into(), None, Some(&slot));
    }
    ledger.close();
    Ok(())
}

/// Removes a pool with everything in it.
fn delete(work: &mut Scratch<'_>, name: &Bytes, force: bool) -> Result<(), PoolError> {
    let mut ledger = Ledger::open(work, name)?;
    if !force && ledger.pool.member_count + ledger.pool.withheld > 0 {
        return Err(PoolError::NotEmpty { pool: name.clone() });
    }
    ledger.tell(PoolEvent::Deleted);
    ledger.set_paused_until(0);
    let (from, to) = layout::members(name);
    for (_, instance) in layout::all(ledger.work, (&from, &to), usize::MAX, layout::parse_part) {
        let member = ledger.member(&instance);
        ledger.set_member(&instance, member.as_ref(), None);
    }
    let (from, to) = layout::shards(name);
    for (_, shard) in layout::all(ledger.work, (&from, &to), usize::MAX, layout::parse_part) {
        let entry = ledger.find(&shard);
        ledger.set_shard(&shard, entry.as_ref(), None);
    }
    ledger.work.delete(layout::pool(name));
    Ok(())
}

fn demand_policy(policy: &Policy) -> Result<(), PoolFault> {
    if policy.secondaries > SECONDARIES_MAX {
        return Err(PoolFault::Secondaries);
    }
    if policy.lock_delay_ms > LOCK_DELAY_MS_MAX {
        return Err(PoolFault::LockDelay);
    }
    if policy.reassign_delay_ms > POOL_DELAY_MS_MAX {
        return Err(PoolFault::ReassignDelay);
    }
    if !(1..=POOL_DELAY_MS_MAX).contains(&policy.handoff_ms) {
        return Err(PoolFault::Handoff);
    }
    Ok(())
}

fn demand_shard(shard: &[u8]) -> Result<(), PoolFault> {
    if ledger::is_name(shard, SHARD_NAME_BYTES_MAX) { Ok(()) } else { Err(PoolFault::ShardName) }
}

impl Ledger<'_, '_> {
    fn set_policy(&mut self, policy: &Policy) -> Result<(), PoolError> {
        demand_policy(policy)?;
        if self.pool.policy != *policy {
            self.pool.policy = policy.clone();
            self.tell(PoolEvent::PolicySet(policy.clone()));
        }
        Ok(())
    }

    fn demand_named(&self) -> Result<(), PoolError> {
        match self.pool.shards {
            ShardSet::Named => Ok(()),
            ShardSet::Slots(_) => Err(PoolError::FixedShards { pool: self.name.clone() }),
        }
    }

    fn add_shards(&mut self, shards: &[(Bytes, u32)]) -> Result<(), PoolError> {
        demand_count(shards.len())?;
        self.demand_named()?;
        for (shard, weight) in shards {
            demand_shard(shard)?;
            if *weight == 0 {
                return Err(PoolFault::Weight.into());
            }
            self.add_shard(shard, *weight)?;
        }
        Ok(())
    }

    fn add_shard(&mut self, shard: &Bytes, weight: u32) -> Result<(), PoolError> {
        match self.find(shard) {
            Some(entry) if entry.retired => {
                self.change_shard(shard, &entry, |entry| (entry.retired, entry.weight) = (false, weight));
            }
            Some(_) => return Ok(()),
            None if self.pool.shard_count >= u64::from(POOL_SHARDS_MAX) => {
                return Err(PoolError::TooManyShards { pool: self.name.clone() });
            }
            None => {
                let entry = Shard::new(weight, self.now_ms());
                self.set_shard(shard, None, Some(&entry));
            }
        }
        self.tell(PoolEvent::ShardAdded { shard: shard.clone(), weight });
        Ok(())
    }

    fn remove_shards(&mut self, shards: &[Bytes]) -> Result<(), PoolError> {
        demand_count(shards.len())?;
        self.demand_named()?;
        for shard in shards {
            match self.find(shard) {
                Some(entry) if matches!(entry.primary, Primary::Unassigned { .. }) => {
                    self.remove_shard(shard, &entry);
                }
                Some(entry) if !entry.retired => self.retire(shard, entry),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Has a shard go once its owner releases it, or is known to be gone.
    fn retire(&mut self, shard: &Bytes, entry: Shard) {
        let entry = self.cancel_move(shard, entry);
        let entry = self.change_shard(shard, &entry, |entry| entry.retired = true);
        self.tell(PoolEvent::ShardRetired { shard: shard.clone() });
        if let Some(owner) = entry.primary.owner() {
            let (from, deadline_ms) = (owner.instance.clone(), self.deadline_ms());
            self.tell(PoolEvent::Draining { shard: shard.clone(), from, to: Bytes::new(), deadline_ms });
        }
    }

    fn set_member_state(&mut self, instance: &Bytes, state: MemberState) -> Result<(), PoolError> {
        let absent = || PoolError::MemberNotFound { pool: self.name.clone(), instance: instance.clone() };
        demand_instance(instance)?;
        let member = self.member(instance).ok_or_else(absent)?;
        if member.state != state {
            let new = Member { state, ..member.clone() };
            self.set_member(instance, Some(&member), Some(&new));
            self.tell(PoolEvent::MemberStateSet { instance: instance.clone(), state });
        }
        Ok(())
    }

    fn pin(&mut self, shard: &Bytes, to: Option<&Bytes>) -> Result<(), PoolError> {
        to.map_or(Ok(()), |instance| demand_instance(instance))?;
        let entry = self.shard(shard)?;
        if entry.pin.as_ref() != to {
            self.tune(shard, &entry, |entry| entry.pin = to.cloned());
        }
        Ok(())
    }

    fn set_weights(&mut self, weights: &[(Bytes, u32)]) -> Result<(), PoolError> {
        demand_count(weights.len())?;
        for (shard, weight) in weights {
            if *weight == 0 {
                return Err(PoolFault::Weight.into());
            }
            let entry = self.shard(shard)?;
            if entry.weight != *weight {
                self.tune(shard, &entry, |entry| entry.weight = *weight);
            }
        }
        Ok(())
    }

    fn pause_for(&mut self, for_ms: u64, reason: &str) -> Result<(), PoolError> {
        if for_ms > POOL_PAUSE_MS_MAX {
            return Err(PoolFault::Pause.into());
        }
        if reason.len() > OBJECT_TEXT_BYTES_MAX {
            return Err(PoolFault::Text.into());
        }
        match for_ms {
            0 if self.pool.paused_until_ms == 0 => {}
            0 => self.pause(0, ""),
            1.. => self.pause(self.now_ms().saturating_add(for_ms), reason),
        }
        Ok(())
    }
}
