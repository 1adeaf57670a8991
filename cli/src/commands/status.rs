//! status: a table of the members and how they stand.

use crate::args::{Common, StatusArgs};
use crate::failure::Failure;
use crate::output::{self, say};
use oarlock_client::Client;
use oarlock_client::wire::{StatusResponse, status_response::Role};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Time that each member has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows the members once, or again and again.
pub async fn run(common: &Common, args: StatusArgs) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    loop {
        let members = ask_all(&client).await;
        if args.watch.is_some() && !common.is_json() {
            output::write(format_args!("\x1b[2J\x1b[H")); // clears the screen, cursor to the top left
        }
        print(common, &members);
        let Some(pause) = args.watch else { break };
        tokio::time::sleep(pause).await;
    }
    Ok(ExitCode::SUCCESS)
}

type Answer = (String, Result<StatusResponse, oarlock_client::Error>);

async fn ask_all(client: &Client) -> Vec<Answer> {
    // Those who joined since the last round are asked too; without a leader the old list serves.
    let _ = client.discover().await;
    let asked = client.endpoints().into_iter().map(|endpoint| async {
        let status = client.status_of(&endpoint, PATIENCE).await;
        (endpoint, status)
    });
    let mut answers = futures::future::join_all(asked).await;
    answers.sort_by(|one, other| one.0.cmp(&other.0));
    answers
}

fn print(common: &Common, answers: &[Answer]) {
    if common.is_json() {
        output::line(&Value::Array(answers.iter().map(as_json).collect()));
        return;
    }
    let header = [
        "member", "endpoint", "role", "term", "revision", "applied", "lag", "log", "state", "memory",
        "sessions", "watches",
    ];
    let mut table = output::table(&header);
    let committed = answers.iter().filter_map(|(_, status)| status.as_ref().ok());
    let newest = committed.map(|status| status.committed_index).max().unwrap_or(0);
    for (endpoint, status) in answers {
        match status {
            Ok(status) => table.add_row(row(endpoint, status, newest)),
            Err(_) => table.add_row(["?", endpoint, "no answer"]),
        };
    }
    say!("{table}");
    for error in answers.iter().filter_map(|(_, status)| status.as_ref().err()) {
        eprintln!("{error}");
    }
}

fn row(endpoint: &str, status: &StatusResponse, newest: u64) -> Vec<String> {
    let header = status.header.unwrap_or_default();
    vec![
        format!("{} ({:x})", status.name, header.member_id),
        endpoint.to_owned(),
        role(status).to_owned(),
        header.term.to_string(),
        header.revision.to_string(),
        status.applied_index.to_string(),
        newest.saturating_sub(status.applied_index).to_string(),
        output::bytes(status.log_bytes),
        output::bytes(status.state_bytes + status.overlay_bytes),
        output::bytes(status.resident_bytes),
        status.sessions.to_string(),
        status.watches.to_string(),
    ]
}

fn role(status: &StatusResponse) -> &'static str {
    match status.role() {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
    }
}

fn as_json((endpoint, status): &Answer) -> Value {
    let status = match status {
        Ok(status) => status,
        Err(error) => return json!({ "endpoint": endpoint, "error": error.to_string() }),
    };
    let header = status.header.unwrap_or_default();
    json!({
        "endpoint": endpoint,
        "name": status.name,
        "member_id": format!("{:x}", header.member_id),
        "cluster_id": format!("{:x}", header.cluster_id),
        "role": role(status),
        "leader_id": format!("{:x}", status.leader_id),
        "term": header.term,
        "revision": header.revision,
        "compacted_revision": status.compacted_revision,
        "committed_index": status.committed_index,
        "applied_index": status.applied_index,
        "durable_index": status.durable_index,
        "first_index": status.first_index,
        "last_index": status.last_index,
        "log_bytes": status.log_bytes,
        "state_bytes": status.state_bytes,
        "overlay_bytes": status.overlay_bytes,
        "resident_bytes": status.resident_bytes,
        "sessions": status.sessions,
        "watches": status.watches,
        "digest": status.digest,
        "version": status.version,
        "uptime_ms": status.uptime_ms,
    })
}
