//! session open, get, ls, close.

use crate::args::{Common, SessionVerb};
use crate::failure::Failure;
use crate::output::{self, say};
use oarlock_client::wire::SessionRecord;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Runs a verb on sessions.
pub async fn run(common: &Common, verb: SessionVerb) -> Result<ExitCode, Failure> {
    match verb {
        SessionVerb::Open { ttl } => open(common, ttl).await,
        SessionVerb::Get { session } => get(common, session).await,
        SessionVerb::Ls { limit } => ls(common, limit).await,
        SessionVerb::Close { session } => {
            common.connect().await?.close_session(session).await?;
            if common.is_json() {
                output::line(&json!({ "closed": session }));
            } else {
                say!("closed");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn open(common: &Common, ttl: Duration) -> Result<ExitCode, Failure> {
    let session = common.connect().await?.session().timeout(ttl).open().await?;
    if common.is_json() {
        let timeout_ms = u64::try_from(session.timeout().as_millis()).unwrap_or(u64::MAX);
        output::line(&json!({ "session": session.id(), "timeout_ms": timeout_ms }));
    } else {
        say!("{}", session.id());
    }
    eprintln!("kept alive until interrupted; its timeout is {:?}", session.timeout());
    tokio::select! {
        cause = session.lost() => {
            let cause = cause.unwrap_or_else(|| "it was closed".into());
            Err(oarlock_client::Error::SessionLost { session: session.id(), cause }.into())
        }
        _ = tokio::signal::ctrl_c() => {
            session.close().await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn get(common: &Common, id: u64) -> Result<ExitCode, Failure> {
    let not_found = || Failure::NotFound(format!("session {id} does not exist; it expired or was closed"));
    let record = common.connect().await?.session_record(id).await?.ok_or_else(not_found)?;
    if common.is_json() {
        let text = |owned: &[bytes::Bytes]| -> Vec<String> {
            owned.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
        };
        let mut document = as_json(&record);
        document["attached_keys"] = json!(text(&record.attached_keys));
        document["attached_nodes"] = json!(text(&record.attached_nodes));
        output::line(&document);
        return Ok(ExitCode::SUCCESS);
    }
    say!("session {}\ntimeout {:?}", record.session, Duration::from_millis(record.timeout_ms));
    say!("last touch {}\nlast write {}", record.last_touch, record.last_sequence);
    for owned in record.attached_keys.iter().chain(&record.attached_nodes) {
        say!("owns {}", String::from_utf8_lossy(owned));
    }
    Ok(ExitCode::SUCCESS)
}

async fn ls(common: &Common, limit: u64) -> Result<ExitCode, Failure> {
    let (sessions, more) = common.connect().await?.sessions(0, limit).await?;
    if common.is_json() {
        sessions.iter().map(as_json).for_each(|record| output::line(&record));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["session", "timeout", "last touch", "last write"]);
    for record in &sessions {
        let timeout = format!("{:?}", Duration::from_millis(record.timeout_ms));
        let numbers = [record.session.to_string(), timeout, record.last_touch.to_string()];
        table.add_row(numbers.into_iter().chain([record.last_sequence.to_string()]));
    }
    say!("{table}");
    if more {
        eprintln!("there are more; see --limit");
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(record: &SessionRecord) -> Value {
    json!({
        "session": record.session,
        "timeout_ms": record.timeout_ms,
        "opened_unix_ms": record.opened_unix_ms,
        "last_touch": record.last_touch,
        "last_sequence": record.last_sequence,
        "acked_up_to": record.acked_up_to,
    })
}
