//! The task behind a member: it joins, follows the pool, tells the program what that means for it, and
//! carries out what the program asks for.
//!
//! One task does everything, one event at a time; whatever waits for the service runs beside it and
//! comes back as [`Done`]. When the watch is cut off, by compaction or because the program was slow,
//! the pool is read anew and the difference told. When the session is lost everything is, and the task
//! joins again under a new one.

mod follow;
mod requests;

use super::assignment::{Assignment, ShardLoss, Standing};
use super::member::{Command, Ends};
use super::owned::Owned;
use crate::error::{Error, Result};
use crate::session::{ObjectWatch, Session, Told, Validity};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use oarlock_proto::v1;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Drives one member.
pub(super) struct Driver {
    session: Session,
    /// The task opened the session itself, and closes it.
    is_own: bool,
    validity: watch::Receiver<Validity>,
    /// The session's validity ran out: nothing is owned until it is confirmed again, or replaced.
    is_suspended: bool,
    /// The session is lost, and another one is being opened.
    is_opening: bool,
    /// Counts the joins and reads, so that an old one's answer is known for what it is.
    generation: u64,
    join: v1::JoinPoolRequest,
    standing: Standing,
    owned: Owned,
    watch: Option<ObjectWatch>,
    ends: Ends,
    /// Not told yet, in order.
    pending: VecDeque<Result<Assignment>>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    started: Option<oneshot::Sender<Result<()>>>,
    leaving: Option<Leaving>,
    report: Interval,
}

/// What waited for the service, and what it came to. With its generation, or the session that it was
/// asked of, where the answer would mean nothing any more.
enum Done {
    Joined(u64, Result<v1::PoolResponse>),
    Read(u64, Result<(v1::PoolInfo, u64)>),
    Watching(u64, Result<ObjectWatch>),
    Opened(Result<Session>),
    Released(u64, Bytes, oneshot::Sender<Result<()>>, Result<v1::PoolResponse>),
    Draining(Result<v1::PoolResponse>),
    Left(Result<v1::PoolResponse>),
    /// Told to whoever asked, or of no interest.
    Nothing,
}

/// The member is on its way out.
struct Leaving {
    /// It leaves then, whatever it still owns.
    deadline: Instant,
    /// The log knows that it gets nothing new.
    is_known: bool,
    /// What it still owned when it left.
    left_over: Vec<Bytes>,
    drained: Option<oneshot::Sender<Result<Vec<Bytes>>>>,
    left: Vec<oneshot::Sender<Result<()>>>,
}

/// What the task wakes up for.
enum Wake {
    Validity(bool),
    Invalid,
    Told(Option<Told>),
    Done(Done),
    Command(Option<Command>),
    Delivered,
    Unheard,
    Report,
    LeaveNow,
}

/// Why the task ends.
struct End(Option<Error>);

type Step = std::result::Result<(), End>;

impl Driver {
    /// A driver, and what the first join comes to.
    pub(super) fn new(
        session: Session,
        join: v1::JoinPoolRequest,
        owned: Owned,
        ends: Ends,
        report_every: Duration,
    ) -> (Self, oneshot::Receiver<Result<()>>) {
        let (started, start) = oneshot::channel();
        let mut report = tokio::time::interval(report_every);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut standing = Standing::new(join.pool.clone(), join.instance.clone());
        standing.begin(session.id());
        let driver = Self {
            validity: session.validity(),
            session,
            is_own: false,
            is_suspended: false,
            is_opening: false,
            generation: 0,
            join,
            standing,
            owned,
            watch: None,
            ends,
            pending: VecDeque::new(),
            work: FuturesUnordered::new(),
            started: Some(started),
            leaving: None,
            report,
        };
        (driver, start)
    }

    /// Until the member has left.
    pub(super) async fn run(mut self) {
        self.ask_join(Duration::ZERO);
        let End(error) = loop {
            let wake = self.wake().await;
            if let Err(end) = self.step(wake) {
                break end;
            }
        };
        self.finish(error).await;
    }

    async fn wake(&mut self) -> Wake {
        let has_left = self.standing.has_left();
        let Self { session, validity, ends, pending, work, watch, .. } = self;
        let until = session.valid_until();
        let has_news = !pending.is_empty();
        let deadline = self.leaving.as_ref().filter(|_| !has_left).map(|leaving| leaving.deadline);
        tokio::select! {
            biased;
            changed = validity.changed(), if !self.is_opening => Wake::Validity(changed.is_ok()),
            () = tokio::time::sleep_until(until), if !self.is_suspended => Wake::Invalid,
            is_heard = deliver(&ends.assignments, pending), if has_news => {
                if is_heard { Wake::Delivered } else { Wake::Unheard }
            }
            () = ends.assignments.closed(), if self.leaving.is_none() => Wake::Unheard,
            Some(done) = work.next(), if !work.is_empty() => Wake::Done(done),
            command = ends.commands.recv(), if self.leaving.is_none() || !ends.commands.is_closed() => Wake::Command(command),
            told = next(watch), if watch.is_some() && !has_news => Wake::Told(told),
            () = tokio::time::sleep_until(deadline.unwrap_or(until)), if deadline.is_some() => Wake::LeaveNow,
            _ = self.report.tick() => Wake::Report,
        }
    }

    fn step(&mut self, wake: Wake) -> Step {
        match wake {
            Wake::Validity(is_open) => self.validity_changed(is_open)?,
            Wake::Invalid => self.suspend(),
            Wake::Told(told) => self.told(told)?,
            Wake::Done(done) => self.done(done)?,
            Wake::Command(Some(command)) => self.command(command),
            Wake::Command(None) | Wake::Unheard => self.leave_unheard(),
            Wake::Delivered => {}
            Wake::Report => self.ask_report(),
            Wake::LeaveNow => self.ask_leave(),
        }
        self.owned.set(self.standing.owned());
        if self.leaving.as_ref().is_some_and(|leaving| leaving.is_known) && self.standing.is_idle() {
            self.ask_leave();
        }
        Ok(())
    }

    /// Tells what is left, and goes.
    async fn finish(mut self, error: Option<Error>) {
        self.tell_lost(ShardLoss::Closed);
        self.owned.set(self.standing.owned());
        if let Some(error) = error.clone() {
            if let Some(started) = self.started.take() {
                let _ = started.send(Err(error));
            } else {
                self.pending.push_back(Err(error));
            }
        }
        if self.is_own {
            // The service ends it by itself if this does not reach it.
            let _ = self.session.clone().close().await;
        }
        if let Some(leaving) = self.leaving.take() {
            let _ = leaving.drained.map(|done| done.send(error.clone().map_or(Ok(leaving.left_over), Err)));
            for done in leaving.left {
                let _ = done.send(error.clone().map_or(Ok(()), Err));
            }
        }
        while !self.pending.is_empty() && deliver(&self.ends.assignments, &mut self.pending).await {}
    }

    fn tell(&mut self, assignments: Vec<Assignment>) {
        self.pending.extend(assignments.into_iter().map(Ok));
    }

    fn tell_lost(&mut self, cause: ShardLoss) {
        let lost = self.standing.lose_all(cause);
        self.tell(lost);
    }
}

impl Leaving {
    fn at(deadline: Instant) -> Self {
        Self { deadline, is_known: false, left_over: Vec::new(), drained: None, left: Vec::new() }
    }
}

/// Tells the program the next thing; false if it does not listen. Nothing is lost if this is dropped.
async fn deliver(
    assignments: &tokio::sync::mpsc::Sender<Result<Assignment>>,
    pending: &mut VecDeque<Result<Assignment>>,
) -> bool {
    let Ok(room) = assignments.reserve().await else { return false };
    if let Some(next) = pending.pop_front() {
        room.send(next);
    }
    true
}

async fn next(watch: &mut Option<ObjectWatch>) -> Option<Told> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}
