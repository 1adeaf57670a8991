//! Refusals of the HTTP API: a status, and a JSON object with a sentence and a word.

use super::as_json;
use crate::node::request::Refusal;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use oarlock_state::Rejection;
use oarlock_state::auth::AuthError;
use serde_json::json;

/// Seconds after which something that passes may be tried again.
const RETRY_AFTER: u32 = 1;

/// No, with a sentence for people and a word for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    code: &'static str,
    text: String,
}

impl Refused {
    /// A refusal with this status.
    pub fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into() }
    }

    /// A request that makes no sense.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", text)
    }

    /// Too many wait already.
    pub fn full(what: &str) -> Self {
        let text = format!("too many {what} at this member already; ask another one, or retry after a pause");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "full", text)
    }

    /// Whether the session that was named is no more.
    pub fn is_session_gone(&self) -> bool {
        self.code == SESSION_GONE
    }

    /// Whether it has this status.
    pub fn is(&self, status: StatusCode) -> bool {
        self.status == status
    }

    /// As an object of JSON.
    pub fn json(&self) -> serde_json::Value {
        json!({ "error": self.text, "code": self.code })
    }

    fn passes(&self) -> bool {
        matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }
}

const SESSION_GONE: &str = "session_gone";

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match &refusal {
            Refusal::Rejected(rejection) => return rejected(rejection),
            Refusal::NoLeader => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            Refusal::NotProposed { .. } | Refusal::ShuttingDown | Refusal::Lagging { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
            Refusal::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Refusal::Unknown { .. } => (StatusCode::GATEWAY_TIMEOUT, "unknown"),
            Refusal::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
            Refusal::OverQuota { .. } | Refusal::NoSpace { .. } | Refusal::Alarmed { .. } => {
                (StatusCode::INSUFFICIENT_STORAGE, "no_space")
            }
            Refusal::Invalid { .. } => (StatusCode::BAD_REQUEST, "bad_request"),
        };
        Self::new(status, code, refusal.to_string())
    }
}

fn rejected(rejection: &Rejection) -> Refused {
    let (status, code) = match rejection {
        Rejection::Auth(AuthError::NoToken | AuthError::Stale | AuthError::Failed) => {
            (StatusCode::UNAUTHORIZED, "unauthenticated")
        }
        Rejection::Auth(_) => (StatusCode::FORBIDDEN, "denied"),
        Rejection::SessionNotFound { .. } => (StatusCode::GONE, SESSION_GONE),
        Rejection::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        _ => (StatusCode::CONFLICT, "refused"),
    };
    Refused::new(status, code, rejection.to_string())
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let passes = self.passes();
        let mut response = as_json(self.status, &self.json());
        if passes {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::SessionId;

    #[test]
    fn what_passes_says_when_to_retry() {
        let busy = Refused::from(Refusal::Busy { queue: "mailbox" }).into_response();
        assert_eq!(busy.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
        assert!(Refused::bad("x").into_response().headers().get(header::RETRY_AFTER).is_none());
        let gone = Refusal::Rejected(Rejection::SessionNotFound { session: SessionId(1) });
        assert!(Refused::from(gone).is_session_gone());
    }
}
