//! The `KV` service: reads, puts, deletes, transactions and compaction.
//!
//! A request is checked ([`check`]) in etcd's order and words, becomes a read with a plan ([`plan`])
//! or a transaction with a shape ([`txn`]), and its answer is made from both ([`answer`],
//! [`reads`]). Reads are
//! gathered page by page ([`gather`]) or streamed ([`stream`]). Clients that opt in have their
//! writes executed exactly once ([`exactly_once`]).

pub mod answer;
pub mod check;
pub mod compact;
pub mod delete;
pub mod exactly_once;
pub mod gather;
pub mod plan;
pub mod reads;
pub mod stream;
pub mod txn;

#[cfg(test)]
mod tests;

use super::door::{Caller, Door};
use super::errors;
use crate::node::request::{Consistency, Request as Ask, Write};
use answer::Done;
use exactly_once::Name;
use gather::{Memory, Share};
use oarlock_proto::etcd::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse, kv_server::Kv,
};
use oarlock_state::command::{KvOp, Txn};
use oarlock_state::{Command, Query};
use plan::Plan;
use prost::Message;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves etcd's keys.
pub struct KvService {
    door: Arc<Door>,
    memory: Arc<Memory>,
}

impl KvService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door, memory: Arc::default() }
    }

    /// Refuses a write that is larger than the log takes.
    fn fits(&self, request: &impl Message) -> Result<(), Status> {
        if request.encoded_len() > self.door.limits().request_bytes {
            return Err(errors::REQUEST_TOO_LARGE.into());
        }
        Ok(())
    }

    async fn write(&self, caller: &Caller, name: Name, txn: Txn) -> Result<Done, Status> {
        let write = name.on(Write::of(Command::Txn(txn)));
        Done::of(self.door.ask(caller, Ask::Write(write)).await?)
    }

    async fn delete(
        &self,
        caller: &Caller,
        name: Name,
        request: DeleteRangeRequest,
        share: &mut Share<'_>,
    ) -> Result<Done, Status> {
        let op = txn::delete(request);
        let again = match &op {
            KvOp::Delete { range, want_previous: true } if name.is_none() => Some(range.clone()),
            _ => None,
        };
        match (self.write_one(caller, name, op).await, again) {
            (Err(refusal), Some(range)) if errors::is_answer_too_large(&refusal) => {
                delete::large(&self.door, caller, &range, share).await?.ok_or(refusal)
            }
            (done, _) => done,
        }
    }

    async fn write_one(&self, caller: &Caller, name: Name, op: KvOp) -> Result<Done, Status> {
        self.write(caller, name, Txn { then: vec![op], ..Txn::default() }).await
    }
}

/// How fresh a read is to be.
fn consistency(serializable: bool) -> Consistency {
    if serializable { Consistency::Serializable } else { Consistency::Linearizable }
}

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = stream::Chunks;

    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let request = request.into_inner();
        check::range(&request)?;
        let fresh = consistency(request.serializable);
        let plan = Plan::of(request);
        let mut share = self.memory.share();
        let gathered = gather::gather(&self.door, &caller, &plan, fresh, &mut share).await?;
        Ok(Response::new(answer::range(&self.door, gathered)))
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let request = request.into_inner();
        check::range_stream(&request)?;
        Ok(Response::new(stream::chunks(self.door.clone(), caller, request)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let name = Name::of(request.metadata())?;
        let request = request.into_inner();
        check::put(&request)?;
        self.fits(&request)?;
        let done = self.write_one(&caller, name, KvOp::Put(txn::put(request))).await?;
        let repeated = done.repeated;
        Ok(exactly_once::marked(Response::new(answer::put(&self.door, done)), repeated))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let name = Name::of(request.metadata())?;
        let request = request.into_inner();
        check::delete(&request)?;
        self.fits(&request)?;
        let mut share = self.memory.share();
        let done = self.delete(&caller, name, request, &mut share).await?;
        exactly_once::remembered(&done, 1)?;
        let repeated = done.repeated;
        Ok(exactly_once::marked(Response::new(answer::delete(&self.door, done)), repeated))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let name = Name::of(request.metadata())?;
        let request = request.into_inner();
        check::txn(&request, self.door.limits().txn_ops)?;
        let kind = txn::kind(&request);
        let reads_only = kind.reads_only && name.is_none();
        if !reads_only {
            self.fits(&request)?;
        }
        let (txn, shape) = txn::txn(request, !reads_only);
        let mut share = self.memory.share();
        let mut done = if reads_only {
            let query = Query::ReadTxn(txn);
            let ask = Ask::Read { query, consistency: consistency(kind.serializable), timeout_ms: 0 };
            let mut done = Done::of(self.door.ask(&caller, ask).await?)?;
            reads::complete(&self.door, &caller, &mut done, &shape, &mut share).await?;
            done
        } else {
            self.write(&caller, name, txn).await?
        };
        exactly_once::remembered(&done, shape.branch(done.txn.succeeded).len())?;
        if !reads_only {
            reads::arrange(&mut done.txn, &shape);
        }
        let repeated = done.repeated;
        Ok(exactly_once::marked(Response::new(answer::txn(&self.door, done, &shape)), repeated))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let revision = compact::compact(&self.door, &caller, request.into_inner()).await?;
        Ok(Response::new(CompactionResponse { header: Some(self.door.header(revision)) }))
    }
}
