//! The conversions that only clients need, in the other direction.

use bytes::Bytes;
use oarlock_proto::v1;
use oarlock_state::command::{
    Compare, CompareOp, CompareTarget, Guard, KeyRange, KeyValue, KvOp, OpResult, RangeQuery, RangeReply,
    TokenScope, Txn, TxnReply, Update,
};
use oarlock_state::{Revision, SessionId};

fn range(range: &KeyRange) -> Option<v1::KeyRange> {
    let (key, range_end) = match range.clone() {
        KeyRange::Key(key) => (key, Bytes::new()),
        KeyRange::Span { start, end } => (start, end.unwrap_or(Bytes::from_static(b"\0"))),
    };
    Some(v1::KeyRange { key, range_end })
}

pub fn range_query(query: &RangeQuery) -> v1::RangeRequest {
    v1::RangeRequest {
        range: range(&query.range),
        revision: query.revision.get(),
        limit: query.limit,
        byte_budget: query.byte_budget,
        reverse: query.reverse,
        keys_only: query.keys_only,
        count_only: query.count_only,
        want_count: query.want_count,
        min_mod_revision: query.min_mod_revision.get(),
        max_mod_revision: query.max_mod_revision.get(),
        min_create_revision: query.min_create_revision.get(),
        max_create_revision: query.max_create_revision.get(),
        options: None,
    }
}

pub fn guard(guard: &Guard) -> v1::Guard {
    let scope = match guard.scope.clone() {
        TokenScope::Key(key) => v1::guard::Scope::Key(key),
        TokenScope::Node(path) => v1::guard::Scope::NodePath(path),
        TokenScope::Lock(name) => v1::guard::Scope::Lock(name),
        TokenScope::Election(name) => v1::guard::Scope::Election(name),
        TokenScope::Shard { pool, shard } => v1::guard::Scope::Shard(v1::ShardName { pool, shard }),
    };
    v1::Guard { scope: Some(scope), token: guard.token.get() }
}

pub fn op(op: &KvOp) -> v1::Op {
    use v1::op::Op;
    let op = match op {
        KvOp::Range(query) => Op::Range(range_query(query)),
        KvOp::Put(put) => Op::Put(v1::PutRequest {
            key: put.key.clone(),
            value: put.value.clone(),
            owner: put.owner.get(),
            want_previous: put.want_previous,
            keep_value: put.keep_value,
            keep_owner: put.keep_owner,
            if_absent: put.if_absent,
            options: None,
        }),
        KvOp::Delete { range: keys, want_previous } => {
            Op::Delete(v1::DeleteRequest { range: range(keys), want_previous: *want_previous, options: None })
        }
        KvOp::Txn(inner) => Op::Txn(txn(inner)),
        KvOp::Update { key, update: how } => {
            Op::Update(v1::Update { key: key.clone(), how: Some(update(how)) })
        }
        KvOp::PutSequential { prefix, value, owner } => Op::PutSequential(v1::PutSequential {
            prefix: prefix.clone(),
            value: value.clone(),
            owner: owner.get(),
        }),
    };
    v1::Op { op: Some(op) }
}

fn update(update: &Update) -> v1::update::How {
    use v1::update::How;
    match update {
        Update::Add(number) => How::Add(*number),
        Update::Max(number) => How::Max(*number),
        Update::Min(number) => How::Min(*number),
        Update::Append(bytes) => How::Append(bytes.clone()),
    }
}

fn compare(compare: &Compare) -> v1::Compare {
    use v1::compare::Target;
    let op = match compare.op {
        CompareOp::Equal => v1::compare::Op::Equal,
        CompareOp::NotEqual => v1::compare::Op::NotEqual,
        CompareOp::Greater => v1::compare::Op::Greater,
        CompareOp::Less => v1::compare::Op::Less,
    };
    let target = match &compare.target {
        CompareTarget::Version(version) => Target::Version(*version),
        CompareTarget::CreateRevision(revision) => Target::CreateRevision(revision.get()),
        CompareTarget::ModRevision(revision) => Target::ModRevision(revision.get()),
        CompareTarget::Value(value) => Target::Value(value.clone()),
        CompareTarget::Owner(owner) => Target::Owner(owner.get()),
        CompareTarget::Count(count) => Target::Count(*count),
    };
    v1::Compare { range: range(&compare.range), op: op.into(), target: Some(target) }
}

pub fn txn(txn: &Txn) -> v1::Txn {
    v1::Txn {
        compare: txn.compare.iter().map(compare).collect(),
        then: txn.then.iter().map(op).collect(),
        otherwise: txn.otherwise.iter().map(op).collect(),
    }
}

pub fn record(record: v1::KeyValue) -> KeyValue {
    KeyValue {
        key: record.key,
        value: record.value,
        create_revision: Revision(record.create_revision),
        mod_revision: Revision(record.mod_revision),
        version: record.version,
        owner: SessionId(record.owner),
    }
}

fn records(records: Vec<v1::KeyValue>) -> Vec<KeyValue> {
    records.into_iter().map(record).collect()
}

pub fn txn_reply(reply: v1::TxnResult) -> TxnReply {
    TxnReply { succeeded: reply.succeeded, results: reply.results.into_iter().map(result).collect() }
}

fn result(result: v1::OpResult) -> OpResult {
    use v1::op_result::Result as Kind;
    match result.result.expect("every result is set") {
        Kind::Range(read) => {
            OpResult::Range(RangeReply { records: records(read.records), more: read.more, count: read.count })
        }
        Kind::Put(put) => OpResult::Put { previous: put.previous.map(record) },
        Kind::Delete(delete) => {
            OpResult::Delete { deleted: delete.deleted, previous: records(delete.previous) }
        }
        Kind::Txn(inner) => OpResult::Txn(txn_reply(inner)),
        Kind::UpdatedValue(value) => OpResult::Update { value },
        Kind::SequentialKey(key) => OpResult::PutSequential { key },
    }
}
