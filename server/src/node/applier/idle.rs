//! What the leader has done because time passed: container and TTL znodes whose time is up are
//! removed, what expired sessions held is withheld from others no longer, and pools of shards go on
//! without those who are late.

use super::{Applier, Sinks};
use crate::node::exchange::ToDriver;
use crate::node::io::Now;
use bytes::Bytes;
use oarlock_state::command::Answer;
use oarlock_state::object::{ObjectOp, ObjectQuery, ObjectReply};
use oarlock_state::pool::{PoolOp, PoolQuery, PoolReply};
use oarlock_state::tree::{TreeOp, TreeQuery, TreeReply};
use oarlock_state::{Command, Query};

/// Candidates looked at in one tick.
const LOOKED_AT: u64 = 256;

/// Where the search is.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Only paths after this one.
    after: Bytes,
    /// Not before this time, in microseconds on the monotonic clock.
    next_us: u64,
    /// No proposal to let go of withheld holds before this time: one is under way.
    next_elapse_us: u64,
    /// No proposal to let go of what is due in pools before this time: one is under way.
    next_pools_us: u64,
}

/// Microseconds between two proposals to let go of what is due.
const ELAPSE_EVERY_US: u64 = 50_000;

impl Applier {
    /// Has let go of what is due: withheld holds and shards whose delay is over, members of pools
    /// that are away for too long, targets that are late. The log's stamp decides; a proposal that
    /// comes too early changes nothing.
    pub(super) fn elapse(&mut self, now: Now, sinks: &mut Sinks<'_>) {
        if !self.leads() || self.installing {
            return;
        }
        #[cfg(feature = "plant")]
        if oarlock_state::plant::is("elapse_never") {
            return;
        }
        let now_ms = now.wall_ms.max(self.machine.stamp_ms());
        if now.mono_us >= self.idle.next_elapse_us && self.object_due_ms().is_some_and(|at| at <= now_ms) {
            self.idle.next_elapse_us = now.mono_us + ELAPSE_EVERY_US;
            sinks.driver.push(ToDriver::Propose(Command::Object(ObjectOp::Elapse)));
        }
        if now.mono_us >= self.idle.next_pools_us && self.pool_due_ms().is_some_and(|at| at <= now_ms) {
            self.idle.next_pools_us = now.mono_us + ELAPSE_EVERY_US;
            sinks.driver.push(ToDriver::Propose(Command::Pool(PoolOp::Elapse)));
        }
    }

    fn object_due_ms(&self) -> Option<u64> {
        match self.machine.read(&self.store, &Query::Object(ObjectQuery::NextDue)) {
            Ok(Answer::Object(ObjectReply::NextDue(due_ms))) => due_ms,
            _ => None,
        }
    }

    fn pool_due_ms(&self) -> Option<u64> {
        match self.machine.read(&self.store, &Query::Pool(PoolQuery::NextDue)) {
            Ok(Answer::Pool(PoolReply::NextDue(due_ms))) => due_ms,
            _ => None,
        }
    }

    /// Has idle znodes removed. One pass over the candidates per interval; the log refuses what
    /// changed meanwhile.
    pub(super) fn remove_idle(&mut self, now: Now, sinks: &mut Sinks<'_>) {
        if !self.leads() || self.installing || now.mono_us < self.idle.next_us {
            return;
        }
        let after = std::mem::take(&mut self.idle.after);
        let now_ms = now.wall_ms.max(self.machine.stamp_ms());
        let query = Query::Tree(TreeQuery::Idle { after, now_ms, limit: LOOKED_AT });
        let Ok(Answer::Tree(TreeReply::Idle { nodes, resume_after })) =
            self.machine.read(&self.store, &query)
        else {
            return;
        };
        match resume_after {
            Some(path) => self.idle.after = path,
            None => self.idle.next_us = now.mono_us + self.options.idle_check_ms * 1_000,
        }
        sinks.driver.extend(nodes.into_iter().map(|(path, cversion, mzxid)| {
            ToDriver::Propose(Command::Tree(TreeOp::DeleteIdle { path, cversion, mzxid }))
        }));
    }
}
