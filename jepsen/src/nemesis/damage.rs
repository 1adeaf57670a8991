//! Files of a stopped node that rot or lose their end.
//!
//! No protocol can tell a log that lost its end from one that was torn in writing, so a damaged member
//! counts as lost: it is started apart from the others, to see what it says, and then another one takes
//! its place. Never more than one is in this state.

use super::members::replace;
use super::{Entry, Fault, Field, Need};
use crate::cluster::Kind;
use crate::disk::damage::{Aim, Damage, Layout, Part, damage};
use crate::net::Place;
use futures::future::LocalBoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const KINDS: &[Kind] = &[Kind::Oarlock, Kind::Etcd];
/// How long a damaged node is watched.
const WATCHED: Duration = Duration::from_secs(4);

pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, about, make| Entry { name, about, need: Need::Links, kinds: KINDS, make };
    vec![
        entry("flip-log", "bits flip in a stopped node's log", || {
            rot(Part::Log, |chance| Damage::FlipBits(chance.random_range(1..20)))
        }),
        entry("flip-state", "bits flip in a stopped node's state", || {
            rot(Part::State, |chance| Damage::FlipBits(chance.random_range(1..20)))
        }),
        entry("zero-page", "a page of a stopped node's log reads as zeros", || {
            rot(Part::Log, |_| Damage::ZeroPage)
        }),
        entry("cut-log", "a stopped node's log loses its end", || {
            rot(Part::Log, |chance| if chance.random_bool(0.5) { Damage::CutTail } else { Damage::CutMiddle })
        }),
    ]
}

struct Rot {
    part: Part,
    how: fn(&mut rand::rngs::StdRng) -> Damage,
}

fn rot(part: Part, how: fn(&mut rand::rngs::StdRng) -> Damage) -> Box<dyn Fault> {
    Box::new(Rot { part, how })
}

impl Fault for Rot {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let number = field.any().ok_or("no node runs")?;
            if field.cluster.members().len() < 3
                || field.cluster.running().len() < field.cluster.members().len()
            {
                return Err("there is no member to spare".into());
            }
            field.cluster.nodes[number].kill();
            let layout = match field.kind() {
                Kind::Oarlock => Layout::Oarlock,
                Kind::Etcd => Layout::Etcd,
                Kind::Zookeeper => Layout::Zookeeper,
            };
            let aim = Aim { layout, part: self.part, stretch: (0, 1) };
            let wanted = (self.how)(&mut field.chance);
            let data = field.cluster.nodes[number].data.clone();
            let done = damage(&data, aim, wanted, &mut field.chance).map_err(|error| error.to_string())?;
            let Some(done) = done else {
                field.start(number);
                return Err("there is nothing to damage yet".into());
            };
            let seen = apart(field, number).await;
            let replaced = replace(field, number).await;
            Ok(
                json!({ "node": field.names(&[number]), "damage": done.to_string(), "seen": seen, "then": replaced }),
            )
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async { Value::Null })
    }

    fn ends_servers(&self) -> bool {
        true
    }

    fn wants_all(&self) -> bool {
        true
    }
}

/// What a damaged node does when no other hears it: it may refuse to start, or wait for the others.
async fn apart(field: &mut Field, number: usize) -> Value {
    let others = field.cluster.members().into_iter().filter(|other| *other != number);
    let cuts: Vec<(Place, Place)> = others
        .flat_map(|other| {
            let (one, other) = (Place::Node(number), Place::Node(other));
            [(one, other), (other, one)]
        })
        .collect();
    field.network.links().cut(&cuts);
    field.start(number);
    let deadline = Instant::now() + WATCHED;
    let mut seen = json!({ "refused": false });
    while Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Some(exit) = field.cluster.nodes[number].take_exit() {
            seen = json!({ "refused": true, "code": exit.code, "last_words": exit.last_words });
            break;
        }
    }
    field.cluster.nodes[number].kill();
    field.network.links().mend();
    seen
}
