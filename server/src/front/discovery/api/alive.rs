//! The heartbeat of an instance: it lives, and this is how it stands.

use super::asked::{self, Named};
use super::body;
use super::proof::Given;
use super::refused::Refused;
use super::register::write;
use super::{Api, as_json, form, unexpected};
use crate::node::request::{Consistency, Response as Told};
use crate::observe::discovery::ServiceCall;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use oarlock_proto::registry::{self, Health, Instance};
use oarlock_state::command::{
    Answer, Compare, CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, Put, RangeQuery, ReplyBody, Txn,
};
use oarlock_state::{Caller, Command, Query, SessionId};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Bytes of a heartbeat.
const BYTES_MAX: usize = 4096;
/// How often a change of health is tried while others change the record.
const TRIES: usize = 5;

/// The body; all of it may be missing.
#[derive(Debug, Deserialize)]
struct Beat {
    session: Option<String>,
    secret: Option<String>,
    health: Option<Health>,
    #[serde(default)]
    reason: String,
}

/// `PUT /v1/services/{service}/{instance}/alive`
pub(super) async fn alive(
    State(api): State<Arc<Api>>,
    path: Named<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answered = beat(&api, path, &headers, body).await;
    api.answer(ServiceCall::Alive, answered)
}

async fn beat(
    api: &Api,
    path: Named<(String, String)>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let (service, instance) = &asked::instance(path)?;
    let caller = api.caller(headers)?;
    let beat: Beat = body::read(body, BYTES_MAX).await?;
    if beat.reason.len() > form::TEXT_BYTES_MAX {
        return Err(Refused::bad(format!("reason has more than {} bytes", form::TEXT_BYTES_MAX)));
    }
    if beat.health.is_none() && !beat.reason.is_empty() {
        return Err(Refused::bad("a reason goes with a health: passing, warning, draining or critical"));
    }
    let proof = Given::read(headers, beat.session.as_deref(), beat.secret.as_deref())?.whole()?;
    let info = api.prove(&caller, proof).await?;
    let valid_for_ms = api.keep_alive(&caller, proof.session).await?;
    let key: Bytes = registry::key(service, instance).into();
    let record = own(api, &caller, &key, proof.session).await?;
    let record = match beat.health {
        Some(health) => stand(api, &caller, record, (health, beat.reason)).await?,
        None => record,
    };
    let body = json!({
        "ttl_ms": info.timeout_ms,
        "valid_for_ms": valid_for_ms,
        "revision": record.mod_revision.get(),
    });
    Ok(as_json(StatusCode::OK, &body))
}

/// The session's record: as this member knows it, or else as the leader does.
async fn own(api: &Api, caller: &Caller, key: &Bytes, session: SessionId) -> Result<KeyValue, Refused> {
    for consistency in [Consistency::Serializable, Consistency::Linearizable] {
        if let Some(record) = look(api, caller, key, consistency).await?
            && record.owner == session
        {
            return Ok(record);
        }
    }
    let name = String::from_utf8_lossy(key);
    let text = format!("{name} is not registered in session {session}; register it again");
    Err(Refused::new(StatusCode::GONE, "not_registered", text))
}

async fn look(
    api: &Api,
    caller: &Caller,
    key: &Bytes,
    consistency: Consistency,
) -> Result<Option<KeyValue>, Refused> {
    let query = Query::Range(RangeQuery::of(KeyRange::Key(key.clone())));
    match api.read(caller, query, consistency).await? {
        Told::Answer { answer: Answer::Range(mut read), .. } => Ok(read.records.pop()),
        _ => Err(unexpected()),
    }
}

/// Writes how the instance stands, if that is new, and leaves the rest of the record as it is.
async fn stand(
    api: &Api,
    caller: &Caller,
    record: KeyValue,
    (health, reason): (Health, String),
) -> Result<KeyValue, Refused> {
    let mut record = record;
    for _ in 0..TRIES {
        let Ok(mut instance) = serde_json::from_slice::<Instance>(&record.value) else {
            return Err(Refused::new(
                StatusCode::CONFLICT,
                "unreadable",
                "the record is no instance any more; register it again",
            ));
        };
        if instance.health == health && instance.health_reason == reason {
            return Ok(record);
        }
        (instance.health, instance.health_reason) = (health, reason.clone());
        let value: Bytes = serde_json::to_vec(&instance).expect("plain data").into();
        if let Some(changed) = change(api, caller, &record, value).await? {
            return Ok(changed);
        }
        record = own(api, caller, &record.key, record.owner).await?;
    }
    Err(Refused::new(StatusCode::CONFLICT, "contended", "others change the record all the time; retry"))
}

/// Changes the record if it is as it was.
async fn change(
    api: &Api,
    caller: &Caller,
    record: &KeyValue,
    value: Bytes,
) -> Result<Option<KeyValue>, Refused> {
    let unchanged = Compare {
        range: KeyRange::Key(record.key.clone()),
        target: CompareTarget::ModRevision(record.mod_revision),
        op: CompareOp::Equal,
    };
    let put = Put { key: record.key.clone(), value, owner: record.owner, ..Put::default() };
    let txn = Txn { compare: vec![unchanged], then: vec![KvOp::Put(put)], otherwise: Vec::new() };
    match write(api, caller, Command::Txn(txn)).await? {
        (ReplyBody::Txn(reply), revision) if reply.succeeded => {
            Ok(Some(KeyValue { mod_revision: revision, ..record.clone() }))
        }
        (ReplyBody::Txn(_), _) => Ok(None),
        _ => Err(unexpected()),
    }
}
