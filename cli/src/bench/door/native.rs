//! Oarlock's own API: one gRPC call for each request, and the messages that session streams share.

use super::wire::Wire;
use super::{Door, Place, refused, words};
use crate::bench::error::BenchError;
use crate::bench::options::Freshness;
use crate::bench::request::{Answer, Request, Seen, SwapBy};
use crate::bench::words::Words;
use oarlock_proto::v1::client_op::Op;
use oarlock_proto::v1::{self, compare, op_result};

const PUT: &str = "/oarlock.v1.Kv/Put";
const RANGE: &str = "/oarlock.v1.Kv/Range";
const TXN: &str = "/oarlock.v1.Kv/Txn";
const OPEN: &str = "/oarlock.v1.Sessions/Open";
const KEEP_ALIVE: &str = "/oarlock.v1.Sessions/KeepAlive";
const CLOSE: &str = "/oarlock.v1.Sessions/Close";

/// A client of unary calls.
pub struct Native {
    wire: Wire,
    held: Vec<u64>,
    words: Words,
}

impl Door for Native {
    type Connection = Wire;

    async fn connect(endpoint: &str, _words: &Words) -> Result<Wire, BenchError> {
        Wire::connect(endpoint).await
    }

    async fn open(wire: Wire, place: Place) -> Result<Self, BenchError> {
        let mut held = Vec::with_capacity(place.sessions);
        let timeout_ms = place.session_timeout.as_millis() as u64;
        for _ in 0..place.sessions {
            let request = v1::OpenSessionRequest { timeout_ms, ..Default::default() };
            let opened: v1::OpenSessionResponse = wire.call(OPEN, &request).await?;
            held.push(opened.session);
        }
        Ok(Self { wire, held, words: place.words })
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, String> {
        if let Request::KeepAlive { session } = request {
            let alive = v1::KeepAliveRequest { session: self.held[*session] };
            let kept = self.wire.call(KEEP_ALIVE, &alive).await;
            return kept.map(|_: v1::KeepAliveResponse| Answer::Done).map_err(|status| words(&status));
        }
        let answer = match op(&mut self.words, request) {
            Some(Op::Put(put)) => self.wire.call(PUT, &put).await.map(|_: v1::PutResponse| Answer::Done),
            Some(Op::Range(range)) => {
                self.wire.call(RANGE, &range).await.map(|answer| of_range(request, answer))
            }
            Some(Op::Txn(txn)) => self.wire.call(TXN, &txn).await.map(|answer| of_txn(request, answer)),
            _ => return Err(refused(request)),
        };
        answer.map_err(|status| words(&status))
    }

    async fn close(self) {
        for session in self.held {
            let close = v1::CloseSessionRequest { session, ..Default::default() };
            let _: Result<v1::CloseSessionResponse, _> = self.wire.call(CLOSE, &close).await;
        }
    }
}

/// The message for a request; `None` if it is none that changes or reads keys.
pub fn op(words: &mut Words, request: &Request) -> Option<Op> {
    Some(match request {
        Request::Put { key } | Request::Create { key } => Op::Put(put(words, *key)),
        Request::Get { key } | Request::Look { key, .. } => Op::Range(get(words, *key)),
        Request::Exists { key } => Op::Range(v1::RangeRequest { count_only: true, ..get(words, *key) }),
        Request::Range { first, count } => {
            let mut range = get(words, *first);
            let end = words.key(first + count);
            range.range.get_or_insert_default().range_end = end;
            Op::Range(range)
        }
        Request::Swap { key, seen, .. } => Op::Txn(swap(words, *key, seen)),
        Request::Txn { keys, reads } => Op::Txn(txn(words, keys, *reads)),
        Request::KeepAlive { .. } | Request::Resolve { .. } => return None,
    })
}

fn put(words: &mut Words, key: u64) -> v1::PutRequest {
    v1::PutRequest { key: words.key(key), value: words.value(), ..Default::default() }
}

fn get(words: &mut Words, key: u64) -> v1::RangeRequest {
    let range = v1::KeyRange { key: words.key(key), range_end: bytes::Bytes::new() };
    v1::RangeRequest { range: Some(range), options: Some(read_options(words)), ..Default::default() }
}

fn read_options(words: &Words) -> v1::ReadOptions {
    let consistency = match words.freshness {
        Freshness::Linearizable => v1::Consistency::Linearizable,
        Freshness::Serializable => v1::Consistency::Serializable,
    };
    v1::ReadOptions { consistency: consistency.into(), ..Default::default() }
}

/// If it is as it was seen, it is written, else it is read.
fn swap(words: &mut Words, key: u64, seen: &Seen) -> v1::TxnRequest {
    let target = match seen {
        Seen::Absent => compare::Target::ModRevision(0),
        Seen::Revision(revision) => compare::Target::ModRevision(*revision),
        Seen::Value(value) => compare::Target::Value(value.clone()),
    };
    let read = get(words, key);
    let condition =
        v1::Compare { range: read.range.clone(), op: compare::Op::Equal.into(), target: Some(target) };
    let then = v1::op::Op::Put(put(words, key));
    let txn = v1::Txn {
        compare: vec![condition],
        then: vec![v1::Op { op: Some(then) }],
        otherwise: vec![v1::Op { op: Some(v1::op::Op::Range(read)) }],
    };
    v1::TxnRequest { txn: Some(txn), ..Default::default() }
}

fn txn(words: &mut Words, keys: &[u64], reads: usize) -> v1::TxnRequest {
    let mut then = Vec::with_capacity(keys.len());
    for (number, key) in keys.iter().enumerate() {
        let op = if number < reads {
            v1::op::Op::Range(get(words, *key))
        } else {
            v1::op::Op::Put(put(words, *key))
        };
        then.push(v1::Op { op: Some(op) });
    }
    let read_options = (reads == keys.len()).then(|| read_options(words));
    v1::TxnRequest { txn: Some(v1::Txn { then, ..Default::default() }), read_options, ..Default::default() }
}

/// The answer to a read.
pub fn of_range(request: &Request, answer: v1::RangeResponse) -> Answer {
    match request {
        Request::Look { by, .. } => Answer::Seen(seen(*by, answer.records.into_iter().next())),
        Request::Exists { .. } if answer.count == 0 => Answer::Missing,
        Request::Get { .. } | Request::Range { .. } if answer.records.is_empty() => Answer::Missing,
        _ => Answer::Done,
    }
}

/// The answer to a transaction.
pub fn of_txn(request: &Request, answer: v1::TxnResponse) -> Answer {
    let result = answer.result.unwrap_or_default();
    match request {
        Request::Swap { by, .. } if !result.succeeded => {
            let first = result.results.into_iter().next().and_then(|result| result.result);
            let record = match first {
                Some(op_result::Result::Range(range)) => range.records.into_iter().next(),
                _ => None,
            };
            Answer::Seen(seen(*by, record))
        }
        _ => Answer::Done,
    }
}

fn seen(by: SwapBy, record: Option<v1::KeyValue>) -> Seen {
    match (record, by) {
        (None, _) => Seen::Absent,
        (Some(record), SwapBy::Revision) => Seen::Revision(record.mod_revision),
        (Some(record), SwapBy::Value) => Seen::Value(record.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::LoadArgs;

    fn record() -> v1::KeyValue {
        v1::KeyValue { mod_revision: 9, value: "old".into(), ..Default::default() }
    }

    #[test]
    fn a_refused_swap_tells_how_the_key_is() {
        for (by, expected) in
            [(SwapBy::Revision, Seen::Revision(9)), (SwapBy::Value, Seen::Value("old".into()))]
        {
            let request = Request::Swap { key: 1, by, seen: Seen::Absent };
            let range = op_result::Range { records: vec![record()], ..Default::default() };
            let result = v1::OpResult { result: Some(op_result::Result::Range(range)) };
            let mut result = v1::TxnResult { succeeded: false, results: vec![result] };
            let of =
                |result| of_txn(&request, v1::TxnResponse { result: Some(result), ..Default::default() });
            assert_eq!(of(result.clone()), Answer::Seen(expected));
            result.succeeded = true;
            assert_eq!(of(result), Answer::Done);
        }
    }

    #[test]
    fn nothing_found_is_told() {
        let empty = v1::RangeResponse::default;
        assert_eq!(of_range(&Request::Get { key: 1 }, empty()), Answer::Missing);
        assert_eq!(of_range(&Request::Exists { key: 1 }, empty()), Answer::Missing);
        let look = Request::Look { key: 1, by: SwapBy::Value };
        assert_eq!(of_range(&look, empty()), Answer::Seen(Seen::Absent));
        let one = v1::RangeResponse { count: 1, ..empty() };
        assert_eq!(of_range(&Request::Exists { key: 1 }, one), Answer::Done);
    }

    #[test]
    fn a_range_ends_before_the_key_behind_it() {
        let mut words = Words::new(&LoadArgs::default(), 1);
        let Some(Op::Range(range)) = op(&mut words, &Request::Range { first: 5, count: 10 }) else {
            panic!("a range is a read");
        };
        let range = range.range.expect("it has one");
        assert_eq!(
            (range.key, range.range_end),
            ("/bench/000000000005".into(), "/bench/000000000015".into())
        );
    }
}
