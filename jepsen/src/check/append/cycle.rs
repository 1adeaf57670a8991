//! Cycles in the orders between transactions, and what they are called.

use super::graph::{Edge, Graph, Kind, Leaving};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Transactions each of which comes before the next, and the last before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Its edges; each begins where the one before ends.
    pub edges: Vec<Edge>,
}

impl Cycle {
    /// What it is called: by the reads that did not see a write in it, and by the strongest order that
    /// it needs.
    pub fn name(&self) -> String {
        let count = |kind| self.edges.iter().filter(|edge| edge.kind == kind).count();
        let base = match (count(Kind::ReadWrite), count(Kind::WriteRead)) {
            (0, 0) => "G0",
            (0, _) => "G1c",
            (1, _) => "G-single",
            _ => "G2-item",
        };
        let order = if count(Kind::RealTime) > 0 {
            "-realtime"
        } else if count(Kind::Process) > 0 {
            "-process"
        } else {
            ""
        };
        format!("{base}{order}")
    }
}

use Kind::{Process, ReadWrite, RealTime, WriteRead, WriteWrite};

/// Kinds of edges in the order in which cycles are looked for: without real time first, and with few
/// reads first.
const ROUNDS: [&[Kind]; 9] = [
    &[WriteWrite],
    &[WriteWrite, WriteRead],
    &[WriteWrite, WriteRead, ReadWrite],
    &[WriteWrite, Process],
    &[WriteWrite, WriteRead, Process],
    &[WriteWrite, WriteRead, ReadWrite, Process],
    &[WriteWrite, Process, RealTime],
    &[WriteWrite, WriteRead, Process, RealTime],
    &[WriteWrite, WriteRead, ReadWrite, Process, RealTime],
];

/// Searches from one node at a time: no more of them in one strongly connected part.
const TRIED: usize = 64;

/// One short cycle for each strongly connected part and each name it can have, the plainest first. A
/// part in which a cycle was found is not looked at with more kinds of edges.
pub fn cycles(graph: &Graph) -> Vec<Cycle> {
    let mut found: Vec<Cycle> = Vec::new();
    let mut explained: BTreeSet<usize> = BTreeSet::new();
    for kinds in ROUNDS {
        let leaving = graph.leaving(kinds);
        for part in leaving.strongly_connected() {
            if part.iter().any(|node| explained.contains(node)) {
                continue;
            }
            if let Some(cycle) = smallest(graph, &leaving, &part, kinds.contains(&ReadWrite)) {
                explained.extend(part);
                found.push(cycle);
            }
        }
    }
    found
}

/// A smallest cycle in a part: among those with one read that missed a write if there is any, because
/// that breaks a weaker promise.
fn smallest(graph: &Graph, leaving: &Leaving, part: &[usize], with_reads: bool) -> Option<Cycle> {
    let within: BTreeSet<usize> = part.iter().copied().collect();
    let transactions = || part.iter().copied().filter(|node| *node < graph.transactions);
    let shortest = |cycles: Vec<Vec<Edge>>| cycles.into_iter().min_by_key(Vec::len);
    let mut single = None;
    if with_reads {
        let reads = transactions().flat_map(|node| leaving.of(node).iter().copied());
        let reads = reads.filter(|edge| edge.kind == ReadWrite && within.contains(&edge.to)).take(TRIED);
        let closed = reads.filter_map(|read| {
            let mut edges = path(leaving, &within, read.to, read.from, |kind| kind != ReadWrite)?;
            edges.push(read);
            Some(edges)
        });
        single = shortest(closed.collect());
    }
    let any = || {
        let tried = transactions().take(TRIED);
        shortest(tried.filter_map(|node| path(leaving, &within, node, node, |_| true)).collect())
    };
    single.or_else(any).map(|edges| Cycle { edges: without_moments(&edges, graph.transactions) })
}

/// The shortest path along edges that are allowed, within some nodes; from a node to itself, a cycle.
fn path(
    leaving: &Leaving,
    within: &BTreeSet<usize>,
    from: usize,
    to: usize,
    allowed: impl Fn(Kind) -> bool,
) -> Option<Vec<Edge>> {
    let mut reached: BTreeMap<usize, Edge> = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    while let Some(node) = next.pop_front() {
        for edge in leaving.of(node).iter().filter(|edge| allowed(edge.kind) && within.contains(&edge.to)) {
            if edge.to == to {
                let mut edges = vec![*edge];
                while edges[edges.len() - 1].from != from {
                    let before = reached.get(&edges[edges.len() - 1].from)?;
                    edges.push(*before);
                }
                edges.reverse();
                return Some(edges);
            }
            if edge.to != from && !reached.contains_key(&edge.to) {
                reached.insert(edge.to, *edge);
                next.push_back(edge.to);
            }
        }
    }
    None
}

/// Edges through moments of real time, as one from transaction to transaction.
fn without_moments(edges: &[Edge], transactions: usize) -> Vec<Edge> {
    let first = edges.iter().position(|edge| edge.from < transactions).unwrap_or(0);
    let mut plain: Vec<Edge> = Vec::new();
    for edge in edges.iter().cycle().skip(first).take(edges.len()) {
        match plain.last_mut() {
            Some(last) if last.to >= transactions => last.to = edge.to,
            _ => plain.push(*edge),
        }
    }
    plain
}
