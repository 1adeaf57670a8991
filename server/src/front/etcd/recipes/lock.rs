//! The `Lock` service.

use super::super::door::Door;
use super::claim::{Claim, claim};
use super::{queue, recipe};
use oarlock_proto::etcd::v3lockpb::lock_server::Lock;
use oarlock_proto::etcd::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What a caller is told whose lease ended while it waited.
const LOST: &str = "mutex: session is expired";

/// Serves locks.
pub struct LockService {
    door: Arc<Door>,
}

impl LockService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let LockRequest { name, lease } = request.into_inner();
        let wanted = Claim { name, lease, value: None, lost: LOST };
        let won = claim(self.door.clone(), caller, wanted).await?;
        let header = Some(self.door.header(won.revision));
        Ok(Response::new(LockResponse { header, key: won.place.key }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let removed = queue::remove(&self.door, &caller, request.into_inner().key).await;
        let revision = removed.map_err(|status| recipe(&status))?;
        Ok(Response::new(UnlockResponse { header: Some(self.door.header(revision)) }))
    }
}
