//! Reads and writes of keys. Each operation is a builder that is awaited:
//! `client.put("k", "v").if_absent().await?`.
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use oarlock_client::{Client, prefix};
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let written = client.put("/config/limit", "100").previous().await?;
//! let before = client.get_at("/config/limit", written.revision - 1).await?;
//! assert_eq!(before, written.previous);
//! let mut all = std::pin::pin!(client.range(prefix("/config/")).stream());
//! while let Some(record) = all.try_next().await? {
//!     println!("{:?} = {}", record.key, record.text());
//! }
//! # Ok(())
//! # }
//! ```

mod outcome;
mod read;
mod write;

pub use outcome::Outcome;
pub use read::{Get, Page, Range};
pub use write::{Delete, Deleted, Put, Written};

use crate::client::Client;
use crate::error::Result;
use crate::session::Session;
use crate::target::Target;
use crate::types::{KeyRange, KeyValue, key};
use bytes::Bytes;
use oarlock_proto::v1;

macro_rules! operations {
    ($on:ty, $target:expr) => {
        impl $on {
            /// Sets a key.
            pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
                let request = v1::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
                Put { target: $target(self.clone()), request }
            }

            /// Reads one key; `None` if it does not exist. Linearizable unless said otherwise.
            pub fn get(&self, single: impl Into<Bytes>) -> Get {
                Get { read: self.range(key(single)) }
            }

            /// Reads one key as it was at `revision`; refused once that is compacted.
            pub fn get_at(&self, single: impl Into<Bytes>, revision: u64) -> Get {
                self.get(single).at(revision)
            }

            /// Reads the keys of a range, in order, as many as fit in one page. See
            /// [`Range::stream`](crate::kv::Range::stream) for all of them.
            pub fn range(&self, range: impl Into<KeyRange>) -> Range {
                let request = v1::RangeRequest { range: Some(range.into().0), ..Default::default() };
                Range { target: $target(self.clone()), request }
            }

            /// Removes keys.
            pub fn delete(&self, range: impl Into<KeyRange>) -> Delete {
                let request = v1::DeleteRequest { range: Some(range.into().0), ..Default::default() };
                Delete { target: $target(self.clone()), request }
            }

            /// Sets a key only if it was last changed at `mod_revision` (0: only if it does not
            /// exist). `Ok(Err(current))` tells what stood in the way.
            pub async fn cas(
                &self,
                single: impl Into<Bytes>,
                mod_revision: u64,
                value: impl Into<Bytes>,
            ) -> Result<std::result::Result<u64, Option<KeyValue>>> {
                use crate::txn::{compare, op};
                let single = single.into();
                let outcome = self
                    .txn()
                    .when(compare::mod_revision(single.clone()).eq(mod_revision))
                    .then(op::put(single.clone(), value))
                    .otherwise(op::get(single))
                    .await?;
                Ok(if outcome.succeeded { Ok(outcome.revision) } else { Err(outcome.first_record()) })
            }

            /// Adds to a number in decimal text (an absent key counts as 0) and returns the sum.
            pub async fn add(&self, single: impl Into<Bytes>, delta: i64) -> Result<i64> {
                let outcome = self.txn().then(crate::txn::op::add(single, delta)).await?;
                outcome.first_number()
            }

            /// Appends to a value (an absent key counts as empty) and returns the revision.
            pub async fn append(&self, single: impl Into<Bytes>, tail: impl Into<Bytes>) -> Result<u64> {
                Ok(self.txn().then(crate::txn::op::append(single, tail)).await?.revision)
            }

            /// Puts under `prefix` followed by that prefix's next number (20 digits) and returns
            /// the whole key.
            pub async fn put_sequential(
                &self,
                prefix: impl Into<Bytes>,
                value: impl Into<Bytes>,
            ) -> Result<Bytes> {
                let outcome = self.txn().then(crate::txn::op::put_sequential(prefix, value)).await?;
                outcome.first_key()
            }

            /// A transaction: `client.txn().when(..).then(..).otherwise(..).await?`.
            pub fn txn(&self) -> crate::txn::Txn {
                crate::txn::Txn::new($target(self.clone()))
            }
        }
    };
}
operations!(Client, Target::Client);
operations!(Session, Target::Session);
