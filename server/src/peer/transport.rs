//! The transport as the node sees it: tell it who the members are, and send.

use super::handshake::Local;
use super::inbox::Inbox;
use super::listener;
use super::outgoing::{Outgoing, Queue};
use super::snapshot_send::Delivery;
use crate::config::Url;
use crate::storage::snapshot::SnapshotStore;
use crate::tasks::Tasks;
use bytes::Bytes;
use oarlock_proto::internal::peer::Envelope;
use oarlock_state::NodeId;
use oarlock_state::command::Member;
use slog::{Logger, o, warn};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a removed member's connection is kept, so that it hears of its removal.
const FAREWELL: Duration = Duration::from_secs(2);

/// Bounds of the transport.
#[derive(Clone, Copy, Debug)]
pub struct TransportOptions {
    /// Bytes of messages waiting for one peer; beyond it they are dropped. Too low: a peer that
    /// needs many entries gets them in pieces. Too high: memory when a peer is slow.
    pub queue_bytes: usize,
    /// Bytes per second of one snapshot; zero for no limit.
    pub snapshot_bytes_per_second: u64,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self { queue_bytes: 64 << 20, snapshot_bytes_per_second: 100 << 20 }
    }
}

/// What went over the wire so far.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Messages sent.
    pub sent: AtomicU64,
    /// Bytes of messages sent.
    pub sent_bytes: AtomicU64,
    /// Bytes received, snapshots included.
    pub received_bytes: AtomicU64,
    /// Messages dropped before they were sent.
    pub dropped: AtomicU64,
    /// Snapshots delivered.
    pub snapshots_sent: AtomicU64,
    /// Snapshots given up.
    pub snapshots_failed: AtomicU64,
    /// Snapshots received whole.
    pub snapshots_received: AtomicU64,
    /// Bytes of snapshot files sent.
    pub snapshot_bytes: AtomicU64,
}

/// What all connections of the transport share.
pub(super) struct Shared {
    pub(super) local: Local,
    pub(super) options: TransportOptions,
    /// Connections to peers come from here.
    pub(super) source: Option<IpAddr>,
    pub(super) tasks: Tasks,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) snapshots: Arc<SnapshotStore>,
    pub(super) traffic: Arc<Traffic>,
    /// Held while a snapshot is being received.
    pub(super) receiving: tokio::sync::Mutex<()>,
    /// Ends the connection that each peer opened last.
    incoming: Mutex<BTreeMap<NodeId, CancellationToken>>,
    removed: Mutex<BTreeSet<NodeId>>,
}

impl Shared {
    pub(super) fn is_removed(&self, node: NodeId) -> bool {
        self.removed.lock().expect("no code panics while it holds the set").contains(&node)
    }

    /// Begins a connection of this peer, ending its older one: two at once could deliver an older
    /// message after a newer. It must end when the token says so.
    pub(super) fn begin_incoming(&self, from: NodeId) -> CancellationToken {
        let token = CancellationToken::new();
        let older = self.lock_incoming().insert(from, token.clone());
        if let Some(older) = older {
            older.cancel();
        }
        token
    }

    /// Ends the removed member's connection, so that it comes back and hears why it may not.
    fn hang_up(&self, node: NodeId) {
        if let Some(token) = self.lock_incoming().remove(&node) {
            token.cancel();
        }
    }

    /// Ids of the members that have sent messages to this process.
    pub(super) fn heard(&self) -> Vec<u64> {
        self.lock_incoming().keys().map(|node| node.get()).collect()
    }

    fn lock_incoming(&self) -> MutexGuard<'_, BTreeMap<NodeId, CancellationToken>> {
        self.incoming.lock().expect("no code panics while it holds the map")
    }
}

/// Sends to the members; cheap to clone.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    peers: Arc<Mutex<BTreeMap<NodeId, Peer>>>,
    logger: Logger,
}

struct Peer {
    urls: Vec<Url>,
    queue: Arc<Queue>,
    tasks: Tasks,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Transport {
    /// A transport without members. Connections are opened from `source`.
    pub fn new(
        local: Local,
        options: TransportOptions,
        source: Option<IpAddr>,
        tasks: Tasks,
        inbox: Arc<dyn Inbox>,
        snapshots: Arc<SnapshotStore>,
        logger: Logger,
    ) -> Self {
        let shared = Shared {
            local,
            options,
            source,
            tasks,
            inbox,
            snapshots,
            traffic: Arc::default(),
            receiving: tokio::sync::Mutex::default(),
            incoming: Mutex::default(),
            removed: Mutex::default(),
        };
        Self { shared: Arc::new(shared), peers: Arc::default(), logger }
    }

    /// Accepts connections of members on this socket.
    pub fn listen(&self, listener: TcpListener) {
        self.shared.tasks.spawn(listener::run(self.shared.clone(), listener, self.logger.clone()));
    }

    /// What went over the wire so far.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.shared.traffic.clone()
    }

    /// Connects to those that are new or moved, and drops those that are gone. A list without this
    /// member itself comes from a state that has yet to hear of it (it is joining), or from its
    /// removal; neither is a reason to hang up.
    pub fn set_members(&self, members: &[Member]) {
        let own = self.shared.local.node;
        if !members.iter().any(|member| member.node == own) {
            return;
        }
        let mut peers = self.lock();
        let gone: Vec<(NodeId, Peer)> =
            peers.extract_if(.., |node, _| !members.iter().any(|member| member.node == *node)).collect();
        if !gone.is_empty() {
            let mut removed = self.shared.removed.lock().expect("no code panics while it holds the set");
            removed.extend(gone.iter().map(|(node, _)| *node));
            drop(removed);
            // What was sent to it last tells it that its removal is committed.
            let shared = self.shared.clone();
            self.shared.tasks.spawn(async move {
                tokio::time::sleep(FAREWELL).await;
                for (node, _) in &gone {
                    shared.hang_up(*node);
                }
            });
        }
        for member in members.iter().filter(|member| member.node != own) {
            self.connect(&mut peers, member);
        }
    }

    /// Sends, or drops: a peer that is slow or gone costs the others nothing. Never blocks.
    pub fn send(&self, to: NodeId, envelope: Envelope) {
        let peers = self.lock();
        let lost = match peers.get(&to) {
            Some(peer) => peer.queue.push(envelope, &self.shared.traffic),
            None => {
                self.shared.traffic.dropped.fetch_add(1, Relaxed);
                false
            }
        };
        drop(peers);
        if lost {
            self.shared.inbox.unreachable(to);
        }
    }

    /// Streams the snapshot of this index, then has `message` stepped by the receiver. The inbox
    /// hears what became of it, always.
    pub fn send_snapshot(&self, to: NodeId, index: u64, message: Bytes) {
        let peers = self.lock();
        let Some(peer) = peers.get(&to) else {
            drop(peers);
            self.shared.inbox.snapshot_sent(to, false);
            return;
        };
        let delivery = Delivery {
            shared: self.shared.clone(),
            to,
            urls: peer.urls.clone(),
            index,
            message,
            logger: self.logger.new(o!("peer" => hex(to))),
        };
        // Not a task of the peer's: when the peer moves or goes, the outcome is still reported.
        self.shared.tasks.spawn(delivery.run());
    }

    fn connect(&self, peers: &mut BTreeMap<NodeId, Peer>, member: &Member) {
        let parsed = member.peer_urls.iter().map(|url| Url::parse("peer-urls", url));
        let urls: Vec<Url> = match parsed.collect() {
            Ok(urls) => urls,
            Err(error) => {
                warn!(self.logger, "member's address cannot be used"; "member" => hex(member.node), "error" => %error);
                return;
            }
        };
        if peers.get(&member.node).is_some_and(|peer| peer.urls == urls) {
            return;
        }
        let queue = Arc::new(Queue::new(self.shared.options.queue_bytes));
        let tasks = self.shared.tasks.part();
        let outgoing = Outgoing {
            local: self.shared.local.clone(),
            peer: member.node,
            urls: urls.clone(),
            source: self.shared.source,
            queue: queue.clone(),
            inbox: self.shared.inbox.clone(),
            traffic: self.shared.traffic.clone(),
            logger: self.logger.new(o!("peer" => hex(member.node))),
        };
        tasks.spawn(outgoing.run());
        peers.insert(member.node, Peer { urls, queue, tasks });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.peers.lock().expect("no code panics while it holds the peers")
    }
}

fn hex(node: NodeId) -> String {
    format!("{:016x}", node.get())
}
