//! The one source of randomness of a run: the same seed gives the same numbers for ever.

/// A sequence of numbers that look random (SplitMix64: state advances by a constant, output is
/// mixed). Small, and unlike a library's generator it never changes under a recorded seed.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        let mut chance = Self { state: seed ^ 0x5851_f42d_4c95_7f2d };
        chance.number(); // neighbouring seeds part at once
        chance
    }

    /// An independent sequence, so that one consumer's appetite does not disturb another's numbers.
    pub fn fork(&mut self) -> Self {
        Self::new(self.number())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; zero when the bound is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of `[low, high]`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `parts` times in a thousand.
    pub fn permille(&mut self, parts: u64) -> bool {
        self.below(1000) < parts
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        assert!(!of.is_empty(), "nothing to pick from");
        &of[self.below(of.len() as u64) as usize]
    }

    /// Mixes the order.
    pub fn shuffle<T>(&mut self, of: &mut [T]) {
        for last in (1..of.len()).rev() {
            of.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// An exponentially distributed number with this mean, at most eight times the mean.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let unit = (self.below(1 << 32) + 1) as f64 / (1_u64 << 32) as f64;
        let drawn = -unit.ln() * mean as f64;
        (drawn as u64).min(mean.saturating_mul(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            (0..8).map(|_| 0).scan(Chance::new(seed), |c, _: i32| Some(c.number())).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut chance = Chance::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| chance.between(3, 5)).collect();
        assert!(drawn.iter().all(|n| (3..=5).contains(n)));
        assert!((3..=5).all(|n| drawn.contains(&n)));
        let mean = (0..4000).map(|_| chance.exponential(1000)).sum::<u64>() / 4000;
        assert!((900..1100).contains(&mean), "{mean}");
    }
}
