//! The machine's own numbers, and the record that keeps them.

use crate::codec::{Reader, Writer};
use crate::digest::{self, Sum};
use crate::ids::{Index, Revision, Term};
use crate::keys;
use bytes::Bytes;

/// Format of the counters' record.
pub(super) const FORMAT: u8 = 1;

/// Everything that changes with nearly every entry. One small record, written once per entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Last entry applied.
    pub(crate) applied: Index,
    /// Its term.
    pub(crate) term: Term,
    /// Revision of the last transaction that changed something.
    pub(crate) revision: Revision,
    /// Reads below this revision are refused. Moves with the log, not with `reclaim`.
    pub(crate) compacted: Revision,
    /// Highest stamp seen, in milliseconds since 1970.
    pub(crate) stamp_ms: u64,
    /// No session chosen by the log has this id or a higher one.
    pub(crate) next_session: u64,
    /// No note of forgetting is due before this time, in milliseconds since 1970.
    pub(crate) next_forget_ms: u64,
    /// Digest of all other records that count in it.
    pub(crate) sum: Sum,
}

impl Counters {
    /// Of a state in which nothing has happened.
    pub(crate) const FRESH: Self = Self {
        applied: Index(0),
        term: Term(0),
        revision: Revision(1),
        compacted: Revision(0),
        stamp_ms: 0,
        next_session: 1,
        next_forget_ms: u64::MAX,
        sum: Sum(0),
    };

    fn write(&self) -> Writer {
        let mut writer = Writer::new(FORMAT, 64);
        writer.number(self.applied.get());
        writer.number(self.term.get());
        writer.number(self.revision.get());
        writer.number(self.compacted.get());
        writer.number(self.stamp_ms);
        writer.number(self.next_session);
        writer.number(self.next_forget_ms);
        writer
    }

    /// The record.
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = self.write();
        writer.wide(self.sum.0);
        writer.finish()
    }

    /// Takes the record apart.
    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("counters", FORMAT, record);
        let counters = Self {
            applied: Index(reader.number()),
            term: Term(reader.number()),
            revision: Revision(reader.number()),
            compacted: Revision(reader.number()),
            stamp_ms: reader.number(),
            next_session: reader.number(),
            next_forget_ms: reader.number(),
            sum: Sum(reader.wide()),
        };
        reader.end();
        counters
    }

    /// The digest of the whole state: all records that count, and these counters.
    pub(super) fn digest(&self) -> u128 {
        let own = digest::record(keys::COUNTERS, &self.write().finish());
        self.sum.0.wrapping_add(own)
    }
}
