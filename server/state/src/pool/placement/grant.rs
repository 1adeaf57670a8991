//! Primaries that nobody owns.

use super::draft::Draft;
use super::level::{load, ratio_order};
use crate::pool::Primary;
use std::cmp::{Ordering, Reverse};

impl Draft<'_> {
    /// Grants what can be granted, the heaviest first: small ones fill the gaps that they leave.
    pub(super) fn grant_unassigned(&mut self) {
        let free = |at: &usize| {
            let info = self.slots[*at].info;
            matches!(info.primary, Primary::Unassigned { .. }) && !info.retired
        };
        let mut free: Vec<usize> = (0..self.slots.len()).filter(free).collect();
        free.sort_by_key(|at| (Reverse(self.slots[*at].work), self.slots[*at].half, *at));
        for slot in free {
            let Some(to) = self.heir(slot) else { continue };
            if !self.has_room(self.transfer_steps(slot)) {
                return;
            }
            self.transfer(slot, to);
        }
    }

    /// Who is to own a primary that nobody owns.
    fn heir(&self, slot: usize) -> Option<usize> {
        if self.slots[slot].info.pin.is_some() {
            return self.slots[slot].pin.filter(|seat| self.seats[*seat].is_present());
        }
        let warm = self.slots[slot].copies.iter().filter(|copy| copy.ready).filter_map(|copy| copy.seat);
        let warm = warm.filter(|seat| self.seats[*seat].is_active());
        warm.min_by(|one, other| self.by_load(slot, *one, *other)).or_else(|| self.least_laden(slot))
    }

    /// The active member that will have the least work for its capacity if it gets this shard.
    pub(super) fn least_laden(&self, slot: usize) -> Option<usize> {
        let active = (0..self.seats.len()).filter(|seat| self.seats[*seat].is_active());
        if self.slots[slot].copies.is_empty() {
            return active.min_by(|one, other| self.by_load(slot, *one, *other));
        }
        active.min_by(|one, other| {
            let zones = self.shares_zone(slot, *one).cmp(&self.shares_zone(slot, *other));
            zones.then_with(|| self.by_load(slot, *one, *other))
        })
    }

    /// The order of members by the work that they will have for their capacity if they get this shard;
    /// then by rendezvous.
    pub(super) fn by_load(&self, slot: usize, one: usize, other: usize) -> Ordering {
        let work = self.slots[slot].work;
        let after = |seat: usize| {
            let (load, capacity) = load(&self.seats[seat]);
            (load + work, capacity)
        };
        let loads = ratio_order(after(one), after(other));
        loads.then_with(|| self.score(slot, other).cmp(&self.score(slot, one))).then(one.cmp(&other))
    }
}
