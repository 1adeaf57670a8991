//! Who waits for what.

use crate::node::request::Origin;
use oarlock_state::{Caller, NodeId, ProposalId, Query};
use std::collections::{BTreeMap, HashMap};

/// The writes of this node that are under way. Bounded by the driver, which admits them.
#[derive(Debug)]
pub struct Waiters {
    node: NodeId,
    boot: u64,
    /// By the proposal's count; only ever looked up, so its order does not matter.
    waiting: HashMap<u64, Origin>,
}

impl Waiters {
    /// Nobody waits yet at this node in this life of it.
    pub fn new(node: NodeId, boot: u64) -> Self {
        Self { node, boot, waiting: HashMap::new() }
    }

    /// Somebody waits for the proposal of this count.
    pub fn add(&mut self, count: u64, origin: Origin) {
        self.waiting.insert(count, origin);
    }

    /// The proposal's count, if it is this node's own of this life.
    pub fn own(&self, id: ProposalId) -> Option<u64> {
        (id.node == self.node && id.boot == self.boot).then_some(id.count)
    }

    /// Whoever waited for it.
    pub fn take(&mut self, count: u64) -> Option<Origin> {
        self.waiting.remove(&count)
    }
}

/// What a read answers.
#[derive(Clone, Debug)]
pub enum Question {
    /// A query, on somebody's behalf.
    State(Caller, Query),
    /// The members, after a change of them.
    Members {
        /// The member that was added, or zero.
        added: NodeId,
    },
}

/// Reads that wait for an index to be applied. Bounded by the driver, which admits them.
#[derive(Debug, Default)]
pub struct Reads {
    waiting: BTreeMap<u64, Vec<(Origin, Question)>>,
}

impl Reads {
    /// Answer this once `index` is applied.
    pub fn add(&mut self, index: u64, origin: Origin, question: Question) {
        self.waiting.entry(index).or_default().push((origin, question));
    }

    /// Those that can be answered with `applied` applied, in order.
    pub fn due(&mut self, applied: u64) -> Vec<(Origin, Question)> {
        if self.waiting.first_key_value().is_none_or(|(first, _)| *first > applied) {
            return Vec::new();
        }
        let later = self.waiting.split_off(&(applied + 1));
        std::mem::replace(&mut self.waiting, later).into_values().flatten().collect()
    }
}
