//! What a fair share is.

use super::draft::{Draft, Seat};

/// Work per capacity if all were in balance, as a fraction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    work: u128,
    capacity: u128,
    tolerance_percent: u128,
}

impl Level {
    /// Of the primaries of all active members. A member whose pinned shards are more than its share is
    /// left out: nobody else can be brought to its level.
    pub fn of_primaries(draft: &Draft<'_>) -> Self {
        let mut pinned = vec![0_u64; draft.seats.len()];
        for slot in &draft.slots {
            if let (Some(home), true) = (slot.home, slot.info.pin.is_some()) {
                pinned[home] += slot.work;
            }
        }
        let active = || draft.seats.iter().enumerate().filter(|(_, seat)| seat.is_active());
        let mut level = Self::over(draft, active().map(|(_, seat)| (seat.load, seat.capacity)));
        let mut laden: Vec<(u64, u64, u64)> =
            active().map(|(at, seat)| (pinned[at], seat.capacity, seat.load)).collect();
        laden.sort_by(|one, other| ratio_order((other.0, other.1), (one.0, one.1)));
        // From the most laden on; each that is left out makes the level of the others lower.
        for (at, (fixed, capacity, _)) in laden.iter().enumerate() {
            if u128::from(*fixed) * level.capacity <= level.work * u128::from(*capacity) {
                break;
            }
            let moved: u64 = laden[..=at].iter().map(|(fixed, _, load)| load - fixed).sum();
            let rest = laden[at + 1..].iter().map(|(_, capacity, load)| (*load, *capacity));
            level = Self::over(draft, rest.chain([(moved, 0)]));
        }
        level
    }

    /// Of the further copies of all active members.
    pub fn of_copies(draft: &Draft<'_>) -> Self {
        let active = draft.seats.iter().filter(|seat| seat.is_active());
        Self::over(draft, active.map(|seat| (seat.copied, seat.capacity)))
    }

    fn over(draft: &Draft<'_>, loads: impl Iterator<Item = (u64, u64)>) -> Self {
        let (mut work, mut capacity) = (0, 0);
        for (load, of) in loads {
            work += u128::from(load);
            capacity += u128::from(of);
        }
        Self { work, capacity, tolerance_percent: u128::from(draft.state.policy.tolerance_percent) }
    }

    /// The share of so much capacity, rounded down.
    pub fn share(&self, capacity: u64) -> u64 {
        let share = self.work * u128::from(capacity) / self.capacity.max(1);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Whether so much work is more than the tolerance above the share of so much capacity.
    pub fn is_over(&self, load: u64, capacity: u64) -> bool {
        let share = self.work * u128::from(capacity);
        u128::from(load) * self.capacity * 100 > share * (100 + self.tolerance_percent)
    }

    /// Whether it is more than the tolerance below.
    pub fn is_under(&self, load: u64, capacity: u64) -> bool {
        let share = self.work * u128::from(capacity);
        u128::from(load) * self.capacity * 100 < share * 100_u128.saturating_sub(self.tolerance_percent)
    }
}

/// Which of two loads (work, capacity) is less for its capacity.
pub(super) fn ratio_order(one: (u64, u64), other: (u64, u64)) -> std::cmp::Ordering {
    (u128::from(one.0) * u128::from(other.1)).cmp(&(u128::from(other.0) * u128::from(one.1)))
}

/// The load of a member's primaries, to be compared by [`ratio_order`].
pub(super) const fn load(seat: &Seat<'_>) -> (u64, u64) {
    (seat.load, seat.capacity)
}

/// Whether two members are nearer to each other, and the sum of load² ÷ capacity is less, once work has
/// gone from one to the other.
pub(super) fn evens(work: u64, from: (u64, u64), to: (u64, u64)) -> bool {
    let cross = |one: (u64, u64), other: (u64, u64)| u128::from(one.0) * u128::from(other.1);
    let (high, low) = (cross(from, to), cross(to, from));
    high > low && u128::from(work) * (u128::from(from.1) + u128::from(to.1)) < 2 * (high - low)
}
