//! The digests at recent indexes, against which a replica compares what the leader sends.
//!
//! A leader's `CheckDigest` arrives some entries after the index it speaks of. So each replica
//! remembers its digests at every [`DIGEST_EVERY`]th index, the last [`DIGESTS_KEPT`] of them, in a
//! record of their own that survives restarts and travels in snapshots.

use crate::codec::{Reader, Writer};
use crate::ids::Index;
use crate::keys;
use crate::limits::{DIGEST_EVERY, DIGESTS_KEPT};
use crate::machine::counters::Counters;
use crate::view::{Mutation, View};
use bytes::Bytes;

const FORMAT: u8 = 1;

/// Index and digest, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests(Vec<(Index, u128)>);

impl Digests {
    pub(super) fn load(view: &dyn View) -> Self {
        let Some(record) = view.get(keys::DIGESTS) else {
            return Self::default();
        };
        let mut reader = Reader::new("digests", FORMAT, &record);
        let count = reader.number();
        let digests = (0..count).map(|_| (Index(reader.number()), reader.wide())).collect();
        reader.end();
        Self(digests)
    }

    pub(super) fn all(&self) -> &[(Index, u128)] {
        &self.0
    }

    pub(super) fn at(&self, index: Index) -> Option<u128> {
        self.0.iter().find(|(at, _)| *at == index).map(|(_, digest)| *digest)
    }

    /// Remembers the digest if this index is one of those; returns the record to write then.
    pub(super) fn note(&mut self, counters: &Counters) -> Option<Mutation> {
        if !counters.applied.get().is_multiple_of(DIGEST_EVERY) {
            return None;
        }
        if self.0.len() >= DIGESTS_KEPT {
            self.0.remove(0);
        }
        self.0.push((counters.applied, counters.digest()));
        let mut writer = Writer::new(FORMAT, self.0.len() * 24);
        writer.number(self.0.len() as u64);
        for (index, digest) in &self.0 {
            writer.number(index.get());
            writer.wide(*digest);
        }
        let value = Some(writer.finish());
        Some(Mutation::new(Bytes::from_static(keys::DIGESTS), value))
    }
}
