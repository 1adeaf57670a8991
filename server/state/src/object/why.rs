//! Who waits for whom, and in which circles.
//!
//! A claim in a queue waits for the claim directly before it; the head waits for all who hold the
//! object if it does not fit beside them. From there the walk goes on with whatever the blocker's
//! session waits for, since that session's next step may be what everybody waits for.
//!
//! Sessions are the nodes in which circles are sought. A session whose requests are independent of
//! each other may be part of a circle without being stuck, and a semaphore's head waits for enough of
//! its holders, not for each: a circle is a reason to look, the edges are the facts.

use crate::command::successor;
use crate::event::Keyspace;
use crate::ids::SessionId;
use crate::limits::WAITS_MAX;
use crate::machine::session::attached_keys;
use crate::object::place::{Place, Seat};
use crate::object::reply::{PlaceState, Wait, WaitGraph};
use crate::object::{Claim, layout, records, settle};
use crate::view::View;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The graph of all that is waited for from the queue of an object onwards.
pub(super) fn graph(view: &dyn View, name: &Bytes) -> WaitGraph {
    let mut walk = Walk { view, graph: WaitGraph::default(), seen: BTreeSet::new(), open: Vec::new() };
    walk.queue(name, None);
    let mut known = BTreeSet::new();
    while let Some(session) = walk.open.pop() {
        if !known.insert(session) {
            continue;
        }
        for name in attached_keys(view, session, Keyspace::Object) {
            let any = Claim { session, request: 0 };
            for (claim, seat) in records::seats(view, &name, any, WAITS_MAX) {
                if let Seat::Waiting { .. } = seat {
                    walk.queue(&name, Some(records::at(view, &name, seat)));
                    debug_assert_eq!(claim.session, session, "seats are of one session");
                }
            }
        }
    }
    walk.graph.circles = circles(&walk.graph.edges);
    walk.graph
}

struct Walk<'v> {
    view: &'v dyn View,
    graph: WaitGraph,
    /// Queues up to which position were walked: object and waiter.
    seen: BTreeSet<(Bytes, Claim)>,
    /// Sessions for which somebody waits.
    open: Vec<SessionId>,
}

impl Walk<'_> {
    /// Adds the edges of a queue, from its head to `last` (or its end).
    fn queue(&mut self, name: &Bytes, last: Option<Place>) {
        let (from, end) = layout::queue(name);
        let to = last.as_ref().map_or(end, |last| {
            let key = layout::queued(name, last.priority, last.ticket);
            successor(&key)
        });
        let mut places = Vec::new();
        let room = WAITS_MAX.saturating_sub(self.graph.edges.len());
        self.view.scan(&from, &to, false, &mut |_, record| {
            places.push(Place::decode(record));
            if places.len() < room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let mut before: Option<Claim> = None;
        for (position, place) in (0_u64..).zip(places) {
            if self.seen.insert((name.clone(), place.claim)) {
                match before {
                    Some(blocker) => {
                        let state = PlaceState::Waiting { position: position - 1 };
                        self.edge(name, place.claim, blocker, state);
                    }
                    None => self.head(name, &place),
                }
            }
            before = Some(place.claim);
        }
    }

    fn head(&mut self, name: &Bytes, head: &Place) {
        if settle::fits(self.view, name, head) {
            return; // it waits for its other objects
        }
        for (from, to) in [layout::holders(name), layout::all_withheld(name)] {
            let mut blockers = Vec::new();
            self.view.scan(&from, &to, false, &mut |_, record| {
                blockers.push(Place::decode(record).info(0));
                ControlFlow::Continue(())
            });
            for blocker in blockers {
                self.edge(name, head.claim, blocker.claim, blocker.state);
            }
        }
    }

    fn edge(&mut self, name: &Bytes, waiter: Claim, blocker: Claim, state: PlaceState) {
        if self.graph.edges.len() >= WAITS_MAX {
            self.graph.more = true;
            return;
        }
        // A withheld hold's session is gone and waits for nothing.
        if !matches!(state, PlaceState::Withheld { .. }) {
            self.open.push(blocker.session);
        }
        // A claim on several objects keeps others waiting here while it waits elsewhere.
        self.open.push(waiter.session);
        self.graph.edges.push(Wait { name: name.clone(), waiter, blocker, state });
    }
}

/// Sets of sessions each of which waits, by way of others, for itself: the strongly connected parts of
/// the graph, in order.
fn circles(edges: &[Wait]) -> Vec<Vec<SessionId>> {
    let (mut onwards, mut back) = (Neighbours::new(), Neighbours::new());
    for Wait { waiter, blocker, state, .. } in edges {
        if !matches!(state, PlaceState::Withheld { .. }) {
            onwards.entry(waiter.session).or_default().insert(blocker.session);
            back.entry(blocker.session).or_default().insert(waiter.session);
        }
    }
    let mut left: BTreeSet<SessionId> = onwards.keys().copied().collect();
    let mut circles = Vec::new();
    while let Some(first) = left.pop_first() {
        let (after, before) = (reachable(&onwards, first), reachable(&back, first));
        let circle: Vec<SessionId> = after.intersection(&before).copied().collect();
        if !circle.is_empty() {
            circle.iter().for_each(|session| {
                left.remove(session);
            });
            circles.push(circle);
        }
    }
    circles
}

type Neighbours = BTreeMap<SessionId, BTreeSet<SessionId>>;

/// Everything that one step or more lead to.
fn reachable(neighbours: &Neighbours, from: SessionId) -> BTreeSet<SessionId> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(session) = open.pop() {
        for next in neighbours.get(&session).into_iter().flatten() {
            if reached.insert(*next) {
                open.push(*next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(waiter: u64, blocker: u64) -> Wait {
        let claim = |session| Claim { session: SessionId(session), request: 1 };
        let state = PlaceState::Waiting { position: 0 };
        Wait { name: Bytes::new(), waiter: claim(waiter), blocker: claim(blocker), state }
    }

    fn found(edges: &[(u64, u64)]) -> Vec<Vec<u64>> {
        let edges: Vec<Wait> = edges.iter().map(|(waiter, blocker)| wait(*waiter, *blocker)).collect();
        circles(&edges).iter().map(|circle| circle.iter().map(|session| session.get()).collect()).collect()
    }

    #[test]
    fn circles_are_found_and_paths_are_not() {
        assert!(found(&[(1, 2), (2, 3), (1, 3)]).is_empty());
        assert_eq!(found(&[(1, 2), (2, 1)]), [[1, 2]]);
        assert_eq!(found(&[(1, 1), (2, 1)]), [[1]]);
        // Two circles with a path between them, and what only leads there.
        let edges = [(9, 1), (1, 2), (2, 1), (2, 3), (3, 4), (4, 5), (5, 4)];
        assert_eq!(found(&edges), [[1, 2], [4, 5]]);
    }

    #[test]
    fn a_withheld_hold_closes_no_circle() {
        let mut edges = vec![wait(1, 2), wait(2, 1)];
        edges[1].state = PlaceState::Withheld { until_ms: 1 };
        assert!(circles(&edges).is_empty());
    }
}
