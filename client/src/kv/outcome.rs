//! Questions about tokens and about what became of writes.

use crate::client::Client;
use crate::error::{Error, Result};
use crate::target::kv;
use crate::types::Token;
use oarlock_proto::v1;
use std::time::Duration;

/// What became of a write, as the servers remember it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It happened.
    Committed {
        /// Its revision.
        revision: u64,
        /// The fencing token, if it was granted a lock or the lead of an election.
        token: Option<u64>,
    },
    /// It was refused.
    Rejected(Error),
    /// Nothing is known of it: it was never executed, or its outcome was forgotten.
    NotKnown,
}

impl Client {
    /// Whether a fencing token is current, linearizably.
    ///
    /// # Errors
    /// Without an answer the token must be taken for stale.
    pub async fn check_token(&self, token: &Token) -> Result<bool> {
        self.check(token, None).await
    }

    /// Whether a fencing token was current at most `age` ago: cheaper, for resources that accept
    /// that much overlap of one holder with the next.
    ///
    /// # Errors
    /// As [`check_token`](Self::check_token).
    pub async fn check_token_within(&self, token: &Token, age: Duration) -> Result<bool> {
        let options = v1::ReadOptions {
            consistency: v1::Consistency::BoundedStaleness.into(),
            max_staleness_ms: age.as_millis().try_into().unwrap_or(u32::MAX),
            timeout_ms: 0,
        };
        self.check(token, Some(options)).await
    }

    async fn check(&self, token: &Token, options: Option<v1::ReadOptions>) -> Result<bool> {
        let request = v1::CheckTokenRequest { guard: Some(token.clone().into()), options };
        let answer = self
            .call(true, |connection| {
                let request = request.clone();
                async move { kv(connection.channel).check_token(request).await }
            })
            .await?;
        Ok(answer.current)
    }

    /// What became of write number `sequence` of a session, also after the session's end.
    pub async fn outcome(&self, session: u64, sequence: u64) -> Result<Outcome> {
        let name = v1::RequestId { session, sequence, acked_up_to: 0 };
        let of = Some(v1::get_outcome_request::Of::Request(name));
        let request = v1::GetOutcomeRequest { of, options: None };
        let answer = self
            .call(true, |connection| {
                let request = request.clone();
                async move { kv(connection.channel).get_outcome(request).await }
            })
            .await?;
        let Some(outcome) = answer.outcome.filter(|_| answer.known) else { return Ok(Outcome::NotKnown) };
        Ok(match outcome.result {
            Some(v1::outcome::Result::Rejected(error)) => Outcome::Rejected(Error::from_wire(error)),
            Some(v1::outcome::Result::Object(v1::ObjectResult {
                result: Some(v1::object_result::Result::Granted(granted)),
            })) => Outcome::Committed { revision: outcome.revision, token: Some(granted.token) },
            Some(
                v1::outcome::Result::Txn(_)
                | v1::outcome::Result::Done(_)
                | v1::outcome::Result::Object(_)
                | v1::outcome::Result::Pool(_),
            )
            | None => Outcome::Committed { revision: outcome.revision, token: None },
        })
    }
}
