//! One member of the test's cluster: a replica, its log, and a state that is a list of lines.

use super::MemoryLog;
use crate::consensus::{Options, Replica, Role, SnapshotMeta, StartError, conf, finish_install};
use bytes::Bytes;
use oarlock_state::command::KvOp;
use oarlock_state::{Command, Entry, EntryBody, NodeId, Proposal};
use slog::{Discard, Logger, o};

/// What the entries so far came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) applied: u64,
    pub(super) term: u64,
    pub(super) conf: Bytes,
    pub(super) lines: Vec<String>,
}

impl State {
    /// Applies an entry and says what it did.
    pub(super) fn apply(&mut self, entry: &Entry) -> String {
        assert_eq!(entry.index.get(), self.applied + 1, "entries are handed out in order, each once");
        self.applied = entry.index.get();
        self.term = entry.term.get();
        let line = match &entry.body {
            EntryBody::Empty => "nothing".to_owned(),
            EntryBody::Proposals { proposals, .. } => {
                proposals.iter().map(describe).collect::<Vec<_>>().join(", ")
            }
            EntryBody::Membership(change) => {
                self.conf = change.conf_state.clone();
                let put: Vec<u64> = change.put.iter().map(|member| member.node.get()).collect();
                let remove: Vec<u64> = change.remove.iter().map(|node| node.get()).collect();
                format!("put {put:?} remove {remove:?}, now {}", describe_conf(&self.conf))
            }
        };
        self.lines.push(line.clone());
        line
    }

    pub(super) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { index: self.applied, term: self.term, conf_state: self.conf.clone() }
    }
}

/// A member.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) log: MemoryLog,
    /// `None` while it is down.
    pub(super) replica: Option<Replica>,
    pub(super) state: State,
    /// What a power cut leaves of the state.
    pub(super) durable: State,
    /// The snapshot that the durable state came from.
    pub(super) installed: Option<SnapshotMeta>,
    /// What others can be sent.
    pub(super) checkpoint: Option<State>,
    /// What was last reported of its part.
    pub(super) reported: (Role, u64, u64, bool),
    /// Entries kept by truncation.
    pub(super) keep: u64,
    boots: u64,
    /// What its first data directory held.
    initial: State,
}

impl Node {
    pub(super) fn new(id: u64, base: (u64, u64), conf: Bytes) -> Self {
        let state = State { applied: base.0, term: base.1, conf, lines: Vec::new() };
        Self {
            id: NodeId(id),
            log: MemoryLog::new(base),
            replica: None,
            durable: state.clone(),
            initial: state.clone(),
            state,
            installed: None,
            checkpoint: None,
            reported: (Role::Follower, base.1, 0, false),
            keep: 10_000,
            boots: 0,
        }
    }

    /// Starts from what is durable.
    pub(super) fn start(&mut self) -> Result<(), StartError> {
        self.boots += 1;
        self.state = self.durable.clone();
        if let Some(installed) = &self.installed {
            finish_install(&mut self.log, installed)?;
        }
        let options = Options {
            seed: 1,
            boot: self.boots,
            applied: self.state.applied,
            conf_state: self.state.conf.clone(),
            catch_up_entries: self.keep,
            ..Options::of(self.id)
        };
        self.replica = Some(Replica::new(options, Box::new(self.log.clone()), Logger::root(Discard, o!()))?);
        Ok(())
    }

    /// Puts an empty disk in place of the old one.
    pub(super) fn wipe(&mut self) {
        self.durable = self.initial.clone();
        self.installed = None;
        self.log = MemoryLog::new((self.initial.applied, self.initial.term));
    }

    /// Stops without warning.
    pub(super) fn crash(&mut self) {
        self.replica = None;
        self.log.cut_power();
    }
}

/// The keys put.
fn describe(proposal: &Proposal) -> String {
    let Command::Txn(txn) = &proposal.command else { panic!("tests propose puts") };
    let [KvOp::Put(put)] = txn.then.as_slice() else { panic!("tests propose puts") };
    String::from_utf8_lossy(&put.key).into_owned()
}

pub(super) fn describe_conf(encoded: &Bytes) -> String {
    let conf = conf::decode(encoded).expect("replicas hand out what they encoded");
    let mut text = format!("voters {:?}", conf.voters);
    for (name, ids) in [
        ("old voters", conf.voters_outgoing),
        ("learners", conf.learners),
        ("learners next", conf.learners_next),
    ] {
        if !ids.is_empty() {
            text += &format!(" {name} {ids:?}");
        }
    }
    text
}
