//! The test's cluster: members and the wires between them. Everything happens in a fixed order, so
//! a story runs the same every time.

use super::node::{Node, State, describe_conf};
use crate::consensus::{ReadRefused, Ready, Replica, Role, SendSnapshot};
use bytes::Bytes;
use oarlock_state::{Entry, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::mem::take;

/// Packets that one stabilization may deliver. More means that the members chat for ever.
const DELIVERIES_MAX: usize = 10_000;

/// Something on its way.
enum Packet {
    Message(Bytes),
    Snapshot { message: Bytes, state: State },
}

/// Members and wires.
#[derive(Default)]
pub(super) struct Network {
    pub(super) nodes: BTreeMap<u64, Node>,
    wires: BTreeMap<(u64, u64), VecDeque<Packet>>,
    /// Wires whose packets wait.
    held: BTreeSet<(u64, u64)>,
    /// Members whose packets are lost.
    cut: BTreeSet<u64>,
    /// A member that loses power in the middle of installing a snapshot.
    pub(super) crash_at_install: Option<u64>,
    /// Checkpoints are made whenever they are wanted.
    pub(super) serves_checkpoints: bool,
    report: String,
    /// What each entry is, as the first member that applied it says.
    agreed: BTreeMap<u64, String>,
    /// The highest entry that anybody had applied when a read was asked for.
    asked: BTreeMap<(u64, u64), u64>,
}

impl Network {
    pub(super) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no member {id}"))
    }

    pub(super) fn replica(&mut self, id: u64) -> &mut Replica {
        self.node(id).replica.as_mut().unwrap_or_else(|| panic!("member {id} is down"))
    }

    pub(super) fn say(&mut self, line: impl std::fmt::Display) {
        writeln!(self.report, "{line}").expect("a String takes everything");
    }

    pub(super) fn take_report(&mut self) -> String {
        take(&mut self.report)
    }

    pub(super) fn cut(&mut self, id: u64) {
        self.cut.insert(id);
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn hold(&mut self, from: u64, to: u64) {
        self.held.insert((from, to));
    }

    pub(super) fn release(&mut self, from: u64, to: u64) {
        self.held.remove(&(from, to));
    }

    /// Delivers the next packet of a held wire.
    pub(super) fn pass(&mut self, from: u64, to: u64) {
        let packet = self.wires.get_mut(&(from, to)).and_then(VecDeque::pop_front);
        self.deliver(from, to, packet.unwrap_or_else(|| panic!("nothing is on its way from {from} to {to}")));
    }

    /// Makes the state durable and a checkpoint of it, and offers that.
    pub(super) fn checkpoint(&mut self, id: u64) {
        let node = self.node(id);
        node.durable = node.state.clone();
        node.checkpoint = Some(node.state.clone());
        let meta = node.state.meta();
        self.replica(id).offer_snapshot(meta);
    }

    /// Asks a member to confirm a read.
    pub(super) fn read(&mut self, id: u64, context: u64) -> Result<(), ReadRefused> {
        let newest = self.agreed.last_key_value().map_or(0, |(index, _)| *index);
        self.asked.insert((id, context), newest);
        self.replica(id).read_index(context)
    }

    /// One tick everywhere, then all that follows from it.
    pub(super) fn tick_all(&mut self) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            if self.node(id).replica.is_some() {
                self.replica(id).tick();
                self.settle(id);
            }
        }
        self.stabilize();
    }

    /// Delivers until nothing is on its way, except on held wires.
    pub(super) fn stabilize(&mut self) {
        for _ in 0..DELIVERIES_MAX {
            let held = &self.held;
            let busy =
                self.wires.iter_mut().find(|(wire, packets)| !held.contains(wire) && !packets.is_empty());
            let Some((&(from, to), packets)) = busy else { return };
            let packet = packets.pop_front().expect("the wire is busy");
            self.deliver(from, to, packet);
        }
        panic!("the members do not come to rest");
    }

    /// Does what a replica wants done, until it wants nothing.
    pub(super) fn settle(&mut self, id: u64) {
        while self.node(id).replica.is_some() {
            let Some(ready) = self.replica(id).ready().expect("entries are readable") else { break };
            self.work(id, ready);
        }
        self.report_part(id);
    }

    fn work(&mut self, id: u64, ready: Ready) {
        self.post(id, ready.send_now, ready.send_snapshots);
        for (context, index) in ready.reads {
            let newest = self.asked[&(id, context)];
            assert!(index >= newest, "read {context} is stale: {index}, but {newest} was applied before it");
            self.say(format_args!("{id} read {context} is good at {index}"));
        }
        for context in ready.failed_reads {
            self.say(format_args!("{id} read {context} failed"));
        }
        if ready.want_snapshot {
            self.say(format_args!("{id} wants a checkpoint"));
        }
        self.apply(id, &ready.committed);
        let persisted = match ready.install {
            Some(meta) => {
                self.say(format_args!(
                    "{id} installs {} with {}",
                    meta.index,
                    describe_conf(&meta.conf_state)
                ));
                let node = self.node(id);
                node.durable = node.checkpoint.clone().expect("files come before their message");
                assert_eq!(node.durable.meta(), meta, "the files are of the snapshot");
                node.state = node.durable.clone();
                node.installed = Some(meta.clone());
                if self.crash_at_install.take_if(|crashing| *crashing == id).is_some() {
                    self.node(id).crash();
                    return;
                }
                self.replica(id).installed(ready.ticket, meta.index)
            }
            None => self.replica(id).persist(ready.ticket),
        };
        match persisted {
            Ok(persisted) => {
                self.post(id, persisted.send_after, persisted.send_snapshots);
                self.apply(id, &persisted.committed);
                if ready.want_snapshot && self.serves_checkpoints {
                    self.checkpoint(id);
                }
            }
            Err(error) => {
                self.say(format_args!("{id} stops: {error}"));
                self.node(id).crash();
            }
        }
    }

    fn apply(&mut self, id: u64, entries: &[Entry]) {
        for entry in entries {
            let line = self.node(id).state.apply(entry);
            let agreed = self.agreed.entry(entry.index.get()).or_insert_with(|| line.clone());
            assert_eq!(*agreed, line, "member {id} disagrees about entry {}", entry.index);
            self.say(format_args!("{id} applies {}/{} {line}", entry.term, entry.index));
        }
        let applied = self.node(id).state.applied;
        self.replica(id).applied_to(applied);
    }

    fn post(&mut self, from: u64, messages: Vec<(NodeId, Bytes)>, snapshots: Vec<SendSnapshot>) {
        for (to, bytes) in messages {
            self.wires.entry((from, to.get())).or_default().push_back(Packet::Message(bytes));
        }
        for SendSnapshot { to, index, message } in snapshots {
            self.say(format_args!("{from} sends snapshot {index} to {to}"));
            let state = self.node(from).checkpoint.clone().expect("only what was offered is sent");
            assert_eq!(state.applied, index, "the newest checkpoint is sent");
            self.wires.entry((from, to.get())).or_default().push_back(Packet::Snapshot { message, state });
        }
    }

    fn deliver(&mut self, from: u64, to: u64, packet: Packet) {
        let is_up = self.nodes.get(&to).is_some_and(|node| node.replica.is_some());
        let arrives = is_up && !self.cut.contains(&from) && !self.cut.contains(&to);
        match packet {
            Packet::Message(_) if !arrives => {}
            Packet::Message(message) => {
                if let Err(error) = self.replica(to).step(message) {
                    self.say(format_args!("{to} refuses a message: {error}"));
                    self.node(to).crash();
                    return;
                }
                self.settle(to);
            }
            Packet::Snapshot { message, state } => {
                if arrives {
                    self.node(to).checkpoint = Some(state);
                    self.replica(to).step_staged(message).expect("the message is well-formed");
                    self.settle(to);
                }
                if self.node(from).replica.is_some() {
                    self.replica(from).report_snapshot(NodeId(to), arrives);
                    self.settle(from);
                }
            }
        }
    }

    /// Reports a change of the member's part. Mere candidacy is not worth a line.
    fn report_part(&mut self, id: u64) {
        let Some(replica) = &self.node(id).replica else { return };
        let now = replica.leadership();
        let part = (now.role, now.term, now.leader.get(), now.removed);
        if part == self.node(id).reported || (now.role == Role::Candidate && !now.removed) {
            return;
        }
        self.node(id).reported = part;
        let removed = if now.removed { ", removed" } else { "" };
        match now.role {
            Role::Leader => self.say(format_args!("{id} leads term {}{removed}", now.term)),
            Role::Follower | Role::Learner | Role::Candidate if now.leader.get() == 0 => {
                self.say(format_args!("{id} is in term {} without a leader{removed}", now.term));
            }
            Role::Follower | Role::Learner | Role::Candidate => {
                self.say(format_args!("{id} follows {} in term {}{removed}", now.leader, now.term));
            }
        }
    }
}
