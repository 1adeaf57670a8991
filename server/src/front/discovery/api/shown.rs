//! How instances look in JSON.

use super::as_json;
use crate::front::discovery::table::Entry;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use oarlock_proto::registry::Instance;
use oarlock_state::Revision;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

const REVISION: HeaderName = HeaderName::from_static("oarlock-revision");
const AGE: HeaderName = HeaderName::from_static("oarlock-age-ms");

/// One instance.
#[derive(Serialize)]
pub struct Shown<'e> {
    name: &'e str,
    revision: u64,
    #[serde(flatten)]
    instance: &'e Instance,
}

impl<'e> From<&'e Entry> for Shown<'e> {
    fn from(entry: &'e Entry) -> Self {
        Self { name: &entry.name, revision: entry.revision.get(), instance: &entry.instance }
    }
}

/// Instances of a service.
#[derive(Serialize)]
pub struct Resolved<'e> {
    service: &'e str,
    revision: u64,
    age_ms: u64,
    /// There are more than were asked for.
    more: bool,
    instances: Vec<Shown<'e>>,
}

impl<'e> Resolved<'e> {
    /// At most `limit` of these.
    pub fn new(service: &'e str, found: &'e [Arc<Entry>], limit: usize, stand: Stand) -> Self {
        Self {
            service,
            revision: stand.revision.get(),
            age_ms: stand.age_ms(),
            more: found.len() > limit,
            instances: found.iter().take(limit).map(|entry| Shown::from(&**entry)).collect(),
        }
    }
}

/// As of when an answer is.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    /// Everything up to this revision is in it.
    pub revision: Revision,
    /// It was up to date so long ago, or later.
    pub age: Duration,
}

impl Stand {
    /// Milliseconds.
    pub fn age_ms(&self) -> u64 {
        u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX)
    }

    /// An answer that says in its headers as of when it is.
    pub fn sign(&self, body: &impl Serialize) -> Response {
        let mut response = as_json(StatusCode::OK, body);
        response.headers_mut().insert(REVISION, HeaderValue::from(self.revision.get()));
        response.headers_mut().insert(AGE, HeaderValue::from(self.age_ms()));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_pinned() {
        let text = r#"{"address":"10.0.0.7","port":80,"tags":["x"],"health":"warning"}"#;
        let instance = serde_json::from_str(text).expect("a record");
        let entry = Arc::new(Entry { name: "a".into(), instance, revision: Revision(7) });
        let stand = Stand { revision: Revision(9), age: Duration::from_millis(12) };
        let body = serde_json::to_string(&Resolved::new("web", &[entry.clone(), entry], 1, stand));
        let expected = concat!(
            r#"{"service":"web","revision":9,"age_ms":12,"more":true,"instances":[{"name":"a","revision":7,"#,
            r#""address":"10.0.0.7","port":80,"weight":100,"tags":["x"],"health":"warning"}]}"#
        );
        assert_eq!(body.expect("plain data"), expected);
    }
}
