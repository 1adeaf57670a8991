//! etcd's KV service on three real processes: every option, and every refusal with its code and text.

use futures::TryStreamExt;
use oarlock_proto::etcd::etcdserverpb::{
    self as pb, compare, kv_client::KvClient, range_request::SortOrder, range_request::SortTarget,
    request_op, response_op,
};
use oarlock_proto::etcd::mvccpb;
use oarlock_tests::cluster::Cluster;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Kv = KvClient<Channel>;

async fn kv(cluster: &Cluster, node: usize) -> Kv {
    let channel = cluster.nodes[node].channel().await.expect("the node serves");
    KvClient::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
}

async fn put(kv: &mut Kv, key: &str, value: impl Into<bytes::Bytes>) -> i64 {
    let request = pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
    header(kv.put(request).await.expect("put").into_inner().header).revision
}

fn header(header: Option<pb::ResponseHeader>) -> pb::ResponseHeader {
    header.expect("every answer has a header")
}

fn span(key: &'static str, end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

fn keys(kvs: &[mvccpb::KeyValue]) -> String {
    let keys: Vec<_> = kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
    keys.join(" ")
}

/// The keys, whether there are more, and the count.
async fn read(kv: &mut Kv, request: pb::RangeRequest) -> (String, bool, i64) {
    let reply = kv.range(request).await.expect("read").into_inner();
    (keys(&reply.kvs), reply.more, reply.count)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let status = answer.expect_err("it is refused");
    assert_eq!((status.code(), status.message()), (code, text));
}

fn op(request: request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn put_op(key: &'static str, value: &'static str) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
    op(request_op::Request::RequestPut(put))
}

fn delete_op(key: &'static str, end: &'static str) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), ..Default::default() };
    op(request_op::Request::RequestDeleteRange(delete))
}

fn range_op(range: pb::RangeRequest) -> pb::RequestOp {
    op(request_op::Request::RequestRange(range))
}

fn txn_op(txn: pb::TxnRequest) -> pb::RequestOp {
    op(request_op::Request::RequestTxn(txn))
}

fn then(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_as_etcd_serves_them() {
    let cluster = Cluster::start(3, &["--max-txn-ops", "6"]).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    ranges(&mut kv(&cluster, follower).await).await;
    ranges_refused(&mut kv(&cluster, follower).await).await;
    puts(&mut kv(&cluster, leader).await).await;
    deletes(&mut kv(&cluster, follower).await).await;
    comparisons(&mut kv(&cluster, leader).await).await;
    transactions(&mut kv(&cluster, follower).await).await;
    transactions_refused(&mut kv(&cluster, leader).await).await;
    compactions(&mut kv(&cluster, follower).await).await;
}

async fn ranges(kv: &mut Kv) {
    let first = put(kv, "/r/a", "3").await;
    assert_eq!(first, 2, "a fresh cluster begins at revision 1, as etcd's");
    put(kv, "/r/b", "2").await;
    put(kv, "/r/c", "1").await;
    put(kv, "/r/d", "0").await;
    put(kv, "/r/a", "1").await; // revision 6, version 2
    let all = || span("/r/", "/r0");
    let sorted = |target: SortTarget, order: SortOrder, limit| pb::RangeRequest {
        sort_target: target.into(),
        sort_order: order.into(),
        limit,
        ..all()
    };
    use SortOrder::{Ascend, Descend, None};
    use SortTarget::{Create, Key, Mod, Value, Version};
    for (request, expected) in [
        (all(), ("/r/a /r/b /r/c /r/d", false, 4)),
        (span("/r/b", ""), ("/r/b", false, 1)),
        (span("/r/x", ""), ("", false, 0)),
        (span("/r/c", "\0"), ("/r/c /r/d", false, 2)),
        (span("\0", "\0"), ("/r/a /r/b /r/c /r/d", false, 4)),
        (span("/r/d", "/r/a"), ("", false, 0)),
        (span("/r/a", "/r/a"), ("", false, 0)),
        (pb::RangeRequest { limit: 2, ..all() }, ("/r/a /r/b", true, 4)),
        (pb::RangeRequest { limit: 4, ..all() }, ("/r/a /r/b /r/c /r/d", false, 4)),
        (pb::RangeRequest { limit: -1, ..all() }, ("/r/a /r/b /r/c /r/d", false, 4)),
        (pb::RangeRequest { limit: i64::MAX, ..all() }, ("/r/a /r/b /r/c /r/d", false, 4)),
        (pb::RangeRequest { count_only: true, ..all() }, ("", false, 4)),
        (pb::RangeRequest { count_only: true, limit: 1, ..all() }, ("", false, 4)),
        (pb::RangeRequest { serializable: true, ..all() }, ("/r/a /r/b /r/c /r/d", false, 4)),
        (pb::RangeRequest { revision: 3, ..all() }, ("/r/a /r/b", false, 2)),
        (pb::RangeRequest { revision: -5, ..all() }, ("/r/a /r/b /r/c /r/d", false, 4)),
        (pb::RangeRequest { min_mod_revision: 4, ..all() }, ("/r/a /r/c /r/d", false, 4)),
        (pb::RangeRequest { max_mod_revision: 4, ..all() }, ("/r/b /r/c", false, 4)),
        (pb::RangeRequest { max_mod_revision: -4, ..all() }, ("", false, 4)),
        (
            pb::RangeRequest { min_create_revision: 3, max_create_revision: 4, ..all() },
            ("/r/b /r/c", false, 4),
        ),
        (pb::RangeRequest { min_mod_revision: 4, limit: 2, ..all() }, ("/r/a /r/c", true, 4)),
        (sorted(Key, Ascend, 3), ("/r/a /r/b /r/c", true, 4)),
        (sorted(Key, Descend, 3), ("/r/d /r/c /r/b", true, 4)),
        (sorted(Key, Descend, 0), ("/r/d /r/c /r/b /r/a", false, 4)),
        (sorted(Value, Ascend, 0), ("/r/d /r/a /r/c /r/b", false, 4)),
        (sorted(Value, Ascend, 2), ("/r/d /r/a", true, 4)),
        (sorted(Value, Descend, 1), ("/r/b", true, 4)),
        (sorted(Mod, Descend, 2), ("/r/a /r/d", true, 4)),
        (sorted(Mod, Ascend, 2), ("/r/b /r/c", true, 4)),
        (sorted(Create, Descend, 2), ("/r/d /r/c", true, 4)),
        (sorted(Version, Descend, 2), ("/r/a /r/b", true, 4)),
        (sorted(Version, Ascend, 0), ("/r/b /r/c /r/d /r/a", false, 4)),
        // Without an order etcd cuts to the limit and one more before it sorts.
        (sorted(Mod, None, 2), ("/r/b /r/c", true, 4)),
        (sorted(Value, None, 1), ("/r/a", true, 4)),
        (sorted(Value, None, 0), ("/r/d /r/a /r/c /r/b", false, 4)),
    ] {
        let (found, more, count) = read(kv, request.clone()).await;
        assert_eq!((found.as_str(), more, count), expected, "{request:?}");
    }
    ranges_in_detail(kv).await;
}

async fn ranges_in_detail(kv: &mut Kv) {
    let reply = kv.range(span("/r/a", "")).await.expect("read").into_inner();
    let head = header(reply.header);
    assert_eq!(head.revision, 6);
    assert!(head.cluster_id != 0 && head.member_id != 0 && head.raft_term != 0, "{head:?}");
    let record = mvccpb::KeyValue {
        key: "/r/a".into(),
        value: "1".into(),
        create_revision: 2,
        mod_revision: 6,
        version: 2,
        lease: 0,
    };
    assert_eq!(reply.kvs, std::slice::from_ref(&record));
    let bare =
        pb::RangeRequest { keys_only: true, sort_target: SortTarget::Value.into(), ..span("/r/", "/r0") };
    let reply = kv.range(bare).await.expect("read").into_inner();
    assert_eq!(keys(&reply.kvs), "/r/d /r/a /r/c /r/b", "sorted by the values that are left out");
    assert!(reply.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
    let old = pb::RangeRequest { revision: 2, ..span("/r/a", "") };
    let reply = kv.range(old).await.expect("read").into_inner();
    assert_eq!(header(reply.header).revision, 6, "the header is of now");
    assert_eq!(reply.kvs, [mvccpb::KeyValue { value: "3".into(), mod_revision: 2, version: 1, ..record }]);
    let limited = pb::RangeRequest { limit: 3, ..span("/r/", "/r0") };
    let chunks: Vec<_> = kv
        .range_stream(limited.clone())
        .await
        .expect("stream")
        .into_inner()
        .try_collect()
        .await
        .expect("chunks");
    let last = chunks.last().and_then(|chunk| chunk.range_response.clone()).expect("a chunk");
    assert_eq!((keys(&last.kvs).as_str(), last.more, last.count), ("/r/a /r/b /r/c", true, 4));
    assert_eq!(header(last.header).revision, 6);
}

async fn ranges_refused(kv: &mut Kv) {
    let all = || span("/r/", "/r0");
    let empty = pb::RangeRequest::default();
    refused(kv.range(empty.clone()).await, Code::InvalidArgument, "etcdserver: key is not provided");
    refused(kv.range_stream(empty).await, Code::InvalidArgument, "etcdserver: key is not provided");
    for request in [pb::RangeRequest { sort_order: 3, ..all() }, pb::RangeRequest { sort_target: 5, ..all() }]
    {
        refused(kv.range(request).await, Code::InvalidArgument, "etcdserver: invalid sort option");
    }
    let future = pb::RangeRequest { revision: 1_000, ..all() };
    let text = "etcdserver: mvcc: required revision is a future revision";
    refused(kv.range(future.clone()).await, Code::OutOfRange, text);
    let chunks = kv.range_stream(future).await.expect("stream").into_inner();
    refused(chunks.try_collect::<Vec<_>>().await, Code::OutOfRange, text);
    let sorted = pb::RangeRequest { sort_order: SortOrder::Descend.into(), ..all() };
    let text = "RangeStream does not support custom sort orders";
    refused(kv.range_stream(sorted).await, Code::Unimplemented, text);
    let filtered = pb::RangeRequest { min_mod_revision: 1, ..all() };
    let text = "RangeStream does not support revision filters";
    refused(kv.range_stream(filtered).await, Code::Unimplemented, text);
}

async fn puts(kv: &mut Kv) {
    let request = || pb::PutRequest { key: "/p/a".into(), ..Default::default() };
    let missing = "etcdserver: key not found";
    let keep = pb::PutRequest { ignore_value: true, ..request() };
    refused(kv.put(keep.clone()).await, Code::InvalidArgument, missing);
    let keep_lease = pb::PutRequest { ignore_lease: true, value: "x".into(), ..request() };
    refused(kv.put(keep_lease.clone()).await, Code::InvalidArgument, missing);
    let before = put(kv, "/p/a", "one").await;
    let reply = kv.put(pb::PutRequest { value: "two".into(), prev_kv: true, ..request() }).await;
    let reply = reply.expect("put").into_inner();
    assert_eq!(header(reply.header).revision, before + 1);
    let previous = reply.prev_kv.expect("it was there");
    assert_eq!((previous.value, previous.mod_revision, previous.version), ("one".into(), before, 1));
    kv.put(keep).await.expect("keeps the value");
    let found = kv.range(span("/p/a", "")).await.expect("read").into_inner();
    assert_eq!((&found.kvs[0].value[..], found.kvs[0].version), (b"two".as_slice(), 3));
    kv.put(keep_lease).await.expect("keeps the lease, none");
    let none = kv.put(pb::PutRequest { key: "/p/b".into(), prev_kv: true, ..Default::default() }).await;
    assert_eq!(none.expect("put").into_inner().prev_kv, None);
    for (request, code, text) in [
        (pb::PutRequest::default(), Code::InvalidArgument, "etcdserver: key is not provided"),
        (
            pb::PutRequest { ignore_value: true, value: "x".into(), ..request() },
            Code::InvalidArgument,
            "etcdserver: value is provided",
        ),
        (
            pb::PutRequest { ignore_lease: true, lease: 1, ..request() },
            Code::InvalidArgument,
            "etcdserver: lease is provided",
        ),
        (pb::PutRequest { lease: 77, ..request() }, Code::NotFound, "etcdserver: requested lease not found"),
        (
            pb::PutRequest { value: vec![0; 1536 * 1024].into(), ..request() },
            Code::InvalidArgument,
            "etcdserver: request is too large",
        ),
    ] {
        refused(kv.put(request).await, code, text);
    }
    let huge =
        kv.put(pb::PutRequest { value: vec![0; 3 << 20].into(), ..request() }).await.expect_err("huge");
    assert_eq!(huge.code(), Code::ResourceExhausted, "{huge:?}");
    assert!(huge.message().starts_with("grpc: received message larger than max ("), "{huge:?}");
}

async fn deletes(kv: &mut Kv) {
    for key in ["/d/a", "/d/b", "/d/c", "/d/d"] {
        put(kv, key, "v").await;
    }
    let delete = |key: &'static str, end: &'static str, prev_kv| pb::DeleteRangeRequest {
        key: key.into(),
        range_end: end.into(),
        prev_kv,
    };
    let now = put(kv, "/d/e", "v").await;
    refused(
        kv.delete_range(delete("", "", false)).await,
        Code::InvalidArgument,
        "etcdserver: key is not provided",
    );
    for (request, deleted, previous, revision) in [
        (delete("/d/x", "", true), 0, "", now),
        (delete("/d/c", "/d/a", true), 0, "", now),
        (delete("/d/c", "/d/c", true), 0, "", now),
        (delete("/d/a", "", false), 1, "", now + 1),
        (delete("/d/b", "/d/d", true), 2, "/d/b /d/c", now + 2),
        (delete("/d/", "\0", true), 5, "/d/d /d/e /p/a /p/b", now + 3),
    ] {
        let reply = kv.delete_range(request.clone()).await.expect("delete").into_inner();
        let found = keys(&reply.prev_kvs);
        let rest = if revision == now + 3 { " /r/a /r/b /r/c /r/d" } else { "" };
        let more = if rest.is_empty() { 0 } else { 3 };
        assert_eq!((reply.deleted, found), (deleted + more, format!("{previous}{rest}")), "{request:?}");
        assert_eq!(header(reply.header).revision, revision, "{request:?}");
    }
    assert_eq!(read(kv, span("\0", "\0")).await, (String::new(), false, 0));
}

async fn comparisons(kv: &mut Kv) {
    use compare::CompareResult::{Equal, Greater, Less, NotEqual};
    use compare::CompareTarget::{Create, Lease, Mod, Value, Version};
    use compare::TargetUnion as To;
    let created = put(kv, "/c/a", "b").await;
    put(kv, "/c/a", "b").await;
    put(kv, "/c/b", "c").await;
    let (a, all, none) = (("/c/a", ""), ("/c/", "/c0"), ("/c/x", ""));
    let value = |text: &'static str| Some(To::Value(text.into()));
    for (range, target, result, right, holds) in [
        (a, Version, Equal, Some(To::Version(2)), true),
        (a, Version, Greater, Some(To::Version(2)), false),
        (a, Version, Greater, Some(To::Version(-1)), true),
        (a, Version, Less, Some(To::Version(-1)), false),
        (a, Version, NotEqual, Some(To::Version(-1)), true),
        (a, Create, Equal, Some(To::CreateRevision(created)), true),
        (a, Mod, Greater, Some(To::ModRevision(created)), true),
        (a, Mod, Less, Some(To::ModRevision(created)), false),
        (a, Value, Equal, value("b"), true),
        (a, Value, Less, value("c"), true),
        (a, Value, NotEqual, value("b"), false),
        (a, Lease, Equal, Some(To::Lease(0)), true),
        (a, Lease, Greater, Some(To::Lease(0)), false),
        (a, Mod, Greater, Some(To::Version(1 << 40)), true), // the wrong kind counts as zero
        (a, Value, Greater, None, true),
        (none, Version, Equal, Some(To::Version(0)), true),
        (none, Mod, Equal, Some(To::ModRevision(0)), true),
        (none, Lease, Equal, Some(To::Lease(0)), true),
        (none, Value, Equal, value(""), false),
        (none, Value, NotEqual, value("b"), false),
        (all, Version, Greater, Some(To::Version(0)), true),
        (all, Version, Greater, Some(To::Version(1)), false),
        (all, Value, Greater, value("a"), true),
        (all, Value, Greater, value("b"), false),
        (("/c/x", "\0"), Create, Equal, Some(To::CreateRevision(0)), true),
        (("/c/x", "\0"), Value, NotEqual, value("b"), false),
    ] {
        let compare = pb::Compare {
            result: result.into(),
            target: target.into(),
            key: range.0.into(),
            range_end: range.1.into(),
            target_union: right,
        };
        let txn = pb::TxnRequest { compare: vec![compare.clone()], ..Default::default() };
        let reply = kv.txn(txn).await.expect("txn").into_inner();
        assert_eq!(reply.succeeded, holds, "{compare:?}");
    }
}

async fn transactions(kv: &mut Kv) {
    let now = put(kv, "/t/c", "1").await;
    let absent = pb::Compare {
        key: "/t/a".into(),
        target: compare::CompareTarget::Version.into(),
        target_union: Some(compare::TargetUnion::Version(0)),
        ..Default::default()
    };
    let sorted = |limit| pb::RangeRequest {
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Mod.into(),
        limit,
        ..span("/t/", "/t0")
    };
    let inner = pb::TxnRequest { compare: vec![absent.clone()], ..then(vec![range_op(sorted(1))]) };
    let request = then(vec![
        range_op(span("/t/", "/t0")),
        put_op("/t/a", "2"),
        range_op(sorted(0)),
        txn_op(inner),
        delete_op("/t/c", "/t/e"),
    ]);
    let reply = kv.txn(pb::TxnRequest { compare: vec![absent], ..request }).await.expect("txn").into_inner();
    assert!(reply.succeeded);
    assert_eq!(header(reply.header).revision, now + 1);
    let only = |revision| pb::ResponseHeader { revision, ..Default::default() };
    let mut seen = Vec::new();
    for response in &reply.responses {
        seen.push(match response.response.as_ref().expect("an answer") {
            response_op::Response::ResponseRange(range) => {
                (range.header.unwrap_or_default(), format!("{} {}", keys(&range.kvs), range.count))
            }
            response_op::Response::ResponsePut(put) => (put.header.unwrap_or_default(), "put".into()),
            response_op::Response::ResponseDeleteRange(gone) => {
                (gone.header.unwrap_or_default(), format!("deleted {}", gone.deleted))
            }
            response_op::Response::ResponseTxn(txn) => {
                let Some(response_op::Response::ResponseRange(range)) = &txn.responses[0].response else {
                    panic!("{txn:?}");
                };
                let text = format!("{} {} {} {}", txn.succeeded, keys(&range.kvs), range.more, range.count);
                (txn.header.expect("an empty one"), text)
            }
        });
    }
    let expected = [
        (only(now), "/t/c 1".to_owned()),
        (only(now + 1), "put".into()),
        (only(now + 1), "/t/a /t/c 2".into()),
        // Comparisons within look at the state before the whole transaction, too.
        (only(0), "true /t/a true 2".into()),
        (only(now + 1), "deleted 1".into()),
    ];
    assert_eq!(seen, expected);
    let reads = then(vec![range_op(pb::RangeRequest { serializable: true, ..sorted(1) })]);
    let reply = kv.txn(reads).await.expect("read-only").into_inner();
    assert_eq!(header(reply.header).revision, now + 1);
    let either = pb::TxnRequest { failure: vec![put_op("/t/a", "4")], ..then(vec![delete_op("/t/", "/t0")]) };
    let reply = kv.txn(then(vec![txn_op(either)])).await.expect("only one of them runs").into_inner();
    assert_eq!(header(reply.header).revision, now + 2);
}

async fn transactions_refused(kv: &mut Kv) {
    let range = |request| then(vec![range_op(request)]);
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    let future = "etcdserver: mvcc: required revision is a future revision";
    let many = |count| (0..count).map(|_| delete_op("/t/a", "")).collect::<Vec<_>>();
    let kept = pb::PutRequest { key: "/t/x".into(), ignore_value: true, ..Default::default() };
    let leased = pb::PutRequest { key: "/t/x".into(), lease: 9, ..Default::default() };
    let duplicate = "etcdserver: duplicate key given in txn request";
    let too_many = "etcdserver: too many operations in txn request";
    let no_key = "etcdserver: key is not provided";
    let nested = pb::TxnRequest { failure: many(1), ..Default::default() };
    for (request, code, text) in [
        (range(pb::RangeRequest { revision: 1 << 40, ..span("/t/a", "") }), Code::OutOfRange, future),
        (range(pb::RangeRequest { revision: -7, ..span("/t/a", "") }), Code::OutOfRange, compacted),
        (range(pb::RangeRequest::default()), Code::InvalidArgument, no_key),
        (
            pb::TxnRequest { compare: vec![pb::Compare::default()], ..Default::default() },
            Code::InvalidArgument,
            no_key,
        ),
        (then(vec![pb::RequestOp::default()]), Code::InvalidArgument, "etcdserver: key not found"),
        (then(many(7)), Code::InvalidArgument, too_many),
        (pb::TxnRequest { failure: many(7), ..Default::default() }, Code::InvalidArgument, too_many),
        (then([many(5), vec![txn_op(nested)]].concat()), Code::InvalidArgument, too_many),
        (then(vec![put_op("/t/a", "1"), put_op("/t/a", "2")]), Code::InvalidArgument, duplicate),
        (then(vec![put_op("/t/a", "1"), delete_op("/t/", "/t0")]), Code::InvalidArgument, duplicate),
        (
            then(vec![delete_op("/t/a", ""), txn_op(then(vec![put_op("/t/a", "1")]))]),
            Code::InvalidArgument,
            duplicate,
        ),
        (then(vec![put_op("", "1")]), Code::InvalidArgument, no_key),
        (
            then(vec![put_op("/t/y", "1"), op(request_op::Request::RequestPut(kept))]),
            Code::InvalidArgument,
            "etcdserver: key not found",
        ),
        (
            then(vec![put_op("/t/y", "1"), op(request_op::Request::RequestPut(leased))]),
            Code::NotFound,
            "etcdserver: requested lease not found",
        ),
    ] {
        refused(kv.txn(request).await, code, text);
    }
    assert_eq!(read(kv, span("/t/y", "")).await.2, 0, "what is refused has no effect");
    kv.txn(then(many(6))).await.expect("as many as are allowed");
}

async fn compactions(kv: &mut Kv) {
    let old = put(kv, "/k", "1").await;
    let now = put(kv, "/k", "2").await;
    let compact = |revision, physical| pb::CompactionRequest { revision, physical };
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    let text = "etcdserver: mvcc: required revision is a future revision";
    refused(kv.compact(compact(now + 1, true)).await, Code::OutOfRange, text);
    let reply = kv.compact(compact(now, true)).await.expect("compacts").into_inner();
    assert_eq!(header(reply.header).revision, now);
    for revision in [now, old, -1] {
        refused(kv.compact(compact(revision, false)).await, Code::OutOfRange, compacted);
    }
    let read_old = |revision| pb::RangeRequest { revision, ..span("/k", "") };
    refused(kv.range(read_old(old)).await, Code::OutOfRange, compacted);
    refused(kv.txn(then(vec![range_op(read_old(old))])).await, Code::OutOfRange, compacted);
    assert_eq!(read(kv, read_old(now)).await.2, 1);
}
