//! The reads inside a transaction, as their requests wanted them.

use super::answer::Done;
use super::gather::{self, Gathered, Share};
use super::plan::Plan;
use super::txn::{OpShape, Shape};
use crate::front::etcd::door::{Caller, Door};
use oarlock_state::command::{OpResult, RangeReply, TxnReply};
use tonic::Status;

/// Whether the state has cut none of the reads of a transaction that changed nothing.
pub fn are_whole(done: &mut Done, shape: &Shape) -> bool {
    let revision = done.revision;
    let mut reads = Vec::new();
    collect(&mut done.txn, shape, &mut reads);
    reads.iter().all(|(reply, plan)| gather::is_whole(&plan.query, reply, revision))
}

/// Completes the reads of a transaction that changed nothing: what the state cut for its size is
/// read at the same revision.
///
/// # Errors
/// As [`gather::gather`].
pub async fn complete(
    door: &Door,
    caller: &Caller,
    done: &mut Done,
    shape: &Shape,
    share: &mut Share<'_>,
) -> Result<(), Status> {
    let revision = done.revision;
    let mut reads = Vec::new();
    collect(&mut done.txn, shape, &mut reads);
    for (reply, plan) in reads {
        let first = Gathered { reply: std::mem::take(reply), revision };
        *reply = gather::finish(door, caller, plan, first, share).await?.reply;
    }
    Ok(())
}

/// Sorts and cuts the reads of a transaction that changed something; the state refused it if they
/// were too large.
pub fn arrange(txn: &mut TxnReply, shape: &Shape) {
    let mut reads = Vec::new();
    collect(txn, shape, &mut reads);
    for (reply, plan) in reads {
        reply.more |= plan.rest.apply(&mut reply.records);
        plan.rest.strip(&mut reply.records);
    }
}

fn collect<'r>(txn: &'r mut TxnReply, shape: &'r Shape, reads: &mut Vec<(&'r mut RangeReply, &'r Plan)>) {
    let shapes = shape.branch(txn.succeeded);
    for (result, shape) in txn.results.iter_mut().zip(shapes) {
        match (result, shape) {
            (OpResult::Range(reply), OpShape::Range(plan)) => reads.push((reply, plan)),
            (OpResult::Txn(inner), OpShape::Txn(shape)) => collect(inner, shape, reads),
            (_, OpShape::Range(_) | OpShape::Write | OpShape::Txn(_)) => {}
        }
    }
}
