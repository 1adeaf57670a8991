//! The `KV` service: reads, puts, deletes, transactions and compaction.
//!
//! A request is checked ([`check`]) in etcd's order and words, becomes a read with a plan ([`plan`])
//! or a transaction with a shape ([`txn`]), and its answer is made from both ([`answer`],
//! [`reads`]); [`calls`] puts that together, once for all ways in. Reads are gathered page by page
//! ([`gather`]) or streamed ([`stream`]). Clients that opt in have their
//! writes executed exactly once ([`exactly_once`]).

pub mod answer;
pub mod calls;
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

use super::door::Door;
use super::errors;
use crate::front::unary;
use crate::node::request::Consistency;
use gather::Memory;
use oarlock_proto::etcd::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse, kv_server::Kv,
};
use prost::Message;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves etcd's keys. Clones are one service.
#[derive(Clone)]
pub struct KvService {
    door: Arc<Door>,
    memory: Arc<Memory>,
}

impl KvService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door, memory: Arc::default() }
    }

    /// The door.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Refuses a write that is larger than the log takes.
    fn fits(&self, request: &impl Message) -> Result<(), Status> {
        if request.encoded_len() > self.door.limits().request_bytes {
            return Err(errors::REQUEST_TOO_LARGE.into());
        }
        Ok(())
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
        unary::run::<calls::Range>(self, self.door.handle(), request).await
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
        unary::run::<calls::Put>(self, self.door.handle(), request).await
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        unary::run::<calls::DeleteRange>(self, self.door.handle(), request).await
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        unary::run::<calls::Txn>(self, self.door.handle(), request).await
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
