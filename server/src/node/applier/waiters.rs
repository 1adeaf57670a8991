//! Who waits for what.

use crate::node::exchange::TimeLimit;
use crate::node::request::{Origin, Refusal};
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

/// A read that waits for its index.
#[derive(Debug)]
struct Read {
    origin: Origin,
    question: Question,
    limit: TimeLimit,
}

/// Reads that wait for an index to be applied, each for a limited time.
#[derive(Debug, Default)]
pub struct Reads {
    waiting: BTreeMap<u64, Vec<Read>>,
}

impl Reads {
    /// Answer this once `index` is applied.
    pub fn add(&mut self, index: u64, origin: Origin, question: Question, limit: TimeLimit) {
        self.waiting.entry(index).or_default().push(Read { origin, question, limit });
    }

    /// Those that can be answered with `applied` applied, in order.
    pub fn due(&mut self, applied: u64) -> Vec<(Origin, Question)> {
        if self.waiting.first_key_value().is_none_or(|(first, _)| *first > applied) {
            return Vec::new();
        }
        let later = self.waiting.split_off(&(applied + 1));
        let due = std::mem::replace(&mut self.waiting, later);
        due.into_values().flatten().map(|read| (read.origin, read.question)).collect()
    }

    /// Takes out those that waited too long, with what they are told.
    pub fn expire(&mut self, now_us: u64) -> Vec<(Origin, Refusal)> {
        let mut late = Vec::new();
        self.waiting.retain(|_, reads| {
            reads.retain(|read| {
                let is_late = read.limit.deadline_us <= now_us;
                if is_late {
                    late.push((read.origin, read.refusal()));
                }
                !is_late
            });
            !reads.is_empty()
        });
        late
    }
}

impl Read {
    fn refusal(&self) -> Refusal {
        let after_ms = self.limit.timeout_ms;
        match self.question {
            Question::State(..) => Refusal::TimedOut { after_ms },
            // The change that they were asked after was made.
            Question::Members { .. } => Refusal::Unknown { after_ms },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_whose_index_does_not_come_is_refused() {
        let origin = |tag| Origin { conn: 1, tag };
        let limit = |deadline_us| TimeLimit { deadline_us, timeout_ms: 5_000 };
        let members = || Question::Members { added: NodeId(0) };
        let mut reads = Reads::default();
        let query = Query::Sessions { after: oarlock_state::SessionId(0), limit: 1 };
        reads.add(7, origin(1), Question::State(Caller::Anonymous, query), limit(100));
        reads.add(7, origin(2), members(), limit(200));
        reads.add(8, origin(3), members(), limit(100));
        assert!(reads.expire(99).is_empty());
        let late = reads.expire(100);
        let told: Vec<u64> = late.iter().map(|(origin, _)| origin.tag).collect();
        assert_eq!(told, [1, 3]);
        assert!(matches!(late[0].1, Refusal::TimedOut { after_ms: 5_000 }), "{late:?}");
        assert!(matches!(late[1].1, Refusal::Unknown { .. }), "{late:?}");
        let due: Vec<u64> = reads.due(9).iter().map(|(origin, _)| origin.tag).collect();
        assert_eq!(due, [2], "an answer comes once");
    }
}
