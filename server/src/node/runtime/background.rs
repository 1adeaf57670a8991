//! What takes long and must not hold up the core: writing the state behind, taking snapshots,
//! installing them. One job after the other, so a snapshot never meets a flush.

use crate::fatal;
use crate::node::handle::Handle;
use crate::node::io::Input;
use crate::node::lifecycle::Kept;
use crate::storage::records::StateMeta;
use crate::storage::snapshot::SnapshotReader;
use crate::storage::state::FlushJob;
use crate::storage::{StorageError, StorageResult};
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, unbounded};
use oarlock_state::Revision;
use slog::{Logger, info, warn};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Something to do in the background.
pub(super) enum Job {
    /// Write a frozen overlay; `Flushed` follows.
    Flush(FlushJob),
    /// Take a snapshot of the state on disk; `Checkpointed` follows.
    Checkpoint,
    /// Put a received snapshot in the place of the state; `Installed` follows.
    Install {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// State and log agree after an installation: what was replaced may go.
    InstallDone,
    /// Take a snapshot for an operator.
    Backup(Sender<StorageResult<(StateMeta, Revision)>>),
}

/// Gives work to the background thread. The core has at most one job of each kind under way, and
/// operators' snapshots are few, so the queue needs no bound of its own.
#[derive(Clone)]
pub(super) struct Background {
    jobs: Sender<Job>,
}

/// Does the work.
pub(super) struct Worker {
    jobs: Receiver<Job>,
    handle: Handle,
    kept: Arc<Kept>,
    logger: Logger,
}

impl Background {
    pub(super) fn new(handle: Handle, kept: Arc<Kept>, logger: Logger) -> (Self, Worker) {
        let (sender, jobs) = unbounded();
        (Self { jobs: sender }, Worker { jobs, handle, kept, logger })
    }

    pub(super) fn give(&self, job: Job) {
        // Without a worker the node has ended, and with it the job's purpose.
        let _ = self.jobs.send(job);
    }
}

impl Worker {
    /// Works until nobody can give work any more.
    pub(super) fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            if let Err(error) = self.perform(job) {
                fatal::stop(&error);
            }
        }
    }

    fn perform(&self, job: Job) -> StorageResult<()> {
        match job {
            Job::Flush(job) => {
                let done = job.run()?;
                self.handle.mailbox().put_own(Input::Flushed(done));
            }
            Job::Checkpoint => {
                let input = self.checkpoint();
                self.handle.mailbox().put_own(input);
            }
            Job::Install { index, term } => {
                info!(self.logger, "installing a snapshot"; "index" => index);
                self.kept.install(index, term)?;
                let base = self.kept.base.clone();
                self.handle.mailbox().put_own(Input::Installed { index, base });
            }
            Job::InstallDone => self.kept.snapshots.install_done()?,
            Job::Backup(reply) => {
                // Whoever asked may be gone.
                let _ = reply.send(self.kept.checkpoint());
            }
        }
        Ok(())
    }

    /// A snapshot that cannot be taken (a full disk, say) harms only whoever waits for it.
    fn checkpoint(&self) -> Input {
        let begun = Instant::now();
        match self.kept.checkpoint() {
            Ok((meta, _)) => {
                info!(self.logger, "took a snapshot"; "index" => meta.index,
                    "ms" => begun.elapsed().as_millis() as u64);
                Input::Checkpointed { index: meta.index, term: meta.term, conf_state: meta.conf_state.into() }
            }
            Err(error) => {
                warn!(self.logger, "cannot take a snapshot"; "error" => %error);
                Input::Checkpointed { index: 0, term: 0, conf_state: Bytes::new() }
            }
        }
    }
}

/// Snapshots for operators.
pub struct Backup {
    kept: Arc<Kept>,
    background: Background,
}

impl Backup {
    pub(super) fn new(kept: Arc<Kept>, background: Background) -> Self {
        Self { kept, background }
    }

    /// Takes a snapshot of the state as it is on disk. Blocks.
    ///
    /// # Errors
    /// Of the disk, or that the node has ended.
    pub fn take(&self) -> io::Result<(SnapshotReader, Revision)> {
        let (sender, receiver) = crossbeam::channel::bounded(1);
        self.background.give(Job::Backup(sender));
        let taken = receiver.recv().map_err(|_| io::Error::other("the member is stopping"))?;
        let (meta, revision) = taken.map_err(|error: StorageError| io::Error::other(error.to_string()))?;
        let reader = self.kept.snapshots.reader(meta.index);
        Ok((reader.map_err(|error| io::Error::other(error.to_string()))?, revision))
    }
}
