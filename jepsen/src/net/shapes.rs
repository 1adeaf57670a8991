//! Shapes of partitions: who no longer hears whom. Pure: chance and leader are given.
//!
//! The shapes are Jepsen's (`jepsen.nemesis`), with those that its analyses and etcd's tests add: a
//! link that fails in one direction, and a leader alone.

use super::links::Place;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whom a shape is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// A node by chance.
    Any,
    /// The leader, or a node by chance while none is known.
    Leader,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One node and the others do not hear each other.
    Isolated(Whom),
    /// One node hears no other, but is heard.
    Deaf(Whom),
    /// One node is heard by no other, but hears.
    Mute(Whom),
    /// The first half of the nodes, and the rest.
    Halves,
    /// As halves, of nodes in an order by chance.
    RandomHalves,
    /// The largest minority, with the leader in it, from the majority.
    LeaderInMinority,
    /// Two halves that share one node, which hears both and is heard by both.
    Bridge,
    /// Each node hears a majority, and no two hear the same one.
    MajoritiesRing,
    /// No node hears another.
    AllFromAll,
    /// One node and all clients do not hear each other.
    ClientsFrom(Whom),
    /// One client and one node, by chance, do not hear each other.
    ClientFromNode,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 15] = [
        Self::Isolated(Whom::Any),
        Self::Isolated(Whom::Leader),
        Self::Deaf(Whom::Any),
        Self::Deaf(Whom::Leader),
        Self::Mute(Whom::Any),
        Self::Mute(Whom::Leader),
        Self::Halves,
        Self::RandomHalves,
        Self::LeaderInMinority,
        Self::Bridge,
        Self::MajoritiesRing,
        Self::AllFromAll,
        Self::ClientsFrom(Whom::Any),
        Self::ClientsFrom(Whom::Leader),
        Self::ClientFromNode,
    ];

    /// Which links this shape cuts among so many nodes and clients, from the first of each pair to the
    /// second. Empty where there are too few to cut, as with one node.
    pub fn cuts(
        self,
        nodes: usize,
        clients: usize,
        leader: Option<usize>,
        chance: &mut impl Rng,
    ) -> Vec<(Place, Place)> {
        if nodes == 0 {
            return Vec::new();
        }
        let mut order: Vec<usize> = (0..nodes).collect();
        if self != Self::Halves {
            order.shuffle(chance);
        }
        match self {
            Self::Isolated(whom) => pairs(nodes, both_ways(one(whom, leader, &order))),
            Self::Deaf(whom) => {
                let deaf = one(whom, leader, &order);
                pairs(nodes, |_, to| to == deaf)
            }
            Self::Mute(whom) => {
                let mute = one(whom, leader, &order);
                pairs(nodes, |from, _| from == mute)
            }
            Self::Halves | Self::RandomHalves => apart(nodes, &order[..nodes / 2]),
            Self::LeaderInMinority => {
                let leader = one(Whom::Leader, leader, &order);
                order.sort_by_key(|node| *node != leader);
                apart(nodes, &order[..(nodes - 1) / 2])
            }
            Self::Bridge => bridge(nodes, &order),
            Self::MajoritiesRing => ring(&order),
            Self::AllFromAll => pairs(nodes, |_, _| true),
            Self::ClientsFrom(whom) => {
                let node = one(whom, leader, &order);
                (0..clients).flat_map(|client| mutual(Place::Client(client), Place::Node(node))).collect()
            }
            Self::ClientFromNode if clients == 0 => Vec::new(),
            Self::ClientFromNode => {
                mutual(Place::Client(chance.random_range(0..clients)), Place::Node(order[0])).to_vec()
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Isolated(Whom::Any) => "isolated",
            Self::Isolated(Whom::Leader) => "isolated-leader",
            Self::Deaf(Whom::Any) => "deaf",
            Self::Deaf(Whom::Leader) => "deaf-leader",
            Self::Mute(Whom::Any) => "mute",
            Self::Mute(Whom::Leader) => "mute-leader",
            Self::Halves => "halves",
            Self::RandomHalves => "random-halves",
            Self::LeaderInMinority => "leader-in-minority",
            Self::Bridge => "bridge",
            Self::MajoritiesRing => "majorities-ring",
            Self::AllFromAll => "all-from-all",
            Self::ClientsFrom(Whom::Any) => "clients-from-node",
            Self::ClientsFrom(Whom::Leader) => "clients-from-leader",
            Self::ClientFromNode => "client-from-node",
        })
    }
}

fn one(whom: Whom, leader: Option<usize>, order: &[usize]) -> usize {
    match (whom, leader) {
        (Whom::Leader, Some(leader)) => leader,
        (Whom::Leader, None) | (Whom::Any, _) => order[0],
    }
}

/// Pairs of different nodes for which this holds.
fn pairs(nodes: usize, is_cut: impl Fn(usize, usize) -> bool) -> Vec<(Place, Place)> {
    let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    let cut = all.filter(|(from, to)| from != to && is_cut(*from, *to));
    cut.map(|(from, to)| (Place::Node(from), Place::Node(to))).collect()
}

fn both_ways(one: usize) -> impl Fn(usize, usize) -> bool {
    move |from, to| from == one || to == one
}

/// These nodes from the others.
fn apart(nodes: usize, side: &[usize]) -> Vec<(Place, Place)> {
    pairs(nodes, |from, to| side.contains(&from) != side.contains(&to))
}

fn bridge(nodes: usize, order: &[usize]) -> Vec<(Place, Place)> {
    let (bridge, rest) = (order[0], &order[1..]);
    let side = &rest[..rest.len() / 2];
    pairs(nodes, |from, to| from != bridge && to != bridge && side.contains(&from) != side.contains(&to))
}

/// Each hears a window of the ring, as wide as a majority, with itself in the middle.
fn ring(order: &[usize]) -> Vec<(Place, Place)> {
    let nodes = order.len();
    let majority = nodes / 2 + 1;
    let mut cuts = Vec::new();
    for (at, &to) in order.iter().enumerate() {
        let first = at + nodes - majority / 2;
        let heard: Vec<usize> = (first..first + majority).map(|place| order[place % nodes]).collect();
        let unheard = order.iter().filter(|from| !heard.contains(from));
        cuts.extend(unheard.map(|&from| (Place::Node(from), Place::Node(to))));
    }
    cuts
}

fn mutual(a: Place, b: Place) -> [(Place, Place); 2] {
    [(a, b), (b, a)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::collections::BTreeSet;

    fn cuts(shape: Shape, nodes: usize, leader: Option<usize>, seed: u64) -> BTreeSet<(Place, Place)> {
        let all = shape.cuts(nodes, 4, leader, &mut StdRng::seed_from_u64(seed));
        let set: BTreeSet<_> = all.iter().copied().collect();
        assert_eq!(set.len(), all.len(), "{shape} names a link twice");
        assert!(set.iter().all(|(from, to)| from != to && *from != Place::Harness && *to != Place::Harness));
        set
    }

    /// Whom each node hears, itself among them.
    fn heard(cuts: &BTreeSet<(Place, Place)>, nodes: usize) -> Vec<BTreeSet<usize>> {
        let hears = |to, from| !cuts.contains(&(Place::Node(from), Place::Node(to)));
        (0..nodes).map(|to| (0..nodes).filter(|from| *from == to || hears(to, *from)).collect()).collect()
    }

    #[test]
    fn the_leader_is_the_one() {
        for seed in 0..20 {
            let heard = heard(&cuts(Shape::Isolated(Whom::Leader), 5, Some(3), seed), 5);
            assert_eq!(heard[3], BTreeSet::from([3]));
            assert_eq!(heard[0], BTreeSet::from([0, 1, 2, 4]));
        }
    }

    #[test]
    fn anyone_can_be_the_one() {
        let all: BTreeSet<_> =
            (0..60).map(|seed| cuts(Shape::Isolated(Whom::Any), 5, Some(3), seed)).collect();
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn one_way_is_one_way() {
        let deaf = heard(&cuts(Shape::Deaf(Whom::Leader), 3, Some(1), 0), 3);
        assert_eq!(deaf, [BTreeSet::from([0, 1, 2]), BTreeSet::from([1]), BTreeSet::from([0, 1, 2])]);
        let mute = heard(&cuts(Shape::Mute(Whom::Leader), 3, Some(1), 0), 3);
        assert_eq!(mute, [BTreeSet::from([0, 2]), BTreeSet::from([0, 1, 2]), BTreeSet::from([0, 2])]);
    }

    #[test]
    fn halves_leave_one_majority() {
        for (shape, nodes) in [(Shape::Halves, 3), (Shape::Halves, 5), (Shape::RandomHalves, 5)] {
            let heard = heard(&cuts(shape, nodes, None, 1), nodes);
            let sizes: BTreeSet<usize> = heard.iter().map(BTreeSet::len).collect();
            assert_eq!(sizes, BTreeSet::from([nodes / 2, nodes - nodes / 2]), "{shape}");
        }
        assert_eq!(cuts(Shape::Halves, 5, None, 1), cuts(Shape::Halves, 5, None, 2));
        let random: BTreeSet<_> = (0..20).map(|seed| cuts(Shape::RandomHalves, 5, None, seed)).collect();
        assert!(random.len() > 3);
    }

    #[test]
    fn the_leader_is_in_the_minority() {
        for seed in 0..20 {
            let heard = heard(&cuts(Shape::LeaderInMinority, 5, Some(4), seed), 5);
            assert_eq!(heard[4].len(), 2);
        }
    }

    #[test]
    fn a_bridge_joins_two_sides() {
        for nodes in [3, 5] {
            let heard = heard(&cuts(Shape::Bridge, nodes, None, 3), nodes);
            let bridges = heard.iter().filter(|heard| heard.len() == nodes).count();
            assert_eq!(bridges, 1);
            assert!(heard.iter().all(|heard| heard.len() == nodes || heard.len() == nodes / 2 + 1));
        }
    }

    #[test]
    fn a_ring_has_a_majority_for_each_and_no_two_the_same() {
        for nodes in [3, 4, 5, 7] {
            let heard = heard(&cuts(Shape::MajoritiesRing, nodes, None, 5), nodes);
            assert!(heard.iter().all(|heard| heard.len() == nodes / 2 + 1));
            assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), nodes);
        }
    }

    #[test]
    fn clients_lose_a_node_and_nodes_lose_nobody() {
        let all = cuts(Shape::ClientsFrom(Whom::Leader), 3, Some(2), 0);
        assert_eq!(all.len(), 8);
        assert!(all.contains(&(Place::Client(3), Place::Node(2))));
        assert!(heard(&all, 3).iter().all(|heard| heard.len() == 3));
        assert_eq!(cuts(Shape::ClientFromNode, 3, None, 0).len(), 2);
    }

    #[test]
    fn all_have_a_name_and_cut_something() {
        let names: BTreeSet<String> = Shape::ALL.iter().map(Shape::to_string).collect();
        assert_eq!(names.len(), Shape::ALL.len());
        for shape in Shape::ALL {
            assert!(!cuts(shape, 3, None, 0).is_empty(), "{shape}");
            assert!(shape.cuts(0, 0, None, &mut StdRng::seed_from_u64(0)).is_empty());
        }
    }
}
