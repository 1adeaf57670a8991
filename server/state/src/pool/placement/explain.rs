//! Why a shard is where it is, and what stands against each member.

use super::draft::{Bounds, Draft, Standing};
use super::level::Level;
use super::plan;
use crate::pool::{PoolState, Primary, Spread, Step};
use bytes::Bytes;

/// Why a shard is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The shard.
    pub shard: Bytes,
    /// How much work it is.
    pub work: u64,
    /// Who will have its primary as things are now.
    pub home: Option<Bytes>,
    /// The steps of the next plan that are about it.
    pub next: Vec<Step>,
    /// What keeps it from being elsewhere, or from being owned at all.
    pub obstacles: Vec<Obstacle>,
    /// All members, in order of name.
    pub candidates: Vec<Candidate>,
}

/// What one member has to do with a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The member.
    pub instance: Bytes,
    /// Why it would not be given the primary; empty if it would.
    pub excluded_by: Vec<Exclusion>,
    /// A secondary is on it, and whether that is ready.
    pub secondary: Option<bool>,
    /// A copy of the shard would have to go or would be in one zone with the primary.
    pub shares_zone: bool,
    /// Its capacity.
    pub capacity: u32,
    /// Its fair share of the work; zero if it takes no part in the balance.
    pub fair: u64,
    /// The work of its primaries without this shard.
    pub without: u64,
    /// The work of its primaries with this shard.
    pub with: u64,
    /// With this shard it would have more than the policy tolerates.
    pub over: bool,
    /// What decides when all else is equal: the higher is taken.
    pub score: u64,
}

/// Why a member would not be given a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// Its session ended, and it has not come back.
    Away,
    /// It is given nothing new.
    Cordoned,
    /// It is being emptied.
    Draining,
    /// The shard is pinned to another instance.
    PinnedElsewhere,
}

/// Why a shard is not moved or granted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The pool is paused: only what nobody owns is granted.
    Paused,
    /// It is to go, and nobody is given it.
    Retired,
    /// Its last owner's session expired; nobody is granted it until then, in milliseconds since 1970, or
    /// with zero until it is forced.
    Withheld {
        /// Until then.
        until_ms: u64,
    },
    /// It is moving already.
    Moving,
    /// It is pinned to an instance that cannot have it.
    PinUnavailable,
    /// No member can be given anything.
    NoMember,
    /// It should move, and as many moves as the policy allows are under way or were begun within this
    /// minute.
    NoBudget,
}

/// Explains one shard; `None` if the pool has none of that name.
pub fn explain(state: &PoolState, shard: &Bytes) -> Option<Explanation> {
    let draft = Draft::new(state, Bounds::none());
    let slot = draft.slots.iter().position(|slot| slot.info.shard == *shard)?;
    let next = plan(state);
    let about = |step: &&Step| step_shard(step) == shard;
    let steps: Vec<Step> = next.steps.iter().filter(about).cloned().collect();
    let level = Level::of_primaries(&draft);
    Some(Explanation {
        shard: shard.clone(),
        work: draft.slots[slot].work,
        home: draft.slots[slot].home.map(|seat| draft.seats[seat].info.instance.clone()),
        obstacles: obstacles(state, &draft, slot, steps.is_empty()),
        next: steps,
        candidates: (0..draft.seats.len()).map(|seat| candidate(&draft, &level, slot, seat)).collect(),
    })
}

fn step_shard(step: &Step) -> &Bytes {
    match step {
        Step::Grant { shard, .. }
        | Step::Move { shard, .. }
        | Step::CancelMove { shard }
        | Step::AddSecondary { shard, .. }
        | Step::DropSecondary { shard, .. } => shard,
    }
}

fn candidate(draft: &Draft<'_>, level: &Level, slot: usize, at: usize) -> Candidate {
    let (seat, of) = (&draft.seats[at], &draft.slots[slot]);
    let mut excluded_by = Vec::new();
    let pinned_here = of.info.pin.is_some() && of.pin == Some(at);
    match seat.standing {
        Standing::Away => excluded_by.push(Exclusion::Away),
        Standing::Cordoned if !pinned_here => excluded_by.push(Exclusion::Cordoned),
        Standing::Draining if !pinned_here => excluded_by.push(Exclusion::Draining),
        Standing::Active | Standing::Cordoned | Standing::Draining => {}
    }
    if of.info.pin.is_some() && !pinned_here {
        excluded_by.push(Exclusion::PinnedElsewhere);
    }
    let without = if of.home == Some(at) { seat.load - of.work } else { seat.load };
    let with = without + of.work;
    Candidate {
        instance: seat.info.instance.clone(),
        excluded_by,
        secondary: of.copy_of(at).map(|copy| of.copies[copy].ready),
        shares_zone: draft.state.policy.spread != Spread::Ignore && draft.shares_zone(slot, at),
        capacity: seat.info.capacity,
        fair: if seat.is_active() { level.share(seat.capacity) } else { 0 },
        without,
        with,
        over: level.is_over(with, seat.capacity),
        score: draft.score(slot, at),
    }
}

fn obstacles(state: &PoolState, draft: &Draft<'_>, slot: usize, idle: bool) -> Vec<Obstacle> {
    let of = &draft.slots[slot];
    let mut found = Vec::new();
    let unassigned = matches!(of.info.primary, Primary::Unassigned { .. });
    if state.paused_until_ms != 0 && !unassigned {
        found.push(Obstacle::Paused);
    }
    if of.info.retired {
        found.push(Obstacle::Retired);
    }
    match &of.info.primary {
        Primary::Withheld { until_ms, .. } => found.push(Obstacle::Withheld { until_ms: *until_ms }),
        Primary::Moving { .. } => found.push(Obstacle::Moving),
        Primary::Owned(_) | Primary::Unassigned { .. } => {}
    }
    let pinned_away = of.home.is_none_or(|home| of.pin != Some(home));
    let can_have = |seat: usize| draft.seats[seat].is_present();
    if of.info.pin.is_some() && pinned_away && !of.pin.is_some_and(can_have) {
        found.push(Obstacle::PinUnavailable);
    }
    if !draft.seats.iter().any(super::draft::Seat::is_active) {
        found.push(Obstacle::NoMember);
    }
    if idle && !of.moving && found.is_empty() && wants_move(state, draft, slot) {
        found.push(Obstacle::NoBudget);
    }
    found
}

/// Whether it would move if only the budget allowed it.
fn wants_move(state: &PoolState, draft: &Draft<'_>, slot: usize) -> bool {
    let free = super::simulate(state, &[]);
    free.transfers.iter().any(|transfer| transfer.shard == draft.slots[slot].info.shard)
}
