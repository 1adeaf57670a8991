//! etcd's Lease service, on real processes and as its clients see it.

use futures::StreamExt;
use oarlock_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use oarlock_proto::etcd::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, WatchCreateRequest,
};
use oarlock_tests::cluster::{Cluster, Node, Watching, call, put, read, told};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(20);

async fn leases(node: &Node) -> LeaseClient<Channel> {
    LeaseClient::new(node.channel().await.expect("the node serves"))
}

async fn grant(node: &Node, id: i64, ttl: i64) -> Result<LeaseGrantResponse, Status> {
    leases(node).await.lease_grant(LeaseGrantRequest { ttl, id }).await.map(tonic::Response::into_inner)
}

async fn look(node: &Node, id: i64, keys: bool) -> LeaseTimeToLiveResponse {
    call(PATIENCE, || async {
        LeaseClient::new(node.channel().await?).lease_time_to_live(LeaseTimeToLiveRequest { id, keys }).await
    })
    .await
    .expect("a lease can be looked at")
    .into_inner()
}

fn refusal(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_granted_listed_and_revoked() {
    let cluster = Cluster::start(3, &[]).await;
    let (node, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let own = grant(node, 77, 100).await.expect("granted");
    assert_eq!((own.id, own.ttl, own.error.as_str()), (77, 100, ""));
    assert_eq!(own.header.expect("a header").revision, 1);
    let taken = grant(other, 77, 100).await.expect_err("taken");
    assert_eq!(refusal(&taken), (Code::FailedPrecondition, "etcdserver: lease already exists"));
    let long = grant(node, 0, 9_000_000_001).await.expect_err("too long");
    assert_eq!(refusal(&long), (Code::OutOfRange, "etcdserver: too large lease TTL"));
    assert_eq!(grant(node, 78, 9_000_000_000).await.expect("the longest").ttl, 9_000_000_000);
    let short = grant(node, 0, 0).await.expect("the shortest is given");
    assert!(short.id > 0 && short.ttl == 2, "{short:?}");

    put(node, "k1", b"v", 77).await.expect("written");
    put(node, "k2", b"v", 77).await.expect("written");
    for node in &cluster.nodes {
        let seen = look(node, 77, true).await;
        assert_eq!((seen.id, seen.granted_ttl, seen.keys), (77, 100, vec!["k1".into(), "k2".into()]));
        assert!((90..100).contains(&seen.ttl), "the time that is left is {}", seen.ttl);
        assert!(look(node, 77, false).await.keys.is_empty());
        let gone = look(node, 5, true).await;
        assert_eq!((gone.id, gone.ttl, gone.granted_ttl), (5, -1, 0));
    }
    let all = leases(other).await.lease_leases(LeaseLeasesRequest {}).await.expect("listed").into_inner();
    let ids: Vec<i64> = all.leases.iter().map(|lease| lease.id).collect();
    assert!(ids.contains(&77) && ids.contains(&78), "{ids:?}");

    let mut stream = Watching::open(other).await.expect("it opens");
    stream.created(WatchCreateRequest { key: "k".into(), range_end: "l".into(), ..Default::default() }).await;
    let revoke = LeaseRevokeRequest { id: 77 };
    let revoked = leases(node).await.lease_revoke(revoke).await.expect("revoked").into_inner();
    assert_eq!(revoked.header.expect("a header").revision, 4, "both keys go in one revision");
    let events = stream.next().await.events;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["delete k1@4", "delete k2@4"]);
    let again = leases(other).await.lease_revoke(revoke).await.expect_err("gone");
    assert_eq!(refusal(&again), (Code::NotFound, "etcdserver: requested lease not found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keep_alives_are_answered_in_order() {
    let cluster = Cluster::start(3, &[]).await;
    let follower = &cluster.nodes[cluster.follower().await];
    for id in 1..=50 {
        grant(follower, id, 30 + id).await.expect("granted");
    }
    let asked: Vec<i64> = (0..5_000).map(|n| n % 53).collect();
    let requests: Vec<_> = asked.iter().map(|&id| LeaseKeepAliveRequest { id }).collect();
    let mut client = leases(follower).await;
    let answers = client.lease_keep_alive(futures::stream::iter(requests)).await.expect("it opens");
    let answers: Vec<_> = answers.into_inner().collect().await;
    assert_eq!(answers.len(), asked.len(), "the stream ends when all is answered");
    for (id, answer) in asked.into_iter().zip(answers) {
        let answer = answer.expect("confirmed");
        let ttl = if (1..=50).contains(&id) { 30 + id } else { 0 };
        assert_eq!((answer.id, answer.ttl), (id, ttl));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_is_no_sign_of_life_and_an_expiry_is_one_revision() {
    let cluster = Cluster::start(3, &[]).await;
    let node = &cluster.nodes[cluster.follower().await];
    grant(node, 9, 2).await.expect("granted");
    for key in ["a/1", "a/2", "a/3"] {
        put(node, key, b"v", 9).await.expect("written");
    }
    let mut stream = Watching::open(node).await.expect("it opens");
    stream.created(WatchCreateRequest { key: "a".into(), range_end: "b".into(), ..Default::default() }).await;
    let looking = async {
        loop {
            look(node, 9, false).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let expired = tokio::select! {
        response = stream.next() => response,
        () = looking => unreachable!("it looks for ever"),
    };
    let events: Vec<_> = expired.events.iter().map(told).collect();
    assert_eq!(events, ["delete a/1@5", "delete a/2@5", "delete a/3@5"]);
    assert_eq!(look(node, 9, false).await.ttl, -1);
    assert_eq!(read(node, "a/1").await.expect("reads go on"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_kept_alive_outlives_its_leader() {
    let mut cluster = Cluster::start(3, &[]).await;
    let at = cluster.follower().await;
    grant(&cluster.nodes[at], 4, 3).await.expect("granted");
    put(&cluster.nodes[at], "held", b"v", 4).await.expect("written");
    let leader = cluster.leader().await;
    for beat in 0..24 {
        if beat == 4 {
            cluster.nodes[leader].kill();
        }
        let node = &cluster.nodes[at];
        let kept = call(PATIENCE, || async {
            let request = futures::stream::iter([LeaseKeepAliveRequest { id: 4 }]);
            let mut answers =
                LeaseClient::new(node.channel().await?).lease_keep_alive(request).await?.into_inner();
            let answer = answers.message().await?.ok_or_else(|| Status::unavailable("ended"))?;
            Ok(tonic::Response::new(answer))
        });
        assert_eq!(kept.await.expect("there is a quorum").into_inner().ttl, 3, "beat {beat}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(read(&cluster.nodes[at], "held").await.expect("reads go on").is_some());
}
