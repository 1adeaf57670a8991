//! What the transport tells the node.

use crate::storage::snapshot::SnapshotReader;
use bytes::Bytes;
use oarlock_proto::internal::peer::{Envelope, ProbeReply};
use oarlock_state::NodeId;
use std::io;

/// The node, as the transport sees it. Called on the transport's tasks; nothing here may block.
pub trait Inbox: Send + Sync + 'static {
    /// Messages of one member, in order, with their bytes together. May drop them.
    fn messages(&self, from: NodeId, envelopes: Vec<Envelope>, bytes: usize);
    /// Messages to this member are being lost.
    fn unreachable(&self, peer: NodeId);
    /// A snapshot was handed to its receiver's consensus, or was not.
    fn snapshot_sent(&self, to: NodeId, delivered: bool);
    /// A snapshot of this index and term was received whole and verified; `message` is to be stepped
    /// now.
    fn snapshot_staged(&self, index: u64, term: u64, message: Bytes);
    /// Another member, which has applied it, says that this one was removed from the cluster.
    fn told_removed(&self, by: NodeId, reason: &str);
    /// What a probing stranger may know.
    fn about(&self) -> ProbeReply;
    /// Takes a snapshot that holds everything applied when it was asked for. The exception: blocks.
    ///
    /// # Errors
    /// Of the disk, or that the node is stopping.
    fn snapshot(&self) -> io::Result<SnapshotReader>;
    /// The disk failed. The node stops; this does not return.
    fn failed(&self, error: &crate::storage::StorageError) -> !;
}
