//! What a tick brings, changes of leader, a snapshot's installation, and the end.

use super::admin::promotion;
use super::{Driver, role_of};
use crate::node::exchange::{Reign, ToApplier};
use crate::node::io::{Now, Output};
use crate::storage::StorageResult;

/// Election timeouts for which a shutdown waits for a successor and for what was begun.
const STOP_ELECTIONS: u64 = 2;
/// Election timeouts for which a leader waits for whom it hands over to.
const MOVE_ELECTIONS: u64 = 2;

/// A shutdown that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    deadline_us: u64,
    told: bool,
}

impl Driver {
    pub(super) fn tick(&mut self, now: Now, to_applier: &mut Vec<ToApplier>) {
        self.replica.tick();
        self.notice_reign(to_applier);
        self.tick_time(now, to_applier);
        if self.leads() {
            // Sessions end only while a quorum answers, so it is asked at every tick.
            self.rounds.want();
            let answer = self.changes.tick(now.mono_us);
            self.give_answers(answer, to_applier);
            self.promote_learners();
        } else if let Some(sent) = self.overdue_forward(now) {
            self.forward_again(sent);
        }
        to_applier.push(ToApplier::Tick(now));
    }

    /// What time does to requests, whether or not the replica may be spoken to.
    pub(super) fn tick_time(&mut self, now: Now, to_applier: &mut Vec<ToApplier>) {
        let leader = self.reign.leader;
        let since_us = now.mono_us.saturating_sub(self.options.election_us());
        self.rounds.give_up(self.reign, since_us);
        self.alive.take_back(self.reign, since_us);
        to_applier.extend(self.writes.expire(now.mono_us, leader));
        to_applier.extend(self.rounds.expire(now.mono_us, leader));
        to_applier.extend(self.alive.expire(now.mono_us, leader));
        let mut settled = self.requests.settle(self.reign, now.mono_us);
        settled.extend(self.requests.expire(now.mono_us));
        self.settle(settled, to_applier);
        self.requests.retry_refused();
    }

    /// A forward that nothing was heard of for half an election timeout.
    fn overdue_forward(&mut self, now: Now) -> Option<super::forward::Sent> {
        let since_us = now.mono_us.saturating_sub(self.options.election_us() / 2);
        self.sender.overdue(self.reign.term, since_us, now.mono_us)
    }

    fn promote_learners(&mut self) {
        if !self.changes.is_idle() {
            return;
        }
        let caught_up = self.replica.caught_up_learners();
        if let Some(learner) = self.changes.to_promote(caught_up, &self.members) {
            slog::info!(self.logger, "learner has caught up and becomes a voter"; "member" => learner.get());
            // Nobody gave the order, so a refusal has nowhere to go; it is tried again.
            self.changes.add(None, promotion(learner));
        }
    }

    /// Follows changes of leader and term.
    pub(super) fn notice_reign(&mut self, to_applier: &mut Vec<ToApplier>) {
        let leadership = self.replica.leadership();
        let reign =
            Reign { role: role_of(leadership.role), term: leadership.term, leader: leadership.leader };
        if reign == self.reign {
            return;
        }
        let led = self.leads();
        let is_other_reign = (reign.term, reign.leader) != (self.reign.term, self.reign.leader);
        self.reign = reign;
        if led && (!self.leads() || is_other_reign) {
            self.own.clear();
            self.relayed.clear();
            let answers = self.changes.end();
            self.give_answers(answers, to_applier);
        }
        self.rounds.give_up(reign, 0);
        self.alive.take_back(reign, 0);
        to_applier.push(ToApplier::Reign(reign));
    }

    pub(super) fn work_on_changes(&mut self, now: Now, to_applier: &mut Vec<ToApplier>) {
        if !self.leads() {
            return;
        }
        let move_max_us = MOVE_ELECTIONS * self.options.election_us();
        let answer = self.changes.work(&mut self.replica, &self.members, now.mono_us, move_max_us);
        self.give_answers(answer, to_applier);
    }

    /// A leader whose disk took longer than an election timeout for one write holds everybody up:
    /// it hands over to a member with a better disk.
    pub(super) fn notice_stalled_disk(&mut self, now: Now) {
        let Some(wrote_us) = self.wrote_us.take() else {
            return;
        };
        let took_us = now.mono_us.saturating_sub(wrote_us);
        if took_us <= self.options.election_us() || !self.leads() || self.installing.is_some() {
            return;
        }
        let successor = self.replica.abdicate();
        slog::warn!(self.logger, "the disk stalled, leadership is handed over";
            "took_ms" => took_us / 1_000, "successor" => ?successor);
    }

    /// The state was replaced by a snapshot; the replica is told in the next round.
    pub(super) fn installed(&mut self, now: Now, index: u64, to_applier: &mut Vec<ToApplier>) {
        to_applier.extend(self.writes.skipped(now.mono_us));
        self.installed = Some(index);
    }

    /// Ends the installation of a snapshot, and takes in what had to wait for it.
    ///
    /// # Errors
    /// The log could not be begun anew.
    pub(super) fn finish_install(
        &mut self,
        now: Now,
        to_applier: &mut Vec<ToApplier>,
        outputs: &mut Vec<Output>,
    ) -> StorageResult<()> {
        let Some(done) = self.installed.take() else {
            return Ok(());
        };
        let Some((ticket, index)) = self.installing.take() else {
            slog::warn!(self.logger, "a snapshot was installed that was not asked for"; "index" => done);
            return Ok(());
        };
        slog::info!(self.logger, "snapshot installed"; "index" => done, "expected" => index);
        let persisted = self.replica.installed(ticket, done)?;
        self.after_persist(persisted, to_applier, outputs);
        for input in std::mem::take(&mut self.deferred) {
            self.take_input(now, input, to_applier);
        }
        Ok(())
    }

    /// Refuses new work, and hands leadership over.
    pub(super) fn stop(&mut self, now: Now) {
        if self.stopping.is_some() {
            return;
        }
        let deadline_us = now.mono_us + STOP_ELECTIONS * self.options.election_us();
        self.stopping = Some(Stopping { deadline_us, told: false });
        if self.leads() && self.installing.is_none() {
            match self.replica.abdicate() {
                Ok(to) => slog::info!(self.logger, "stopping, leadership is handed over"; "to" => to.get()),
                Err(reason) => slog::info!(self.logger, "stopping as leader"; "reason" => %reason),
            }
        }
    }

    /// Says once that the node may go: nothing of its own is under way and it does not lead, or it
    /// waited long enough. The only voter has nobody to wait for.
    pub(super) fn notice_stopped(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let voters = self.members.iter().filter(|member| !member.learner).count();
        let is_free = !self.leads() || voters <= 1;
        let is_done = is_free && self.writes.is_empty() && self.rounds.len() == 0;
        let Some(stopping) = self.stopping.as_mut().filter(|stopping| !stopping.told) else {
            return;
        };
        if is_done || stopping.deadline_us <= now.mono_us {
            stopping.told = true;
            outputs.push(Output::Stopped);
        }
    }
}
