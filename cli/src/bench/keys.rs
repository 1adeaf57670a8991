//! Which key comes next. Pure: the same seed draws the same keys.

use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};
use std::fmt::{self, Display};
use std::str::FromStr;

/// The exponent of `zipf` unless said otherwise: that of the YCSB benchmarks.
const EXPONENT: f64 = 0.99;
/// Moves the ranks of a Zipf distribution over the key space, so that keys which are drawn often are
/// not neighbours. A prime above any key space, so no two ranks meet.
const SPREAD: u128 = 18_446_744_073_709_551_557;

/// How keys are drawn from a key space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// The key of rank `k` with a weight of `1 / k^exponent`; ranks are spread over the key space.
    Zipf {
        /// 0 is uniform; the higher, the fewer keys have all the load.
        exponent: f64,
    },
    /// One after the other, and from the beginning again.
    Sequential,
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (name, exponent) = word.split_once(':').map_or((word, None), |(name, rest)| (name, Some(rest)));
        match (name, exponent) {
            ("uniform", None) => Ok(Self::Uniform),
            ("sequential", None) => Ok(Self::Sequential),
            ("zipf", None) => Ok(Self::Zipf { exponent: EXPONENT }),
            ("zipf", Some(number)) => match number.parse::<f64>() {
                Ok(exponent) if exponent.is_finite() && exponent >= 0.0 => Ok(Self::Zipf { exponent }),
                _ => Err(format!("{number:?} is no exponent; a number of 0 or above is one")),
            },
            _ => Err("uniform, zipf, zipf:EXPONENT or sequential".to_owned()),
        }
    }
}

impl Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf { exponent } => write!(f, "zipf:{exponent}"),
            Self::Sequential => f.write_str("sequential"),
        }
    }
}

/// Which of the clients somebody is: they share what is done in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its number, from 0.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

/// Draws the keys of one client.
pub struct Keys {
    count: u64,
    drawing: Drawing,
}

enum Drawing {
    Uniform,
    Zipf(Zipf<f64>),
    Sequential { next: u64, step: u64 },
}

impl Keys {
    /// Keys of a space of `count`, which is not 0.
    pub fn new(distribution: Distribution, count: u64, share: Share) -> Self {
        let drawing = match distribution {
            Distribution::Uniform => Drawing::Uniform,
            Distribution::Zipf { exponent } => {
                let zipf = Zipf::new(count as f64, exponent);
                Drawing::Zipf(zipf.expect("the exponent was checked, and there are keys"))
            }
            Distribution::Sequential => Drawing::Sequential { next: share.number, step: share.of },
        };
        Self { count, drawing }
    }

    /// The next key's number, below the count.
    pub fn draw(&mut self, random: &mut SmallRng) -> u64 {
        match &mut self.drawing {
            Drawing::Uniform => random.random_range(0..self.count),
            Drawing::Zipf(zipf) => {
                let rank = (zipf.sample(random) as u128).clamp(1, u128::from(self.count)) - 1;
                (rank * SPREAD % u128::from(self.count)) as u64
            }
            Drawing::Sequential { next, step } => {
                let drawn = *next % self.count;
                *next = next.wrapping_add(*step);
                drawn
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeMap;

    const ALONE: Share = Share { number: 0, of: 1 };

    fn counts(distribution: Distribution, keys: u64, draws: usize) -> BTreeMap<u64, usize> {
        let mut random = SmallRng::seed_from_u64(7);
        let mut drawn = Keys::new(distribution, keys, ALONE);
        let mut counts = BTreeMap::new();
        for _ in 0..draws {
            *counts.entry(drawn.draw(&mut random)).or_default() += 1;
        }
        assert!(counts.keys().all(|key| *key < keys));
        counts
    }

    #[test]
    fn the_head_of_zipf_has_the_share_that_the_formula_gives() {
        let (keys, draws) = (1000, 200_000);
        for exponent in [0.8, 0.99, 1.2] {
            let counts = counts(Distribution::Zipf { exponent }, keys, draws);
            let mut by_count: Vec<usize> = counts.into_values().collect();
            by_count.sort_unstable_by(|a, b| b.cmp(a));
            let weight = |ranks: u64| (1..=ranks).map(|k| (k as f64).powf(-exponent)).sum::<f64>();
            for ranks in [1, 10] {
                let expected = weight(ranks) / weight(keys);
                let seen = by_count[..ranks as usize].iter().sum::<usize>() as f64 / draws as f64;
                assert!((seen / expected - 1.0).abs() < 0.05, "{exponent} {ranks}: {seen}, not {expected}");
            }
        }
    }

    #[test]
    fn ranks_of_zipf_are_different_keys_that_are_not_neighbours() {
        let keys = 97;
        let counts = counts(Distribution::Zipf { exponent: 0.5 }, keys, 50_000);
        assert_eq!(counts.len() as u64, keys, "some keys are never drawn");
        let first = counts.iter().max_by_key(|(_, count)| **count).map(|(key, _)| *key);
        assert_eq!(first, Some(0), "the first rank is the first key");
        let second = counts.iter().filter(|(key, _)| **key != 0).max_by_key(|(_, count)| **count);
        assert_eq!(second.map(|(key, _)| u128::from(*key)), Some(SPREAD % u128::from(keys)));
    }

    #[test]
    fn uniform_draws_each_as_often() {
        let counts = counts(Distribution::Uniform, 10, 100_000);
        assert!(counts.values().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_clients_of_a_sequence_share_it() {
        let mut random = SmallRng::seed_from_u64(1);
        let mut of = |number| {
            let mut keys = Keys::new(Distribution::Sequential, 5, Share { number, of: 2 });
            (0..4).map(|_| keys.draw(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(of(0), [0, 2, 4, 1]);
        assert_eq!(of(1), [1, 3, 0, 2]);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut keys = Keys::new(Distribution::Zipf { exponent: 1.0 }, 1 << 40, ALONE);
            (0..20).map(|_| keys.draw(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn words_are_read_and_told() {
        for word in ["uniform", "sequential", "zipf:0.99", "zipf:1.2"] {
            assert_eq!(word.parse::<Distribution>().expect("a distribution").to_string(), word);
        }
        assert_eq!("zipf".parse(), Ok(Distribution::Zipf { exponent: EXPONENT }));
        for word in ["zipf:x", "zipf:-1", "uniform:1", "normal"] {
            assert!(word.parse::<Distribution>().is_err(), "{word}");
        }
    }
}
