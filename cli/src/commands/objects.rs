//! A look at locks, semaphores and elections, and an operator's hand on them.

use super::lock;
use crate::args::Common;
use crate::failure::Failure;
use crate::output::{line, put_bytes, say, table};
use oarlock_client::lock::{
    Claim, Mode, ObjectInfo, ObjectKind, ObjectSummary, Place, PlaceState, Wait, WaitGraph,
};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::time::SystemTime;

/// Lists them.
pub async fn ls(common: &Common, prefix: String) -> Result<ExitCode, Failure> {
    let objects = common.connect().await?.locks().list(prefix).await?;
    if common.is_json() {
        objects.iter().for_each(|object| line(&summary(object)));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(&["NAME", "KIND", "HOLDERS", "USED", "WITHHELD", "WAITING"]);
    for object in &objects {
        rows.add_row(vec![
            String::from_utf8_lossy(&object.name).into_owned(),
            object.kind.to_string(),
            object.holders.to_string(),
            used(object),
            object.withheld.to_string(),
            object.waiters.to_string(),
        ]);
    }
    say!("{rows}");
    Ok(ExitCode::SUCCESS)
}

fn used(object: &ObjectSummary) -> String {
    match object.kind {
        ObjectKind::Semaphore { capacity } => format!("{}/{capacity}", object.used),
        ObjectKind::Mutex | ObjectKind::ReadWrite | ObjectKind::Election => "-".into(),
    }
}

/// Shows holders and queue of one, and who waits for whom.
pub async fn why(common: &Common, name: String) -> Result<ExitCode, Failure> {
    let locks = common.connect().await?.locks();
    let nobody = || Failure::NotFound(format!("nobody holds {name:?} or waits for it"));
    let object = locks.describe(name.clone()).await?.ok_or_else(nobody)?;
    let graph = locks.why(name.clone()).await?;
    if common.is_json() {
        line(&at_length(&object, &graph));
        return Ok(ExitCode::SUCCESS);
    }
    say!("{name} is a {}", object.summary.kind);
    say!("{}", places(&object));
    tell_graph(&graph);
    Ok(ExitCode::SUCCESS)
}

/// Everybody who has a place, as a table.
pub fn places(object: &ObjectInfo) -> comfy_table::Table {
    let mut rows = table(&["STATE", "CLAIM", "MODE", "TOKEN", "FOR", "PRIORITY", "METADATA"]);
    for place in object.holders.iter().chain(&object.withheld).chain(&object.queue) {
        rows.add_row(row(place));
    }
    rows
}

fn row(place: &Place) -> Vec<String> {
    let (state, token, since) = match place.state {
        PlaceState::Holding { token, since } => ("holds".to_owned(), token.to_string(), ago(since)),
        PlaceState::Withheld { until } => {
            ("withheld".to_owned(), "-".into(), format!("{} more", left(until)))
        }
        PlaceState::Waiting { position } => {
            (format!("waits, {position} ahead"), "-".into(), ago(place.since))
        }
    };
    let metadata = String::from_utf8_lossy(&place.metadata).into_owned();
    vec![state, place.claim.to_string(), mode(place.mode), token, since, place.priority.to_string(), metadata]
}

fn mode(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "exclusive".into(),
        Mode::Shared => "shared".into(),
        Mode::Weight(weight) => format!("weight {weight}"),
    }
}

/// Whole seconds by the servers' clock, as this machine's clock sees it.
fn ago(since: SystemTime) -> String {
    let passed = SystemTime::now().duration_since(since).unwrap_or_default();
    humantime::format_duration(std::time::Duration::from_secs(passed.as_secs())).to_string()
}

fn left(until: SystemTime) -> String {
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    humantime::format_duration(std::time::Duration::from_secs(left.as_secs())).to_string()
}

fn tell_graph(graph: &WaitGraph) {
    for Wait { name, waiter, blocker, state } in &graph.edges {
        let how = match state {
            PlaceState::Holding { .. } => "which holds",
            PlaceState::Withheld { .. } => "which held, before its session expired,",
            PlaceState::Waiting { .. } => "which is before it in the queue of",
        };
        say!("{waiter} waits for {blocker}, {how} {}", String::from_utf8_lossy(name));
    }
    for circle in &graph.circles {
        let sessions: Vec<String> = circle.iter().map(u64::to_string).collect();
        say!("DEADLOCK? sessions {} wait for each other in a circle", sessions.join(" -> "));
    }
    if graph.more {
        say!("(there is more than one answer carries)");
    }
}

/// A holder in a few words.
pub fn holder(place: &Place) -> String {
    format!("{} ({})", place.claim, String::from_utf8_lossy(&place.metadata))
}

/// Tells the holders that somebody wants it.
pub async fn ask(common: &Common, name: String, reason: String) -> Result<ExitCode, Failure> {
    let by = lock::whoami();
    common.connect().await?.locks().request_revocation(name, by, reason).await?;
    Ok(ExitCode::SUCCESS)
}

/// Takes a hold or a place away.
pub async fn revoke(common: &Common, name: String, claim: Claim) -> Result<ExitCode, Failure> {
    common.connect().await?.locks().revoke(name, claim).await?;
    Ok(ExitCode::SUCCESS)
}

fn summary(object: &ObjectSummary) -> Value {
    let mut out = Map::new();
    put_bytes(&mut out, "name", &object.name);
    out.insert("kind".into(), json!(object.kind.to_string()));
    for (name, number) in [
        ("created", object.created),
        ("used", object.used),
        ("holders", object.holders),
        ("withheld", object.withheld),
        ("waiters", object.waiters),
    ] {
        out.insert(name.into(), json!(number));
    }
    Value::Object(out)
}

/// A place as JSON.
pub fn place(place: &Place) -> Value {
    let mut out = Map::new();
    out.insert("claim".into(), json!(place.claim.to_string()));
    out.insert("mode".into(), json!(mode(place.mode)));
    out.insert("ticket".into(), json!(place.ticket));
    out.insert("priority".into(), json!(place.priority));
    out.insert("lock_delay_ms".into(), json!(place.lock_delay_ms));
    put_bytes(&mut out, "metadata", &place.metadata);
    let state = match place.state {
        PlaceState::Waiting { position } => json!({"waiting": {"position": position}}),
        PlaceState::Holding { token, since } => {
            json!({"holding": {"token": token, "since_unix_ms": unix_ms(since)}})
        }
        PlaceState::Withheld { until } => json!({"withheld": {"until_unix_ms": unix_ms(until)}}),
    };
    out.insert("state".into(), state);
    Value::Object(out)
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn at_length(object: &ObjectInfo, graph: &WaitGraph) -> Value {
    let all = |places: &[Place]| places.iter().map(place).collect::<Vec<_>>();
    let edges = graph.edges.iter().map(|wait| {
        let mut out = Map::new();
        put_bytes(&mut out, "name", &wait.name);
        out.insert("waiter".into(), json!(wait.waiter.to_string()));
        out.insert("blocker".into(), json!(wait.blocker.to_string()));
        Value::Object(out)
    });
    json!({
        "object": summary(&object.summary),
        "holders": all(&object.holders),
        "withheld": all(&object.withheld),
        "queue": all(&object.queue),
        "waits": edges.collect::<Vec<_>>(),
        "circles": graph.circles,
        "more": object.more || graph.more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_what_it_has_come_to() {
        let held = Place {
            claim: Claim { session: 7, request: 3 },
            mode: Mode::Weight(2),
            ticket: 5,
            since: SystemTime::now(),
            priority: 1,
            metadata: "host 7".into(),
            lock_delay_ms: 0,
            together_with: Vec::new(),
            state: PlaceState::Holding { token: 9, since: SystemTime::UNIX_EPOCH },
        };
        let waits = Place { state: PlaceState::Waiting { position: 4 }, ..held.clone() };
        assert_eq!(row(&held)[..4], ["holds", "7/3", "weight 2", "9"]);
        assert_eq!(row(&waits)[0], "waits, 4 ahead");
        assert_eq!(place(&held)["state"]["holding"]["token"], 9);
        assert_eq!(place(&waits)["state"]["waiting"]["position"], 4);
        assert_eq!(holder(&held), "7/3 (host 7)");
    }
}
