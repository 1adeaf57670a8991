//! Reads and writes of keys. Each operation is a builder that is awaited:
//! `client.put("k", "v").if_absent().await?`.

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::target::{Target, kv};
use crate::types::{KeyRange, KeyValue, Token, key};
use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use oarlock_proto::v1;
use std::future::IntoFuture;

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

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Revision of the write.
    pub revision: u64,
    /// The record before, when it was asked for and there was one.
    pub previous: Option<KeyValue>,
}

/// What a range read returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Revision that was read at.
    pub revision: u64,
    /// The records, in the order asked for.
    pub records: Vec<KeyValue>,
    /// There are more.
    pub more: bool,
    /// Keys in the whole range if [`Range::with_count`] or [`Range::count`] asked for it.
    pub count: u64,
}

/// A put that is about to happen.
#[must_use = "nothing happens until it is awaited"]
pub struct Put {
    target: Target,
    request: v1::PutRequest,
}

impl Put {
    /// The key goes when this session ends.
    pub fn owner(mut self, session: &Session) -> Self {
        self.request.owner = session.id();
        self
    }

    /// The key goes when the session of this id ends.
    pub fn owner_id(mut self, session: u64) -> Self {
        self.request.owner = session;
        self
    }

    /// Only if the key does not exist; otherwise it is refused.
    pub fn if_absent(mut self) -> Self {
        self.request.if_absent = true;
        self
    }

    /// Only while this token is current. May be given several times; all must hold.
    pub fn guard(mut self, token: Token) -> Self {
        self.request.options.get_or_insert_default().guards.push(token.into());
        self
    }

    /// Return the record before.
    pub fn previous(mut self) -> Self {
        self.request.want_previous = true;
        self
    }
}

impl IntoFuture for Put {
    type Output = Result<Written>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let response = self.target.put(self.request).await?;
            Ok(Written {
                revision: response.header.unwrap_or_default().revision,
                previous: response.previous.map(Into::into),
            })
        })
    }
}

/// A delete that is about to happen.
#[must_use = "nothing happens until it is awaited"]
pub struct Delete {
    target: Target,
    request: v1::DeleteRequest,
}

/// How a delete ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Revision of the delete, or the current one if there was nothing to delete.
    pub revision: u64,
    /// How many keys were removed.
    pub deleted: u64,
    /// The records before, when asked for.
    pub previous: Vec<KeyValue>,
}

impl Delete {
    /// Only while this token is current.
    pub fn guard(mut self, token: Token) -> Self {
        self.request.options.get_or_insert_default().guards.push(token.into());
        self
    }

    /// Return the records before.
    pub fn previous(mut self) -> Self {
        self.request.want_previous = true;
        self
    }
}

impl IntoFuture for Delete {
    type Output = Result<Deleted>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let response = self.target.delete(self.request).await?;
            Ok(Deleted {
                revision: response.header.unwrap_or_default().revision,
                deleted: response.deleted,
                previous: response.previous.into_iter().map(Into::into).collect(),
            })
        })
    }
}

/// A range read that is about to happen.
#[must_use = "nothing happens until it is awaited"]
pub struct Range {
    target: Target,
    request: v1::RangeRequest,
}

impl Range {
    /// At most this many records.
    pub fn limit(mut self, limit: u64) -> Self {
        self.request.limit = limit;
        self
    }

    /// As of this revision.
    pub fn at(mut self, revision: u64) -> Self {
        self.request.revision = revision;
        self
    }

    /// From the last key to the first.
    pub fn reverse(mut self) -> Self {
        self.request.reverse = true;
        self
    }

    /// Leave out the values.
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// Count the whole range too.
    pub fn with_count(mut self) -> Self {
        self.request.want_count = true;
        self
    }

    /// Whatever the answering member has, however old.
    pub fn serializable(self) -> Self {
        self.consistency(v1::Consistency::Serializable, 0)
    }

    /// At most this much behind, without asking the leader where the member can tell by itself.
    pub fn max_staleness(self, age: std::time::Duration) -> Self {
        let max_ms = age.as_millis().try_into().unwrap_or(u32::MAX);
        self.consistency(v1::Consistency::BoundedStaleness, max_ms)
    }

    fn consistency(mut self, consistency: v1::Consistency, max_staleness_ms: u32) -> Self {
        let options = self.request.options.get_or_insert_default();
        options.consistency = consistency.into();
        options.max_staleness_ms = max_staleness_ms;
        self
    }

    /// Only the number of keys.
    pub async fn count(mut self) -> Result<u64> {
        self.request.count_only = true;
        Ok(self.target.range(self.request).await?.count)
    }

    /// All records of the range, page by page, all of one revision, however many they are. The
    /// limit, if one was set, bounds the whole.
    pub fn stream(self) -> impl Stream<Item = Result<KeyValue>> + Send + 'static {
        let Self { target, request } = self;
        let limit = request.limit;
        let pages = Pages { target, request: Some(request), left: (limit > 0).then_some(limit) };
        use futures::{StreamExt, TryStreamExt};
        futures::stream::try_unfold(pages, |mut pages| async move {
            Ok(pages.next().await?.map(|records| (records, pages)))
        })
        .map_ok(|records: Vec<KeyValue>| futures::stream::iter(records).map(Ok))
        .try_flatten()
    }
}

impl IntoFuture for Range {
    type Output = Result<Page>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let response = self.target.range(self.request).await?;
            Ok(Page {
                revision: response.header.unwrap_or_default().revision,
                records: response.records.into_iter().map(Into::into).collect(),
                more: response.more,
                count: response.count,
            })
        })
    }
}

/// The pages of one range at one revision.
struct Pages {
    target: Target,
    /// What to ask next; `None` after the last page.
    request: Option<v1::RangeRequest>,
    left: Option<u64>,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Vec<KeyValue>>> {
        let Some(mut request) = self.request.take() else { return Ok(None) };
        request.limit = self.left.unwrap_or(0);
        let response = self.target.range(request.clone()).await?;
        let records: Vec<KeyValue> = response.records.into_iter().map(Into::into).collect();
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(records.len() as u64);
        }
        if let Some(last) = records.last().filter(|_| response.more && self.left != Some(0)) {
            // The first page fixes the revision, so that all pages are of one state.
            if request.revision == 0 {
                request.revision = response.header.unwrap_or_default().revision;
            }
            let range = request.range.get_or_insert_default();
            if request.reverse {
                range.range_end = last.key.clone();
            } else {
                range.key = Bytes::from([last.key.as_ref(), b"\0"].concat());
            }
            self.request = Some(request);
        }
        Ok(Some(records))
    }
}

/// A read of one key that is about to happen.
#[must_use = "nothing happens until it is awaited"]
pub struct Get {
    read: Range,
}

impl Get {
    /// As of this revision.
    pub fn at(mut self, revision: u64) -> Self {
        self.read = self.read.at(revision);
        self
    }

    /// Whatever the answering member has, however old.
    pub fn serializable(mut self) -> Self {
        self.read = self.read.serializable();
        self
    }
}

impl IntoFuture for Get {
    type Output = Result<Option<KeyValue>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.read.await?.records.into_iter().next()) })
    }
}

/// What became of a write, as the servers remember it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It happened.
    Committed {
        /// Its revision.
        revision: u64,
    },
    /// It was refused.
    Rejected(Error),
    /// Nothing is known of it: it was never executed, or its outcome was forgotten.
    NotKnown,
}

impl Client {
    /// Whether a fencing token is current, linearizably.
    pub async fn check_token(&self, token: &Token) -> Result<bool> {
        let request = v1::CheckTokenRequest { guard: Some(token.clone().into()), options: None };
        let answer = self
            .call(true, |connection| {
                let request = request.clone();
                async move { kv(connection.channel).check_token(request).await }
            })
            .await?;
        Ok(answer.current)
    }

    /// What became of write number `sequence` of a session, also after the session's end.
    pub async fn outcome(&self, session: u64, sequence: u64) -> Result<Outcome> {
        let name = v1::RequestId { session, sequence, acked_up_to: 0 };
        let of = Some(v1::get_outcome_request::Of::Request(name));
        let request = v1::GetOutcomeRequest { of, options: None };
        let answer = self
            .call(true, |connection| {
                let request = request.clone();
                async move { kv(connection.channel).get_outcome(request).await }
            })
            .await?;
        let Some(outcome) = answer.outcome.filter(|_| answer.known) else { return Ok(Outcome::NotKnown) };
        Ok(match outcome.result {
            Some(v1::outcome::Result::Rejected(error)) => Outcome::Rejected(Error::from_wire(error)),
            Some(v1::outcome::Result::Txn(_) | v1::outcome::Result::Done(_)) | None => {
                Outcome::Committed { revision: outcome.revision }
            }
        })
    }
}
