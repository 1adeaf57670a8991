//! What is held.

use super::claim::{Claim, LossCause, Lost, RevocationRequest};
use super::claimant::Grip;
use super::follow::Standing;
use crate::error::{Error, Result};
use crate::types::Token;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use oarlock_proto::v1::{self, object_op::Op};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// A lock, several locks, or part of a semaphore, that is held. Dropping it releases it, as well as
/// that can be done without waiting; [`release`](Self::release) says whether it was.
#[must_use = "dropping it releases it"]
#[derive(Debug)]
pub struct Hold {
    pub(super) grip: Grip,
    /// Which of the claim's grants this is.
    pub(super) grant: u64,
    /// The tokens of that grant.
    pub(super) granted: Vec<Token>,
}

impl Hold {
    /// Who holds, as others see it.
    pub fn claim(&self) -> Claim {
        self.grip.claim
    }

    /// The token, to be handed to a resource outside that remembers the highest it has seen. Of several
    /// locks: that of the first by name; the revision is the same for all.
    ///
    /// # Errors
    /// [`Error::NotHeld`] once the hold is lost, or its validity is over.
    pub fn token(&self) -> Result<Token> {
        if let Some(lost) = self.loss() {
            return Err(self.not_held(&lost));
        }
        Ok(self.guard())
    }

    /// The token, to go with a write as its guard: the log refuses the write if the hold is lost by
    /// then. Unlike [`token`](Self::token) it is given out after the validity, as the log knows best.
    pub fn guard(&self) -> Token {
        let first = self.guards().into_iter().next();
        first.unwrap_or_else(|| Token::of_lock(Bytes::new(), u64::MAX))
    }

    /// The tokens of all locks that are held, in order of name, each to go with a write as a guard.
    pub fn guards(&self) -> Vec<Token> {
        let standing = self.grip.standing.borrow();
        if standing.grants == self.grant { standing.tokens.clone() } else { self.granted.clone() }
    }

    /// For how long the holder may still act, counted from when the session's last confirmed sign of
    /// life was sent. Zero once the hold is lost.
    pub fn valid_for(&self) -> Duration {
        match self.loss() {
            Some(_) => Duration::ZERO,
            None => self.grip.session.valid_for(),
        }
    }

    /// Completes when the hold is lost, with the cause; also when its validity ends without the
    /// session's having been confirmed. It goes on through a session's jeopardy.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + 'static {
        let mut standing = self.grip.standing.subscribe();
        let mut validity = self.grip.session.validity();
        let grant = self.grant;
        async move {
            loop {
                if let Some(lost) = standing.borrow_and_update().loss_of(grant) {
                    return lost.clone();
                }
                let until = validity.borrow_and_update().until;
                if until <= Instant::now() {
                    return Lost::of(LossCause::Unconfirmed);
                }
                tokio::select! {
                    changed = standing.changed() => if changed.is_err() {
                        return Lost::of(LossCause::Released); // its handle is gone
                    },
                    changed = validity.changed() => if changed.is_err() {
                        // The session is over; what that means for the claim follows.
                        let _ = tokio::time::timeout_at(until, standing.changed()).await;
                    },
                    () = tokio::time::sleep_until(until) => {}
                }
            }
        }
    }

    /// Requests of others to release it, from the latest one on, if there was any since the grant.
    pub fn revocation_requested(&self) -> impl Stream<Item = RevocationRequest> + Send + Unpin + 'static {
        let standing = tokio_stream::wrappers::WatchStream::new(self.grip.standing.subscribe());
        let mut told = 0;
        standing.filter_map(move |standing| {
            let (count, request) = standing.revocation;
            let is_news = count > told;
            told = count;
            futures::future::ready(request.filter(|_| is_news))
        })
    }

    /// Releases it. It is guarded: a hold that was lost and is somebody else's by now stays theirs.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`NOT_HELD`](v1::object_refusal::Reason::NotHeld) if it was lost
    /// before. After any other error the release is tried on in the background.
    pub async fn release(self) -> Result<()> {
        let request = v1::ReleaseRequest { holds: self.holds(), options: None };
        self.write(Op::Release(request)).await?;
        self.grip.standing.send_modify(|standing| {
            if standing.loss_of(self.grant).is_none() {
                standing.lost = Some((self.grant, Lost::of(LossCause::Released)));
            }
        });
        self.grip.forget();
        Ok(())
    }

    /// From writing to reading, at once and without giving anybody else a chance to write between.
    ///
    /// # Errors
    /// [`Error::Rejected`] if it is lost, or is no read/write lock.
    pub async fn downgrade(&self) -> Result<()> {
        let request = v1::DowngradeRequest { held: Some(self.one()?), options: None };
        self.write(Op::Downgrade(request)).await.map(drop)
    }

    /// From reading to writing, for the only reader. The token is a new one, above the old.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`NOT_ALONE`](v1::object_refusal::Reason::NotAlone) beside other
    /// readers; or if it is lost, or is no read/write lock.
    pub async fn upgrade(&self) -> Result<()> {
        use v1::object_result::Result as Kind;
        let request = v1::UpgradeRequest { held: Some(self.one()?), options: None };
        let response = self.write(Op::Upgrade(request)).await?;
        let Some(Kind::Granted(granted)) = response.result.and_then(|result| result.result) else {
            return Ok(());
        };
        // The event with the new token may still be on its way.
        let has = |standing: &Standing| standing.tokens.iter().any(|token| token.revision >= granted.token);
        let mut standing = self.grip.standing.subscribe();
        let heard = standing.wait_for(|standing| has(standing) || standing.loss_of(self.grant).is_some());
        let _ = tokio::time::timeout(self.grip.session.deadline(), heard).await;
        Ok(())
    }

    /// Changes for how long nobody else is granted it if this session expires.
    ///
    /// # Errors
    /// [`Error::Rejected`] if it is lost, or the delay is above an hour.
    pub async fn set_lock_delay(&self, delay: Duration) -> Result<()> {
        let lock_delay_ms = millis(delay);
        for held in self.holds() {
            let request = v1::SetLockDelayRequest { held: Some(held), lock_delay_ms, options: None };
            self.write(Op::SetLockDelay(request)).await?;
        }
        Ok(())
    }

    /// Changes what others see of the holder.
    ///
    /// # Errors
    /// [`Error::Rejected`] if it is lost.
    pub async fn set_metadata(&self, metadata: impl Into<Bytes>) -> Result<()> {
        let metadata = metadata.into();
        for held in self.holds() {
            let request = v1::ProclaimRequest { held: Some(held), metadata: metadata.clone(), options: None };
            self.write(Op::Proclaim(request)).await?;
        }
        Ok(())
    }

    /// Why it is lost, if it is.
    fn loss(&self) -> Option<Lost> {
        let standing = self.grip.standing.borrow();
        if let Some(lost) = standing.loss_of(self.grant) {
            return Some(lost.clone());
        }
        self.grip.session.valid_for().is_zero().then(|| Lost::of(LossCause::Unconfirmed))
    }

    fn not_held(&self, lost: &Lost) -> Error {
        Error::NotHeld { what: format!("claim {}", self.claim()), cause: lost.to_string() }
    }

    pub(crate) fn holds(&self) -> Vec<v1::Held> {
        let held = |token: Token| v1::Held {
            name: token.scope.name().clone(),
            claim: Some(self.claim().into()),
            token: token.revision,
        };
        self.guards().into_iter().map(held).collect()
    }

    /// The only one that is held.
    pub(crate) fn one(&self) -> Result<v1::Held> {
        let mut holds = self.holds();
        match (holds.pop(), holds.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(Error::Invalid {
                message: "several locks are held together; this is for a single one".into(),
            }),
            (None, _) => {
                let lost = self.loss().unwrap_or_else(|| Lost::of(LossCause::Unobserved));
                Err(self.not_held(&lost))
            }
        }
    }

    pub(crate) async fn write(&self, op: Op) -> Result<v1::ObjectResponse> {
        self.grip.session.write_object(op, Vec::new(), false).await
    }
}

/// Whole milliseconds, as many as fit.
pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
