//! Clusters of real server processes: Oarlock's, and etcd's and ZooKeeper's as controls.
//!
//! Every node lives at an address of its own, in its own directory, and its log is one file over all
//! its lives. A node is stopped by its process id.

mod kind;
mod node;
mod operator;
mod restore;
mod status;

pub use kind::{Kind, Programs};
pub use node::{Exit, Life, Node};
pub use operator::Member;
pub use status::{Role, Status};

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Port for clients, on every node's own address.
pub const CLIENT_PORT: u16 = 2379;
/// Port for other members.
pub const PEER_PORT: u16 = 2380;
/// Port for ZooKeeper's elections.
pub const ELECTION_PORT: u16 = 2381;

/// Where nodes live.
pub trait Site: Send + Sync {
    /// The node's own address.
    fn address(&self, node: usize) -> IpAddr;

    /// Where others reach it: clients, and the other members.
    fn reached_at(&self, node: usize) -> IpAddr;

    /// Starts a program there.
    ///
    /// # Errors
    /// Those of starting it.
    fn spawn(&self, node: usize, command: Command) -> io::Result<Child>;
}

/// How a cluster is made.
pub struct Plan {
    /// Which servers.
    pub kind: Kind,
    /// Their programs.
    pub programs: Programs,
    /// How many found the cluster.
    pub founders: usize,
    /// Further flags of every server.
    pub flags: Vec<String>,
    /// Directory of the logs, and of the nodes' data where [`data`](Self::data) names no other.
    pub directory: PathBuf,
    /// Each node's data directory; made if it is not there.
    pub data: Vec<PathBuf>,
}

/// The nodes, of which some may not run.
pub struct Cluster {
    /// How it was made.
    pub plan: Plan,
    /// All nodes that ever were, in the order of their joining.
    pub nodes: Vec<Node>,
    site: Arc<dyn Site>,
}

impl Cluster {
    /// A cluster whose nodes do not run yet.
    pub fn new(plan: Plan, site: Arc<dyn Site>) -> Self {
        let mut cluster = Self { nodes: Vec::new(), site, plan };
        for number in 0..cluster.plan.founders {
            cluster.nodes.push(cluster.node(number));
        }
        let founders = cluster.peers();
        for node in &mut cluster.nodes {
            node.peers.clone_from(&founders);
        }
        cluster
    }

    fn node(&self, number: usize) -> Node {
        let plan = &self.plan;
        let name = format!("n{}", number + 1);
        let data = plan.data.get(number).cloned().unwrap_or_else(|| plan.directory.join(&name));
        let log = plan.directory.join(format!("{name}.log"));
        Node::new(number, self.site.address(number), self.site.reached_at(number), data, log)
    }

    /// Names of all nodes with where the others reach them.
    fn peers(&self) -> Vec<(String, SocketAddr)> {
        self.nodes.iter().map(|node| (node.name.clone(), node.advertised_peer())).collect()
    }

    /// A node more, that is to join; it does not run yet. Returns its position.
    pub fn add_node(&mut self) -> usize {
        let number = self.nodes.len();
        let node = self.node(number);
        self.nodes.push(node);
        number
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// If its program cannot be started.
    pub fn start(&mut self, number: usize) -> io::Result<()> {
        let Self { plan, nodes, site } = self;
        nodes[number].start(plan, site.as_ref())
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_all(&mut self) -> io::Result<()> {
        for number in 0..self.nodes.len() {
            if self.nodes[number].life == Life::Stopped {
                self.start(number)?;
            }
        }
        Ok(())
    }

    /// What a node says of itself; `None` if it does not answer.
    pub async fn status(&self, number: usize) -> Option<Status> {
        let node = &self.nodes[number];
        if node.life != Life::Running {
            return None;
        }
        self.plan.kind.status(node).await
    }

    /// Position of the node that leads, as soon as one says so.
    pub async fn leader(&self, patience: Duration) -> Option<usize> {
        let deadline = Instant::now() + patience;
        loop {
            let mut leaders = Vec::new();
            for number in 0..self.nodes.len() {
                if let Some(status) = self.status(number).await.filter(|status| status.role == Role::Leader) {
                    leaders.push((status.term, number));
                }
            }
            if let Some((_, leader)) = leaders.into_iter().max() {
                return Some(leader);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every node that runs serves. Returns the names of those that do not in time.
    pub async fn wait_ready(&self, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        let mut waiting: Vec<usize> =
            (0..self.nodes.len()).filter(|&number| self.nodes[number].life == Life::Running).collect();
        loop {
            let mut silent = Vec::new();
            for number in waiting {
                if !self.plan.kind.is_ready(&self.nodes[number]).await {
                    silent.push(number);
                }
            }
            if silent.is_empty() || Instant::now() >= deadline {
                return silent.into_iter().map(|number| self.nodes[number].name.clone()).collect();
            }
            waiting = silent;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Nodes that are members and run, by position.
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&number| self.nodes[number].life == Life::Running).collect()
    }

    /// Nodes that belong to the cluster, whether they run or not, by position.
    pub fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&number| self.nodes[number].life != Life::Removed).collect()
    }

    /// Where clients reach all members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members().into_iter().map(|number| self.nodes[number].endpoint()).collect()
    }
}
