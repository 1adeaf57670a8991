//! One member's part in the agreement.

use super::log_view::LogView;
use super::options::ENTRY_BYTES_MAX;
use super::reads::Reads;
use super::ready::Outstanding;
use super::{NotProposed, Options, StartError, conf, election, start};
use crate::log_format::encode_batch;
use crate::storage::LogStore;
use oarlock_state::{NodeId, Proposal};
use raft::RawNode;
use raft::eraftpb::{ConfChangeV2, HardState};
use slog::{Drain, Level, LevelFilter, Logger, info, o};
use std::collections::BTreeMap;

/// One member's part in the agreement on the log. See the [module](super) for how it is driven.
pub struct Replica {
    pub(super) options: Options,
    pub(super) logger: Logger,
    pub(super) raw: RawNode<LogView>,
    /// What must be on disk. The raft crate does not mention every move of the commit index.
    pub(super) hard_state: HardState,
    /// `hard_state` is ahead of the disk.
    pub(super) hard_state_moved: bool,
    pub(super) outstanding: Option<Outstanding>,
    /// What the caller has applied; told to the raft crate when nothing is outstanding.
    pub(super) applied: u64,
    pub(super) reads: Reads,
    /// Reads that failed and have not been handed out as such.
    pub(super) lost_reads: Vec<u64>,
    /// Ticks since the start.
    pub(super) ticks: u64,
    /// The tick at which each member was last heard of.
    pub(super) heard: BTreeMap<u64, u64>,
    /// Ticks for which this leader saw a joint configuration that nobody is leaving.
    pub(super) joint_ticks: usize,
    /// Own removal was handed out.
    pub(super) removed: bool,
}

/// For the raft crate itself. What it calls informative (every step of every election, on each try)
/// is of use to whoever debugs; what happened is logged by us.
fn crate_logger(logger: &Logger) -> Logger {
    let own = logger.new(o!("part" => "raft"));
    if own.is_debug_enabled() {
        own
    } else {
        Logger::root(LevelFilter::new(own, Level::Warning).fuse(), o!())
    }
}

impl Replica {
    /// Continues from what is on disk. The entries after `options.applied` are handed out again as
    /// soon as they are known to be committed.
    ///
    /// # Errors
    /// The log and the state do not fit together, or an option is out of range.
    pub fn new(options: Options, mut log: Box<dyn LogStore>, logger: Logger) -> Result<Self, StartError> {
        let config = start::config(&options)?;
        let (hard_state, conf) = start::check(&options, log.as_mut())?;
        let logger = logger.new(o!("node" => options.node.to_string()));
        let joins = conf.voters.is_empty();
        let view = LogView::new(log, hard_state.clone(), conf);
        let raw = RawNode::new(&config, view, &crate_logger(&logger))
            .map_err(|error| StartError::Options(error.to_string()))?;
        info!(logger, "replica starts"; "term" => hard_state.term, "committed" => hard_state.commit,
            "applied" => options.applied, "last" => raw.raft.raft_log.last_index(), "joins" => joins);
        let mut replica = Self {
            applied: options.applied,
            options,
            logger,
            raw,
            hard_state,
            hard_state_moved: false,
            outstanding: None,
            reads: Reads::default(),
            lost_reads: Vec::new(),
            ticks: 0,
            heard: BTreeMap::new(),
            joint_ticks: 0,
            removed: false,
        };
        replica.pin_timeout();
        Ok(replica)
    }

    /// Time passed: one tick, however long the caller slept. Catching up on many ticks at once
    /// would hold elections against a leader whose heartbeats lie unread.
    pub fn tick(&mut self) {
        self.assert_idle();
        self.ticks += 1;
        if self.removed {
            return;
        }
        self.raw.tick();
        self.leave_joint_if_stuck();
        self.pin_timeout();
    }

    /// Proposes all of these as one entry, to be applied in order. They get the leader's wall
    /// clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// Nothing was proposed, and nothing will be; the proposals come back.
    pub fn propose(
        &mut self,
        stamp_ms: u64,
        proposals: Vec<Proposal>,
    ) -> Result<(), (Vec<Proposal>, NotProposed)> {
        self.assert_idle();
        let proposed = self.may_propose().and_then(|()| {
            let data = encode_batch(stamp_ms, &proposals);
            if data.len() > ENTRY_BYTES_MAX {
                return Err(NotProposed::TooLarge { bytes: data.len() });
            }
            // The only way left to be dropped is the bound on uncommitted bytes.
            self.raw.propose(Vec::new(), data.into()).map_err(|_| NotProposed::Full)
        });
        self.pin_timeout();
        proposed.map_err(|reason| (proposals, reason))
    }

    /// Asks for votes now, without waiting for the election timeout. The others refuse if they hear
    /// a leader.
    pub fn campaign(&mut self) {
        self.assert_idle();
        if let Err(error) = self.raw.campaign() {
            info!(self.logger, "cannot campaign"; "error" => %error);
        }
        self.pin_timeout();
    }

    /// A message could not be delivered: entries are sent one message at a time until the peer
    /// answers again.
    pub fn report_unreachable(&mut self, peer: NodeId) {
        self.assert_idle();
        self.raw.report_unreachable(peer.get());
        self.pin_timeout();
    }

    /// Everything up to this entry has been applied to the state (in memory; see
    /// [`durable_to`](Self::durable_to)). Lower numbers than before are passed over.
    pub fn applied_to(&mut self, index: u64) {
        self.applied = self.applied.max(index);
        if self.outstanding.is_none() {
            self.settle_applied();
        }
    }

    /// Whether a [`Ready`](super::Ready) is outstanding, so that nothing may be told.
    pub fn is_waiting(&self) -> bool {
        self.outstanding.is_some()
    }

    pub(super) fn log(&self) -> &dyn LogStore {
        self.raw.raft.store().log.as_ref()
    }

    pub(super) fn may_propose(&self) -> Result<(), NotProposed> {
        if self.removed {
            return Err(NotProposed::Removed);
        }
        if !self.leads() {
            return Err(NotProposed::NotLeader { leader: self.leader() });
        }
        match self.raw.raft.lead_transferee {
            Some(to) => Err(NotProposed::Transferring { to: NodeId(to) }),
            None => Ok(()),
        }
    }

    /// Tells the raft crate what is applied. A leader may begin to leave a joint configuration now.
    pub(super) fn settle_applied(&mut self) {
        let known = self.raw.raft.raft_log.applied;
        if self.applied > known {
            self.raw.advance_apply_to(self.applied);
            self.pin_timeout();
        }
    }

    /// Puts our own election timeout in place of the one that the raft crate drew. Called after
    /// each call into it.
    pub(super) fn pin_timeout(&mut self) {
        let Options { seed, node, election_ticks, .. } = self.options;
        let ticks = election::timeout(seed, node.get(), self.raw.raft.term, election_ticks);
        self.raw.raft.set_randomized_election_timeout(ticks);
    }

    /// The raft crate forbids any call between `ready` and `advance`.
    pub(super) fn assert_idle(&self) {
        assert!(self.outstanding.is_none(), "a Ready is outstanding: persist it before anything else");
    }

    /// The raft crate leaves a joint configuration by itself, unless leadership changed hands at the
    /// wrong moment. An order too many is refused by every replica alike.
    fn leave_joint_if_stuck(&mut self) {
        let is_joint = !self.raw.raft.prs().conf().to_conf_state().voters_outgoing.is_empty();
        if !self.leads() || !is_joint || self.raw.raft.has_pending_conf() {
            self.joint_ticks = 0;
            return;
        }
        self.joint_ticks += 1;
        if self.joint_ticks >= self.options.election_ticks {
            self.joint_ticks = 0;
            let left = self.raw.propose_conf_change(Vec::new(), ConfChangeV2::default());
            info!(self.logger, "leaving the joint configuration again"; "proposed" => left.is_ok());
        }
    }

    /// Forgets when members were heard of that are members no more.
    pub(super) fn forget_strangers(&mut self) {
        let members = self.raw.raft.prs();
        self.heard.retain(|id, _| members.get(*id).is_some());
    }

    pub(super) fn is_member(&self) -> bool {
        conf::holds(&self.raw.raft.prs().conf().to_conf_state(), self.options.node.get())
    }
}
