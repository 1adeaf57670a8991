//! A range of any size, page by page, all of one revision.
//!
//! The first page is as fresh as was asked for and settles the revision; the others read at that
//! revision from this member's own state, which has it by then. A page is asked for when the one
//! before was taken, so a slow client costs one page.

use super::convert::{Form, outcome, range, read};
use super::door::{Door, Signed};
use super::errors::status;
use crate::node::request::{Consistency, Request};
use futures::stream::{self, Stream, StreamExt};
use oarlock_proto::v1;
use oarlock_state::Query;
use oarlock_state::Revision;
use oarlock_state::command::RangeQuery;
use std::pin::Pin;
use std::sync::Arc;
use tonic::Status;

/// Bytes of a page unless the request asks for another size: small enough to begin soon.
const PAGE_BYTES: u64 = 1 << 20;

/// Pages as the transport takes them.
pub type Pages = Pin<Box<dyn Stream<Item = Result<v1::RangeResponse, Status>> + Send>>;

/// What is still to be read.
struct Rest {
    door: Arc<Door>,
    query: RangeQuery,
    consistency: Consistency,
    timeout_ms: u32,
    /// Records still wanted; `None` without a limit.
    left: Option<u64>,
}

/// The pages of this request.
pub fn pages(door: Arc<Door>, request: v1::RangeRequest) -> Form<Pages> {
    let mut query = range::query(&request)?;
    if query.byte_budget == 0 {
        query.byte_budget = PAGE_BYTES;
    }
    let consistency = read::consistency(request.options.as_ref())?;
    let timeout_ms = request.options.map_or(0, |options| options.timeout_ms);
    let left = (query.limit != 0).then_some(query.limit);
    let rest = Rest { door, query, consistency, timeout_ms, left };
    Ok(stream::try_unfold(Some(rest), page).boxed())
}

async fn page(rest: Option<Rest>) -> Result<Option<(v1::RangeResponse, Option<Rest>)>, Status> {
    let Some(rest) = rest else { return Ok(None) };
    let ask = Request::Read {
        query: Query::Range(rest.query.clone()),
        consistency: rest.consistency,
        timeout_ms: rest.timeout_ms,
    };
    let answer = rest.door.ask(ask).await.and_then(outcome::range).map_err(status)?;
    let answer = answer.signed(&rest.door);
    let rest = rest.after(&answer);
    Ok(Some((answer, rest)))
}

impl Rest {
    /// What remains after a page; `None` when it was the last.
    fn after(mut self, page: &v1::RangeResponse) -> Option<Self> {
        let last = page.records.last()?.key.clone();
        if !page.more || self.query.count_only {
            return None;
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(page.records.len() as u64).filter(|left| *left > 0)?;
            self.query.limit = *left;
        }
        if self.query.revision == Revision(0) {
            self.query.revision = Revision(page.header?.revision);
        }
        self.query.range = self.query.range.after(last, self.query.reverse)?;
        self.query.want_count = false;
        self.consistency = Consistency::Serializable;
        Some(self)
    }
}
