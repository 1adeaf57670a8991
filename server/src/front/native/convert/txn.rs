//! Transactions and their results.

use super::{Form, invalid, key, known, range, write};
use oarlock_proto::v1;
use oarlock_state::Revision;
use oarlock_state::command::{Compare, CompareOp, CompareTarget, KvOp, OpResult, Txn, TxnReply, Update};
use oarlock_state::limits::{PROPOSAL_BYTES_MAX, TXN_DEPTH_MAX, TXN_OPS_MAX};

/// What a transaction has used of its bounds.
#[derive(Default)]
struct Used {
    ops: usize,
    bytes: usize,
}

impl Used {
    fn count(&mut self, bytes: usize) -> Form<()> {
        self.ops += 1;
        self.bytes += bytes;
        if self.ops > TXN_OPS_MAX {
            return Err(invalid(format!(
                "the transaction has more than {TXN_OPS_MAX} operations and comparisons; split it"
            )));
        }
        if self.bytes > PROPOSAL_BYTES_MAX {
            return Err(invalid(format!(
                "the transaction has more than {PROPOSAL_BYTES_MAX} bytes of keys and values; split it"
            )));
        }
        Ok(())
    }
}

/// A transaction, with all that is nested in it.
pub fn txn(txn: v1::Txn) -> Form<Txn> {
    nested(txn, 1, &mut Used::default())
}

fn nested(txn: v1::Txn, depth: usize, used: &mut Used) -> Form<Txn> {
    if depth > TXN_DEPTH_MAX {
        return Err(invalid(format!("transactions are nested more than {TXN_DEPTH_MAX} deep; flatten them")));
    }
    let compare = txn.compare.into_iter().map(|one| compare(one, used)).collect::<Form<_>>()?;
    let then = txn.then.into_iter().map(|one| op(one, depth, used)).collect::<Form<_>>()?;
    let otherwise = txn.otherwise.into_iter().map(|one| op(one, depth, used)).collect::<Form<_>>()?;
    Ok(Txn { compare, then, otherwise })
}

fn compare(compare: v1::Compare, used: &mut Used) -> Form<Compare> {
    use v1::compare::Target;
    let op = match known(compare.op, "comparison")? {
        v1::compare::Op::Equal => CompareOp::Equal,
        v1::compare::Op::NotEqual => CompareOp::NotEqual,
        v1::compare::Op::Greater => CompareOp::Greater,
        v1::compare::Op::Less => CompareOp::Less,
    };
    let mut bytes = 0;
    let target = match compare.target {
        Some(Target::Version(version)) => CompareTarget::Version(version),
        Some(Target::CreateRevision(revision)) => CompareTarget::CreateRevision(Revision(revision)),
        Some(Target::ModRevision(revision)) => CompareTarget::ModRevision(Revision(revision)),
        Some(Target::Value(value)) => {
            bytes = value.len();
            CompareTarget::Value(key::value(value)?)
        }
        Some(Target::Owner(owner)) => CompareTarget::Owner(key::owner(owner)),
        Some(Target::Count(count)) => CompareTarget::Count(count),
        None => return Err(invalid("a comparison has no target; say what is to be compared with what")),
    };
    used.count(bytes)?;
    Ok(Compare { range: key::range(compare.range)?, target, op })
}

fn op(op: v1::Op, depth: usize, used: &mut Used) -> Form<KvOp> {
    use v1::op::Op;
    Ok(match op.op {
        Some(Op::Range(request)) => {
            used.count(0)?;
            KvOp::Range(range::query(&request)?)
        }
        Some(Op::Put(request)) => {
            used.count(request.key.len() + request.value.len())?;
            write::put_op(request)?
        }
        Some(Op::Delete(request)) => {
            used.count(0)?;
            write::delete_op(request)?
        }
        Some(Op::Txn(inner)) => {
            used.count(0)?;
            KvOp::Txn(nested(inner, depth + 1, used)?)
        }
        Some(Op::Update(request)) => {
            used.count(request.key.len())?;
            update(request, used)?
        }
        Some(Op::PutSequential(request)) => {
            used.count(request.prefix.len() + request.value.len())?;
            KvOp::PutSequential {
                prefix: key::prefix(request.prefix)?,
                value: key::value(request.value)?,
                owner: key::owner(request.owner),
            }
        }
        None => return Err(invalid("an operation of the transaction is empty, or of a later version")),
    })
}

fn update(request: v1::Update, used: &mut Used) -> Form<KvOp> {
    use v1::update::How;
    let update = match request.how {
        Some(How::Add(number)) => Update::Add(number),
        Some(How::Max(number)) => Update::Max(number),
        Some(How::Min(number)) => Update::Min(number),
        Some(How::Append(bytes)) => {
            used.count(bytes.len())?;
            Update::Append(key::value(bytes)?)
        }
        None => return Err(invalid("an update does not say how; name add, max, min or append")),
    };
    Ok(KvOp::Update { key: key::key(request.key)?, update })
}

/// Whether neither branch changes anything.
pub fn reads_only(txn: &Txn) -> bool {
    txn.then.iter().chain(&txn.otherwise).all(|op| match op {
        KvOp::Range(_) => true,
        KvOp::Txn(inner) => reads_only(inner),
        KvOp::Put(_) | KvOp::Delete { .. } | KvOp::Update { .. } | KvOp::PutSequential { .. } => false,
    })
}

/// A transaction's results, outwards.
pub fn reply(reply: TxnReply) -> v1::TxnResult {
    v1::TxnResult { succeeded: reply.succeeded, results: reply.results.into_iter().map(result).collect() }
}

fn result(result: OpResult) -> v1::OpResult {
    use v1::op_result::Result as Out;
    let result = match result {
        OpResult::Range(read) => Out::Range(range::result(read)),
        OpResult::Put { previous } => Out::Put(v1::op_result::Put { previous: previous.map(key::record) }),
        OpResult::Delete { deleted, previous } => {
            Out::Delete(v1::op_result::Delete { deleted, previous: key::records(previous) })
        }
        OpResult::Txn(inner) => Out::Txn(reply(inner)),
        OpResult::Update { value } => Out::UpdatedValue(value),
        OpResult::PutSequential { key } => Out::SequentialKey(key),
    };
    v1::OpResult { result: Some(result) }
}
