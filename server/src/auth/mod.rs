//! Who asks: passwords and tokens, for every door alike.
//!
//! A client sends its password once and gets a token, which it shows with every call. What the
//! token proves travels with the request; whether that is enough is decided in the log, see
//! [`oarlock_state::auth::access`].
//!
//! Modules: [`passwords`] (hashing, off the serving threads), [`tokens`] and its kinds `simple` and
//! `jwt` with `jwt_key`.

mod jwt;
mod jwt_key;
pub mod passwords;
mod simple;
pub mod tokens;

pub use jwt_key::KeyError;

use crate::config::Authentication;
use crate::node::handle::Handle;
use crate::node::request::{Consistency, Refusal, Request, Response};
use oarlock_state::auth::{AuthAnswer, AuthError, AuthQuery, Password, Secret};
use oarlock_state::command::Answer;
use oarlock_state::{Caller, Query};
use passwords::Passwords;
use std::sync::Arc;
use thiserror::Error;
use tokens::Tokens;
use tonic::metadata::MetadataMap;

/// The token that a call shows proves nothing: it is forged, too old, or of another cluster.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the token is not valid; log in again")]
pub struct InvalidToken;

/// Where every client door asks who calls.
pub struct Gate {
    handle: Handle,
    tokens: Tokens,
    passwords: Passwords,
}

impl Gate {
    /// A gate in front of the node behind `handle`.
    ///
    /// # Errors
    /// A key for tokens cannot be used.
    pub fn new(handle: Handle, options: &Authentication) -> Result<Arc<Self>, KeyError> {
        let tokens = Tokens::new(&options.tokens)?;
        Ok(Arc::new(Self { handle, tokens, passwords: Passwords::new(options.bcrypt_cost) }))
    }

    /// A gate with everything as if nothing was set.
    #[cfg(test)]
    pub(crate) fn for_tests(handle: Handle) -> Arc<Self> {
        let kind = crate::config::TokenKind::Simple { ttl: std::time::Duration::from_secs(300) };
        let options = Authentication { tokens: kind, bcrypt_cost: 4 };
        Self::new(handle, &options).expect("simple tokens need no key")
    }

    /// Who calls. While authentication is off nobody is asked for a token.
    ///
    /// # Errors
    /// A token is shown and proves nothing.
    pub fn caller(&self, metadata: &MetadataMap) -> Result<Caller, InvalidToken> {
        if !self.handle.auth_enabled() {
            return Ok(Caller::Anonymous);
        }
        let Some(token) = token(metadata) else {
            return Ok(Caller::Anonymous);
        };
        let settings = self.handle.auth();
        self.tokens.check(token, &settings, self.handle.identity().cluster_id).ok_or(InvalidToken)
    }

    /// A token for whoever knows the user's password.
    ///
    /// # Errors
    /// Wrong name or password, authentication is off, or too many log in at once.
    pub async fn log_in(&self, name: String, password: String) -> Result<String, Refusal> {
        let (known, revision) = self.known(name.clone()).await?;
        if !self.passwords.verify(password, known).await? {
            return Err(Refusal::Rejected(AuthError::Failed.into()));
        }
        // The answer was of a state whose settings this member has published before.
        let settings = self.handle.auth();
        let token = self.tokens.issue(&name, revision, &settings, self.handle.identity().cluster_id);
        token.ok_or(Refusal::Rejected(AuthError::Failed.into()))
    }

    /// How the user proves who it is; `None` if there is no such user or it has no password. With
    /// the auth revision as of which that is so.
    async fn known(&self, name: String) -> Result<(Option<Secret>, u64), Refusal> {
        let query = Query::Auth(AuthQuery::Login { name });
        let read = Request::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 };
        match self.handle.call_as(&Caller::Server, read).await {
            Ok(Response::Answer {
                answer: Answer::Auth(AuthAnswer::Login { password, revision }), ..
            }) => Ok(match password {
                Password::None => (None, revision),
                Password::Hash(hash) => (Some(hash), revision),
            }),
            Ok(_) => Ok((None, 0)),
            Err(Refusal::Rejected(oarlock_state::Rejection::Auth(AuthError::Failed))) => Ok((None, 0)),
            Err(refusal) => Err(refusal),
        }
    }

    /// The hash of a new password.
    ///
    /// # Errors
    /// The password cannot be hashed, or too many are being hashed.
    pub async fn hash(&self, password: String) -> Result<Secret, Refusal> {
        self.passwords.hash(password).await
    }
}

/// The token that a call shows: under etcd's name for it, or as HTTP's clients send it.
fn token(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("token").or_else(|| metadata.get("authorization"))?;
    // What is no text is no token, and proves nothing.
    let text = value.to_str().unwrap_or_default();
    Some(text.strip_prefix("Bearer ").unwrap_or(text))
}
