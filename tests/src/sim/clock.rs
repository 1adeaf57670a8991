//! A node's clocks: a monotonic one that runs a little fast or slow, and a wall clock that jumps.

use super::queue::Time;

/// Milliseconds since 1970 at which every run begins.
pub const WALL_START_MS: u64 = 1_700_000_000_000;

/// The clocks of one machine. They go on while the process is down.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Parts per million by which the clock runs fast (or slow, when negative).
    skew_ppm: i64,
    /// What the monotonic clock showed when the run began.
    start_us: u64,
    /// Difference of the wall clock from the true time, in milliseconds.
    wall_offset_ms: i64,
}

impl Clock {
    /// A clock with this rate error that begins at `start_us`.
    pub fn new(skew_ppm: i64, start_us: u64) -> Self {
        Self { skew_ppm, start_us, wall_offset_ms: 0 }
    }

    /// Moves the wall clock to this difference from the true time. Retention periods count in wall
    /// time, so jumps stay well below them.
    pub fn jump(&mut self, to_ms: i64) {
        self.wall_offset_ms = to_ms;
    }

    /// Undoes all jumps, as a time service does in the end.
    pub fn settle(&mut self) {
        self.wall_offset_ms = 0;
    }

    /// What the monotonic clock shows, in microseconds.
    pub fn mono_us(&self, now: Time) -> u64 {
        self.start_us + self.skewed(now)
    }

    /// What the wall clock shows, in milliseconds since 1970.
    pub fn wall_ms(&self, now: Time) -> u64 {
        (WALL_START_MS + self.skewed(now) / 1000).saturating_add_signed(self.wall_offset_ms)
    }

    /// How long `us` on this clock takes in true time.
    pub fn true_duration(&self, us: u64) -> Time {
        (i128::from(us) * 1_000_000 / i128::from(1_000_000 + self.skew_ppm)) as Time
    }

    fn skewed(&self, now: Time) -> u64 {
        now.saturating_add_signed((i128::from(now) * i128::from(self.skew_ppm) / 1_000_000) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_moves_the_wall_clock_alone() {
        let mut clock = Clock::new(50_000, 77);
        assert_eq!(clock.mono_us(1_000_000), 77 + 1_050_000);
        let before = clock.wall_ms(1_000_000);
        clock.jump(-5000);
        assert_eq!(clock.wall_ms(1_000_000), before - 5000);
        assert_eq!(clock.mono_us(1_000_000), 77 + 1_050_000);
        assert_eq!(clock.true_duration(1_050_000), 1_000_000);
    }
}
