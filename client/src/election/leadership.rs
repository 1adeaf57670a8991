//! The lead.

use super::campaign::Candidate;
use crate::error::Result;
use crate::lock::{Claim, Hold, Lost, RevocationRequest};
use crate::types::Token;
use bytes::Bytes;
use futures::Stream;
use oarlock_proto::v1::{self, object_op::Op};
use std::future::Future;
use std::time::Duration;

/// The lead of an election. Dropping it resigns, as well as that can be done without waiting.
#[must_use = "dropping it resigns"]
#[derive(Debug)]
pub struct Leadership {
    hold: Hold,
}

impl Leadership {
    pub(super) fn new(hold: Hold) -> Self {
        Self { hold }
    }

    /// Who leads, as others see it.
    pub fn claim(&self) -> Claim {
        self.hold.claim()
    }

    /// The token, to be handed to a resource outside: the number of the term.
    ///
    /// # Errors
    /// [`Error::NotHeld`](crate::Error::NotHeld) once the lead is lost, or its validity is over.
    pub fn token(&self) -> Result<Token> {
        self.hold.token()
    }

    /// The token, to go with a write as its guard; see [`Hold::guard`].
    pub fn guard(&self) -> Token {
        self.hold.guard()
    }

    /// For how long the leader may still act; see [`Hold::valid_for`].
    pub fn valid_for(&self) -> Duration {
        self.hold.valid_for()
    }

    /// Completes when the lead is lost, with the cause; see [`Hold::lost`].
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + 'static {
        self.hold.lost()
    }

    /// Requests of others to resign; see [`Hold::revocation_requested`].
    pub fn revocation_requested(&self) -> impl Stream<Item = RevocationRequest> + Send + Unpin + 'static {
        self.hold.revocation_requested()
    }

    /// Changes the value that observers see.
    ///
    /// # Errors
    /// [`Error::Rejected`](crate::Error::Rejected) if the lead is lost.
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<()> {
        self.hold.set_metadata(value).await
    }

    /// Changes for how long nobody else leads if this session expires.
    ///
    /// # Errors
    /// As [`Hold::set_lock_delay`].
    pub async fn set_lock_delay(&self, delay: Duration) -> Result<()> {
        self.hold.set_lock_delay(delay).await
    }

    /// Gives the lead up; the next candidate leads.
    ///
    /// # Errors
    /// As [`Hold::release`].
    pub async fn resign(self) -> Result<()> {
        self.hold.release().await
    }

    /// Gives the lead to a candidate, in one step. The former leader stands again, behind those of its
    /// own priority: [`stand_again`](Self::stand_again) goes on as that candidate, dropping it withdraws.
    ///
    /// # Errors
    /// [`Error::Rejected`](crate::Error::Rejected) with
    /// [`NOT_CANDIDATE`](v1::object_refusal::Reason::NotCandidate) if the chosen one does not stand; the
    /// lead stays then.
    pub async fn handoff(&self, to: Claim) -> Result<()> {
        let request = v1::HandoffRequest { held: Some(self.hold.one()?), to: Some(to.into()), options: None };
        self.hold.write(Op::Handoff(request)).await.map(drop)
    }

    /// Goes on as a candidate after the lead was lost to another one, which leaves a former leader in
    /// the queue. After any other loss the candidate learns that it does not stand.
    pub fn stand_again(self) -> Candidate {
        Candidate::again(self.hold)
    }
}
