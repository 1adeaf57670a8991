//! Numbers that many change at once: a counter, and a register that only grows.
//!
//! # Model
//! A number of 64 bits with a sign under one key, in decimal text. The service adds; nobody reads,
//! adds and writes, so that adding never conflicts and takes one round trip.
//!
//! # Guarantees
//! Each change happens exactly once: through a [`Session`](crate::Session) whatever the network
//! does, through a [`Client`](crate::Client) within one call. A change that would leave the range of
//! the number, or the bounds that were asked for, changes nothing.
//!
//! # Failure model
//! [`Error::Unknown`](crate::Error::Unknown): the change may have happened; see there.
//!
//! ```no_run
//! use oarlock_client::recipes::counter::{Counter, MaxRegister};
//! use oarlock_client::Session;
//!
//! # async fn example(session: Session) -> oarlock_client::Result<()> {
//! let seats = Counter::new(&session, "/flights/LH400/seats");
//! match seats.add_within(-2, 0, 380).await? {
//!     Some(left) => println!("booked; {left} are left"),
//!     None => println!("there are not two seats left"),
//! }
//! let newest = MaxRegister::new(&session, "/schema/newest");
//! assert!(newest.raise(17).await? >= 17);
//! # Ok(())
//! # }
//! ```

use super::place::Via;
use crate::error::{Error, Result};
use crate::txn::{compare, op};
use crate::types::KeyValue;
use bytes::Bytes;
use std::time::Duration;

/// Pause after a conflict, so that those in conflict do not meet again.
const PAUSE: Duration = Duration::from_millis(10);

/// A counter. Cheap to clone.
#[derive(Clone)]
pub struct Counter {
    via: Via,
    key: Bytes,
}

/// A register that keeps the largest number it was given. Cheap to clone.
#[derive(Clone)]
pub struct MaxRegister {
    via: Via,
    key: Bytes,
}

impl Counter {
    /// The counter under a key. One that does not exist counts as 0.
    pub fn new(via: impl Into<Via>, key: impl Into<Bytes>) -> Self {
        Self { via: via.into(), key: key.into() }
    }

    /// Adds and returns the sum.
    ///
    /// # Errors
    /// `BAD_VALUE` if the sum does not fit, or the key holds no number.
    pub async fn add(&self, delta: i64) -> Result<i64> {
        self.via.txn().then(op::add(self.key.clone(), delta)).await?.first_number()
    }

    /// Adds if the sum is within the bounds, both included, and returns it; `None` if it is not.
    /// Reads first, so that many doing this at once get in each other's way.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn add_within(&self, delta: i64, least: i64, most: i64) -> Result<Option<i64>> {
        loop {
            let record = self.via.get(self.key.clone()).await?;
            let now = number(record.as_ref())?;
            let sum = now.checked_add(delta).filter(|sum| (least..=most).contains(sum));
            let Some(sum) = sum else { return Ok(None) };
            if self.put_over(record.as_ref(), sum).await? {
                return Ok(Some(sum));
            }
            tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.0..1.0))).await;
        }
    }

    /// The number now.
    pub async fn get(&self) -> Result<i64> {
        number(self.via.get(self.key.clone()).await?.as_ref())
    }

    /// Sets it.
    pub async fn set(&self, value: i64) -> Result<()> {
        self.via.put(self.key.clone(), value.to_string()).await.map(|_| ())
    }

    /// Sets it if it is `expected`. `Some(other)`: it is something else and stays so.
    pub async fn compare_and_set(&self, expected: i64, value: i64) -> Result<Option<i64>> {
        loop {
            let record = self.via.get(self.key.clone()).await?;
            let now = number(record.as_ref())?;
            if now != expected {
                return Ok(Some(now));
            }
            if self.put_over(record.as_ref(), value).await? {
                return Ok(None);
            }
        }
    }

    async fn put_over(&self, seen: Option<&KeyValue>, value: i64) -> Result<bool> {
        let seen = seen.map_or(0, |record| record.mod_revision);
        let txn = self.via.txn().when(compare::mod_revision(self.key.clone()).eq(seen));
        Ok(txn.then(op::put(self.key.clone(), value.to_string())).await?.succeeded)
    }
}

impl MaxRegister {
    /// The register under a key. One that does not exist counts as 0.
    pub fn new(via: impl Into<Via>, key: impl Into<Bytes>) -> Self {
        Self { via: via.into(), key: key.into() }
    }

    /// Raises it to at least this much and returns what it is then.
    pub async fn raise(&self, least: i64) -> Result<i64> {
        self.via.txn().then(op::max(self.key.clone(), least)).await?.first_number()
    }

    /// The number now.
    pub async fn get(&self) -> Result<i64> {
        number(self.via.get(self.key.clone()).await?.as_ref())
    }
}

/// The number in a record; 0 for none.
pub(super) fn number(record: Option<&KeyValue>) -> Result<i64> {
    let Some(record) = record else { return Ok(0) };
    record.text().parse().map_err(|_| {
        let key = String::from_utf8_lossy(&record.key);
        Error::Invalid { message: format!("{key} holds {:?}, which is no number", record.text()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counts_as_zero_and_text_is_refused() {
        let record = |value: &'static str| KeyValue { value: value.into(), ..KeyValue::default() };
        assert_eq!(number(None).expect("nothing"), 0);
        assert_eq!(number(Some(&record("-7"))).expect("a number"), -7);
        assert!(matches!(number(Some(&record("x"))), Err(Error::Invalid { .. })));
    }
}
