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

use super::informer::{Informer, Snapshot};
use super::place::{Place, afterwards, patiently, while_alive, within};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::txn::{TxnOutcome, compare, op};
use crate::types::{KeyValue, key};
use bytes::Bytes;
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
        Ok(Inside { entry: Some(entry), view, generation })
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
        Ok(Some(Inside { entry: Some(entry), view, generation }))
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
            let entry =
                Entry { session: self.session.clone(), place: self.place.clone(), me, is_there: true };
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

/// A participant's entry. Dropping it takes it back.
struct Entry {
    session: Session,
    place: Arc<Place>,
    me: Bytes,
    is_there: bool,
}

impl Entry {
    /// Nothing is to be taken back.
    fn forget(mut self) {
        self.is_there = false;
    }

    /// Removes the entry, and the mark with the last entry.
    async fn remove(session: Session, place: Arc<Place>, me: Bytes) -> Result<()> {
        let outcome = session
            .txn()
            .when(compare::count(place.range(MEMBERS)).eq(1_u64))
            .when(compare::version(me.clone()).gt(0_u64))
            .then(op::delete(key(me.clone())))
            .then(op::delete(key(place.key(OPEN))))
            .otherwise(op::delete(key(me)));
        outcome.await.map(|_| ())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_there {
            let removal = Self::remove(self.session.clone(), self.place.clone(), self.me.clone());
            // If it fails, the session's end removes it.
            afterwards(async { removal.await.unwrap_or_default() });
        }
    }
}

/// A place inside. Dropping it leaves without waiting.
pub struct Inside {
    entry: Option<Entry>,
    view: Informer<Bytes>,
    generation: u64,
}

impl Inside {
    /// Names the group of participants that began together; grows from group to group.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Leaves, and waits until all have left or died.
    ///
    /// # Errors
    /// Those of leaving: the session's loss means that this participant has left in any case.
    /// Waiting for the others fails only for what waiting cannot mend.
    pub async fn leave(mut self) -> Result<()> {
        let place = self.depart().await?;
        self.wait_left(&place).await
    }

    /// As [`leave`](Self::leave), for at most so long. Returns whether all have left by then; this
    /// participant has.
    ///
    /// # Errors
    /// As [`leave`](Self::leave).
    pub async fn leave_for(mut self, patience: Duration) -> Result<bool> {
        let place = self.depart().await?;
        Ok(within(patience, self.wait_left(&place)).await?.is_some())
    }

    /// Leaves without waiting.
    ///
    /// # Errors
    /// As [`leave`](Self::leave).
    pub async fn leave_now(mut self) -> Result<()> {
        self.depart().await.map(|_| ())
    }

    /// Completes when the place is gone: somebody [removed](Participants::remove) it, or the session
    /// is lost.
    pub async fn gone(&self) {
        let me = self.entry.as_ref().map(|entry| entry.me.clone()).unwrap_or_default();
        let gone = |all: &Snapshot<Bytes>| {
            (all.revision() >= self.generation && all.get(&me).is_none()).then_some(())
        };
        self.view.until(gone).await;
    }

    async fn depart(&mut self) -> Result<Arc<Place>> {
        let entry = self.entry.take().expect("it departs once, as leaving consumes it");
        let place = entry.place.clone();
        Entry::remove(entry.session.clone(), place.clone(), entry.me.clone()).await?;
        entry.forget();
        Ok(place)
    }

    async fn wait_left(&self, place: &Place) -> Result<()> {
        let open = place.key(OPEN);
        let left = |all: &Snapshot<Bytes>| match all.get(&open) {
            Some(mark) if mark.mod_revision == self.generation => (members(place, all) == 0).then_some(true),
            Some(mark) => (mark.mod_revision > self.generation).then_some(false),
            None => (all.revision() >= self.generation).then_some(false),
        };
        if self.view.until(left).await {
            // The last ones died inside and could not close. Whoever comes next would do it, too.
            let client = self.view.client().clone();
            patiently(|| async {
                client
                    .txn()
                    .when(compare::mod_revision(open.clone()).eq(self.generation))
                    .when(compare::count(place.range(MEMBERS)).eq(0_u64))
                    .then(op::delete(key(open.clone())))
                    .await
            })
            .await?;
        }
        Ok(())
    }
}

/// A double barrier, as those see it who do not take part.
pub struct Participants {
    client: Client,
    place: Place,
}

/// One who waits at a barrier or is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its session.
    pub session: u64,
    /// The number of participants that it expects.
    pub size: u64,
    /// The revision at which it came.
    pub since: u64,
}

/// How a barrier stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// The generation inside; `None` while participants wait.
    pub generation: Option<u64>,
    /// Those that wait or are inside, by session.
    pub participants: Vec<Participant>,
}

impl Participants {
    /// The barrier at a path.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self { client: client.clone(), place: Place::new(path) }
    }

    /// Who is there.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn read(&self) -> Result<Occupancy> {
        let page = self.client.range(self.place.range("")).all().await?;
        let open = self.place.key(OPEN);
        let mark = page.records.iter().find(|record| record.key == open.as_bytes());
        let participant = |record: &KeyValue| {
            self.place.rest(MEMBERS, &record.key)?;
            let size = record.text().parse().unwrap_or(0);
            Some(Participant { session: record.owner, size, since: record.create_revision })
        };
        Ok(Occupancy {
            generation: mark.map(|mark| mark.mod_revision),
            participants: page.records.iter().filter_map(participant).collect(),
        })
    }

    /// Takes the places of a session away, as if it had left: for a participant that hangs. Returns
    /// how many it had.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn remove(&self, session: u64) -> Result<u64> {
        let places = self.place.range(&format!("{MEMBERS}{session:016x}-"));
        Ok(self.client.delete(places).await?.deleted)
    }
}
