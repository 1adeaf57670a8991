//! Time without stalls.

/// A clock that stands still while its node does.
///
/// It advances with the monotonic clock, but a single step never counts for more than `step_max_us`:
/// whoever did not look for longer was stalled, and so could not have heard of life either. It does
/// not advance at all without contact.
#[derive(Debug)]
pub struct FairClock {
    fair_us: u64,
    seen_us: Option<u64>,
    step_max_us: u64,
}

impl FairClock {
    /// A clock at zero. Steps above `step_max_us` microseconds are stalls.
    pub fn new(step_max_us: u64) -> Self {
        Self { fair_us: 0, seen_us: None, step_max_us }
    }

    /// Looks at the monotonic clock; returns microseconds of fair time.
    pub fn advance(&mut self, mono_us: u64, in_contact: bool) -> u64 {
        let step = self.seen_us.map_or(0, |seen| mono_us.saturating_sub(seen));
        self.seen_us = Some(mono_us);
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("count_stalls") {
            self.fair_us += step;
            return self.fair_us;
        }
        if in_contact {
            self.fair_us += step.min(self.step_max_us);
        }
        self.fair_us
    }

    /// Microseconds of fair time when it last looked.
    pub fn now_us(&self) -> u64 {
        self.fair_us
    }
}
