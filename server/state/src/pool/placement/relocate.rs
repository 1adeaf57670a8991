//! Primaries that are where they must not stay: pinned elsewhere, or on members that are draining.

use super::draft::{Draft, Standing};
use super::level::Level;
use crate::pool::{Primary, Step};
use std::cmp::Reverse;

impl Draft<'_> {
    /// Gives up moves to a member that is to be emptied, or to another than the pinned one. A move whose
    /// owner was asked to let go already comes to its end first.
    pub(super) fn cancel_moves(&mut self) {
        for slot in 0..self.slots.len() {
            let Primary::Moving { from, to, draining: false, .. } = &self.slots[slot].info.primary else {
                continue;
            };
            let info = self.slots[slot].info;
            let misled = info.pin.as_ref().is_some_and(|pin| pin != to);
            let Some(seat) = self.find(to) else { continue };
            let emptied = info.pin.is_none() && self.seats[seat].standing == Standing::Draining;
            if info.retired || !(misled || emptied) {
                continue;
            }
            if !self.has_room(1) {
                return;
            }
            self.plan.steps.push(Step::CancelMove { shard: info.shard.clone() });
            let (owner, work) = (self.find(&from.instance), self.slots[slot].work);
            self.rehome(slot, owner, work);
        }
    }

    fn rehome(&mut self, slot: usize, owner: Option<usize>, work: u64) {
        for (seat, comes) in [(self.slots[slot].home, false), (owner, true)] {
            let Some(seat) = seat else { continue };
            let seat = &mut self.seats[seat];
            if comes {
                (seat.load, seat.primaries) = (seat.load + work, seat.primaries + 1);
            } else {
                (seat.load, seat.primaries) = (seat.load - work, seat.primaries - 1);
            }
        }
        self.slots[slot].home = owner;
    }

    /// Moves what has to move, pinned shards first, then the heaviest.
    pub(super) fn relocate(&mut self) {
        let mut misplaced: Vec<usize> = (0..self.slots.len()).filter(|at| self.must_go(*at)).collect();
        misplaced.sort_by_key(|at| {
            let slot = &self.slots[*at];
            (slot.info.pin.is_none(), Reverse(slot.work), slot.half, *at)
        });
        if misplaced.is_empty() {
            return;
        }
        let level = Level::of_primaries(self);
        for slot in misplaced {
            let Some(to) = self.refuge(slot, &level) else { continue };
            if !self.may_move() || !self.has_room(self.transfer_steps(slot)) {
                return;
            }
            self.transfer(slot, to);
        }
    }

    /// Whether an owned primary is where it must not stay.
    fn must_go(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        let Some(home) = slot.home.filter(|_| matches!(slot.info.primary, Primary::Owned(_))) else {
            return false;
        };
        match slot.info.pin {
            Some(_) => slot.pin.is_some_and(|pin| pin != home),
            None => self.seats[home].standing == Standing::Draining,
        }
    }

    /// Where it is to go: a ready secondary if that does not get too much by it.
    fn refuge(&self, slot: usize, level: &Level) -> Option<usize> {
        if self.slots[slot].info.pin.is_some() {
            return self.slots[slot].pin.filter(|seat| self.seats[*seat].is_present());
        }
        let work = self.slots[slot].work;
        let fits = |seat: &usize| {
            let seat = &self.seats[*seat];
            seat.is_active() && !level.is_over(seat.load + work, seat.capacity)
        };
        let warm = self.slots[slot].copies.iter().filter(|copy| copy.ready).filter_map(|copy| copy.seat);
        let warm = warm.filter(fits).min_by(|one, other| self.by_load(slot, *one, *other));
        warm.or_else(|| self.least_laden(slot))
    }
}
