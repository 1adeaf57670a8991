//! A read of any size, page by page, all of one revision.
//!
//! The first page is as fresh as was asked for and settles the revision; the others read at that
//! revision from this member's own state, which has it by then. What gathers is bounded, for one
//! request and for all together: etcd's unary read has one answer, however long it is.

use super::plan::Plan;
use crate::front::etcd::door::{Caller, Door};
use crate::front::etcd::errors;
use crate::node::request::{self, Consistency, Request, Response};
use oarlock_state::command::{Answer, KeyValue, RangeQuery, RangeReply};
use oarlock_state::{Query, Revision};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tonic::Status;

/// Bytes of one answer. Clients of etcd take up to 2 GiB in one message; this is far above what
/// any of them asks for in practice, and small enough for a member's memory.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// Bytes that all answers being gathered may take together.
const TOGETHER_BYTES_MAX: usize = 1 << 30;
/// How often a read is begun, if its revision is compacted each time.
const ATTEMPTS: u32 = 5;
/// What a record takes beside its key and value.
const RECORD_BYTES: usize = 128;

/// What a read came to.
pub struct Gathered {
    /// The records and the count.
    pub reply: RangeReply,
    /// The state's revision when it was read.
    pub revision: Revision,
}

/// The memory of all answers that are being gathered.
#[derive(Debug, Default)]
pub struct Memory {
    used: AtomicUsize,
}

/// What one answer takes of it, until it is dropped.
#[derive(Debug)]
pub struct Share<'m> {
    memory: &'m Memory,
    bytes: usize,
}

impl Memory {
    /// A share of nothing yet.
    pub fn share(&self) -> Share<'_> {
        Share { memory: self, bytes: 0 }
    }
}

impl Share<'_> {
    /// Takes what these records need.
    ///
    /// # Errors
    /// The request, or all together, have taken too much already.
    pub fn take(&mut self, records: &[KeyValue]) -> Result<(), Status> {
        let bytes = bytes_of(records);
        let together = self.memory.used.fetch_add(bytes, Relaxed) + bytes;
        self.bytes += bytes;
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "etcdserver: the answer is larger than {} MiB; ask for parts of it with a limit, or use RangeStream",
                ANSWER_BYTES_MAX >> 20
            )));
        }
        if together > TOGETHER_BYTES_MAX {
            return Err(Status::resource_exhausted(
                "etcdserver: too many large reads at once; retry, ask for parts with a limit, or use RangeStream",
            ));
        }
        Ok(())
    }

    /// Gives back all that was taken.
    pub fn clear(&mut self) {
        self.give_back(self.bytes);
    }

    fn give_back(&mut self, bytes: usize) {
        self.memory.used.fetch_sub(bytes, Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bytes_of(records: &[KeyValue]) -> usize {
    records.iter().map(|record| record.key.len() + record.value.len() + RECORD_BYTES).sum()
}

/// The question for one page.
pub fn ask(query: RangeQuery, consistency: Consistency) -> Request {
    Request::Read { query: Query::Range(query), consistency, timeout_ms: 0 }
}

/// The page that the node replied with.
///
/// # Errors
/// What the node refuses, in etcd's words.
pub fn answered(caller: &Caller, reply: request::Result) -> Result<Gathered, Status> {
    match reply.map_err(|refusal| caller.refused(&refusal))? {
        Response::Answer { answer: Answer::Range(reply), revision, .. } => Ok(Gathered { reply, revision }),
        other => Err(errors::unexpected(&other)),
    }
}

/// Asks for one page.
///
/// # Errors
/// What the node refuses, in etcd's words.
pub async fn page(
    door: &Door,
    caller: &Caller,
    query: RangeQuery,
    consistency: Consistency,
) -> Result<Gathered, Status> {
    answered(caller, door.handle().call_as(caller.who(), ask(query, consistency)).await)
}

/// Does a read as planned.
///
/// # Errors
/// What the node refuses, in etcd's words; or the answer is too large.
pub async fn gather(
    door: &Door,
    caller: &Caller,
    plan: &Plan,
    consistency: Consistency,
    share: &mut Share<'_>,
) -> Result<Gathered, Status> {
    let first = page(door, caller, plan.query.clone(), consistency).await?;
    continued(door, caller, plan, consistency, first, share).await
}

/// Does a read of which the first page is there.
///
/// # Errors
/// As [`gather`].
pub async fn continued(
    door: &Door,
    caller: &Caller,
    plan: &Plan,
    consistency: Consistency,
    mut first: Gathered,
    share: &mut Share<'_>,
) -> Result<Gathered, Status> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        match finish(door, caller, plan, first, share).await {
            // The revision that the first page settled was compacted meanwhile. Whoever did not ask
            // for a revision must not hear of it.
            Err(status) if attempts > 0 && plan.query.revision == Revision(0) && is_compacted(&status) => {
                share.clear();
            }
            gathered => return gathered,
        }
        first = page(door, caller, plan.query.clone(), consistency).await?;
    }
}

fn is_compacted(status: &Status) -> bool {
    let compacted = errors::COMPACTED;
    status.code() == compacted.code && status.message().ends_with(compacted.text)
}

/// Completes a read of which the first page is there.
///
/// # Errors
/// As [`gather`].
pub async fn finish(
    door: &Door,
    caller: &Caller,
    plan: &Plan,
    first: Gathered,
    share: &mut Share<'_>,
) -> Result<Gathered, Status> {
    let Gathered { mut reply, revision } = first;
    if let Some(mut next) = following(&plan.query, &reply, revision) {
        share.take(&reply.records)?;
        let mut cut = false;
        let mut count = reply.records.len();
        loop {
            let page = page(door, caller, next.clone(), Consistency::Serializable).await?.reply;
            share.take(&page.records)?;
            let after = following(&next, &page, revision);
            count += page.records.len();
            reply.more = page.more;
            reply.records.extend(page.records);
            if plan.rest.keep != 0 && reply.records.len() / 2 > plan.rest.keep {
                let before = bytes_of(&reply.records);
                cut |= plan.rest.apply(&mut reply.records);
                share.give_back(before - bytes_of(&reply.records));
            }
            match after {
                Some(query) => next = query,
                None => break,
            }
        }
        reply.more |= cut;
        if !plan.query.want_count {
            reply.count = count as u64;
        }
    }
    Ok(arranged(plan, Gathered { reply, revision }))
}

/// All records of a read, sorted and cut as planned.
pub fn arranged(plan: &Plan, mut gathered: Gathered) -> Gathered {
    let reply = &mut gathered.reply;
    reply.more |= plan.rest.apply(&mut reply.records);
    plan.rest.strip(&mut reply.records);
    gathered
}

/// Whether nothing is to be asked for after a page.
pub fn is_whole(query: &RangeQuery, page: &RangeReply, revision: Revision) -> bool {
    following(query, page, revision).is_none()
}

/// What to ask for after a page that was cut for its size; `None` when there is nothing to follow.
pub fn following(query: &RangeQuery, page: &RangeReply, revision: Revision) -> Option<RangeQuery> {
    if !page.more {
        return None;
    }
    let last = page.records.last()?.key.clone();
    let limit = match query.limit {
        0 => 0,
        limit => limit.checked_sub(page.records.len() as u64).filter(|left| *left > 0)?,
    };
    let revision = if query.revision == Revision(0) { revision } else { query.revision };
    let range = query.range.after(last, query.reverse)?;
    Some(RangeQuery { range, revision, limit, want_count: false, ..query.clone() })
}
