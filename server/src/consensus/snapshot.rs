//! Snapshots as consensus sees them: an index, a term and a configuration. Their contents travel
//! apart, as files.

use super::{Replica, conf};
use bytes::Bytes;
use oarlock_state::NodeId;
use raft::SnapshotStatus;
use raft::eraftpb::Snapshot;

/// What consensus must know of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// Last entry whose effects it holds.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Configuration at that entry, encoded by [`conf`].
    pub conf_state: Bytes,
}

/// A snapshot to be sent: stream the checkpoint's files, then deliver the message with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSnapshot {
    /// To whom.
    pub to: NodeId,
    /// Index of the checkpoint.
    pub index: u64,
    /// The Raft message; [`Replica::step_staged`] takes it on the other side.
    pub message: Bytes,
}

impl Replica {
    /// Tells of the newest checkpoint that may be sent. Followers that need one get it with the
    /// next heartbeat. An older one than before, or one with an unreadable configuration, is
    /// passed over.
    pub fn offer_snapshot(&mut self, meta: SnapshotMeta) {
        match snapshot_of(&meta) {
            Ok(snapshot) => self.raw.mut_store().offer(snapshot),
            Err(error) => {
                slog::error!(self.logger, "checkpoint cannot be offered"; "index" => meta.index, "error" => %error);
            }
        }
    }

    /// Tells what became of a snapshot. Must be called for each [`SendSnapshot`], at the latest
    /// after a timeout: until then its receiver gets no entries.
    pub fn report_snapshot(&mut self, to: NodeId, delivered: bool) {
        self.assert_idle();
        let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(to.get(), status);
        self.pin_timeout();
    }
}

pub(super) fn meta_of(snapshot: &Snapshot) -> SnapshotMeta {
    let meta = snapshot.get_metadata();
    SnapshotMeta { index: meta.index, term: meta.term, conf_state: conf::encode(meta.get_conf_state()) }
}

fn snapshot_of(meta: &SnapshotMeta) -> Result<Snapshot, conf::BadConfiguration> {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = meta.index;
    metadata.term = meta.term;
    metadata.set_conf_state(conf::decode(&meta.conf_state)?);
    Ok(snapshot)
}
