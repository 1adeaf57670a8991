//! etcd's Watch service, on real processes and as its clients see it.

use oarlock_proto::etcd::etcdserverpb::{WatchCreateRequest, WatchResponse};
use oarlock_tests::cluster::{Cluster, Watching, put, told};
use std::time::Duration;

fn key(key: &'static str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.into(), ..Default::default() }
}

fn prefix(start: &'static str, end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest { range_end: end.into(), ..key(start) }
}

fn revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().expect("every response has a header").revision
}

/// Compacts up to the current revision through the native door.
async fn write(cluster: &Cluster, name: &str, value: &str) {
    put(&cluster.nodes[0], name, value.as_bytes(), 0).await.expect("a healthy cluster takes writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watches_share_a_stream_under_their_own_numbers() {
    let cluster = Cluster::start(1, &[]).await;
    let mut stream = Watching::open(&cluster.nodes[0]).await.expect("it opens");
    let first = stream.created(prefix("a", "b")).await;
    assert_eq!((first.watch_id, first.canceled, revision(&first)), (0, false, 1));
    assert_eq!(stream.created(key("a1")).await.watch_id, 1);
    let own = WatchCreateRequest { watch_id: 7, ..key("x") };
    assert_eq!(stream.created(own.clone()).await.watch_id, 7);
    let again = stream.created(own).await;
    assert_eq!((again.watch_id, again.canceled), (-1, true));
    assert_eq!(again.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    write(&cluster, "a1", "v").await;
    write(&cluster, "x", "v").await;
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
    write(&cluster, "a1", "w").await;
    assert_eq!(stream.next().await.watch_id, 0);
    assert!(stream.is_silent(Duration::from_millis(300)).await);
}
