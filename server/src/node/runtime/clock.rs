//! The machine's clocks.

use crate::node::io::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time since it was made, and the wall clock's.
pub(super) struct Clock {
    begun: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        // Half a million years fit; a wall clock before 1970 is clamped by the state machine.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_us: self.begun.elapsed().as_micros() as u64, wall_ms: wall.as_millis() as u64 }
    }
}
