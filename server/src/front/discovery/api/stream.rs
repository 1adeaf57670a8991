//! A service as a stream of server-sent events: all its instances, then what changes.
//!
//! | event | data |
//! | --- | --- |
//! | `snapshot` | all instances that match, as a resolve gives them; takes the place of what was told before |
//! | `put` | an instance that is new or changed |
//! | `delete` | the name of one that is gone, or matches no more |
//! | `error` | why the stream ends |
//!
//! The last event of a change carries the revision as its id. Whoever comes back with it, in
//! `Last-Event-ID` or as `?after=`, is told the changes since, or a snapshot if there were any. What
//! changes faster than it is sent is told once, as it is then: a slow reader costs no memory.

use super::Api;
use super::asked::{self, Asked, Named};
use super::list::{Pairs, asked as parsed};
use super::refused::Refused;
use super::shown::{Resolved, Shown, Stand};
use crate::front::discovery::cache::Found;
use crate::front::discovery::choice::Filter;
use crate::front::discovery::table::Entry;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use oarlock_proto::registry;
use oarlock_state::command::KeyRange;
use oarlock_state::{Caller, Revision};
use serde::Serialize;
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// A silent stream is given a sign of life this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a member may need to reach the revision that a reader has seen elsewhere.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Longest wait at a time; then the permission is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Begins a stream.
pub(super) async fn begin(
    api: &Arc<Api>,
    path: Named<String>,
    pairs: Pairs,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    let service = asked::service(path)?;
    let asked = parsed(pairs)?;
    let only = Asked { filter: asked.filter.clone(), after: asked.after, ..Asked::default() };
    if asked != only {
        return Err(Refused::bad("a stream takes health, tag and after alone"));
    }
    let caller = api.caller(headers)?;
    let seen = last_id(headers)?.unwrap_or(asked.after);
    let cache = api.cache().await?;
    let place = api.wait()?;
    if !cache.reach(seen, Instant::now() + CATCH_UP).await {
        let text = format!("this member has not reached revision {seen} yet; ask another one, or retry");
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "behind", text));
    }
    let mut teller = Teller {
        api: api.clone(),
        caller,
        service,
        filter: asked.filter,
        told: Vec::new(),
        seen,
        events: VecDeque::new(),
        ended: false,
        _place: place,
    };
    teller.check().await?;
    teller.first(cache.service(&teller.service));
    Ok(Sse::new(teller.run()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn last_id(headers: &HeaderMap) -> Result<Option<Revision>, Refused> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let id = id.to_str().ok().and_then(|id| id.trim().parse().ok()).map(Revision);
    id.map(Some).ok_or_else(|| Refused::bad("Last-Event-ID must be the id of an event, a number"))
}

struct Teller {
    api: Arc<Api>,
    caller: Caller,
    service: String,
    filter: Filter,
    /// What the reader knows, by name.
    told: Vec<Arc<Entry>>,
    /// As of this revision.
    seen: Revision,
    /// On their way.
    events: VecDeque<Event>,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Teller {
    fn run(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut teller| async move {
            let event = teller.next().await?;
            Some((Ok(event), teller))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let until = Instant::now() + LOOK_EVERY;
            let found = self.api.cache.changed_after(&self.service, self.seen, until).await;
            if let Err(refused) = self.check().await {
                self.ended = true;
                return Some(event("error", &refused.json()));
            }
            self.change(&found);
        }
    }

    async fn check(&self) -> Result<(), Refused> {
        let range = KeyRange::prefix(registry::prefix(&self.service).as_bytes());
        self.api.check_read(&self.caller, range).await
    }

    /// A snapshot, unless the reader has it already.
    fn first(&mut self, found: Found) {
        self.told = self.filter.of(&found.instances);
        if self.seen == Revision(0) || found.changed > self.seen {
            let stand = Stand { revision: found.revision, age: found.age };
            let body = Resolved::new(&self.service, &self.told, usize::MAX, stand);
            self.events.push_back(event("snapshot", &body).id(found.revision.to_string()));
        }
        self.seen = found.revision.max(self.seen);
    }

    fn change(&mut self, found: &Found) {
        let now = self.filter.of(&found.instances);
        let mut events = difference(&self.told, &now);
        self.told = now;
        self.seen = found.revision.max(self.seen);
        if let Some(last) = events.pop() {
            events.push(last.id(self.seen.to_string()));
        }
        self.events.extend(events);
    }
}

/// What leads from one to the other; both are in the order of names.
fn difference(before: &[Arc<Entry>], now: &[Arc<Entry>]) -> Vec<Event> {
    let in_now = |name: &str| now.binary_search_by(|entry| entry.name.as_str().cmp(name)).is_ok();
    let gone = before.iter().filter(|entry| !in_now(&entry.name));
    let is_told = |entry: &Arc<Entry>| {
        let known = before.binary_search_by(|known| known.name.cmp(&entry.name));
        known.is_ok_and(|place| before[place].revision == entry.revision)
    };
    let gone = gone.map(|entry| event("delete", &json!({ "name": entry.name })));
    let put = now.iter().filter(|entry| !is_told(entry));
    gone.chain(put.map(|entry| event("put", &Shown::from(&**entry)))).collect()
}

fn event(kind: &str, data: &impl Serialize) -> Event {
    Event::default().event(kind).data(serde_json::to_string(data).expect("plain data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, revision: u64) -> Arc<Entry> {
        let instance = serde_json::from_str(r#"{"address":"a"}"#).expect("a record");
        Arc::new(Entry { name: name.into(), instance, revision: Revision(revision) })
    }

    #[test]
    fn only_what_differs_is_told() {
        let before = [entry("a", 1), entry("b", 1), entry("c", 1)];
        let now = [entry("a", 1), entry("c", 2), entry("d", 2)];
        let told = difference(&before, &now);
        let shown = format!("{told:?}");
        assert_eq!(told.len(), 3, "{shown}");
        assert!(difference(&now, &now).is_empty());
    }

    #[test]
    fn the_last_event_is_a_revision() {
        let mut headers = HeaderMap::new();
        assert_eq!(last_id(&headers), Ok(None));
        headers.insert("last-event-id", "17".parse().expect("a header"));
        assert_eq!(last_id(&headers), Ok(Some(Revision(17))));
        headers.insert("last-event-id", "x".parse().expect("a header"));
        assert!(last_id(&headers).is_err());
    }
}
