//! A countdown latch: waiters go on once so many have arrived.
//!
//! # Model
//! A latch is created with a count. Each [`arrive`](Latch::arrive) is under a name, and the same name
//! counts once, however often and from however many processes it is sent. Arrivals stay: work that
//! is done stays done when the worker dies. (Where presence is what counts, use a
//! [group](super::group) and its [`until_ready`](super::group::Group::until_ready).)
//!
//! # Keys
//! * `{path}/target`: the count and the generation, in JSON.
//! * `{path}/arrived/{name}`: one for each arrival.
//!
//! # Guarantees
//! Waiters of a generation are let through if the count was reached in it, even if the latch was
//! [reset](Latch::reset) before they noticed: the reset records in one transaction whether the
//! generation before was complete.
//!
//! # Failure model
//! Whoever dies before arriving is missing for ever: wait with [`wait_for`](Latch::wait_for), look
//! who is there with [`arrived`](Latch::arrived), and arrive in its place or reset.
//!
//! ```no_run
//! use oarlock_client::Client;
//! use oarlock_client::recipes::latch::{Latch, Passed};
//! use std::time::Duration;
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let latch = Latch::new(&client, "/import/7/parts");
//! latch.create(12).await?;
//! latch.arrive("part-3").await?;
//! match latch.wait_for(Duration::from_secs(600)).await? {
//!     Some(Passed::Complete) => println!("all parts are imported"),
//!     Some(Passed::Reset) => println!("somebody began anew"),
//!     None => println!("{} parts are missing", latch.remaining().await?),
//! }
//! # Ok(())
//! # }
//! ```

use super::informer::{Informer, Snapshot};
use super::place::{Place, Via, check_name, within};
use crate::error::{Error, Result};
use crate::txn::{compare, op};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const ARRIVED: &str = "arrived/";
const TARGET: &str = "target";

/// A countdown latch. Cheap to clone.
#[derive(Clone)]
pub struct Latch {
    via: Via,
    place: Place,
}

/// How a waiter was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The count was reached.
    Complete,
    /// The latch was reset before the count was reached.
    Reset,
}

/// The record under `target`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Target {
    count: u64,
    generation: u64,
    /// The last generation whose count was reached before it was reset; 0 for none.
    complete: u64,
}

impl Target {
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers become JSON")
    }

    fn parse(place: &Place, value: &[u8]) -> Result<Self> {
        serde_json::from_slice(value).map_err(|error| {
            let message = format!("{} is no latch: {error}", place.key(TARGET));
            Error::Invalid { message }
        })
    }
}

impl Latch {
    /// The latch at a path.
    pub fn new(via: impl Into<Via>, path: impl Into<String>) -> Self {
        Self { via: via.into(), place: Place::new(path) }
    }

    /// Creates it with a count. Returns whether it is new; a latch that is there stays as it is.
    pub async fn create(&self, count: u64) -> Result<bool> {
        let target = Target { count, generation: 1, complete: 0 };
        let key = self.place.key(TARGET);
        let txn = self.via.txn().when(compare::version(key.clone()).eq(0_u64));
        Ok(txn.then(op::put(key, target.bytes())).await?.succeeded)
    }

    /// Counts down by one, unless this name has arrived already. Returns whether it had not.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such latch, or the name is empty or contains a slash.
    pub async fn arrive(&self, name: &str) -> Result<bool> {
        check_name("the arrival", name)?;
        let target = self.place.key(TARGET);
        let arrival = self.place.key(format_args!("{ARRIVED}{name}"));
        let outcome = self
            .via
            .txn()
            .when(compare::version(target.clone()).gt(0_u64))
            .when(compare::version(arrival.clone()).eq(0_u64))
            .then(op::put(arrival, ""))
            .otherwise(op::get(target))
            .await?;
        if !outcome.succeeded && outcome.first_record().is_none() {
            return Err(self.missing());
        }
        Ok(outcome.succeeded)
    }

    /// Names that have arrived.
    pub async fn arrived(&self) -> Result<Vec<String>> {
        let page = self.via.range(self.place.range(ARRIVED)).keys_only().all().await?;
        let name = |key: &Bytes| self.place.rest(ARRIVED, key).map(str::to_owned);
        Ok(page.records.iter().filter_map(|record| name(&record.key)).collect())
    }

    /// How many arrivals are missing.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such latch.
    pub async fn remaining(&self) -> Result<u64> {
        let page = self.via.range(self.place.range("")).all().await?;
        let (target, arrived) = self.read(page.records.iter().map(|r| (&r.key, &r.value)))?;
        Ok(target.map_or_else(|| Err(self.missing()), Ok)?.count.saturating_sub(arrived))
    }

    /// Begins a new generation with a count; nobody has arrived in it. Creates the latch if there
    /// is none.
    pub async fn reset(&self, count: u64) -> Result<()> {
        loop {
            let page = self.via.range(self.place.range("")).all().await?;
            let (before, arrived) = self.read(page.records.iter().map(|r| (&r.key, &r.value)))?;
            let key = self.place.key(TARGET);
            let seen = page.records.iter().find(|record| record.key == key.as_bytes());
            let next = match before {
                None => Target { count, generation: 1, complete: 0 },
                Some(before) => {
                    let complete = if arrived >= before.count { before.generation } else { before.complete };
                    Target { count, generation: before.generation + 1, complete }
                }
            };
            let outcome = self
                .via
                .txn()
                .when(compare::mod_revision(key.clone()).eq(seen.map_or(0, |record| record.mod_revision)))
                .when(compare::count(self.place.range(ARRIVED)).eq(arrived))
                .then(op::delete(self.place.range(ARRIVED)))
                .then(op::put(key, next.bytes()))
                .await?;
            if outcome.succeeded {
                return Ok(());
            }
        }
    }

    /// Removes it with all arrivals. Waiters go on waiting for one to be created.
    pub async fn remove(&self) -> Result<()> {
        self.via.delete(self.place.range("")).await.map(|_| ())
    }

    /// Waits until the count is reached. A latch that does not exist yet is waited for.
    ///
    /// # Errors
    /// What waiting cannot mend, such as a lack of permission, or a key that is no latch's.
    pub async fn wait(&self) -> Result<Passed> {
        let view = Informer::raw(self.via.client(), self.place.range(""));
        view.synced().await?;
        let mut waiting_in = None;
        view.until(|all| self.passed(all, &mut waiting_in).transpose()).await
    }

    /// As [`wait`](Self::wait), for at most so long. `None`: arrivals were still missing.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_for(&self, patience: Duration) -> Result<Option<Passed>> {
        within(patience, self.wait()).await
    }

    /// Whether a waiter that first saw generation `waiting_in` may go.
    fn passed(&self, all: &Snapshot<Bytes>, waiting_in: &mut Option<u64>) -> Result<Option<Passed>> {
        let (target, arrived) = self.read(all.iter().map(|item| (&item.key, &item.value)))?;
        let Some(target) = target else { return Ok(None) };
        let mine = *waiting_in.get_or_insert(target.generation);
        let is_complete = target.complete >= mine || (target.generation == mine && arrived >= target.count);
        let is_over = target.generation != mine;
        Ok(match (is_complete, is_over) {
            (true, _) => Some(Passed::Complete),
            (false, true) => Some(Passed::Reset),
            (false, false) => None,
        })
    }

    fn read<'r>(
        &self,
        records: impl Iterator<Item = (&'r Bytes, &'r Bytes)>,
    ) -> Result<(Option<Target>, u64)> {
        let (mut target, mut arrived) = (None, 0);
        for (key, value) in records {
            if self.place.rest(ARRIVED, key).is_some() {
                arrived += 1;
            } else if self.place.rest("", key) == Some(TARGET) {
                target = Some(Target::parse(&self.place, value)?);
            }
        }
        Ok((target, arrived))
    }

    fn missing(&self) -> Error {
        let path = self.place.path();
        Error::Invalid { message: format!("there is no latch at {path}; create it with its count first") }
    }
}
