//! Orders between transactions, as edges of a graph, and its strongly connected parts.

use std::fmt;

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The other's append came next after its own.
    WriteWrite,
    /// The other read its append.
    WriteRead,
    /// It read a list that did not hold the other's append yet.
    ReadWrite,
    /// Its process did the other next.
    Process,
    /// It was over before the other was asked for.
    RealTime,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteWrite => "ww",
            Self::WriteRead => "wr",
            Self::ReadWrite => "rw",
            Self::Process => "process",
            Self::RealTime => "realtime",
        })
    }
}

/// One transaction before another. Numbers beyond the transactions are moments of real time, which
/// stand between many transactions that were over and many that began later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The one before.
    pub from: usize,
    /// The one after.
    pub to: usize,
    /// Why.
    pub kind: Kind,
}

/// All edges.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Nodes below this are transactions.
    pub transactions: usize,
    /// Nodes, with those that are moments.
    pub nodes: usize,
    /// Edges in any order.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// Edges of these kinds, by the node that they leave.
    pub fn leaving(&self, kinds: &[Kind]) -> Leaving {
        let kept = || self.edges.iter().filter(|edge| kinds.contains(&edge.kind) && edge.from != edge.to);
        let mut first = vec![0; self.nodes + 1];
        kept().for_each(|edge| first[edge.from + 1] += 1);
        (0..self.nodes).for_each(|node| first[node + 1] += first[node]);
        let mut edges = vec![None; first[self.nodes]];
        let mut next = first.clone();
        for edge in kept() {
            edges[next[edge.from]] = Some(*edge);
            next[edge.from] += 1;
        }
        Leaving { first, edges: edges.into_iter().flatten().collect() }
    }
}

/// Edges by the node that they leave.
pub struct Leaving {
    first: Vec<usize>,
    edges: Vec<Edge>,
}

impl Leaving {
    /// Those that leave a node.
    pub fn of(&self, node: usize) -> &[Edge] {
        &self.edges[self.first[node]..self.first[node + 1]]
    }

    /// Parts of at least two nodes in which each node can be reached from each other.
    ///
    /// Tarjan, "Depth-first search and linear graph algorithms" (1972), without recursion: histories are
    /// longer than stacks.
    pub fn strongly_connected(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let nodes = self.first.len() - 1;
        let (mut index, mut low) = (vec![UNSEEN; nodes], vec![0; nodes]);
        let (mut on_stack, mut stack) = (vec![false; nodes], Vec::new());
        let (mut calls, mut parts, mut count) = (Vec::<(usize, usize)>::new(), Vec::new(), 0);
        for root in 0..nodes {
            if index[root] != UNSEEN {
                continue;
            }
            calls.push((root, 0));
            while let Some((node, at)) = calls.pop() {
                if at == 0 {
                    (index[node], low[node], on_stack[node]) = (count, count, true);
                    count += 1;
                    stack.push(node);
                }
                if at > 0 {
                    low[node] = low[node].min(low[self.of(node)[at - 1].to]);
                }
                let mut entered = None;
                for (offset, edge) in self.of(node).iter().enumerate().skip(at) {
                    if index[edge.to] == UNSEEN {
                        entered = Some((offset + 1, edge.to));
                        break;
                    }
                    if on_stack[edge.to] {
                        low[node] = low[node].min(index[edge.to]);
                    }
                }
                if let Some((resume, to)) = entered {
                    calls.extend([(node, resume), (to, 0)]);
                } else if low[node] == index[node] {
                    let from = stack.iter().rposition(|one| *one == node).unwrap_or(0);
                    let part = stack.split_off(from);
                    part.iter().for_each(|one| on_stack[*one] = false);
                    parts.extend((part.len() > 1).then_some(part));
                }
            }
        }
        parts
    }
}
