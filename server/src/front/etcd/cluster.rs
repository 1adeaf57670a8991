//! The `Cluster` service.
//!
//! A new voter is added as a learner that becomes a voter by itself once it has caught up, so that
//! adding one never endangers the quorum (see `docs/decisions`). etcd's clients know learners only
//! as members that somebody asked to stay learners, and are shown no others.

use super::door::{Caller, Door};
use super::errors;
use crate::config::Url;
use crate::node::request::{Admin, Consistency, Request as Ask, Response as Told, Write};
use oarlock_proto::etcd::etcdserverpb::cluster_server::Cluster;
use oarlock_proto::etcd::etcdserverpb::{self as pb, ResponseHeader};
use oarlock_state::command::{Answer, Member, ReplyBody};
use oarlock_state::{Command, NodeId, Query};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Addresses of one member, and bytes of one address.
const URLS_MAX: usize = 16;
const URL_BYTES_MAX: usize = 1024;

/// Serves the membership.
pub struct ClusterService {
    door: Arc<Door>,
}

impl ClusterService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    /// As etcd's: without a revision.
    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: 0, ..self.door.header_now() })
    }

    async fn members(&self, caller: &Caller, consistency: Consistency) -> Result<Vec<Member>, Status> {
        let ask = Ask::Read { query: Query::Members, consistency, timeout_ms: 0 };
        match self.door.ask(caller, ask).await? {
            Told::Answer { answer: Answer::Members(members), .. } => Ok(members),
            _ => Err(Status::internal("a list of members was answered with something else")),
        }
    }

    /// Makes a change. Returns the id that was added, or zero, and all members after it.
    async fn change(&self, caller: &Caller, admin: Admin) -> Result<(NodeId, Vec<Member>), Status> {
        match self.door.ask(caller, Ask::Admin(admin)).await? {
            Told::Members { added, members } => Ok((added, members)),
            _ => Err(Status::internal("a change of the members was answered with something else")),
        }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let pb::MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let add =
            Admin::AddMember { peer_urls: urls(peer_ur_ls)?, name: String::new(), stay_learner: is_learner };
        let (added, members) = self.change(&caller, add).await?;
        let members: Vec<pb::Member> = members.into_iter().map(shown).collect();
        let Some(member) = members.iter().find(|member| member.id == added.get()).cloned() else {
            return Err(Status::internal("the added member is not among the members"));
        };
        Ok(Response::new(pb::MemberAddResponse { header: self.header(), member: Some(member), members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let remove = Admin::RemoveMember(NodeId(request.get_ref().id));
        let (_, members) = self.change(&caller, remove).await?;
        let members = members.into_iter().map(shown).collect();
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let pb::MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        let (node, peer_urls) = (NodeId(id), urls(peer_ur_ls)?);
        let write = Write::of(Command::UpdateMember { node, peer_urls });
        let Told::Written(reply) = self.door.ask(&caller, Ask::Write(write)).await? else {
            return Err(Status::internal("an update of a member was answered with something else"));
        };
        let members = match reply.body {
            ReplyBody::Members(members) => members.into_iter().map(shown).collect(),
            _ => Vec::new(),
        };
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let consistency = if request.get_ref().linearizable {
            Consistency::Linearizable
        } else {
            Consistency::Serializable
        };
        let members = self.members(&caller, consistency).await?.into_iter().map(shown).collect();
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let promote = Admin::PromoteMember(NodeId(request.get_ref().id));
        let (_, members) = self.change(&caller, promote).await?;
        let members = members.into_iter().map(shown).collect();
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header(), members }))
    }
}

/// A member as etcd's clients expect it.
fn shown(member: Member) -> pb::Member {
    pb::Member {
        id: member.node.get(),
        is_learner: counts_as_learner(&member),
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
    }
}

/// Whether etcd's clients are told that a member is a learner.
pub(super) fn counts_as_learner(member: &Member) -> bool {
    member.learner && member.stay_learner
}

/// Peer addresses that can be used, sorted as etcd keeps them.
fn urls(mut urls: Vec<String>) -> Result<Vec<String>, Status> {
    let is_good = |url: &String| {
        url.len() <= URL_BYTES_MAX && !url.ends_with('/') && Url::parse("peer-urls", url.trim()).is_ok()
    };
    if urls.is_empty() || urls.len() > URLS_MAX || !urls.iter().all(is_good) {
        return Err(errors::MEMBER_BAD_URLS.into());
    }
    urls.sort();
    Ok(urls.into_iter().map(|url| url.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64, url: &str) -> Member {
        Member {
            node: NodeId(node),
            name: "n".into(),
            peer_urls: vec![url.into()],
            client_urls: Vec::new(),
            learner: true,
            stay_learner: false,
            version: String::new(),
        }
    }

    #[test]
    fn a_learner_on_its_way_to_a_vote_is_shown_as_a_voter() {
        assert!(!shown(member(1, "http://a:1")).is_learner);
        assert!(shown(Member { stay_learner: true, ..member(1, "http://a:1") }).is_learner);
    }

    #[test]
    fn addresses_that_etcd_refuses_are_refused_in_its_words() {
        for bad in ["", "a:1", "http://a", "http://a:1/path", "ftp://a:1", "http://:1", "http://a:1/"] {
            let refused = urls(vec![bad.into()]).expect_err(bad);
            assert_eq!(refused.message(), "etcdserver: given member URLs are invalid", "{bad}");
        }
        assert!(urls(Vec::new()).is_err());
        let sorted = urls(vec!["http://b:1".into(), " http://a:1".into()]).expect("good");
        assert_eq!(sorted, ["http://a:1", "http://b:1"]);
    }
}
