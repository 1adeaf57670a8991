//! A pool while it is planned: who will have what, after the steps so far.

use super::rank::{half, score};
use super::{Load, Plan, Transfer, level::Level};
use crate::pool::{MemberInfo, MemberState, PoolState, Primary, ShardInfo, Spread, Step};
use bytes::Bytes;

/// What one plan may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Steps at most.
    pub steps: usize,
    /// Planned moves that may be begun.
    pub moves: u32,
    /// Nothing may be done but to grant what nobody owns.
    pub paused: bool,
}

impl Bounds {
    /// What the policy and the budget of a pool leave.
    pub fn of(state: &PoolState, steps: usize) -> Self {
        let under_way = |shard: &&ShardInfo| matches!(shard.primary, Primary::Moving { .. });
        let under_way = state.shards.iter().filter(under_way).count();
        let under_way = u32::try_from(under_way).unwrap_or(u32::MAX);
        let moves = state.policy.moves_max.saturating_sub(under_way).min(state.moves_left);
        Self { steps, moves, paused: state.paused_until_ms != 0 }
    }

    /// Everything at once.
    pub const fn none() -> Self {
        Self { steps: usize::MAX, moves: u32::MAX, paused: false }
    }
}

/// What a member may be given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Active,
    Cordoned,
    Draining,
    Away,
}

/// A member while it is planned.
pub(super) struct Seat<'a> {
    pub info: &'a MemberInfo,
    pub standing: Standing,
    /// Equal numbers, equal zones.
    pub zone: usize,
    pub capacity: u64,
    /// Half of a [`score`].
    pub half: u64,
    /// Work of the primaries that it will have.
    pub load: u64,
    pub primaries: u32,
    /// Work of the further copies that it will keep.
    pub copied: u64,
    pub copies: u32,
}

impl Seat<'_> {
    pub fn is_active(&self) -> bool {
        self.standing == Standing::Active
    }

    /// Whether it may be given what is pinned to it: it is there.
    pub fn is_present(&self) -> bool {
        self.standing != Standing::Away
    }
}

/// A further copy while it is planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    /// Whose; `None` if it is no member any more.
    pub seat: Option<usize>,
    pub ready: bool,
    /// Its place in the shard's list, or `None` if it is only planned.
    pub listed: Option<usize>,
}

/// A shard while it is planned.
pub(super) struct Slot<'a> {
    pub info: &'a ShardInfo,
    pub work: u64,
    /// Half of a [`score`].
    pub half: u64,
    /// Who will have the primary.
    pub home: Option<usize>,
    /// Who is to have it and nobody else, if that is a member.
    pub pin: Option<usize>,
    pub copies: Vec<Copy>,
    /// Its primary is moving, or is to move by this plan.
    pub moving: bool,
}

impl Slot<'_> {
    /// The place of a member among the copies.
    pub fn copy_of(&self, seat: usize) -> Option<usize> {
        self.copies.iter().position(|copy| copy.seat == Some(seat))
    }
}

/// A pool, and the plan so far.
pub(super) struct Draft<'a> {
    pub state: &'a PoolState,
    pub bounds: Bounds,
    pub seats: Vec<Seat<'a>>,
    pub slots: Vec<Slot<'a>>,
    pub plan: Plan,
}

impl<'a> Draft<'a> {
    pub fn new(state: &'a PoolState, bounds: Bounds) -> Self {
        let seats = seats(state);
        let find = |name: &Bytes| find(&seats, name);
        let slots: Vec<Slot<'a>> = state.shards.iter().map(|info| slot(info, find)).collect();
        let mut draft = Self { state, bounds, seats, slots, plan: Plan::default() };
        for at in 0..draft.slots.len() {
            draft.count(at);
        }
        draft.plan.before = draft.loads();
        draft
    }

    /// Does all that is to be done.
    pub fn into_plan(mut self) -> Plan {
        self.grant_unassigned();
        if !self.bounds.paused {
            self.cancel_moves();
            self.relocate();
            self.rebalance();
            self.keep_copies();
        }
        self.plan.after = self.loads();
        self.plan
    }

    /// Which member has this name.
    pub fn find(&self, name: &Bytes) -> Option<usize> {
        find(&self.seats, name)
    }

    pub fn score(&self, slot: usize, seat: usize) -> u64 {
        score(self.slots[slot].half, self.seats[seat].half)
    }

    /// Whether so many more steps may be planned; if not, the plan is cut short here.
    pub fn has_room(&mut self, steps: usize) -> bool {
        let fits = self.plan.steps.len().saturating_add(steps) <= self.bounds.steps;
        self.plan.cut |= !fits;
        fits
    }

    /// Whether a planned move may be begun; if not, one waits.
    pub fn may_move(&mut self) -> bool {
        self.plan.waiting |= self.bounds.moves == 0;
        self.bounds.moves > 0
    }

    /// Whether the primary would be in a zone with a further copy on somebody else, and that matters.
    pub fn shares_zone(&self, slot: usize, seat: usize) -> bool {
        let zone = self.seats[seat].zone;
        let elsewhere = |copy: &Copy| copy.seat.is_some_and(|of| of != seat && self.seats[of].zone == zone);
        self.state.policy.spread != Spread::Ignore && self.slots[slot].copies.iter().any(elsewhere)
    }

    /// Steps that [`transfer`](Self::transfer) needs at most.
    pub fn transfer_steps(&self, slot: usize) -> usize {
        self.slots[slot].copies.len() + 1
    }

    /// Plans that a member is to have the primary: by a grant, or by a planned move.
    pub fn transfer(&mut self, slot: usize, to: usize) {
        self.drop_rivals(slot, to);
        let owner = self.slots[slot].info.primary.owner();
        let from = owner.map(|owner| owner.instance.clone());
        let (shard, target) = (self.slots[slot].info.shard.clone(), self.seats[to].info.instance.clone());
        let is_move = from.is_some();
        self.plan.transfers.push(Transfer { shard: shard.clone(), from, to: target.clone() });
        self.plan.steps.push(if is_move {
            Step::Move { shard, to: target }
        } else {
            Step::Grant { shard, to: target }
        });
        let work = self.slots[slot].work;
        if let Some(home) = self.slots[slot].home.replace(to) {
            self.seats[home].load -= work;
            self.seats[home].primaries -= 1;
        }
        self.seats[to].load += work;
        self.seats[to].primaries += 1;
        if is_move {
            self.bounds.moves -= 1;
            self.slots[slot].moving = true;
        } else if let Some(at) = self.slots[slot].copy_of(to) {
            self.uncopy(slot, at); // it becomes the primary
        }
    }

    /// Drops the copies that must not be in one zone with the primary's next owner.
    fn drop_rivals(&mut self, slot: usize, to: usize) {
        if self.state.policy.spread != Spread::Require {
            return;
        }
        let zone = self.seats[to].zone;
        let rival = |draft: &Self, copy: &Copy| {
            copy.seat.is_some_and(|seat| seat != to && draft.seats[seat].zone == zone)
        };
        while let Some(at) = self.slots[slot].copies.iter().position(|copy| rival(self, copy)) {
            self.drop_copy(slot, at);
        }
    }

    /// Plans that a copy is dropped.
    pub fn drop_copy(&mut self, slot: usize, at: usize) {
        let copy = self.uncopy(slot, at);
        let info = self.slots[slot].info;
        if let Some(listed) = copy.listed {
            let from = info.secondaries[listed].instance.clone();
            self.plan.steps.push(Step::DropSecondary { shard: info.shard.clone(), from });
        }
    }

    /// Plans that a member is to keep a copy.
    pub fn add_copy(&mut self, slot: usize, seat: usize) {
        let (shard, to) = (self.slots[slot].info.shard.clone(), self.seats[seat].info.instance.clone());
        self.plan.steps.push(Step::AddSecondary { shard, to });
        self.slots[slot].copies.push(Copy { seat: Some(seat), ready: false, listed: None });
        self.seats[seat].copied += self.slots[slot].work;
        self.seats[seat].copies += 1;
    }

    fn uncopy(&mut self, slot: usize, at: usize) -> Copy {
        let copy = self.slots[slot].copies.remove(at);
        if let Some(seat) = copy.seat {
            self.seats[seat].copied -= self.slots[slot].work;
            self.seats[seat].copies -= 1;
        }
        copy
    }

    fn count(&mut self, at: usize) {
        let Slot { work, home, ref copies, .. } = self.slots[at];
        if let Some(home) = home {
            self.seats[home].load += work;
            self.seats[home].primaries += 1;
        }
        for seat in copies.iter().filter_map(|copy| copy.seat) {
            self.seats[seat].copied += work;
            self.seats[seat].copies += 1;
        }
    }

    fn loads(&self) -> Vec<Load> {
        let level = Level::of_primaries(self);
        let load = |seat: &Seat<'_>| Load {
            instance: seat.info.instance.clone(),
            capacity: seat.info.capacity,
            fair: if seat.is_active() { level.share(seat.capacity) } else { 0 },
            work: seat.load,
            primaries: seat.primaries,
            copies: seat.copies,
        };
        self.seats.iter().map(load).collect()
    }
}

fn seats(state: &PoolState) -> Vec<Seat<'_>> {
    let mut zones: Vec<&str> = state.members.iter().map(|member| member.zone.as_str()).collect();
    zones.sort_unstable();
    zones.dedup();
    let seat = |info| seat(info, &zones);
    state.members.iter().map(seat).collect()
}

fn seat<'a>(info: &'a MemberInfo, zones: &[&str]) -> Seat<'a> {
    let standing = match info.state {
        _ if info.session.0 == 0 => Standing::Away,
        MemberState::Active => Standing::Active,
        MemberState::Cordoned => Standing::Cordoned,
        MemberState::Draining => Standing::Draining,
    };
    Seat {
        info,
        standing,
        zone: zones.partition_point(|zone| *zone < info.zone.as_str()),
        capacity: u64::from(info.capacity.max(1)),
        half: half(&info.instance),
        load: 0,
        primaries: 0,
        copied: 0,
        copies: 0,
    }
}

fn slot<'a>(info: &'a ShardInfo, find: impl Fn(&Bytes) -> Option<usize>) -> Slot<'a> {
    let home = match &info.primary {
        Primary::Unassigned { .. } => None,
        Primary::Owned(owner) => find(&owner.instance),
        Primary::Moving { to, .. } => find(to),
        Primary::Withheld { instance, .. } => find(instance),
    };
    let copy = |(at, secondary): (usize, &crate::pool::Secondary)| Copy {
        seat: find(&secondary.instance),
        ready: secondary.ready,
        listed: Some(at),
    };
    Slot {
        info,
        work: u64::from(info.work()),
        half: half(&info.shard),
        home: home.filter(|_| !info.retired),
        pin: info.pin.as_ref().and_then(&find),
        copies: info.secondaries.iter().enumerate().map(copy).collect(),
        moving: matches!(info.primary, Primary::Moving { .. }),
    }
}

fn find(seats: &[Seat<'_>], name: &Bytes) -> Option<usize> {
    seats.binary_search_by(|seat| seat.info.instance.cmp(name)).ok()
}
