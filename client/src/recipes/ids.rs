//! Numbers that are given out once: ids, block by block.
//!
//! # Model
//! The key holds the last number that any process has reserved. A process reserves a block of
//! numbers by adding its length, in one round trip, and then gives them out from memory.
//!
//! # Guarantees
//! No number is given out twice, by whatever processes, over every crash, restart and lost answer: a
//! block whose reservation has an unknown outcome is abandoned. Numbers of one process grow; those of
//! several interleave by blocks.
//!
//! # Failure model
//! What a process had reserved and not given out is lost with it: gaps, at most a block for each
//! crash. With a block of 1 ids follow the order in which they were asked for, at a round trip each.
//!
//! ```no_run
//! use oarlock_client::recipes::ids::Ids;
//! use oarlock_client::Client;
//!
//! # async fn example(client: Client) -> Result<(), oarlock_client::recipes::ids::IdError> {
//! let orders = Ids::new(&client, "/ids/orders").block(1000);
//! let id = orders.next().await?;
//! let hundred = orders.reserve(100).await?; // all for the caller
//! println!("{id}, then {} to {}", hundred.start, hundred.end - 1);
//! # Ok(())
//! # }
//! ```

use super::counter::number;
use super::place::Via;
use crate::error::Error;
use crate::txn::op;
use bytes::Bytes;
use oarlock_proto::v1::ErrorCode;
use std::ops::Range;
use std::sync::Arc;
use thiserror::Error as ThisError;
use tokio::sync::Mutex;

/// Ids in a block unless said otherwise.
const BLOCK: u32 = 100;

/// Why there is no id.
#[derive(Clone, Debug, ThisError)]
pub enum IdError {
    /// All ids up to the limit are given out.
    #[error("the ids of {key} are used up: {limit} was the last one. Raise the limit or use another key")]
    Exhausted {
        /// Which ids.
        key: String,
        /// The last id.
        limit: i64,
    },
    /// The cluster, or the way to it.
    #[error("{0}")]
    Client(#[from] Error),
}

/// Gives out ids. Cheap to clone; the clones share their block.
#[derive(Clone)]
pub struct Ids {
    via: Via,
    key: Bytes,
    block: u32,
    limit: i64,
    /// What is reserved and not given out. Held while reserving, so that callers get one block.
    left: Arc<Mutex<Range<i64>>>,
}

impl Ids {
    /// The ids under a key, from 1 on.
    pub fn new(via: impl Into<Via>, key: impl Into<Bytes>) -> Self {
        let left = Arc::new(Mutex::new(0..0));
        Self { via: via.into(), key: key.into(), block: BLOCK, limit: i64::MAX, left }
    }

    /// Ids that are reserved at once; at least 1. Default: 100. Processes may differ.
    pub fn block(mut self, block: u32) -> Self {
        self.block = block.max(1);
        self
    }

    /// The last id that may be given out, such as what fits into a column. Default: 2^63 - 1.
    pub fn limit(mut self, limit: i64) -> Self {
        self.limit = limit;
        self
    }

    /// Gives out one id.
    ///
    /// # Errors
    /// [`IdError::Exhausted`] beyond the limit. After any other error the id may be lost, and is
    /// never given to anybody else.
    pub async fn next(&self) -> Result<i64, IdError> {
        let mut left = self.left.lock().await;
        if left.is_empty() {
            *left = self.take(self.block.into()).await?;
        }
        let id = left.start;
        left.start += 1;
        Ok(id)
    }

    /// Reserves this many ids in a row for the caller, at least 1.
    ///
    /// # Errors
    /// As [`next`](Self::next); also when fewer than this many are left.
    pub async fn reserve(&self, count: u32) -> Result<Range<i64>, IdError> {
        let wanted = i64::from(count.max(1));
        let got = self.take(wanted).await?;
        if got.end - got.start < wanted { Err(self.exhausted()) } else { Ok(got) }
    }

    /// Makes sure that no id up to this one will be reserved from now on, as when ids of an older
    /// scheme are taken over. Ids that were reserved before may still be given out.
    ///
    /// # Errors
    /// Those of the cluster.
    pub async fn skip_to(&self, id: i64) -> Result<(), IdError> {
        self.via.txn().then(op::max(self.key.clone(), id)).await?;
        *self.left.lock().await = 0..0;
        Ok(())
    }

    /// Reserves a block; what of it is beyond the limit is cut off.
    async fn take(&self, count: i64) -> Result<Range<i64>, IdError> {
        // Not to add beyond the limit each time somebody asks in vain.
        if self.limit < i64::MAX && number(self.via.get(self.key.clone()).await?.as_ref())? >= self.limit {
            return Err(self.exhausted());
        }
        let last = match self.via.txn().then(op::add(self.key.clone(), count)).await {
            Ok(outcome) => outcome.first_number()?,
            // The sum does not fit into 64 bits.
            Err(Error::Rejected { code: ErrorCode::BadValue, .. }) if self.is_number().await? => {
                return Err(self.exhausted());
            }
            Err(error) => return Err(error.into()),
        };
        cut(last, count, self.limit).ok_or_else(|| self.exhausted())
    }

    /// Whether the key holds a number, or nothing.
    async fn is_number(&self) -> Result<bool, IdError> {
        number(self.via.get(self.key.clone()).await?.as_ref())?;
        Ok(true)
    }

    fn exhausted(&self) -> IdError {
        let key = String::from_utf8_lossy(&self.key).into_owned();
        IdError::Exhausted { key, limit: self.limit }
    }
}

/// The ids of a block that ends with `last`, up to the limit; `None` if there are none.
fn cut(last: i64, count: i64, limit: i64) -> Option<Range<i64>> {
    let first = last - count + 1;
    let end = last.min(limit).checked_add(1)?;
    (first < end).then_some(first..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_at_the_limit() {
        assert_eq!(cut(100, 100, i64::MAX), Some(1..101));
        assert_eq!(cut(200, 100, 150), Some(101..151));
        assert_eq!(cut(300, 100, 150), None);
        assert_eq!(cut(101, 1, 101), Some(101..102));
        assert_eq!(cut(i64::MAX, 1, i64::MAX), None, "its end does not fit into a range");
    }
}
