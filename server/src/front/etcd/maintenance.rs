//! The `Maintenance` service.

use super::cluster::counts_as_learner;
use super::door::{Door, number};
use super::hash::{KvHasher, folded};
use super::{Setup, alarms, errors, saved};
use crate::node::request::{Admin, NodeStatus, Request as Ask};
use oarlock_proto::etcd::etcdserverpb as pb;
use oarlock_proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use oarlock_proto::etcd::etcdserverpb::maintenance_server::Maintenance;
use oarlock_state::NodeId;
use oarlock_state::command::Member;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves what an operator asks of one member.
pub struct MaintenanceService {
    door: Arc<Door>,
    setup: Setup,
    hasher: KvHasher,
}

impl MaintenanceService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>, setup: Setup) -> Self {
        Self { door, setup, hasher: KvHasher::new() }
    }

    fn shown(&self, node: &NodeStatus) -> pb::StatusResponse {
        let own = node.members.iter().find(|member| member.node == node.node);
        let mut errors = Vec::new();
        if node.leader == NodeId(0) {
            errors.push("etcdserver: no leader".to_owned());
        }
        errors.extend(alarms::texts(node));
        let target_version = node.conditions.downgrade_to.clone();
        let bytes = number(node.state_bytes + node.overlay_bytes);
        pb::StatusResponse {
            header: Some(self.door.header(node.revision)),
            version: self.setup.emulation.version.to_string(),
            db_size: bytes,
            leader: node.leader.get(),
            raft_index: node.committed,
            raft_term: node.term,
            raft_applied_index: node.applied,
            errors,
            db_size_in_use: bytes,
            is_learner: own.is_some_and(counts_as_learner),
            storage_version: self.setup.emulation.version.of_cluster().to_string(),
            db_size_quota: number(self.setup.emulation.quota_bytes.unwrap_or(0)),
            downgrade_info: Some(pb::DowngradeInfo { enabled: !target_version.is_empty(), target_version }),
        }
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = saved::Chunks;

    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let request = request.into_inner();
        if request.action() != AlarmAction::Get {
            self.door.check_admin(&caller).await?;
        }
        let alarms = alarms::serve(&self.door, &caller, &request).await?;
        Ok(Response::new(pb::AlarmResponse { header: Some(self.door.header_now()), alarms }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let node = self.door.node(&caller).await?;
        Ok(Response::new(self.shown(&node)))
    }

    /// Nothing needs it here: the state is kept in order as it is written. Accepted, because scripts
    /// ask for it.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        self.door.check_admin(&caller).await?;
        Ok(Response::new(pb::DefragmentResponse::default()))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        self.door.check_admin(&caller).await?;
        let node = self.door.node(&caller).await?;
        let header = Some(self.door.header(node.revision));
        Ok(Response::new(pb::HashResponse { header, hash: folded(node.digest) }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        self.door.check_admin(&caller).await?;
        // etcd takes a negative revision for "the current one".
        let asked = u64::try_from(request.get_ref().revision).unwrap_or(0);
        let hash = self.hasher.hash(&self.door, &caller, asked).await?;
        let header = Some(self.door.header(hash.current));
        Ok(Response::new(pb::HashKvResponse { header, ..hash.response() }))
    }

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let caller = self.door.caller(request.metadata())?;
        self.door.check_admin(&caller).await?;
        let version = self.setup.emulation.version.of_cluster().to_string();
        let source = self.setup.snapshots.clone();
        Ok(Response::new(saved::chunks(source, self.door.header_now(), version).await?))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        self.door.check_admin(&caller).await?;
        let target = NodeId(request.get_ref().target_id);
        let node = self.door.node(&caller).await?;
        check_transferee(&node, target)?;
        if target != node.node {
            self.door.ask(&caller, Ask::Admin(Admin::MoveLeader(target))).await.map_err(not_moved)?;
        }
        Ok(Response::new(pb::MoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        self.door.check_admin(&caller).await?;
        let version = self.setup.emulation.version;
        alarms::downgrade(&self.door, &caller, version, request.get_ref()).await?;
        // etcd names the version of the cluster by its first two numbers.
        let version = format!("{}.{}", version.major, version.minor);
        Ok(Response::new(pb::DowngradeResponse { header: Some(self.door.header_now()), version }))
    }
}

/// Only the leader hands over, and only to a voter.
fn check_transferee(node: &NodeStatus, target: NodeId) -> Result<(), Status> {
    if node.leader != node.node {
        return Err(errors::NOT_LEADER.into());
    }
    let votes = |member: &&Member| member.node == target && !member.learner;
    match node.members.iter().find(votes) {
        Some(_) => Ok(()),
        None => Err(errors::BAD_LEADER_TRANSFEREE.into()),
    }
}

/// etcd waits until its client gives up; the node says earlier that nothing came of it.
fn not_moved(status: Status) -> Status {
    if status.message() == Status::from(errors::LEADER_CHANGED).message() {
        return Status::unknown("etcdserver: request timed out, leader transfer took too long");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leader_hands_over_and_only_to_a_voter() {
        let member = |node, learner| Member {
            node: NodeId(node),
            name: String::new(),
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
            learner,
            stay_learner: learner,
            version: String::new(),
        };
        let members = vec![member(1, false), member(2, false), member(3, true)];
        let node = NodeStatus { node: NodeId(1), leader: NodeId(1), members, ..NodeStatus::default() };
        assert!(check_transferee(&node, NodeId(2)).is_ok());
        for bad in [3, 4, 0] {
            let refused = check_transferee(&node, NodeId(bad)).expect_err("no voter");
            assert_eq!(refused.message(), "etcdserver: bad leader transferee");
        }
        let follower = NodeStatus { leader: NodeId(2), ..node };
        let refused = check_transferee(&follower, NodeId(2)).expect_err("not asked of the leader");
        assert_eq!(refused.message(), "etcdserver: not leader");
    }
}
