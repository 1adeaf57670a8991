//! Answers of the state as etcd's.

use super::gather::Gathered;
use super::txn::{OpShape, Shape};
use crate::front::etcd::convert::{record, records};
use crate::front::etcd::door::{Door, number};
use crate::front::etcd::errors;
use crate::node::request::Response;
use oarlock_proto::etcd::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader, ResponseOp, TxnResponse, response_op,
};
use oarlock_state::Revision;
use oarlock_state::command::{Answer, OpResult, RangeReply, Reply, ReplyBody, TxnReply};
use tonic::Status;

/// A read.
pub fn range(door: &Door, gathered: Gathered) -> RangeResponse {
    range_reply(Some(door.header(gathered.revision)), gathered.reply)
}

/// A read, with this header.
pub fn range_reply(header: Option<ResponseHeader>, reply: RangeReply) -> RangeResponse {
    RangeResponse { header, kvs: records(reply.records), more: reply.more, count: number(reply.count) }
}

/// What a transaction came to, by the log or by a read.
pub struct Done {
    /// What it returned.
    pub txn: TxnReply,
    /// The state's revision after it.
    pub revision: Revision,
    /// It is the remembered outcome of an earlier request.
    pub repeated: bool,
}

impl Done {
    /// The outcome of a transaction.
    ///
    /// # Errors
    /// The node answered something else, which would be a fault of ours.
    pub fn of(response: Response) -> Result<Self, Status> {
        match response {
            Response::Written(Reply { body: ReplyBody::Txn(txn), revision, repeated, .. }) => {
                Ok(Self { txn, revision, repeated })
            }
            Response::Answer { answer: Answer::Txn(txn), revision, .. } => {
                Ok(Self { txn, revision, repeated: false })
            }
            other => Err(errors::unexpected(&other)),
        }
    }
}

/// A put on its own. If it is repeated, what it superseded may be forgotten.
pub fn put(door: &Door, done: Done) -> PutResponse {
    let prev_kv = match done.txn.results.into_iter().next() {
        Some(OpResult::Put { previous }) => previous.map(record),
        Some(_) | None => None,
    };
    PutResponse { header: Some(door.header(done.revision)), prev_kv }
}

/// A delete on its own.
pub fn delete(door: &Door, done: Done) -> DeleteRangeResponse {
    let (deleted, previous) = match done.txn.results.into_iter().next() {
        Some(OpResult::Delete { deleted, previous }) => (deleted, previous),
        Some(_) | None => (0, Vec::new()),
    };
    DeleteRangeResponse {
        header: Some(door.header(done.revision)),
        deleted: number(deleted),
        prev_kvs: records(previous),
    }
}

/// A transaction. As in etcd, the headers within carry the revision that the operation saw or made,
/// and nothing else; that of a transaction within carries nothing.
pub fn txn(door: &Door, done: Done, shape: &Shape) -> TxnResponse {
    let changed = changes(&done.txn);
    let before = Revision(done.revision.get() - u64::from(changed));
    let mut within = Within { before, changed: false };
    let header = Some(door.header(done.revision));
    within.txn(header, done.txn, shape)
}

fn changes(reply: &TxnReply) -> bool {
    reply.results.iter().any(|result| match result {
        OpResult::Range(_) => false,
        OpResult::Delete { deleted, .. } => *deleted > 0,
        OpResult::Txn(inner) => changes(inner),
        OpResult::Put { .. } | OpResult::Update { .. } | OpResult::PutSequential { .. } => true,
    })
}

/// How far a transaction is.
struct Within {
    /// The revision before it.
    before: Revision,
    /// Something was changed so far.
    changed: bool,
}

impl Within {
    fn txn(&mut self, header: Option<ResponseHeader>, reply: TxnReply, shape: &Shape) -> TxnResponse {
        let shapes = shape.branch(reply.succeeded);
        let responses = reply
            .results
            .into_iter()
            .zip(shapes)
            .map(|(result, shape)| ResponseOp { response: self.operation(result, shape) });
        let responses = responses.collect();
        TxnResponse { header, succeeded: reply.succeeded, responses }
    }

    fn operation(&mut self, result: OpResult, shape: &OpShape) -> Option<response_op::Response> {
        let response = match (result, shape) {
            (OpResult::Range(reply), OpShape::Range(_)) => {
                response_op::Response::ResponseRange(range_reply(self.header(), reply))
            }
            (OpResult::Put { previous }, OpShape::Write) => {
                self.changed = true;
                let prev_kv = previous.map(record);
                response_op::Response::ResponsePut(PutResponse { header: self.header(), prev_kv })
            }
            (OpResult::Delete { deleted, previous }, OpShape::Write) => {
                self.changed |= deleted > 0;
                response_op::Response::ResponseDeleteRange(DeleteRangeResponse {
                    header: self.header(),
                    deleted: number(deleted),
                    prev_kvs: records(previous),
                })
            }
            (OpResult::Txn(inner), OpShape::Txn(shape)) => {
                let header = Some(ResponseHeader::default());
                response_op::Response::ResponseTxn(self.txn(header, inner, shape))
            }
            // The state answers each operation in kind.
            (_, OpShape::Range(_) | OpShape::Write | OpShape::Txn(_)) => return None,
        };
        Some(response)
    }

    fn header(&self) -> Option<ResponseHeader> {
        let revision = self.before.get() + u64::from(self.changed);
        Some(ResponseHeader { revision: number(revision), ..ResponseHeader::default() })
    }
}
