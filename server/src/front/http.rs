//! The client port: gRPC and plain HTTP on one socket, told apart by the first bytes.
//!
//! | path | answers |
//! | --- | --- |
//! | `/health` | etcd's JSON; healthy if a linearizable read succeeds (`?serializable=true`: if this member's own state can be read) |
//! | `/livez` | the process runs |
//! | `/readyz` | a linearizable read succeeds in time; `?verbose` lists the checks |
//! | `/version`, `/metrics` | what they say |

use crate::config::Emulation;
use crate::node::handle::Handle;
use crate::node::request::{Consistency, Request};
use crate::observe::metrics::Exposition;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use oarlock_state::Caller;
use oarlock_state::Query as StateQuery;
use serde::Deserialize;
use std::fmt::Write;
use std::sync::Arc;

/// How long a check may take. Longer than an election, so that a healthy cluster in the middle of
/// one does not look dead.
const CHECK_MS: u32 = 3_000;

/// What the answers come from.
struct Sources {
    handle: Handle,
    exposition: Exposition,
    emulation: Emulation,
}

/// What may follow the question mark.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    verbose: Option<String>,
    serializable: Option<String>,
}

/// The plain HTTP part; to be merged with that of gRPC.
pub fn routes(handle: Handle, exposition: Exposition, emulation: Emulation) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Sources { handle, exposition, emulation }))
}

/// What nobody serves: gRPC clients get their own "unimplemented", everybody else a 404.
pub async fn unknown(uri: Uri, headers: HeaderMap) -> Response {
    let grpc = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc {
        return tonic::Status::unimplemented(format!("{} is not offered here", uri.path())).into_http();
    }
    let text =
        format!("there is nothing at {}; see /health, /readyz, /livez, /version, /metrics\n", uri.path());
    (StatusCode::NOT_FOUND, text).into_response()
}

/// One thing that was looked at.
struct Check {
    name: &'static str,
    failure: Option<String>,
}

async fn read(handle: &Handle, name: &'static str, consistency: Consistency) -> Check {
    let asked = Request::Read { query: StateQuery::Members, consistency, timeout_ms: CHECK_MS };
    let failure = handle.call_as(&Caller::Server, asked).await.err().map(|refusal| refusal.to_string());
    Check { name, failure }
}

async fn serializable(handle: &Handle) -> Check {
    read(handle, "serializable_read", Consistency::Serializable).await
}

async fn linearizable(handle: &Handle) -> Check {
    read(handle, "linearizable_read", Consistency::Linearizable).await
}

fn leader(handle: &Handle) -> Check {
    let known = handle.is_ready();
    Check { name: "leader", failure: (!known).then(|| "no leader is known to this member".to_owned()) }
}

/// etcd's shape: both are strings.
async fn health(State(sources): State<Arc<Sources>>, Query(asked): Query<Asked>) -> Response {
    let local = asked.serializable.is_some_and(|value| value.is_empty() || value == "true");
    let check = if local { serializable(&sources.handle).await } else { linearizable(&sources.handle).await };
    let healthy = check.failure.is_none();
    let body = serde_json::json!({
        "health": healthy.to_string(),
        "reason": check.failure.unwrap_or_default(),
    });
    (status(healthy), [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn livez(State(sources): State<Arc<Sources>>, Query(asked): Query<Asked>) -> Response {
    report(&asked, &[serializable(&sources.handle).await])
}

async fn readyz(State(sources): State<Arc<Sources>>, Query(asked): Query<Asked>) -> Response {
    report(&asked, &[leader(&sources.handle), linearizable(&sources.handle).await])
}

/// etcd's shape: `ok`, or a line per check.
fn report(asked: &Asked, checks: &[Check]) -> Response {
    let good = checks.iter().all(|check| check.failure.is_none());
    let mut text = String::new();
    if asked.verbose.is_some() || !good {
        for check in checks {
            let line = match &check.failure {
                None => writeln!(text, "[+]{} ok", check.name),
                Some(reason) => writeln!(text, "[-]{} failed: {reason}", check.name),
            };
            line.expect("a string takes everything");
        }
    }
    text.push_str(if good { "ok\n" } else { "not ok\n" });
    (status(good), text).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// What etcd answers, and the same of Oarlock itself.
async fn version(State(sources): State<Arc<Sources>>) -> Response {
    let version = sources.handle.identity().version;
    let emulated = sources.emulation.version;
    let body = serde_json::json!({
        "etcdserver": emulated.to_string(),
        "etcdcluster": emulated.of_cluster().to_string(),
        "storage": emulated.of_cluster().to_string(),
        "oarlockserver": version,
        "oarlockcluster": version,
    });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match sources.exposition.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_listed_without_being_asked() {
        let bad = Check { name: "leader", failure: Some("none".into()) };
        assert_eq!(report(&Asked::default(), &[bad]).status(), StatusCode::SERVICE_UNAVAILABLE);
        let good = Check { name: "leader", failure: None };
        assert_eq!(report(&Asked::default(), &[good]).status(), StatusCode::OK);
    }
}
