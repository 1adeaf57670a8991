//! Service discovery over plain HTTP, in JSON, below `/v1/services`: for every language that has
//! neither gRPC nor a client library.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /v1/services` | lists services |
//! | `GET /v1/services/SERVICE` | its instances; waits for a change with `?wait=30s&after=REVISION`; streams with `Accept: text/event-stream` |
//! | `GET /v1/services/SERVICE/INSTANCE` | one of them |
//! | `PUT /v1/services/SERVICE/INSTANCE` | registers, or changes or renews what is registered |
//! | `PUT /v1/services/SERVICE/INSTANCE/alive` | heartbeat, with how it stands |
//! | `DELETE /v1/services/SERVICE/INSTANCE` | deregisters |
//!
//! Answers come from this member's [`Cache`] unless `?consistency=linearizable` is asked for. While
//! authentication is on the caller needs reading, or writing, on the registry's keys, as in every
//! other API.

mod alive;
mod asked;
mod body;
mod form;
mod list;
mod proof;
mod refused;
mod register;
mod resolve;
mod shown;
mod stream;

use super::cache::Cache;
use super::feed;
use crate::auth::{Gate, InvalidToken};
use crate::node::handle::Handle;
use crate::node::request::{Consistency, Request, Response as Told};
use crate::observe::discovery::{DiscoveryCounts, ServiceCall};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use oarlock_state::command::{KeyRange, RangeQuery};
use oarlock_state::{Caller, Query};
use refused::Refused;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::metadata::MetadataMap;

/// Below this path.
const ROOT: &str = "/v1/services";
/// Requests that wait for changes, and streams, at once.
const WAITING_MAX: usize = 10_000;

/// What the API needs.
pub struct Api {
    handle: Handle,
    gate: Arc<Gate>,
    cache: Arc<Cache>,
    waiting: Arc<Semaphore>,
    counts: DiscoveryCounts,
}

impl Api {
    /// The API on this cache.
    pub fn new(handle: Handle, gate: Arc<Gate>, cache: Arc<Cache>, counts: DiscoveryCounts) -> Arc<Self> {
        Arc::new(Self { handle, gate, cache, waiting: Arc::new(Semaphore::new(WAITING_MAX)), counts })
    }

    /// Its paths.
    pub fn routes(self: Arc<Self>) -> Router {
        let below = Router::new()
            .route("/", get(list::list))
            .route("/{service}", get(resolve::service))
            .route(
                "/{service}/{instance}",
                get(resolve::instance).put(register::register).delete(register::deregister),
            )
            .route("/{service}/{instance}/alive", put(alive::alive).post(alive::alive))
            .fallback(nothing_here)
            .method_not_allowed_fallback(wrong_method)
            .with_state(self);
        Router::new().nest(ROOT, below)
    }

    /// Who asks.
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let metadata = MetadataMap::from_headers(headers.clone());
        self.gate.caller(&metadata).map_err(|InvalidToken| {
            Refused::new(StatusCode::UNAUTHORIZED, "unauthenticated", InvalidToken.to_string())
        })
    }

    async fn ask(&self, caller: &Caller, request: Request) -> Result<Told, Refused> {
        Ok(self.handle.call_as(caller, request).await?)
    }

    async fn read(&self, caller: &Caller, query: Query, consistency: Consistency) -> Result<Told, Refused> {
        self.ask(caller, Request::Read { query, consistency, timeout_ms: feed::READ_MS }).await
    }

    /// Whether the caller may read these keys, as this member knows it.
    async fn check_read(&self, caller: &Caller, range: KeyRange) -> Result<(), Refused> {
        if !self.handle.auth_enabled() {
            return Ok(());
        }
        let query = RangeQuery { limit: 1, keys_only: true, ..RangeQuery::of(range) };
        self.read(caller, Query::Range(query), Consistency::Serializable).await.map(drop)
    }

    /// The cache, once it is filled.
    async fn cache(&self) -> Result<&Cache, Refused> {
        self.cache.ready().await.map_err(|_| {
            let text = "the registry could not be read at this member yet; ask another one, or retry";
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
        })?;
        Ok(&self.cache)
    }

    /// A place among those who wait.
    fn wait(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.waiting.clone().try_acquire_owned().map_err(|_| Refused::full("waiting requests and streams"))
    }

    fn answer(&self, call: ServiceCall, answered: Result<Response, Refused>) -> Response {
        let response = answered.unwrap_or_else(IntoResponse::into_response);
        self.counts.call(call, response.status().as_u16());
        response
    }
}

async fn nothing_here(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let text = format!("there is nothing at {ROOT}{}; see {ROOT}/SERVICE/INSTANCE", uri.path());
    api.answer(ServiceCall::Other, Err(Refused::new(StatusCode::NOT_FOUND, "not_found", text)))
}

async fn wrong_method(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let text = format!("{ROOT}{} does not take this method", uri.path());
    api.answer(ServiceCall::Other, Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", text)))
}

fn as_json(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_string(body).expect("plain data");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// An answer of the fault that a node answered something else than was asked.
fn unexpected() -> Refused {
    let text = "fault of the server: the node gave another request's answer. Please report it";
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
}
