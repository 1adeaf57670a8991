//! What is wrong with a request whatever the state, in etcd's order and words.

use super::plan;
use crate::front::etcd::errors::{self, EtcdError};
use oarlock_proto::etcd::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
    request_op,
};
use oarlock_state::limits::{TXN_DEPTH_MAX, TXN_OPS_MAX};
use tonic::Status;

/// Whether a request is well-formed.
pub type Checked = Result<(), EtcdError>;

/// Checks a read.
pub fn range(request: &RangeRequest) -> Checked {
    key(&request.key)?;
    let known =
        SortOrder::try_from(request.sort_order).is_ok() && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(errors::INVALID_SORT_OPTION) }
}

/// Checks a read that is to be streamed: in the order of keys, and without filters.
///
/// # Errors
/// As for any read, and etcd's own for what a stream does not offer.
pub fn range_stream(request: &RangeRequest) -> Result<(), Status> {
    range(request)?;
    let (order, target) = (request.sort_order(), request.sort_target());
    if order != SortOrder::None && (target, order) != (SortTarget::Key, SortOrder::Ascend) {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    if plan::has_filters(request) {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(())
}

/// Checks a put.
pub fn put(request: &PutRequest) -> Checked {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(errors::VALUE_PROVIDED);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(errors::LEASE_PROVIDED);
    }
    Ok(())
}

/// Checks a delete.
pub fn delete(request: &DeleteRangeRequest) -> Checked {
    key(&request.key)
}

/// Checks a transaction, of whose lists each may have `ops_max` entries. What a transaction within
/// may have is what the largest list around it leaves.
pub fn txn(request: &TxnRequest, ops_max: usize) -> Checked {
    let mut total = 0;
    nested(request, ops_max, 1, &mut total)
}

/// The state has bounds of its own on all lists together and on the depth; beyond them there are
/// too many operations, whatever the setting.
fn nested(request: &TxnRequest, ops_max: usize, depth: usize, total: &mut usize) -> Checked {
    let lists = [request.compare.len(), request.success.len(), request.failure.len()];
    let largest = lists.into_iter().fold(0, usize::max);
    *total += lists.iter().sum::<usize>();
    let Some(left) = ops_max.checked_sub(largest).filter(|_| *total <= TXN_OPS_MAX && depth <= TXN_DEPTH_MAX)
    else {
        return Err(errors::TOO_MANY_OPS);
    };
    request.compare.iter().try_for_each(|compare| key(&compare.key))?;
    for RequestOp { request } in request.success.iter().chain(&request.failure) {
        match request {
            Some(request_op::Request::RequestRange(request)) => range(request)?,
            Some(request_op::Request::RequestPut(request)) => put(request)?,
            Some(request_op::Request::RequestDeleteRange(request)) => delete(request)?,
            Some(request_op::Request::RequestTxn(request)) => nested(request, left, depth + 1, total)?,
            None => return Err(errors::KEY_NOT_FOUND),
        }
    }
    Ok(())
}

fn key(key: &[u8]) -> Checked {
    if key.is_empty() { Err(errors::EMPTY_KEY) } else { Ok(()) }
}
