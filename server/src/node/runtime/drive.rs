//! One step of a node: what came in goes to the core, one round is run, and what comes out goes
//! where it belongs.

use super::background::{Background, Job};
use super::clock::Clock;
use super::inbox::NodeInbox;
use crate::fatal;
use crate::node::core::Core;
use crate::node::handle::{Handle, ReplySink};
use crate::node::io::{Input, Now, Output};
use crate::node::lifecycle::note_diverged;
use crate::node::mailbox::{Batch, Mail};
use crate::node::request::{Origin, Request, Role};
use crate::observe::metrics::Metrics;
use crate::peer::Transport;
use oarlock_state::NodeId;
use slog::{Logger, crit, error, info};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to.
    Stopped,
    /// It was removed from the cluster, for good.
    Removed,
    /// Its state differs from the leader's; see the log.
    Diverged,
}

/// What a step leaves to do.
pub(super) enum Step {
    /// Wait for the bell or the next tick.
    Idle,
    /// Step again.
    More,
    /// Never again.
    Ended(Ending),
}

/// Where outputs go.
pub(super) struct Outlets {
    pub(super) transport: Transport,
    pub(super) background: Background,
    pub(super) inbox: Arc<NodeInbox>,
    pub(super) metrics: Metrics,
    pub(super) data_dir: PathBuf,
}

/// One connection's replies, and whether it got any in this round.
struct Sink {
    sink: Arc<dyn ReplySink>,
    touched: bool,
}

/// Owns the core.
pub(super) struct Drive {
    core: Core,
    handle: Handle,
    outlets: Outlets,
    logger: Logger,
    clock: Clock,
    tick_us: u64,
    next_tick_us: u64,
    sinks: HashMap<u64, Sink>,
    /// Connections that got something in this round.
    touched: Vec<u64>,
    batch: Batch,
    outputs: Vec<Output>,
    more: bool,
    /// A snapshot took the place of the state; once the core has digested that, the old one goes.
    installed: bool,
    leader: NodeId,
    ending: Option<Ending>,
}

impl Drive {
    pub(super) fn new(core: Core, handle: Handle, outlets: Outlets, tick: Duration, logger: Logger) -> Self {
        Self {
            core,
            handle,
            outlets,
            logger,
            clock: Clock::new(),
            tick_us: tick.as_micros() as u64,
            next_tick_us: 0,
            sinks: HashMap::new(),
            touched: Vec::new(),
            batch: Batch::default(),
            outputs: Vec::new(),
            // What the core says when it starts is waiting.
            more: true,
            installed: false,
            leader: NodeId(0),
            ending: None,
        }
    }

    /// Time until the next tick is due.
    pub(super) fn until_tick(&self) -> Duration {
        Duration::from_micros(self.next_tick_us.saturating_sub(self.clock.now().mono_us))
    }

    /// Takes in what is there and runs one round, if there is reason to.
    pub(super) fn step(&mut self) -> Step {
        let emptied = std::mem::take(&mut self.batch);
        let mut batch = self.handle.mailbox().take(emptied);
        let now = self.clock.now();
        let ticked = now.mono_us >= self.next_tick_us;
        if batch.is_empty() && !ticked && !self.more {
            self.batch = batch;
            return Step::Idle;
        }
        self.take_in(now, &mut batch, ticked);
        self.batch = batch;
        self.outlets.metrics.rounds.inc();
        match self.core.round(self.clock.now()) {
            Ok(more) => self.more = more,
            Err(error) => fatal::stop(&error),
        }
        self.handle.publish_revision(self.core.revision());
        self.give_out();
        self.finish_install();
        if self.outlets.inbox.is_told_removed() {
            self.removed();
        }
        match self.ending {
            Some(ending) => Step::Ended(ending),
            None if self.more => Step::More,
            None => Step::Idle,
        }
    }

    fn take_in(&mut self, now: Now, batch: &mut Batch, ticked: bool) {
        if ticked {
            // After a stall there is one tick, not many: time that this node slept through is no
            // reason to believe the others dead.
            self.next_tick_us = now.mono_us + self.tick_us;
            self.core.input(now, Input::Tick);
        }
        let gathered = batch.peers.len() + batch.requests.len();
        if gathered > 0 {
            self.outlets.metrics.round_inputs.observe(gathered as f64);
        }
        for input in batch.own.drain(..) {
            self.installed |= matches!(input, Input::Installed { .. });
            self.core.input(now, input);
        }
        for (from, envelope) in batch.peers.drain(..) {
            self.core.input(now, Input::Peer { from, envelope });
        }
        for mail in batch.requests.drain(..) {
            match mail {
                Mail::Open { conn, sink } => {
                    self.sinks.insert(conn, Sink { sink, touched: false });
                }
                Mail::Close { conn } => {
                    self.sinks.remove(&conn);
                    self.core.input(now, Input::Disconnected { conn });
                }
                Mail::Input(input) => {
                    self.outlets.count(&input);
                    self.core.input(now, input);
                }
            }
        }
    }

    fn give_out(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.core.drain_outputs(&mut outputs);
        for output in outputs.drain(..) {
            self.give(output);
        }
        self.outputs = outputs;
        for conn in self.touched.drain(..) {
            if let Some(sink) = self.sinks.get_mut(&conn) {
                sink.touched = false;
                sink.sink.flush();
            }
        }
    }

    fn give(&mut self, output: Output) {
        match output {
            Output::Send { to, envelope } => self.outlets.transport.send(to, envelope),
            Output::Reply { origin, result } => {
                self.outlets.metrics.replies.inc();
                if result.is_err() {
                    self.outlets.metrics.refusals.inc();
                }
                if let Some(sink) = self.sink(origin) {
                    sink.reply(origin.tag, result);
                }
            }
            Output::Watch { origin, frame } => {
                self.outlets.metrics.watch_frames.inc();
                if let Some(sink) = self.sink(origin) {
                    sink.watch(origin.tag, frame);
                }
            }
            Output::Flush(job) => self.outlets.background.give(Job::Flush(job)),
            Output::Checkpoint => self.outlets.background.give(Job::Checkpoint),
            Output::SendSnapshot { to, index, message } => {
                self.outlets.transport.send_snapshot(to, index, message);
            }
            Output::Install { index } => self.install(index),
            Output::Members(members) => {
                self.outlets.transport.set_members(&members);
                self.handle.publish_members(members);
            }
            Output::Auth(settings) => self.handle.publish_auth(settings),
            Output::Role { role, term, leader } => self.role(role, term, leader),
            Output::Removed => self.removed(),
            Output::Stopped => self.end(Ending::Stopped),
            Output::Diverged { index } => self.diverged(index),
        }
    }

    /// The sink of a connection, unless that is gone; it is flushed at the end of the round.
    fn sink(&mut self, origin: Origin) -> Option<&dyn ReplySink> {
        let sink = self.sinks.get_mut(&origin.conn)?;
        if !std::mem::replace(&mut sink.touched, true) {
            self.touched.push(origin.conn);
        }
        Some(&*sink.sink)
    }

    fn install(&mut self, index: u64) {
        match self.outlets.inbox.staged_term(index) {
            Some(term) => self.outlets.background.give(Job::Install { index, term }),
            // Consensus names only what was staged in this life of the process.
            None => fatal::stop(&format!("snapshot {index} was to be installed and is not there")),
        }
    }

    /// When the core has nothing left to do after it was told of the new state, the log agrees with
    /// it. Should the process die before this is carried out, the next start does it.
    fn finish_install(&mut self) {
        if self.installed && !self.more {
            self.installed = false;
            self.outlets.background.give(Job::InstallDone);
        }
    }

    fn role(&mut self, role: Role, term: u64, leader: NodeId) {
        if leader != self.leader && leader != NodeId(0) {
            self.outlets.metrics.leader_changes.inc();
        }
        self.leader = leader;
        info!(self.logger, "role"; "is" => format!("{role:?}"), "term" => term,
            "leader" => format!("{:016x}", leader.get()));
        self.handle.publish_role(role, term, leader);
    }

    fn removed(&mut self) {
        if self.ending.is_none() {
            error!(
                self.logger,
                "this member was removed from the cluster and stops for good; its data \
                directory is of no further use"
            );
            self.end(Ending::Removed);
        }
    }

    fn diverged(&mut self, index: u64) {
        crit!(self.logger, "this member's state differs from the leader's and is damaged; it stops serving, \
            and takes another member's state"; "index" => index);
        if let Err(error) = note_diverged(&self.outlets.data_dir, index) {
            error!(self.logger, "cannot leave a note of that in the data directory"; "error" => %error);
        }
        self.end(Ending::Diverged);
    }

    fn end(&mut self, ending: Ending) {
        self.handle.stop_accepting();
        self.ending = Some(self.ending.unwrap_or(ending));
    }
}

impl Outlets {
    fn count(&self, input: &Input) {
        if let Input::Request { request, .. } = input {
            self.metrics.requests.inc();
            match request {
                Request::Write(_) => drop(self.metrics.writes.inc()),
                Request::Read { .. } => drop(self.metrics.reads.inc()),
                Request::KeepAlive { .. }
                | Request::SessionTimeLeft { .. }
                | Request::Watch(_)
                | Request::CancelWatch
                | Request::WatchProgress
                | Request::ConnProgress
                | Request::Admin(_)
                | Request::Status => {}
            }
        }
    }
}
