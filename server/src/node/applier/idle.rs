//! What the leader has done because time passed: container and TTL znodes whose time is up are
//! removed, and what expired sessions held is withheld from others no longer.

use super::{Applier, Sinks};
use crate::node::exchange::ToDriver;
use crate::node::io::Now;
use bytes::Bytes;
use oarlock_state::command::Answer;
use oarlock_state::object::{ObjectOp, ObjectQuery, ObjectReply};
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
}

/// Microseconds between two proposals to let go of withheld holds.
const ELAPSE_EVERY_US: u64 = 50_000;

impl Applier {
    /// Has withheld holds let go when their delay is over. The log's stamp decides; one that comes
    /// too early changes nothing.
    pub(super) fn elapse(&mut self, now: Now, sinks: &mut Sinks<'_>) {
        if !self.leads() || self.installing || now.mono_us < self.idle.next_elapse_us {
            return;
        }
        let next = self.machine.read(&self.store, &Query::Object(ObjectQuery::NextDue));
        let Ok(Answer::Object(ObjectReply::NextDue(Some(due_ms)))) = next else {
            return;
        };
        if due_ms <= now.wall_ms.max(self.machine.stamp_ms()) {
            self.idle.next_elapse_us = now.mono_us + ELAPSE_EVERY_US;
            sinks.driver.push(ToDriver::Propose(Command::Object(ObjectOp::Elapse)));
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
