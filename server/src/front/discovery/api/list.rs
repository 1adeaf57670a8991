//! The services that there are.

use super::Api;
use super::asked::Asked;
use super::refused::Refused;
use super::shown::Stand;
use crate::front::discovery::table::Instances;
use crate::observe::discovery::ServiceCall;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::{StreamExt, stream};
use oarlock_proto::registry::{self, Health};
use oarlock_state::Caller;
use oarlock_state::command::KeyRange;
use serde::Serialize;
use std::sync::Arc;

/// Permissions looked up at once.
const CHECKS: usize = 16;

pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The pairs after the question mark, understood.
pub(super) fn asked(pairs: Pairs) -> Result<Asked, Refused> {
    let Query(pairs) = pairs.map_err(|rejection| Refused::bad(rejection.body_text()))?;
    Asked::parse(&pairs)
}

#[derive(Serialize)]
struct Listed {
    revision: u64,
    age_ms: u64,
    more: bool,
    services: Vec<Counted>,
}

/// A service, with how its instances stand.
#[derive(Serialize)]
struct Counted {
    name: String,
    instances: usize,
    usable: usize,
    passing: usize,
    warning: usize,
    draining: usize,
    critical: usize,
}

impl Counted {
    fn of(name: &str, instances: &Instances) -> Self {
        let with = |health| instances.values().filter(|entry| entry.instance.health == health).count();
        Self {
            name: name.to_owned(),
            instances: instances.len(),
            usable: with(Health::Passing) + with(Health::Warning),
            passing: with(Health::Passing),
            warning: with(Health::Warning),
            draining: with(Health::Draining),
            critical: with(Health::Critical),
        }
    }
}

/// `GET /v1/services`
pub(super) async fn list(State(api): State<Arc<Api>>, pairs: Pairs, headers: HeaderMap) -> Response {
    let answered = answer(&api, pairs, &headers).await;
    api.answer(ServiceCall::List, answered)
}

async fn answer(api: &Api, pairs: Pairs, headers: &HeaderMap) -> Result<Response, Refused> {
    let asked = asked(pairs)?;
    let only = Asked { limit: asked.limit, start_after: asked.start_after.clone(), ..Asked::default() };
    if asked != only {
        return Err(Refused::bad("a list of services takes limit and start_after alone"));
    }
    let caller = api.caller(headers)?;
    let cache = api.cache().await?;
    let mut services = cache.read(|table| {
        let after = table.services_after(&asked.start_after).take(asked.limit + 1);
        after.map(|(name, instances)| Counted::of(name, instances)).collect::<Vec<_>>()
    });
    let stand = Stand { revision: cache.revision(), age: cache.age() };
    let more = services.len() > asked.limit;
    services.truncate(asked.limit);
    let services = permitted(api, &caller, services).await?;
    Ok(stand.sign(&Listed { revision: stand.revision.get(), age_ms: stand.age_ms(), more, services }))
}

/// Those that the caller may read: all, or each by itself.
async fn permitted(api: &Api, caller: &Caller, services: Vec<Counted>) -> Result<Vec<Counted>, Refused> {
    let whole = api.check_read(caller, KeyRange::prefix(registry::PREFIX.as_bytes())).await;
    let Err(refused) = whole else { return Ok(services) };
    if !refused.is(StatusCode::FORBIDDEN) {
        return Err(refused);
    }
    let checks = services.into_iter().map(async |service| {
        let range = KeyRange::prefix(registry::prefix(&service.name).as_bytes());
        api.check_read(caller, range).await.is_ok().then_some(service)
    });
    Ok(stream::iter(checks).buffered(CHECKS).filter_map(async |service| service).collect().await)
}
