//! Forgetting the log's beginning.

use super::Replica;
use crate::storage::StorageResult;
use raft::ProgressState;

/// What decides how much of the log's beginning goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// Everything up to here survives without the log.
    pub(super) durable: u64,
    /// Every active follower has everything up to here, or is being sent it.
    followers: u64,
    /// Entries to keep for followers that were away for a moment.
    pub(super) keep: u64,
    /// Bytes of the log.
    bytes: u64,
    /// Bytes beyond which fewer entries are kept.
    bytes_max: u64,
}

impl Lengths {
    /// The last entry to forget. Normally a tail is kept. A log that is too large keeps only what
    /// an active follower still lacks; one that is far too large not even that, as the follower can
    /// be sent a snapshot, and a full disk stops everybody.
    fn forget_to(self) -> u64 {
        let without_tail = self.durable.saturating_sub(self.keep);
        if self.bytes > self.bytes_max.saturating_mul(4) {
            self.durable
        } else if self.bytes > self.bytes_max {
            without_tail.max(self.durable.min(self.followers))
        } else {
            without_tail
        }
    }
}

impl Replica {
    /// Everything up to this entry survives without the log; entries before it, less a tail for
    /// slow followers, are forgotten.
    ///
    /// # Errors
    /// The disk failed. The member must stop.
    pub fn durable_to(&mut self, index: u64) -> StorageResult<()> {
        let log = self.log();
        let lengths = Lengths {
            durable: index.min(self.raw.raft.raft_log.applied).min(log.last_index()),
            followers: self.held_by_followers(),
            keep: self.options.catch_up_entries,
            bytes: log.size_bytes(),
            bytes_max: self.options.catch_up_bytes,
        };
        #[cfg(feature = "plant")]
        let lengths = super::plant::lengths(lengths, self.raw.raft.raft_log.applied);
        let forget_to = lengths.forget_to();
        if forget_to > log.base().0 {
            self.raw.mut_store().log.truncate_front(forget_to)?;
        }
        Ok(())
    }

    /// Changes how many entries are kept behind the durable state from now on.
    pub fn keep_entries(&mut self, entries: u64) {
        self.options.catch_up_entries = entries;
    }

    /// What every active follower has. One that gets a snapshot continues from there. Only a leader
    /// knows; for others nobody waits.
    fn held_by_followers(&self) -> u64 {
        if !self.leads() {
            return u64::MAX;
        }
        let others =
            self.raw.raft.prs().iter().filter(|(id, _)| **id != self.raw.raft.id && self.is_active(**id));
        let held = others.map(|(_, progress)| match progress.state {
            ProgressState::Snapshot => progress.pending_snapshot,
            ProgressState::Probe | ProgressState::Replicate => progress.matched,
        });
        held.min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Lengths;

    const SMALL: Lengths = Lengths { durable: 1000, followers: 950, keep: 100, bytes: 10, bytes_max: 10 };

    #[test]
    fn a_tail_is_kept() {
        assert_eq!(SMALL.forget_to(), 900);
        assert_eq!(Lengths { durable: 50, ..SMALL }.forget_to(), 0);
    }

    #[test]
    fn a_large_log_keeps_what_active_followers_lack() {
        let large = Lengths { bytes: 11, ..SMALL };
        assert_eq!(large.forget_to(), 950);
        assert_eq!(Lengths { followers: u64::MAX, ..large }.forget_to(), 1000);
        assert_eq!(
            Lengths { followers: 3, ..large }.forget_to(),
            900,
            "followers that far behind get a snapshot"
        );
    }

    #[test]
    fn a_huge_log_keeps_nothing_that_is_durable() {
        assert_eq!(Lengths { bytes: 41, ..SMALL }.forget_to(), 1000);
    }
}
