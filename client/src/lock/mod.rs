//! Locks and semaphores: granted in order of arrival, bound to a session, fenced by tokens.
//!
//! ```no_run
//! use oarlock_client::Client;
//! use std::time::Duration;
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let session = client.session().open().await?;
//! let hold = session.mutex("printer").metadata("host 7").acquire().await?;
//! // The log refuses this write if the lock is lost by then.
//! client.put("/printer/job", "42").guard(hold.guard()).await?;
//! tokio::select! {
//!     lost = hold.lost() => eprintln!("stop everything: {lost}"),
//!     () = tokio::time::sleep(Duration::from_secs(1)) => hold.release().await?,
//! }
//!
//! match session.semaphore("licences", 5).weight(2).try_acquire().await? {
//!     Ok(two) => two.release().await?,
//!     Err(busy) => println!("taken by {} holders", busy.holders.len()),
//! }
//! let both = session.mutex("a").and(session.mutex("b")).acquire_timeout(Duration::from_secs(3));
//! let _both_or_none = both.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What can go wrong
//! A holder whose session is not confirmed any more may go on until [`Hold::valid_for`] is zero: nobody
//! else is granted the lock before, as long as clocks run at about the same rate. A holder that stops
//! then never overlaps its successor. One that does not, because it was paused, is caught by its token:
//! give [`Hold::guard`] to every write, and [`Hold::token`] to resources outside, which remember the
//! highest they have seen ([`FencingGate`](crate::FencingGate)).
//!
//! A watch needs the permission to read an object's name, an acquire the one to write it: whoever uses
//! locks needs both.
//!
//! Modules in reading order: [`request`] (what to lock), [`waiting`] and [`hold`] (what comes of it),
//! `claim`, `follow` (events in, a standing out), `claimant` (the task behind a claim), [`place`] and
//! [`locks`] (questions).

mod claim;
mod claimant;
mod follow;
mod hold;
mod locks;
mod place;
mod request;
mod waiting;

pub use claim::{Claim, LossCause, Lost, RevocationRequest};
pub(crate) use claimant::{Grip, Request};
pub use hold::Hold;
pub(crate) use hold::millis;
pub use locks::Locks;
pub use place::{Mode, ObjectInfo, ObjectKind, ObjectSummary, Place, PlaceState, Wait, WaitGraph};
pub use request::{Busy, Lock, ReadWrite};
pub use waiting::Waiting;
