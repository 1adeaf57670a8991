//! Transactions over flat keys: comparisons, operations, ranges.

use super::{FormatError, FormatResult, required};
use oarlock_proto::internal::log as pb;
use oarlock_state::command::{
    Compare, CompareOp, CompareTarget, KeyRange, KvOp, Put, RangeQuery, Txn, Update,
};
use oarlock_state::{Revision, SessionId};
use pb::compare::Target;
use pb::op::Op;
use pb::update::How;

pub(super) fn txn_to_proto(txn: &Txn) -> pb::Txn {
    pb::Txn {
        compare: txn.compare.iter().map(compare_to_proto).collect(),
        then: txn.then.iter().map(op_to_proto).collect(),
        otherwise: txn.otherwise.iter().map(op_to_proto).collect(),
    }
}

pub(super) fn txn_from_proto(txn: pb::Txn) -> FormatResult<Txn> {
    Ok(Txn {
        compare: txn.compare.into_iter().map(compare_from_proto).collect::<FormatResult<_>>()?,
        then: txn.then.into_iter().map(op_from_proto).collect::<FormatResult<_>>()?,
        otherwise: txn.otherwise.into_iter().map(op_from_proto).collect::<FormatResult<_>>()?,
    })
}

pub(super) fn put_to_proto(put: &Put) -> pb::Put {
    pb::Put {
        key: put.key.clone(),
        value: put.value.clone(),
        owner: put.owner.get(),
        want_previous: put.want_previous,
        keep_value: put.keep_value,
        keep_owner: put.keep_owner,
        if_absent: put.if_absent,
    }
}

pub(super) fn put_from_proto(put: pb::Put) -> Put {
    Put {
        key: put.key,
        value: put.value,
        owner: SessionId(put.owner),
        want_previous: put.want_previous,
        keep_value: put.keep_value,
        keep_owner: put.keep_owner,
        if_absent: put.if_absent,
    }
}

pub(super) fn range_to_proto(range: &KeyRange) -> pb::KeyRange {
    match range {
        KeyRange::Key(key) => pb::KeyRange { start: key.clone(), ..pb::KeyRange::default() },
        KeyRange::Span { start, end } => pb::KeyRange {
            start: start.clone(),
            span: true,
            end: end.clone().unwrap_or_default(),
            to_last: end.is_none(),
        },
    }
}

pub(super) fn range_from_proto(range: Option<pb::KeyRange>) -> FormatResult<KeyRange> {
    let range = required(range, "a key range")?;
    Ok(match (range.span, range.to_last) {
        (false, _) => KeyRange::Key(range.start),
        (true, false) => KeyRange::Span { start: range.start, end: Some(range.end) },
        (true, true) => KeyRange::Span { start: range.start, end: None },
    })
}

fn compare_to_proto(compare: &Compare) -> pb::Compare {
    let target = match &compare.target {
        CompareTarget::Version(version) => Target::Version(*version),
        CompareTarget::CreateRevision(revision) => Target::CreateRevision(revision.get()),
        CompareTarget::ModRevision(revision) => Target::ModRevision(revision.get()),
        CompareTarget::Value(value) => Target::Value(value.clone()),
        CompareTarget::Owner(session) => Target::Owner(session.get()),
        CompareTarget::Count(count) => Target::Count(*count),
    };
    let op = match compare.op {
        CompareOp::Equal => 0,
        CompareOp::NotEqual => 1,
        CompareOp::Greater => 2,
        CompareOp::Less => 3,
    };
    pb::Compare { range: Some(range_to_proto(&compare.range)), op, target: Some(target) }
}

fn compare_from_proto(compare: pb::Compare) -> FormatResult<Compare> {
    let target = match required(compare.target, "a comparison's target")? {
        Target::Version(version) => CompareTarget::Version(version),
        Target::CreateRevision(revision) => CompareTarget::CreateRevision(Revision(revision)),
        Target::ModRevision(revision) => CompareTarget::ModRevision(Revision(revision)),
        Target::Value(value) => CompareTarget::Value(value),
        Target::Owner(session) => CompareTarget::Owner(SessionId(session)),
        Target::Count(count) => CompareTarget::Count(count),
    };
    let op = match compare.op {
        0 => CompareOp::Equal,
        1 => CompareOp::NotEqual,
        2 => CompareOp::Greater,
        3 => CompareOp::Less,
        4.. => return Err(FormatError::Unknown { what: "a comparison", number: compare.op.into() }),
    };
    Ok(Compare { range: range_from_proto(compare.range)?, target, op })
}

fn op_to_proto(op: &KvOp) -> pb::Op {
    let op = match op {
        KvOp::Range(query) => Op::Range(query_to_proto(query)),
        KvOp::Put(put) => Op::Put(put_to_proto(put)),
        KvOp::Delete { range, want_previous } => {
            Op::Delete(pb::Delete { range: Some(range_to_proto(range)), want_previous: *want_previous })
        }
        KvOp::Txn(txn) => Op::Txn(txn_to_proto(txn)),
        KvOp::Update { key, update } => {
            Op::Update(pb::Update { key: key.clone(), how: Some(update_to_proto(update)) })
        }
        KvOp::PutSequential { prefix, value, owner } => Op::PutSequential(pb::PutSequential {
            prefix: prefix.clone(),
            value: value.clone(),
            owner: owner.get(),
        }),
    };
    pb::Op { op: Some(op) }
}

fn op_from_proto(op: pb::Op) -> FormatResult<KvOp> {
    Ok(match required(op.op, "an operation of a transaction")? {
        Op::Range(query) => KvOp::Range(query_from_proto(query)?),
        Op::Put(put) => KvOp::Put(put_from_proto(put)),
        Op::Delete(delete) => {
            KvOp::Delete { range: range_from_proto(delete.range)?, want_previous: delete.want_previous }
        }
        Op::Txn(txn) => KvOp::Txn(txn_from_proto(txn)?),
        Op::Update(update) => KvOp::Update {
            key: update.key,
            update: update_from_proto(required(update.how, "the kind of an update")?),
        },
        Op::PutSequential(put) => {
            KvOp::PutSequential { prefix: put.prefix, value: put.value, owner: SessionId(put.owner) }
        }
    })
}

fn update_to_proto(update: &Update) -> How {
    match update {
        Update::Add(number) => How::Add(*number),
        Update::Max(number) => How::Max(*number),
        Update::Min(number) => How::Min(*number),
        Update::Append(bytes) => How::Append(bytes.clone()),
    }
}

fn update_from_proto(how: How) -> Update {
    match how {
        How::Add(number) => Update::Add(number),
        How::Max(number) => Update::Max(number),
        How::Min(number) => Update::Min(number),
        How::Append(bytes) => Update::Append(bytes),
    }
}

fn query_to_proto(query: &RangeQuery) -> pb::RangeQuery {
    pb::RangeQuery {
        range: Some(range_to_proto(&query.range)),
        revision: query.revision.get(),
        limit: query.limit,
        byte_budget: query.byte_budget,
        whole: query.whole,
        reverse: query.reverse,
        keys_only: query.keys_only,
        count_only: query.count_only,
        want_count: query.want_count,
        min_mod_revision: query.min_mod_revision.get(),
        max_mod_revision: query.max_mod_revision.get(),
        min_create_revision: query.min_create_revision.get(),
        max_create_revision: query.max_create_revision.get(),
    }
}

fn query_from_proto(query: pb::RangeQuery) -> FormatResult<RangeQuery> {
    Ok(RangeQuery {
        range: range_from_proto(query.range)?,
        revision: Revision(query.revision),
        limit: query.limit,
        byte_budget: query.byte_budget,
        whole: query.whole,
        reverse: query.reverse,
        keys_only: query.keys_only,
        count_only: query.count_only,
        want_count: query.want_count,
        min_mod_revision: Revision(query.min_mod_revision),
        max_mod_revision: Revision(query.max_mod_revision),
        min_create_revision: Revision(query.min_create_revision),
        max_create_revision: Revision(query.max_create_revision),
    })
}
