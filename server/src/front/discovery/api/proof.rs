//! What a registrant shows to prove that a session is its own.

use super::refused::Refused;
use super::{Api, unexpected};
use crate::node::request::{Consistency, Request, Response};
use axum::http::{HeaderMap, StatusCode};
use oarlock_state::command::{Answer, SessionInfo};
use oarlock_state::{Caller, Query, SessionId};

/// Headers that carry it, for requests without a body.
const SESSION: &str = "oarlock-session";
const SECRET: &str = "oarlock-secret";

/// A session and its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The session.
    pub session: SessionId,
    /// Its secret.
    pub secret: [u8; 16],
}

/// What was given of a proof, in the body or in headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The session.
    pub session: Option<SessionId>,
    /// Its secret.
    pub secret: Option<[u8; 16]>,
}

impl Given {
    /// Reads it; the body's wins.
    ///
    /// # Errors
    /// It is malformed.
    pub fn read(headers: &HeaderMap, session: Option<&str>, secret: Option<&str>) -> Result<Self, Refused> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Self {
            session: session.or_else(|| header(SESSION)).map(self::session).transpose()?,
            secret: secret.or_else(|| header(SECRET)).map(self::secret).transpose()?,
        })
    }

    /// Both, which are needed.
    ///
    /// # Errors
    /// One of them is not given.
    pub fn whole(self) -> Result<Proof, Refused> {
        match self {
            Self { session: Some(session), secret: Some(secret) } => Ok(Proof { session, secret }),
            Self { .. } => Err(Refused::bad(format!(
                "session and secret are needed, as registering returned them: in the body, or as the headers {SESSION} and {SECRET}"
            ))),
        }
    }
}

fn session(text: &str) -> Result<SessionId, Refused> {
    let id = text.parse().ok().filter(|id| *id != 0);
    id.map(SessionId)
        .ok_or_else(|| Refused::bad(format!("session is {text:?}; it must be a session's number")))
}

fn secret(text: &str) -> Result<[u8; 16], Refused> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = Some(text).filter(|_| is_hex).and_then(|text| u128::from_str_radix(text, 16).ok());
    number.map(u128::to_be_bytes).ok_or_else(|| Refused::bad("secret must be 32 hexadecimal digits"))
}

/// As registering returns it.
pub fn shown(secret: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(secret))
}

/// Compared as numbers, so that the duration does not tell how much is right.
pub fn same(left: [u8; 16], right: [u8; 16]) -> bool {
    u128::from_be_bytes(left) ^ u128::from_be_bytes(right) == 0
}

impl Api {
    /// What is known of a session.
    pub(super) async fn session(
        &self,
        caller: &Caller,
        session: SessionId,
        consistency: Consistency,
        want_attached: bool,
    ) -> Result<SessionInfo, Refused> {
        let query = Query::Session { session, want_attached };
        match self.read(caller, query, consistency).await? {
            Response::Answer { answer: Answer::Session(info), .. } => Ok(info),
            _ => Err(unexpected()),
        }
    }

    /// Checks a proof: as this member knows the session, or else as the leader does.
    pub(super) async fn prove(&self, caller: &Caller, proof: Proof) -> Result<SessionInfo, Refused> {
        let known = self.session(caller, proof.session, Consistency::Serializable, false).await;
        if let Ok(info) = known
            && same(info.secret, proof.secret)
        {
            return Ok(info);
        }
        let info = self.session(caller, proof.session, Consistency::Linearizable, false).await?;
        if same(info.secret, proof.secret) {
            return Ok(info);
        }
        let text = format!("the secret is not that of session {}; only who registered has it", proof.session);
        Err(Refused::new(StatusCode::FORBIDDEN, "denied", text))
    }

    /// Shows that the session lives; milliseconds for which it lives on, from when this was sent.
    pub(super) async fn keep_alive(&self, caller: &Caller, session: SessionId) -> Result<u64, Refused> {
        match self.ask(caller, Request::KeepAlive { session }).await? {
            Response::Alive { valid_for_ms } => Ok(valid_for_ms),
            _ => Err(unexpected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_read_from_body_or_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(SESSION, "5".parse().expect("a header"));
        headers.insert(SECRET, "00000000000000000000000000000001".parse().expect("a header"));
        let proof = Given::read(&headers, None, None).and_then(Given::whole).expect("given");
        assert_eq!((proof.session, shown(proof.secret)), (SessionId(5), format!("{:032}", 1)));
        let body = Given::read(&headers, Some("7"), None).and_then(Given::whole).expect("given");
        assert_eq!(body.session, SessionId(7));
        assert!(Given::read(&HeaderMap::new(), Some("7"), None).and_then(Given::whole).is_err());
        for (session, secret) in [("0", "1"), ("x", ""), ("1", "+0000000000000000000000000000001")] {
            assert!(Given::read(&HeaderMap::new(), Some(session), Some(secret)).is_err());
        }
        assert!(same([1; 16], [1; 16]) && !same([1; 16], [2; 16]));
    }
}
