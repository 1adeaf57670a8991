//! Links: what happens to what one place sends another. Each direction is a link of its own.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Who sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// A server, counted from 0.
    Node(usize),
    /// The harness's own connections, by which it watches the servers. Shapes spare them.
    Harness,
    /// A client of the workload, counted from 0.
    Client(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "n{node}"),
            Self::Harness => write!(f, "harness"),
            Self::Client(client) => write!(f, "c{client}"),
        }
    }
}

/// The state of one direction. The default is a good one: at once, and everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Nothing passes, nor does what is still on its way.
    pub cut: bool,
    /// How long everything takes.
    pub delay: Duration,
    /// Up to so much more, evenly spread. It alone never reorders.
    pub jitter: Duration,
    /// Which part of packets is lost, from 0 to 1.
    pub loss: f64,
    /// Which part arrives twice.
    pub duplicate: f64,
    /// Which part is held back so that later packets overtake it: by [`HELD_BACK`] or the delay,
    /// whichever is longer.
    pub reorder: f64,
    /// Which part has one bit flipped, which the receiver's checksum must find.
    pub corrupt: f64,
    /// Bytes per second; none for as fast as it goes.
    pub rate: Option<u64>,
}

/// How long a packet is held back at least in order to be overtaken.
pub const HELD_BACK: Duration = Duration::from_millis(5);

impl Link {
    /// Whether it is as good as the default.
    pub fn is_good(&self) -> bool {
        *self == Self::default()
    }
}

/// What happened on a link, in packets; in pieces of a stream for the proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Arrived.
    pub delivered: u64,
    /// Stopped by a cut: packets, or pieces held and connections refused.
    pub cut: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped because too many were on their way already.
    pub overflowed: u64,
    /// Arrived later than at once.
    pub delayed: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Held back to be overtaken.
    pub reordered: u64,
    /// Had a bit flipped.
    pub corrupted: u64,
}

impl Counts {
    /// Everything that a fault did: zero if none had an effect.
    pub fn faults(&self) -> u64 {
        self.cut
            + self.lost
            + self.overflowed
            + self.delayed
            + self.duplicated
            + self.reordered
            + self.corrupted
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.delivered += more.delivered;
        self.cut += more.cut;
        self.lost += more.lost;
        self.overflowed += more.overflowed;
        self.delayed += more.delayed;
        self.duplicated += more.duplicated;
        self.reordered += more.reordered;
        self.corrupted += more.corrupted;
    }
}

/// Counters that the mover of packets writes and anyone reads.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) delivered: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) overflowed: AtomicU64,
    pub(super) delayed: AtomicU64,
    pub(super) duplicated: AtomicU64,
    pub(super) reordered: AtomicU64,
    pub(super) corrupted: AtomicU64,
}

/// One more.
pub(super) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            delivered: read(&self.delivered),
            cut: read(&self.cut),
            lost: read(&self.lost),
            overflowed: read(&self.overflowed),
            delayed: read(&self.delayed),
            duplicated: read(&self.duplicated),
            reordered: read(&self.reordered),
            corrupted: read(&self.corrupted),
        }
    }
}

/// All links between so many nodes and clients. Changes hold at once, for packets sent from then on;
/// a cut also for those on their way.
#[derive(Debug)]
pub struct Links {
    nodes: usize,
    clients: usize,
    table: Mutex<Vec<Link>>,
    /// Counts changes, so that the mover of packets sees by one load that it must look again.
    changes: AtomicU64,
    counters: Vec<Counters>,
}

impl Links {
    /// Good links between these.
    pub fn new(nodes: usize, clients: usize) -> Self {
        let places = nodes + 1 + clients;
        Self {
            nodes,
            clients,
            table: Mutex::new(vec![Link::default(); places * places]),
            changes: AtomicU64::new(0),
            counters: (0..places * places).map(|_| Counters::default()).collect(),
        }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// All places.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let nodes = (0..self.nodes).map(Place::Node);
        nodes.chain([Place::Harness]).chain((0..self.clients).map(Place::Client))
    }

    /// A link's state.
    pub fn get(&self, from: Place, to: Place) -> Link {
        self.table()[self.index(from, to)]
    }

    /// Changes a link.
    pub fn update(&self, from: Place, to: Place, change: impl FnOnce(&mut Link)) {
        change(&mut self.table()[self.index(from, to)]);
        self.changed();
    }

    /// Changes all links from one node to another.
    pub fn update_between_nodes(&self, mut change: impl FnMut(&mut Link)) {
        let mut table = self.table();
        for from in 0..self.nodes {
            for to in (0..self.nodes).filter(|to| *to != from) {
                change(&mut table[self.index(Place::Node(from), Place::Node(to))]);
            }
        }
        drop(table);
        self.changed();
    }

    /// Cuts these links, besides what is cut already. All at one time.
    pub fn cut(&self, cuts: &[(Place, Place)]) {
        let mut table = self.table();
        for &(from, to) in cuts {
            table[self.index(from, to)].cut = true;
        }
        drop(table);
        self.changed();
    }

    /// Mends every cut and leaves the rest of the links' state as it is.
    pub fn mend(&self) {
        self.table().iter_mut().for_each(|link| link.cut = false);
        self.changed();
    }

    /// Makes every link good again.
    pub fn reset(&self) {
        self.table().fill(Link::default());
        self.changed();
    }

    /// What happened on a link so far.
    pub fn counts(&self, from: Place, to: Place) -> Counts {
        self.counters(from, to).read()
    }

    /// What happened on all links so far.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.counters.iter().for_each(|counters| total += counters.read());
        total
    }

    pub(super) fn counters(&self, from: Place, to: Place) -> &Counters {
        &self.counters[self.index(from, to)]
    }

    pub(super) fn counters_at(&self, index: usize) -> &Counters {
        &self.counters[index]
    }

    /// Where a place stands in a row of the table.
    pub(super) fn row(&self, place: Place) -> usize {
        match place {
            Place::Node(node) if node < self.nodes => node,
            Place::Harness => self.nodes,
            Place::Client(client) if client < self.clients => self.nodes + 1 + client,
            Place::Node(_) | Place::Client(_) => {
                panic!("{place} is not one of {} nodes and {} clients", self.nodes, self.clients)
            }
        }
    }

    /// How many places there are.
    pub(super) fn width(&self) -> usize {
        self.nodes + 1 + self.clients
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// A copy of the table, in rows by sender.
    pub(super) fn copy(&self) -> Vec<Link> {
        self.table().clone()
    }

    fn index(&self, from: Place, to: Place) -> usize {
        self.row(from) * self.width() + self.row(to)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// A panic elsewhere leaves whole links behind, so the table is good even then.
    fn table(&self) -> MutexGuard<'_, Vec<Link>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_mended_alone() {
        let links = Links::new(3, 2);
        let (a, b) = (Place::Node(0), Place::Node(2));
        links.update(a, b, |link| link.loss = 0.5);
        links.cut(&[(a, b)]);
        assert!(links.get(a, b).cut && !links.get(b, a).cut);
        links.mend();
        assert_eq!(links.get(a, b), Link { loss: 0.5, ..Link::default() });
        links.reset();
        assert!(links.get(a, b).is_good());
        assert_eq!(links.changes(), 4);
    }

    #[test]
    fn nodes_are_changed_without_clients() {
        let links = Links::new(2, 1);
        links.update_between_nodes(|link| link.rate = Some(9));
        let changed = |from, to| links.get(from, to).rate.is_some();
        assert!(changed(Place::Node(0), Place::Node(1)) && changed(Place::Node(1), Place::Node(0)));
        assert!(!changed(Place::Client(0), Place::Node(1)) && !changed(Place::Node(1), Place::Harness));
    }

    #[test]
    fn counts_are_told_apart_by_link() {
        let links = Links::new(2, 0);
        let (a, b) = (Place::Node(0), Place::Node(1));
        bump(&links.counters(a, b).lost);
        bump(&links.counters(b, a).delivered);
        assert_eq!((links.counts(a, b).lost, links.counts(b, a).lost), (1, 0));
        let total = links.total();
        assert_eq!((total.lost, total.delivered, total.faults()), (1, 1, 1));
    }
}
