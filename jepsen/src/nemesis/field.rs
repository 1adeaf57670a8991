//! All that faults are done to.

use crate::cluster::{Cluster, Kind, Life};
use crate::disk::Disk;
use crate::history::Journal;
use crate::net::Network;
use crate::workload::Address;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a leader is looked for before a fault takes any node.
const LOOK_FOR_LEADER: Duration = Duration::from_millis(1_500);

/// The servers and what they run on.
pub struct Field {
    /// The servers.
    pub cluster: Cluster,
    /// Their network.
    pub network: Arc<Network>,
    /// The founders' disks, if they can fail.
    pub disks: Vec<Disk>,
    /// What the faults' chance comes from.
    pub chance: StdRng,
    /// Where faults are written down.
    pub journal: Journal,
    /// Where clients are told of members that come and go.
    pub addresses: watch::Sender<Arc<Vec<Address>>>,
    /// Where backups and copies go.
    pub directory: PathBuf,
}

impl Field {
    /// Tells the clients who the members are.
    pub fn announce(&self) {
        let address = |number: usize| {
            let node = &self.cluster.nodes[number];
            Address { node: node.name.clone(), endpoint: node.endpoint() }
        };
        let all: Vec<Address> = self.cluster.members().into_iter().map(address).collect();
        self.addresses.send_replace(Arc::new(all));
    }

    /// The leader, or any running node while none is known.
    pub async fn leader(&mut self) -> Option<usize> {
        match self.cluster.leader(LOOK_FOR_LEADER).await {
            Some(leader) => Some(leader),
            None => self.any(),
        }
    }

    /// Any running node.
    pub fn any(&mut self) -> Option<usize> {
        let running = self.cluster.running();
        (!running.is_empty()).then(|| running[self.chance.random_range(0..running.len())])
    }

    /// A running node that does not lead.
    pub async fn follower(&mut self) -> Option<usize> {
        let leader = self.leader().await?;
        let mut others = self.cluster.running();
        others.retain(|number| *number != leader);
        (!others.is_empty()).then(|| others[self.chance.random_range(0..others.len())])
    }

    /// So many running nodes, by chance.
    pub fn some(&mut self, count: usize) -> Vec<usize> {
        let mut running = self.cluster.running();
        running.shuffle(&mut self.chance);
        running.truncate(count);
        running
    }

    /// The least number of members that decide.
    pub fn majority(&self) -> usize {
        self.cluster.members().len() / 2 + 1
    }

    /// Names of nodes, for the history.
    pub fn names(&self, nodes: &[usize]) -> Value {
        nodes.iter().map(|number| self.cluster.nodes[*number].name.clone()).collect()
    }

    /// Starts a node. What stands in the way is told as an exit.
    pub fn start(&mut self, number: usize) {
        if let Err(error) = self.cluster.start(number) {
            let node = &self.cluster.nodes[number].name;
            let what = json!({ "node": node, "code": null, "expected": false, "why": error.to_string() });
            self.journal.note("exit", what);
        }
    }

    /// Writes down every server that has ended by itself since the last look. Returns their positions.
    pub fn note_exits(&mut self, expected: bool) -> Vec<usize> {
        let mut gone = Vec::new();
        for number in 0..self.cluster.nodes.len() {
            let node = &mut self.cluster.nodes[number];
            // A member that was removed stops, as it should.
            let expected = expected || node.life == Life::Removed;
            if let Some(exit) = node.take_exit() {
                let last_words = exit.last_words;
                let what = json!({ "node": exit.node, "code": exit.code, "expected": expected, "last_words": last_words });
                self.journal.note("exit", what);
                gone.push(number);
            }
        }
        gone
    }

    /// Ends every fault of links and processes and starts what does not run, whatever was done before.
    pub fn heal(&mut self) {
        self.network.links().reset();
        self.disks.iter().for_each(Disk::heal);
        for number in self.cluster.members() {
            let node = &mut self.cluster.nodes[number];
            if node.life == Life::Paused {
                node.resume();
            }
        }
        self.note_exits(false);
        for number in self.cluster.members() {
            if self.cluster.nodes[number].life == Life::Stopped {
                self.start(number);
            }
        }
    }

    /// Which servers they are.
    pub fn kind(&self) -> Kind {
        self.cluster.plan.kind
    }
}
