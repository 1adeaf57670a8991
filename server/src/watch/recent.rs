//! The last events, in memory.

use super::subscription::event_bytes;
use oarlock_state::{Event, Revision};
use std::collections::VecDeque;

/// The events of the newest revisions, as many as fit into a bound. Nothing is missing between its
/// first revision and the newest.
#[derive(Debug)]
pub struct Recent {
    events: VecDeque<Event>,
    /// All events from this revision on are here.
    first: Revision,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    /// Begins after revision `newest`.
    pub fn new(newest: Revision, bytes_max: usize) -> Self {
        Self { events: VecDeque::new(), first: newest.next(), bytes: 0, bytes_max }
    }

    /// Starts anew after revision `newest`.
    pub fn reset(&mut self, newest: Revision) {
        *self = Self::new(newest, self.bytes_max);
    }

    /// Adds events, in order, and drops the oldest revisions beyond the bound.
    pub fn push(&mut self, events: &[Event]) {
        for event in events {
            self.bytes += event_bytes(event);
            self.events.push_back(event.clone());
        }
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.events.front().map(|event| event.revision) else {
                break;
            };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, revision: Revision) {
        while self.events.front().is_some_and(|event| event.revision <= revision) {
            if let Some(event) = self.events.pop_front() {
                self.bytes -= event_bytes(&event);
            }
        }
        self.first = revision.next();
    }

    /// The events from revision `from` on, in order; `None` if some of them are gone.
    pub fn since(&self, from: Revision) -> Option<impl Iterator<Item = &Event>> {
        if from < self.first {
            return None;
        }
        let start = self.events.partition_point(|event| event.revision < from);
        Some(self.events.range(start..))
    }
}
