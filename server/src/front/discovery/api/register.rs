//! Registering an instance, and taking it back.
//!
//! An instance is the ephemeral key of a session that it owns. A first request opens that session;
//! a repetition with the session and its secret renews it, and changes the record if it differs.
//! Whoever chooses the secret itself may repeat the first request too: the session is recognized by
//! it, so that a lost answer costs nothing.

use super::asked::{self, Named};
use super::body::{self, Time};
use super::proof::{self, Given, Proof};
use super::refused::Refused;
use super::{Api, as_json, form, unexpected};
use crate::front::discovery::table::RECORD_BYTES_MAX;
use crate::node::request::{Consistency, Request, Response as Told, Write};
use crate::observe::discovery::ServiceCall;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use oarlock_proto::registry::{self, Instance};
use oarlock_state::command::{
    Compare, CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, OpResult, OpenSession, Put, RangeQuery,
    ReplyBody, Txn, TxnReply,
};
use oarlock_state::{Caller, Command, Revision, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// For how long an instance lives without a heartbeat, unless it says so.
const TTL: Duration = Duration::from_secs(15);
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// The body of a registration.
#[derive(Debug, Deserialize)]
struct Registration {
    ttl: Option<Time>,
    session: Option<String>,
    secret: Option<String>,
    #[serde(flatten)]
    instance: Instance,
}

/// What may follow the question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Take the name over from whoever has it.
    #[serde(default)]
    replace: bool,
    /// Deregistering: the session goes on.
    #[serde(default)]
    keep_session: bool,
}

type Asked = Result<Query<Options>, QueryRejection>;

/// What registering returns.
#[derive(Serialize)]
struct Registered<'r> {
    service: &'r str,
    instance: &'r str,
    /// As text: not every language's numbers hold it.
    session: String,
    secret: String,
    ttl_ms: u64,
    revision: u64,
    created: bool,
}

/// `PUT /v1/services/{service}/{instance}`
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    path: Named<(String, String)>,
    options: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answered = put(&api, path, options, &headers, body).await;
    api.answer(ServiceCall::Register, answered)
}

async fn put(
    api: &Api,
    path: Named<(String, String)>,
    options: Asked,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let (service, instance) = &asked::instance(path)?;
    let replace = options_of(options)?.replace;
    let caller = api.caller(headers)?;
    let registration: Registration = body::read(body, RECORD_BYTES_MAX).await?;
    form::check(&registration.instance)?;
    let ttl = ttl(registration.ttl.as_ref())?;
    let given = Given::read(headers, registration.session.as_deref(), registration.secret.as_deref())?;
    let value: Bytes = serde_json::to_vec(&registration.instance).expect("plain data").into();
    if value.len() > RECORD_BYTES_MAX {
        let text = format!("the record has {} bytes; at most {RECORD_BYTES_MAX} are allowed", value.len());
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text));
    }
    let record = Record { key: registry::key(service, instance).into(), value, replace };
    let kept = match given.session {
        Some(_) => renew(api, &caller, given.whole()?, &record).await?,
        None => begin(api, &caller, given.secret, ttl, &record).await?,
    };
    let status = if kept.created { StatusCode::CREATED } else { StatusCode::OK };
    let body = Registered {
        service,
        instance,
        session: kept.proof.session.to_string(),
        secret: proof::shown(kept.proof.secret),
        ttl_ms: kept.ttl_ms,
        revision: kept.revision.get(),
        created: kept.created,
    };
    Ok(as_json(status, &body))
}

fn options_of(options: Asked) -> Result<Options, Refused> {
    let Query(options) = options.map_err(|rejection| Refused::bad(rejection.body_text()))?;
    Ok(options)
}

fn ttl(given: Option<&Time>) -> Result<Duration, Refused> {
    let Some(given) = given else { return Ok(TTL) };
    let ttl = given.get().filter(|ttl| (TTL_MIN..=TTL_MAX).contains(ttl));
    ttl.ok_or_else(|| Refused::bad("ttl must be a time from 1s to 24h, such as \"15s\" or 15"))
}

/// A record that is to be there.
struct Record {
    key: Bytes,
    value: Bytes,
    replace: bool,
}

/// It is there.
struct Kept {
    proof: Proof,
    ttl_ms: u64,
    revision: Revision,
    created: bool,
}

/// The first time: opens the session, which goes again if the record cannot be put.
async fn begin(
    api: &Api,
    caller: &Caller,
    secret: Option<[u8; 16]>,
    ttl: Duration,
    record: &Record,
) -> Result<Kept, Refused> {
    let own = secret.is_some();
    let secret = secret.unwrap_or_else(rand::random);
    let (session, ttl_ms) = open(api, caller, secret, ttl).await?;
    match keep(api, caller, session, record).await {
        Ok(Keep::Kept { revision, created }) => {
            Ok(Kept { proof: Proof { session, secret }, ttl_ms, revision, created })
        }
        Ok(Keep::Taken(other)) => {
            close(api, caller, session).await;
            match other {
                // An earlier attempt, whose answer was lost.
                Some(other) if own => {
                    let earlier = Proof { session: other.owner, secret };
                    renew(api, caller, earlier, record).await.map_err(|_| taken(record))
                }
                Some(_) | None => Err(taken(record)),
            }
        }
        Err(refused) => {
            close(api, caller, session).await;
            Err(refused)
        }
    }
}

/// Once more, in a session that is there.
async fn renew(api: &Api, caller: &Caller, proof: Proof, record: &Record) -> Result<Kept, Refused> {
    let info = api.prove(caller, proof).await?;
    api.keep_alive(caller, proof.session).await?;
    match keep(api, caller, proof.session, record).await? {
        Keep::Kept { revision, created } => Ok(Kept { proof, ttl_ms: info.timeout_ms, revision, created }),
        Keep::Taken(_) => Err(taken(record)),
    }
}

fn taken(record: &Record) -> Refused {
    let name = String::from_utf8_lossy(&record.key);
    let text = format!(
        "{name} is registered in another session; it goes when that ends. Choose another name, or take it over with ?replace=true"
    );
    Refused::new(StatusCode::CONFLICT, "taken", text)
}

async fn open(
    api: &Api,
    caller: &Caller,
    secret: [u8; 16],
    ttl: Duration,
) -> Result<(SessionId, u64), Refused> {
    let timeout_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let principal = caller.name().unwrap_or_default().to_owned();
    let open = OpenSession { id: SessionId(0), secret, timeout_ms, principal };
    match write(api, caller, Command::OpenSession(open)).await? {
        (ReplyBody::SessionOpened { session, timeout_ms }, _) => Ok((session, timeout_ms)),
        _ => Err(unexpected()),
    }
}

/// Ends a session that is of no use. If that fails it ends by itself.
async fn close(api: &Api, caller: &Caller, session: SessionId) {
    let _ = write(api, caller, Command::CloseSession { session }).await;
}

pub(super) async fn write(
    api: &Api,
    caller: &Caller,
    command: Command,
) -> Result<(ReplyBody, Revision), Refused> {
    match api.ask(caller, Request::Write(Write::of(command))).await? {
        Told::Written(reply) => Ok((reply.body, reply.revision)),
        _ => Err(unexpected()),
    }
}

enum Keep {
    Kept {
        revision: Revision,
        created: bool,
    },
    /// The name is another session's; its record.
    Taken(Option<KeyValue>),
}

/// Puts the record if the name is free or the session's own, and changes nothing if it is there
/// already: whoever watches is not told of a repetition.
async fn keep(api: &Api, caller: &Caller, session: SessionId, record: &Record) -> Result<Keep, Refused> {
    let key = || KeyRange::Key(record.key.clone());
    let is = |target| Compare { range: key(), target, op: CompareOp::Equal };
    let put = || {
        let (key, value) = (record.key.clone(), record.value.clone());
        KvOp::Put(Put { key, value, owner: session, ..Put::default() })
    };
    let look = || KvOp::Range(RangeQuery::of(key()));
    let own = is(CompareTarget::Owner(session));
    let other = if record.replace { put() } else { look() };
    let absent = is(CompareTarget::Version(0));
    let fresh = Txn { compare: vec![absent], then: vec![put()], otherwise: vec![other] };
    let changed = Txn { compare: vec![own.clone()], then: vec![put()], otherwise: vec![KvOp::Txn(fresh)] };
    let same = vec![own, is(CompareTarget::Value(record.value.clone()))];
    let txn = Txn { compare: same, then: vec![look()], otherwise: vec![KvOp::Txn(changed)] };
    let (ReplyBody::Txn(reply), revision) = write(api, caller, Command::Txn(txn)).await? else {
        return Err(unexpected());
    };
    Ok(kept(reply, revision))
}

fn kept(reply: TxnReply, revision: Revision) -> Keep {
    let mut reply = reply;
    for depth in 0..3 {
        let first = reply.results.pop();
        match first {
            Some(OpResult::Range(read)) if depth == 0 => {
                let revision = read.records.first().map_or(revision, |record| record.mod_revision);
                return Keep::Kept { revision, created: false };
            }
            Some(OpResult::Range(read)) => return Keep::Taken(read.records.into_iter().next()),
            Some(OpResult::Txn(inner)) => reply = inner,
            Some(_) | None => return Keep::Kept { revision, created: depth == 2 },
        }
    }
    Keep::Taken(None)
}

/// The body of a deregistration; headers will do, too.
#[derive(Debug, Default, Deserialize)]
struct Shown {
    session: Option<String>,
    secret: Option<String>,
}

/// `DELETE /v1/services/{service}/{instance}`
pub(super) async fn deregister(
    State(api): State<Arc<Api>>,
    path: Named<(String, String)>,
    options: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answered = delete(&api, path, options, &headers, body).await;
    api.answer(ServiceCall::Deregister, answered)
}

async fn delete(
    api: &Api,
    path: Named<(String, String)>,
    options: Asked,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let (service, instance) = &asked::instance(path)?;
    let options = options_of(options)?;
    let caller = api.caller(headers)?;
    let shown: Shown = body::read(body, RECORD_BYTES_MAX).await?;
    let proof = Given::read(headers, shown.session.as_deref(), shown.secret.as_deref())?.whole()?;
    match api.prove(&caller, proof).await {
        // Its instances went with it.
        Err(refused) if refused.is_session_gone() => {
            return Ok(as_json(StatusCode::OK, &json!({ "deleted": false })));
        }
        proven => proven?,
    };
    let key = KeyRange::Key(registry::key(service, instance).into());
    let own =
        Compare { range: key.clone(), target: CompareTarget::Owner(proof.session), op: CompareOp::Equal };
    let then = vec![KvOp::Delete { range: key, want_previous: false }];
    let txn = Txn { compare: vec![own], then, otherwise: Vec::new() };
    let (ReplyBody::Txn(reply), revision) = write(api, &caller, Command::Txn(txn)).await? else {
        return Err(unexpected());
    };
    if !options.keep_session {
        end_if_idle(api, &caller, proof.session).await?;
    }
    let body = json!({ "deleted": reply.succeeded, "revision": revision.get() });
    Ok(as_json(StatusCode::OK, &body))
}

/// Ends the session, unless something else hangs off it.
async fn end_if_idle(api: &Api, caller: &Caller, session: SessionId) -> Result<(), Refused> {
    let info = api.session(caller, session, Consistency::Linearizable, true).await;
    match info {
        Ok(info) if info.attached.is_empty() => close(api, caller, session).await,
        Ok(_) => {}
        Err(refused) if refused.is_session_gone() => {}
        Err(refused) => return Err(refused),
    }
    Ok(())
}
