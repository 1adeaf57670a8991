//! What an operator does to a cluster: members, leadership, compaction, backups.

use super::Cluster;
use super::kind::Kind;
use super::node::{Life, Node};
use super::status::channel;
use futures::StreamExt;
use oarlock_proto::etcd::etcdserverpb as etcd;
use oarlock_proto::v1::{self, cluster_client::ClusterClient, maintenance_client::MaintenanceClient};
use std::path::Path;
use std::time::Duration;

/// A member as the cluster knows it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its id, which is never given again.
    pub id: u64,
    /// Its name; empty before it has started.
    pub name: String,
    /// Whether it has no vote.
    pub is_learner: bool,
}

type Told<T> = Result<T, String>;

impl Cluster {
    /// Asks one running node after the other until one does it.
    async fn ask<T>(&self, call: impl AsyncFn(&Node) -> Told<T>) -> Told<T> {
        let mut last = "no node runs".to_owned();
        for number in self.running() {
            match tokio::time::timeout(Duration::from_secs(10), call(&self.nodes[number])).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(why)) => last = format!("{}: {why}", self.nodes[number].name),
                Err(_) => last = format!("{} did not answer within 10 s", self.nodes[number].name),
            }
        }
        Err(last)
    }

    /// The members.
    ///
    /// # Errors
    /// If no node tells them.
    pub async fn list_members(&self) -> Told<Vec<Member>> {
        let kind = self.plan.kind;
        self.ask(async |node| members(kind, node).await).await
    }

    /// Removes a member for good. Its process is left alone.
    ///
    /// # Errors
    /// If no node does it.
    pub async fn remove_member(&mut self, number: usize) -> Told<()> {
        let name = self.nodes[number].name.clone();
        let member = self.list_members().await?.into_iter().find(|member| member.name == name);
        let id = member.ok_or_else(|| format!("{name} is no member"))?.id;
        let kind = self.plan.kind;
        let removed = self.ask(async |node| remove(kind, node, id).await).await;
        // An answer may be lost, above all that of the member which goes.
        if removed.is_err() && self.list_members().await?.iter().any(|member| member.id == id) {
            return removed;
        }
        self.nodes[number].life = Life::Removed;
        Ok(())
    }

    /// Makes a node more a member; it is started by the caller. Returns its position.
    ///
    /// # Errors
    /// If no node does it; there is no such node then.
    pub async fn add_member(&mut self) -> Told<usize> {
        let members = self.list_members().await?;
        let number = self.add_node();
        let url = format!("http://{}", self.nodes[number].advertised_peer());
        let (kind, name) = (self.plan.kind, self.nodes[number].name.clone());
        let added = self.ask(async |node| add(kind, node, &name, &url).await).await;
        let count_before = members.len();
        if added.is_err() && self.list_members().await.is_ok_and(|now| now.len() <= count_before) {
            self.nodes.pop();
            return added.map(|()| number);
        }
        let is_member = |node: &&Node| node.number == number || members.iter().any(|m| m.name == node.name);
        let peers = self
            .nodes
            .iter()
            .filter(is_member)
            .map(|node| (node.name.clone(), node.advertised_peer()))
            .collect();
        self.nodes[number].peers = peers;
        self.nodes[number].joins = true;
        Ok(number)
    }

    /// Hands leadership to a voter.
    ///
    /// # Errors
    /// If the leader does not do it.
    pub async fn move_leader(&self, to: usize) -> Told<()> {
        let name = &self.nodes[to].name;
        let members = self.list_members().await?;
        let target = members.iter().find(|member| &member.name == name);
        let target = target.ok_or_else(|| format!("{name} is no member"))?.id;
        let leader = self.leader(Duration::from_secs(2)).await.ok_or("nobody leads")?;
        let channel = channel(&self.nodes[leader]).await.ok_or("the leader is not reached")?;
        match self.plan.kind {
            Kind::Oarlock => {
                ClusterClient::new(channel).move_leader(v1::MoveLeaderRequest { target }).await.map(drop)
            }
            Kind::Etcd => etcd::maintenance_client::MaintenanceClient::new(channel)
                .move_leader(etcd::MoveLeaderRequest { target_id: target })
                .await
                .map(drop),
            Kind::Zookeeper => return Err("ZooKeeper hands leadership to nobody".into()),
        }
        .map_err(|status| status.message().to_owned())
    }

    /// Forgets history up to now.
    ///
    /// # Errors
    /// If no node does it.
    pub async fn compact(&self) -> Told<u64> {
        let kind = self.plan.kind;
        self.ask(async |node| compact(kind, node).await).await
    }

    /// Writes the state of a node to a file.
    ///
    /// # Errors
    /// If it cannot be had or written.
    pub async fn backup(&self, number: usize, to: &Path) -> Told<u64> {
        let channel = channel(&self.nodes[number]).await.ok_or("the node is not reached")?;
        let client = MaintenanceClient::new(channel).max_decoding_message_size(64 << 20);
        let answer = { client }.snapshot(v1::SnapshotRequest {}).await;
        let mut chunks = answer.map_err(|status| status.message().to_owned())?.into_inner();
        let (mut bytes, mut revision) = (Vec::new(), 0);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|status| status.message().to_owned())?;
            revision = chunk.info.map_or(revision, |info| info.revision);
            bytes.extend_from_slice(&chunk.data);
        }
        std::fs::write(to, bytes).map_err(|error| format!("{}: {error}", to.display()))?;
        Ok(revision)
    }
}

async fn members(kind: Kind, node: &Node) -> Told<Vec<Member>> {
    let channel = channel(node).await.ok_or("it is not reached")?;
    let told = |status: tonic::Status| status.message().to_owned();
    match kind {
        Kind::Oarlock => {
            let answer = ClusterClient::new(channel).list_members(v1::ListMembersRequest::default()).await;
            let all = answer.map_err(told)?.into_inner().members.into_iter();
            Ok(all.map(|m| Member { id: m.id, name: m.name, is_learner: m.learner }).collect())
        }
        Kind::Etcd => {
            let request = etcd::MemberListRequest { linearizable: true };
            let answer = etcd::cluster_client::ClusterClient::new(channel).member_list(request).await;
            let all = answer.map_err(told)?.into_inner().members.into_iter();
            Ok(all.map(|m| Member { id: m.id, name: m.name, is_learner: m.is_learner }).collect())
        }
        Kind::Zookeeper => Err("ZooKeeper's members are not changed here".into()),
    }
}

async fn remove(kind: Kind, node: &Node, id: u64) -> Told<()> {
    let channel = channel(node).await.ok_or("it is not reached")?;
    match kind {
        Kind::Oarlock => {
            ClusterClient::new(channel).remove_member(v1::RemoveMemberRequest { id }).await.map(drop)
        }
        Kind::Etcd => etcd::cluster_client::ClusterClient::new(channel)
            .member_remove(etcd::MemberRemoveRequest { id })
            .await
            .map(drop),
        Kind::Zookeeper => return Err("ZooKeeper's members are not changed here".into()),
    }
    .map_err(|status| status.message().to_owned())
}

async fn add(kind: Kind, node: &Node, name: &str, url: &str) -> Told<()> {
    let channel = channel(node).await.ok_or("it is not reached")?;
    let peer_urls = vec![url.to_owned()];
    match kind {
        Kind::Oarlock => {
            let request = v1::AddMemberRequest { peer_urls, stay_learner: false, name: name.to_owned() };
            ClusterClient::new(channel).add_member(request).await.map(drop)
        }
        Kind::Etcd => {
            let request = etcd::MemberAddRequest { peer_ur_ls: peer_urls, is_learner: false };
            etcd::cluster_client::ClusterClient::new(channel).member_add(request).await.map(drop)
        }
        Kind::Zookeeper => return Err("ZooKeeper's members are not changed here".into()),
    }
    .map_err(|status| status.message().to_owned())
}

async fn compact(kind: Kind, node: &Node) -> Told<u64> {
    let channel = channel(node).await.ok_or("it is not reached")?;
    let told = |status: tonic::Status| status.message().to_owned();
    match kind {
        Kind::Oarlock => {
            let answer = MaintenanceClient::new(channel).compact(v1::CompactRequest::default()).await;
            Ok(answer.map_err(told)?.into_inner().header.map_or(0, |header| header.revision))
        }
        Kind::Etcd => {
            let mut client = etcd::kv_client::KvClient::new(channel);
            let range = etcd::RangeRequest { key: "\0".into(), ..Default::default() };
            let now = client.range(range).await.map_err(told)?.into_inner();
            let revision = now.header.map_or(0, |header| header.revision);
            let request = etcd::CompactionRequest { revision, physical: false };
            client.compact(request).await.map_err(told)?;
            Ok(u64::try_from(revision).unwrap_or(0))
        }
        Kind::Zookeeper => Err("ZooKeeper has no history to compact".into()),
    }
}
