//! etcd's API: one gRPC call for each request, so that one program measures both servers.

use super::wire::Wire;
use super::{Door, Place, connect_each, refused, words};
use crate::bench::error::BenchError;
use crate::bench::options::Freshness;
use crate::bench::request::{Answer, Request, Seen, SwapBy};
use crate::bench::words::Words;
use oarlock_proto::etcd::etcdserverpb::{
    self as pb, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest,
    compare, lease_client::LeaseClient, request_op, response_op,
};
use oarlock_proto::etcd::mvccpb::KeyValue;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";

/// A client of etcd's API.
pub struct Etcd {
    wire: Wire,
    leases: Option<Leases>,
    words: Words,
}

/// A connection, and one for streams, which have no time by which they must be answered.
#[derive(Clone)]
pub struct Connection {
    wire: Wire,
    endpoint: String,
}

impl Door for Etcd {
    type Connection = Connection;

    async fn connect(endpoint: &str, _words: &Words) -> Result<Connection, BenchError> {
        Ok(Connection { wire: Wire::connect(endpoint).await?, endpoint: endpoint.to_owned() })
    }

    async fn open(connection: Connection, place: Place) -> Result<Self, BenchError> {
        let leases = match place.sessions {
            0 => None,
            count => Some(Leases::open(&connection, count, place.session_timeout).await?),
        };
        Ok(Self { wire: connection.wire, leases, words: place.words })
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, String> {
        let answer = match request {
            Request::Put { key } | Request::Create { key } => {
                let put = put(&mut self.words, *key);
                self.wire.call(PUT, &put).await.map(|_: pb::PutResponse| Answer::Done)
            }
            Request::Get { .. } | Request::Look { .. } | Request::Exists { .. } | Request::Range { .. } => {
                let range = range(&mut self.words, request);
                self.wire.call(RANGE, &range).await.map(|answer| of_range(request, answer))
            }
            Request::Swap { key, seen, .. } => {
                let swap = swap(&mut self.words, *key, seen);
                self.wire.call(TXN, &swap).await.map(|answer| of_txn(request, answer))
            }
            Request::Txn { keys, reads } => {
                let txn = txn(&mut self.words, keys, *reads);
                self.wire.call(TXN, &txn).await.map(|_: pb::TxnResponse| Answer::Done)
            }
            Request::KeepAlive { session } => match &mut self.leases {
                Some(leases) => leases.keep_alive(*session).await.map(|()| Answer::Done),
                None => return Err(refused(request)),
            },
            Request::Resolve { .. } => return Err(refused(request)),
        };
        answer.map_err(|status| words(&status))
    }

    async fn close(self) {
        let Some(mut leases) = self.leases else { return };
        for id in leases.held {
            let _ = leases.client.lease_revoke(LeaseRevokeRequest { id }).await;
        }
    }
}

fn put(words: &mut Words, key: u64) -> pb::PutRequest {
    pb::PutRequest { key: words.key(key), value: words.value(), ..Default::default() }
}

fn get(words: &mut Words, key: u64) -> pb::RangeRequest {
    let serializable = words.freshness == Freshness::Serializable;
    pb::RangeRequest { key: words.key(key), serializable, ..Default::default() }
}

fn range(words: &mut Words, request: &Request) -> pb::RangeRequest {
    match request {
        Request::Exists { key } => pb::RangeRequest { count_only: true, ..get(words, *key) },
        Request::Range { first, count } => {
            let range_end = words.key(first + count);
            pb::RangeRequest { range_end, ..get(words, *first) }
        }
        Request::Get { key } | Request::Look { key, .. } => get(words, *key),
        other => unreachable!("{other:?} is no read"),
    }
}

/// If it is as it was seen, it is written, else it is read.
fn swap(words: &mut Words, key: u64, seen: &Seen) -> pb::TxnRequest {
    use compare::{CompareTarget, TargetUnion};
    let (target, union) = match seen {
        Seen::Absent => (CompareTarget::Mod, TargetUnion::ModRevision(0)),
        Seen::Revision(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision as i64)),
        Seen::Value(value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
    };
    let read = get(words, key);
    let condition = pb::Compare {
        result: compare::CompareResult::Equal.into(),
        target: target.into(),
        key: read.key.clone(),
        target_union: Some(union),
        ..Default::default()
    };
    pb::TxnRequest {
        compare: vec![condition],
        success: vec![op(request_op::Request::RequestPut(put(words, key)))],
        failure: vec![op(request_op::Request::RequestRange(read))],
    }
}

fn txn(words: &mut Words, keys: &[u64], reads: usize) -> pb::TxnRequest {
    let one = |(number, key): (usize, &u64)| {
        if number < reads {
            op(request_op::Request::RequestRange(get(words, *key)))
        } else {
            op(request_op::Request::RequestPut(put(words, *key)))
        }
    };
    pb::TxnRequest { success: keys.iter().enumerate().map(one).collect(), ..Default::default() }
}

fn op(request: request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn of_range(request: &Request, answer: pb::RangeResponse) -> Answer {
    match request {
        Request::Look { by, .. } => Answer::Seen(seen(*by, answer.kvs.into_iter().next())),
        _ if answer.count == 0 => Answer::Missing,
        _ => Answer::Done,
    }
}

fn of_txn(request: &Request, answer: pb::TxnResponse) -> Answer {
    match request {
        Request::Swap { by, .. } if !answer.succeeded => {
            let first = answer.responses.into_iter().next().and_then(|response| response.response);
            let record = match first {
                Some(response_op::Response::ResponseRange(range)) => range.kvs.into_iter().next(),
                _ => None,
            };
            Answer::Seen(seen(*by, record))
        }
        _ => Answer::Done,
    }
}

fn seen(by: SwapBy, record: Option<KeyValue>) -> Seen {
    match (record, by) {
        (None, _) => Seen::Absent,
        (Some(record), SwapBy::Revision) => Seen::Revision(u64::try_from(record.mod_revision).unwrap_or(0)),
        (Some(record), SwapBy::Value) => Seen::Value(record.value),
    }
}

/// The leases of one client, and the stream on which they are kept alive.
struct Leases {
    client: LeaseClient<Channel>,
    held: Vec<i64>,
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: tonic::Streaming<LeaseKeepAliveResponse>,
}

impl Leases {
    async fn open(connection: &Connection, count: usize, timeout: Duration) -> Result<Self, BenchError> {
        // etcd counts whole seconds.
        let ttl = timeout.as_millis().div_ceil(1000) as i64;
        let channel = connect_each(std::slice::from_ref(&connection.endpoint), 1).await?.remove(0);
        let mut client = LeaseClient::new(channel);
        let mut held = Vec::with_capacity(count);
        for _ in 0..count {
            let grant = LeaseGrantRequest { ttl, id: 0 };
            held.push(client.lease_grant(grant).await?.into_inner().id);
        }
        let (requests, outgoing) = mpsc::channel(1);
        // etcd answers with the stream's head only when the first request is there.
        let first = LeaseKeepAliveRequest { id: held[0] };
        requests.send(first).await.expect("its reader is here");
        let mut answers = client.lease_keep_alive(ReceiverStream::new(outgoing)).await?.into_inner();
        answers.message().await?;
        Ok(Self { client, held, requests, answers })
    }

    async fn keep_alive(&mut self, session: usize) -> Result<(), tonic::Status> {
        let ended = || tonic::Status::unavailable("the stream of keep-alives ended");
        let request = LeaseKeepAliveRequest { id: self.held[session] };
        self.requests.send(request).await.map_err(|_| ended())?;
        match self.answers.message().await? {
            Some(answer) if answer.ttl > 0 => Ok(()),
            Some(_) => Err(tonic::Status::not_found("the lease is gone")),
            None => Err(ended()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_swap_tells_how_the_key_is() {
        let record = KeyValue { mod_revision: 9, value: "old".into(), ..Default::default() };
        for (by, expected) in
            [(SwapBy::Revision, Seen::Revision(9)), (SwapBy::Value, Seen::Value("old".into()))]
        {
            let request = Request::Swap { key: 1, by, seen: Seen::Absent };
            let range = pb::RangeResponse { kvs: vec![record.clone()], count: 1, ..Default::default() };
            let response = response_op::Response::ResponseRange(range);
            let responses = vec![pb::ResponseOp { response: Some(response) }];
            let answer = pb::TxnResponse { succeeded: false, responses, ..Default::default() };
            assert_eq!(of_txn(&request, answer), Answer::Seen(expected));
            let done = pb::TxnResponse { succeeded: true, ..Default::default() };
            assert_eq!(of_txn(&request, done), Answer::Done);
        }
    }

    #[test]
    fn nothing_found_is_told() {
        let found =
            |request: Request, count| of_range(&request, pb::RangeResponse { count, ..Default::default() });
        assert_eq!(found(Request::Get { key: 1 }, 0), Answer::Missing);
        assert_eq!(found(Request::Get { key: 1 }, 1), Answer::Done);
        assert_eq!(found(Request::Look { key: 1, by: SwapBy::Value }, 0), Answer::Seen(Seen::Absent));
    }
}
