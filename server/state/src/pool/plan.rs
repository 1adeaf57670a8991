//! Plans and an operator's orders: whether each step is safe and allowed as things are.
//!
//! A plan says where shards should be; here is checked only that no step takes a shard from an owner
//! that did not let go, gives one to nobody who takes part, or goes beyond the pool's policy. A plan
//! that was made for another state of the pool is refused as a whole: what looked right then may
//! undo what was done since.

use crate::event::Cause;
use crate::ids::{Revision, SessionId};
use crate::limits::POOL_STEPS_MAX;
use crate::pool::ledger::Ledger;
use crate::pool::records::Shard;
use crate::pool::reply::Primary;
use crate::pool::{MemberState, PoolError, PoolFault, ShardLoss, Spread, Step, StepFault};
use bytes::Bytes;

impl Ledger<'_, '_> {
    /// Takes the steps of a plan.
    pub(super) fn assign(&mut self, basis: Revision, steps: &[Step]) -> Result<(), PoolError> {
        if steps.is_empty() || steps.len() > POOL_STEPS_MAX {
            return Err(PoolFault::Count.into());
        }
        let changed = self.pool.changed;
        if basis != changed {
            return Err(PoolError::Stale { pool: self.name.clone(), basis, changed });
        }
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> Result<(), PoolError> {
        let (Step::Grant { shard, .. }
        | Step::Move { shard, .. }
        | Step::CancelMove { shard }
        | Step::AddSecondary { shard, .. }
        | Step::DropSecondary { shard, .. }) = step;
        let entry = self.shard(shard)?;
        let taken = match step {
            Step::Grant { to, .. } => self.try_grant(shard, &entry, to),
            Step::Move { to, .. } => self.within_budget().and_then(|()| {
                self.try_move(shard, &entry, to)?;
                let now_ms = self.now_ms();
                self.pool.count_move(now_ms);
                Ok(())
            }),
            Step::CancelMove { .. } if matches!(entry.primary, Primary::Moving { .. }) => {
                self.cancel_move(shard, entry);
                Ok(())
            }
            Step::CancelMove { .. } => Err(StepFault::NotMoving),
            Step::AddSecondary { to, .. } => self.try_add_copy(shard, &entry, to),
            Step::DropSecondary { from, .. } => {
                if keeps_copy(&entry, from) {
                    self.drop_copy(shard, &entry, from);
                    Ok(())
                } else {
                    Err(StepFault::NoCopy)
                }
            }
        };
        taken.map_err(|fault| self.refused(shard, fault))
    }

    fn try_grant(&mut self, shard: &Bytes, entry: &Shard, to: &Bytes) -> Result<(), StepFault> {
        match entry.primary {
            Primary::Unassigned { .. } => {}
            Primary::Owned(_) | Primary::Moving { .. } => return Err(StepFault::Owned),
            Primary::Withheld { .. } => return Err(StepFault::Withheld),
        }
        let session = self.heir(entry, to)?;
        self.grant(shard, entry, to, session);
        Ok(())
    }

    fn try_move(&mut self, shard: &Bytes, entry: &Shard, to: &Bytes) -> Result<(), StepFault> {
        match &entry.primary {
            Primary::Owned(owner) if owner.instance == *to => return Err(StepFault::SameOwner),
            Primary::Owned(_) => {}
            Primary::Moving { .. } => return Err(StepFault::Moving),
            Primary::Unassigned { .. } => return Err(StepFault::Unowned),
            Primary::Withheld { .. } => return Err(StepFault::Withheld),
        }
        let session = self.heir(entry, to)?;
        self.begin_move(shard, entry, to, session);
        Ok(())
    }

    fn within_budget(&self) -> Result<(), StepFault> {
        if self.is_paused() {
            return Err(StepFault::Paused);
        }
        if self.pool.moving >= u64::from(self.pool.policy.moves_max) {
            return Err(StepFault::MovesMax);
        }
        if self.pool.moves_left(self.now_ms()) == 0 {
            return Err(StepFault::MovesPerMinute);
        }
        Ok(())
    }

    fn try_add_copy(&mut self, shard: &Bytes, entry: &Shard, to: &Bytes) -> Result<(), StepFault> {
        if entry.retired {
            return Err(StepFault::Retired);
        }
        if keeps_copy(entry, to) {
            return Err(StepFault::HasCopy);
        }
        // One more than wanted, so that a copy can be replaced once the new one is ready.
        let wanted = self.pool.policy.secondaries as usize;
        if wanted == 0 || entry.secondaries.len() > wanted {
            return Err(StepFault::CopiesMax);
        }
        if entry.primary.owner().is_some_and(|owner| owner.instance == *to) {
            return Err(StepFault::SameOwner);
        }
        let (session, zone) = self.accepting(to, false)?;
        let (owner, target) = match &entry.primary {
            Primary::Owned(owner) => (Some(&owner.instance), None),
            Primary::Moving { from, to, .. } => (Some(&from.instance), Some(to)),
            Primary::Unassigned { .. } | Primary::Withheld { .. } => (None, None),
        };
        let others = entry.secondaries.iter().map(|secondary| &secondary.instance);
        let others = others.chain(owner).chain(target).filter(|instance| *instance != to);
        if self.is_in_zone(others, &zone) {
            return Err(StepFault::Zone);
        }
        self.add_copy(shard, entry, to, session);
        Ok(())
    }

    /// The session of a member that may be given the primary.
    fn heir(&self, entry: &Shard, to: &Bytes) -> Result<SessionId, StepFault> {
        if entry.retired {
            return Err(StepFault::Retired);
        }
        if entry.pin.as_ref().is_some_and(|pin| pin != to) {
            return Err(StepFault::Pinned);
        }
        Ok(self.accepting(to, entry.pin.is_some())?.0)
    }

    /// Session and zone of a member that may be given something new. What is pinned there it is
    /// given whatever its state.
    fn accepting(&self, to: &Bytes, is_pinned: bool) -> Result<(SessionId, String), StepFault> {
        let member = self.member(to).filter(|member| member.is_present()).ok_or(StepFault::NoMember)?;
        if member.state != MemberState::Active && !is_pinned {
            return Err(StepFault::NotAccepting);
        }
        Ok((member.session, member.zone))
    }

    /// Whether one of them is in this zone, where copies must not be in one. A zone without a name is
    /// one like any other.
    pub(super) fn is_in_zone<'a>(&self, instances: impl IntoIterator<Item = &'a Bytes>, zone: &str) -> bool {
        self.pool.policy.spread == Spread::Require
            && instances.into_iter().any(|other| self.member(other).is_some_and(|member| member.zone == zone))
    }

    /// An operator's order to move a shard: one that moves elsewhere is redirected, one that nobody
    /// has is granted at once. Neither a pause nor the budget forbids it.
    pub(super) fn order_move(&mut self, shard: &Bytes, to: &Bytes) -> Result<(), PoolError> {
        let entry = self.shard(shard)?;
        let entry = match &entry.primary {
            Primary::Moving { to: target, .. } if target == to => return Ok(()),
            Primary::Moving { .. } => self.cancel_move(shard, entry),
            Primary::Owned(_) | Primary::Unassigned { .. } | Primary::Withheld { .. } => entry,
        };
        let taken = match entry.primary {
            Primary::Unassigned { .. } => self.try_grant(shard, &entry, to),
            Primary::Owned(_) | Primary::Moving { .. } | Primary::Withheld { .. } => {
                self.try_move(shard, &entry, to)
            }
        };
        taken.map_err(|fault| self.refused(shard, fault))
    }

    /// An operator's act: takes a primary away at once.
    pub(super) fn force(&mut self, shard: &Bytes) -> Result<(), PoolError> {
        let entry = self.shard(shard)?;
        self.work.set_cause(Cause::Admin);
        match &entry.primary {
            Primary::Owned(_) | Primary::Moving { .. } => {
                self.lose(shard, &entry, ShardLoss::Forced, None);
                Ok(())
            }
            Primary::Withheld { instance, .. } => {
                self.let_go(shard, &entry);
                self.forget_if_idle(instance);
                Ok(())
            }
            Primary::Unassigned { .. } => Err(self.refused(shard, StepFault::Unowned)),
        }
    }
}

fn keeps_copy(entry: &Shard, instance: &Bytes) -> bool {
    entry.secondaries.iter().any(|secondary| secondary.instance == *instance)
}
