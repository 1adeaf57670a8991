//! A double barrier: so many begin together, and end together; again and again.
//!
//! # Model
//! [`enter`](DoubleBarrier::enter) holds everybody until `size` participants are there, and
//! [`leave`](Inside::leave) until all of them have left. After that the same barrier serves the next
//! generation. Participants that come while a generation is inside wait for the next one.
//!
//! # Keys
//! * `{path}/members/{session}-{random}`: one for each participant, owned by its session.
//! * `{path}/open`: exists while a generation is inside. Its mod revision names the generation.
//!
//! # Guarantees
//! The entry that completes the number opens the barrier in the same transaction, so there is no
//! moment between "enough are there" and "go" in which one could vanish unnoticed. The last one to
//! leave closes it in the same way. A participant is in exactly one generation for each `enter`.
//!
//! # Failure model
//! A participant that dies, or whose session is lost, vanishes from the count by itself:
//! * before the barrier opens, the others wait for a replacement, or until their patience ends
//!   ([`enter_for`](DoubleBarrier::enter_for) withdraws its entry, or is in: never both);
//! * inside, the others leave without it. Nobody hangs.
//!
//! Dropping the future of `enter`, or an [`Inside`], withdraws. Participants that disagree about the
//! size are told so instead of waiting for ever.
//!
//! ```no_run
//! use oarlock_client::recipes::double_barrier::DoubleBarrier;
//! use oarlock_client::Session;
//!
//! # async fn example(session: Session) -> oarlock_client::Result<()> {
//! let barrier = DoubleBarrier::new(&session, "/jobs/17/rounds", 3);
//! for round in 0..10 {
//!     let inside = barrier.enter().await?; // three are here
//!     println!("round {round} is generation {}", inside.generation());
//!     inside.leave().await?; // all three are done, or dead
//! }
//! # Ok(())
//! # }
//! ```

mod inside;
mod participants;

pub use inside::Inside;
pub use participants::{Occupancy, Participant, Participants};

use crate::error::{Error, Result};
use crate::recipes::informer::{Informer, Snapshot};
use crate::recipes::place::{Place, while_alive, within};
use crate::session::Session;
use crate::txn::{TxnOutcome, compare, op};
use crate::types::key;
use bytes::Bytes;
use inside::Entry;
use oarlock_proto::v1::{self, op_result};
use std::sync::Arc;
use std::time::Duration;

const MEMBERS: &str = "members/";
const OPEN: &str = "open";

/// A double barrier, entered through a session. Cheap to clone.
#[derive(Clone)]
pub struct DoubleBarrier {
    session: Session,
    place: Arc<Place>,
    size: u64,
}

/// What became of an attempt to enter.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    /// The entry is there and was the last that was needed.
    Opened,
    /// The entry is there.
    Waiting,
    /// A generation is inside.
    Occupied,
}

impl DoubleBarrier {
    /// The barrier at a path for so many participants. All must name the same size, at least 1.
    pub fn new(session: &Session, path: impl Into<String>, size: u64) -> Self {
        Self { session: session.clone(), place: Arc::new(Place::new(path)), size: size.max(1) }
    }

    /// Waits until `size` participants are there.
    ///
    /// # Errors
    /// The session's loss; [`Error::Invalid`] when another participant expects another size.
    pub async fn enter(&self) -> Result<Inside> {
        let view = self.view();
        let (entry, begun) = self.take_place(&view).await?;
        let generation = self.wait_open(&view, &entry, begun).await?;
        Ok(Inside::new(entry, view, generation))
    }

    /// As [`enter`](Self::enter), for at most so long. `None`: the number was not reached and the
    /// entry is withdrawn.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn enter_for(&self, patience: Duration) -> Result<Option<Inside>> {
        let end = tokio::time::Instant::now() + patience;
        let view = self.view();
        let Some((entry, begun)) = within(patience, self.take_place(&view)).await? else {
            return Ok(None);
        };
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        let generation = match within(left, self.wait_open(&view, &entry, begun)).await? {
            Some(generation) => generation,
            None => match self.withdraw(&entry).await? {
                None => {
                    entry.forget();
                    return Ok(None);
                }
                Some(generation) => generation,
            },
        };
        Ok(Some(Inside::new(entry, view, generation)))
    }

    /// Enters and leaves without waiting for the others to leave: a cyclic barrier. Returns the
    /// generation.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn pass(&self) -> Result<u64> {
        let inside = self.enter().await?;
        let generation = inside.generation();
        inside.leave_now().await?;
        Ok(generation)
    }

    fn view(&self) -> Informer<Bytes> {
        Informer::raw(self.session.client(), self.place.range(""))
    }

    /// Waits until no generation is inside, and enters; returns the entry and its revision.
    async fn take_place(&self, view: &Informer<Bytes>) -> Result<(Entry, u64)> {
        loop {
            let name = format!("{MEMBERS}{:016x}-{:08x}", self.session.id(), rand::random::<u32>());
            let me = Bytes::from(self.place.key(name));
            // From here on the entry may be there, and whoever gives up takes it back.
            let entry = Entry::new(self.session.clone(), self.place.clone(), me);
            let outcome = self.attempt(&entry.me).await?;
            match attempt_of(&outcome, self.size) {
                Attempt::Opened | Attempt::Waiting => return Ok((entry, outcome.revision)),
                Attempt::Occupied => entry.forget(),
            }
            // No entry was made while the others were inside; it is tried again when they are out.
            let outside = |all: &Snapshot<Bytes>| {
                let is_later = all.revision() >= outcome.revision;
                let is_free = all.get(self.place.key(OPEN)).is_none() || members(&self.place, all) == 0;
                (is_later && is_free).then_some(Ok(()))
            };
            while_alive(&self.session, view.until(outside)).await?;
        }
    }

    /// One transaction: enter and open, or enter, or clear what dead participants left and enter.
    async fn attempt(&self, me: &Bytes) -> Result<TxnOutcome> {
        let open = self.place.key(OPEN);
        let inside = || compare::count(self.place.range(MEMBERS));
        let entry = || op::put_owned(me.clone(), self.size.to_string(), self.session.id());
        let mark = || op::put(open.clone(), self.size.to_string());
        let over = if self.size == 1 { mark() } else { op::delete(key(open.clone())) };
        let leftover = v1::Txn {
            compare: vec![compare::version(open.clone()).gt(0_u64), inside().eq(0_u64)],
            then: vec![entry(), over],
            otherwise: Vec::new(),
        };
        let early = v1::Txn {
            compare: vec![compare::version(open.clone()).eq(0_u64), inside().ne(self.size - 1)],
            then: vec![entry()],
            otherwise: vec![op::txn(leftover)],
        };
        let txn = self.session.txn();
        txn.when(compare::version(open.clone()).eq(0_u64))
            .when(inside().eq(self.size - 1))
            .then(entry())
            .then(mark())
            .otherwise(op::txn(early))
            .await
    }

    /// Waits for the mark that is newer than the entry, and returns its revision. It cannot be
    /// missed: it stays until all have left, the waiter among them.
    async fn wait_open(&self, view: &Informer<Bytes>, entry: &Entry, begun: u64) -> Result<u64> {
        let opened = |all: &Snapshot<Bytes>| {
            if all.revision() < begun {
                return None;
            }
            if let Some(error) = disagreement(&self.place, all, self.size) {
                return Some(Err(error));
            }
            if let Some(open) = all.get(self.place.key(OPEN)).filter(|open| open.mod_revision >= begun) {
                return Some(Ok(open.mod_revision));
            }
            if all.get(&entry.me).is_none() {
                let cause = "its entry in the barrier is gone".to_owned();
                return Some(Err(Error::SessionLost { session: self.session.id(), cause }));
            }
            None
        };
        while_alive(&self.session, view.until(opened)).await
    }

    /// Takes the entry back unless the barrier has opened; then returns the generation.
    async fn withdraw(&self, entry: &Entry) -> Result<Option<u64>> {
        let open = self.place.key(OPEN);
        let outcome = self
            .session
            .txn()
            .when(compare::version(open.clone()).eq(0_u64))
            .then(op::delete(key(entry.me.clone())))
            .otherwise(op::get(open))
            .await?;
        Ok(outcome.first_record().map(|open| open.mod_revision))
    }
}

fn attempt_of(outcome: &TxnOutcome, size: u64) -> Attempt {
    if outcome.succeeded {
        return Attempt::Opened;
    }
    let within = |results: &[v1::OpResult]| match results.first().and_then(|first| first.result.clone()) {
        Some(op_result::Result::Txn(inner)) => Some(inner),
        _ => None,
    };
    let Some(early) = within(&outcome.results) else { return Attempt::Occupied };
    if early.succeeded {
        return Attempt::Waiting;
    }
    match within(&early.results) {
        Some(leftover) if leftover.succeeded && size == 1 => Attempt::Opened,
        Some(leftover) if leftover.succeeded => Attempt::Waiting,
        Some(_) | None => Attempt::Occupied,
    }
}

fn members(place: &Place, all: &Snapshot<Bytes>) -> usize {
    all.iter().filter(|item| place.rest(MEMBERS, &item.key).is_some()).count()
}

fn disagreement(place: &Place, all: &Snapshot<Bytes>, size: u64) -> Option<Error> {
    let mine = size.to_string();
    let differs = |value: &Bytes| value.as_ref() != mine.as_bytes();
    let other = all.iter().find(|item| place.rest(MEMBERS, &item.key).is_some() && differs(&item.value))?;
    let theirs = String::from_utf8_lossy(&other.value);
    let message = format!(
        "the barrier {} is for {mine} participants here and for {theirs} elsewhere; they must agree",
        place.path()
    );
    Some(Error::Invalid { message })
}
