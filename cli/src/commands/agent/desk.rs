//! Where services on the same machine report how they stand, over HTTP.
//!
//! ```text
//! PUT /v1/services/{service}/{instance}/passing     also warning, critical; the body is the reason
//! GET /v1/services                                  what the agent keeps, and how it stands
//! ```
//!
//! Reports are PUTs, which a web page cannot send to a loopback address behind its reader's back.

use super::state_json;
use crate::failure::Failure;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{get, put};
use oarlock_client::registry::{Health, Registration};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 4096;

type Registrations = Arc<[Registration]>;

/// Serves until the listener fails; for ever, and nothing, without an address.
pub(super) async fn serve(at: Option<SocketAddr>, registrations: Registrations) -> Result<(), Failure> {
    let Some(at) = at else { return std::future::pending().await };
    let failed = |error| Failure::Local(format!("cannot serve reports on {at}: {error}"));
    let listener = tokio::net::TcpListener::bind(at).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    eprintln!("reports are taken on http://{at}/v1/services");
    axum::serve(listener, router(registrations)).await.map_err(failed)
}

fn router(registrations: Registrations) -> Router {
    Router::new()
        .route("/v1/services", get(list))
        .route("/v1/services/{service}/{instance}/{health}", put(report))
        .layer(DefaultBodyLimit::max(REASON_BYTES_MAX))
        .with_state(registrations)
}

async fn list(State(registrations): State<Registrations>) -> Json<Value> {
    let document = |registration: &Registration| {
        let record = registration.record();
        let mut document = state_json(&registration.state());
        document["service"] = json!(registration.service());
        document["instance"] = json!(registration.instance());
        document["health"] = json!(record.health.word());
        document["health_reason"] = json!(record.health_reason);
        document
    };
    Json(registrations.iter().map(document).collect())
}

async fn report(
    State(registrations): State<Registrations>,
    Path((service, instance, health)): Path<(String, String, String)>,
    reason: String,
) -> Result<StatusCode, (StatusCode, String)> {
    let health = match health.as_str() {
        "passing" => Health::Passing,
        "warning" => Health::Warning,
        "critical" => Health::Critical,
        other => {
            let why = format!("{other:?} is not one of passing, warning, critical\n");
            return Err((StatusCode::BAD_REQUEST, why));
        }
    };
    let named = |one: &&Registration| one.service() == service && one.instance() == instance;
    let Some(registration) = registrations.iter().find(named) else {
        let why = format!("this agent does not keep {service}/{instance}\n");
        return Err((StatusCode::NOT_FOUND, why));
    };
    registration.report(health, reason.trim());
    Ok(StatusCode::NO_CONTENT)
}
