//! What takes long and must not hold up the core: writing the state behind, taking snapshots,
//! installing them. One job after the other, so a snapshot never meets a flush.

use crate::fatal;
use crate::node::handle::Handle;
use crate::node::io::Input;
use crate::node::lifecycle::Kept;
use crate::node::request::{Request, Response};
use crate::storage::StorageResult;
use crate::storage::records::StateMeta;
use crate::storage::snapshot::SnapshotReader;
use crate::storage::state::FlushJob;
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use oarlock_state::Caller;
use oarlock_state::Revision;
use prometheus_client::metrics::histogram::Histogram;
use slog::{Logger, info, warn};
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long an operator's snapshot may take to begin.
const BACKUP_TIME: Duration = Duration::from_secs(60);

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
    /// Nothing any more.
    End,
}

/// Gives work to the background thread. The core has at most one job of each kind under way, and
/// operators' snapshots are few, so the queue needs no bound of its own.
#[derive(Clone)]
pub(super) struct Background {
    jobs: Sender<Job>,
    waiting: Arc<Mutex<Vec<Sender<Taken>>>>,
}

/// The snapshot that was taken, and of what revision; or why none was.
type Taken = Result<(StateMeta, Revision), String>;

/// Jobs that wait. The core asks for one flush, checkpoint or install at a time and for one snapshot
/// per peer, so there are never nearly as many; if there were, the node would wait here.
const JOBS_MAX: usize = 1024;

/// Does the work.
pub(super) struct Worker {
    jobs: Receiver<Job>,
    waiting: Arc<Mutex<Vec<Sender<Taken>>>>,
    handle: Handle,
    kept: Arc<Kept>,
    flush_seconds: Histogram,
    logger: Logger,
}

impl Background {
    pub(super) fn new(
        handle: Handle,
        kept: Arc<Kept>,
        flush_seconds: Histogram,
        logger: Logger,
    ) -> (Self, Worker) {
        let (sender, jobs) = bounded(JOBS_MAX);
        let waiting = Arc::<Mutex<Vec<_>>>::default();
        (
            Self { jobs: sender, waiting: waiting.clone() },
            Worker { jobs, waiting, handle, kept, flush_seconds, logger },
        )
    }

    pub(super) fn give(&self, job: Job) {
        // Without a worker the node has ended, and with it the job's purpose.
        let _ = self.jobs.send(job);
    }
}

impl Worker {
    /// Works until it is told to end.
    pub(super) fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            match self.perform(job) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return,
                Err(error) => fatal::stop(&error),
            }
        }
    }

    fn perform(&self, job: Job) -> StorageResult<ControlFlow<()>> {
        match job {
            Job::End => return Ok(ControlFlow::Break(())),
            Job::Flush(job) => {
                let begun = Instant::now();
                let done = job.run()?;
                self.flush_seconds.observe(begun.elapsed().as_secs_f64());
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
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A snapshot that cannot be taken (a full disk, say) harms only whoever waits for it.
    fn checkpoint(&self) -> Input {
        let begun = Instant::now();
        let taken = self.kept.checkpoint();
        for waiting in lock(&self.waiting).drain(..) {
            let told = taken.as_ref().map(Clone::clone).map_err(ToString::to_string);
            // Whoever waited may be gone.
            let _ = waiting.send(told);
        }
        match taken {
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
    handle: Handle,
    kept: Arc<Kept>,
    background: Background,
}

impl Backup {
    pub(super) fn new(handle: Handle, kept: Arc<Kept>, background: Background) -> Self {
        Self { handle, kept, background }
    }

    /// Takes a snapshot that holds everything applied when it was asked for. Blocks.
    ///
    /// # Errors
    /// Of the disk, or that the node is stopping.
    pub fn take(&self) -> io::Result<(SnapshotReader, Revision)> {
        let applied = match futures::executor::block_on(self.handle.call_as(&Caller::Server, Request::Status))
        {
            Ok(Response::Status(status)) => status.applied,
            Ok(_) => return Err(io::Error::other("the member does not tell its status")),
            Err(refusal) => return Err(io::Error::other(refusal.to_string())),
        };
        let begun = Instant::now();
        loop {
            let (meta, revision) = self.take_next()?;
            // One that somebody else asked for earlier may lack what was applied since.
            if meta.index >= applied {
                let reader = self.kept.snapshots.reader(meta.index);
                return Ok((reader.map_err(|error| io::Error::other(error.to_string()))?, revision));
            }
            if begun.elapsed() > BACKUP_TIME {
                return Err(io::Error::other("the state was not flushed in time; try again"));
            }
        }
    }

    fn take_next(&self) -> io::Result<(StateMeta, Revision)> {
        let (sender, receiver) = bounded(1);
        lock(&self.background.waiting).push(sender);
        self.handle.mailbox().put_own(Input::Checkpoint);
        let taken = receiver.recv_timeout(BACKUP_TIME);
        let taken = taken
            .map_err(|_| io::Error::other("no snapshot was taken in time, or the member is stopping"))?;
        taken.map_err(io::Error::other)
    }
}

fn lock<T>(waiting: &Mutex<T>) -> MutexGuard<'_, T> {
    waiting.lock().expect("no code panics while it holds this")
}
