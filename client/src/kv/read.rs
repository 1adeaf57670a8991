//! Reads of one key or many.

use crate::error::Result;
use crate::target::Target;
use crate::types::KeyValue;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use oarlock_proto::v1;
use std::future::IntoFuture;

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

/// A range read that is about to happen.
#[must_use = "nothing happens until it is awaited"]
pub struct Range {
    pub(super) target: Target,
    pub(super) request: v1::RangeRequest,
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

    /// All records of the range at once, however many they are, with their one revision. The limit,
    /// if one was set, bounds the whole. For more than fits into memory see [`stream`](Self::stream).
    pub async fn all(self) -> Result<Page> {
        let Self { target, request } = self;
        let limit = request.limit;
        let mut pages =
            Pages { target, revision: 0, request: Some(request), left: (limit > 0).then_some(limit) };
        let mut records = Vec::new();
        while let Some(page) = pages.next().await? {
            records.extend(page);
        }
        let count = records.len() as u64;
        Ok(Page { revision: pages.revision, records, more: false, count })
    }

    /// All records of the range, page by page, all of one revision, however many they are. The
    /// limit, if one was set, bounds the whole.
    pub fn stream(self) -> impl Stream<Item = Result<KeyValue>> + Send + 'static {
        let Self { target, request } = self;
        let limit = request.limit;
        let pages = Pages { target, revision: 0, request: Some(request), left: (limit > 0).then_some(limit) };
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
    /// Which all pages are of; 0 before the first.
    revision: u64,
    left: Option<u64>,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Vec<KeyValue>>> {
        let Some(mut request) = self.request.take() else { return Ok(None) };
        request.limit = self.left.unwrap_or(0);
        let response = self.target.range(request.clone()).await?;
        if self.revision == 0 {
            let read_at = response.header.unwrap_or_default().revision;
            self.revision = if request.revision == 0 { read_at } else { request.revision };
        }
        let records: Vec<KeyValue> = response.records.into_iter().map(Into::into).collect();
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(records.len() as u64);
        }
        if let Some(last) = records.last().filter(|_| response.more && self.left != Some(0)) {
            // The first page fixes the revision, so that all pages are of one state.
            request.revision = self.revision;
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
    pub(super) read: Range,
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
