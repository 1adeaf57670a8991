//! The `Kv` service.

use super::convert::{outcome, read, write};
use super::door::{Door, Signed};
use super::errors::status;
use super::pages;
use crate::node::request::Request as Ask;
use oarlock_proto::v1::{self, kv_server::Kv};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves reads and writes of flat keys.
pub struct KvService {
    door: Arc<Door>,
}

impl KvService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = pages::Pages;

    async fn range(&self, request: Request<v1::RangeRequest>) -> Result<Response<v1::RangeResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let ask = read::range(request.get_ref()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(ask).await.and_then(outcome::range).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn range_stream(
        &self,
        request: Request<v1::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let door = self.door.admit(request.metadata())?;
        let pages = pages::pages(door.clone(), request.into_inner());
        Ok(Response::new(pages.map_err(|refusal| door.refuse(refusal))?))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let write = write::put(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(Ask::Write(write)).await.and_then(outcome::put).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let write = write::delete(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(Ask::Write(write)).await.and_then(outcome::delete).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let ask = write::txn(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(ask).await.and_then(outcome::txn).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn get_outcome(
        &self,
        request: Request<v1::GetOutcomeRequest>,
    ) -> Result<Response<v1::GetOutcomeResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let ask = read::outcome(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(ask).await.and_then(outcome::get_outcome).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn check_token(
        &self,
        request: Request<v1::CheckTokenRequest>,
    ) -> Result<Response<v1::CheckTokenResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let ask = read::check_token(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(ask).await.and_then(outcome::check_token).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }
}
