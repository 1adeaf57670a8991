//! Which features were exercised while which faults were in force: what never met was not tested
//! together.

use super::faults::Fault;
use super::node::ApplyNote;
use super::queue::{SECOND, Time};
use crate::checks::exactly_once::Execution;
use crate::history::{Fate, Operation};
use oarlock_server::node::request::{Consistency, Request, Response};
use oarlock_state::command::{KvOp, Put, Txn, Update};
use oarlock_state::event::{Cause, EventKind};
use oarlock_state::object::ObjectEvent;
use oarlock_state::tree::{Create, NodeKind, TreeOp};
use oarlock_state::{Command, EntryBody, Event, Query, SessionChange};
use std::collections::BTreeMap;
use std::fmt;

/// A strike without a duration counts as in force for so long.
pub const MOMENT: Time = SECOND;

/// Something that the product does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Feature {
    /// A key is set or removed.
    KvWrite,
    /// A key is set if it holds what was expected.
    CompareAndSet,
    /// Several keys are set at once.
    TxnOfSeveral,
    /// A number is added to, or a list appended to.
    Update,
    /// A key with the next number is made.
    SequentialKey,
    /// The tree changes.
    TreeWrite,
    /// A write under a fencing token is admitted.
    FencedWrite,
    /// A write under a token that is not valid any more is refused.
    StaleToken,
    /// A repeated write is answered from memory, by its name in a session.
    ExactlyOnceRepeat,
    /// A session is opened.
    SessionOpen,
    /// A session is kept alive.
    KeepAlive,
    /// A session is closed.
    SessionClose,
    /// A session expires.
    SessionExpiry,
    /// A key or a node of the tree that goes with a session is made.
    Ephemeral,
    /// A key or a node of the tree goes with its session.
    EphemeralGone,
    /// A lock is taken, free or after waiting.
    Lock,
    /// A lead is taken.
    Election,
    /// A hold is lost or taken away.
    HoldLost,
    /// What an expired session held is withheld for a while, and free then.
    LockDelay,
    /// A watch tells of events.
    WatchEvents,
    /// A watch is resumed.
    WatchResume,
    /// A watch is told the state anew.
    WatchResync,
    /// A read that sees everything before it, through the leader.
    LinearizableRead,
    /// The same through another member.
    FollowerRead,
    /// A read that may be a little old.
    BoundedRead,
    /// A read of whatever the member has.
    SerializableRead,
    /// A read of an earlier revision.
    HistoricalRead,
    /// What became of a write is asked for.
    OutcomeQuery,
    /// A write goes to the leader through another member.
    ForwardedWrite,
    /// A new leader begins.
    LeaderChange,
    /// The members change.
    MembershipChange,
    /// History is compacted.
    Compaction,
    /// The state is written to disk in the background.
    Flush,
    /// A snapshot is put in place of a member's state.
    SnapshotInstall,
    /// A process starts from what is on disk.
    Recovery,
}

impl Feature {
    /// All of them.
    pub fn all() -> &'static [Self] {
        clap::ValueEnum::value_variants()
    }

    fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self).expect("no feature is hidden");
        value.get_name().replace('-', " ")
    }

    /// What an entry exercised.
    fn of_execution(execution: &Execution) -> Vec<Self> {
        let proposal = &execution.proposal;
        let Ok(reply) = &execution.outcome else {
            let is_fenced = matches!(execution.outcome, Err(oarlock_state::Rejection::Fenced { .. }));
            return if is_fenced { vec![Self::StaleToken] } else { Vec::new() };
        };
        if reply.repeated {
            return vec![Self::ExactlyOnceRepeat];
        }
        let mut features = match &proposal.command {
            Command::Txn(txn) => of_txn(txn),
            Command::Tree(TreeOp::Create(Create { kind: NodeKind::Ephemeral(_), .. })) => {
                vec![Self::TreeWrite, Self::Ephemeral]
            }
            Command::Tree(_) => vec![Self::TreeWrite],
            Command::OpenSession(_) => vec![Self::SessionOpen],
            Command::CloseSession { .. } => vec![Self::SessionClose],
            Command::Compact { .. } => vec![Self::Compaction],
            _ => Vec::new(),
        };
        if !proposal.guards.is_empty() {
            features.push(Self::FencedWrite);
        }
        features
    }

    /// What an event tells of.
    fn of_event(event: &Event) -> Option<Self> {
        match &event.kind {
            EventKind::Object(ObjectEvent::Granted { .. }) => {
                Some(if event.key.starts_with(b"o/e") { Self::Election } else { Self::Lock })
            }
            EventKind::Object(ObjectEvent::Lost { .. }) => Some(Self::HoldLost),
            EventKind::Object(ObjectEvent::Elapsed { .. }) => Some(Self::LockDelay),
            EventKind::Delete if event.cause != Cause::Request => Some(Self::EphemeralGone),
            _ => None,
        }
    }

    /// What an answered operation exercised; `through_leader` if the leader answered.
    fn of_operation(operation: &Operation, through_leader: bool) -> Option<Self> {
        match (&operation.fate, &operation.request) {
            (Fate::Done(Response::Alive { .. }), _) => Some(Self::KeepAlive),
            (Fate::Done(Response::Answer { .. }), Request::Read { query, consistency, .. }) => {
                Some(match (query, consistency) {
                    (Query::Outcome { .. }, _) => Self::OutcomeQuery,
                    (Query::Range(range), _) if range.revision.get() > 0 => Self::HistoricalRead,
                    (_, Consistency::Serializable) => Self::SerializableRead,
                    (_, Consistency::Bounded { .. }) => Self::BoundedRead,
                    (_, Consistency::Linearizable) if through_leader => Self::LinearizableRead,
                    (_, Consistency::Linearizable) => Self::FollowerRead,
                })
            }
            _ => None,
        }
    }
}

fn of_txn(txn: &Txn) -> Vec<Feature> {
    let mut features = vec![match (&txn.compare[..], &txn.then[..]) {
        ([_, ..], _) => Feature::CompareAndSet,
        (_, [_, _, ..]) => Feature::TxnOfSeveral,
        (_, [KvOp::Update { update: Update::Add(_) | Update::Append(_) | Update::Max(_), .. }]) => {
            Feature::Update
        }
        (_, [KvOp::PutSequential { .. }]) => Feature::SequentialKey,
        _ => Feature::KvWrite,
    }];
    let owned = |op: &KvOp| match op {
        KvOp::Put(Put { owner, .. }) | KvOp::PutSequential { owner, .. } => owner.get() > 0,
        _ => false,
    };
    if txn.then.iter().any(owned) {
        features.push(Feature::Ephemeral);
    }
    features
}

/// How often each pair of a fault and a feature met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pairs: BTreeMap<(Fault, Feature), u64>,
    /// Until when faults are in force.
    in_force: BTreeMap<Fault, Time>,
}

impl Coverage {
    /// A fault is in force until a moment, or until all calm down.
    pub fn strike(&mut self, fault: Fault, until: Time) {
        let known = self.in_force.entry(fault).or_default();
        *known = until.max(*known);
    }

    /// No fault is in force any more.
    pub fn calm(&mut self) {
        self.in_force.clear();
    }

    /// A feature was exercised.
    pub fn met(&mut self, feature: Feature, now: Time) {
        self.in_force.retain(|_, until| *until >= now);
        for fault in self.in_force.keys() {
            *self.pairs.entry((*fault, feature)).or_default() += 1;
        }
    }

    /// An entry was applied for the first time; these are its proposals.
    pub fn applied(&mut self, note: &ApplyNote, executions: &[Execution], now: Time) {
        if self.in_force.is_empty() {
            return;
        }
        let applied = &note.applied;
        let mut features: Vec<Feature> = executions.iter().flat_map(Feature::of_execution).collect();
        features.extend(applied.events.iter().filter_map(Feature::of_event));
        for change in &applied.sessions {
            if let SessionChange::Ended { cause: Cause::Expired, .. } = change {
                features.push(Feature::SessionExpiry);
            }
        }
        if let EntryBody::Membership(_) = note.entry.body {
            features.push(Feature::MembershipChange);
        }
        for feature in features {
            self.met(feature, now);
        }
    }

    /// A client was told an outcome.
    pub fn answered(&mut self, operation: &Operation, through_leader: bool, now: Time) {
        if let Some(feature) = Feature::of_operation(operation, through_leader) {
            self.met(feature, now);
        }
    }

    /// Takes another run's pairs in.
    pub fn merge(&mut self, other: &Self) {
        for (pair, count) in &other.pairs {
            *self.pairs.entry(*pair).or_default() += count;
        }
    }

    /// How many pairs there are.
    pub fn possible() -> usize {
        Fault::ALL.len() * Feature::all().len()
    }

    /// How many of them met.
    pub fn reached(&self) -> usize {
        self.pairs.len()
    }

    /// Pairs that never met.
    pub fn missing(&self) -> Vec<(Fault, Feature)> {
        let all = Fault::ALL.into_iter().flat_map(|fault| Feature::all().iter().map(move |f| (fault, *f)));
        all.filter(|pair| !self.pairs.contains_key(pair)).collect()
    }

    /// How many pairs met, and the names of those that did not.
    pub fn summary(&self) -> String {
        let mut missing: BTreeMap<Feature, Vec<String>> = BTreeMap::new();
        for (fault, feature) in self.missing() {
            missing.entry(feature).or_default().push(fault.name());
        }
        let with = |(feature, faults): (&Feature, &Vec<String>)| {
            format!("{} with {}", feature.name(), faults.join(", "))
        };
        let never: Vec<String> = missing.iter().map(with).collect();
        let never = if never.is_empty() { "none".to_owned() } else { never.join("; ") };
        format!("{} of {} pairs of fault and feature met; never: {never}", self.reached(), Self::possible())
    }
}

/// The whole table: a line for each feature, a column for each fault.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (column, fault) in Fault::ALL.into_iter().enumerate() {
            writeln!(f, "{:>4} {}", column + 1, fault.name())?;
        }
        write!(f, "{:20}", "")?;
        (1..=Fault::ALL.len()).try_for_each(|column| write!(f, "{column:>6}"))?;
        writeln!(f)?;
        for feature in Feature::all() {
            write!(f, "{:20}", feature.name())?;
            for fault in Fault::ALL {
                write!(f, "{:>6}", self.pairs.get(&(fault, *feature)).copied().map_or(".".into(), short))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn short(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..10_000_000 => format!("{}k", count / 1_000),
        _ => format!("{}m", count / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_meets_while_the_fault_is_in_force() {
        let mut coverage = Coverage::default();
        coverage.met(Feature::Lock, 5);
        assert_eq!(coverage.reached(), 0, "no fault was in force");
        coverage.strike(Fault::Kill, 10);
        coverage.strike(Fault::Drop, Time::MAX);
        coverage.met(Feature::Lock, 10);
        coverage.met(Feature::Flush, 11);
        assert_eq!(coverage.reached(), 3, "{coverage}");
        assert!(coverage.missing().contains(&(Fault::Kill, Feature::Flush)));
        coverage.calm();
        coverage.met(Feature::Election, 12);
        let mut total = Coverage::default();
        total.merge(&coverage);
        total.merge(&coverage);
        assert_eq!(total.reached() + total.missing().len(), Coverage::possible());
        let lock = total.to_string().lines().find(|line| line.starts_with("lock ")).map(str::to_owned);
        assert!(lock.is_some_and(|line| line.split_whitespace().any(|cell| cell == "2")), "{total}");
        assert!(total.summary().contains("flush with kill, "), "{}", total.summary());
    }

    #[test]
    fn a_transaction_is_what_it_does() {
        use crate::history::{put, swap, value_of};
        let key = bytes::Bytes::from_static(b"k");
        let session = oarlock_state::SessionId(7);
        assert_eq!(of_txn(&put(&key, value_of(1))), [Feature::KvWrite]);
        assert_eq!(of_txn(&swap(&key, None, value_of(1))), [Feature::CompareAndSet]);
        let owned = super::super::workload::acquire(&key, 1, session);
        assert_eq!(of_txn(&owned), [Feature::CompareAndSet, Feature::Ephemeral]);
    }
}
