//! The `Election` service.

use super::super::convert::record;
use super::super::door::{Door, number};
use super::super::leader;
use super::claim::{Claim, claim};
use super::{observe, queue, recipe};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use oarlock_proto::etcd::v3electionpb::election_server::Election;
use oarlock_proto::etcd::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use oarlock_state::Revision;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What a caller is told who does not lead, or not any more.
const NOT_LEADER: &str = "election: not leader";
/// What a caller is told when nobody leads.
const NO_LEADER: &str = "election: no leader";
/// What a caller is told who does not say as which leader they speak.
const MISSING: &str = "\"leader\" field must be provided";

/// Serves elections.
pub struct ElectionService {
    door: Arc<Door>,
}

impl ElectionService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    type ObserveStream = BoxStream<'static, Result<LeaderResponse, Status>>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let CampaignRequest { name, lease, value } = request.into_inner();
        let wanted = Claim { name: name.clone(), lease, value: Some(value), lost: NOT_LEADER };
        let won = claim(self.door.clone(), caller, wanted).await?;
        let rev = number(won.place.created.get());
        Ok(Response::new(CampaignResponse {
            header: Some(self.door.header(won.place.revision)),
            leader: Some(LeaderKey { name, key: won.place.key, rev, lease: won.lease }),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or_else(|| Status::unknown(MISSING))?;
        let lease = leader.lease;
        let changed = queue::change(&self.door, &caller, candidate(leader), lease, value).await;
        let revision = changed.map_err(|status| recipe(&status))?;
        let revision = revision.ok_or_else(|| Status::unknown(NOT_LEADER))?;
        Ok(Response::new(ProclaimResponse { header: Some(self.door.header(revision)) }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let found = queue::first(&self.door, &caller, &request.get_ref().name).await;
        let (first, revision) = found.map_err(|status| recipe(&status))?;
        let first = first.ok_or_else(|| Status::unknown(NO_LEADER))?;
        let header = Some(self.door.header(revision));
        Ok(Response::new(LeaderResponse { header, kv: Some(record(first)) }))
    }

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let (metadata, _, LeaderRequest { name }) = request.into_parts();
        let leaders = observe::leaders(self.door.clone(), caller, name);
        Ok(Response::new(leader::guard(&self.door, &metadata, leaders).boxed()))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let leader = request.into_inner().leader.ok_or_else(|| Status::unknown(MISSING))?;
        let left = queue::leave(&self.door, &caller, candidate(leader)).await;
        let revision = left.map_err(|status| recipe(&status))?;
        Ok(Response::new(ResignResponse { header: Some(self.door.header(revision)) }))
    }
}

/// A revision below zero is nobody's.
fn candidate(leader: LeaderKey) -> (Bytes, Revision) {
    (leader.key, Revision(u64::try_from(leader.rev).unwrap_or(u64::MAX)))
}
