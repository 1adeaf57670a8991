//! Primaries that move for balance alone.

use super::draft::Draft;
use super::level::{Level, evens, load, ratio_order};
use crate::pool::Primary;
use std::cmp::Reverse;

/// Which primaries may leave each member, the lightest first.
struct Movable {
    of: Vec<Vec<usize>>,
    /// Members from which nothing can be moved that would help.
    stuck: Vec<bool>,
}

impl Draft<'_> {
    /// Moves primaries from those who have too much, then to those who have too little, as long as two
    /// members are nearer to each other by it.
    pub(super) fn rebalance(&mut self) {
        // What still has to move is counted where it is not to be, and nothing is known to be too much.
        if self.plan.waiting || self.plan.cut {
            return;
        }
        let level = Level::of_primaries(self);
        let mut movable = self.movable();
        while let Some((from, to)) =
            self.laden_pair(&level, &mut movable).or_else(|| self.idle_pair(&level, &movable))
        {
            let slot = self.parcel(&level, &movable.of[from], from, to);
            if !self.may_move() || !self.has_room(self.transfer_steps(slot)) {
                return;
            }
            movable.of[from].retain(|at| *at != slot);
            self.transfer(slot, to);
        }
    }

    fn movable(&self) -> Movable {
        let mut of = vec![Vec::new(); self.seats.len()];
        for (at, slot) in self.slots.iter().enumerate() {
            let owned = matches!(slot.info.primary, Primary::Owned(_));
            let Some(home) = slot.home.filter(|_| owned && !slot.moving && slot.info.pin.is_none()) else {
                continue;
            };
            if self.seats[home].is_active() {
                of[home].push(at);
            }
        }
        for list in &mut of {
            list.sort_by_key(|at| (self.slots[*at].work, *at));
        }
        Movable { of, stuck: vec![false; self.seats.len()] }
    }

    /// Whether anything that may leave `from` helps if it goes to `to`: the lightest does if any does.
    fn helps(&self, movable: &Movable, from: usize, to: usize) -> bool {
        let lightest = movable.of[from].first();
        let (high, low) = (load(&self.seats[from]), load(&self.seats[to]));
        lightest.is_some_and(|slot| evens(self.slots[*slot].work, high, low))
    }

    /// The member that has most beyond the tolerance, and the one with the least that can take from it.
    fn laden_pair(&self, level: &Level, movable: &mut Movable) -> Option<(usize, usize)> {
        loop {
            let over = |at: &usize| {
                let seat = &self.seats[*at];
                !movable.stuck[*at] && seat.is_active() && level.is_over(seat.load, seat.capacity)
            };
            let over = (0..self.seats.len()).filter(over);
            let from = over.max_by(|one, other| self.by_ratio(*one, *other))?;
            let takes =
                |to: &usize| *to != from && self.seats[*to].is_active() && self.helps(movable, from, *to);
            let takes = (0..self.seats.len()).filter(takes);
            if let Some(to) = takes.min_by(|one, other| self.by_ratio(*one, *other)) {
                return Some((from, to));
            }
            movable.stuck[from] = true;
        }
    }

    /// The member that has least below the tolerance, and the one with the most that can give to it.
    fn idle_pair(&self, level: &Level, movable: &Movable) -> Option<(usize, usize)> {
        let under = |at: &usize| {
            let seat = &self.seats[*at];
            seat.is_active() && level.is_under(seat.load, seat.capacity)
        };
        let mut under: Vec<usize> = (0..self.seats.len()).filter(under).collect();
        under.sort_by(|one, other| self.by_ratio(*one, *other));
        under.into_iter().find_map(|to| {
            let gives = (0..self.seats.len()).filter(|from| self.helps(movable, *from, to));
            gives.max_by(|one, other| self.by_ratio(*one, *other)).map(|from| (from, to))
        })
    }

    /// Which shard goes: the heaviest that leaves neither of the two on the other side of its share, as
    /// that takes the fewest moves; else the lightest. Warm ones and ones that keep zones apart first.
    fn parcel(&self, level: &Level, movable: &[usize], from: usize, to: usize) -> usize {
        let (high, low) = (&self.seats[from], &self.seats[to]);
        let excess = high.load.saturating_sub(level.share(high.capacity));
        let lack = level.share(low.capacity).saturating_sub(low.load);
        let fits = |work| work <= excess.min(lack) && evens(work, load(high), load(low));
        let fitting = movable.partition_point(|slot| fits(self.slots[*slot].work));
        let lightest = self.slots[movable[0]].work;
        let fitting = if fitting == 0 {
            &movable[..movable.partition_point(|slot| self.slots[*slot].work == lightest)]
        } else {
            &movable[..fitting]
        };
        let best = fitting.iter().min_by_key(|at| {
            let slot = &self.slots[**at];
            let warm = slot.copy_of(to).is_some_and(|copy| slot.copies[copy].ready);
            (self.shares_zone(**at, to), Reverse(slot.work), !warm, Reverse(self.score(**at, to)), **at)
        });
        *best.expect("a pair has something that can be moved")
    }

    fn by_ratio(&self, one: usize, other: usize) -> std::cmp::Ordering {
        ratio_order(load(&self.seats[one]), load(&self.seats[other])).then(one.cmp(&other))
    }
}
