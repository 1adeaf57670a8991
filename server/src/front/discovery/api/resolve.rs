//! The instances of a service: now, or once something changed.

use super::asked::{self, Asked, Named};
use super::list::{Pairs, asked as parsed};
use super::refused::Refused;
use super::shown::{Resolved, Shown, Stand};
use super::{Api, stream};
use crate::front::discovery::cache::Found;
use crate::front::discovery::choice;
use crate::front::discovery::feed;
use crate::front::discovery::table::Table;
use crate::node::request::Consistency;
use crate::observe::discovery::ServiceCall;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use oarlock_proto::registry;
use oarlock_state::command::KeyRange;
use oarlock_state::{Caller, Revision};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `GET /v1/services/{service}`
pub(super) async fn service(
    State(api): State<Arc<Api>>,
    path: Named<String>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Response {
    if wants_stream(&headers) {
        let answered = stream::begin(&api, path, pairs, &headers).await;
        return api.answer(ServiceCall::Stream, answered);
    }
    let answered = resolve(&api, path, pairs, &headers).await;
    api.answer(ServiceCall::Resolve, answered)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accept| accept.contains("text/event-stream"))
}

async fn resolve(
    api: &Api,
    path: Named<String>,
    pairs: Pairs,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    let service = &asked::service(path)?;
    let asked = parsed(pairs)?;
    if !asked.start_after.is_empty() {
        return Err(Refused::bad("start_after is for the list of services"));
    }
    let caller = api.caller(headers)?;
    let found = find(api, &caller, service, &asked).await?;
    let mut instances = asked.filter.of(&found.instances);
    if !asked.by_name {
        choice::shuffle(&mut instances, asked.zone.as_deref(), &mut rand::rng());
    } else if let Some(zone) = &asked.zone {
        instances.sort_by_key(|entry| entry.instance.zone != *zone);
    }
    let stand = Stand { revision: found.revision, age: found.age };
    Ok(stand.sign(&Resolved::new(service, &instances, asked.limit, stand)))
}

async fn find(api: &Api, caller: &Caller, service: &str, asked: &Asked) -> Result<Found, Refused> {
    if asked.linearizable {
        return confirmed(api, caller, service).await;
    }
    let range = || KeyRange::prefix(registry::prefix(service).as_bytes());
    api.check_read(caller, range()).await?;
    let cache = api.cache().await?;
    let mut found = cache.service(service);
    if !asked.wait.is_zero() && found.changed <= asked.after {
        let place = api.wait()?;
        found = cache.changed_after(service, asked.after, Instant::now() + asked.wait).await;
        drop(place);
        // Much may have changed while it waited.
        api.check_read(caller, range()).await?;
    }
    not_older(found, asked.after)
}

/// Whoever has seen more than this member keeps what it has.
fn not_older(found: Found, after: Revision) -> Result<Found, Refused> {
    if found.revision >= after {
        return Ok(found);
    }
    let text = format!(
        "this member has everything up to revision {}, which is before {after}; ask another one, or retry",
        found.revision
    );
    Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "behind", text))
}

/// As the leader confirms it.
async fn confirmed(api: &Api, caller: &Caller, service: &str) -> Result<Found, Refused> {
    let range = KeyRange::prefix(registry::prefix(service).as_bytes());
    let (revision, records) = feed::records(&api.handle, caller, range, Consistency::Linearizable).await?;
    let (instances, changed) = Table::of(revision, records).service(service);
    Ok(Found { instances, changed, revision, age: Duration::ZERO })
}

/// An instance by name.
#[derive(Serialize)]
struct One<'e> {
    service: &'e str,
    revision: u64,
    age_ms: u64,
    instance: Shown<'e>,
}

/// `GET /v1/services/{service}/{instance}`
pub(super) async fn instance(
    State(api): State<Arc<Api>>,
    path: Named<(String, String)>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Response {
    let answered = one(&api, path, pairs, &headers).await;
    api.answer(ServiceCall::Get, answered)
}

async fn one(
    api: &Api,
    path: Named<(String, String)>,
    pairs: Pairs,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    let (service, instance) = &asked::instance(path)?;
    let asked = parsed(pairs)?;
    let only = Asked { linearizable: asked.linearizable, after: asked.after, ..Asked::default() };
    if asked != only {
        return Err(Refused::bad("one instance is asked for with consistency and after alone"));
    }
    let caller = api.caller(headers)?;
    let found = find(api, &caller, service, &asked).await?;
    let Some(entry) = found.instances.get(instance) else {
        let text = format!("{service} has no instance {instance:?}; it was not registered, or is gone");
        return Err(Refused::new(StatusCode::NOT_FOUND, "not_found", text));
    };
    let stand = Stand { revision: found.revision, age: found.age };
    let (revision, age_ms) = (stand.revision.get(), stand.age_ms());
    Ok(stand.sign(&One { service, revision, age_ms, instance: Shown::from(&**entry) }))
}
