//! The node as its transport sees it.

use super::background::Backup;
use crate::fatal;
use crate::log_format::member_to_proto;
use crate::node::handle::Handle;
use crate::node::io::Input;
use crate::peer::Inbox;
use crate::storage::StorageError;
use crate::storage::snapshot::SnapshotReader;
use bytes::Bytes;
use oarlock_proto::internal::peer::{Envelope, ProbeReply};
use oarlock_state::NodeId;
use slog::{Logger, warn};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Puts what members say into the mailbox.
pub(super) struct NodeInbox {
    handle: Handle,
    backup: Arc<Backup>,
    logger: Logger,
    /// Index and term of the snapshot staged last.
    staged: Mutex<Option<(u64, u64)>>,
    told_removed: AtomicBool,
}

impl NodeInbox {
    pub(super) fn new(handle: Handle, backup: Arc<Backup>, logger: Logger) -> Self {
        Self { handle, backup, logger, staged: Mutex::default(), told_removed: AtomicBool::new(false) }
    }

    /// Whether a member said that this one was removed. That member has applied it, so it is so; the
    /// log's own word may never come, as nobody sends the log to a removed member.
    pub(super) fn is_told_removed(&self) -> bool {
        self.told_removed.load(Relaxed)
    }

    /// Term of the staged snapshot of this index.
    pub(super) fn staged_term(&self, index: u64) -> Option<u64> {
        let staged = *self.staged.lock().expect("no code panics while it holds this");
        staged.filter(|(staged, _)| *staged == index).map(|(_, term)| term)
    }
}

impl Inbox for NodeInbox {
    fn messages(&self, from: NodeId, envelopes: Vec<Envelope>, bytes: usize) {
        // What does not fit is counted there.
        self.handle.mailbox().put_peer(from, envelopes, bytes);
    }

    fn unreachable(&self, peer: NodeId) {
        self.handle.mailbox().put_own(Input::Unreachable(peer));
    }

    fn snapshot_sent(&self, to: NodeId, delivered: bool) {
        self.handle.mailbox().put_own(Input::SnapshotSent { to, delivered });
    }

    fn snapshot_staged(&self, index: u64, term: u64, message: Bytes) {
        *self.staged.lock().expect("no code panics while it holds this") = Some((index, term));
        self.handle.mailbox().put_own(Input::SnapshotStaged { index, message });
    }

    fn told_removed(&self, by: NodeId, reason: &str) {
        if !self.told_removed.swap(true, Relaxed) {
            warn!(self.logger, "another member refuses this one"; "by" => format!("{:016x}", by.get()),
                "reason" => reason);
        }
    }

    fn about(&self) -> ProbeReply {
        let identity = self.handle.identity();
        let members = &self.handle.status_now().members;
        ProbeReply {
            cluster_id: identity.cluster_id,
            member_id: identity.node.get(),
            members: members.iter().map(member_to_proto).collect(),
            // The transport's to say.
            heard: Vec::new(),
        }
    }

    fn snapshot(&self) -> io::Result<SnapshotReader> {
        self.backup.take().map(|(reader, _)| reader)
    }

    fn failed(&self, error: &StorageError) -> ! {
        fatal::stop(error)
    }
}
