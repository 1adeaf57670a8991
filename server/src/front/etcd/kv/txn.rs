//! Transactions: etcd's request as the state's, with a plan of what becomes of its answers.

use super::plan::Plan;
use crate::front::etcd::convert::key_range;
use oarlock_proto::etcd::etcdserverpb::{
    self as pb, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, compare, request_op,
};
use oarlock_state::command::{Compare, CompareOp, CompareTarget, KvOp, Put, Txn};
use oarlock_state::{Revision, SessionId};

/// What each operation of a transaction is, to make its answer from its result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Of the branch that runs when all comparisons hold.
    pub then: Vec<OpShape>,
    /// Of the other one.
    pub otherwise: Vec<OpShape>,
}

impl Shape {
    /// The operations of the branch that ran.
    pub fn branch(&self, succeeded: bool) -> &[OpShape] {
        if succeeded { &self.then } else { &self.otherwise }
    }
}

/// What one operation is.
#[derive(Clone, Debug, PartialEq)]
pub enum OpShape {
    /// A read.
    Range(Box<Plan>),
    /// A put or a delete.
    Write,
    /// A transaction within.
    Txn(Shape),
}

/// How a transaction may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// It changes nothing on any branch.
    pub reads_only: bool,
    /// All its reads are content with this member's own state.
    pub serializable: bool,
}

/// What kind of transaction it is. One that only compares is linearizable.
pub fn kind(request: &TxnRequest) -> Kind {
    let (mut reads, mut serializable_reads) = (0_usize, 0_usize);
    let reads_only = look(request, &mut reads, &mut serializable_reads);
    Kind { reads_only, serializable: reads > 0 && reads == serializable_reads }
}

fn look(request: &TxnRequest, reads: &mut usize, serializable_reads: &mut usize) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(request_op::Request::RequestRange(range)) => {
            *reads += 1;
            *serializable_reads += usize::from(range.serializable);
            true
        }
        Some(request_op::Request::RequestTxn(inner)) => look(inner, reads, serializable_reads),
        Some(request_op::Request::RequestPut(_) | request_op::Request::RequestDeleteRange(_)) | None => false,
    })
}

/// A transaction that was checked.
///
/// The reads of one that changes something must be returned `whole` or refused with it: what is left
/// out of a read could not be read afterwards as the transaction saw it.
pub fn txn(request: TxnRequest, whole: bool) -> (Txn, Shape) {
    let (then, then_shape) = branch(request.success, whole);
    let (otherwise, otherwise_shape) = branch(request.failure, whole);
    let compare = request.compare.into_iter().map(comparison).collect();
    (Txn { compare, then, otherwise }, Shape { then: then_shape, otherwise: otherwise_shape })
}

fn branch(ops: Vec<RequestOp>, whole: bool) -> (Vec<KvOp>, Vec<OpShape>) {
    ops.into_iter().filter_map(|op| op.request).map(|request| operation(request, whole)).unzip()
}

fn operation(request: request_op::Request, whole: bool) -> (KvOp, OpShape) {
    match request {
        request_op::Request::RequestRange(request) => {
            let asked = request.revision;
            let mut plan = Plan::of(request);
            plan.query.whole = whole;
            // Within a transaction etcd holds a negative revision for a compacted one; the state
            // refuses this one, and `errors` knows it again.
            plan.query.revision = Revision(asked.cast_unsigned());
            (KvOp::Range(plan.query.clone()), OpShape::Range(Box::new(plan)))
        }
        request_op::Request::RequestPut(request) => (KvOp::Put(put(request)), OpShape::Write),
        request_op::Request::RequestDeleteRange(request) => (delete(request), OpShape::Write),
        request_op::Request::RequestTxn(request) => {
            let (txn, shape) = txn(request, whole);
            (KvOp::Txn(txn), OpShape::Txn(shape))
        }
    }
}

/// A put that was checked.
pub fn put(request: PutRequest) -> Put {
    Put {
        key: request.key,
        value: request.value,
        owner: SessionId(request.lease.cast_unsigned()),
        want_previous: request.prev_kv,
        keep_value: request.ignore_value,
        keep_owner: request.ignore_lease,
        if_absent: false,
    }
}

/// A delete that was checked.
pub fn delete(request: DeleteRangeRequest) -> KvOp {
    KvOp::Delete { range: key_range(request.key, request.range_end), want_previous: request.prev_kv }
}

/// A comparison. What the numbers of the state cannot express holds always or never.
fn comparison(request: pb::Compare) -> Compare {
    let range = key_range(request.key, request.range_end);
    let target = compare::CompareTarget::try_from(request.target);
    let (target, op) = match (compare::CompareResult::try_from(request.result), &target) {
        (Ok(result), _) => sides(target, request.target_union, result),
        // An unknown result holds, but no comparison of values does if there are none.
        (Err(_), Ok(compare::CompareTarget::Value)) => (CompareTarget::Count(0), CompareOp::Greater),
        (Err(_), _) => always(true),
    };
    Compare { range, target, op }
}

fn sides<E>(
    target: Result<compare::CompareTarget, E>,
    right: Option<compare::TargetUnion>,
    result: compare::CompareResult,
) -> (CompareTarget, CompareOp) {
    use compare::{CompareTarget as Left, TargetUnion as Right};
    let op = op(result);
    // A right side of another kind than the left one counts as zero, or as empty.
    match (target, right) {
        (Ok(Left::Version), Some(Right::Version(right))) => number(right, op, CompareTarget::Version),
        (Ok(Left::Version), _) => (CompareTarget::Version(0), op),
        (Ok(Left::Create), Some(Right::CreateRevision(right))) => {
            number(right, op, |right| CompareTarget::CreateRevision(Revision(right)))
        }
        (Ok(Left::Create), _) => (CompareTarget::CreateRevision(Revision(0)), op),
        (Ok(Left::Mod), Some(Right::ModRevision(right))) => {
            number(right, op, |right| CompareTarget::ModRevision(Revision(right)))
        }
        (Ok(Left::Mod), _) => (CompareTarget::ModRevision(Revision(0)), op),
        (Ok(Left::Value), Some(Right::Value(right))) => (CompareTarget::Value(right), op),
        (Ok(Left::Value), _) => (CompareTarget::Value(bytes::Bytes::new()), op),
        (Ok(Left::Lease), Some(Right::Lease(right))) => lease(right, op),
        (Ok(Left::Lease), _) => (CompareTarget::Owner(SessionId(0)), op),
        // An unknown field is equal to anything.
        (Err(_), _) => always(op == CompareOp::Equal),
    }
}

fn op(result: compare::CompareResult) -> CompareOp {
    match result {
        compare::CompareResult::Equal => CompareOp::Equal,
        compare::CompareResult::Greater => CompareOp::Greater,
        compare::CompareResult::Less => CompareOp::Less,
        compare::CompareResult::NotEqual => CompareOp::NotEqual,
    }
}

/// The state's numbers begin at zero, so all of them are above a negative one.
fn number(right: i64, op: CompareOp, target: impl Fn(u64) -> CompareTarget) -> (CompareTarget, CompareOp) {
    match u64::try_from(right) {
        Ok(right) => (target(right), op),
        Err(_) => always(matches!(op, CompareOp::Greater | CompareOp::NotEqual)),
    }
}

/// A lease is compared by its bits; ids above all others are taken for what they are to etcd,
/// negative, where only their order matters.
fn lease(right: i64, op: CompareOp) -> (CompareTarget, CompareOp) {
    match op {
        CompareOp::Equal | CompareOp::NotEqual => {
            (CompareTarget::Owner(SessionId(right.cast_unsigned())), op)
        }
        CompareOp::Greater | CompareOp::Less => {
            number(right, op, |right| CompareTarget::Owner(SessionId(right)))
        }
    }
}

/// A comparison that every key, present or absent, satisfies; or none does.
fn always(holds: bool) -> (CompareTarget, CompareOp) {
    let op = if holds { CompareOp::Less } else { CompareOp::Greater };
    (CompareTarget::Version(u64::MAX), op)
}
