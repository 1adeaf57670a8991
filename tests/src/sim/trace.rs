//! What happened, as a rolling hash and, if wanted, as text.

use super::queue::Time;
use std::fmt;

/// The record of a run. Two runs of a seed must have equal hashes.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
    now: Time,
    print: bool,
}

impl Trace {
    /// With `print`, every event goes to standard output as well.
    pub fn new(print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, print, ..Self::default() }
    }

    /// What follows happens at this moment.
    pub fn at(&mut self, now: Time) {
        self.now = now;
    }

    /// Adds an event.
    pub fn note(&mut self, event: fmt::Arguments<'_>) {
        self.events += 1;
        self.absorb(&self.now.to_le_bytes());
        // The text is hashed while it is formatted: no event is kept in memory.
        fmt::write(self, event).expect("writing to a hash cannot fail");
        if self.print {
            println!("{:>11.3} ms  {event}", self.now as f64 / 1000.0);
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether events are printed, so that costly ones are worth formatting at length.
    pub fn prints(&self) -> bool {
        self.print
    }

    // FNV-1a over bytes, by eight where possible: this runs for every message of every seed.
    fn absorb(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = (self.hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
            self.hash ^= self.hash >> 29;
        }
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.absorb(text.as_bytes());
        Ok(())
    }
}

/// Prints what members log, beside the trace.
pub struct PrintLog;

impl slog::Drain for PrintLog {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        println!("{:>14}  {} {}", "", record.level().as_short_str(), record.msg());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_time_and_text_count() {
        let hash = |events: &[(u64, &str)]| {
            let mut trace = Trace::new(false);
            for (at, text) in events {
                trace.at(*at);
                trace.note(format_args!("{text}"));
            }
            trace.hash()
        };
        assert_eq!(hash(&[(1, "a"), (2, "b")]), hash(&[(1, "a"), (2, "b")]));
        assert_ne!(hash(&[(1, "a"), (2, "b")]), hash(&[(1, "b"), (2, "a")]));
        assert_ne!(hash(&[(1, "a")]), hash(&[(2, "a")]));
    }
}
