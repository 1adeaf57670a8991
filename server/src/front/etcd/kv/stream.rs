//! `RangeStream`: a read as chunks, each asked for when the one before was taken, so that a slow
//! client costs one chunk. Only the last one carries the header, `more` and the count.

use super::consistency;
use super::gather::{self, Gathered};
use super::plan::Plan;
use crate::front::etcd::convert::records;
use crate::front::etcd::door::{Caller, Door, number};
use crate::node::request::Consistency;
use futures::stream::{self, Stream, StreamExt};
use oarlock_proto::etcd::etcdserverpb::{
    RangeRequest, RangeResponse, RangeStreamResponse, range_request::SortTarget,
};
use oarlock_state::Revision;
use oarlock_state::command::RangeQuery;
use std::pin::Pin;
use std::sync::Arc;
use tonic::Status;

/// Bytes of a chunk, about: small enough for every client, and to begin soon.
const CHUNK_BYTES: u64 = 1 << 20;

/// Chunks as the transport takes them.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

/// What is still to be read.
struct Rest {
    door: Arc<Door>,
    caller: Caller,
    query: RangeQuery,
    consistency: Consistency,
    /// Revision and count that the first chunk settled.
    settled: Option<(Revision, u64)>,
    /// Records of the chunks before.
    sent: u64,
}

/// The chunks of a request that was checked.
pub fn chunks(door: Arc<Door>, caller: Caller, mut request: RangeRequest) -> Chunks {
    let consistency = consistency(request.serializable);
    // A target without an order is no order.
    request.set_sort_target(SortTarget::Key);
    let mut query = Plan::of(request).query;
    query.byte_budget = CHUNK_BYTES;
    let rest = Rest { door, caller, query, consistency, settled: None, sent: 0 };
    stream::try_unfold(Some(rest), chunk).boxed()
}

async fn chunk(rest: Option<Rest>) -> Result<Option<(RangeStreamResponse, Option<Rest>)>, Status> {
    let Some(rest) = rest else { return Ok(None) };
    let page = gather::page(&rest.door, &rest.caller, rest.query.clone(), rest.consistency).await?;
    let (response, rest) = rest.after(page);
    Ok(Some((RangeStreamResponse { range_response: Some(response) }, rest)))
}

impl Rest {
    /// The chunk that a page makes, and what remains after it.
    fn after(mut self, page: Gathered) -> (RangeResponse, Option<Self>) {
        let Gathered { reply, revision } = page;
        let (settled, counted) = *self.settled.get_or_insert((revision, reply.count));
        let following = gather::following(&self.query, &reply, settled);
        self.sent += reply.records.len() as u64;
        let mut response = RangeResponse { kvs: records(reply.records), ..RangeResponse::default() };
        if let Some(query) = following {
            self.query = query;
            self.consistency = Consistency::Serializable;
            return (response, Some(self));
        }
        response.header = Some(self.door.header(settled));
        response.more = reply.more;
        // The first chunk counted the whole range only if there was a limit or a count was asked for.
        response.count = number(counted.max(self.sent));
        (response, None)
    }
}
