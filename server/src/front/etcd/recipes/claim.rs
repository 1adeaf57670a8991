//! From a request to a turn, or back without leaving anything behind.
//!
//! A claim runs in a task of its own: when its caller goes away in the middle, it is brought to a
//! point from which it can be undone, and undone.

use super::super::door::{Caller, Door};
use super::super::{errors, lease};
use super::feed::Feed;
use super::queue::{self, Ahead, Place};
use super::recipe;
use bytes::Bytes;
use oarlock_state::Revision;
use oarlock_state::command::KeyRange;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tonic::Status;

/// Seconds for which a lease lives that was granted because the caller brought none.
const LEASE_TTL: i64 = 60;
/// How often, and how long apart, undoing is tried. After that the lease does it.
const UNDO_TRIES: u32 = 20;
const UNDO_PAUSE: Duration = Duration::from_millis(500);

/// What is wanted.
pub struct Claim {
    /// Under which name.
    pub name: Bytes,
    /// On whose lease; zero for a new one.
    pub lease: i64,
    /// Under which value. A candidate that is there already gets it too; `None` leaves it.
    pub value: Option<Bytes>,
    /// What to say when the lease ends while it waits.
    pub lost: &'static str,
}

/// It is the claim's turn.
#[derive(Debug)]
pub struct Won {
    /// Its place.
    pub place: Place,
    /// Its lease.
    pub lease: i64,
    /// Revision at which nobody was ahead.
    pub revision: Revision,
}

struct Running {
    door: Arc<Door>,
    caller: Caller,
    claim: Claim,
}

/// Waits for the claim's turn.
///
/// # Errors
/// The lease is gone, or what the node refuses. Nothing is left behind then, unless the outcome of
/// the entry is unknown and the lease is the caller's own: its key may stay until that lease ends,
/// and a repetition under the same lease takes it over.
pub async fn claim(door: Arc<Door>, caller: Caller, claim: Claim) -> Result<Won, Status> {
    let (tell, told) = oneshot::channel();
    tokio::spawn(Running { door, caller, claim }.run(tell));
    let won = told.await.unwrap_or_else(|_| Err(errors::STOPPED.into()));
    won.map_err(|status| recipe(&status))
}

impl Running {
    async fn run(self, mut tell: oneshot::Sender<Result<Won, Status>>) {
        let lease = match self.lease().await {
            Ok(lease) => lease,
            Err(status) => return drop(tell.send(Err(status))),
        };
        let value = self.claim.value.clone().unwrap_or_default();
        let entered = queue::enter(&self.door, &self.caller, &self.claim.name, lease, value).await;
        let place = match entered {
            Ok(place) => place,
            Err(status) => {
                self.undo(lease, None).await;
                return drop(tell.send(Err(status)));
            }
        };
        let turn = tokio::select! {
            turn = self.turn(&place, lease) => turn,
            () = tell.closed() => Err(errors::CANCELED.into()),
        };
        match turn {
            Ok(revision) => {
                let won = Won { place: place.clone(), lease, revision };
                if tell.send(Ok(won)).is_err() {
                    self.undo(lease, Some(place)).await;
                }
            }
            Err(status) => {
                self.undo(lease, Some(place)).await;
                drop(tell.send(Err(status)));
            }
        }
    }

    async fn lease(&self) -> Result<i64, Status> {
        match self.claim.lease {
            0 => Ok(lease::grant(&self.door, &self.caller, 0, LEASE_TTL).await?.id),
            lease => Ok(lease),
        }
    }

    async fn turn(&self, place: &Place, lease: i64) -> Result<Revision, Status> {
        let (door, caller, name) = (&self.door, &self.caller, &self.claim.name);
        let lost = || Status::unknown(self.claim.lost);
        if let Some(value) = self.claim.value.clone().filter(|value| *value != place.value) {
            let at = (place.key.clone(), place.created);
            queue::change(door, caller, at, lease, value).await?.ok_or_else(lost)?;
        }
        let mut waited = false;
        loop {
            let (key, seen) = match queue::ahead(door, caller, name, place).await? {
                (Ahead::Nobody, seen) => return Ok(if waited { seen } else { place.revision }),
                (Ahead::Somebody(key), seen) => (key, seen),
                (Ahead::Lost, _) => return Err(lost()),
            };
            let keys = [key, place.key.clone()].map(KeyRange::Key);
            // Whatever it tells, the keys have to be looked at again.
            Feed::open(door, caller, keys, seen, true)?.next().await?;
            waited = true;
        }
    }

    /// Removes what this claim made: not a candidate that was there before, nor the caller's lease.
    async fn undo(&self, lease: i64, place: Option<Place>) {
        for _ in 0..UNDO_TRIES {
            let undone = if self.claim.lease == 0 {
                lease::revoke(&self.door, &self.caller, lease).await.map(drop)
            } else if let Some(place) = place.as_ref().filter(|place| place.is_new) {
                queue::leave(&self.door, &self.caller, (place.key.clone(), place.created)).await.map(drop)
            } else {
                Ok(())
            };
            match undone {
                Err(status) if is_passing(&status) => tokio::time::sleep(UNDO_PAUSE).await,
                Ok(()) | Err(_) => return,
            }
        }
    }
}

fn is_passing(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::Unavailable | tonic::Code::ResourceExhausted)
}
