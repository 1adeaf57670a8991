//! Reads of kv: one key or many, now or in the past.

use crate::codec::damaged;
use crate::command::{KeyValue, RangeQuery, RangeReply, Rejection};
use crate::ids::Revision;
use crate::keys;
use crate::limits::RANGE_BYTES_MAX;
use crate::machine::counters::Counters;
use crate::machine::history;
use crate::machine::kv::Record;
use crate::machine::scratch::Scratch;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

/// Versions of the past that are looked at before their events are fetched. A view's visitor must
/// not turn to the view again, so the two alternate.
const PAST_BATCH: usize = 256;

/// Which revisions can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readable {
    /// What the current records show: inside a transaction that has changed something, its own.
    shown: Revision,
    /// Last revision that is complete.
    settled: Revision,
    compacted: Revision,
}

impl Readable {
    pub(super) fn of_counters(counters: &Counters) -> Self {
        let settled = counters.revision;
        Self { shown: settled, settled, compacted: counters.compacted }
    }

    pub(super) fn of_scratch(work: &Scratch<'_>) -> Self {
        let compacted = work.counters.compacted;
        #[cfg(feature = "plant")]
        let compacted = super::plant::compacted(work, compacted);
        Self { shown: work.revision(), settled: work.settled_revision(), compacted }
    }

    /// Refuses a revision that is forgotten or yet to come. Zero is the current one. Depends on the
    /// replicated compaction mark only, never on what this replica has physically removed: else
    /// replicas would decide differently (etcd #18667).
    pub(super) fn admit(&self, revision: Revision) -> Result<(), Rejection> {
        if revision == Revision(0) {
            Ok(())
        } else if revision > self.settled {
            Err(Rejection::FutureRevision { asked: revision, current: self.settled })
        } else if revision < self.compacted {
            Err(Rejection::Compacted { asked: revision, oldest: self.compacted })
        } else {
            Ok(())
        }
    }

    /// The revision to read at in the past; `None` if the current records will do.
    fn past(&self, revision: Revision) -> Option<Revision> {
        (revision != Revision(0) && revision != self.shown).then_some(revision)
    }
}

/// Reads a range, returning at most `bytes_max` bytes (but at least one record).
pub(super) fn read(
    view: &dyn View,
    readable: Readable,
    query: &RangeQuery,
    bytes_max: u64,
) -> Result<RangeReply, Rejection> {
    readable.admit(query.revision)?;
    let mut gathered = Gathered::new(query, bytes_max);
    match readable.past(query.revision) {
        None => read_current(view, query, &mut gathered),
        Some(revision) => read_past(view, query, revision, &mut gathered),
    }
    if query.whole && gathered.over_budget {
        let what = "bytes of the records to return";
        return Err(Rejection::TooLarge { what, size: RANGE_BYTES_MAX + 1, limit: RANGE_BYTES_MAX });
    }
    Ok(gathered.reply())
}

fn read_current(view: &dyn View, query: &RangeQuery, gathered: &mut Gathered<'_>) {
    if let crate::command::KeyRange::Key(key) = &query.range {
        if let Some(record) = view.get(&keys::kv(key)) {
            let _ = gathered.offer(|| Record::decode(&record).into_key_value(key.clone()));
        }
        return;
    }
    let (from, to) = keys::kv_span(&query.range);
    view.scan(&from, &to, query.reverse, &mut |full, record| {
        gathered.offer(|| Record::decode(record).into_key_value(Bytes::copy_from_slice(&full[1..])))
    });
}

fn read_past(view: &dyn View, query: &RangeQuery, at: Revision, gathered: &mut Gathered<'_>) {
    let (mut from, mut to) = keys::versions_span(&query.range);
    loop {
        let batch = PastBatch::gather(view, &from, &to, query.reverse, at);
        for (revision, sub) in &batch.events {
            let step = gathered.offer(|| past_record(view, (*revision, *sub)));
            if step.is_break() {
                return;
            }
        }
        match batch.resume {
            None => return,
            Some(key) if query.reverse => to = key,
            Some(mut key) => {
                key.extend_from_slice(&[0xff; 9]); // behind all versions of that key
                from = key;
            }
        }
    }
}

fn past_record(view: &dyn View, at: (Revision, u32)) -> KeyValue {
    history::event(view, at)
        .and_then(history::key_value)
        .unwrap_or_else(|| damaged("version", format_args!("the event {}.{} is missing", at.0, at.1)))
}

/// For some keys of a range, the events that a revision shows.
#[derive(Default)]
struct PastBatch {
    events: Vec<(Revision, u32)>,
    /// Where the versions of the last key begin; `None` when the range is exhausted.
    resume: Option<Vec<u8>>,
}

impl PastBatch {
    fn gather(view: &dyn View, from: &[u8], to: &[u8], reverse: bool, at: Revision) -> Self {
        let mut batch = Self::default();
        // The key whose versions are being visited, and the best version of it so far.
        let mut present: Vec<u8> = Vec::new();
        let mut best: Option<(Revision, Bytes)> = None;
        view.scan(from, to, reverse, &mut |full, record| {
            let Some((of, revision)) = full.split_last_chunk::<8>() else {
                damaged("version", "its key is too short")
            };
            if of != present {
                batch.settle(best.take());
                if batch.events.len() >= PAST_BATCH {
                    batch.resume = Some(std::mem::take(&mut present));
                    return ControlFlow::Break(());
                }
                present.clear();
                present.extend_from_slice(of);
            }
            let revision = Revision(u64::from_be_bytes(*revision));
            if revision <= at && best.as_ref().is_none_or(|(best, _)| *best < revision) {
                best = Some((revision, record.clone()));
            }
            ControlFlow::Continue(())
        });
        batch.settle(best);
        batch
    }

    fn settle(&mut self, best: Option<(Revision, Bytes)>) {
        let Some((revision, record)) = best else {
            return;
        };
        let (sub, put) = history::decode_version(&record);
        if put {
            self.events.push((revision, sub));
        }
    }
}

/// Records gathered so far, under the query's bounds.
struct Gathered<'q> {
    query: &'q RangeQuery,
    records: Vec<KeyValue>,
    bytes_left: u64,
    count: u64,
    more: bool,
    /// Some were left out because of their bytes, not of their number.
    over_budget: bool,
    /// The walk ended before the range did, so that `count` is too low.
    cut: bool,
}

impl<'q> Gathered<'q> {
    fn new(query: &'q RangeQuery, bytes_max: u64) -> Self {
        let asked = if query.byte_budget == 0 { RANGE_BYTES_MAX } else { query.byte_budget };
        Self {
            query,
            records: Vec::new(),
            bytes_left: asked.min(bytes_max),
            count: 0,
            more: false,
            over_budget: false,
            cut: false,
        }
    }

    /// Takes the next record of the range, if it fits. Breaks when no further one is needed.
    fn offer(&mut self, record: impl FnOnce() -> KeyValue) -> ControlFlow<()> {
        if !self.query.count_only && !self.more {
            let record = record();
            if self.wants(&record) {
                self.take(record);
            }
            if self.more && !self.query.want_count {
                self.cut = true;
                return ControlFlow::Break(());
            }
        }
        self.count += 1;
        ControlFlow::Continue(())
    }

    fn wants(&self, record: &KeyValue) -> bool {
        let query = self.query;
        let within = |revision: Revision, min: Revision, max: Revision| {
            revision >= min && (max == Revision(0) || revision <= max)
        };
        within(record.mod_revision, query.min_mod_revision, query.max_mod_revision)
            && within(record.create_revision, query.min_create_revision, query.max_create_revision)
    }

    fn take(&mut self, mut record: KeyValue) {
        if self.query.keys_only {
            record.value = Bytes::new();
        }
        let bytes = (record.key.len() + record.value.len()) as u64;
        let limit = self.query.limit;
        let over_limit = limit != 0 && self.records.len() as u64 >= limit;
        let over_budget = bytes > self.bytes_left && (self.query.whole || !self.records.is_empty());
        if over_limit || over_budget {
            self.more = true;
            self.over_budget = !over_limit;
            return;
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.records.push(record);
    }

    fn reply(self) -> RangeReply {
        let count = if self.cut { self.records.len() as u64 } else { self.count };
        RangeReply { records: self.records, more: self.more, count }
    }
}
