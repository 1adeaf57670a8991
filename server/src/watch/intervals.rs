//! Which of many spans hold a key.
//!
//! A treap ordered by (start, end) in which every node knows the farthest end below it, so that a
//! question costs the logarithm of the number of spans plus the answers. Priorities come from a
//! counter through a mixing function: balanced as if random, and the same on every run.

use super::WatchId;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Where a span ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Before this key.
    Before(Bytes),
    /// After the last key.
    Never,
}

impl End {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < end.as_ref(),
            Self::Never => true,
        }
    }
}

/// A set of watches for each distinct span.
#[derive(Debug, Default)]
pub struct Intervals {
    root: Link,
    inserted: u64,
}

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    start: Bytes,
    end: End,
    watches: BTreeSet<WatchId>,
    priority: u64,
    farthest: End,
    left: Link,
    right: Link,
}

impl Intervals {
    /// Adds a watch of `[start, end)`.
    pub fn insert(&mut self, start: Bytes, end: End, watch: WatchId) {
        self.inserted += 1;
        let node = Node {
            start,
            farthest: end.clone(),
            end,
            watches: BTreeSet::from([watch]),
            priority: mix(self.inserted),
            left: None,
            right: None,
        };
        self.root = Some(insert(self.root.take(), Box::new(node)));
    }

    /// Removes a watch of `[start, end)`.
    pub fn remove(&mut self, start: &Bytes, end: &End, watch: WatchId) {
        self.root = remove(self.root.take(), start, end, watch);
    }

    /// Shows the watches of every span that holds `key`.
    pub fn visit(&self, key: &[u8], show: &mut dyn FnMut(&BTreeSet<WatchId>)) {
        visit(self.root.as_deref(), key, show);
    }
}

/// The finalizer of splitmix64.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Node {
    fn order(&self, start: &Bytes, end: &End) -> Ordering {
        start.cmp(&self.start).then_with(|| end.cmp(&self.end))
    }

    /// Recomputes the farthest end from the children.
    fn settle(mut self: Box<Self>) -> Box<Self> {
        let children = [&self.left, &self.right];
        let farthest = children.into_iter().flatten().map(|child| &child.farthest).max();
        self.farthest = farthest.max(Some(&self.end)).cloned().unwrap_or(End::Never);
        self
    }
}

fn insert(link: Link, mut new: Box<Node>) -> Box<Node> {
    let Some(mut node) = link else {
        return new;
    };
    match node.order(&new.start, &new.end) {
        Ordering::Equal => {
            node.watches.append(&mut new.watches);
            node
        }
        Ordering::Less => {
            let left = insert(node.left.take(), new);
            rotate_left_child(node, left)
        }
        Ordering::Greater => {
            let right = insert(node.right.take(), new);
            rotate_right_child(node, right)
        }
    }
}

/// Hangs `left` below `node`, or above it if its priority says so.
fn rotate_left_child(mut node: Box<Node>, mut left: Box<Node>) -> Box<Node> {
    if left.priority <= node.priority {
        node.left = Some(left);
        return node.settle();
    }
    node.left = left.right.take();
    left.right = Some(node.settle());
    left.settle()
}

fn rotate_right_child(mut node: Box<Node>, mut right: Box<Node>) -> Box<Node> {
    if right.priority <= node.priority {
        node.right = Some(right);
        return node.settle();
    }
    node.right = right.left.take();
    right.left = Some(node.settle());
    right.settle()
}

fn remove(link: Link, start: &Bytes, end: &End, watch: WatchId) -> Link {
    let mut node = link?;
    match node.order(start, end) {
        Ordering::Equal => {
            node.watches.remove(&watch);
            if node.watches.is_empty() {
                return merge(node.left.take(), node.right.take());
            }
        }
        Ordering::Less => node.left = remove(node.left.take(), start, end, watch),
        Ordering::Greater => node.right = remove(node.right.take(), start, end, watch),
    }
    Some(node.settle())
}

/// Joins two trees of which the first lies wholly before the second.
fn merge(first: Link, second: Link) -> Link {
    match (first, second) {
        (None, only) | (only, None) => only,
        (Some(mut first), Some(mut second)) => Some(if first.priority > second.priority {
            first.right = merge(first.right.take(), Some(second));
            first.settle()
        } else {
            second.left = merge(Some(first), second.left.take());
            second.settle()
        }),
    }
}

fn visit(link: Option<&Node>, key: &[u8], show: &mut dyn FnMut(&BTreeSet<WatchId>)) {
    let Some(node) = link else {
        return;
    };
    if !node.farthest.is_after(key) {
        return;
    }
    visit(node.left.as_deref(), key, show);
    if node.start.as_ref() > key {
        return;
    }
    if node.end.is_after(key) {
        show(&node.watches);
    }
    visit(node.right.as_deref(), key, show);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(intervals: &Intervals, key: &[u8]) -> BTreeSet<WatchId> {
        let mut all = BTreeSet::new();
        intervals.visit(key, &mut |watches| all.extend(watches.iter().copied()));
        all
    }

    /// Every question is answered as a plain list would, while spans come and go.
    #[test]
    fn agrees_with_a_list() {
        let mut intervals = Intervals::default();
        let mut list: Vec<(u8, Option<u8>, WatchId)> = Vec::new();
        let end_of = |end: Option<u8>| end.map_or(End::Never, |end| End::Before(Bytes::from(vec![end])));
        for step in 0..2_000_u64 {
            let random = mix(step + 7);
            if random.is_multiple_of(3) && !list.is_empty() {
                let (start, end, id) = list.swap_remove((random >> 8) as usize % list.len());
                intervals.remove(&Bytes::from(vec![start]), &end_of(end), id);
            } else {
                let start = (random >> 16) as u8;
                let end = (random >> 24) as u8;
                let end = (end > start).then_some(end);
                intervals.insert(Bytes::from(vec![start]), end_of(end), WatchId(step));
                list.push((start, end, WatchId(step)));
            }
            let key = (random >> 32) as u8;
            let holds = |(start, end, _): &&(u8, Option<u8>, WatchId)| {
                *start <= key && end.is_none_or(|end| key < end)
            };
            let expected: BTreeSet<_> = list.iter().filter(holds).map(|(_, _, id)| *id).collect();
            assert_eq!(found(&intervals, &[key]), expected, "at step {step}");
        }
    }
}
