//! A pool that lives in memory and takes plans as apply does: it refuses what must not be.

use super::super::plan;
use crate::ids::{Revision, SessionId};
use crate::limits::POOL_STEPS_MAX;
use crate::pool::{
    MemberInfo, MemberState, Owner, Policy, PoolState, Primary, Secondary, ShardInfo, ShardSet, Spread, Step,
};
use bytes::Bytes;

pub(super) struct Fleet {
    pub state: PoolState,
    next_member: u32,
    next_session: u64,
}

impl Fleet {
    /// A pool with shards of these weights and nobody in it.
    pub(super) fn new(policy: Policy, weights: &[u32]) -> Self {
        let shard = |(at, weight): (usize, &u32)| ShardInfo {
            shard: Bytes::from(format!("{at:05}")),
            weight: *weight,
            load: 0,
            pin: None,
            retired: false,
            primary: Primary::Unassigned { since_ms: 0 },
            secondaries: Vec::new(),
        };
        let state = PoolState {
            pool: Bytes::from("p"),
            shards_of: ShardSet::Named,
            moves_left: policy.moves_per_minute,
            policy,
            created: Revision(1),
            changed: Revision(1),
            stamp_ms: 1_000,
            paused_until_ms: 0,
            pause_reason: String::new(),
            members: Vec::new(),
            shards: weights.iter().enumerate().map(shard).collect(),
        };
        Self { state, next_member: 0, next_session: 1 }
    }

    /// So many equal members in as many zones, and equal shards.
    pub(super) fn of(policy: Policy, members: usize, shards: usize) -> Self {
        let mut fleet = Self::new(policy, &vec![1; shards]);
        for at in 0..members {
            fleet.join(&format!("z{at}"), 1);
        }
        fleet
    }

    pub(super) fn join(&mut self, zone: &str, capacity: u32) {
        let member = MemberInfo {
            instance: Bytes::from(format!("m{:04}", self.next_member)),
            session: SessionId(self.next_session),
            zone: zone.into(),
            capacity,
            address: String::new(),
            metadata: Bytes::new(),
            state: MemberState::Active,
            joined: self.state.changed,
            away_until_ms: 0,
        };
        (self.next_member, self.next_session) = (self.next_member + 1, self.next_session + 1);
        self.state.members.push(member);
    }

    fn member(&self, at: usize) -> Option<usize> {
        at.checked_rem(self.state.members.len())
    }

    pub(super) fn name(&self, at: usize) -> Bytes {
        let at = self.member(at).expect("there is a member");
        self.state.members[at].instance.clone()
    }

    /// A member releases all and is gone; ready targets of its moves take over.
    pub(super) fn leave(&mut self, at: usize) {
        let Some(at) = self.member(at) else { return };
        let gone = self.state.members.remove(at).instance;
        self.bereave(&gone, |_| Primary::Unassigned { since_ms: 0 });
    }

    /// A member's session expires: what it has waits for it.
    pub(super) fn expire(&mut self, at: usize) {
        let Some(at) = self.member(at) else { return };
        let member = &mut self.state.members[at];
        if member.session == SessionId(0) {
            return;
        }
        (member.session, member.away_until_ms) = (SessionId(0), 9_999);
        let gone = member.instance.clone();
        self.bereave(&gone, |owner| Primary::Withheld {
            instance: owner.instance.clone(),
            epoch: owner.epoch,
            until_ms: 9_999,
        });
    }

    fn bereave(&mut self, gone: &Bytes, becomes: impl Fn(&Owner) -> Primary) {
        for shard in &mut self.state.shards {
            shard.secondaries.retain(|secondary| secondary.instance != *gone);
            shard.primary = match shard.primary.clone() {
                Primary::Owned(owner) if owner.instance == *gone => becomes(&owner),
                Primary::Moving { from, .. } if from.instance == *gone => becomes(&from),
                Primary::Moving { from, to, .. } if to == *gone => Primary::Owned(from),
                Primary::Withheld { instance, .. } if instance == *gone => {
                    Primary::Unassigned { since_ms: 0 }
                }
                other @ (Primary::Unassigned { .. }
                | Primary::Owned(_)
                | Primary::Moving { .. }
                | Primary::Withheld { .. }) => other,
            };
        }
        self.state.shards.retain(|shard| !shard.retired || shard.primary.owner().is_some());
    }

    /// One that is away joins again and has what it had.
    pub(super) fn come_back(&mut self, at: usize) {
        let Some(at) = self.member(at) else { return };
        let member = &mut self.state.members[at];
        if member.session != SessionId(0) {
            return;
        }
        (member.session, member.away_until_ms) = (SessionId(self.next_session), 0);
        self.next_session += 1;
        let member = member.clone();
        for shard in &mut self.state.shards {
            if matches!(&shard.primary, Primary::Withheld { instance, .. } if *instance == member.instance) {
                shard.secondaries.retain(|secondary| secondary.instance != member.instance);
                shard.primary = Primary::Owned(owner(&member, self.state.changed));
            }
        }
    }

    pub(super) fn set_state(&mut self, at: usize, state: MemberState) {
        if let Some(at) = self.member(at) {
            self.state.members[at].state = state;
        }
    }

    fn shard(&self, at: usize) -> Option<usize> {
        at.checked_rem(self.state.shards.len())
    }

    pub(super) fn set_weight(&mut self, at: usize, weight: u32) {
        if let Some(at) = self.shard(at) {
            self.state.shards[at].weight = weight;
        }
    }

    pub(super) fn pin(&mut self, at: usize, to: Option<usize>) {
        let Some(at) = self.shard(at) else { return };
        // One in eight is pinned to somebody unknown.
        let name = |to: usize| match self.member(to) {
            Some(of) if to % 8 != 7 => self.state.members[of].instance.clone(),
            Some(_) | None => Bytes::from("nobody"),
        };
        self.state.shards[at].pin = to.map(name);
    }

    pub(super) fn retire(&mut self, at: usize) {
        let Some(at) = self.shard(at) else { return };
        self.state.shards[at].retired = true;
        if self.state.shards[at].primary.owner().is_none() {
            self.state.shards.remove(at);
        }
    }

    pub(super) fn pause(&mut self, on: bool) {
        self.state.paused_until_ms = if on { 5_000 } else { 0 };
    }

    /// Makes a plan and executes it; no step may be refused. True if there was any.
    pub(super) fn carry_out(&mut self) -> bool {
        let made = plan(&self.state);
        assert_eq!(made, plan(&self.state.clone()), "a plan depends on the pool alone");
        assert!(made.steps.len() <= POOL_STEPS_MAX);
        for step in &made.steps {
            if let Err(why) = self.execute(step) {
                panic!("{step:?} of {:?} is refused: {why}\n{:#?}", made.steps, self.state);
            }
        }
        !made.steps.is_empty()
    }

    /// What is under way comes one step further where a bit is set.
    pub(super) fn go_on(&mut self, bits: u64) {
        let members = self.state.members.clone();
        let find = |name: &Bytes| members.iter().find(|member| member.instance == *name);
        for (at, shard) in self.state.shards.iter_mut().enumerate() {
            if bits >> (at % 64) & 1 == 0 {
                continue;
            }
            for secondary in &mut shard.secondaries {
                secondary.ready = true;
            }
            if let Primary::Moving { to, draining, .. } = &mut shard.primary {
                if !*draining {
                    *draining = true;
                    continue;
                }
                let target = find(to).expect("a target is a member");
                shard.secondaries.retain(|secondary| secondary.instance != target.instance);
                shard.primary = Primary::Owned(owner(target, self.state.changed));
            }
        }
        let bit = |at: usize| bits >> (at % 64) & 1 == 1;
        let mut at = 0;
        self.state.shards.retain(|shard| {
            at += 1;
            !(shard.retired && bit(at - 1))
        });
        self.state.moves_left = self.state.policy.moves_per_minute;
    }

    /// Plans and goes on until there is nothing to plan.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000 {
            let planned = self.carry_out();
            self.check();
            self.go_on(u64::MAX);
            let moving =
                self.state.shards.iter().any(|shard| matches!(shard.primary, Primary::Moving { .. }));
            if !planned && !moving && plan(&self.state).steps.is_empty() {
                return;
            }
        }
        panic!("no end of planning: {:#?}\n{:#?}", plan(&self.state).steps, self.state);
    }

    fn execute(&mut self, step: &Step) -> Result<(), &'static str> {
        match step {
            Step::Grant { shard, to } => self.grant(shard, to),
            Step::Move { shard, to } => self.begin_move(shard, to),
            Step::CancelMove { shard } => {
                let shard = find_shard(&mut self.state, shard)?;
                let Primary::Moving { from, draining: false, .. } = shard.primary.clone() else {
                    return Err("it does not prepare");
                };
                shard.primary = Primary::Owned(from);
                Ok(())
            }
            Step::AddSecondary { shard, to } => self.add_secondary(shard, to),
            Step::DropSecondary { shard, from } => {
                let shard = find_shard(&mut self.state, shard)?;
                let before = shard.secondaries.len();
                shard.secondaries.retain(|secondary| secondary.instance != *from);
                if shard.secondaries.len() < before { Ok(()) } else { Err("it has no copy") }
            }
        }
    }

    /// Whoever may be given something.
    fn taker(&self, shard: &Bytes, to: &Bytes) -> Result<MemberInfo, &'static str> {
        let member = self.state.members.iter().find(|member| member.instance == *to).ok_or("no member")?;
        if member.session == SessionId(0) {
            return Err("it is away");
        }
        let of = self.state.shards.iter().find(|of| of.shard == *shard).ok_or("no shard")?;
        if member.state != MemberState::Active && of.pin.as_ref() != Some(to) {
            return Err("it is given nothing new");
        }
        if of.retired { Err("it is retired") } else { Ok(member.clone()) }
    }

    fn zone_of(&self, name: &Bytes) -> Option<&str> {
        self.state.members.iter().find(|member| member.instance == *name).map(|member| member.zone.as_str())
    }

    /// No copy of the shard, other than on the member itself, may be in its zone.
    fn check_zone(&self, shard: &ShardInfo, member: &MemberInfo) -> Result<(), &'static str> {
        let mut others = shard.secondaries.iter().filter(|secondary| secondary.instance != member.instance);
        let crowded = others.any(|secondary| self.zone_of(&secondary.instance) == Some(&member.zone));
        if self.state.policy.spread == Spread::Require && crowded { Err("two in one zone") } else { Ok(()) }
    }

    fn grant(&mut self, name: &Bytes, to: &Bytes) -> Result<(), &'static str> {
        let member = self.taker(name, to)?;
        let shard = find_shard(&mut self.state, name)?.clone();
        self.check_zone(&shard, &member)?;
        if shard.pin.as_ref().is_some_and(|pin| pin != to) {
            return Err("it is pinned elsewhere");
        }
        let Primary::Unassigned { .. } = shard.primary else { return Err("it is not free") };
        let at = self.state.changed;
        let shard = find_shard(&mut self.state, name)?;
        shard.secondaries.retain(|secondary| secondary.instance != *to);
        shard.primary = Primary::Owned(owner(&member, at));
        Ok(())
    }

    fn begin_move(&mut self, name: &Bytes, to: &Bytes) -> Result<(), &'static str> {
        let member = self.taker(name, to)?;
        let shard = find_shard(&mut self.state, name)?.clone();
        self.check_zone(&shard, &member)?;
        if shard.pin.as_ref().is_some_and(|pin| pin != to) {
            return Err("it is pinned elsewhere");
        }
        if self.state.paused_until_ms != 0 {
            return Err("the pool is paused");
        }
        let moving = |shard: &&ShardInfo| matches!(shard.primary, Primary::Moving { .. });
        if self.state.shards.iter().filter(moving).count() >= self.state.policy.moves_max as usize {
            return Err("too many moves");
        }
        self.state.moves_left = self.state.moves_left.checked_sub(1).ok_or("no move left")?;
        let Primary::Owned(from) = shard.primary else { return Err("nobody owns it") };
        if from.instance == *to {
            return Err("it is there");
        }
        find_shard(&mut self.state, name)?.primary = Primary::Moving {
            from,
            to: to.clone(),
            session: member.session,
            draining: false,
            deadline_ms: 9_999,
        };
        Ok(())
    }

    fn add_secondary(&mut self, name: &Bytes, to: &Bytes) -> Result<(), &'static str> {
        let member = self.taker(name, to)?;
        if member.state != MemberState::Active {
            return Err("it is given no copies");
        }
        let shard = find_shard(&mut self.state, name)?.clone();
        self.check_zone(&shard, &member)?;
        let owner = shard.primary.owner().ok_or("nobody owns it")?;
        if owner.instance == *to || shard.secondaries.iter().any(|secondary| secondary.instance == *to) {
            return Err("it has it");
        }
        if self.state.policy.spread == Spread::Require && self.zone_of(&owner.instance) == Some(&member.zone)
        {
            return Err("in the zone of the primary");
        }
        if shard.secondaries.len() > self.state.policy.secondaries as usize {
            return Err("too many copies");
        }
        let copy = Secondary {
            instance: to.clone(),
            session: member.session,
            epoch: self.state.changed,
            ready: false,
        };
        let shard = find_shard(&mut self.state, name)?;
        shard.secondaries.push(copy);
        shard.secondaries.sort_by(|one, other| one.instance.cmp(&other.instance));
        Ok(())
    }
}

fn owner(member: &MemberInfo, epoch: Revision) -> Owner {
    Owner { instance: member.instance.clone(), session: member.session, epoch, granted_ms: 0 }
}

fn find_shard<'a>(state: &'a mut PoolState, name: &Bytes) -> Result<&'a mut ShardInfo, &'static str> {
    state.shards.iter_mut().find(|shard| shard.shard == *name).ok_or("no shard")
}

/// What must be true of a pool.
impl Fleet {
    /// Always.
    pub(super) fn check(&self) {
        for shard in &self.state.shards {
            if self.state.policy.spread != Spread::Require {
                continue;
            }
            let mut zones: Vec<_> =
                shard.secondaries.iter().map(|secondary| self.zone_of(&secondary.instance)).collect();
            zones.sort();
            let copies = zones.len();
            zones.dedup();
            assert_eq!(zones.len(), copies, "two copies in one zone: {shard:?}");
        }
    }

    fn is_active(&self, member: &MemberInfo) -> bool {
        member.session != SessionId(0) && member.state == MemberState::Active
    }

    /// Once there is nothing to plan.
    pub(super) fn check_at_rest(&self) {
        let active: Vec<&MemberInfo> =
            self.state.members.iter().filter(|member| self.is_active(member)).collect();
        let find = |name: &Bytes| self.state.members.iter().find(|member| member.instance == *name);
        for shard in self.state.shards.iter().filter(|shard| !shard.retired) {
            let pin = shard.pin.as_ref();
            let pin_works = pin.and_then(find).is_some_and(|member| member.session != SessionId(0));
            match &shard.primary {
                Primary::Unassigned { .. } => {
                    assert!(!pin_works && (pin.is_some() || active.is_empty()), "unassigned: {shard:?}");
                }
                Primary::Owned(owner) => {
                    assert!(!pin_works || pin == Some(&owner.instance), "not where it is pinned: {shard:?}");
                    let home = find(&owner.instance).expect("an owner is a member");
                    let drained = home.state != MemberState::Draining || pin.is_some() || active.is_empty();
                    assert!(drained, "left on a draining member: {shard:?}");
                    self.check_copies(shard, home, &active);
                }
                Primary::Moving { .. } => panic!("still moving: {shard:?}"),
                Primary::Withheld { instance, .. } => assert!(find(instance).is_some(), "{shard:?}"),
            }
        }
        self.check_balance(&active);
    }

    /// As many as there can be, none where it must not be.
    fn check_copies(&self, shard: &ShardInfo, home: &MemberInfo, active: &[&MemberInfo]) {
        let wanted = self.state.policy.secondaries as usize;
        let copies = &shard.secondaries;
        assert!(copies.len() <= wanted, "too many copies: {shard:?}");
        let on = |member: &MemberInfo| copies.iter().any(|copy| copy.instance == member.instance);
        assert!(!on(home), "a copy beside the primary: {shard:?}");
        let require = self.state.policy.spread == Spread::Require;
        let zones: Vec<Option<&str>> = copies
            .iter()
            .map(|copy| self.zone_of(&copy.instance))
            .chain([Some(home.zone.as_str())])
            .collect();
        let could = |member: &&&MemberInfo| {
            let crowded = require && zones.contains(&Some(member.zone.as_str()));
            member.instance != home.instance && !on(member) && !crowded
        };
        if copies.len() < wanted {
            assert_eq!(active.iter().find(could), None, "a copy is missing: {shard:?}");
        }
        let drains = |copy: &Secondary| {
            self.state
                .members
                .iter()
                .any(|member| member.instance == copy.instance && member.state == MemberState::Draining)
        };
        assert!(!copies.iter().any(drains), "a copy on a draining member: {shard:?}");
        let mut sorted = zones.clone();
        sorted.sort();
        sorted.dedup();
        let crowded = sorted.len() < zones.len();
        if self.state.policy.spread == Spread::Prefer && crowded && wanted > 0 {
            let apart = |member: &&&MemberInfo| could(member) && !zones.contains(&Some(member.zone.as_str()));
            assert_eq!(active.iter().find(apart), None, "copies could be further apart: {shard:?}");
        }
    }

    /// Nobody is beyond the tolerance, or no single shard that may move would make it better.
    fn check_balance(&self, active: &[&MemberInfo]) {
        let owned = |member: &MemberInfo| {
            let name = member.instance.clone();
            self.state.shards.iter().filter(move |shard| {
                !shard.retired && matches!(&shard.primary, Primary::Owned(owner) if owner.instance == name)
            })
        };
        let load = |member: &MemberInfo| owned(member).map(|shard| u128::from(shard.work())).sum::<u128>();
        let total: u128 = active.iter().map(|member| load(member)).sum();
        let capacity: u128 = active.iter().map(|member| u128::from(member.capacity)).sum();
        let tolerance = u128::from(self.state.policy.tolerance_percent);
        for from in active {
            let share = total * u128::from(from.capacity);
            if load(from) * capacity * 100 <= share * (100 + tolerance) {
                continue;
            }
            for shard in owned(from).filter(|shard| shard.pin.is_none()) {
                for to in active.iter().filter(|to| to.instance != from.instance) {
                    let (work, high, low) = (u128::from(shard.work()), load(from), load(to));
                    let (has, gets) = (u128::from(from.capacity), u128::from(to.capacity));
                    let before = high * high * gets + low * low * has;
                    let after = (high - work) * (high - work) * gets + (low + work) * (low + work) * has;
                    assert!(
                        after >= before,
                        "{shard:?} should go from {from:?} ({high}) to {to:?} ({low}), total {total}"
                    );
                    // With equal capacities: nobody is further above its share than its lightest shard.
                    if has == gets && self.state.shards.iter().all(|shard| shard.pin.is_none()) {
                        assert!(high <= low + work);
                    }
                }
            }
        }
    }

    pub(super) fn owner(&self, at: usize) -> Option<Bytes> {
        self.state.shards[at].primary.owner().map(|owner| owner.instance.clone())
    }

    pub(super) fn owners(&self) -> Vec<Option<Bytes>> {
        (0..self.state.shards.len()).map(|at| self.owner(at)).collect()
    }

    pub(super) fn moved_since(&self, before: &[Option<Bytes>]) -> usize {
        self.owners().iter().zip(before).filter(|(now, then)| now != then).count()
    }

    pub(super) fn count(&self, at: usize) -> usize {
        let name = self.name(at);
        self.owners().iter().filter(|owner| **owner == Some(name.clone())).count()
    }

    pub(super) fn counts(&self) -> Vec<usize> {
        (0..self.state.members.len()).map(|at| self.count(at)).collect()
    }
}
