//! Members that come and go while clients write.

use super::{Entry, Fault, Field, Need};
use crate::cluster::Kind;
use futures::future::LocalBoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a member that joins may take until it votes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, about, make| Entry { name, about, need: Need::Nothing, kinds: &[Kind::Oarlock], make };
    vec![
        entry("replace-member", "a member is removed and another one takes its place", || {
            Box::new(Replace { lost: false })
        }),
        entry(
            "lose-disk",
            "a node dies and loses its disk; it is removed, and another one takes its place",
            || Box::new(Replace { lost: true }),
        ),
    ]
}

struct Replace {
    /// The member that goes is dead, with its data gone.
    lost: bool,
}

impl Fault for Replace {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let members = field.cluster.members();
            let room = field.network.links().nodes();
            let all_run = field.cluster.running().len() == members.len();
            if members.len() < 3 || !all_run || field.cluster.nodes.len() >= room {
                return Err("there is no member to spare, or no address left".into());
            }
            let goes = members[field.chance.random_range(0..members.len())];
            let refused = if self.lost { self.lose(field, goes).await? } else { Value::Null };
            Ok(json!({ "replaced": replace(field, goes).await, "restart_without_disk": refused }))
        })
    }

    fn end<'f>(&'f mut self, _field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async { Value::Null })
    }

    fn ends_servers(&self) -> bool {
        self.lost
    }

    fn wants_all(&self) -> bool {
        true
    }
}

impl Replace {
    /// The node must not come back under its old name as if nothing had happened: it would have
    /// forgotten votes and entries that it acknowledged.
    async fn lose(&self, field: &mut Field, goes: usize) -> Result<Value, String> {
        let node = &mut field.cluster.nodes[goes];
        node.kill();
        std::fs::remove_dir_all(&node.data).map_err(|error| error.to_string())?;
        field.start(goes);
        let deadline = Instant::now() + Duration::from_secs(8);
        while Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Some(exit) = field.cluster.nodes[goes].take_exit() {
                return Ok(json!({ "refused": true, "code": exit.code, "last_words": exit.last_words }));
            }
        }
        let serves = field.cluster.status(goes).await.is_some();
        field.cluster.nodes[goes].kill();
        Ok(json!({ "refused": false, "served": serves }))
    }
}

/// Removes a member, whether it runs or not, and lets another one take its place.
pub(super) async fn replace(field: &mut Field, goes: usize) -> Value {
    let begun = Instant::now();
    let comes = match exchange(field, goes).await {
        Ok(comes) => comes,
        Err(why) => return json!({ "failed": why }),
    };
    let votes = votes_in_time(field, comes).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let gone = &mut field.cluster.nodes[goes];
    let stopped_by_itself = gone.take_exit().is_some();
    gone.kill();
    json!({
        "removed": field.names(&[goes]), "added": field.names(&[comes]), "votes": votes,
        "took_ms": u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "removed_stopped_by_itself": stopped_by_itself,
    })
}

async fn exchange(field: &mut Field, goes: usize) -> Result<usize, String> {
    field.cluster.remove_member(goes).await?;
    field.announce();
    let comes = field.cluster.add_member().await?;
    field.start(comes);
    field.announce();
    Ok(comes)
}

/// Waits until a member has a vote.
async fn votes_in_time(field: &Field, number: usize) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let name = &field.cluster.nodes[number].name;
    while Instant::now() < deadline {
        let members = field.cluster.list_members().await.unwrap_or_default();
        if members.iter().any(|member| &member.name == name && !member.is_learner) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}
