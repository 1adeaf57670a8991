//! Further copies of shards: as many as there should be, where they should be.
//!
//! A copy is replaced by adding another, and by dropping it once the other is ready, so that for that
//! time a shard has one copy more than the policy says.

use super::draft::{Copy, Draft, Standing};
use super::level::{Level, ratio_order};
use crate::limits::SECONDARIES_MAX;
use crate::pool::{Primary, Spread};
use std::cmp::Ordering;

impl Draft<'_> {
    /// Drops what must not or need not be, and adds what is missing.
    pub(super) fn keep_copies(&mut self) {
        for slot in 0..self.slots.len() {
            // Room for dropping all of them and for adding as many as there may ever be.
            if self.needs_care(slot) && !self.has_room(2 * SECONDARIES_MAX as usize + 1) {
                return;
            }
            self.drop_misplaced(slot);
            if self.is_settled(slot) {
                self.add_missing(slot);
            }
            self.drop_surplus(slot);
        }
        if self.plan.steps.is_empty() {
            self.rebalance_copies();
        }
    }

    /// How many further copies a shard is to have.
    fn wanted(&self, slot: usize) -> usize {
        if self.slots[slot].info.retired {
            return 0;
        }
        self.state.policy.secondaries.min(SECONDARIES_MAX) as usize
    }

    fn needs_care(&self, slot: usize) -> bool {
        self.wanted(slot) > 0 || !self.slots[slot].copies.is_empty()
    }

    /// Whether somebody owns the primary, or is granted it by this plan, and it stays there.
    fn is_settled(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        let held = matches!(slot.info.primary, Primary::Owned(_) | Primary::Unassigned { .. });
        held && !slot.moving && !slot.info.retired && slot.home.is_some()
    }

    /// Drops copies of those who are members no longer or own the primary, and those that must not be
    /// in one zone with a better one.
    fn drop_misplaced(&mut self, slot: usize) {
        self.slots[slot].copies.sort_by_key(|copy| {
            let standing = copy.seat.map(|seat| self.seats[seat].standing);
            (standing == Some(Standing::Draining), !copy.ready, copy.listed)
        });
        let mut at = 0;
        while at < self.slots[slot].copies.len() {
            let copy = self.slots[slot].copies[at];
            let stays = copy.seat.is_some_and(|seat| {
                let home = self.slots[slot].home;
                let owns = home == Some(seat) && self.is_settled(slot);
                let crowded = self.state.policy.spread == Spread::Require
                    && home != Some(seat)
                    && self.zones_before(slot, at).any(|zone| zone == self.seats[seat].zone);
                !owns && !crowded
            });
            if stays {
                at += 1;
            } else {
                self.drop_copy(slot, at);
            }
        }
    }

    /// The zones of the primary's home and of the copies before one of them.
    fn zones_before(&self, slot: usize, at: usize) -> impl Iterator<Item = usize> {
        let slot = &self.slots[slot];
        let copies = slot.copies[..at].iter().filter_map(|copy| copy.seat);
        slot.home.into_iter().chain(copies).map(|seat| self.seats[seat].zone)
    }

    fn add_missing(&mut self, slot: usize) {
        let wanted = self.wanted(slot);
        while self.lasting(slot).count() < wanted {
            if self.slots[slot].copies.len() > wanted {
                break; // one at a time
            }
            let Some(seat) = self.keeper(slot, false) else { break };
            self.add_copy(slot, seat);
        }
        let spread = self.state.policy.spread == Spread::Prefer;
        let calm =
            self.slots[slot].copies.iter().all(|copy| copy.ready) && self.slots[slot].copies.len() == wanted;
        if spread
            && calm
            && (0..wanted).any(|at| self.is_crowded(slot, at))
            && let Some(seat) = self.keeper(slot, true)
        {
            self.add_copy(slot, seat); // the crowded one goes once this one is ready
        }
    }

    /// Copies that need not be replaced.
    fn lasting(&self, slot: usize) -> impl Iterator<Item = &Copy> {
        self.slots[slot].copies.iter().filter(|copy| self.lasts(copy))
    }

    fn lasts(&self, copy: &Copy) -> bool {
        copy.seat.is_some_and(|seat| self.seats[seat].standing != Standing::Draining)
    }

    /// Who is to keep a further copy: in a zone of its own if it can be or has to be; then whoever has
    /// the least for its capacity.
    fn keeper(&self, slot: usize, alone: bool) -> Option<usize> {
        let of = &self.slots[slot];
        let alone = alone || self.state.policy.spread == Spread::Require;
        let used: Vec<usize> = self.zones_before(slot, of.copies.len()).collect();
        let crowds =
            |seat: usize| self.state.policy.spread != Spread::Ignore && used.contains(&self.seats[seat].zone);
        let free = |seat: &usize| {
            self.seats[*seat].is_active()
                && of.home != Some(*seat)
                && of.copy_of(*seat).is_none()
                && !(alone && used.contains(&self.seats[*seat].zone))
        };
        (0..self.seats.len()).filter(free).min_by(|one, other| {
            let zones = crowds(*one).cmp(&crowds(*other));
            zones.then_with(|| self.by_copies(slot, *one, *other))
        })
    }

    /// The order of members by all the work that they have for their capacity.
    fn by_copies(&self, slot: usize, one: usize, other: usize) -> Ordering {
        let all = |seat: usize| {
            let seat = &self.seats[seat];
            (seat.load + seat.copied, seat.capacity)
        };
        let loads = ratio_order(all(one), all(other));
        loads.then_with(|| self.score(slot, other).cmp(&self.score(slot, one))).then(one.cmp(&other))
    }

    /// Drops what is more than wanted: those that drain once the others are ready, then the worst.
    fn drop_surplus(&mut self, slot: usize) {
        let wanted = self.wanted(slot);
        let (lasting, copies) = (self.lasting(slot).count(), self.slots[slot].copies.len());
        let replaced = self.lasting(slot).all(|copy| copy.ready);
        if replaced && (self.is_settled(slot) || self.slots[slot].info.retired) {
            // With nobody to take its place a copy goes all the same: the member is to be emptied.
            let goes = if copies > wanted { copies - wanted } else { copies - lasting };
            for _ in 0..goes.min(copies - lasting) {
                let leaves = self.slots[slot].copies.iter().rposition(|copy| !self.lasts(copy));
                self.drop_copy(slot, leaves.expect("as many were counted"));
            }
        }
        loop {
            let ready = self.lasting(slot).filter(|copy| copy.ready).count();
            // One that is getting ready takes the place of one that is: both stay until then.
            let replacing = ready == wanted && wanted > 0;
            if self.lasting(slot).count() <= wanted || replacing {
                return;
            }
            let target = self.slots[slot].home.filter(|_| self.slots[slot].moving);
            let spare = |at: &usize| {
                let copy = &self.slots[slot].copies[*at];
                // A copy on a move's target is what the move needs, and ends with it.
                self.lasts(copy)
                    && copy.ready == (ready > wanted)
                    && (target.is_none() || copy.seat != target)
            };
            let spare = (0..self.slots[slot].copies.len()).filter(spare);
            let Some(at) = spare.max_by(|one, other| self.by_burden(slot, *one, *other)) else { return };
            self.drop_copy(slot, at);
        }
    }

    /// Whether a copy is in one zone with the primary or with another copy.
    fn is_crowded(&self, slot: usize, at: usize) -> bool {
        let of = &self.slots[slot];
        let Some(seat) = of.copies[at].seat else { return false };
        let others = of.copies.iter().enumerate().filter(|(other, _)| *other != at);
        let mut others = others.filter_map(|(_, copy)| copy.seat).chain(of.home.filter(|home| *home != seat));
        self.state.policy.spread != Spread::Ignore
            && others.any(|other| self.seats[other].zone == self.seats[seat].zone)
    }

    /// The order of copies by how little would be missed without them.
    fn by_burden(&self, slot: usize, one: usize, other: usize) -> Ordering {
        let copies = &self.slots[slot].copies;
        let crowded = self.is_crowded(slot, one).cmp(&self.is_crowded(slot, other));
        let (Some(first), Some(second)) = (copies[one].seat, copies[other].seat) else {
            return crowded;
        };
        let copied = |seat: usize| (self.seats[seat].copied, self.seats[seat].capacity);
        crowded
            .then_with(|| ratio_order(copied(first), copied(second)))
            .then_with(|| self.score(slot, second).cmp(&self.score(slot, first)))
    }

    /// Adds copies on members that keep few, beside ones on members that keep many; those are dropped
    /// once the new ones are ready. As many at a time as there may be moves, and the next only after
    /// these.
    fn rebalance_copies(&mut self) {
        let wanted = self.state.policy.secondaries as usize;
        let calm = |slot: usize| {
            let copies = &self.slots[slot].copies;
            copies.iter().all(|copy| copy.ready) && copies.len() <= wanted
        };
        let calm = (0..self.slots.len()).all(|slot| calm(slot) && !self.slots[slot].moving);
        if !calm || wanted == 0 {
            return;
        }
        let level = Level::of_copies(self);
        let mut copied: Vec<(u64, u64)> =
            self.seats.iter().map(|seat| (seat.copied, seat.capacity)).collect();
        let mut given = vec![false; self.slots.len()];
        while self.bounds.moves > 0 && self.plan.steps.len() < self.bounds.steps {
            let Some((slot, from, to)) = self.spare_copy(&level, &copied, &given) else { return };
            self.add_copy(slot, to);
            self.bounds.moves -= 1;
            given[slot] = true;
            copied[from].0 -= self.slots[slot].work;
            copied[to].0 += self.slots[slot].work;
        }
    }

    /// A copy that should be elsewhere: which shard, at whom it is, and where it should be.
    fn spare_copy(
        &self,
        level: &Level,
        copied: &[(u64, u64)],
        given: &[bool],
    ) -> Option<(usize, usize, usize)> {
        let active = |at: &usize| self.seats[*at].is_active();
        let outside = |at: &usize| {
            let (load, capacity) = copied[*at];
            active(at) && (level.is_over(load, capacity) || level.is_under(load, capacity))
        };
        if !(0..copied.len()).any(|at| outside(&at)) {
            return None;
        }
        let order =
            |one: &usize, other: &usize| ratio_order(copied[*one], copied[*other]).then(one.cmp(other));
        let from = (0..copied.len()).filter(active).max_by(order)?;
        let to = (0..copied.len()).filter(active).min_by(order)?;
        let helps = |slot: &usize| {
            let work = self.slots[*slot].work;
            let after = (copied[to].0 + work, copied[to].1);
            // Less than what the other has before: else it would be the new one that is dropped.
            super::level::evens(work, copied[from], copied[to])
                && ratio_order(after, copied[from]) == Ordering::Less
        };
        let goes = |slot: &usize| {
            let of = &self.slots[*slot];
            !given[*slot]
                && self.is_settled(*slot)
                && of.home != Some(to)
                && of.copy_of(to).is_none()
                && of.copy_of(from).is_some()
                && helps(slot)
                && !self.would_crowd(*slot, to)
        };
        let slot = (0..self.slots.len()).filter(goes).max_by_key(|slot| (self.slots[*slot].work, *slot))?;
        Some((slot, from, to))
    }

    /// Whether a copy on a member would be in one zone with any other.
    fn would_crowd(&self, slot: usize, seat: usize) -> bool {
        let mut zones = self.zones_before(slot, self.slots[slot].copies.len());
        self.state.policy.spread != Spread::Ignore && zones.any(|zone| zone == self.seats[seat].zone)
    }
}
