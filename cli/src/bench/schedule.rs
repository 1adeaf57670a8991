//! When the operations of an open loop are due. Pure: the same seed gives the same times.

use super::options::Arrivals;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Exp1};
use std::time::Duration;

/// Times without end, in order. Several schedules together make one rate.
pub struct Schedule {
    /// Seconds from one time to the next, on average.
    gap: f64,
    arrivals: Arrivals,
    random: SmallRng,
    /// Seconds of the first time, for equal distances.
    first: f64,
    /// Times passed so far.
    passed: u64,
    /// Seconds since the begin of the next time.
    next: f64,
}

impl Schedule {
    /// The `number`-th of `of` schedules that together have `rate` times in each second.
    pub fn new(rate: f64, arrivals: Arrivals, number: usize, of: usize, seed: u64) -> Self {
        let gap = of as f64 / rate;
        let mut schedule = Self {
            gap,
            arrivals,
            random: SmallRng::seed_from_u64(seed),
            first: number as f64 / rate,
            passed: 0,
            next: 0.0,
        };
        schedule.next = match arrivals {
            Arrivals::Constant => schedule.first,
            Arrivals::Poisson => schedule.chance(),
        };
        schedule
    }

    /// The next time, since the begin.
    pub fn next(&self) -> Duration {
        Duration::from_secs_f64(self.next)
    }

    /// Goes on to the time after it.
    pub fn advance(&mut self) {
        self.passed += 1;
        self.next = match self.arrivals {
            // Not added up, so that nothing adds up.
            Arrivals::Constant => self.first + self.passed as f64 * self.gap,
            Arrivals::Poisson => self.next + self.chance(),
        };
    }

    fn chance(&mut self) -> f64 {
        let chance: f64 = Exp1.sample(&mut self.random);
        chance * self.gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(mut schedule: Schedule, until: Duration) -> Vec<Duration> {
        let mut times = Vec::new();
        while schedule.next() < until {
            times.push(schedule.next());
            schedule.advance();
        }
        times
    }

    #[test]
    fn schedules_together_have_equal_distances() {
        let second = Duration::from_secs(1);
        let all: Vec<_> = (0..3)
            .flat_map(|number| times(Schedule::new(1000.0, Arrivals::Constant, number, 3, 0), second))
            .collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted.len(), 1000);
        for (number, time) in sorted.iter().enumerate() {
            let expected = Duration::from_millis(number as u64);
            assert!(time.abs_diff(expected) < Duration::from_nanos(10), "{time:?}, not {expected:?}");
        }
    }

    #[test]
    fn a_long_run_does_not_drift() {
        let rate = 30_000.0;
        let hour = times(Schedule::new(rate, Arrivals::Constant, 0, 1, 0), Duration::from_secs(600));
        assert_eq!(hour.len(), 18_000_000);
    }

    #[test]
    fn chance_has_the_rate_and_its_variance() {
        let seconds = 50;
        let mut in_second = vec![0_f64; seconds];
        for number in 0..4 {
            let schedule = Schedule::new(1000.0, Arrivals::Poisson, number, 4, 100 + number as u64);
            for time in times(schedule, Duration::from_secs(seconds as u64)) {
                in_second[time.as_secs() as usize] += 1.0;
            }
        }
        let mean = in_second.iter().sum::<f64>() / seconds as f64;
        let variance = in_second.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / seconds as f64;
        assert!((mean - 1000.0).abs() < 20.0, "{mean}");
        assert!((0.4..2.5).contains(&(variance / mean)), "of a Poisson process both are equal: {variance}");
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let of = |seed| times(Schedule::new(50.0, Arrivals::Poisson, 0, 1, seed), Duration::from_secs(1));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
