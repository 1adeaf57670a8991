//! What to lock, and how.

use super::claimant::{Grip, Request};
use super::hold::{Hold, millis};
use super::place::Place;
use super::waiting::Waiting;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::types::Token;
use bytes::Bytes;
use oarlock_proto::v1::{self, hold_mode::Mode, object_kind::Kind, object_refusal::Reason};
use std::future::Future;
use std::time::Duration;

/// One or several locks that are about to be asked for: `session.mutex("a").acquire().await?`. It may
/// be used again and again; each use is a claim of its own.
#[must_use = "nothing happens until it is acquired"]
#[derive(Clone)]
pub struct Lock {
    session: Session,
    request: Request,
}

/// A read/write lock that is about to be asked for.
#[must_use = "nothing happens until it is acquired"]
#[derive(Clone)]
pub struct ReadWrite {
    session: Session,
    name: Bytes,
}

/// What could not be had at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The object, or the first of several that is taken.
    pub name: Bytes,
    /// Who holds it, as it was seen a moment later: nobody, if it was released meanwhile.
    pub holders: Vec<Place>,
}

impl ReadWrite {
    /// To read: beside others that read.
    pub fn read(&self) -> Lock {
        Lock::new(&self.session, self.name.clone(), Kind::ReadWrite, Mode::Shared)
    }

    /// To write: alone.
    pub fn write(&self) -> Lock {
        Lock::new(&self.session, self.name.clone(), Kind::ReadWrite, Mode::Exclusive)
    }
}

impl Session {
    /// A lock of one holder.
    pub fn mutex(&self, name: impl Into<Bytes>) -> Lock {
        Lock::new(self, name.into(), Kind::Mutex, Mode::Exclusive)
    }

    /// A lock of many readers or one writer.
    pub fn read_write(&self, name: impl Into<Bytes>) -> ReadWrite {
        ReadWrite { session: self.clone(), name: name.into() }
    }

    /// A semaphore: holders whose weights add up to no more than `capacity`. The weight is 1 unless
    /// [`Lock::weight`] says otherwise. All that use it must name the same capacity.
    pub fn semaphore(&self, name: impl Into<Bytes>, capacity: u64) -> Lock {
        let mut lock = Lock::new(self, name.into(), Kind::Semaphore, Mode::Weight).weight(1);
        for part in &mut lock.request.acquire.parts {
            part.kind.get_or_insert_default().capacity = capacity;
        }
        lock
    }
}

impl Lock {
    fn new(session: &Session, name: Bytes, kind: Kind, mode: Mode) -> Self {
        let part = v1::ObjectPart {
            name,
            kind: Some(v1::ObjectKind { kind: kind.into(), capacity: 0 }),
            mode: Some(v1::HoldMode { mode: mode.into(), weight: 0 }),
        };
        let acquire = v1::AcquireRequest { parts: vec![part], ..Default::default() };
        Self { session: session.clone(), request: Request { acquire, guards: Vec::new() } }
    }

    /// This lock and another together: all or none, in whatever order they are named. While they wait
    /// they hold nothing, so that locks that are taken together cannot deadlock. The session, the
    /// metadata, the lock-delay and the guards are those of `self`.
    pub fn and(mut self, other: Self) -> Self {
        self.request.acquire.parts.extend(other.request.acquire.parts);
        self
    }

    /// How much of a semaphore to take.
    pub fn weight(mut self, weight: u64) -> Self {
        for part in &mut self.request.acquire.parts {
            if let Some(mode) = part.mode.as_mut().filter(|mode| mode.mode() == Mode::Weight) {
                mode.weight = weight;
            }
        }
        self
    }

    /// What others see of whoever holds or waits: a name, an address. At most 4096 bytes.
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.request.acquire.metadata = metadata.into();
        self
    }

    /// For how long nobody else is granted what this claim holds if its session expires: time for a
    /// holder that cannot be fenced to notice. At most an hour.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.request.acquire.lock_delay_ms = millis(delay);
        self
    }

    /// Only while this token is current, when it is asked for. May be given several times.
    pub fn guard(mut self, token: Token) -> Self {
        self.request.guards.push(token.into());
        self
    }

    /// Takes it if it can be had at once; otherwise says who holds it.
    ///
    /// # Errors
    /// [`Error::Rejected`] with its [`refusal`](Error::refusal) for what cannot be;
    /// [`Error::Unknown`] when the service does not answer in time. What it grants later is given up.
    pub fn try_acquire(
        &self,
    ) -> impl Future<Output = Result<std::result::Result<Hold, Busy>>> + Send + 'static {
        self.clone().attempt()
    }

    async fn attempt(self) -> Result<std::result::Result<Hold, Busy>> {
        let deadline = self.session.deadline();
        let late = |_| Error::Unknown {
            message: format!("no answer within {deadline:?}; if it is granted later it is given up"),
        };
        let attempt = tokio::time::timeout(deadline, self.claim(false)).await.map_err(late)?;
        match attempt {
            Ok(waiting) => Ok(Ok(waiting.granted().await?)),
            Err(error) if error.is_refused(Reason::Taken) => {
                let name = error.refusal().map_or_else(Bytes::new, |refusal| refusal.name.clone());
                let holders = self.holders(&name).await;
                Ok(Err(Busy { name, holders }))
            }
            Err(error) => Err(error),
        }
    }

    /// Waits in the queue until it is granted. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// As [`Waiting::granted`], and [`Error::Rejected`] with its [`refusal`](Error::refusal) for what
    /// cannot be.
    pub fn acquire(&self) -> impl Future<Output = Result<Hold>> + Send + 'static {
        let enqueue = self.enqueue();
        async move { enqueue.await?.granted().await }
    }

    /// Waits in the queue for at most this long. If the time is over it leaves the queue; a grant that
    /// came before that is returned after all, as the log has it.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire). While the service cannot be reached it takes longer.
    pub fn acquire_timeout(
        &self,
        patience: Duration,
    ) -> impl Future<Output = Result<Option<Hold>>> + Send + 'static {
        let enqueue = self.enqueue();
        async move {
            let end = tokio::time::Instant::now() + patience;
            let waiting = enqueue.await?;
            match tokio::time::timeout_at(end, waiting.settled()).await {
                Ok(settled) => {
                    settled?;
                    waiting.granted().await.map(Some)
                }
                Err(_late) => waiting.cancel().await,
            }
        }
    }

    /// Takes a place in the queue, and returns as soon as the service has confirmed it; the grant may
    /// have come by then.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn enqueue(&self) -> impl Future<Output = Result<Waiting>> + Send + 'static {
        self.claim(true)
    }

    fn claim(&self, wait: bool) -> impl Future<Output = Result<Waiting>> + Send + 'static {
        let mut request = self.request.clone();
        request.acquire.wait = wait;
        let session = self.session.clone();
        async move { Waiting::answered(Grip::begin(&session, request)).await }
    }

    /// Who holds an object; nobody, if that cannot be seen.
    async fn holders(&self, name: &Bytes) -> Vec<Place> {
        let described = self.session.client().locks().describe_page(name.clone(), 0, 0).await;
        described.ok().and_then(|(object, _)| object).map_or_else(Vec::new, |object| object.holders)
    }
}
