//! Entries become state, frames and replies.

use super::{Applier, PROPOSALS_PER_ROUND, Sinks, StateSource, sessions, to_applied};
use crate::node::exchange::{OWN_BUSINESS, ToDriver};
use crate::node::io::{Now, Output};
use crate::node::request::{Origin, Refusal, Response, WatchSpec};
use crate::storage::state::StateStore;
use crate::storage::{BaseStore, StorageError, StorageResult};
use oarlock_state::auth::Need;
use oarlock_state::command::{Command, Member, Outcome};
use oarlock_state::{Applied, Caller, DigestCheck, Entry, EntryBody, Machine, ProposalId};
use std::sync::Arc;

impl Applier {
    /// Applies what is committed, a bounded number of proposals at once.
    pub(super) fn apply_backlog(&mut self, now: Now, sinks: &mut Sinks<'_>) {
        let mut left = PROPOSALS_PER_ROUND;
        let mut own = None;
        let before = self.machine.applied();
        while left > 0 && self.may_apply() {
            let Some(entry) = self.backlog.pop_front() else {
                break;
            };
            // Replayed after an installed snapshot, or delivered twice.
            if entry.index <= self.machine.applied() {
                continue;
            }
            left = left.saturating_sub(weight(&entry));
            own = own.max(self.apply(now, &entry, sinks));
        }
        if self.machine.applied() != before {
            to_applied(self, own, sinks);
            self.propose_digest(sinks);
        }
    }

    /// Applies one entry. Returns the highest count of this node's own proposals in it.
    fn apply(&mut self, now: Now, entry: &Entry, sinks: &mut Sinks<'_>) -> Option<u64> {
        let mut applied = self.machine.apply(&self.store, entry);
        if let Some(observer) = &mut self.observer {
            observer(entry, &applied, self.machine.digest());
        }
        let mutations = std::mem::take(&mut applied.mutations);
        #[cfg(feature = "plant")]
        let mutations = super::plant::mutations(self.options.node, entry.index, mutations);
        self.store.write(mutations, entry.index.get());
        self.note_sessions(now, entry, &applied);
        let source = StateSource { machine: &self.machine, store: &self.store };
        self.hub.publish(&applied.events, applied.revision, &source, &mut self.frames);
        self.flush_frames(sinks.outputs);
        let own = self.reply(applied.outcomes, sinks);
        if let EntryBody::Membership(change) = &entry.body {
            sinks.driver.push(ToDriver::Membership { id: change.id, conf_state: change.conf_state.clone() });
        }
        if let Some(members) = applied.members {
            self.tell_members(members, sinks);
        }
        if let Some(conditions) = applied.conditions {
            sinks.driver.push(ToDriver::Alarms(conditions.alarms));
        }
        if let Some(check) = applied.digest_check {
            self.check_digest(check, sinks);
        }
        if applied.auth.is_some() {
            self.auth_changed(sinks);
        }
        own
    }

    /// Tells everybody whether authentication is on, and ends the watches that are not permitted any
    /// more.
    pub(super) fn auth_changed(&mut self, sinks: &mut Sinks<'_>) {
        let settings = self.machine.auth().clone();
        sinks.driver.push(ToDriver::AuthEnabled(settings.enabled));
        sinks.outputs.push(Output::Auth(settings));
        let Self { machine, store, watchers, hub, frames, .. } = self;
        let verdict = |origin: Origin, spec: &WatchSpec| {
            let caller = watchers.get(&origin.conn).unwrap_or(&Caller::Anonymous);
            let need = Need::Watch(spec.keyspace, &spec.range);
            machine.permits(store, caller, need).map_err(Refusal::Rejected)
        };
        hub.review(&verdict, frames);
        self.flush_frames(sinks.outputs);
    }

    fn reply(&mut self, outcomes: Vec<(ProposalId, Outcome)>, sinks: &mut Sinks<'_>) -> Option<u64> {
        let mut last = None;
        for (id, outcome) in outcomes {
            let Some(count) = self.waiters.own(id) else {
                continue;
            };
            last = last.max(Some(count));
            if let Some(origin) = self.waiters.take(count) {
                let result = outcome.map(Response::Written).map_err(Refusal::Rejected);
                sinks.outputs.push(Output::Reply { origin, result });
            }
        }
        last
    }

    /// Tells the tracker what the entry did to sessions; on the leader also which touches of its own
    /// were in it, and which sessions wrote.
    fn note_sessions(&mut self, now: Now, entry: &Entry, applied: &Applied) {
        let term = entry.term.get();
        self.tracker.applied(term, &applied.sessions);
        if !self.leads() || self.reign.term != term {
            return;
        }
        let EntryBody::Proposals { proposals, .. } = &entry.body else {
            return;
        };
        for proposal in proposals {
            if let Some(request) = proposal.request {
                self.tracker.wrote(request.session, now.mono_us);
            }
            let is_own = proposal.id.node == self.options.node && proposal.id.boot == OWN_BUSINESS;
            if is_own && let Command::TouchSessions { sessions } = &proposal.command {
                self.tracker.touch_applied(proposal.id.count, sessions);
            }
        }
    }

    /// The leader has the newest remembered digest compared everywhere, once.
    fn propose_digest(&mut self, sinks: &mut Sinks<'_>) {
        let Some((index, digest)) = self.machine.recent_digests().last().copied() else {
            return;
        };
        if self.leads() && index.get() > self.digest_proposed {
            self.digest_proposed = index.get();
            sinks.driver.push(ToDriver::Propose(Command::CheckDigest { index, digest }));
        }
    }

    fn check_digest(&mut self, check: DigestCheck, sinks: &mut Sinks<'_>) {
        if check.ours.is_some_and(|ours| ours != check.theirs) {
            slog::crit!(self.logger, "the state differs from the leader's"; "index" => check.index.get());
            sinks.outputs.push(Output::Diverged { index: check.index.get() });
        }
    }

    /// Tells everybody who the members are, and the node if it is none any more.
    pub(super) fn tell_members(&mut self, members: Vec<Member>, sinks: &mut Sinks<'_>) {
        let node = self.options.node;
        let is_member = members.iter().any(|member| member.node == node);
        let was_removed = !is_member && self.machine.was_removed(&self.store, node);
        if was_removed && (self.was_member || !members.is_empty()) {
            sinks.outputs.push(Output::Removed);
        }
        self.was_member = is_member;
        sinks.outputs.push(Output::Members(members.clone()));
        sinks.driver.push(ToDriver::Members(members));
    }

    /// A snapshot took the place of the state.
    ///
    /// # Errors
    /// When the new store cannot be opened, or is not of the index that it was said to be.
    pub(super) fn installed(
        &mut self,
        index: u64,
        base: Arc<dyn BaseStore>,
        sinks: &mut Sinks<'_>,
    ) -> StorageResult<()> {
        let store = StateStore::open(base, self.options.state)?;
        let machine = Machine::load(&store).map_err(|error| StorageError::State(error.to_string()))?;
        if machine.applied().get() != index {
            let found = machine.applied();
            let what = format!("an installed snapshot was said to be of index {index} and is of {found}");
            return Err(StorageError::State(what));
        }
        #[cfg(feature = "plant")]
        super::plant::installed(self.options.node, index);
        (self.store, self.machine) = (store, machine);
        self.installing = false;
        self.tracker.reload(sessions(&self.machine, &self.store).into_iter());
        let source = StateSource { machine: &self.machine, store: &self.store };
        self.hub.replaced(&source);
        sinks.driver.push(ToDriver::Installed(index));
        to_applied(self, None, sinks);
        let members = self.members();
        self.tell_members(members, sinks);
        sinks.driver.push(ToDriver::Alarms(self.conditions().alarms));
        self.auth_changed(sinks);
        Ok(())
    }
}

fn weight(entry: &Entry) -> usize {
    match &entry.body {
        EntryBody::Proposals { proposals, .. } => proposals.len().max(1),
        EntryBody::Empty | EntryBody::Membership(_) => 1,
    }
}
