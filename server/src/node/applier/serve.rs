//! Everything but entries: messages, reads, keep-alives, watches.

use super::waiters::Question;
use super::{Applier, Sinks, StateSource};
use crate::node::exchange::{KeepAliveBatch, Reign, ToApplier, ToDriver};
use crate::node::io::{Now, Output};
use crate::node::request::{NodeStatus, Origin, Refusal, Response, Result, Role, WatchFrame, WatchSpec};
use crate::session::acks::Pending;
use crate::storage::StorageResult;
use oarlock_state::auth::Need;
use oarlock_state::command::Answer;
use oarlock_state::{Caller, Query};

impl Applier {
    pub(super) fn take(&mut self, now: Now, message: ToApplier, sinks: &mut Sinks<'_>) -> StorageResult<()> {
        match message {
            ToApplier::Tick(now) => {
                self.ticked = true;
                self.refuse_late_reads(now, sinks);
                self.hub.tick(now.mono_us, &mut self.frames);
            }
            ToApplier::Wait { count, origin } => self.waiters.add(count, origin),
            ToApplier::GiveUp { count, refusal } => {
                if let Some(origin) = self.waiters.take(count) {
                    self.answer(origin, Err(refusal), sinks);
                }
            }
            ToApplier::Reply { origin, result } => self.answer(origin, result, sinks),
            ToApplier::Read { index, origin, caller, query, limit } => {
                self.reads.add(index, origin, Question::State(caller, query), limit);
            }
            ToApplier::ReadMembers { index, origin, added, limit } => {
                self.reads.add(index, origin, Question::Members { added }, limit);
            }
            ToApplier::Status { origin, status } => {
                let status = Box::new(self.complete(*status));
                self.answer(origin, Ok(Response::Status(status)), sinks);
            }
            ToApplier::Administer { origin, caller, admin } => {
                match self.machine.permits(&self.store, &caller, Need::Administration) {
                    Ok(()) => sinks.driver.push(ToDriver::Administer { origin, admin }),
                    Err(rejection) => self.answer(origin, Err(rejection.into()), sinks),
                }
            }
            ToApplier::Watch { origin, caller, spec } => self.watch(origin, caller, spec, sinks),
            ToApplier::CancelWatch(origin) => self.cancel_watch(origin, sinks),
            ToApplier::WatchProgress(origin) => {
                self.hub.tell_progress(origin.conn, &mut self.frames);
                self.answer(origin, Ok(Response::Done), sinks);
            }
            ToApplier::ConnProgress(origin) => {
                self.hub.tell_conn_progress(origin, &mut self.frames);
                self.answer(origin, Ok(Response::Done), sinks);
            }
            ToApplier::WatchCredit { conn, bytes } => self.hub.credit(conn, bytes),
            ToApplier::Disconnected(conn) => {
                self.watchers.remove(&conn);
                self.hub.disconnected(conn);
            }
            ToApplier::Committed(entries) => self.backlog.extend(entries),
            ToApplier::Reign(reign) => self.reign_changed(now, reign, sinks),
            ToApplier::KeepAlives(batch) => self.saw_alive(now, batch),
            ToApplier::Confirmed { round, index, began_us } => {
                self.tracker.confirmed(round, index, began_us);
            }
            ToApplier::Install(index) => {
                self.installing = true;
                self.backlog.clear();
                sinks.outputs.push(Output::Install { index });
            }
            ToApplier::Installed { index, base } => self.installed(index, base, sinks)?,
            ToApplier::Flushed(done) => self.flushed(done),
            ToApplier::Checkpoint => self.checkpoint_wanted = true,
        }
        Ok(())
    }

    fn saw_alive(&mut self, now: Now, batch: KeepAliveBatch) {
        for session in batch.sessions {
            self.tracker.keep_alive(Pending {
                from: batch.from,
                batch: batch.batch,
                session,
                look: batch.look,
                arrived_us: now.mono_us,
                round: batch.round,
            });
        }
    }

    /// A flush that was begun before the state was replaced is of no interest any more.
    fn flushed(&mut self, done: crate::storage::state::FlushDone) {
        if self.store.is_flushing() {
            self.store.flushed(done);
        }
    }

    fn answer(&mut self, origin: Origin, result: Result, sinks: &mut Sinks<'_>) {
        self.flush_frames(sinks.outputs);
        sinks.outputs.push(Output::Reply { origin, result });
    }

    fn reign_changed(&mut self, now: Now, reign: Reign, sinks: &mut Sinks<'_>) {
        let was_leader = self.leads() && self.reign.term == reign.term;
        self.reign = reign;
        sinks.outputs.push(Output::Role { role: reign.role, term: reign.term, leader: reign.leader });
        if reign.role == Role::Leader {
            if !was_leader {
                self.tracker.begin_reign(reign.term, now.mono_us);
            }
            return;
        }
        for (to, batch) in self.tracker.end_reign(reign.leader.get() != 0) {
            sinks.driver.push(ToDriver::Alive { to, batch, answers: Vec::new(), refused: true });
        }
    }

    /// Answers the reads whose index is applied.
    pub(super) fn serve_reads(&mut self, sinks: &mut Sinks<'_>) {
        if self.installing {
            return;
        }
        for (origin, question) in self.reads.due(self.machine.applied().get()) {
            let result = match question {
                Question::State(caller, query) => self.read(&caller, &query),
                Question::Members { added } => Ok(Response::Members { added, members: self.members() }),
            };
            self.answer(origin, result, sinks);
        }
    }

    /// Refuses the reads whose index did not come in time: this node may be cut off from the leader.
    fn refuse_late_reads(&mut self, now: Now, sinks: &mut Sinks<'_>) {
        for (origin, refusal) in self.reads.expire(now.mono_us) {
            self.answer(origin, Err(refusal), sinks);
        }
    }

    fn read(&self, caller: &Caller, query: &Query) -> Result {
        let answer: Answer = self.machine.read_as(&self.store, caller, query)?;
        let (revision, index) = (self.machine.revision(), self.machine.applied().get());
        Ok(Response::Answer { answer, revision, index })
    }

    /// Answers keep-alives, and has touches and, when time passed, expiries proposed.
    pub(super) fn serve_sessions(&mut self, now: Now, sinks: &mut Sinks<'_>) {
        let applied = self.machine.applied().get();
        for answers in self.tracker.settle(now.mono_us, applied) {
            let (to, batch) = (answers.to, answers.batch);
            sinks.driver.push(ToDriver::Alive { to, batch, answers: answers.sessions, refused: false });
        }
        let touches = self.tracker.take_touches(now.mono_us);
        sinks.driver.extend(touches.into_iter().map(ToDriver::Propose));
        if std::mem::take(&mut self.ticked) {
            let due = self.tracker.take_due(now.mono_us);
            sinks.driver.extend(due.into_iter().map(ToDriver::Propose));
            self.remove_idle(now, sinks);
            self.elapse(now, sinks);
        }
    }

    fn watch(&mut self, origin: Origin, caller: Caller, spec: WatchSpec, sinks: &mut Sinks<'_>) {
        let source = StateSource { machine: &self.machine, store: &self.store };
        let need = Need::Watch(spec.keyspace, &spec.range);
        let permitted = self.machine.permits(&self.store, &caller, need);
        if let Caller::User(_) = caller {
            self.watchers.insert(origin.conn, caller);
        }
        if let Err(rejection) = permitted
            && !self.hub.has(origin)
        {
            self.frames.push((origin, WatchFrame::Cancelled(rejection.into())));
        } else if let Err(refusal) = self.hub.watch(origin, spec, &source, &mut self.frames) {
            self.answer(origin, Err(refusal), sinks);
        }
    }

    fn cancel_watch(&mut self, origin: Origin, sinks: &mut Sinks<'_>) {
        let result = if self.hub.cancel(origin) {
            Ok(Response::Done)
        } else {
            let what = format!("there is no watch {} on this connection", origin.tag);
            Err(Refusal::Invalid { what })
        };
        self.answer(origin, result, sinks);
    }

    /// Moves watches forward that are behind. Returns whether more could be done at once.
    pub(super) fn serve_watches(&mut self, sinks: &mut Sinks<'_>) -> bool {
        let source = StateSource { machine: &self.machine, store: &self.store };
        let more =
            !self.installing && self.hub.catch_up(self.options.watch_page_bytes, &source, &mut self.frames);
        self.flush_frames(sinks.outputs);
        more
    }

    fn complete(&self, mut status: NodeStatus) -> NodeStatus {
        status.cluster_id = self.machine.cluster_id();
        status.applied = self.machine.applied().get();
        status.durable = self.store.durable_applied();
        status.revision = self.machine.revision();
        status.compacted = self.machine.compacted();
        status.digest = self.machine.digest();
        status.sessions = self.tracker.len() as u64;
        status.watches = self.hub.len() as u64;
        status.reclaimed = self.machine.is_reclaimed();
        status.state_bytes = self.store.base().size_bytes();
        status.overlay_bytes = self.store.overlay_bytes() as u64;
        status.members = self.members();
        status.conditions = self.conditions();
        status
    }
}
