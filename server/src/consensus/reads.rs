//! Confirming reads: "as of now, everything up to this index was committed".
//!
//! The raft crate confirms a read by the context bytes alone: a late answer to an earlier read of
//! the same bytes would confirm a newer one, and with it everything queued before. So no two reads
//! ever have the same bytes: they hold the member, its start, the term and a count of our own,
//! whatever number the caller uses. And no read request travels between members on Raft's own
//! messages, where it could be doubled.

use super::options::PENDING_READS_MAX;
use super::{ReadRefused, Replica};
use raft::ReadState;
use std::collections::BTreeMap;
use std::mem::take;

const CONTEXT_BYTES: usize = 32;

/// Reads that wait for a quorum, all of one term.
#[derive(Debug, Default)]
pub(super) struct Reads {
    term: u64,
    /// Reads asked for since the start.
    count: u64,
    /// The caller's contexts by our count.
    waiting: BTreeMap<u64, u64>,
}

impl Reads {
    /// The reads that will never be confirmed, because the term they were asked in is over.
    pub(super) fn lost(&mut self, leads: bool, term: u64) -> Vec<u64> {
        if leads && term == self.term {
            return Vec::new();
        }
        take(&mut self.waiting).into_values().collect()
    }

    /// The confirmed ones among those that wait, each with its index.
    pub(super) fn confirmed(&mut self, states: Vec<ReadState>) -> Vec<(u64, u64)> {
        let confirmed = |state: ReadState| {
            let context = self.waiting.remove(&count_in(&state.request_ctx)?)?;
            Some((context, state.index))
        };
        states.into_iter().filter_map(confirmed).collect()
    }
}

impl Replica {
    /// Asks a quorum whether this replica still leads. The answer is in [`Ready::reads`] with the
    /// index that must be applied before reading, or in [`Ready::failed_reads`]. Either may take for
    /// ever if no quorum is there; the caller gives up by itself and asks again. The context is the
    /// caller's own name for the read.
    ///
    /// [`Ready::reads`]: super::Ready::reads
    /// [`Ready::failed_reads`]: super::Ready::failed_reads
    ///
    /// # Errors
    /// This replica cannot confirm anything now.
    pub fn read_index(&mut self, context: u64) -> Result<(), ReadRefused> {
        self.assert_idle();
        if !self.leads() {
            return Err(ReadRefused::NotLeader { leader: self.leader() });
        }
        // The raft crate would drop it without a word.
        if !self.raw.raft.commit_to_current_term() {
            return Err(ReadRefused::NotYet);
        }
        let term = self.raw.raft.term;
        if self.reads.term != term {
            let lost = self.reads.lost(false, term);
            self.lost_reads.extend(lost);
            self.reads.term = term;
        }
        if self.reads.waiting.len() >= PENDING_READS_MAX {
            return Err(ReadRefused::TooMany);
        }
        self.reads.count += 1;
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("reuse_read_context") {
            self.reads.count = 1;
        }
        self.reads.waiting.insert(self.reads.count, context);
        let parts = [self.options.node.get(), self.options.boot, term, self.reads.count];
        self.raw.read_index(parts.iter().flat_map(|part| part.to_be_bytes()).collect());
        self.pin_timeout();
        Ok(())
    }
}

/// Our count, which is the last part of the bytes.
fn count_in(bytes: &[u8]) -> Option<u64> {
    let bytes: &[u8; CONTEXT_BYTES] = bytes.try_into().ok()?;
    bytes.last_chunk().map(|count| u64::from_be_bytes(*count))
}
