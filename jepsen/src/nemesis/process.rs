//! Processes that are killed, stand still, or are restarted.

use super::{ANY, Entry, Fault, Field, Need};
use futures::future::LocalBoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, about, make| Entry { name, about, need: Need::Nothing, kinds: ANY, make };
    vec![
        entry("kill-leader", "SIGKILL of the leader", || strike(Whom::Leader, How::Kill)),
        entry("kill-random", "SIGKILL of any node", || strike(Whom::Any, How::Kill)),
        entry("kill-majority", "SIGKILL of a majority", || strike(Whom::Majority, How::Kill)),
        entry("kill-all", "SIGKILL of all nodes at once", || strike(Whom::All, How::Kill)),
        entry("restart-storm", "nodes are killed and started again and again, after short lives", || {
            Box::new(Storm)
        }),
        entry("pause-leader", "SIGSTOP of the leader", || strike(Whom::Leader, How::Pause)),
        entry("pause-random", "SIGSTOP of any node", || strike(Whom::Any, How::Pause)),
        entry("pause-majority", "SIGSTOP of a majority", || strike(Whom::Majority, How::Pause)),
        entry(
            "pause-blink",
            "SIGSTOP of the leader for a part of an election timeout, again and again",
            || Box::new(Blink),
        ),
        entry("pause-long", "SIGSTOP of the leader for longer than sessions live", || {
            Box::new(Long::default())
        }),
    ]
}

#[derive(Clone, Copy)]
enum Whom {
    Leader,
    Any,
    Majority,
    All,
}

#[derive(Clone, Copy)]
enum How {
    Kill,
    Pause,
}

struct Strike {
    whom: Whom,
    how: How,
    struck: Vec<usize>,
}

fn strike(whom: Whom, how: How) -> Box<dyn Fault> {
    Box::new(Strike { whom, how, struck: Vec::new() })
}

async fn choose(field: &mut Field, whom: Whom) -> Vec<usize> {
    match whom {
        Whom::Leader => field.leader().await.into_iter().collect(),
        Whom::Any => field.any().into_iter().collect(),
        Whom::Majority => {
            let count = field.majority();
            field.some(count)
        }
        Whom::All => field.cluster.running(),
    }
}

impl Fault for Strike {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            self.struck = choose(field, self.whom).await;
            if self.struck.is_empty() {
                return Err("no node runs".into());
            }
            for &number in &self.struck {
                match self.how {
                    How::Kill => field.cluster.nodes[number].kill(),
                    How::Pause => field.cluster.nodes[number].pause(),
                }
            }
            Ok(field.names(&self.struck))
        })
    }

    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            for number in std::mem::take(&mut self.struck) {
                match self.how {
                    How::Kill => field.start(number),
                    How::Pause => field.cluster.nodes[number].resume(),
                }
            }
            Value::Null
        })
    }
}

/// Kills and starts, as a supervisor would that starts what keeps dying.
struct Storm;

impl Fault for Storm {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let mut killed = 0;
            for _ in 0..12 {
                let Some(number) = field.any() else { break };
                field.cluster.nodes[number].kill();
                killed += 1;
                field.start(number);
                let life = field.chance.random_range(20..700);
                tokio::time::sleep(Duration::from_millis(life)).await;
            }
            Ok(json!({ "kills": killed }))
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async { Value::Null })
    }
}

struct Blink;

impl Fault for Blink {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let mut blinks = 0;
            for _ in 0..8 {
                let Some(number) = field.leader().await else { break };
                field.cluster.nodes[number].pause();
                tokio::time::sleep(Duration::from_millis(field.chance.random_range(50..950))).await;
                field.cluster.nodes[number].resume();
                blinks += 1;
                tokio::time::sleep(Duration::from_millis(field.chance.random_range(0..300))).await;
            }
            Ok(json!({ "blinks": blinks }))
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async { Value::Null })
    }
}

/// The leader stands still until every session of the tests' length would have ended without it.
#[derive(Default)]
struct Long {
    paused: Option<usize>,
}

impl Fault for Long {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let leader = field.leader().await.ok_or("no node runs")?;
            field.cluster.nodes[leader].pause();
            self.paused = Some(leader);
            Ok(field.names(&[leader]))
        })
    }

    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(8)).await;
            if let Some(paused) = self.paused.take() {
                field.cluster.nodes[paused].resume();
            }
            Value::Null
        })
    }
}
