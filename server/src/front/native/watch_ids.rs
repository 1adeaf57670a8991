//! The watches of one stream, by the client's own numbers.

use super::convert::{Form, invalid};
use crate::node::request::Refusal;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It was asked for, and goes on until it is cancelled or fails.
    Begun,
    /// Its client asked for its end.
    Cancelling,
}

/// Shared by the stream's reader, which begins watches, and its sender, which sees them end.
pub struct WatchIds {
    most: usize,
    ids: Mutex<BTreeMap<u64, Phase>>,
}

impl WatchIds {
    /// None yet, and never more than `most`.
    pub fn new(most: usize) -> Self {
        Self { most, ids: Mutex::default() }
    }

    /// A watch begins.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if its number is taken, or there are too many.
    pub fn begin(&self, id: u64) -> Form<()> {
        let mut ids = self.lock();
        if ids.len() >= self.most {
            let what =
                format!("this stream has {} watches, the most it may have; use another stream", self.most);
            return Err(Refusal::Invalid { what });
        }
        if ids.contains_key(&id) {
            return Err(invalid(format!(
                "watch {id} exists already on this stream; choose another watch_id"
            )));
        }
        ids.insert(id, Phase::Begun);
        Ok(())
    }

    /// The client asks for a watch's end.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if there is no such watch.
    pub fn cancel(&self, id: u64) -> Form<()> {
        match self.lock().get_mut(&id) {
            Some(phase) => *phase = Phase::Cancelling,
            None => return Err(invalid(format!("there is no watch {id} on this stream"))),
        }
        Ok(())
    }

    /// The node answered to what was asked of a watch; true if the watch is over by that and was
    /// not before. A watch that begins is only over if that was `refused`.
    pub fn answered(&self, id: u64, refused: bool) -> bool {
        let mut ids = self.lock();
        let over = ids.get(&id).is_some_and(|phase| refused || *phase == Phase::Cancelling);
        over && ids.remove(&id).is_some()
    }

    /// A watch is over; false if it was already.
    pub fn end(&self, id: u64) -> bool {
        self.lock().remove(&id).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Phase>> {
        self.ids.lock().expect("no code panics while it holds the numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_bounded_and_may_be_used_again() {
        let ids = WatchIds::new(2);
        ids.begin(1).expect("free");
        assert!(ids.begin(1).is_err());
        ids.begin(2).expect("free");
        assert!(ids.begin(3).is_err());
        assert!(ids.end(1) && !ids.end(1));
        ids.begin(1).expect("free again");
        assert!(ids.cancel(3).is_err());
    }

    #[test]
    fn a_watch_is_over_when_its_cancellation_is_answered_or_it_was_refused() {
        let ids = WatchIds::new(2);
        ids.begin(1).expect("free");
        assert!(!ids.answered(1, false), "it begins");
        ids.cancel(1).expect("there");
        assert!(ids.answered(1, false) && !ids.answered(1, false));
        ids.begin(2).expect("free");
        assert!(ids.answered(2, true));
    }
}
