//! etcd's Watch service, on real processes and as its clients see it.

use oarlock_proto::etcd::etcdserverpb::kv_client::KvClient;
use oarlock_proto::etcd::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, WatchCreateRequest, WatchResponse,
};
use oarlock_tests::cluster::{Cluster, Node, Watching, call, told};
use std::time::Duration;
use tonic::Code;
use tonic::metadata::MetadataMap;

const PATIENCE: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(400);

fn key(key: &'static str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.into(), ..Default::default() }
}

fn span(start: &'static str, end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest { range_end: end.into(), ..key(start) }
}

fn revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().expect("every response has a header").revision
}

async fn put(node: &Node, key: &str, value: impl AsRef<[u8]>) -> i64 {
    let request = PutRequest {
        key: key.to_owned().into(),
        value: value.as_ref().to_vec().into(),
        ..Default::default()
    };
    let answer = call(PATIENCE, || async { KvClient::new(node.channel().await?).put(request.clone()).await });
    answer.await.expect("written").into_inner().header.expect("a header").revision
}

async fn delete(node: &Node, key: &str) {
    let request = DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
    let channel = node.channel().await.expect("the node serves");
    KvClient::new(channel).delete_range(request).await.expect("deleted");
}

async fn compact(node: &Node, revision: i64) {
    let channel = node.channel().await.expect("the node serves");
    let request = CompactionRequest { revision, physical: false };
    KvClient::new(channel).compact(request).await.expect("compacted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watches_share_a_stream_under_their_own_numbers() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let mut stream = Watching::open(node).await.expect("it opens");
    let first = stream.created(span("a", "b")).await;
    assert_eq!((first.watch_id, first.canceled, revision(&first)), (0, false, 1));
    assert_eq!(stream.created(key("a1")).await.watch_id, 1);
    let own = WatchCreateRequest { watch_id: 7, ..key("x") };
    assert_eq!(stream.created(own.clone()).await.watch_id, 7);
    let again = stream.created(own).await;
    assert_eq!((again.watch_id, again.canceled), (-1, true));
    assert_eq!(again.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    put(node, "a1", "v").await;
    put(node, "x", "v").await;
    for (id, event, at) in [(0, "put a1@2", 2), (1, "put a1@2", 2), (7, "put x@3", 3)] {
        let response = stream.next().await;
        assert_eq!((response.watch_id, revision(&response)), (id, at));
        assert_eq!(response.events.iter().map(told).collect::<Vec<_>>(), [event]);
    }
    stream.cancel(1).await;
    let over = stream.next().await;
    assert_eq!((over.watch_id, over.canceled, over.cancel_reason.as_str()), (1, true, ""));
    stream.cancel(99).await; // nothing is said to that
    stream.finish();
    put(node, "a1", "w").await;
    assert_eq!(stream.next().await.watch_id, 0, "watches go on when no more is asked");
    assert!(stream.is_silent(QUIET).await);
}

/// Clients match "created" responses to their requests by order alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_come_in_the_order_of_their_requests() {
    let cluster = Cluster::start(1, &[]).await;
    let mut stream = Watching::open(&cluster.nodes[0]).await.expect("it opens");
    for _ in 0..50 {
        stream.create(key("good")).await;
        stream.create(span("b", "a")).await;
        stream.create(WatchCreateRequest { start_revision: -5, ..key("k") }).await;
    }
    for number in 0..50 {
        let good = stream.next().await;
        assert_eq!((good.watch_id, good.created, good.canceled), (number, true, false));
        let empty = stream.next().await;
        assert_eq!((empty.watch_id, empty.created, empty.canceled), (-1, true, true));
        assert_eq!(empty.cancel_reason, "mvcc: watcher range is empty");
        let early = stream.next().await;
        assert_eq!((early.watch_id, early.created, early.canceled), (-1, true, true));
        assert_eq!(early.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_the_future_and_what_was_compacted() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    for value in ["1", "2", "3"] {
        put(node, "k", value).await;
    }
    delete(node, "k").await;
    compact(node, 4).await;
    let mut stream = Watching::open(node).await.expect("it opens");
    let created = stream.created(WatchCreateRequest { start_revision: 3, ..key("k") }).await;
    assert_eq!((created.watch_id, created.canceled, revision(&created)), (0, false, 5));
    let over = stream.next().await;
    assert_eq!((over.watch_id, over.created, over.canceled), (0, false, true));
    assert_eq!((over.compact_revision, over.cancel_reason.as_str(), revision(&over)), (4, "", 0));

    let with_previous = WatchCreateRequest { start_revision: 4, prev_kv: true, ..key("k") };
    assert_eq!(stream.created(with_previous).await.watch_id, 1);
    let past = stream.next().await;
    assert_eq!(past.events.iter().map(told).collect::<Vec<_>>(), ["put k@4", "delete k@5"]);
    assert_eq!(revision(&past), 5);
    assert_eq!(past.events[0].prev_kv, None, "it was compacted");
    let deleted = past.events[1].kv.clone().expect("a record");
    assert_eq!((deleted.create_revision, deleted.version, deleted.lease), (0, 0, 0));
    let before = past.events[1].prev_kv.clone().expect("it existed");
    assert_eq!((before.value, before.version, before.create_revision), ("3".into(), 3, 2));
    stream.cancel(1).await;
    assert!(stream.next().await.canceled);

    let future = WatchCreateRequest { start_revision: 8, ..key("k") };
    assert_eq!(revision(&stream.created(future).await), 5);
    for _ in 0..4 {
        put(node, "k", "later").await;
    }
    let events: Vec<_> = stream.events(2).await.iter().map(told).collect();
    assert_eq!(events, ["put k@8", "put k@9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_and_empty_keys() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let mut stream = Watching::open(node).await.expect("it opens");
    stream.created(WatchCreateRequest { filters: vec![0], ..span("", "\0") }).await;
    stream.created(WatchCreateRequest { filters: vec![1], ..span("k", "\0") }).await;
    put(node, "a", "v").await;
    put(node, "z", "v").await;
    delete(node, "a").await;
    delete(node, "z").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let response = stream.next().await;
        seen.extend(response.events.iter().map(|event| format!("{}: {}", response.watch_id, told(event))));
    }
    assert_eq!(seen, ["1: put z@3", "0: delete a@4", "0: delete z@5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_on_demand_and_when_idle() {
    let cluster = Cluster::start(1, &["--experimental-watch-progress-notify-interval", "500ms"]).await;
    let node = &cluster.nodes[0];
    let mut stream = Watching::open(node).await.expect("it opens");
    stream.progress().await; // no watch, no progress
    stream.created(key("quiet")).await;
    stream.created(WatchCreateRequest { start_revision: 1, ..key("k") }).await;
    let at = put(node, "k", "v").await;
    stream.progress().await;
    let mut events = 0;
    let progress = loop {
        let response = stream.next().await;
        if response.watch_id == -1 {
            break response;
        }
        events += response.events.len();
    };
    assert_eq!(events, 1, "progress does not overtake events");
    assert!(progress.events.is_empty() && !progress.created && !progress.canceled);
    assert_eq!(revision(&progress), at);
    stream.created(WatchCreateRequest { start_revision: at + 2, ..key("far") }).await;
    stream.progress().await;
    assert!(stream.is_silent(QUIET).await, "one of them has not begun");
    put(node, "other", "v").await;
    assert_eq!(stream.next().await.watch_id, -1, "now it has");

    let mut idle = Watching::open(node).await.expect("it opens");
    idle.created(WatchCreateRequest { progress_notify: true, ..key("k") }).await;
    let at = put(node, "other", "v").await;
    for _ in 0..2 {
        let told = idle.next().await;
        assert_eq!((told.watch_id, told.events.len(), revision(&told)), (0, 0, at));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_responses_are_split_for_those_who_ask() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    for number in 0..6 {
        let bytes = if number % 2 == 0 { 900 * 1024 } else { 1400 * 1024 };
        put(node, &format!("big/{number}"), vec![b'v'; bytes]).await;
    }
    let big = WatchCreateRequest { start_revision: 2, ..span("big/", "big0") };
    let mut seen = Vec::new();
    for fragment in [false, true] {
        let mut stream = Watching::open(node).await.expect("it opens");
        stream.created(WatchCreateRequest { fragment, ..big.clone() }).await;
        let (mut events, mut parts) = (Vec::new(), 0);
        while events.len() < 6 {
            let response = stream.next().await;
            parts += usize::from(response.fragment);
            events.extend(response.events.iter().map(told));
        }
        seen.push((events, parts > 0));
    }
    assert_eq!(seen[0].0, seen[1].0);
    assert_eq!((seen[0].1, seen[1].1), (false, true), "only who asks gets parts");
}

/// What it does not take waits in history, not in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_delays_nobody_and_misses_nothing() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let mut slow = Watching::open(node).await.expect("it opens");
    let mut quick = Watching::open(node).await.expect("it opens");
    slow.created(span("k", "l")).await;
    quick.created(span("k", "l")).await;
    let value = vec![b'v'; 512 * 1024];
    for number in 0..100 {
        let written = put(node, &format!("k{number}"), &value).await;
        let event = &quick.events(1).await[0];
        assert_eq!(told(event), format!("put k{number}@{written}"));
    }
    // Its cancellation waits behind what it did not take.
    slow.cancel(0).await;
    let mut events = Vec::new();
    while let response = slow.next().await
        && !response.canceled
    {
        events.extend(response.events.iter().map(told));
    }
    let all: Vec<_> = (0..100).map(|number| format!("put k{number}@{}", number + 2)).collect();
    assert_eq!(events, all[..events.len()], "in order, without a gap, as far as it came");
    assert!(events.len() < 100, "51 MB do not wait in memory");
    let next = events.len() as i64 + 2;
    slow.created(WatchCreateRequest { start_revision: next, ..span("k", "l") }).await;
    let rest: Vec<_> = slow.events(100 - events.len()).await.iter().map(told).collect();
    assert_eq!(rest, all[events.len()..]);
}

/// A member that lost its quorum knows no leader after a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_requires_a_leader_is_told_when_there_is_none() {
    let mut cluster = Cluster::start(3, &[]).await;
    let mut metadata = MetadataMap::new();
    metadata.insert("hasleader", "true".parse().expect("a value"));
    let mut strict = Watching::open_with(&cluster.nodes[0], metadata.clone()).await.expect("it opens");
    let mut lenient = Watching::open(&cluster.nodes[0]).await.expect("it opens");
    strict.created(key("k")).await;
    lenient.created(key("k")).await;
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let end = strict.try_next().await.expect_err("there is no leader");
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "etcdserver: no leader"));
    let refused = Watching::open_with(&cluster.nodes[0], metadata).await.err().expect("refused");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    cluster.nodes[1].start();
    cluster.wait_ready(PATIENCE).await;
    put(&cluster.nodes[0], "k", "v").await;
    assert_eq!(told(&lenient.events(1).await[0]), "put k@2", "the other went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_resumes_elsewhere_without_gap_or_repetition() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let mut stream = Watching::open(&cluster.nodes[leader]).await.expect("it opens");
    stream.created(span("n", "o")).await;
    for number in 0..10 {
        put(&cluster.nodes[other], "n", number.to_string()).await;
    }
    let mut seen = stream.events(5).await;
    cluster.nodes[leader].kill();
    let next = seen.last().and_then(|event| event.kv.as_ref()).expect("seen").mod_revision + 1;
    let mut stream = Watching::open(&cluster.nodes[other]).await.expect("it opens");
    stream.created(WatchCreateRequest { start_revision: next, ..span("n", "o") }).await;
    for number in 10..20 {
        put(&cluster.nodes[other], "n", number.to_string()).await;
    }
    seen.extend(stream.events(20 - seen.len()).await);
    let values: Vec<_> = seen
        .iter()
        .map(|event| String::from_utf8_lossy(&event.kv.as_ref().expect("a record").value).into_owned())
        .collect();
    assert_eq!(values, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
}
