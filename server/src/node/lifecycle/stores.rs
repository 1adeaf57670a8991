//! The log, the state and the snapshots of one member.

use super::{Birth, Seat, StartError, SwapBase};
use crate::config::Config;
use crate::consensus::{self, Replica, SnapshotMeta};
use crate::fatal;
use crate::node::founding::Founding;
use crate::observe::metrics::Metrics;
use crate::observe::timed_disk::TimedDisk;
use crate::storage::data_dir::DataDir;
use crate::storage::disk::RealDisk;
use crate::storage::log::{LogOptions, SegmentedLog};
use crate::storage::records::StateMeta;
use crate::storage::rocks::{RocksBase, RocksOptions};
use crate::storage::snapshot::SnapshotStore;
use crate::storage::state::{StateOptions, StateStore};
use crate::storage::{BaseStore, LogStore, StorageError, StorageResult};
use oarlock_state::{Machine, NodeId, Revision};
use slog::{Logger, info, warn};
use std::sync::Arc;

/// Bytes of recent log entries kept in memory for members that are a little behind.
const LOG_WINDOW_BYTES: usize = 8 << 20;
/// Records of the overlay from which on it is written behind; small records cost memory each.
const OVERLAY_RECORDS: usize = 200_000;

/// What a member keeps on disk, open.
pub struct Stores {
    /// Locked while it lives.
    pub dir: DataDir,
    /// The Raft log.
    pub log: Box<dyn LogStore>,
    /// The state on disk.
    pub base: Arc<SwapBase>,
    /// Snapshots taken and received.
    pub snapshots: Arc<SnapshotStore>,
    /// How the state's overlay works.
    pub state_options: StateOptions,
}

impl Stores {
    /// Opens the member's directory, setting it up if it is empty.
    ///
    /// # Errors
    /// Everything that makes the directory unusable.
    pub fn open(
        config: &Config,
        seat: &Seat,
        metrics: &Metrics,
        logger: &Logger,
    ) -> Result<Self, StartError> {
        let mut dir = DataDir::open(&config.data_dir, &seat.identity)?;
        let rocks = rocks_options(config);
        let (log_path, state_path) = (dir.log(), dir.state());
        let segment_bytes = config.bounds.log_segment_bytes;
        let options = LogOptions { segment_bytes, window_bytes: LOG_WINDOW_BYTES, salt: rand::random() };
        let disk = TimedDisk::new(RealDisk, metrics.sync_seconds.clone());
        let snapshots = SnapshotStore::open(&dir.snapshots(), &state_path, seat.identity.cluster_id)?;
        let interrupted = if dir.is_new() { None } else { snapshots.recover_install()? };
        let (mut log, torn) = SegmentedLog::open(Box::new(disk), &log_path, options)?;
        if let Some(torn) = torn {
            info!(logger, "cut off the log's unfinished end"; "tail" => format!("{torn:?}"));
        }
        let state_options = state_options(config);
        let store = if dir.is_new() {
            RocksBase::create(&state_path, &rocks)?
        } else {
            RocksBase::open(&state_path, &rocks)?
        };
        let base = Arc::new(SwapBase::new(store, &state_path, rocks));
        if let Some(meta) = interrupted {
            warn!(logger, "completing the installation of a snapshot"; "index" => meta.index);
            consensus::finish_install(&mut log, &snapshot_meta(&meta))?;
            snapshots.install_done()?;
        }
        if dir.is_new() {
            if let Birth::Founder(founding) = &seat.birth {
                found(founding, base.clone(), &mut log, state_options)?;
            }
            seat.remember(&config.data_dir)?;
            dir.set_up()?;
            info!(logger, "data directory set up"; "path" => config.data_dir.display().to_string());
        }
        Ok(Self { dir, log: Box::new(log), base, snapshots: Arc::new(snapshots), state_options })
    }

    /// Consensus and state, continued from what is on disk; and the rest of the stores.
    ///
    /// # Errors
    /// When log and state do not fit together.
    pub fn replica(
        self,
        config: &Config,
        boot: u64,
        logger: &Logger,
    ) -> Result<(Replica, StateStore, Kept), StartError> {
        let base: Arc<dyn BaseStore> = self.base.clone();
        let state = StateStore::open(base, self.state_options)?;
        let machine = Machine::load(&state)?;
        let node = NodeId(self.dir.marker().member_id);
        let options = consensus::Options {
            election_ticks: config.timing.election_ticks(),
            heartbeat_ticks: 1,
            seed: rand::random(),
            boot,
            applied: state.applied(),
            conf_state: machine.conf_state().clone(),
            catch_up_entries: config.bounds.catch_up_entries,
            ..consensus::Options::of(node)
        };
        let replica = Replica::new(options, self.log, logger.clone())?;
        let kept =
            Kept { base: self.base, snapshots: self.snapshots, options: self.state_options, _dir: self.dir };
        Ok((replica, state, kept))
    }
}

/// What the node's background work needs of the stores.
pub struct Kept {
    /// The state on disk.
    pub base: Arc<SwapBase>,
    /// Snapshots taken and received.
    pub snapshots: Arc<SnapshotStore>,
    options: StateOptions,
    /// Holds the directory's lock.
    _dir: DataDir,
}

impl Kept {
    /// How the state's overlay works.
    pub fn state_options(&self) -> StateOptions {
        self.options
    }

    /// Takes a snapshot of the state as it is on disk, and says which, and of what revision.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn checkpoint(&self) -> StorageResult<(StateMeta, Revision)> {
        let base: Arc<dyn BaseStore> = self.base.clone();
        let store = StateStore::open(base, StateOptions { cache_bytes: 0, ..self.options })?;
        let machine = Machine::load(&store).map_err(|error| StorageError::State(error.to_string()))?;
        let meta = StateMeta {
            index: machine.applied().get(),
            term: machine.applied_term().get(),
            conf_state: machine.conf_state().to_vec(),
            cluster_id: machine.cluster_id(),
        };
        self.snapshots.create(&*self.base, &meta)?;
        Ok((meta, machine.revision()))
    }

    /// Puts the received snapshot in the place of the state.
    ///
    /// # Errors
    /// Those of the stores. The node must stop; its next start completes the exchange.
    pub fn install(&self, index: u64, term: u64) -> StorageResult<()> {
        self.base.exchange(|| self.snapshots.install(index, term)).map(drop)
    }
}

/// The first state of a new cluster, and a log that begins after it.
fn found(
    founding: &Founding,
    base: Arc<SwapBase>,
    log: &mut SegmentedLog,
    options: StateOptions,
) -> StorageResult<()> {
    let records = Machine::bootstrap(&founding.members, founding.conf_state.clone(), founding.cluster_id);
    let mut state = StateStore::open(base, options)?;
    state.write(records, 1);
    if let Some(job) = state.freeze_now() {
        let done = job.run()?;
        state.flushed(done);
    }
    let meta = SnapshotMeta { index: 1, term: 1, conf_state: founding.conf_state.clone() };
    consensus::finish_install(log, &meta)
}

pub(super) fn snapshot_meta(meta: &StateMeta) -> SnapshotMeta {
    SnapshotMeta { index: meta.index, term: meta.term, conf_state: meta.conf_state.clone().into() }
}

fn rocks_options(config: &Config) -> RocksOptions {
    RocksOptions { cache_bytes: config.bounds.cache_bytes / 2, ..RocksOptions::default() }
}

fn state_options(config: &Config) -> StateOptions {
    StateOptions {
        freeze_bytes: config.bounds.overlay_bytes,
        freeze_records: OVERLAY_RECORDS,
        cache_bytes: config.bounds.cache_bytes / 2,
        on_failure: fatal::on_storage_failure,
    }
}
