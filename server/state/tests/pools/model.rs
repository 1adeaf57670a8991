//! Pools as simple as they can be told: whole tables in memory, everything found by looking at all of
//! them.

use bytes::Bytes;
use oarlock_state::pool::{Join, MemberState, Policy, PoolOp, ShardSet, ShardToken, Spread, Step};
use oarlock_state::{Revision, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// What a primary has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Free,
    Owned { by: Bytes, epoch: u64 },
    Moving { by: Bytes, epoch: u64, to: Bytes, warm: bool, late_ms: u64 },
    Withheld { of: Bytes, lock_ms: u64, until_ms: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub fate: Fate,
    pub pin: Option<Bytes>,
    pub retired: bool,
    /// Who keeps a copy, and whether it is warm.
    pub copies: BTreeMap<Bytes, bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `None` while it is away.
    pub session: Option<SessionId>,
    pub zone: String,
    pub state: MemberState,
    /// While it is away.
    pub until_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Pool {
    pub kind: ShardSet,
    pub policy: Policy,
    pub members: BTreeMap<Bytes, Member>,
    pub shards: BTreeMap<Bytes, Shard>,
    pub paused_until_ms: u64,
    window_ms: u64,
    begun: u32,
}

/// All pools, and the sessions that there are.
#[derive(Clone, Default)]
pub struct Model {
    pub now_ms: u64,
    pub sessions: BTreeSet<SessionId>,
    pub pools: BTreeMap<Bytes, Pool>,
}

/// Refused, for whatever reason.
#[derive(Debug, PartialEq, Eq)]
pub struct No;

type Verdict = Result<(), No>;

fn demand(holds: bool) -> Verdict {
    if holds { Ok(()) } else { Err(No) }
}

const FOR_EVER: u64 = u64::MAX;

impl Model {
    /// What an operation does, whose revision is this one if it changes something. A refusal changes
    /// nothing. A plan is taken as one for the present state.
    pub fn execute(&mut self, op: &PoolOp, revision: Revision) -> Verdict {
        let mut after = self.clone();
        after.attempt(op, revision.get())?;
        *self = after;
        Ok(())
    }

    fn attempt(&mut self, op: &PoolOp, revision: u64) -> Verdict {
        let (now_ms, sessions) = (self.now_ms, self.sessions.clone());
        let name = match op {
            PoolOp::Create { pool, shards, policy } => return self.create(pool, *shards, policy),
            PoolOp::Elapse => {
                self.pools.values_mut().for_each(|pool| pool.elapse(now_ms, revision));
                return Ok(());
            }
            PoolOp::Delete { pool, force } => {
                let found = self.pools.remove(pool).ok_or(No)?;
                let is_empty = found.members.is_empty() && found.shards.values().all(is_free);
                return demand(is_empty || *force);
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
        let pool = self.pools.get_mut(name).ok_or(No)?;
        match op {
            PoolOp::Join { join, .. } => {
                demand(sessions.contains(&join.session))?;
                pool.join(join, now_ms, revision)
            }
            other => pool.attempt(other, now_ms, revision),
        }
    }

    fn create(&mut self, name: &Bytes, kind: ShardSet, policy: &Policy) -> Verdict {
        if let Some(found) = self.pools.get(name) {
            return demand(found.kind == kind && found.policy == *policy);
        }
        let shards = match kind {
            ShardSet::Slots(count) => (0..count).map(|number| (number.to_string().into(), fresh())).collect(),
            ShardSet::Named => BTreeMap::new(),
        };
        let (members, policy) = (BTreeMap::new(), policy.clone());
        let pool = Pool { kind, policy, members, shards, paused_until_ms: 0, window_ms: 0, begun: 0 };
        self.pools.insert(name.clone(), pool);
        Ok(())
    }

    /// Ends a session. Whether it existed.
    pub fn end(&mut self, session: SessionId, expired: bool, revision: Revision) -> bool {
        for pool in self.pools.values_mut() {
            let carried = |member: &Member| member.session == Some(session);
            let instances: Vec<Bytes> = pool
                .members
                .iter()
                .filter(|(_, member)| carried(member))
                .map(|(instance, _)| instance.clone())
                .collect();
            instances.iter().for_each(|instance| pool.drop_plans(instance));
            for instance in &instances {
                pool.depart(instance, expired, self.now_ms, revision.get());
            }
        }
        self.sessions.remove(&session)
    }
}

fn fresh() -> Shard {
    Shard { fate: Fate::Free, pin: None, retired: false, copies: BTreeMap::new() }
}

fn is_free(shard: &Shard) -> bool {
    shard.fate == Fate::Free
}

fn owner(shard: &Shard) -> Option<(&Bytes, u64)> {
    match &shard.fate {
        Fate::Owned { by, epoch } | Fate::Moving { by, epoch, .. } => Some((by, *epoch)),
        Fate::Free | Fate::Withheld { .. } => None,
    }
}

impl Pool {
    fn attempt(&mut self, op: &PoolOp, now_ms: u64, revision: u64) -> Verdict {
        match op {
            PoolOp::SetPolicy { policy, .. } => self.policy = policy.clone(),
            PoolOp::AddShards { shards, .. } => {
                demand(self.kind == ShardSet::Named)?;
                for (shard, _) in shards {
                    self.shards.entry(shard.clone()).or_insert_with(fresh).retired = false;
                }
            }
            PoolOp::RemoveShards { shards, .. } => {
                demand(self.kind == ShardSet::Named)?;
                shards.iter().for_each(|shard| self.retire(shard));
            }
            PoolOp::Leave { instance, session, .. } => {
                self.demand_member(instance, *session)?;
                self.drop_plans(instance);
                self.depart(instance, false, now_ms, revision);
            }
            PoolOp::Ready { instance, session, shards, .. } => {
                self.demand_member(instance, *session)?;
                shards.iter().for_each(|shard| self.ready(instance, shard));
            }
            PoolOp::Release { instance, session, shards, .. } => {
                self.demand_member(instance, *session)?;
                for ShardToken { shard, epoch } in shards {
                    let found = self.shards.get(shard).ok_or(No)?;
                    demand(owner(found) == Some((instance, epoch.get())))?;
                    self.lose(shard, revision);
                }
            }
            PoolOp::Report { instance, session, .. } => self.demand_member(instance, *session)?,
            PoolOp::SetMemberState { instance, state, .. } => {
                self.members.get_mut(instance).ok_or(No)?.state = *state;
            }
            PoolOp::Pin { shard, to, .. } => self.shards.get_mut(shard).ok_or(No)?.pin = to.clone(),
            PoolOp::SetWeights { weights, .. } => {
                demand(weights.iter().all(|(shard, _)| self.shards.contains_key(shard)))?;
            }
            PoolOp::Pause { for_ms, .. } => {
                self.paused_until_ms = if *for_ms == 0 { 0 } else { now_ms + for_ms };
            }
            PoolOp::Move { shard, to, .. } => self.order(shard, to, now_ms, revision)?,
            PoolOp::Force { shard, .. } => self.force(shard, revision)?,
            PoolOp::Assign { steps, .. } => {
                for step in steps {
                    self.step(step, now_ms, revision)?;
                }
            }
            PoolOp::Create { .. } | PoolOp::Delete { .. } | PoolOp::Join { .. } | PoolOp::Elapse => {
                unreachable!("told elsewhere")
            }
        }
        Ok(())
    }

    fn demand_member(&self, instance: &Bytes, session: SessionId) -> Verdict {
        demand(self.members.get(instance).is_some_and(|member| member.session == Some(session)))
    }

    fn is_away(&self, instance: &Bytes) -> bool {
        self.members.get(instance).is_some_and(|member| member.session.is_none())
    }

    fn join(&mut self, join: &Join, now_ms: u64, revision: u64) -> Verdict {
        let old = self.members.get(&join.instance);
        let present = old.and_then(|member| member.session);
        demand(present.is_none_or(|session| session == join.session))?;
        let state = old.map_or(MemberState::Active, |member| member.state);
        let session = Some(join.session);
        let member = Member { session, zone: join.zone.clone(), state, until_ms: 0 };
        self.members.insert(join.instance.clone(), member);
        if present.is_none() {
            self.end_withholding(Some(&join.instance), now_ms, revision);
        }
        Ok(())
    }

    /// Ends what is withheld and due, of one instance or of all.
    fn end_withholding(&mut self, only: Option<&Bytes>, now_ms: u64, revision: u64) {
        for (shard, found) in self.shards.clone() {
            let Fate::Withheld { of, lock_ms, until_ms } = &found.fate else { continue };
            if only.is_some_and(|only| only != of) {
                continue;
            }
            let is_due = match self.members.get(of) {
                Some(member) if member.session.is_some() => now_ms >= *lock_ms,
                Some(_) => now_ms >= *until_ms && now_ms >= self.paused_until_ms,
                None => now_ms >= *lock_ms,
            };
            if !is_due {
                continue;
            }
            let back = self.members.get(of).filter(|member| member.session.is_some()).is_some_and(|member| {
                !found.retired
                    && match &found.pin {
                        Some(pin) => pin == of,
                        None => member.state != MemberState::Draining,
                    }
            });
            if back {
                self.grant(&shard, of, revision);
            } else {
                self.free(&shard);
            }
        }
    }

    fn elapse(&mut self, now_ms: u64, revision: u64) {
        self.end_withholding(None, now_ms, revision);
        for shard in self.shards.values_mut() {
            if let Fate::Moving { by, epoch, warm: false, late_ms, .. } = &shard.fate
                && now_ms >= *late_ms
            {
                shard.fate = Fate::Owned { by: by.clone(), epoch: *epoch };
            }
        }
        if now_ms >= self.paused_until_ms {
            self.paused_until_ms = 0;
            self.members.retain(|_, member| member.session.is_some() || now_ms < member.until_ms);
        }
    }

    fn free(&mut self, shard: &Bytes) {
        let found = self.shards.get_mut(shard).expect("it was looked up");
        found.fate = Fate::Free;
        if found.retired {
            self.shards.remove(shard);
        }
    }

    fn zone(&self, instance: &Bytes) -> Option<&str> {
        self.members.get(instance).map(|member| member.zone.as_str())
    }

    fn share_zone(&self, one: &Bytes, other: &Bytes) -> bool {
        self.policy.spread == Spread::Require && self.zone(one) == self.zone(other)
    }

    fn grant(&mut self, shard: &Bytes, to: &Bytes, epoch: u64) {
        let copies = self.shards[shard].copies.clone();
        let stays = |copy: &Bytes| copy != to && !self.share_zone(copy, to);
        let copies = copies.into_iter().filter(|(copy, _)| stays(copy)).collect();
        let found = self.shards.get_mut(shard).expect("it was looked up");
        (found.fate, found.copies) = (Fate::Owned { by: to.clone(), epoch }, copies);
    }

    /// The owner lets go; a target that is warm has it.
    fn lose(&mut self, shard: &Bytes, revision: u64) {
        match self.shards[shard].fate.clone() {
            Fate::Moving { to, warm: true, .. } => self.grant(shard, &to, revision),
            _ => self.free(shard),
        }
    }

    fn cancel(&mut self, shard: &Bytes) {
        let found = self.shards.get_mut(shard).expect("it was looked up");
        if let Fate::Moving { by, epoch, .. } = &found.fate {
            found.fate = Fate::Owned { by: by.clone(), epoch: *epoch };
        }
    }

    fn drop_plans(&mut self, instance: &Bytes) {
        for shard in self.shards.keys().cloned().collect::<Vec<_>>() {
            if matches!(&self.shards[&shard].fate, Fate::Moving { to, .. } if to == instance) {
                self.cancel(&shard);
            }
            self.shards.get_mut(&shard).expect("it was listed").copies.remove(instance);
        }
    }

    fn depart(&mut self, instance: &Bytes, expired: bool, now_ms: u64, revision: u64) {
        let Policy { lock_delay_ms, reassign_delay_ms, sticky, .. } = self.policy;
        let longest_ms = lock_delay_ms.max(reassign_delay_ms);
        let waits = expired && (longest_ms > 0 || sticky);
        for (shard, found) in self.shards.clone() {
            if owner(&found).is_some_and(|(by, _)| by == instance) {
                if waits {
                    let until_ms = if sticky { FOR_EVER } else { now_ms + longest_ms };
                    let (of, lock_ms) = (instance.clone(), now_ms + lock_delay_ms);
                    let fate = Fate::Withheld { of, lock_ms, until_ms };
                    self.shards.get_mut(&shard).expect("it was listed").fate = fate;
                } else {
                    self.lose(&shard, revision);
                }
            }
        }
        let mut member = self.members.remove(instance).expect("it takes part");
        if !waits {
            self.end_withholding(Some(instance), now_ms, revision);
            return;
        }
        let ends = self.shards.values().filter_map(|shard| match &shard.fate {
            Fate::Withheld { of, until_ms, .. } if of == instance => Some(*until_ms),
            _ => None,
        });
        member.until_ms = ends.chain([now_ms + longest_ms]).max().expect("there is one");
        member.session = None;
        if member.until_ms > now_ms {
            self.members.insert(instance.clone(), member);
        }
    }

    fn retire(&mut self, shard: &Bytes) {
        let Some(found) = self.shards.get(shard) else { return };
        if is_free(found) {
            self.shards.remove(shard);
            return;
        }
        // Asked again, it was retired before and moves nowhere.
        self.cancel(shard);
        self.shards.get_mut(shard).expect("it was looked up").retired = true;
    }

    fn ready(&mut self, instance: &Bytes, shard: &Bytes) {
        let late = self.policy.handoff_ms;
        let Some(found) = self.shards.get_mut(shard) else { return };
        if let Some(warm) = found.copies.get_mut(instance) {
            *warm = true;
        }
        if let Fate::Moving { to, warm, late_ms, .. } = &mut found.fate
            && to == instance
            && !*warm
        {
            // When it is late then is of no consequence.
            (*warm, *late_ms) = (true, late);
        }
    }

    fn force(&mut self, shard: &Bytes, revision: u64) -> Verdict {
        match self.shards.get(shard).ok_or(No)?.fate.clone() {
            Fate::Free => return Err(No),
            Fate::Owned { .. } | Fate::Moving { .. } => self.lose(shard, revision),
            Fate::Withheld { of, .. } => {
                self.free(shard);
                let waits =
                    |shard: &Shard| matches!(&shard.fate, Fate::Withheld { of: one, .. } if *one == of);
                let for_ever = self.members.get(&of).is_some_and(|member| member.until_ms == FOR_EVER);
                if for_ever && self.is_away(&of) && !self.shards.values().any(waits) {
                    self.members.remove(&of);
                }
            }
        }
        Ok(())
    }

    fn order(&mut self, shard: &Bytes, to: &Bytes, now_ms: u64, revision: u64) -> Verdict {
        let found = self.shards.get(shard).ok_or(No)?;
        if matches!(&found.fate, Fate::Moving { to: target, .. } if target == to) {
            return Ok(());
        }
        if is_free(found) {
            return self.step(&Step::Grant { shard: shard.clone(), to: to.clone() }, now_ms, revision);
        }
        self.cancel(shard);
        self.begin_move(shard, to, now_ms)
    }

    fn may_have(&self, shard: &Shard, to: &Bytes) -> Verdict {
        demand(!shard.retired && shard.pin.as_ref().is_none_or(|pin| pin == to))?;
        let member = self.members.get(to).ok_or(No)?;
        demand(member.session.is_some() && (member.state == MemberState::Active || shard.pin.is_some()))
    }

    fn begin_move(&mut self, shard: &Bytes, to: &Bytes, now_ms: u64) -> Verdict {
        let found = &self.shards[shard];
        let Fate::Owned { by, epoch } = found.fate.clone() else { return Err(No) };
        demand(by != *to)?;
        self.may_have(found, to)?;
        let late_ms = now_ms + self.policy.handoff_ms;
        let fate = Fate::Moving { by, epoch, to: to.clone(), warm: false, late_ms };
        self.shards.get_mut(shard).expect("it was looked up").fate = fate;
        Ok(())
    }

    fn step(&mut self, step: &Step, now_ms: u64, revision: u64) -> Verdict {
        match step {
            Step::Grant { shard, to } => {
                let found = self.shards.get(shard).ok_or(No)?;
                demand(is_free(found))?;
                self.may_have(found, to)?;
                self.grant(shard, to, revision);
            }
            Step::Move { shard, to } => {
                demand(self.shards.contains_key(shard) && now_ms >= self.paused_until_ms)?;
                let moving = |shard: &&Shard| matches!(shard.fate, Fate::Moving { .. });
                let under_way = self.shards.values().filter(moving).count();
                if now_ms >= self.window_ms + 60_000 {
                    (self.window_ms, self.begun) = (now_ms, 0);
                }
                demand(
                    under_way < self.policy.moves_max as usize && self.begun < self.policy.moves_per_minute,
                )?;
                self.begin_move(shard, to, now_ms)?;
                self.begun += 1;
            }
            Step::CancelMove { shard } => {
                let found = self.shards.get(shard).ok_or(No)?;
                demand(matches!(found.fate, Fate::Moving { .. }))?;
                self.cancel(shard);
            }
            Step::AddSecondary { shard, to } => {
                let found = self.shards.get(shard).ok_or(No)?;
                let wanted = self.policy.secondaries as usize;
                demand(!found.retired && !found.copies.contains_key(to))?;
                demand(wanted > 0 && found.copies.len() <= wanted)?;
                demand(owner(found).is_none_or(|(by, _)| by != to))?;
                let member = self.members.get(to).ok_or(No)?;
                demand(member.session.is_some() && member.state == MemberState::Active)?;
                let mut others: Vec<&Bytes> = found.copies.keys().collect();
                others.extend(owner(found).map(|(by, _)| by));
                if let Fate::Moving { to, .. } = &found.fate {
                    others.push(to);
                }
                demand(!others.into_iter().any(|other| other != to && self.share_zone(other, to)))?;
                self.shards.get_mut(shard).expect("it was looked up").copies.insert(to.clone(), false);
            }
            Step::DropSecondary { shard, from } => {
                let found = self.shards.get_mut(shard).ok_or(No)?;
                demand(found.copies.remove(from).is_some())?;
            }
        }
        Ok(())
    }
}
