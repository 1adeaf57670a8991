//! Transactions: compare, then one branch or the other.
//!
//! As in etcd, all comparisons, nested ones included, look at the state before the transaction, so
//! the branches that will run are known before anything is changed. Reads inside see the
//! transaction's own earlier writes.

use crate::command::{
    Compare, CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, OpResult, RangeQuery, Rejection, Txn,
    TxnReply,
};
use crate::ids::{Revision, SessionId};
use crate::keys;
use crate::limits::RANGE_BYTES_MAX;
use crate::machine::kv::{self, Record};
use crate::machine::range::{self, Readable};
use crate::machine::scratch::Scratch;
use crate::machine::{form, update};
use crate::view::View;
use bytes::Bytes;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// Executes a transaction in the open revision. A refusal may leave changes behind; the caller
/// undoes them.
pub(super) fn execute(work: &mut Scratch<'_>, txn: &Txn) -> Result<TxnReply, Rejection> {
    form::check(txn)?;
    let mut run = Run::prepare(work, Readable::of_scratch(work), txn)?;
    run.branch(txn, &mut |op, bytes_left| operate(work, op, bytes_left))
}

/// Executes a transaction of reads. Writes are refused by whoever builds the query; one that comes
/// here all the same is a caller's bug.
pub(super) fn read(view: &dyn View, readable: Readable, txn: &Txn) -> Result<TxnReply, Rejection> {
    form::check(txn)?;
    let mut run = Run::prepare(view, readable, txn)?;
    run.branch(txn, &mut |op, bytes_left| match op {
        KvOp::Range(query) => Ok(OpResult::Range(range::read(view, readable, query, bytes_left)?)),
        KvOp::Put(_)
        | KvOp::Delete { .. }
        | KvOp::Txn(_)
        | KvOp::Update { .. }
        | KvOp::PutSequential { .. } => Err(Rejection::TooLarge {
            what: "number of writes in a read-only transaction",
            size: 1,
            limit: 0,
        }),
    })
}

fn operate(work: &mut Scratch<'_>, op: &KvOp, bytes_left: u64) -> Result<OpResult, Rejection> {
    match op {
        KvOp::Range(query) => {
            let readable = Readable::of_scratch(work);
            Ok(OpResult::Range(range::read(work, readable, query, bytes_left)?))
        }
        KvOp::Put(put) => Ok(OpResult::Put { previous: kv::put(work, put)? }),
        KvOp::Delete { range, want_previous } => {
            let (deleted, previous) = kv::delete(work, range, *want_previous)?;
            Ok(OpResult::Delete { deleted, previous })
        }
        KvOp::Update { key, update } => update::update(work, key, update),
        KvOp::PutSequential { prefix, value, owner } => update::put_sequential(work, prefix, value, *owner),
        KvOp::Txn(_) => unreachable!("Run::branch descends into nested transactions itself"),
    }
}

/// A transaction whose branches are chosen.
struct Run {
    /// Whether the comparisons held, for each transaction that runs, outer before inner.
    path: Vec<bool>,
    /// How many of `path` were used.
    at: usize,
    /// What all reads together may still return.
    bytes_left: u64,
}

impl Run {
    /// Chooses the branches and refuses reads of revisions that cannot be read, before any effect.
    fn prepare(view: &dyn View, readable: Readable, txn: &Txn) -> Result<Self, Rejection> {
        let mut path = Vec::new();
        choose(view, readable, txn, &mut path)?;
        Ok(Self { path, at: 0, bytes_left: RANGE_BYTES_MAX })
    }

    fn branch(
        &mut self,
        txn: &Txn,
        operate: &mut dyn FnMut(&KvOp, u64) -> Result<OpResult, Rejection>,
    ) -> Result<TxnReply, Rejection> {
        let succeeded = self.path[self.at];
        self.at += 1;
        let branch = if succeeded { &txn.then } else { &txn.otherwise };
        let mut results = Vec::with_capacity(branch.len());
        for op in branch {
            let result = match op {
                KvOp::Txn(inner) => OpResult::Txn(self.branch(inner, operate)?),
                KvOp::Range(_)
                | KvOp::Put(_)
                | KvOp::Delete { .. }
                | KvOp::Update { .. }
                | KvOp::PutSequential { .. } => operate(op, self.bytes_left)?,
            };
            if let OpResult::Range(reply) = &result {
                let bytes = |record: &KeyValue| (record.key.len() + record.value.len()) as u64;
                let used = reply.records.iter().map(bytes).sum();
                self.bytes_left = self.bytes_left.saturating_sub(used);
            }
            results.push(result);
        }
        Ok(TxnReply { succeeded, results })
    }
}

fn choose(view: &dyn View, readable: Readable, txn: &Txn, path: &mut Vec<bool>) -> Result<(), Rejection> {
    let succeeded = txn.compare.iter().all(|compare| holds(view, compare));
    path.push(succeeded);
    for op in if succeeded { &txn.then } else { &txn.otherwise } {
        match op {
            KvOp::Range(RangeQuery { revision, .. }) => readable.admit(*revision)?,
            KvOp::Txn(inner) => choose(view, readable, inner, path)?,
            KvOp::Put(_) | KvOp::Delete { .. } | KvOp::Update { .. } | KvOp::PutSequential { .. } => {}
        }
    }
    Ok(())
}

/// Whether every key of the range satisfies the comparison. A range without keys compares as one
/// absent key (etcd's rule).
fn holds(view: &dyn View, compare: &Compare) -> bool {
    if let CompareTarget::Count(count) = compare.target {
        return count_holds(view, compare, count);
    }
    if let KeyRange::Key(key) = &compare.range {
        return record_holds(compare, kv::get(view, key).as_ref());
    }
    let (from, to) = keys::kv_span(&compare.range);
    let (mut any, mut all) = (false, true);
    view.scan(&from, &to, false, &mut |_, stored| {
        any = true;
        all = record_holds(compare, Some(&Record::decode(stored)));
        if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if any { all } else { record_holds(compare, None) }
}

fn count_holds(view: &dyn View, compare: &Compare, against: u64) -> bool {
    let (from, to) = keys::kv_span(&compare.range);
    let mut count = 0_u64;
    view.scan(&from, &to, false, &mut |_, _| {
        count += 1;
        // One above the number decides every comparison.
        if count > against { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    ordering_holds(compare.op, count.cmp(&against))
}

fn record_holds(compare: &Compare, record: Option<&Record>) -> bool {
    let zero = Revision(0);
    let ordering = match &compare.target {
        CompareTarget::Version(version) => record.map_or(0, |r| r.version).cmp(version),
        CompareTarget::CreateRevision(at) => record.map_or(zero, |r| r.create_revision).cmp(at),
        CompareTarget::ModRevision(at) => record.map_or(zero, |r| r.changed.0).cmp(at),
        CompareTarget::Owner(owner) => record.map_or(SessionId(0), |r| r.owner).cmp(owner),
        CompareTarget::Value(value) => match record {
            Some(record) => Bytes::cmp(&record.value, value),
            None => return false,
        },
        CompareTarget::Count(count) => u64::from(record.is_some()).cmp(count),
    };
    ordering_holds(compare.op, ordering)
}

fn ordering_holds(op: CompareOp, ordering: Ordering) -> bool {
    match op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => ordering.is_ne(),
        CompareOp::Greater => ordering.is_gt(),
        CompareOp::Less => ordering.is_lt(),
    }
}
