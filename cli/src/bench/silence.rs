//! The longest time in which nothing succeeded: how long a cluster stood still.

use std::time::Duration;

/// Which milliseconds of the measured time had a success.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    heard: Vec<bool>,
}

impl Silence {
    /// Something succeeded so long after the begin of the measured time.
    pub fn break_at(&mut self, at: Duration) {
        let millis = at.as_millis() as usize;
        if self.heard.len() <= millis {
            self.heard.resize(millis + 1, false);
        }
        self.heard[millis] = true;
    }

    /// Adds what others heard in the same time.
    pub fn add(&mut self, other: &Self) {
        if self.heard.len() < other.heard.len() {
            self.heard.resize(other.heard.len(), false);
        }
        for (mine, theirs) in self.heard.iter_mut().zip(&other.heard) {
            *mine |= theirs;
        }
    }

    /// The longest, in whole milliseconds, of a measured time of this length. The time before the first
    /// success counts, as the time after the last one does.
    pub fn longest(&self, measured: Duration) -> Duration {
        let millis = measured.as_millis() as usize;
        let within = &self.heard[..self.heard.len().min(millis)];
        let gaps = within.split(|heard| *heard).map(<[bool]>::len);
        // What is behind the last success is longer by what was never written down.
        let last = within.iter().rev().take_while(|heard| !**heard).count() + millis - within.len();
        Duration::from_millis(gaps.max().unwrap_or(0).max(last) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken_at(moments: &[u64]) -> Silence {
        let mut silence = Silence::default();
        for moment in moments {
            silence.break_at(Duration::from_millis(*moment));
        }
        silence
    }

    fn longest(silence: &Silence) -> u64 {
        silence.longest(Duration::from_millis(1000)).as_millis() as u64
    }

    #[test]
    fn both_ends_and_the_middle_count() {
        assert_eq!(longest(&Silence::default()), 1000);
        assert_eq!(longest(&broken_at(&[500, 500, 600])), 500, "from the begin");
        assert_eq!(longest(&broken_at(&[0, 400, 999])), 598, "in the middle");
        assert_eq!(longest(&broken_at(&[0, 100])), 899, "until the end");
        assert_eq!(longest(&broken_at(&[0, 100, 5000])), 899, "what comes after the end is no success");
    }

    #[test]
    fn what_one_thread_heard_ends_the_silence_of_all() {
        let mut silence = broken_at(&[0, 800]);
        silence.add(&broken_at(&[400, 999]));
        silence.add(&Silence::default());
        assert_eq!(longest(&silence), 399);
    }
}
