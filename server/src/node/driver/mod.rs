//! The half that owns the replica: it gathers what is asked, proposes or forwards it, confirms
//! leadership, exchanges messages, and hands what is committed to the applier.
//!
//! | file | holds |
//! | --- | --- |
//! | [`input`] | what comes in, and admission |
//! | [`mail`] | messages of other members |
//! | [`propose`] | from the gathered writes to the log |
//! | [`duties`] | what a tick brings, changes of leader, shutdown |
//! | [`writes`], [`forward`], [`relay`] | writes under way; forwarded exactly once per term |
//! | [`rounds`] | confirmation of leadership |
//! | [`alive`] | keep-alives under way |
//! | [`admin`], [`changes`] | administrative requests; the leader's work on them |

mod admin;
mod alive;
mod changes;
mod duties;
mod forward;
mod input;
mod mail;
mod propose;
mod relay;
mod rounds;
mod writes;

use super::exchange::{Reign, ToApplier, ToDriver};
use super::io::{Input, Now, Output};
use super::options::CoreOptions;
use super::request::Role;
use crate::consensus::{self, Persisted, Ready, Replica, SendSnapshot, SnapshotMeta, Ticket};
use crate::storage::{StorageError, StorageResult};
use admin::Requests;
use alive::Alive;
use bytes::Bytes;
use changes::Changes;
use duties::Stopping;
use forward::{Receiver, Sender};
use oarlock_proto::internal::peer::Envelope;
use oarlock_proto::internal::peer::envelope::Body;
use oarlock_state::command::{Alarm, Member};
use oarlock_state::{Command, NodeId};
use relay::Relay;
use rounds::{Asker, Rounds, Waiting};
use std::collections::VecDeque;
use writes::Writes;

/// Owns the replica. It never replies itself: see [`ToApplier`].
pub struct Driver {
    options: CoreOptions,
    logger: slog::Logger,
    replica: Replica,
    reign: Reign,
    members: Vec<Member>,
    alarms: Vec<Alarm>,
    applied: u64,
    writes: Writes,
    next_count: u64,
    sender: Sender,
    receiver: Receiver,
    relayed: Relay,
    /// An entry was too large: what is proposed is tried one by one.
    one_by_one: bool,
    /// Commands of this leader's own account.
    own: VecDeque<Command>,
    rounds: Rounds,
    alive: Alive,
    requests: Requests,
    changes: Changes,
    mail: Vec<(NodeId, Body)>,
    /// What must wait until a snapshot is installed.
    deferred: VecDeque<Input>,
    installing: Option<(Ticket, u64)>,
    /// A snapshot of this index was installed; the replica does not know yet.
    installed: Option<u64>,
    checkpointing: bool,
    state_bytes: u64,
    disk_left: u64,
    stopping: Option<Stopping>,
    /// When the disk was last written to, if the round has not been seen to end.
    wrote_us: Option<u64>,
    ids_drawn: u64,
    /// Authentication is on, as far as this node has applied the log.
    auth_enabled: bool,
    /// This member must stop for this reason.
    fatal: Option<StorageError>,
}

impl Driver {
    /// Drives this replica.
    pub fn new(options: CoreOptions, replica: Replica, logger: slog::Logger) -> Self {
        Self {
            replica,
            logger,
            reign: Reign::default(),
            members: Vec::new(),
            alarms: Vec::new(),
            state_bytes: 0,
            applied: 0,
            writes: Writes::default(),
            next_count: 1,
            sender: Sender::default(),
            receiver: Receiver::default(),
            relayed: Relay::default(),
            one_by_one: false,
            own: VecDeque::new(),
            rounds: Rounds::new(options.boot),
            alive: Alive::default(),
            requests: Requests::default(),
            changes: Changes::new(options.node),
            mail: Vec::new(),
            deferred: VecDeque::new(),
            installing: None,
            installed: None,
            checkpointing: false,
            disk_left: u64::MAX,
            stopping: None,
            wrote_us: None,
            ids_drawn: 0,
            auth_enabled: false,
            fatal: None,
            options,
        }
    }

    /// Takes what the applier says.
    pub fn absorb(
        &mut self,
        now: Now,
        messages: impl Iterator<Item = ToDriver>,
        to_applier: &mut Vec<ToApplier>,
    ) {
        for message in messages {
            self.take(now, message, to_applier);
        }
    }

    fn take(&mut self, now: Now, message: ToDriver, to_applier: &mut Vec<ToApplier>) {
        match message {
            ToDriver::Applied { index, term, own } => {
                self.applied = index;
                to_applier.extend(self.writes.applied(term, own, now.mono_us));
                if let Some(own) = own {
                    self.sender.applied(own);
                }
                self.replica.applied_to(index);
            }
            ToDriver::Durable(index) => {
                if !self.replica.is_waiting() {
                    self.fatal = self.replica.durable_to(index).err().or(self.fatal.take());
                }
            }
            ToDriver::Propose(command) => {
                if self.leads() {
                    self.own.push_back(command);
                }
            }
            ToDriver::Alive { to, batch, answers, refused } => {
                self.alive_answered(to, batch, answers, refused, to_applier);
            }
            ToDriver::Members(members) => self.members = members,
            ToDriver::Alarms(alarms) => self.alarms = alarms,
            ToDriver::Membership { id, conf_state } => {
                let answer = self.changes.applied(id, &conf_state);
                self.give_answers(answer, to_applier);
            }
            ToDriver::Installed(index) => self.installed(now, index, to_applier),
            ToDriver::Administer { origin, admin } => {
                if let Err(refusal) = self.administer(now, origin, admin) {
                    to_applier.push(ToApplier::Reply { origin, result: Err(refusal) });
                }
            }
            ToDriver::AuthEnabled(enabled) => self.auth_enabled = enabled,
        }
    }

    /// One round. Returns whether another would have something to do.
    ///
    /// # Errors
    /// Local storage failed, or a peer knows that it did earlier: the node must stop.
    pub fn round(
        &mut self,
        now: Now,
        to_applier: &mut Vec<ToApplier>,
        outputs: &mut Vec<Output>,
    ) -> StorageResult<bool> {
        self.notice_stalled_disk(now);
        self.finish_install(now, to_applier, outputs)?;
        if self.installing.is_none() {
            self.notice_reign(to_applier);
            self.send_requests(now, to_applier);
            self.propose(now, to_applier);
            self.begin_round(now);
            #[cfg(feature = "plant")]
            self.confirm_early(now, to_applier);
            self.work_on_changes(now, to_applier);
        }
        let advanced = self.installing.is_none() && self.advance(now, to_applier, outputs)?;
        if self.installing.is_none() {
            self.notice_reign(to_applier);
        }
        self.post(outputs);
        self.notice_stopped(now, outputs);
        match self.fatal.take() {
            Some(error) => Err(error),
            None => Ok(advanced),
        }
    }

    /// Processes one `Ready` of the replica: one write and one sync at most.
    fn advance(
        &mut self,
        now: Now,
        to_applier: &mut Vec<ToApplier>,
        outputs: &mut Vec<Output>,
    ) -> StorageResult<bool> {
        let Some(ready) = self.replica.ready()? else {
            return Ok(false);
        };
        let Ready {
            send_now,
            send_snapshots,
            reads,
            failed_reads,
            want_snapshot,
            install,
            committed,
            ticket,
        } = ready;
        self.post(outputs);
        send(send_now, send_snapshots, outputs);
        if !committed.is_empty() {
            to_applier.push(ToApplier::Committed(committed));
        }
        for context in failed_reads {
            self.rounds.fail(context);
        }
        for (context, index) in reads {
            self.confirm(context, index, to_applier);
        }
        if want_snapshot && !self.checkpointing {
            self.checkpointing = true;
            to_applier.push(ToApplier::Checkpoint);
        }
        if let Some(meta) = install {
            to_applier.push(ToApplier::Install(meta.index));
            self.installing = Some((ticket, meta.index));
            return Ok(true);
        }
        self.wrote_us = Some(now.mono_us);
        let persisted = self.replica.persist(ticket)?;
        self.after_persist(persisted, to_applier, outputs);
        Ok(true)
    }

    fn after_persist(
        &mut self,
        persisted: Persisted,
        to_applier: &mut Vec<ToApplier>,
        outputs: &mut Vec<Output>,
    ) {
        let Persisted { send_after, send_snapshots, committed } = persisted;
        send(send_after, send_snapshots, outputs);
        if !committed.is_empty() {
            to_applier.push(ToApplier::Committed(committed));
        }
    }

    /// Begins a round of confirmation: on the leader through a quorum, elsewhere by asking the
    /// leader.
    fn begin_round(&mut self, now: Now) {
        let Some(context) = self.rounds.next() else {
            return;
        };
        if self.leads() {
            if self.replica.read_index(context).is_ok() {
                self.rounds.begin(context, self.reign, now.mono_us);
            }
            return;
        }
        for (node, context) in self.rounds.refuse_peers() {
            self.answer_read_index(node, context, None);
        }
        if self.reign.leader.get() != 0 && self.rounds.len() > 0 {
            self.rounds.begin(context, self.reign, now.mono_us);
            self.ask_read_index(context);
        }
    }

    /// `read_before_own_term`: a new leader takes what it knows to be committed for all there is.
    #[cfg(feature = "plant")]
    fn confirm_early(&mut self, now: Now, to_applier: &mut Vec<ToApplier>) {
        let is_new = self.leads() && !self.replica.leadership().committed_in_term;
        if oarlock_state::plant::is("read_before_own_term")
            && is_new
            && let Some(context) = self.rounds.next()
        {
            self.rounds.begin(context, self.reign, now.mono_us);
            self.confirm(context, self.replica.numbers().committed, to_applier);
        }
    }

    /// A round is confirmed: those who waited for it may read.
    fn confirm(&mut self, context: u64, index: u64, to_applier: &mut Vec<ToApplier>) {
        let Some(confirmed) = self.rounds.confirm(context, index) else {
            return;
        };
        let (round, began_us) = (confirmed.round, confirmed.began_us);
        to_applier.push(ToApplier::Confirmed { round, index, began_us });
        for Waiting { asker, limit } in confirmed.askers {
            match asker {
                Asker::Read { origin, caller, query } => {
                    to_applier.push(ToApplier::Read { index, origin, caller, query, limit });
                }
                Asker::Members { origin, added } => {
                    to_applier.push(ToApplier::ReadMembers { index, origin, added, limit });
                }
                Asker::Peer { node, context } => {
                    self.answer_read_index(node, context, Some(index));
                }
            }
        }
    }

    fn leads(&self) -> bool {
        self.reign.role == Role::Leader
    }

    /// Sends what was gathered for other members.
    fn post(&mut self, outputs: &mut Vec<Output>) {
        let mail = self.mail.drain(..);
        outputs.extend(mail.map(|(to, body)| Output::Send { to, envelope: Envelope { body: Some(body) } }));
    }
}

fn send(messages: Vec<(NodeId, Bytes)>, snapshots: Vec<SendSnapshot>, outputs: &mut Vec<Output>) {
    outputs.extend(messages.into_iter().map(|(to, message)| {
        let envelope = Envelope { body: Some(Body::Raft(message)) };
        Output::Send { to, envelope }
    }));
    outputs.extend(snapshots.into_iter().map(|SendSnapshot { to, index, message }| Output::SendSnapshot {
        to,
        index,
        message,
    }));
}

fn role_of(role: consensus::Role) -> Role {
    match role {
        consensus::Role::Follower => Role::Follower,
        consensus::Role::Candidate => Role::Candidate,
        consensus::Role::Leader => Role::Leader,
        consensus::Role::Learner => Role::Learner,
    }
}

fn offer(replica: &mut Replica, index: u64, term: u64, conf_state: Bytes) {
    replica.offer_snapshot(SnapshotMeta { index, term, conf_state });
}
