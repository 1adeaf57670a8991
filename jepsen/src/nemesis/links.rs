//! Links that are cut, slow, lossy, or carry packets twice and in the wrong order.

use super::{ANY, Entry, Fault, Field, Need, growth};
use crate::net::{Counts, Link, Place, Shape, Whom};
use futures::future::LocalBoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn entries() -> Vec<Entry> {
    let cut = |name, about, make| Entry { name, about, need: Need::Links, kinds: ANY, make };
    let spoil = |name, about, make| Entry { name, about, need: Need::Packets, kinds: ANY, make };
    vec![
        cut("partition-one", "one node is cut off", || partition(Shape::Isolated(Whom::Any))),
        cut("partition-leader", "the leader is cut off", || partition(Shape::Isolated(Whom::Leader))),
        cut("deaf", "one node hears no other, but is heard", || partition(Shape::Deaf(Whom::Any))),
        cut("deaf-leader", "the leader hears no other, but is heard", || {
            partition(Shape::Deaf(Whom::Leader))
        }),
        cut("mute", "one node is heard by no other, but hears", || partition(Shape::Mute(Whom::Any))),
        cut("mute-leader", "the leader is heard by no other", || partition(Shape::Mute(Whom::Leader))),
        cut("partition-halves", "two halves, by chance", || partition(Shape::RandomHalves)),
        cut("partition-minority", "the leader with a minority", || partition(Shape::LeaderInMinority)),
        cut("bridge", "two halves that share one node", || partition(Shape::Bridge)),
        cut("ring", "each hears a majority, and no two the same", || partition(Shape::MajoritiesRing)),
        cut("partition-all", "no node hears another", || partition(Shape::AllFromAll)),
        cut("clients-from-leader", "the clients do not reach the leader", || {
            partition(Shape::ClientsFrom(Whom::Leader))
        }),
        cut("client-from-node", "one client does not reach one node", || partition(Shape::ClientFromNode)),
        cut("flapping", "a link between two nodes comes and goes", || Box::new(Flapping)),
        spoil("slow-links", "everything between nodes takes longer, by a different time", || {
            spoiled(|link, chance| {
                link.delay = Duration::from_millis(chance.random_range(20..150));
                link.jitter = link.delay / 2;
            })
        }),
        spoil("lossy-links", "a part of the packets between nodes is lost", || {
            spoiled(|link, chance| link.loss = chance.random_range(0.02..0.3))
        }),
        spoil("duplicates", "packets between nodes come twice", || {
            spoiled(|link, chance| link.duplicate = chance.random_range(0.05..0.5))
        }),
        spoil("reordering", "packets between nodes overtake each other", || {
            spoiled(|link, chance| link.reorder = chance.random_range(0.05..0.5))
        }),
        spoil("corruption", "bits of packets between nodes flip", || {
            spoiled(|link, chance| link.corrupt = chance.random_range(0.01..0.1))
        }),
        spoil("throttled", "little fits through the links between nodes", || {
            spoiled(|link, chance| link.rate = Some(chance.random_range(20_000..200_000)))
        }),
    ]
}

/// What happened on all links since then, as far as anything did.
fn effect(field: &Field, before: &Counts) -> Value {
    growth(before, &field.network.links().total())
}

struct Partition {
    shape: Shape,
    before: Counts,
}

fn partition(shape: Shape) -> Box<dyn Fault> {
    Box::new(Partition { shape, before: Counts::default() })
}

impl Fault for Partition {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let leader = field.leader().await;
            // Shapes count members; those that were removed have no place in them.
            let members = field.cluster.members();
            let leader = leader.and_then(|leader| members.iter().position(|number| *number == leader));
            let links = field.network.links().clone();
            let cuts = self.shape.cuts(members.len(), links.clients(), leader, &mut field.chance);
            let place = |place: Place| match place {
                Place::Node(at) => Place::Node(members[at]),
                Place::Harness | Place::Client(_) => place,
            };
            let cuts: Vec<_> = cuts.into_iter().map(|(from, to)| (place(from), place(to))).collect();
            if cuts.is_empty() {
                return Err("there is nothing to cut".into());
            }
            self.before = links.total();
            links.cut(&cuts);
            let pairs: Vec<String> =
                cuts.iter().take(40).map(|(from, to)| format!("{from} to {to}")).collect();
            Ok(json!({ "shape": self.shape.to_string(), "cuts": pairs }))
        })
    }

    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            field.network.links().mend();
            effect(field, &self.before)
        })
    }
}

/// A link that is up and down for a fraction of a second each, in both directions.
struct Flapping;

impl Fault for Flapping {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let two = field.some(2);
            let [one, other] = two[..] else { return Err("there are not two nodes".into()) };
            let links = field.network.links().clone();
            let before = links.total();
            for _ in 0..12 {
                let both = [(Place::Node(one), Place::Node(other)), (Place::Node(other), Place::Node(one))];
                links.cut(&both);
                tokio::time::sleep(Duration::from_millis(field.chance.random_range(50..600))).await;
                links.mend();
                tokio::time::sleep(Duration::from_millis(field.chance.random_range(50..400))).await;
            }
            Ok(json!({ "between": field.names(&two), "effect": effect(field, &before) }))
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async { Value::Null })
    }
}

type Spoil = fn(&mut Link, &mut rand::rngs::StdRng);

struct Spoiled {
    how: Spoil,
    before: Counts,
}

fn spoiled(how: Spoil) -> Box<dyn Fault> {
    Box::new(Spoiled { how, before: Counts::default() })
}

impl Fault for Spoiled {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let links = field.network.links().clone();
            self.before = links.total();
            let mut first = Link::default();
            links.update_between_nodes(|link| {
                (self.how)(link, &mut field.chance);
                first = *link;
            });
            Ok(serde_json::to_value(first).unwrap_or_default())
        })
    }

    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            field
                .network
                .links()
                .update_between_nodes(|link| *link = Link { cut: link.cut, ..Link::default() });
            effect(field, &self.before)
        })
    }
}
