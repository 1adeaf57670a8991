//! What comes in, and whether it is admitted.

use super::admin::order;
use super::alive::Asked;
use super::rounds::{Asker, Waiting};
use super::writes::Pending;
use super::{Driver, offer};
use crate::consensus::StepError;
use crate::node::exchange::{TimeLimit, ToApplier};
use crate::node::io::{Input, Now};
use crate::node::request::{
    self, Admin, Consistency, NodeStatus, Origin, PeerProgress, Refusal, Request, Write,
};
use crate::storage::StorageError;
use bytes::Bytes;
use oarlock_state::auth::AuthError;
use oarlock_state::command::{Alarm, AlarmKind, KvOp, Txn};
use oarlock_state::object::ObjectOp;
use oarlock_state::pool::PoolOp;
use oarlock_state::tree::TreeOp;
use oarlock_state::{Caller, Command, NodeId, Proposal, ProposalId, SessionId};

/// Administrative requests that may wait at one node.
const ADMIN_MAX: usize = 64;
/// A change of the members takes longer than a write: learners catch up, configurations are left.
const ADMIN_TIMEOUTS: u64 = 4;
/// Inputs kept while a snapshot is installed; what comes beyond is dropped or refused.
const DEFERRED_MAX: usize = 10_000;

impl Driver {
    /// Takes something in.
    pub fn input(&mut self, now: Now, input: Input, to_applier: &mut Vec<ToApplier>) {
        if self.installing.is_some() {
            self.defer(now, input, to_applier);
        } else {
            self.take_input(now, input, to_applier);
        }
    }

    /// While a snapshot is installed the replica must be left alone. Messages of peers and ticks are
    /// dropped, which consensus survives; the rest waits, or is no business of the replica.
    fn defer(&mut self, now: Now, input: Input, to_applier: &mut Vec<ToApplier>) {
        match input {
            Input::Peer { .. } | Input::Unreachable(_) | Input::SnapshotStaged { .. } => {}
            Input::Tick => {
                self.tick_time(now, to_applier);
                to_applier.push(ToApplier::Tick(now));
            }
            Input::Request { request: Request::Status, .. } => self.take_input(now, input, to_applier),
            Input::Request { origin, .. } if self.deferred.len() >= DEFERRED_MAX => {
                let refusal = Refusal::Busy { queue: "requests during the installation of a snapshot" };
                to_applier.push(ToApplier::Reply { origin, result: Err(refusal) });
            }
            Input::Disconnected { conn } => {
                // A watch put in place after its connection's end would never be taken away.
                self.deferred.retain(|input| !is_watch_of(input, conn));
                self.take_input(now, Input::Disconnected { conn }, to_applier);
            }
            Input::Request { .. } | Input::SnapshotSent { .. } | Input::Checkpointed { .. } => {
                self.deferred.push_back(input);
            }
            Input::WatchCredit { .. }
            | Input::Flushed(_)
            | Input::Checkpoint
            | Input::Installed { .. }
            | Input::DiskSpace { .. }
            | Input::StateBytes(_)
            | Input::Shutdown => self.take_input(now, input, to_applier),
        }
    }

    pub(super) fn take_input(&mut self, now: Now, input: Input, to_applier: &mut Vec<ToApplier>) {
        match input {
            Input::Tick => self.tick(now, to_applier),
            Input::Peer { from, envelope } => self.receive(now, from, envelope, to_applier),
            Input::Request { origin, caller, request } => {
                self.request(now, origin, caller, request, to_applier);
            }
            Input::Disconnected { conn } => to_applier.push(ToApplier::Disconnected(conn)),
            Input::WatchCredit { conn, bytes } => to_applier.push(ToApplier::WatchCredit { conn, bytes }),
            Input::Unreachable(node) => self.replica.report_unreachable(node),
            #[cfg(feature = "plant")]
            Input::SnapshotSent { .. } if oarlock_state::plant::is("snapshot_never_reported") => {}
            Input::SnapshotSent { to, delivered } => self.replica.report_snapshot(to, delivered),
            Input::SnapshotStaged { index: _, message } => {
                let stepped = self.replica.step_staged(message);
                self.stepped(stepped);
            }
            Input::Flushed(done) => to_applier.push(ToApplier::Flushed(done)),
            Input::Installed { index, base } => to_applier.push(ToApplier::Installed { index, base }),
            Input::Checkpoint => to_applier.push(ToApplier::Checkpoint),
            Input::Checkpointed { index, term, conf_state } => self.checkpointed(index, term, conf_state),
            Input::DiskSpace { left } => self.disk_space(left),
            Input::StateBytes(bytes) => self.state_size(bytes),
            Input::Shutdown => self.stop(now),
        }
    }

    /// A message for the replica was taken or not.
    pub(super) fn stepped(&mut self, stepped: Result<(), StepError>) {
        match stepped {
            Ok(()) => {}
            Err(error @ StepError::LogLost { .. }) => {
                self.fatal.get_or_insert(StorageError::State(error.to_string()));
            }
            Err(
                error @ (StepError::Malformed(_)
                | StepError::Misdirected { .. }
                | StepError::Forbidden { .. }
                | StepError::NotStaged),
            ) => slog::warn!(self.logger, "message dropped"; "reason" => %error),
        }
    }

    fn checkpointed(&mut self, index: u64, term: u64, conf_state: Bytes) {
        self.checkpointing = false;
        if index != 0 {
            offer(&mut self.replica, index, term, conf_state);
        }
    }

    fn disk_space(&mut self, left: u64) {
        let (before, soft, hard) =
            (self.disk_left, self.options.space_soft_bytes, self.options.space_hard_bytes);
        self.disk_left = left;
        let level = |left: u64| (left < soft, left < hard);
        if level(left) != level(before) {
            let accepts = if left < hard { "only deletes, sessions and compaction" } else { "everything" };
            slog::warn!(self.logger, "disk space"; "left_mib" => left >> 20, "accepts" => accepts);
        }
    }

    fn state_size(&mut self, bytes: u64) {
        let (before, quota) = (self.state_bytes > self.options.quota_bytes, self.options.quota_bytes);
        self.state_bytes = bytes;
        if (bytes > quota) != before {
            slog::warn!(self.logger, "quota of the state"; "state_mib" => bytes >> 20,
                "quota_mib" => quota >> 20, "is_over" => !before);
        }
    }

    fn request(
        &mut self,
        now: Now,
        origin: Origin,
        caller: Caller,
        request: Request,
        to_applier: &mut Vec<ToApplier>,
    ) {
        let weight = request::weight(&request);
        let admitted = match request {
            // What the state decides on, it decides by itself; this is for what does not get there.
            Request::Status | Request::KeepAlive { .. } | Request::SessionTimeLeft { .. }
                if self.auth_enabled && caller == Caller::Anonymous =>
            {
                Err(Refusal::Rejected(AuthError::NoToken.into()))
            }
            Request::Status => {
                let status = Box::new(self.status());
                to_applier.push(ToApplier::Status { origin, status });
                return;
            }
            Request::CancelWatch => {
                to_applier.push(ToApplier::CancelWatch(origin));
                return;
            }
            Request::WatchProgress => {
                to_applier.push(ToApplier::WatchProgress(origin));
                return;
            }
            Request::ConnProgress => {
                to_applier.push(ToApplier::ConnProgress(origin));
                return;
            }
            _ if self.stopping.is_some() => Err(Refusal::ShuttingDown),
            Request::Write(write) => self.write(now, origin, caller, write, weight, to_applier),
            Request::Read { query, consistency, timeout_ms } => {
                let asker = Asker::Read { origin, caller, query };
                self.read(now, asker, consistency, timeout_ms, to_applier)
            }
            Request::KeepAlive { session } => self.keep_alive(now, origin, session, false),
            Request::SessionTimeLeft { session } => self.keep_alive(now, origin, session, true),
            Request::Watch(spec) => {
                to_applier.push(ToApplier::Watch { origin, caller, spec });
                Ok(())
            }
            Request::Admin(admin) => {
                to_applier.push(ToApplier::Administer { origin, caller, admin });
                Ok(())
            }
        };
        if let Err(refusal) = admitted {
            to_applier.push(ToApplier::Reply { origin, result: Err(refusal) });
        }
    }

    fn write(
        &mut self,
        now: Now,
        origin: Origin,
        caller: Caller,
        write: Write,
        weight: usize,
        to_applier: &mut Vec<ToApplier>,
    ) -> Result<(), Refusal> {
        self.check_room(&write.command)?;
        if self.writes.len() >= self.options.pending_requests_max {
            return Err(Refusal::Busy { queue: "writes" });
        }
        if self.writes.bytes() + weight > self.options.pending_bytes_max {
            return Err(Refusal::Busy { queue: "bytes of writes" });
        }
        let Write { request, idempotency, guards, command, timeout_ms } = write;
        let count = self.next_count;
        self.next_count += 1;
        let id = ProposalId { node: self.options.node, boot: self.options.boot, count };
        let (deadline_us, timeout_ms) = self.deadline(now, timeout_ms);
        let proposal = Proposal { id, request, idempotency, guards, caller, command };
        self.writes.add(Pending::new(proposal, deadline_us, timeout_ms, weight));
        to_applier.push(ToApplier::Wait { count, origin });
        Ok(())
    }

    /// Refuses what must not happen while space is short or an alarm is raised.
    fn check_room(&self, command: &Command) -> Result<(), Refusal> {
        // An alarm must be lowered, and a member must say who it is, whatever else is wrong.
        if matches!(command, Command::SetAlarm { .. } | Command::PublishMember { .. }) {
            return Ok(());
        }
        if self.alarms.is_empty() && !self.is_full() {
            return Ok(());
        }
        let frees = frees_space(command);
        let forbids = |alarm: &&Alarm| match alarm.kind {
            AlarmKind::NoSpace => !frees,
            // What the cluster does for itself, whatever is wrong, does not come this way.
            AlarmKind::Corrupt => true,
        };
        if let Some(Alarm { node, kind }) = self.alarms.iter().find(forbids) {
            return Err(Refusal::Alarmed { node: *node, kind: *kind });
        }
        if frees {
            return Ok(());
        }
        if self.disk_left < self.options.space_hard_bytes {
            return Err(Refusal::NoSpace { left_mib: self.disk_left >> 20 });
        }
        Err(Refusal::OverQuota {
            used_mib: self.state_bytes >> 20,
            quota_mib: self.options.quota_bytes >> 20,
        })
    }

    fn is_full(&self) -> bool {
        self.disk_left < self.options.space_hard_bytes || self.state_bytes > self.options.quota_bytes
    }

    fn read(
        &mut self,
        now: Now,
        asker: Asker,
        consistency: Consistency,
        timeout_ms: u32,
        to_applier: &mut Vec<ToApplier>,
    ) -> Result<(), Refusal> {
        let (deadline_us, timeout_ms) = self.deadline(now, timeout_ms);
        let limit = TimeLimit { deadline_us, timeout_ms };
        let is_fresh = match consistency {
            Consistency::Serializable => true,
            Consistency::Linearizable => false,
            Consistency::Bounded { max_ms } => self.rounds.last.is_some_and(|(began_us, index)| {
                let age_us = now.mono_us.saturating_sub(began_us);
                age_us <= u64::from(max_ms) * 1_000 && self.applied >= index
            }),
        };
        if is_fresh && let Asker::Read { origin, caller, query } = asker {
            to_applier.push(ToApplier::Read { index: 0, origin, caller, query, limit });
            return Ok(());
        }
        if self.rounds.len() >= self.options.pending_requests_max {
            return Err(Refusal::Busy { queue: "reads" });
        }
        self.rounds.ask(Waiting { asker, limit });
        Ok(())
    }

    fn keep_alive(
        &mut self,
        now: Now,
        origin: Origin,
        session: SessionId,
        look: bool,
    ) -> Result<(), Refusal> {
        if self.alive.len() >= self.options.pending_requests_max {
            return Err(Refusal::Busy { queue: "keep-alives" });
        }
        let (deadline_us, timeout_ms) = self.deadline(now, 0);
        self.alive.add(Asked { session, origin, look, deadline_us, timeout_ms });
        Ok(())
    }

    pub(super) fn administer(&mut self, now: Now, origin: Origin, admin: Admin) -> Result<(), Refusal> {
        if self.requests.len() >= ADMIN_MAX {
            return Err(Refusal::Busy { queue: "administrative requests" });
        }
        let id = self.draw_id();
        let order = order(admin, id)?;
        let timeout_ms = self.options.request_timeout_ms * ADMIN_TIMEOUTS;
        self.requests.add(origin, order, now.mono_us + timeout_ms * 1_000, timeout_ms);
        Ok(())
    }

    /// An id for a new member: 63 bits that look random and follow from the seed, so that it is no
    /// member's, present or past, by any chance worth counting.
    fn draw_id(&mut self) -> NodeId {
        self.ids_drawn += 1;
        let parts = [self.options.seed, self.options.boot, self.options.node.get(), self.ids_drawn];
        let mixed = parts.into_iter().fold(0x6f61_726c_6f63_6b21_u64, |sum, part| {
            let mut mixed = (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^= mixed >> 32;
            mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
            mixed ^ (mixed >> 29)
        });
        NodeId((mixed >> 1).max(1))
    }

    fn deadline(&self, now: Now, timeout_ms: u32) -> (u64, u64) {
        let timeout_ms =
            if timeout_ms == 0 { self.options.request_timeout_ms } else { u64::from(timeout_ms) };
        (now.mono_us + timeout_ms * 1_000, timeout_ms)
    }

    fn status(&self) -> NodeStatus {
        let numbers = self.replica.numbers();
        let peers = self.replica.progress().into_iter().map(|peer| PeerProgress {
            node: peer.node,
            matched: peer.matched,
            active: peer.active,
            snapshot: peer.snapshot,
        });
        NodeStatus {
            node: self.options.node,
            role: self.reign.role,
            term: self.reign.term,
            leader: self.reign.leader,
            committed: numbers.committed,
            first: numbers.first,
            last: numbers.last,
            log_bytes: numbers.bytes,
            peers: peers.collect(),
            is_full: self.is_full(),
            ..NodeStatus::default()
        }
    }
}

/// Whether a command is accepted even when the disk is nearly full: it frees space, or keeps the
/// cluster itself going.
fn frees_space(command: &Command) -> bool {
    match command {
        Command::Txn(txn) => only_deletes(txn),
        Command::Tree(op) => tree_frees_space(op),
        // Whoever holds something must be able to let go of it.
        Command::Object(op) => !matches!(op, ObjectOp::Acquire(_) | ObjectOp::Proclaim { .. }),
        Command::Pool(op) => !matches!(
            op,
            PoolOp::Create { .. } | PoolOp::AddShards { .. } | PoolOp::Join { .. } | PoolOp::Report { .. }
        ),
        Command::Compact { .. }
        | Command::OpenSession(_)
        | Command::CloseSession { .. }
        | Command::TouchSessions { .. }
        | Command::ExpireSessions { .. }
        | Command::PublishMember { .. }
        | Command::UpdateMember { .. }
        | Command::SetAlarm { .. }
        | Command::SetDowngrade { .. }
        | Command::CheckDigest { .. }
        | Command::Auth(_) => true,
    }
}

fn is_watch_of(input: &Input, conn: u64) -> bool {
    matches!(input, Input::Request { origin, request: Request::Watch(_), .. } if origin.conn == conn)
}

fn tree_frees_space(op: &TreeOp) -> bool {
    match op {
        TreeOp::Delete { .. } | TreeOp::DeleteIdle { .. } | TreeOp::Check { .. } => true,
        TreeOp::Create(_) | TreeOp::SetData { .. } | TreeOp::SetAcl { .. } => false,
        TreeOp::Multi(ops) => ops.iter().all(tree_frees_space),
    }
}

fn only_deletes(txn: &Txn) -> bool {
    txn.then.iter().chain(&txn.otherwise).all(|op| match op {
        KvOp::Range(_) | KvOp::Delete { .. } => true,
        KvOp::Txn(txn) => only_deletes(txn),
        KvOp::Put(_) | KvOp::Update { .. } | KvOp::PutSequential { .. } => false,
    })
}
