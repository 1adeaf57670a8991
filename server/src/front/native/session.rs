//! The `Sessions` service. Its stream is in [`stream`](super::stream).

use super::convert::session as convert;
use super::convert::{outcome, read};
use super::door::{Door, Signed};
use super::errors::{self, status};
use super::frames::Frames;
use super::stream;
use crate::node::request::{Consistency, Request as Ask, Write};
use bytes::Bytes;
use oarlock_proto::v1::{self, sessions_server::Sessions};
use oarlock_state::command::SessionInfo;
use oarlock_state::{Command, Query, SessionId};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// Sessions listed when no limit is given, and at most.
const LIST_MAX: u64 = 1000;

/// Serves sessions.
pub struct SessionService {
    door: Arc<Door>,
}

impl SessionService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Sessions for SessionService {
    type StreamStream = Frames;

    async fn open(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let opened = open(&door, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(opened))
    }

    async fn close(
        &self,
        request: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let request = request.into_inner();
        let session = convert::id(request.session).map_err(|refusal| door.refuse(refusal))?;
        if !request.secret.is_empty() {
            proven(&door, session, &request.secret).await.map_err(status)?;
        }
        let close = Write::of(Command::CloseSession { session });
        let header = door.ask(Ask::Write(close)).await.and_then(outcome::done).map_err(status)?;
        Ok(Response::new(v1::CloseSessionResponse { header: Some(door.sign(header)) }))
    }

    async fn keep_alive(
        &self,
        request: Request<v1::KeepAliveRequest>,
    ) -> Result<Response<v1::KeepAliveResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let session = convert::id(request.get_ref().session).map_err(|refusal| door.refuse(refusal))?;
        let valid_for_ms = keep_alive(&door, session).await.map_err(status)?;
        Ok(Response::new(v1::KeepAliveResponse {
            header: Some(door.header_now()),
            session: session.get(),
            valid_for_ms,
        }))
    }

    async fn get(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let request = request.into_inner();
        let ask = convert::id(request.session).and_then(|session| {
            let query = Query::Session { session, want_attached: request.want_attached };
            read::read(query, request.options.as_ref())
        });
        let ask = ask.map_err(|refusal| door.refuse(refusal))?;
        let (header, info) = door.ask(ask).await.and_then(convert::info).map_err(status)?;
        Ok(Response::new(v1::GetSessionResponse {
            header: Some(door.sign(header)),
            session: Some(convert::record(info)),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let request = request.into_inner();
        let limit = match request.limit {
            0 => LIST_MAX,
            limit => limit.min(LIST_MAX),
        };
        let query = Query::Sessions { after: SessionId(request.after), limit };
        let ask = read::read(query, request.options.as_ref()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(ask).await.and_then(convert::list).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn stream(
        &self,
        request: Request<Streaming<v1::ClientFrame>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let door = self.door.admit(request.metadata())?;
        Ok(Response::new(stream::begin(door, request.into_inner())))
    }
}

/// Opens a session, under the client's secret or a random one.
pub async fn open(
    door: &Door,
    request: &v1::OpenSessionRequest,
) -> Result<v1::OpenSessionResponse, v1::Error> {
    let malformed = |refusal| door.error(&refusal);
    let secret = convert::secret(&request.secret).map_err(malformed)?.unwrap_or_else(rand::random);
    let command = convert::open(request, secret).map_err(malformed)?;
    let response = door.ask(Ask::Write(Write::of(command))).await?;
    let (session, timeout_ms, header) = convert::opened(response)?;
    Ok(v1::OpenSessionResponse {
        header: Some(door.sign(header)),
        session: session.get(),
        secret: Bytes::copy_from_slice(&secret),
        timeout_ms,
    })
}

/// Keeps a session alive; milliseconds for which it lives on, from when the request was sent.
pub async fn keep_alive(door: &Door, session: SessionId) -> Result<u64, v1::Error> {
    door.ask(Ask::KeepAlive { session }).await.and_then(convert::alive)
}

/// What is known of a session, for whoever has its secret.
pub async fn proven(door: &Door, session: SessionId, secret: &[u8]) -> Result<SessionInfo, v1::Error> {
    let ask = Ask::Read {
        query: Query::Session { session, want_attached: false },
        consistency: Consistency::Linearizable,
        timeout_ms: 0,
    };
    let (_, info) = door.ask(ask).await.and_then(convert::info)?;
    if !same(&info.secret, secret) {
        return Err(errors::denied(format!(
            "the secret does not match that of session {session}; only who opened it may attach to it"
        )));
    }
    Ok(info)
}

/// Compares without telling by its duration how much is right.
fn same(known: &[u8], given: &[u8]) -> bool {
    let differing = known.iter().zip(given).fold(0, |seen, (left, right)| seen | (left ^ right));
    known.len() == given.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn a_secret_is_compared_whole() {
        assert!(same(b"0123456789abcdef", b"0123456789abcdef"));
        assert!(!same(b"0123456789abcdef", b"0123456789abcdeF"));
        assert!(!same(b"0123456789abcdef", b""));
        assert!(!same(b"0123456789abcdef", b"0123456789abcdef0"));
    }
}
