//! What the leader does: wait for the next slot, mark it, run the job.

use super::plan::plan;
use super::record::{self, LAST, RUNS, RunRecord, RunState};
use super::{CronError, CronTask};
use crate::recipes::place::patiently;
use crate::recipes::singleton::Term;
use crate::txn::{Txn, compare, op};
use crate::types::{Token, between};
use jiff::Timestamp;
use std::future::Future;
use std::time::Duration;

/// The clock is looked at so often at least, as it may be set.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A run of a job.
#[derive(Clone)]
pub struct Run {
    slot: Timestamp,
    attempt: u32,
    term: Term,
}

impl Run {
    /// When it was due.
    pub fn slot(&self) -> Timestamp {
        self.slot
    }

    /// Which attempt it is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The leader's token: a write guarded by it is refused once another process leads.
    pub fn guard(&self) -> Token {
        self.term.guard()
    }

    /// The lead that it runs under.
    pub fn term(&self) -> &Term {
        &self.term
    }
}

/// The last slot that is past, and the revision at which it was written.
#[derive(Clone, Copy)]
struct Last {
    slot: Timestamp,
    revision: u64,
}

pub(super) struct Leader {
    task: CronTask,
    term: Term,
}

impl Leader {
    pub(super) fn new(task: CronTask, term: Term) -> Self {
        Self { task, term }
    }

    /// Runs the job at each slot until it is asked to end.
    pub(super) async fn run<F, Fut>(&self, job: F) -> Result<(), CronError>
    where
        F: Fn(Run) -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        self.resume(&job).await?;
        let mut last = self.last().await?;
        loop {
            let CronTask { schedule, missed, .. } = &self.task;
            let plan = plan(schedule, last.slot, Timestamp::now(), *missed);
            for slot in &plan.run {
                last = self.start(last, *slot, &job).await?;
                if self.is_asked_to_end() {
                    return Ok(());
                }
            }
            if let Some(past) = plan.past.filter(|past| *past > last.slot) {
                last = self.mark(last, past, |txn| txn).await?;
            }
            tokio::select! {
                () = self.term.stopping() => return Ok(()),
                () = tokio::time::sleep(self.until_next(last.slot)) => {}
            }
        }
    }

    fn is_asked_to_end(&self) -> bool {
        use futures::FutureExt;
        self.term.stopping().now_or_never().is_some()
    }

    /// Time until the next slot, or until the clock is to be looked at.
    fn until_next(&self, last: Timestamp) -> Duration {
        let now = Timestamp::now();
        let next = self.task.schedule.next(last.max(now));
        let left = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
        left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY))
    }

    /// Where the leader before left off; now, for the first one.
    async fn last(&self) -> Result<Last, CronError> {
        let key = self.task.place.key(LAST);
        let found = patiently(|| async { self.task.client.get(key.clone()).await }).await?;
        match found {
            Some(record) => {
                let bad = |error: jiff::Error| CronError::Unreadable { key, reason: error.to_string() };
                let slot = record.text().parse().map_err(bad)?;
                Ok(Last { slot, revision: record.mod_revision })
            }
            None => {
                let now = Timestamp::now();
                self.mark(Last { slot: now, revision: 0 }, now, |txn| txn).await
            }
        }
    }

    /// Takes note that everything up to `slot` is past, with what else belongs to that, under the
    /// leader's token: nobody else can have done it.
    async fn mark(
        &self,
        last: Last,
        slot: Timestamp,
        more: impl FnOnce(Txn) -> Txn,
    ) -> Result<Last, CronError> {
        let key = self.task.place.key(LAST);
        let txn = self.term.session().txn().guard(self.term.guard());
        let txn = txn.when(compare::mod_revision(key.clone()).eq(last.revision));
        let outcome = more(txn.then(op::put(key.clone(), slot.to_string()))).await?;
        if !outcome.succeeded {
            let reason = "somebody changed it by hand".to_owned();
            return Err(CronError::Unreadable { key, reason });
        }
        Ok(Last { slot, revision: outcome.revision })
    }

    /// Marks a slot as started and runs the job.
    async fn start<F, Fut>(&self, last: Last, slot: Timestamp, job: &F) -> Result<Last, CronError>
    where
        F: Fn(Run) -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        let run = self.begun(slot, 1);
        let started = op::put(run.key(&self.task.place), run.bytes());
        let last = self.mark(last, slot, |txn| txn.then(started)).await?;
        self.finish(run, job).await?;
        Ok(last)
    }

    /// What becomes of runs that the leaders before began and did not end.
    async fn resume<F, Fut>(&self, job: &F) -> Result<(), CronError>
    where
        F: Fn(Run) -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        let runs = record::all(&self.task.client, &self.task.place).await?;
        for run in runs.into_iter().filter(|run| run.state == RunState::Started) {
            if run.attempt < self.task.attempts {
                let again = self.begun(run.slot, run.attempt + 1);
                self.write(&again).await?;
                self.finish(again, job).await?;
            } else {
                self.write(&RunRecord { state: RunState::Interrupted, ..run }).await?;
            }
            if self.is_asked_to_end() {
                break;
            }
        }
        Ok(())
    }

    fn begun(&self, slot: Timestamp, attempt: u32) -> RunRecord {
        let started_ms = Timestamp::now().as_millisecond();
        RunRecord { slot, by: self.task.value.clone(), attempt, started_ms, state: RunState::Started }
    }

    /// Runs the job of a run that is marked as started, and records how it ended.
    async fn finish<F, Fut>(&self, run: RunRecord, job: &F) -> Result<(), CronError>
    where
        F: Fn(Run) -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        let outcome = job(Run { slot: run.slot, attempt: run.attempt, term: self.term.clone() }).await;
        let ended_ms = Timestamp::now().as_millisecond();
        let state = match outcome {
            Ok(()) => RunState::Done { ended_ms },
            Err(error) => RunState::Failed { ended_ms, error },
        };
        self.write(&RunRecord { state, ..run }).await?;
        self.prune().await
    }

    async fn write(&self, run: &RunRecord) -> Result<(), CronError> {
        let put = self.term.session().put(run.key(&self.task.place), run.bytes());
        put.guard(self.term.guard()).await?;
        Ok(())
    }

    /// Removes the oldest records beyond what is kept.
    async fn prune(&self) -> Result<(), CronError> {
        let page = self.task.client.range(self.task.place.range(RUNS)).keys_only().all().await?;
        let Some(surplus) = page.records.len().checked_sub(self.task.keep).filter(|surplus| *surplus > 0)
        else {
            return Ok(());
        };
        let (first, end) = (&page.records[0].key, &page.records[surplus].key);
        let old = between(first.as_ref()..end.as_ref());
        self.term.session().delete(old).guard(self.term.guard()).await?;
        Ok(())
    }
}
