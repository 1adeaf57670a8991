//! What operators do at the wrong moment: leadership moved, history compacted, nodes restarted one by
//! one, a member that stays away until it needs a snapshot.

use super::{ANY, Entry, Fault, Field, Need};
use crate::cluster::Kind;
use futures::future::LocalBoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

const WITH_HISTORY: &[Kind] = &[Kind::Oarlock, Kind::Etcd];

pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, about, kinds, make| Entry { name, about, need: Need::Nothing, kinds, make };
    vec![
        entry("transfer", "leadership is moved again and again", WITH_HISTORY, || Box::new(Transfer)),
        entry("compaction", "history is compacted again and again", WITH_HISTORY, || Box::new(Compaction)),
        entry(
            "snapshots",
            "a follower stays away until it needs a snapshot, then dies while it gets it",
            ANY,
            || Box::new(Snapshots::default()),
        ),
        entry("rolling-restart", "one node after the other is stopped well and started again", ANY, || {
            Box::new(Rolling { to_new_program: false })
        }),
        Entry {
            name: "rolling-upgrade",
            about: "one node after the other is started with the new program",
            need: Need::OldProgram,
            kinds: &[Kind::Oarlock],
            make: || Box::new(Rolling { to_new_program: true }),
        },
    ]
}

struct Transfer;

impl Fault for Transfer {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let (mut moved, mut refused) = (0, 0);
            for _ in 0..6 {
                let Some(to) = field.follower().await else { break };
                match field.cluster.move_leader(to).await {
                    Ok(()) => moved += 1,
                    Err(_) => refused += 1,
                }
                tokio::time::sleep(Duration::from_millis(field.chance.random_range(50..900))).await;
            }
            Ok(json!({ "moved": moved, "refused": refused }))
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async { Value::Null })
    }
}

struct Compaction;

impl Fault for Compaction {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let (mut compacted, mut last) = (0, String::new());
            for _ in 0..25 {
                match field.cluster.compact().await {
                    Ok(_) => compacted += 1,
                    Err(why) => last = why,
                }
                tokio::time::sleep(Duration::from_millis(field.chance.random_range(20..200))).await;
            }
            if compacted == 0 { Err(last) } else { Ok(json!({ "compacted": compacted })) }
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async { Value::Null })
    }
}

/// With few entries kept for those that are behind, who is away for some seconds needs a snapshot.
#[derive(Default)]
struct Snapshots {
    away: Option<usize>,
}

impl Fault for Snapshots {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let away = field.follower().await.ok_or("there is no follower")?;
            field.cluster.nodes[away].kill();
            self.away = Some(away);
            Ok(field.names(&[away]))
        })
    }

    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            let Some(away) = self.away.take() else { return Value::Null };
            let mut deaths = 0;
            for _ in 0..field.chance.random_range(1..4) {
                field.start(away);
                tokio::time::sleep(Duration::from_millis(field.chance.random_range(50..900))).await;
                // Once in a while it is the sender that dies.
                let sender = if field.chance.random_bool(0.3) { field.leader().await } else { None };
                for number in [Some(away), sender].into_iter().flatten() {
                    field.cluster.nodes[number].kill();
                    deaths += 1;
                }
                if let Some(sender) = sender.filter(|sender| *sender != away) {
                    field.start(sender);
                }
            }
            if field.cluster.nodes[away].pid().is_none() {
                field.start(away);
            }
            json!({ "deaths": deaths })
        })
    }
}

struct Rolling {
    to_new_program: bool,
}

impl Fault for Rolling {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let (mut stopped, mut forced) = (0, 0);
            let mut upgraded = 0;
            for number in field.cluster.running() {
                let node = &mut field.cluster.nodes[number];
                if !node.stop(Duration::from_secs(10)).await {
                    forced += 1;
                }
                stopped += 1;
                if self.to_new_program && node.program.take().is_some() {
                    upgraded += 1;
                }
                field.start(number);
                let silent = field.cluster.wait_ready(Duration::from_secs(20)).await;
                if !silent.is_empty() {
                    return Ok(json!({ "stopped": stopped, "not_ready_in_time": silent }));
                }
            }
            Ok(json!({ "stopped": stopped, "killed_after_10_s": forced, "upgraded": upgraded }))
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async { Value::Null })
    }
}
