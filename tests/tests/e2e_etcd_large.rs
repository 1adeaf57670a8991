//! etcd's KV service on real processes: answers of many MiB, members without a leader, and writes
//! that are executed exactly once.

use futures::TryStreamExt;
use oarlock_proto::etcd::etcdserverpb::{
    self as pb, kv_client::KvClient, range_request::SortOrder, range_request::SortTarget, request_op,
    response_op,
};
use oarlock_proto::v1::{self, sessions_client::SessionsClient};
use oarlock_tests::cluster::Cluster;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request};

type Kv = KvClient<Channel>;

const COUNT: i64 = 12;
const VALUE: usize = 1 << 20;

async fn kv(cluster: &Cluster, node: usize) -> Kv {
    let channel = cluster.nodes[node].channel().await.expect("the node serves");
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

fn big() -> pb::RangeRequest {
    pb::RangeRequest { key: "/big/".into(), range_end: "/big0".into(), ..Default::default() }
}

fn range_op(request: pb::RangeRequest) -> pb::RequestOp {
    pb::RequestOp { request: Some(request_op::Request::RequestRange(request)) }
}

fn delete(prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: "/big/".into(), range_end: "/big0".into(), prev_kv }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

/// The request with this metadata.
fn with<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().expect("printable"));
    }
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_may_be_larger_than_a_page() {
    let cluster = Cluster::start(1, &[]).await;
    let mut kv = kv(&cluster, 0).await;
    for number in 0..COUNT {
        let value = vec![u8::try_from(number).expect("few"); VALUE].into();
        let key = format!("/big/{:02}", (number * 7) % COUNT).into();
        kv.put(pb::PutRequest { key, value, ..Default::default() }).await.expect("put");
    }
    reads(&mut kv).await;
    in_transactions(&mut kv).await;
    let gone =
        kv.delete_range(delete(true)).await.expect("large deletes return what they removed").into_inner();
    assert_eq!((gone.deleted, gone.prev_kvs.len() as i64), (COUNT, COUNT));
    assert!(gone.prev_kvs.iter().all(|kv| kv.value.len() == VALUE));
    assert_eq!(kv.range(big()).await.expect("read").into_inner().count, 0);
}

async fn reads(kv: &mut Kv) {
    let reply = kv.range(big()).await.expect("read").into_inner();
    assert_eq!((reply.kvs.len() as i64, reply.more, reply.count), (COUNT, false, COUNT));
    assert!(reply.kvs.is_sorted_by(|one, other| one.key < other.key));
    let limited = kv.range(pb::RangeRequest { limit: 10, ..big() }).await.expect("read").into_inner();
    assert_eq!((limited.kvs.as_slice(), limited.more, limited.count), (&reply.kvs[..10], true, COUNT));
    let order = (SortTarget::Value.into(), SortOrder::Descend.into());
    let sorted = pb::RangeRequest { sort_target: order.0, sort_order: order.1, limit: 2, ..big() };
    let top = kv.range(sorted).await.expect("read").into_inner();
    let values: Vec<u8> = top.kvs.iter().map(|kv| kv.value[0]).collect();
    assert_eq!((values.as_slice(), top.more, top.count), ([11, 10].as_slice(), true, COUNT));
    let backwards = pb::RangeRequest { sort_order: SortOrder::Descend.into(), ..big() };
    let mut backwards = kv.range(backwards).await.expect("read").into_inner();
    backwards.kvs.reverse();
    assert_eq!(backwards.kvs, reply.kvs);

    let chunks = kv.range_stream(big()).await.expect("stream").into_inner();
    let chunks: Vec<_> =
        chunks.map_ok(|chunk| chunk.range_response.expect("a part")).try_collect().await.expect("all");
    let (last, before) = chunks.split_last().expect("chunks");
    assert!(
        before.len() > 2 && before.iter().all(|part| part.header.is_none() && part.count == 0 && !part.more)
    );
    assert_eq!((last.header, last.more, last.count), (reply.header, false, COUNT));
    let parts: Vec<_> = chunks.into_iter().flat_map(|part| part.kvs).collect();
    assert_eq!(parts, reply.kvs);
}

async fn in_transactions(kv: &mut Kv) {
    let two = vec![range_op(big()), range_op(pb::RangeRequest { limit: 7, ..big() })];
    let reads = pb::TxnRequest { success: two, ..Default::default() };
    let reply = kv.txn(reads.clone()).await.expect("read").into_inner();
    let parts: Vec<_> = reply
        .responses
        .iter()
        .map(|response| match &response.response {
            Some(response_op::Response::ResponseRange(range)) => (range.kvs.len(), range.more, range.count),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(parts, [(12, false, COUNT), (7, true, COUNT)]);
    let mut writes = reads;
    let write = pb::RequestOp { request: Some(request_op::Request::RequestPut(put("/x", "1"))) };
    writes.success.insert(0, write);
    let refused = kv.txn(writes).await.expect_err("what could not be returned whole is not done");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let absent = pb::RangeRequest { key: "/x".into(), ..Default::default() };
    assert_eq!(kv.range(absent).await.expect("read").into_inner().count, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_only_serializable_reads_are_answered() {
    let mut cluster = Cluster::start(3, &[]).await;
    let survivor = cluster.follower().await;
    let mut kv = kv(&cluster, survivor).await;
    kv.put(put("/s", "1")).await.expect("put");
    kv.range(pb::RangeRequest { key: "/s".into(), ..Default::default() }).await.expect("caught up");
    for position in (0..3).filter(|position| *position != survivor) {
        cluster.nodes[position].kill();
    }
    let stale = pb::RangeRequest { key: "/s".into(), serializable: true, ..Default::default() };
    for _ in 0..20 {
        let reply = kv.range(stale.clone()).await.expect("this member's own state").into_inner();
        assert_eq!(reply.kvs[0].value, "1");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reads = pb::TxnRequest { success: vec![range_op(stale.clone())], ..Default::default() };
    assert!(kv.txn(reads).await.expect("a serializable transaction").into_inner().succeeded);
    let fresh = kv.range(pb::RangeRequest { serializable: false, ..stale }).await.expect_err("no quorum");
    assert_eq!(fresh.code(), Code::Unavailable, "{fresh:?}");
    let written = kv.put(put("/s", "2")).await.expect_err("no quorum");
    assert_eq!(written.code(), Code::Unavailable, "{written:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_write_is_executed_once() {
    let cluster = Cluster::start(3, &[]).await;
    let (mut here, mut there) = (kv(&cluster, 0).await, kv(&cluster, 1).await);
    let channel = cluster.nodes[0].channel().await.expect("the node serves");
    let session = v1::OpenSessionRequest { timeout_ms: 60_000, ..Default::default() };
    let session = SessionsClient::new(channel).open(session).await.expect("opens").into_inner().session;
    by_sequence(&mut here, &mut there, &session.to_string(), &format!("{session:#x}")).await;
    by_key(&mut here, &mut there).await;
    names_refused(&mut here, &session.to_string()).await;
}

async fn by_sequence(here: &mut Kv, there: &mut Kv, decimal: &str, hexadecimal: &str) {
    let name = [("oarlock-session", decimal), ("oarlock-sequence", "1")];
    let again = [("oarlock-session", hexadecimal), ("oarlock-sequence", "1")];
    let first = here.put(with(put("/once", "1"), &name)).await.expect("put");
    assert!(first.metadata().get("oarlock-repeated").is_none());
    let revision = first.into_inner().header.expect("header").revision;
    here.put(put("/once", "2")).await.expect("another's put");
    let second = there.put(with(put("/once", "1"), &again)).await.expect("the first one's outcome");
    assert_eq!(second.metadata().get("oarlock-repeated").expect("marked"), "true");
    assert_eq!(second.into_inner().header.expect("header").revision, revision);
    let found = there.range(pb::RangeRequest { key: "/once".into(), ..Default::default() }).await;
    assert_eq!(found.expect("read").into_inner().kvs[0].value, "2", "it was not done again");

    let gone = pb::DeleteRangeRequest { key: "/once".into(), prev_kv: true, ..Default::default() };
    let name = [("oarlock-session", decimal), ("oarlock-sequence", "2"), ("oarlock-acked", "1")];
    for kv in [&mut *here, &mut *there] {
        let reply = kv.delete_range(with(gone.clone(), &name)).await.expect("delete").into_inner();
        assert_eq!((reply.deleted, &reply.prev_kvs[0].value[..]), (1, b"2".as_slice()));
    }
    let stale = [("oarlock-session", decimal), ("oarlock-sequence", "1")];
    let stale = here.put(with(put("/once", "1"), &stale)).await.expect_err("its outcome was acknowledged");
    assert_eq!(stale.code(), Code::FailedPrecondition, "{stale:?}");

    // Results that are too large to remember are not made up.
    here.put(put("/much", &"x".repeat(3000))).await.expect("put");
    let much = pb::DeleteRangeRequest { key: "/much".into(), ..gone };
    let name = [("oarlock-session", decimal), ("oarlock-sequence", "3")];
    assert_eq!(here.delete_range(with(much.clone(), &name)).await.expect("once").into_inner().deleted, 1);
    let again = there.delete_range(with(much, &name)).await.expect_err("not remembered");
    assert_eq!(again.code(), Code::FailedPrecondition, "{again:?}");
    assert!(again.message().contains("executed before"), "{again:?}");
    let lost = with(put("/x", "1"), &[("oarlock-session", "123456"), ("oarlock-sequence", "1")]);
    let lost = here.put(lost).await.expect_err("no such lease");
    assert_eq!(lost.message(), "etcdserver: requested lease not found");
}

async fn by_key(here: &mut Kv, there: &mut Kv) {
    let name = [("oarlock-idempotency-key", "job-1"), ("oarlock-idempotency-retain-ms", "60000")];
    let write = pb::RequestOp { request: Some(request_op::Request::RequestPut(put("/job", "1"))) };
    let txn = pb::TxnRequest { success: vec![write], ..Default::default() };
    let mut revisions = Vec::new();
    for kv in [here, there] {
        let reply = kv.txn(with(txn.clone(), &name)).await.expect("txn").into_inner();
        assert_eq!((reply.succeeded, reply.responses.len()), (true, 1));
        revisions.push(reply.header.expect("header").revision);
    }
    assert_eq!(revisions[0], revisions[1]);
}

async fn names_refused(kv: &mut Kv, session: &str) {
    for (metadata, part) in [
        (vec![("oarlock-session", session)], "one is missing"),
        (vec![("oarlock-sequence", "1")], "one is missing"),
        (vec![("oarlock-session", "bee"), ("oarlock-sequence", "1")], "must be a lease's id"),
        (vec![("oarlock-session", session), ("oarlock-sequence", "0")], "count from 1"),
        (vec![("oarlock-session", session), ("oarlock-sequence", "x")], "decimal number"),
        (
            vec![("oarlock-session", session), ("oarlock-sequence", "9"), ("oarlock-acked", "9")],
            "cannot acknowledge itself",
        ),
        (vec![("oarlock-idempotency-key", "")], "1 to 256"),
        (vec![("oarlock-idempotency-key", "k"), ("oarlock-idempotency-retain-ms", "0")], "is 0"),
        (
            vec![("oarlock-session", session), ("oarlock-sequence", "9"), ("oarlock-idempotency-key", "k")],
            "named twice",
        ),
    ] {
        let refused = kv.put(with(put("/x", "1"), &metadata)).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(part), "{metadata:?}: {refused:?}");
    }
}
