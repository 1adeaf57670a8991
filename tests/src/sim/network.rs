//! The network: who reaches whom, how late, how often.
//!
//! A link is a direction. In-order delivery per link is the rule (members talk over TCP); the
//! reorder fault breaks it for messages that may be reordered.

use super::chance::Chance;
use super::queue::{MS, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Somebody with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A member, by id.
    Node(u64),
    /// A client, by number.
    Client(u64),
}

/// How the links are at the moment.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Least delay in microseconds.
    pub delay_us: Time,
    /// Mean of the exponential part of the delay, in microseconds.
    pub jitter_us: Time,
    /// Messages lost, in thousandths.
    pub drop_permille: u64,
    /// Messages that come twice, in thousandths.
    pub duplicate_permille: u64,
    /// Messages that may overtake, in thousandths.
    pub reorder_permille: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self { delay_us: 100, jitter_us: 200, drop_permille: 0, duplicate_permille: 0, reorder_permille: 0 }
    }
}

/// A shape of partition among members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One member is cut off from the others.
    Isolate,
    /// Two groups.
    Halves,
    /// Two groups and a member that reaches both.
    Bridge,
    /// Each member reaches its two neighbours only: every one sees another majority.
    Ring,
    /// One member is heard by nobody, but hears.
    Mute,
    /// One member hears nobody, but is heard.
    Deaf,
    /// One direction of one link.
    OneLink,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Isolate, Self::Halves, Self::Bridge, Self::Ring, Self::Mute, Self::Deaf, Self::OneLink];
}

/// All links.
#[derive(Debug, Default)]
pub struct Network {
    /// The weather between members.
    pub weather: Weather,
    blocked: BTreeSet<(Place, Place)>,
    clogged: BTreeMap<(Place, Place), Time>,
    latest: BTreeMap<(Place, Place), Time>,
}

impl Network {
    /// Whether messages pass from one to the other.
    pub fn is_open(&self, from: Place, to: Place) -> bool {
        !self.blocked.contains(&(from, to))
    }

    /// Moments at which a message arrives: none, one, or two. `loose` messages may be reordered and
    /// duplicated.
    pub fn route(
        &mut self,
        now: Time,
        from: Place,
        to: Place,
        loose: bool,
        chance: &mut Chance,
    ) -> Vec<Time> {
        if !self.is_open(from, to) || chance.permille(self.weather.drop_permille) {
            return Vec::new();
        }
        let mut arrivals = vec![self.arrival(now, from, to, loose, chance)];
        if loose && chance.permille(self.weather.duplicate_permille) {
            arrivals.push(arrivals[0] + chance.exponential(5 * self.weather.jitter_us + MS));
        }
        arrivals
    }

    /// The moment at which the next part of a stream arrives: in order and not lost.
    pub fn stream(&mut self, now: Time, from: Place, to: Place, chance: &mut Chance) -> Option<Time> {
        self.is_open(from, to).then(|| self.arrival(now, from, to, false, chance))
    }

    fn arrival(&mut self, now: Time, from: Place, to: Place, loose: bool, chance: &mut Chance) -> Time {
        let mut at = now + self.weather.delay_us + chance.exponential(self.weather.jitter_us);
        if let Some(until) = self.clogged.get(&(from, to)) {
            at = at.max(*until);
        }
        if loose && chance.permille(self.weather.reorder_permille) {
            return at + chance.exponential(10 * self.weather.jitter_us);
        }
        let latest = self.latest.entry((from, to)).or_default();
        *latest = at.max(*latest);
        *latest
    }

    /// Cuts one direction.
    pub fn block(&mut self, from: Place, to: Place) {
        self.blocked.insert((from, to));
    }

    /// Cuts both directions.
    pub fn cut(&mut self, one: Place, other: Place) {
        self.block(one, other);
        self.block(other, one);
    }

    /// Opens one direction.
    pub fn open(&mut self, from: Place, to: Place) {
        self.blocked.remove(&(from, to));
    }

    /// Holds one direction's messages back until a moment; none is lost.
    pub fn clog(&mut self, from: Place, to: Place, until: Time) {
        self.clogged.insert((from, to), until);
    }

    /// Opens everything between members; clients' links stay as they are.
    pub fn heal_members(&mut self) {
        self.blocked.retain(|link| !matches!(link, (Place::Node(_), Place::Node(_))));
        self.clogged.clear();
    }

    /// Fine weather and open links for everybody.
    pub fn heal(&mut self) {
        self.blocked.clear();
        self.clogged.clear();
        self.weather = Weather::default();
    }

    /// Links that are cut now.
    pub fn blocked_links(&self) -> impl Iterator<Item = &(Place, Place)> {
        self.blocked.iter()
    }

    /// Cuts links between members in this shape.
    pub fn partition(&mut self, shape: Shape, members: &[u64], chance: &mut Chance) {
        let mut order = members.to_vec();
        chance.shuffle(&mut order);
        let Some((&first, rest)) = order.split_first() else { return };
        if rest.is_empty() {
            return;
        }
        let pairs = |ones: &[u64], others: &[u64]| -> Vec<(Place, Place)> {
            let all = ones.iter().flat_map(|one| others.iter().map(move |other| (*one, *other)));
            all.map(|(one, other)| (Place::Node(one), Place::Node(other))).collect()
        };
        let (cut, one_way) = match shape {
            Shape::Isolate => (pairs(&[first], rest), false),
            Shape::Halves => {
                let (one, other) = order.split_at(order.len() / 2);
                (pairs(one, other), false)
            }
            Shape::Bridge => {
                let (one, other) = rest.split_at(rest.len() / 2);
                (pairs(one, other), false)
            }
            Shape::Ring => (ring_cuts(&order), false),
            Shape::Mute => (pairs(&[first], rest), true),
            Shape::Deaf => (pairs(rest, &[first]), true),
            Shape::OneLink => (pairs(&[first], &rest[..1]), true),
        };
        for (one, other) in cut {
            self.block(one, other);
            if !one_way {
                self.block(other, one);
            }
        }
    }
}

/// The links of a ring's members to all but their neighbours.
fn ring_cuts(order: &[u64]) -> Vec<(Place, Place)> {
    let mut cuts = Vec::new();
    for one in 0..order.len() {
        for other in one + 1..order.len() {
            let apart = (other - one).min(order.len() - (other - one));
            // With three members everybody is a neighbour: cut one link, which makes a line.
            if apart > 1 || (order.len() == 3 && (one, other) == (0, 2)) {
                cuts.push((Place::Node(order[one]), Place::Node(order[other])));
            }
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(network: &Network, from: u64, members: &[u64]) -> usize {
        members
            .iter()
            .filter(|to| **to != from && network.is_open(Place::Node(from), Place::Node(**to)))
            .count()
    }

    #[test]
    fn every_shape_cuts_what_it_says() {
        let members = [1, 2, 3, 4, 5];
        for shape in Shape::ALL {
            let mut network = Network::default();
            network.partition(shape, &members, &mut Chance::new(3));
            let mut degrees: Vec<usize> = members.iter().map(|m| reached(&network, *m, &members)).collect();
            degrees.sort_unstable();
            let expected = match shape {
                Shape::Isolate => [0, 3, 3, 3, 3],
                Shape::Halves => [1, 1, 2, 2, 2],
                Shape::Bridge | Shape::Ring => [2, 2, 2, 2, if shape == Shape::Ring { 2 } else { 4 }],
                Shape::Mute => [0, 4, 4, 4, 4],
                Shape::Deaf => [3, 3, 3, 3, 4],
                Shape::OneLink => [3, 4, 4, 4, 4],
            };
            assert_eq!(degrees, expected, "{shape:?}");
            network.heal();
            assert!(members.iter().all(|m| reached(&network, *m, &members) == 4));
        }
    }

    #[test]
    fn messages_keep_their_order_unless_reordered() {
        let (a, b) = (Place::Node(1), Place::Node(2));
        let mut chance = Chance::new(1);
        let mut network = Network::default();
        network.weather.jitter_us = 50_000;
        let arrivals: Vec<Time> = (0..100).flat_map(|n| network.route(n, a, b, true, &mut chance)).collect();
        assert!(arrivals.is_sorted());
        network.weather.reorder_permille = 500;
        let arrivals: Vec<Time> = (0..100).flat_map(|n| network.route(n, a, b, true, &mut chance)).collect();
        assert!(!arrivals.is_sorted());
        network.weather.duplicate_permille = 1000;
        assert_eq!(network.route(1000, a, b, true, &mut chance).len(), 2);
        assert_eq!(network.route(1000, a, b, false, &mut chance).len(), 1);
        network.weather.drop_permille = 1000;
        assert!(network.route(1000, a, b, true, &mut chance).is_empty());
    }

    #[test]
    fn a_clogged_link_delivers_later() {
        let (a, b) = (Place::Node(1), Place::Node(2));
        let mut network = Network::default();
        network.clog(a, b, 1_000_000);
        assert!(network.route(0, a, b, false, &mut Chance::new(1))[0] >= 1_000_000);
        assert!(network.route(0, b, a, false, &mut Chance::new(1))[0] < 10_000);
    }
}
