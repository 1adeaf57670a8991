//! Random values of the service's vocabulary.

use bytes::Bytes;
use oarlock_state::command::{
    Compare, CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, OpResult, Put, RangeQuery, RangeReply, Txn,
    TxnReply, Update,
};
use oarlock_state::{Revision, SessionId};
use rand::Rng;
use rand::rngs::StdRng;

fn bytes(rng: &mut StdRng, least: usize) -> Bytes {
    let length = rng.random_range(least..6);
    (0..length).map(|_| rng.random_range(1..=255u8)).collect()
}

fn revision(rng: &mut StdRng) -> Revision {
    Revision(rng.random_range(0..1000))
}

fn range(rng: &mut StdRng) -> KeyRange {
    match rng.random_range(0..3) {
        0 => KeyRange::Key(bytes(rng, 1)),
        1 => KeyRange::Span { start: bytes(rng, 0), end: None },
        _ => KeyRange::Span { start: bytes(rng, 0), end: Some(bytes(rng, 1)) },
    }
}

/// A read with every field set to something.
pub fn range_query(rng: &mut StdRng) -> RangeQuery {
    let (min_mod, min_create) = (revision(rng), revision(rng));
    RangeQuery {
        range: range(rng),
        revision: revision(rng),
        limit: rng.random_range(0..9),
        byte_budget: rng.random_range(0..9999),
        whole: false,
        reverse: rng.random(),
        keys_only: rng.random(),
        count_only: rng.random(),
        want_count: rng.random(),
        min_mod_revision: min_mod,
        max_mod_revision: if rng.random() { Revision(0) } else { Revision(min_mod.get() + 5) },
        min_create_revision: min_create,
        max_create_revision: if rng.random() { Revision(0) } else { Revision(min_create.get() + 1) },
    }
}

/// A plain put.
pub fn a_put() -> KvOp {
    KvOp::Put(Put { key: Bytes::from("k"), value: Bytes::from("v"), ..Put::default() })
}

fn put(rng: &mut StdRng) -> Put {
    let mut put = Put {
        key: bytes(rng, 1),
        value: bytes(rng, 0),
        owner: SessionId(rng.random_range(0..3)),
        want_previous: rng.random(),
        ..Put::default()
    };
    match rng.random_range(0..4) {
        0 => put.if_absent = true,
        1 => (put.keep_value, put.value) = (true, Bytes::new()),
        2 => (put.keep_owner, put.owner) = (true, SessionId(0)),
        _ => {}
    }
    put
}

fn update(rng: &mut StdRng) -> Update {
    match rng.random_range(0..4) {
        0 => Update::Add(rng.random()),
        1 => Update::Max(rng.random()),
        2 => Update::Min(rng.random()),
        _ => Update::Append(bytes(rng, 0)),
    }
}

fn op(rng: &mut StdRng, depth: usize) -> KvOp {
    match rng.random_range(0..if depth < 4 { 6 } else { 5 }) {
        0 => KvOp::Range(range_query(rng)),
        1 => KvOp::Put(put(rng)),
        2 => KvOp::Delete { range: range(rng), want_previous: rng.random() },
        3 => KvOp::Update { key: bytes(rng, 1), update: update(rng) },
        4 => KvOp::PutSequential {
            prefix: bytes(rng, 0),
            value: bytes(rng, 0),
            owner: SessionId(rng.random_range(0..3)),
        },
        _ => KvOp::Txn(txn(rng, depth + 1)),
    }
}

fn compare(rng: &mut StdRng) -> Compare {
    let target = match rng.random_range(0..6) {
        0 => CompareTarget::Version(rng.random_range(0..9)),
        1 => CompareTarget::CreateRevision(revision(rng)),
        2 => CompareTarget::ModRevision(revision(rng)),
        3 => CompareTarget::Value(bytes(rng, 0)),
        4 => CompareTarget::Owner(SessionId(rng.random_range(0..9))),
        _ => CompareTarget::Count(rng.random_range(0..9)),
    };
    let op = match rng.random_range(0..4) {
        0 => CompareOp::Equal,
        1 => CompareOp::NotEqual,
        2 => CompareOp::Greater,
        _ => CompareOp::Less,
    };
    Compare { range: range(rng), target, op }
}

/// A transaction, nested a little.
pub fn txn(rng: &mut StdRng, depth: usize) -> Txn {
    let mut several = || rng.random_range(0..3);
    let (compares, thens, others) = (several(), several(), several());
    Txn {
        compare: (0..compares).map(|_| compare(rng)).collect(),
        then: (0..thens).map(|_| op(rng, depth)).collect(),
        otherwise: (0..others).map(|_| op(rng, depth)).collect(),
    }
}

/// A record.
pub fn record(rng: &mut StdRng) -> KeyValue {
    KeyValue {
        key: bytes(rng, 1),
        value: bytes(rng, 0),
        create_revision: revision(rng),
        mod_revision: revision(rng),
        version: rng.random_range(1..9),
        owner: SessionId(rng.random_range(0..3)),
    }
}

fn records(rng: &mut StdRng) -> Vec<KeyValue> {
    let count = rng.random_range(0..3);
    (0..count).map(|_| record(rng)).collect()
}

/// A transaction's results, nested a little.
pub fn txn_reply(rng: &mut StdRng, depth: usize) -> TxnReply {
    let count = rng.random_range(0..4);
    TxnReply { succeeded: rng.random(), results: (0..count).map(|_| result(rng, depth)).collect() }
}

fn result(rng: &mut StdRng, depth: usize) -> OpResult {
    match rng.random_range(0..if depth < 4 { 6 } else { 5 }) {
        0 => OpResult::Range(RangeReply {
            records: records(rng),
            more: rng.random(),
            count: rng.random_range(0..9),
        }),
        1 => OpResult::Put { previous: rng.random::<bool>().then(|| record(rng)) },
        2 => OpResult::Delete { deleted: rng.random_range(0..9), previous: records(rng) },
        3 => OpResult::Update { value: bytes(rng, 0) },
        4 => OpResult::PutSequential { key: bytes(rng, 1) },
        _ => OpResult::Txn(txn_reply(rng, depth + 1)),
    }
}
