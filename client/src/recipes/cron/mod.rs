//! A task that runs at certain times, each time in one process.
//!
//! # Model
//! Every process of a service starts the same [`CronTask`]. One of them leads (see
//! [`singleton`](super::singleton)) and runs the job at each *slot* of the [`Schedule`]. A slot is
//! marked in the same transaction that says that its run has started, guarded by the leader's token;
//! then the job runs. Runs never overlap: slots that pass during a run are missed ones.
//!
//! # Keys
//! * `{path}/last`: the last slot that is past.
//! * `{path}/runs/{slot}`: what became of each run, in JSON; the last [`keep`](CronTask::keep) of them.
//! * The election has the path as its name.
//!
//! # Guarantees
//! A slot is started at most once, by whatever processes, over every failover, pause and clock that
//! goes back; once more for each attempt that [`attempts`](CronTask::attempts) allows after its
//! process died. The job's own writes can be guarded with [`Run::guard`].
//!
//! # Failure model
//! Slots that pass while no process leads are missed; [`Missed`] says what becomes of them. A run whose
//! process died is recorded as *interrupted*, or begun again. A job that fails is recorded as *failed*
//! and not repeated before its next slot. Time is that of the leader's clock.
//!
//! ```no_run
//! use oarlock_client::Client;
//! use oarlock_client::recipes::cron::{CronTask, Missed, Schedule};
//!
//! # async fn example(client: Client) -> Result<(), oarlock_client::recipes::cron::CronError> {
//! let nightly = Schedule::new("30 3 * * *")?.zone("Europe/Berlin")?;
//! let running = CronTask::new(&client, "/cron/report", nightly)
//!     .missed(Missed::RunLatest)
//!     .attempts(2)
//!     .value("10.0.0.7")
//!     .start(|run| async move {
//!         println!("the report of {}", run.slot());
//!         Ok::<(), std::io::Error>(())
//!     });
//! running.stop().await;
//! # Ok(())
//! # }
//! ```

mod lead;
mod plan;
mod record;
mod schedule;

pub use lead::Run;
pub use plan::Missed;
pub use record::{RunRecord, RunState};
pub use schedule::Schedule;

use super::place::Place;
use super::singleton::{Running, Singleton};
use crate::client::Client;
use crate::error::Error;
use jiff::Timestamp;
use lead::Leader;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error as ThisError;

/// Records of runs that are kept unless said otherwise.
const KEEP: usize = 100;

/// Why a scheduled task cannot run.
#[derive(Clone, Debug, ThisError)]
pub enum CronError {
    /// The expression makes no sense.
    #[error("the schedule {expression:?} makes no sense: {reason}")]
    Schedule {
        /// The expression.
        expression: String,
        /// Why.
        reason: String,
    },
    /// The time zone is not known.
    #[error("the time zone {zone:?} is not known on this machine: {reason}")]
    Zone {
        /// Its name.
        zone: String,
        /// Why.
        reason: String,
    },
    /// What is stored is not what this task stores.
    #[error("{key} cannot be read: {reason}. Remove it to begin anew")]
    Unreadable {
        /// Where.
        key: String,
        /// Why.
        reason: String,
    },
    /// The cluster, or the way to it.
    #[error("{0}")]
    Client(#[from] Error),
}

/// A task that is about to be scheduled.
#[derive(Clone)]
pub struct CronTask {
    client: Client,
    place: Place,
    schedule: Schedule,
    singleton: Singleton,
    value: String,
    missed: Missed,
    attempts: u32,
    keep: usize,
}

impl CronTask {
    /// The task at a path. Slots count from when it is first started anywhere.
    pub fn new(client: &Client, path: impl Into<String>, schedule: Schedule) -> Self {
        let place = Place::new(path);
        let singleton = Singleton::new(client, place.path().to_owned());
        let missed = Missed::Skip { tolerance: Duration::from_secs(60) };
        let (client, value) = (client.clone(), String::new());
        Self { client, place, schedule, singleton, value, missed, attempts: 1, keep: KEEP }
    }

    /// What others see of this process: its name or address. It is in the records of its runs.
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self.singleton = self.singleton.value(self.value.clone());
        self
    }

    /// What becomes of missed slots. Default: those that are later than a minute are skipped.
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// How often a run may be started whose process died in it; at least 1. Default: 1, at most once.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// How many records of runs are kept; at least 1. Default: 100.
    pub fn keep(mut self, records: usize) -> Self {
        self.keep = records.max(1);
        self
    }

    /// The session's timeout; see [`Singleton::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.singleton = self.singleton.timeout(timeout);
        self
    }

    /// How long a job may take to end when the task is stopped; see [`Singleton::grace`].
    pub fn grace(mut self, grace: Duration) -> Self {
        self.singleton = self.singleton.grace(grace);
        self
    }

    /// Starts it: the job runs whenever a slot is due and this process leads.
    pub fn start<F, Fut, E>(self, job: F) -> Running
    where
        F: Fn(Run) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let job = Arc::new(job);
        let singleton = self.singleton.clone();
        singleton.start(move |term| {
            let leader = Leader::new(self.clone(), term);
            let job = job.clone();
            async move {
                leader
                    .run(|run| {
                        let work = job(run);
                        async move { work.await.map_err(|error| error.to_string()) }
                    })
                    .await
            }
        })
    }

    /// Records of the last runs, oldest first.
    ///
    /// # Errors
    /// [`CronError::Unreadable`], and those of the cluster.
    pub async fn history(&self) -> Result<Vec<RunRecord>, CronError> {
        record::all(&self.client, &self.place).await
    }

    /// When it is due next.
    pub fn next(&self) -> Option<Timestamp> {
        self.schedule.next(Timestamp::now())
    }
}
