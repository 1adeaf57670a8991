//! The two kinds of tokens behind one face.

use super::jwt::Jwt;
use super::jwt_key::KeyError;
use super::simple::SimpleTokens;
use crate::config::TokenKind;
use oarlock_state::Caller;
use oarlock_state::auth::Settings;
use std::time::{SystemTime, UNIX_EPOCH};

/// Issues tokens, and knows them again.
pub enum Tokens {
    /// Signed with the cluster's own secret.
    Simple(SimpleTokens),
    /// JSON web tokens.
    Jwt(Box<Jwt>),
}

impl Tokens {
    /// Tokens of this kind.
    ///
    /// # Errors
    /// A key cannot be used.
    pub fn new(kind: &TokenKind) -> Result<Self, KeyError> {
        Ok(match kind {
            TokenKind::Simple { ttl } => Self::Simple(SimpleTokens::new(*ttl)),
            TokenKind::Jwt(options) => Self::Jwt(Box::new(Jwt::new(options)?)),
        })
    }

    /// A token for this user, who proved at this auth revision who it is. `None` where this member
    /// has only the key that checks.
    pub fn issue(&self, name: &str, proven_at: u64, settings: &Settings, cluster_id: u64) -> Option<String> {
        match self {
            Self::Simple(simple) => Some(simple.issue(name, proven_at, settings, cluster_id, now_ms())),
            Self::Jwt(jwt) => jwt.issue(name, proven_at, now_ms()),
        }
    }

    /// Whom the token proves; `None` if it proves nothing.
    pub fn check(&self, token: &str, settings: &Settings, cluster_id: u64) -> Option<Caller> {
        match self {
            Self::Simple(simple) => simple.check(token, settings, cluster_id, now_ms()),
            Self::Jwt(jwt) => jwt.check(token, now_ms()),
        }
    }
}

/// Milliseconds since 1970. Members' clocks may differ by much less than tokens live.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
