//! Random deeds in place of stories. Whatever happens, members agree about every entry (the network
//! asserts it at each one), no confirmed read is stale, and once the disturbance ends they all get to
//! the same state.

use super::network::Network;
use super::node::Node;
use super::{learner, put, voter};
use crate::consensus::{MembershipProposal, conf};
use oarlock_state::NodeId;

const MEMBERS: [u64; 5] = [1, 2, 3, 4, 5];
const DEEDS: usize = 400;
const RUNS: u64 = 60;

/// A generator of numbers that depend on the seed alone (an xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn member(&mut self) -> u64 {
        MEMBERS[self.below(MEMBERS.len() as u64) as usize]
    }
}

#[test]
fn members_agree_whatever_happens() {
    for seed in 1..=RUNS {
        disturb(seed);
    }
}

fn disturb(seed: u64) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut network = Network::default();
    let conf_state = conf::initial(&[NodeId(1), NodeId(2), NodeId(3)], &[NodeId(4), NodeId(5)]);
    for id in MEMBERS {
        let mut node = Node::new(id, (1, 1), conf_state.clone());
        node.start().expect("an empty log is in order");
        network.nodes.insert(id, node);
    }
    for count in 0..DEEDS {
        do_something(&mut network, &mut chance, count);
    }
    calm_down(&mut network, seed);
}

fn do_something(network: &mut Network, chance: &mut Chance, count: usize) {
    let id = someone(network, chance);
    let is_up = network.node(id).replica.is_some();
    match chance.below(16) {
        0 => network.cut(id),
        1 | 2 => network.heal(),
        3 if is_up => network.node(id).crash(),
        3 | 4 if !is_up => network.node(id).start().expect("what is durable fits together"),
        5 if is_up => {
            let node = network.node(id);
            node.durable = node.state.clone();
        }
        6 if is_up => checkpoint_and_truncate(network, id, chance.below(4)),
        7 => network.crash_at_install = Some(id),
        8 if is_up => {
            let kind = chance.below(4);
            let change = membership(kind, chance.member());
            // Most of these are refused, which is as good.
            let _ = network.replica(id).propose_membership(change);
            network.settle(id);
        }
        9 if is_up => {
            let to = NodeId(chance.member());
            let _ = network.replica(id).transfer_leader(to);
            network.settle(id);
        }
        10 => {
            let to = chance.member();
            network.hold(id, to);
        }
        11 => {
            for (from, to) in MEMBERS.iter().flat_map(|from| MEMBERS.map(|to| (*from, to))) {
                network.release(from, to);
            }
        }
        12..=13 => {
            for _ in 0..chance.below(12) {
                network.tick_all();
            }
        }
        _ if is_up => {
            let _ = network.replica(id).propose(count as u64, vec![put(&format!("key{count}"))]);
            let _ = network.read(id, count as u64);
            network.settle(id);
        }
        _ => {}
    }
    if chance.below(3) > 0 {
        network.stabilize();
    }
}

/// Anybody, or a leader if there is one: most deeds mean something only there.
fn someone(network: &mut Network, chance: &mut Chance) -> u64 {
    let id = chance.member();
    let leads =
        |id: &u64| network.node(*id).replica.as_ref().is_some_and(|it| it.leadership().committed_in_term);
    if chance.below(2) == 0 { id } else { MEMBERS.into_iter().find(leads).unwrap_or(id) }
}

fn checkpoint_and_truncate(network: &mut Network, id: u64, keep: u64) {
    network.checkpoint(id);
    let applied = network.node(id).state.applied;
    let replica = network.replica(id);
    replica.keep_entries(keep);
    replica.durable_to(applied).expect("the disk is in order");
}

fn membership(kind: u64, id: u64) -> MembershipProposal {
    let mut change = MembershipProposal::default();
    match kind {
        0 => change.put.push(learner(id)),
        1 => change.put.push(voter(id)),
        2 => change.put.extend([learner(id), voter(id % 5 + 1)]),
        _ => change.put.extend([voter(id), voter(id % 5 + 1)]),
    }
    change
}

/// Everybody is up and reachable, and checkpoints are there when they are needed.
fn calm_down(network: &mut Network, seed: u64) {
    network.heal();
    network.crash_at_install = None;
    network.serves_checkpoints = true;
    for (from, to) in MEMBERS.iter().flat_map(|from| MEMBERS.map(|to| (*from, to))) {
        network.release(from, to);
    }
    for id in MEMBERS {
        if network.node(id).replica.is_none() {
            network.node(id).start().expect("what is durable fits together");
        }
    }
    for _ in 0..4 {
        (0..40).for_each(|_| network.tick_all());
        let leader = MEMBERS.into_iter().find(|id| network.replica(*id).leadership().committed_in_term);
        let leader = leader.unwrap_or_else(|| panic!("seed {seed}: nobody leads\n{}", network.take_report()));
        checkpoint_and_truncate(network, leader, 0);
    }
    (0..40).for_each(|_| network.tick_all());
    let first = network.node(1).state.clone();
    for id in MEMBERS {
        assert_eq!(network.node(id).state, first, "seed {seed}: member {id} lags behind or differs");
    }
}
