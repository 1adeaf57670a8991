//! Sessions.

use super::outcome::{Out, answer, unexpected, written_header};
use super::{Form, invalid};
use crate::front::native::errors;
use crate::node::request::Response;
use oarlock_proto::v1;
use oarlock_state::command::{Answer, OpenSession, ReplyBody, SessionInfo};
use oarlock_state::event::Keyspace;
use oarlock_state::limits::{SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN};
use oarlock_state::{Command, SessionId};

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 16;

/// A session's secret; `None` when the field is empty.
pub fn secret(bytes: &[u8]) -> Form<Option<[u8; SECRET_BYTES]>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let size = bytes.len();
    bytes.try_into().map(Some).map_err(|_| {
        invalid(format!(
            "the secret has {size} bytes; it must have {SECRET_BYTES}, or none to have one drawn"
        ))
    })
}

/// A session's id where one is needed.
pub fn id(session: u64) -> Form<SessionId> {
    match session {
        0 => Err(invalid("the session is 0, which names none")),
        _ => Ok(SessionId(session)),
    }
}

/// The command that opens a session. `secret` is the client's, or what the door drew for it.
pub fn open(request: &v1::OpenSessionRequest, secret: [u8; SECRET_BYTES]) -> Form<Command> {
    if request.timeout_ms == 0 {
        return Err(invalid(format!(
            "timeout_ms is 0; choose {SESSION_TIMEOUT_MS_MIN} to {SESSION_TIMEOUT_MS_MAX} milliseconds"
        )));
    }
    Ok(Command::OpenSession(OpenSession {
        id: SessionId(request.id),
        secret,
        timeout_ms: request.timeout_ms.clamp(SESSION_TIMEOUT_MS_MIN, SESSION_TIMEOUT_MS_MAX),
        principal: String::new(),
    }))
}

/// A session that began: its id, its timeout in milliseconds, and the header.
pub fn opened(response: Response) -> Out<(SessionId, u64, v1::Header)> {
    match response {
        Response::Written(reply) => match reply.body {
            ReplyBody::SessionOpened { session, timeout_ms } => {
                Ok((session, timeout_ms, written_header(&reply)))
            }
            _ => Err(errors::internal("opening a session was answered with something else")),
        },
        other => Err(unexpected("opening a session", &other)),
    }
}

/// For how long a kept-alive session lives on, in milliseconds from when it was sent.
pub fn alive(response: Response) -> Out<u64> {
    match response {
        Response::Alive { valid_for_ms } => Ok(valid_for_ms),
        other => Err(unexpected("a keep-alive", &other)),
    }
}

/// One session, as the state knows it.
pub fn info(response: Response) -> Out<(v1::Header, SessionInfo)> {
    let (header, answer) = answer(response, "a question for a session")?;
    match answer {
        Answer::Session(info) => Ok((header, info)),
        _ => Err(errors::internal("a question for a session was answered with something else")),
    }
}

/// Several sessions.
pub fn list(response: Response) -> Out<v1::ListSessionsResponse> {
    let (header, answer) = answer(response, "a list of sessions")?;
    match answer {
        Answer::Sessions { sessions, more } => Ok(v1::ListSessionsResponse {
            header: Some(header),
            sessions: sessions.into_iter().map(record).collect(),
            more,
        }),
        _ => Err(errors::internal("a list of sessions was answered with something else")),
    }
}

/// A session, outwards: everything but its secret.
pub fn record(info: SessionInfo) -> v1::SessionRecord {
    let mut record = v1::SessionRecord {
        session: info.session.get(),
        timeout_ms: info.timeout_ms,
        opened_unix_ms: info.opened_ms,
        principal: info.principal,
        last_touch: info.last_touch.get(),
        acked_up_to: info.acked_up_to,
        last_sequence: info.last_sequence,
        ..v1::SessionRecord::default()
    };
    for (keyspace, key) in info.attached {
        match keyspace {
            Keyspace::Kv => record.attached_keys.push(key),
            Keyspace::Tree => record.attached_nodes.push(key),
            Keyspace::Object => record.attached_objects.push(key),
            Keyspace::Pool => record.attached_pools.push(key),
        }
    }
    record
}
