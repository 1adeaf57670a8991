//! What followers forwarded, until it is in an entry.

use oarlock_state::Proposal;
use std::collections::VecDeque;

/// Forwards that this leader took, in order, whole. Bounded by whoever asks
/// [`has_room`](Self::has_room) first.
#[derive(Debug, Default)]
pub(super) struct Relay {
    forwards: VecDeque<(Vec<Proposal>, usize)>,
    bytes: usize,
}

impl Relay {
    /// Whether so many bytes fit below the bound. One forward always fits.
    pub(super) fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.forwards.is_empty() || self.bytes + bytes <= bytes_max
    }

    pub(super) fn add(&mut self, forward: Vec<Proposal>, bytes: usize) {
        self.bytes += bytes;
        self.forwards.push_back((forward, bytes));
    }

    /// Takes out the first forwards, up to about `bytes_max` bytes and at least one, with their
    /// bytes.
    pub(super) fn take(&mut self, bytes_max: usize) -> (Vec<Proposal>, usize) {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some((_, next)) = self.forwards.front() {
            if !taken.is_empty() && bytes + next > bytes_max {
                break;
            }
            if let Some((forward, size)) = self.forwards.pop_front() {
                taken.extend(forward);
                bytes += size;
            }
        }
        self.bytes -= bytes;
        (taken, bytes)
    }

    /// Puts back what was taken.
    pub(super) fn put_back(&mut self, proposals: Vec<Proposal>, bytes: usize) {
        if !proposals.is_empty() {
            self.bytes += bytes;
            self.forwards.push_front((proposals, bytes));
        }
    }

    /// Forgets everything: the reign in which it was to be proposed is over.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
