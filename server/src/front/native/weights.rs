//! About how many bytes an answer takes, for bounds on what waits for a slow client.

use crate::node::request::{Response, Result};
use oarlock_state::command::{Answer, KeyValue, OpResult, RangeReply, ReplyBody, TxnReply};

/// Header, tags and lengths of one answer or record.
const OVERHEAD: usize = 48;

/// Bytes of an answer.
pub fn result(result: &Result) -> usize {
    OVERHEAD
        + match result {
            Ok(Response::Answer { answer: Answer::Range(reply), .. }) => range(reply),
            Ok(Response::Answer { answer: Answer::Txn(reply), .. }) => txn(reply),
            Ok(Response::Written(reply)) => match &reply.body {
                ReplyBody::Txn(reply) => txn(reply),
                _ => 0,
            },
            Ok(_) => 0,
            Err(_) => OVERHEAD,
        }
}

fn range(reply: &RangeReply) -> usize {
    reply.records.iter().map(record).sum()
}

fn txn(reply: &TxnReply) -> usize {
    reply.results.iter().map(op).sum()
}

fn op(result: &OpResult) -> usize {
    match result {
        OpResult::Range(reply) => range(reply),
        OpResult::Put { previous } => previous.as_ref().map_or(0, record),
        OpResult::Delete { previous, .. } => previous.iter().map(record).sum(),
        OpResult::Txn(reply) => txn(reply),
        OpResult::Update { value } => value.len(),
        OpResult::PutSequential { key } => key.len(),
    }
}

fn record(record: &KeyValue) -> usize {
    OVERHEAD + record.key.len() + record.value.len()
}
