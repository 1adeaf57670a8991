//! Finds sessions that are due, without touching the others.

use oarlock_state::SessionId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap of guesses: each session is in it once, at a time no later than its deadline. Extending a
/// deadline, which happens all the time, costs nothing here; when the guess comes up, the owner says
/// the real deadline and the session goes back in. So a session costs one heap operation per
/// timeout, however often it is kept alive.
#[derive(Debug, Default)]
pub struct Deadlines {
    guesses: BinaryHeap<Reverse<(u64, SessionId)>>,
}

impl Deadlines {
    /// Adds a session that is not in the heap. Times in microseconds.
    pub fn add(&mut self, at_us: u64, session: SessionId) {
        self.guesses.push(Reverse((at_us, session)));
    }

    /// Starts anew with these.
    pub fn rebuild(&mut self, guesses: impl Iterator<Item = (u64, SessionId)>) {
        self.guesses.clear();
        self.guesses.extend(guesses.map(Reverse));
    }

    /// Takes out a session whose guess is at or before `now_us`, with the guess. The caller adds it
    /// again unless the session is gone.
    pub fn pop(&mut self, now_us: u64) -> Option<(u64, SessionId)> {
        let Reverse((at_us, _)) = self.guesses.peek()?;
        if *at_us > now_us {
            return None;
        }
        self.guesses.pop().map(|Reverse(guess)| guess)
    }
}
