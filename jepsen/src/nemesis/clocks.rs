//! Clocks of single nodes that jump, jump to and fro, or run fast or slow.

use super::{Entry, Fault, Field, Need};
use crate::clock::{Clock, DRIFT_MAX, Strobe};
use crate::cluster::Kind;
use futures::future::LocalBoxFuture;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use std::time::Duration;

/// Programs written in Go do not see a false clock.
const KINDS: &[Kind] = &[Kind::Oarlock, Kind::Zookeeper];

pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, about, make| Entry { name, about, need: Need::Clocks, kinds: KINDS, make };
    vec![
        entry("clock-jump", "one node's wall clock jumps by up to a day", || Box::new(Jump::default())),
        entry("clock-strobe", "one node's wall clock jumps to and fro", || Box::new(Strobing::default())),
        entry(
            "clock-drift",
            "one node's clocks run fast or slow, by as much as is promised to be borne",
            || Box::new(Drift::default()),
        ),
    ]
}

/// The clock of any node that has one to be set.
fn choose(field: &mut Field) -> Result<(usize, Clock), String> {
    let nodes = &field.cluster.nodes;
    let able: Vec<(usize, Clock)> = field
        .cluster
        .running()
        .into_iter()
        .filter_map(|number| Some((number, nodes[number].clock.clone()?)))
        .collect();
    able.choose(&mut field.chance).cloned().ok_or_else(|| "no node runs whose clock can be set".into())
}

/// Up to a day forward or back, and as often by little as by much.
fn offset(field: &mut Field) -> i64 {
    let most = 10i64.pow(field.chance.random_range(2..8)).min(86_400_000);
    let offset = field.chance.random_range(1..=most);
    if field.chance.random_bool(0.5) { offset } else { -offset }
}

#[derive(Default)]
struct Jump {
    clock: Option<Clock>,
}

impl Fault for Jump {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let (number, clock) = choose(field)?;
            let by = offset(field);
            clock.set_offset(by).map_err(|error| error.to_string())?;
            self.clock = Some(clock);
            Ok(json!({ "node": field.names(&[number]), "by_ms": by }))
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            let cleared = self.clock.take().map(|clock| clock.clear());
            json!(cleared.and_then(Result::err).map(|error| error.to_string()))
        })
    }
}

#[derive(Default)]
struct Strobing {
    strobe: Option<Strobe>,
}

impl Fault for Strobing {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let (number, clock) = choose(field)?;
            let by = offset(field);
            let period = Duration::from_millis(field.chance.random_range(20..800));
            self.strobe = Some(clock.strobe(by, period).map_err(|error| error.to_string())?);
            let period_ms = u64::try_from(period.as_millis()).unwrap_or(0);
            Ok(json!({ "node": field.names(&[number]), "by_ms": by, "period_ms": period_ms }))
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            let stopped = self.strobe.take().map(Strobe::stop);
            json!({ "jumps": stopped.and_then(Result::ok) })
        })
    }
}

/// A rate is given to a process when it starts, so the node is restarted before and after.
#[derive(Default)]
struct Drift {
    node: Option<(usize, Option<Clock>)>,
}

impl Fault for Drift {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let (number, right) = choose(field)?;
            let rate = 1.0 + field.chance.random_range(-DRIFT_MAX..=DRIFT_MAX);
            let file = field.directory.join(format!("{}.drift", field.cluster.nodes[number].name));
            let drifting = Clock::skewed(&file, rate).map_err(|error| error.to_string())?;
            let node = &mut field.cluster.nodes[number];
            node.kill();
            node.clock = Some(drifting);
            self.node = Some((number, Some(right)));
            field.start(number);
            Ok(json!({ "node": field.names(&[number]), "rate": rate }))
        })
    }

    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            if let Some((number, right)) = self.node.take() {
                let node = &mut field.cluster.nodes[number];
                node.kill();
                node.clock = right;
                field.start(number);
            }
            Value::Null
        })
    }
}
