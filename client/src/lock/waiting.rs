//! A place in a queue.

use super::claim::{Claim, LossCause, Lost};
use super::claimant::Grip;
use super::follow::{Phase, Standing};
use super::hold::Hold;
use crate::error::{Error, Result};
use futures::{Stream, StreamExt};
use oarlock_proto::v1::{self, object_op::Op, object_refusal::Reason};

/// A claim that waits, or was granted already. Dropping it leaves the queue.
#[must_use = "dropping it leaves the queue"]
#[derive(Debug)]
pub struct Waiting {
    grip: Grip,
    /// Grants that are not meant: those before it began to wait.
    past: u64,
}

impl Waiting {
    /// A claim that was begun, once the service has answered it.
    pub(crate) async fn answered(grip: Grip) -> Result<Self> {
        let mut standing = grip.standing.subscribe();
        let answered = |standing: &Standing| !matches!(standing.phase, Phase::Asked);
        let refused = match standing.wait_for(answered).await {
            Ok(standing) => match &standing.phase {
                Phase::Refused(error) => Some(error.clone()),
                Phase::Asked | Phase::Waiting(_) | Phase::Holding | Phase::Gone(_) => None,
            },
            Err(_) => Some(grip.session.gone()),
        };
        match refused {
            None => Ok(Self { grip, past: 0 }),
            Some(error) => {
                grip.forget();
                Err(error)
            }
        }
    }

    /// A claim that was granted `past` times and waits again.
    pub(crate) fn again(hold: Hold) -> Self {
        let Hold { grip, grant, .. } = hold;
        Self { grip, past: grant }
    }

    /// Who waits, as others see it.
    pub fn claim(&self) -> Claim {
        self.grip.claim
    }

    /// How many wait before it, where most do; 0 at the head of the queue. `None` once it does not wait
    /// any more, and for moments while that is not known.
    pub fn position(&self) -> Option<u64> {
        position(&self.grip.standing.borrow())
    }

    /// Its position now and each one after that; positions that follow each other faster than they are
    /// taken are skipped. Ends when it does not wait any more.
    pub fn positions(&self) -> impl Stream<Item = u64> + Send + Unpin + 'static {
        let standing = tokio_stream::wrappers::WatchStream::new(self.grip.standing.subscribe());
        let waits = |standing: &Standing| {
            futures::future::ready(matches!(standing.phase, Phase::Asked | Phase::Waiting(_)))
        };
        let mut last = None;
        standing.take_while(waits).filter_map(move |standing| {
            let now = position(&standing).filter(|now| last != Some(*now));
            last = now.or(last);
            futures::future::ready(now)
        })
    }

    /// Waits until it is granted.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if it was taken out of the queue, [`Error::SessionLost`] with its session.
    pub async fn granted(self) -> Result<Hold> {
        self.settled().await?;
        self.into_hold()
    }

    /// Leaves the queue. If the grant came first, it is returned: the log decides.
    ///
    /// # Errors
    /// As [`granted`](Self::granted).
    pub async fn cancel(self) -> Result<Option<Hold>> {
        if self.is_granted() {
            return self.into_hold().map(Some);
        }
        let name = self.grip.name();
        let request = v1::CancelRequest { name, claim: Some(self.claim().into()), options: None };
        match self.grip.session.write_object(Op::Cancel(request), Vec::new(), true).await {
            Ok(_) => {
                self.grip.forget();
                Ok(None)
            }
            // The event that says so is on its way.
            Err(error) if error.is_refused(Reason::AlreadyGranted) => self.granted().await.map(Some),
            Err(error) if error.is_refused(Reason::NotWaiting) => self.granted().await.map(Some),
            Err(error) => Err(error),
        }
    }

    /// Waits until it is granted or will not be, without giving anything up if it is dropped.
    pub(super) async fn settled(&self) -> Result<()> {
        let mut standing = self.grip.standing.subscribe();
        let past = self.past;
        let settled = |standing: &Standing| {
            standing.grants > past || matches!(standing.phase, Phase::Gone(_) | Phase::Refused(_))
        };
        match standing.wait_for(settled).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.grip.session.gone()),
        }
    }

    fn is_granted(&self) -> bool {
        self.grip.standing.borrow().grants > self.past
    }

    fn into_hold(self) -> Result<Hold> {
        let standing = self.grip.standing.borrow().clone();
        if standing.grants > self.past {
            return Ok(Hold { grip: self.grip, grant: standing.grants, granted: standing.tokens });
        }
        let error = match standing.phase {
            Phase::Gone(Lost { cause: LossCause::Expired | LossCause::Closed, .. }) => {
                self.grip.session.gone()
            }
            Phase::Gone(lost) => {
                Error::NotHeld { what: format!("claim {}", self.claim()), cause: lost.to_string() }
            }
            Phase::Refused(error) => error,
            Phase::Asked | Phase::Waiting(_) | Phase::Holding => {
                Error::Unknown { message: format!("claim {} is not settled yet", self.claim()) }
            }
        };
        self.grip.forget();
        Err(error)
    }
}

fn position(standing: &Standing) -> Option<u64> {
    match standing.phase {
        Phase::Waiting(ahead) => ahead,
        Phase::Asked | Phase::Holding | Phase::Gone(_) | Phase::Refused(_) => None,
    }
}
