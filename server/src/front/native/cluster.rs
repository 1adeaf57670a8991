//! The `Cluster` service.

use super::convert::{Form, member, outcome, read};
use super::door::{Door, Signed};
use super::errors::{self, status};
use crate::node::request::{Admin, Request as Ask, Write};
use oarlock_proto::v1::{self, cluster_server::Cluster};
use oarlock_state::{Command, NodeId, Query};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves the membership.
pub struct ClusterService {
    door: Arc<Door>,
}

impl ClusterService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    /// Makes a change of the members.
    async fn change(door: &Door, admin: Form<Admin>) -> Result<(NodeId, Vec<v1::Member>), Status> {
        let admin = admin.map_err(|refusal| door.refuse(refusal))?;
        door.ask(Ask::Admin(admin)).await.and_then(member::changed).map_err(status)
    }

    fn header(&self) -> Option<v1::Header> {
        Some(self.door.header_now())
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let ask = read::read(Query::Members, request.get_ref().options.as_ref());
        let ask = ask.map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(ask).await.and_then(member::list).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let (added, members) = Self::change(&door, member::add(request.into_inner())).await?;
        let Some(member) = members.iter().find(|member| member.id == added.get()).cloned() else {
            return Err(status(errors::internal("the added member is not among the members")));
        };
        let header = self.header();
        Ok(Response::new(v1::AddMemberResponse { header, member: Some(member), members }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let (_, members) =
            Self::change(&door, member::id(request.get_ref().id).map(Admin::RemoveMember)).await?;
        Ok(Response::new(v1::RemoveMemberResponse { header: self.header(), members }))
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::PromoteMemberResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let (_, members) =
            Self::change(&door, member::id(request.get_ref().id).map(Admin::PromoteMember)).await?;
        Ok(Response::new(v1::PromoteMemberResponse { header: self.header(), members }))
    }

    async fn update_member(
        &self,
        request: Request<v1::UpdateMemberRequest>,
    ) -> Result<Response<v1::UpdateMemberResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let request = request.into_inner();
        let form = member::id(request.id).and_then(|node| {
            let peer_urls = member::peer_urls(request.peer_urls)?;
            Ok(Write::of(Command::UpdateMember { node, peer_urls }))
        });
        let write = form.map_err(|refusal| door.refuse(refusal))?;
        let changed = door.ask(Ask::Write(write)).await.and_then(member::changed);
        let (_, members) = changed.map_err(status)?;
        Ok(Response::new(v1::UpdateMemberResponse { header: self.header(), members }))
    }

    async fn move_leader(
        &self,
        request: Request<v1::MoveLeaderRequest>,
    ) -> Result<Response<v1::MoveLeaderResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let target = NodeId(request.get_ref().target);
        let moved = door.ask(Ask::Admin(Admin::MoveLeader(target))).await;
        moved.and_then(outcome::done).map_err(status)?;
        Ok(Response::new(v1::MoveLeaderResponse { header: self.header() }))
    }
}
