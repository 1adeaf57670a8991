//! Candidates.

use super::leadership::Leadership;
use super::observe::{Observation, Observer};
use crate::error::{Error, Result};
use crate::lock::{Busy, Claim, Grip, Hold, Request, Waiting, millis};
use crate::session::Session;
use crate::types::Token;
use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use oarlock_proto::v1::{self, object_kind::Kind, object_refusal::Reason};
use std::future::IntoFuture;
use std::time::Duration;

/// An election, as a session may stand in it.
#[derive(Clone)]
pub struct Election {
    session: Session,
    name: Bytes,
}

impl Session {
    /// An election: `session.election("scheduler").campaign("me").await?`.
    pub fn election(&self, name: impl Into<Bytes>) -> Election {
        Election { session: self.clone(), name: name.into() }
    }
}

impl Election {
    /// Stands as a candidate whose value others see: an address, a name. At most 4096 bytes.
    pub fn campaign(&self, value: impl Into<Bytes>) -> Campaign {
        let kind = v1::ObjectKind { kind: Kind::Election.into(), capacity: 0 };
        let part = v1::ObjectPart { name: self.name.clone(), kind: Some(kind), mode: None };
        let acquire = v1::AcquireRequest {
            parts: vec![part],
            metadata: value.into(),
            wait: true,
            ..Default::default()
        };
        Campaign { session: self.session.clone(), request: Request { acquire, guards: Vec::new() } }
    }

    /// Who leads, from now on; see [`Observer::observe`].
    pub fn observe(&self) -> Observation {
        self.observer().observe()
    }

    /// The election as those see it who do not stand in it.
    pub fn observer(&self) -> Observer {
        self.session.client().election(self.name.clone())
    }
}

/// A candidacy that is about to begin. Awaiting it waits until it leads; dropping it withdraws.
#[must_use = "nothing happens until it is awaited"]
#[derive(Clone)]
pub struct Campaign {
    session: Session,
    request: Request,
}

impl Campaign {
    /// Higher leads first; 0 unless said otherwise. Among equals the first to arrive leads.
    pub fn priority(mut self, priority: u32) -> Self {
        self.request.acquire.priority = priority;
        self
    }

    /// Takes the lead from a leader of lower priority, which goes back into the queue, instead of waiting
    /// for a vacancy.
    pub fn preempt(mut self) -> Self {
        self.request.acquire.preempt = true;
        self
    }

    /// For how long nobody else leads if this session expires while it leads. At most an hour.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.request.acquire.lock_delay_ms = millis(delay);
        self
    }

    /// Only while this token is current, when it begins to stand. May be given several times.
    pub fn guard(mut self, token: Token) -> Self {
        self.request.guards.push(token.into());
        self
    }

    /// Begins to stand, and returns as soon as the service has confirmed it.
    ///
    /// # Errors
    /// [`Error::Rejected`] with its [`refusal`](Error::refusal) for what cannot be.
    pub async fn stand(self) -> Result<Candidate> {
        let waiting = Waiting::answered(Grip::begin(&self.session, self.request)).await?;
        Ok(Candidate { waiting })
    }

    /// Leads if nobody does; otherwise says who.
    ///
    /// # Errors
    /// As [`Lock::try_acquire`](crate::Lock::try_acquire).
    pub async fn try_lead(mut self) -> Result<std::result::Result<Leadership, Busy>> {
        self.request.acquire.wait = false;
        let (session, name) = (self.session.clone(), self.request.acquire.parts[0].name.clone());
        let deadline = session.deadline();
        let late = |_| Error::Unknown {
            message: format!("no answer within {deadline:?}; a lead that is granted later is given up"),
        };
        match tokio::time::timeout(deadline, self.stand()).await.map_err(late)? {
            Ok(candidate) => Ok(Ok(candidate.elected().await?)),
            Err(error) if error.is_refused(Reason::Taken) => {
                let described = session.client().locks().describe(name.clone()).await;
                let holders = described.ok().flatten().map_or_else(Vec::new, |object| object.holders);
                Ok(Err(Busy { name, holders }))
            }
            Err(error) => Err(error),
        }
    }
}

impl IntoFuture for Campaign {
    type Output = Result<Leadership>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.stand().await?.elected().await })
    }
}

/// A candidate that stands, or leads already. Dropping it withdraws.
#[must_use = "dropping it withdraws the candidate"]
#[derive(Debug)]
pub struct Candidate {
    waiting: Waiting,
}

impl Candidate {
    /// A leader that stands again.
    pub(super) fn again(hold: Hold) -> Self {
        Self { waiting: Waiting::again(hold) }
    }

    /// Who stands, as others see it: what a leader hands its lead to.
    pub fn claim(&self) -> Claim {
        self.waiting.claim()
    }

    /// How many stand before it; see [`Waiting::position`].
    pub fn position(&self) -> Option<u64> {
        self.waiting.position()
    }

    /// Its positions; see [`Waiting::positions`].
    pub fn positions(&self) -> impl Stream<Item = u64> + Send + Unpin + 'static {
        self.waiting.positions()
    }

    /// Waits until it leads.
    ///
    /// # Errors
    /// As [`Waiting::granted`].
    pub async fn elected(self) -> Result<Leadership> {
        Ok(Leadership::new(self.waiting.granted().await?))
    }

    /// Withdraws. If it was elected first, the lead is returned: the log decides.
    ///
    /// # Errors
    /// As [`Waiting::cancel`].
    pub async fn withdraw(self) -> Result<Option<Leadership>> {
        Ok(self.waiting.cancel().await?.map(Leadership::new))
    }
}
