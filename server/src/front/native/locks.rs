//! The `Locks` service.

use super::convert::{object, object_reply};
use super::door::{Door, Signed};
use super::errors::status;
use crate::node::request::{Request as Ask, Write};
use oarlock_proto::v1::{self, locks_server::Locks};
use std::sync::Arc;
use tonic::{Request, Response, Status};

type Written = Result<Response<v1::ObjectResponse>, Status>;
type Answered = Result<Response<v1::ObjectAnswer>, Status>;

/// Serves locks, semaphores and elections.
pub struct LockService {
    door: Arc<Door>,
}

impl LockService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    async fn write<T>(&self, request: Request<T>, convert: fn(T) -> super::convert::Form<Write>) -> Written {
        let door = self.door.admit(request.metadata())?;
        let write = convert(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(Ask::Write(write)).await.and_then(object_reply::written).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn read<T>(&self, request: Request<T>, convert: fn(T) -> super::convert::Form<Ask>) -> Answered {
        let door = self.door.admit(request.metadata())?;
        let ask = convert(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(ask).await.and_then(object_reply::answered).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }
}

#[tonic::async_trait]
impl Locks for LockService {
    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Written {
        self.write(request, object::acquire).await
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Written {
        self.write(request, object::release).await
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Written {
        self.write(request, object::cancel).await
    }

    async fn downgrade(&self, request: Request<v1::DowngradeRequest>) -> Written {
        self.write(request, object::downgrade).await
    }

    async fn upgrade(&self, request: Request<v1::UpgradeRequest>) -> Written {
        self.write(request, object::upgrade).await
    }

    async fn request_revocation(&self, request: Request<v1::RequestRevocationRequest>) -> Written {
        self.write(request, object::request_revocation).await
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Written {
        self.write(request, object::revoke).await
    }

    async fn set_lock_delay(&self, request: Request<v1::SetLockDelayRequest>) -> Written {
        self.write(request, object::set_lock_delay).await
    }

    async fn proclaim(&self, request: Request<v1::ProclaimRequest>) -> Written {
        self.write(request, object::proclaim).await
    }

    async fn handoff(&self, request: Request<v1::HandoffRequest>) -> Written {
        self.write(request, object::handoff).await
    }

    async fn describe(&self, request: Request<v1::DescribeObjectRequest>) -> Answered {
        self.read(request, object::describe).await
    }

    async fn list(&self, request: Request<v1::ListObjectsRequest>) -> Answered {
        self.read(request, object::list).await
    }

    async fn of_session(&self, request: Request<v1::ObjectsOfSessionRequest>) -> Answered {
        self.read(request, object::of_session).await
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Answered {
        self.read(request, object::why).await
    }
}
