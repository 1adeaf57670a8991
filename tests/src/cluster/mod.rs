//! Clusters of real `oarlockd` processes on loopback, for end-to-end tests.
//!
//! Every node has a directory below one temporary directory, listens on ports that the operating
//! system gave, and is killed by its process id when its handle is dropped. When a test panics the
//! directory is kept and its place printed.

mod client;
mod command;
mod ports;
mod process;
mod watching;
mod writer;

pub use client::{Call, call};
pub use command::{Oarlock, Ran};
pub use ports::free_ports;
pub use process::{Node, NodeOptions, binary};
pub use watching::{Watching, told};
pub use writer::{Writer, detail, put, read};

use oarlock_proto::v1::{self, cluster_client::ClusterClient, maintenance_client::MaintenanceClient};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other test of this program measures time or needs all cores. To be held to the end
/// of the test.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// A cluster of processes.
pub struct Cluster {
    /// The nodes, started or not.
    pub nodes: Vec<Node>,
    directory: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Starts `count` new nodes with these extra flags and waits until all serve.
    pub async fn start(count: usize, flags: &[&str]) -> Self {
        let cluster = Self::spawn(count, flags);
        cluster.wait_ready(Duration::from_secs(30)).await;
        cluster
    }

    /// Starts `count` new nodes without waiting for them.
    pub fn spawn(count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self::prepare(count, flags);
        cluster.nodes.iter_mut().for_each(Node::start);
        cluster
    }

    /// `count` new nodes that are not started.
    pub fn prepare(count: usize, flags: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("oarlock-e2e-")
            .tempdir()
            .expect("the temporary directory is writable");
        let ports = free_ports(count * 2);
        let name = |number: usize| format!("n{}", number + 1);
        let peer_url = |number: usize| format!("http://127.0.0.1:{}", ports[count + number]);
        let members: Vec<String> = (0..count).map(|n| format!("{}={}", name(n), peer_url(n))).collect();
        let nodes = (0..count)
            .map(|number| {
                Node::new(NodeOptions {
                    name: name(number),
                    data_dir: directory.path().join(name(number)),
                    client_port: ports[number],
                    peer_port: ports[count + number],
                    initial_cluster: members.join(","),
                    initial_state: "new".into(),
                    initial_token: "e2e".into(),
                    flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
                })
            })
            .collect();
        Self { nodes, directory: Some(directory) }
    }

    /// Where the nodes' data and logs are.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().expect("held until the cluster is dropped").path()
    }

    /// Client URLs of all nodes.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Node::client_url).collect()
    }

    /// Waits until every running node says that it serves; panics with the logs' place otherwise.
    pub async fn wait_ready(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            while !node.is_ready().await {
                let place = node.log_path();
                assert!(Instant::now() < deadline, "{} is not ready; see {}", node.name(), place.display());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Position of the node that leads, once one does.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            for (position, node) in self.nodes.iter().enumerate() {
                if let Some(status) = node.status().await
                    && status.role() == v1::status_response::Role::Leader
                {
                    return position;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no leader within 30 s; see {}", self.directory().display());
    }

    /// Position of some running node that does not lead.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.nodes.len())
            .find(|&position| position != leader && self.nodes[position].is_running())
            .expect("a cluster of more than one node has a follower")
    }

    /// Waits until all running nodes have applied the same index and computed the same digest, and
    /// returns it.
    pub async fn wait_equal_digests(&self, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let mut seen = Vec::new();
            for node in self.nodes.iter().filter(|node| node.is_running()) {
                seen.push(node.status().await.map(|status| (status.applied_index, status.digest)));
            }
            if let Some(Some(first)) = seen.first()
                && seen.iter().all(|other| other.as_ref() == Some(first))
            {
                return first.1.clone();
            }
            assert!(
                Instant::now() < deadline,
                "digests differ: {seen:?}; see {}",
                self.directory().display()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Adds a member by name, starts it with an empty directory, and returns its position.
    pub async fn join(&mut self, name: &str) -> usize {
        let ports = free_ports(2);
        let peer_url = format!("http://127.0.0.1:{}", ports[1]);
        let request = v1::AddMemberRequest {
            peer_urls: vec![peer_url.clone()],
            name: name.to_owned(),
            ..Default::default()
        };
        let leader = self.leader().await;
        let added = call(Duration::from_secs(20), || async {
            let channel = self.nodes[leader].channel().await?;
            ClusterClient::new(channel).add_member(request.clone()).await
        })
        .await
        .expect("a healthy cluster accepts a learner")
        .into_inner();
        let known: Vec<String> = (added.members.iter())
            .filter(|member| !member.name.is_empty() && member.name != name)
            .map(|member| format!("{}={}", member.name, member.peer_urls[0]))
            .chain([format!("{name}={peer_url}")])
            .collect();
        let mut node = Node::new(NodeOptions {
            name: name.to_owned(),
            data_dir: self.directory().join(name),
            client_port: ports[0],
            peer_port: ports[1],
            initial_cluster: known.join(","),
            initial_state: "existing".into(),
            initial_token: "e2e".into(),
            flags: Vec::new(),
        });
        node.start();
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The members, as `position` knows them.
    pub async fn members(&self, position: usize) -> Vec<v1::Member> {
        call(Duration::from_secs(20), || async {
            let channel = self.nodes[position].channel().await?;
            ClusterClient::new(channel).list_members(v1::ListMembersRequest::default()).await
        })
        .await
        .expect("members can be listed")
        .into_inner()
        .members
    }

    /// Compacts the history up to the current revision.
    pub async fn compact(&self, position: usize) {
        call(Duration::from_secs(20), || async {
            let channel = self.nodes[position].channel().await?;
            MaintenanceClient::new(channel).compact(v1::CompactRequest::default()).await
        })
        .await
        .expect("history can be compacted");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            let kept: PathBuf = directory.keep();
            eprintln!("data and logs of the failed cluster are kept in {}", kept.display());
        }
    }
}
