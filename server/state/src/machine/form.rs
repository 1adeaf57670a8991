//! What makes a transaction ill-formed, whatever the state: sizes, and keys changed twice.
//!
//! All changes of a transaction share one revision, and a key has one version per revision. So no
//! key may be changed twice in one branch (etcd's rule, nested transactions included): neither put
//! twice, nor both put and within a deleted range. The branches of one transaction may change the
//! same key, for only one of them runs. (etcd accepts a put of a transaction within and a delete of
//! a later one beside it, though not the other way round; here neither is accepted.)

use crate::command::{Compare, CompareTarget, KeyRange, KvOp, Put, Rejection, Txn, Update};
use crate::limits::{KEY_BYTES_MAX, TXN_DEPTH_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX};
use crate::machine::update::SEQUENCE_DIGITS;
use bytes::Bytes;
use std::collections::BTreeSet;

/// Refuses an ill-formed transaction.
pub(super) fn check(txn: &Txn) -> Result<(), Rejection> {
    let mut operations = 0;
    sizes(txn, 1, &mut operations)?;
    for branch in [&txn.then, &txn.otherwise] {
        // A lone plain operation cannot meet another change of its key.
        if branch.len() > 1 || branch.iter().any(|op| matches!(op, KvOp::Txn(_))) {
            Changes::of(branch)?;
        }
    }
    Ok(())
}

fn sizes(txn: &Txn, depth: usize, operations: &mut usize) -> Result<(), Rejection> {
    limit("depth of nested transactions", depth, TXN_DEPTH_MAX)?;
    *operations += txn.compare.len() + txn.then.len() + txn.otherwise.len();
    limit("number of operations and comparisons", *operations, TXN_OPS_MAX)?;
    for compare in &txn.compare {
        compare_sizes(compare)?;
    }
    for op in txn.then.iter().chain(&txn.otherwise) {
        match op {
            KvOp::Range(query) => range(&query.range)?,
            KvOp::Put(Put { key: k, value: v, .. }) => {
                key(k)?;
                value(v)?;
            }
            KvOp::Delete { range: keys, .. } => range(keys)?,
            KvOp::Txn(inner) => sizes(inner, depth + 1, operations)?,
            KvOp::Update { key: k, update } => {
                key(k)?;
                update_sizes(update)?;
            }
            KvOp::PutSequential { prefix, value: v, .. } => {
                limit("bytes of the key", prefix.len() + SEQUENCE_DIGITS, KEY_BYTES_MAX)?;
                value(v)?;
            }
        }
    }
    Ok(())
}

fn compare_sizes(compare: &Compare) -> Result<(), Rejection> {
    range(&compare.range)?;
    match &compare.target {
        CompareTarget::Value(bytes) => value(bytes),
        CompareTarget::Version(_)
        | CompareTarget::CreateRevision(_)
        | CompareTarget::ModRevision(_)
        | CompareTarget::Owner(_)
        | CompareTarget::Count(_) => Ok(()),
    }
}

fn update_sizes(update: &Update) -> Result<(), Rejection> {
    match update {
        Update::Append(bytes) => value(bytes),
        Update::Add(_) | Update::Max(_) | Update::Min(_) => Ok(()),
    }
}

/// Refuses an impossible range of keys.
pub(crate) fn range(range: &KeyRange) -> Result<(), Rejection> {
    match range {
        KeyRange::Key(one) => key(one),
        KeyRange::Span { start, end } => {
            let longest = start.len().max(end.as_ref().map_or(0, Bytes::len));
            // The least key behind the longest one is a byte longer.
            limit("bytes of the key", longest, KEY_BYTES_MAX + 1)
        }
    }
}

fn key(key: &Bytes) -> Result<(), Rejection> {
    if key.is_empty() {
        return Err(Rejection::KeyEmpty);
    }
    limit("bytes of the key", key.len(), KEY_BYTES_MAX)
}

fn value(value: &Bytes) -> Result<(), Rejection> {
    limit("bytes of the value", value.len(), VALUE_BYTES_MAX)
}

/// Refuses more than `limit` of something.
pub(crate) fn limit(what: &'static str, size: usize, limit: usize) -> Result<(), Rejection> {
    if size > limit {
        return Err(Rejection::TooLarge { what, size: size as u64, limit: limit as u64 });
    }
    Ok(())
}

/// What the operations of one branch may change.
#[derive(Default)]
struct Changes<'t> {
    puts: BTreeSet<&'t [u8]>,
    deletes: Vec<&'t KeyRange>,
    /// Prefixes under which `PutSequential` will put one or more keys.
    sequences: BTreeSet<&'t [u8]>,
}

impl<'t> Changes<'t> {
    /// Collects a branch, refusing keys that are changed twice.
    fn of(branch: &'t [KvOp]) -> Result<Self, Rejection> {
        let mut changes = Self::of_level(branch)?;
        for op in branch {
            if let KvOp::Txn(inner) = op {
                changes.join(Self::of_either(inner)?)?;
            }
        }
        Ok(changes)
    }

    /// Collects a transaction, of whose branches only one will run.
    fn of_either(txn: &'t Txn) -> Result<Self, Rejection> {
        let mut changes = Self::of(&txn.then)?;
        changes.absorb(Self::of(&txn.otherwise)?);
        Ok(changes)
    }

    /// Collects a branch without the transactions in it.
    fn of_level(branch: &'t [KvOp]) -> Result<Self, Rejection> {
        let mut changes = Self::default();
        for op in branch {
            match op {
                KvOp::Put(Put { key, .. }) | KvOp::Update { key, .. } => changes.put(key)?,
                KvOp::PutSequential { prefix, .. } => {
                    changes.sequences.insert(prefix);
                }
                KvOp::Delete { range, .. } => changes.deletes.push(range),
                KvOp::Range(_) | KvOp::Txn(_) => {}
            }
        }
        changes.check_overlaps(&changes)?;
        Ok(changes)
    }

    fn put(&mut self, key: &'t [u8]) -> Result<(), Rejection> {
        if self.puts.insert(key) { Ok(()) } else { Err(duplicate(key)) }
    }

    /// Adds what will run besides.
    fn join(&mut self, other: Self) -> Result<(), Rejection> {
        if let Some(key) = self.puts.intersection(&other.puts).next() {
            return Err(duplicate(key));
        }
        self.check_overlaps(&other)?;
        other.check_overlaps(self)?;
        self.absorb(other);
        Ok(())
    }

    fn absorb(&mut self, other: Self) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
        self.sequences.extend(other.sequences);
    }

    /// Refuses puts of the others among these deletes, and under these prefixes.
    fn check_overlaps(&self, other: &Self) -> Result<(), Rejection> {
        for range in &self.deletes {
            if let Some(key) = other.first_put_in(range) {
                return Err(duplicate(key));
            }
            if let Some(prefix) = other.sequences.iter().find(|prefix| meets(prefix, range)) {
                return Err(duplicate(prefix));
            }
        }
        if self.sequences.is_empty() {
            return Ok(());
        }
        for key in &other.puts {
            let Some(split) = key.len().checked_sub(SEQUENCE_DIGITS) else {
                continue;
            };
            let (prefix, number) = key.split_at(split);
            if number.iter().all(u8::is_ascii_digit) && self.sequences.contains(prefix) {
                return Err(duplicate(key));
            }
        }
        Ok(())
    }

    fn first_put_in(&self, range: &'t KeyRange) -> Option<&'t [u8]> {
        match range {
            KeyRange::Key(key) => self.puts.get(key.as_ref()).copied(),
            KeyRange::Span { start, end } => {
                let first = self.puts.range(start.as_ref()..).next()?;
                end.as_ref().is_none_or(|end| *first < end.as_ref()).then_some(first)
            }
        }
    }
}

/// Whether the range may hold a numbered key of the prefix.
fn meets(prefix: &[u8], range: &KeyRange) -> bool {
    let numbered = |digit: u8| [prefix, [digit; SEQUENCE_DIGITS].as_slice()].concat();
    match range {
        KeyRange::Key(key) => numbered(b'0') <= *key && *key <= numbered(b'9'),
        KeyRange::Span { start, end } => {
            *start <= numbered(b'9') && end.as_ref().is_none_or(|end| *end > numbered(b'0'))
        }
    }
}

fn duplicate(key: &[u8]) -> Rejection {
    Rejection::DuplicateKey { key: Bytes::copy_from_slice(key) }
}
