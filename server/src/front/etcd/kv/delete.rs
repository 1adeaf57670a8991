//! A delete that returns what it removed, however much that is.
//!
//! The log answers with a few MiB at most. More is read first, page by page, and then removed by a
//! transaction that holds only if nothing in the range has changed since, so that what is returned
//! is exactly what was removed.

use super::answer::Done;
use super::consistency;
use super::gather::{self, Share};
use super::plan::{Plan, Rest};
use crate::front::etcd::door::{Caller, Door};
use crate::node::request::{Request, Write};
use oarlock_state::command::{
    Compare, CompareOp, CompareTarget, KeyRange, KvOp, OpResult, RangeQuery, Txn, TxnReply,
};
use oarlock_state::{Command, Revision};
use tonic::Status;

/// How often the range may have changed in the meantime before the caller is told.
const ATTEMPTS: usize = 5;

/// Removes a range and returns what was removed; `None` if the range kept changing.
///
/// # Errors
/// What the node refuses, in etcd's words; or the answer is too large.
pub async fn large(
    door: &Door,
    caller: &Caller,
    range: &KeyRange,
    share: &mut Share<'_>,
) -> Result<Option<Done>, Status> {
    for _ in 0..ATTEMPTS {
        share.clear();
        let plan = Plan { query: RangeQuery::of(range.clone()), rest: Rest::default() };
        let read = gather::gather(door, caller, &plan, consistency(false), share).await?;
        let delete = KvOp::Delete { range: range.clone(), want_previous: false };
        let compare = unchanged(range, read.revision, read.reply.count);
        let txn = Txn { compare, then: vec![delete], ..Txn::default() };
        let done = Done::of(door.ask(caller, Request::Write(Write::of(Command::Txn(txn)))).await?)?;
        if done.txn.succeeded {
            let previous = read.reply.records;
            let result = OpResult::Delete { deleted: previous.len() as u64, previous };
            let txn = TxnReply { succeeded: true, results: vec![result] };
            return Ok(Some(Done { txn, ..done }));
        }
    }
    Ok(None)
}

/// Holds if a range has these many keys, none of them changed after the revision.
fn unchanged(range: &KeyRange, revision: Revision, count: u64) -> Vec<Compare> {
    let compare = |target, op| Compare { range: range.clone(), target, op };
    vec![
        compare(CompareTarget::Count(count), CompareOp::Equal),
        compare(CompareTarget::ModRevision(revision.next()), CompareOp::Less),
    ]
}
