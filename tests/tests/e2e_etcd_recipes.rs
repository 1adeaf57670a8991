//! etcd's Lock and Election services, on real processes and as their clients see them.

use oarlock_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use oarlock_proto::etcd::etcdserverpb::{LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest};
use oarlock_proto::etcd::v3electionpb::election_client::ElectionClient;
use oarlock_proto::etcd::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ResignRequest,
};
use oarlock_proto::etcd::v3lockpb::lock_client::LockClient;
use oarlock_proto::etcd::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use oarlock_tests::cluster::{Cluster, Node, read};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(400);

/// A connection whose calls may wait long.
async fn patient(node: &Node) -> Channel {
    let endpoint = Endpoint::from_shared(node.client_url()).expect("our own URL is well-formed");
    endpoint.connect().await.expect("the node serves")
}

async fn grant(node: &Node, id: i64) {
    let request = LeaseGrantRequest { ttl: 60, id };
    LeaseClient::new(patient(node).await).lease_grant(request).await.expect("granted");
}

async fn revoke(node: &Node, id: i64) {
    LeaseClient::new(patient(node).await).lease_revoke(LeaseRevokeRequest { id }).await.expect("revoked");
}

async fn leases(node: &Node) -> usize {
    let mut client = LeaseClient::new(patient(node).await);
    client.lease_leases(LeaseLeasesRequest {}).await.expect("listed").into_inner().leases.len()
}

async fn lock(node: &Node, lease: i64) -> Result<LockResponse, Status> {
    let request = LockRequest { name: "l".into(), lease };
    LockClient::new(patient(node).await).lock(request).await.map(tonic::Response::into_inner)
}

/// Asks for the lock, and returns once the candidate is in line.
async fn wait_in_line(cluster: &Cluster, at: usize, lease: i64) -> JoinHandle<Result<LockResponse, Status>> {
    let channel = patient(&cluster.nodes[at]).await;
    let request = LockRequest { name: "l".into(), lease };
    let waiting =
        tokio::spawn(
            async move { LockClient::new(channel).lock(request).await.map(tonic::Response::into_inner) },
        );
    until(async || has(cluster, &format!("l/{lease:x}")).await).await;
    waiting
}

async fn has(cluster: &Cluster, key: &str) -> bool {
    read(&cluster.nodes[0], key).await.expect("reads go on").is_some()
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "it does not come to hold");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn won(waiting: JoinHandle<Result<LockResponse, Status>>) -> LockResponse {
    let answer = tokio::time::timeout(PATIENCE, waiting).await.expect("its turn comes");
    answer.expect("the task goes on").expect("locked")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_handed_on_in_order() {
    let cluster = Cluster::start(3, &[]).await;
    for lease in 0x11..=0x14 {
        grant(&cluster.nodes[0], lease).await;
    }
    let held = lock(&cluster.nodes[0], 0x11).await.expect("nobody has it");
    assert_eq!((held.key.as_ref(), held.header.expect("a header").revision), (b"l/11".as_slice(), 2));
    let again = lock(&cluster.nodes[1], 0x11).await.expect("it has it");
    assert_eq!(again.key, "l/11");
    let second = wait_in_line(&cluster, 1, 0x12).await;
    let third = wait_in_line(&cluster, 2, 0x13).await;
    let fourth = wait_in_line(&cluster, 0, 0x14).await;
    tokio::time::sleep(QUIET).await;
    assert!(!second.is_finished() && !third.is_finished() && !fourth.is_finished());

    // The holder goes by its lease; one in the middle loses its own and hears of it at once.
    revoke(&cluster.nodes[2], 0x13).await;
    let lost = tokio::time::timeout(PATIENCE, third).await.expect("in time").expect("goes on");
    let lost = lost.expect_err("its lease is gone");
    assert_eq!((lost.code(), lost.message()), (Code::Unknown, "mutex: session is expired"));
    assert!(!second.is_finished());
    revoke(&cluster.nodes[2], 0x11).await;
    let second = won(second).await;
    assert_eq!(second.key, "l/12");
    tokio::time::sleep(QUIET).await;
    assert!(!fourth.is_finished());
    let unlock = UnlockRequest { key: second.key };
    LockClient::new(patient(&cluster.nodes[0]).await).unlock(unlock).await.expect("unlocked");
    assert_eq!(won(fourth).await.key, "l/14");

    let nobody = lock(&cluster.nodes[0], 0x99).await.expect_err("no such lease");
    assert_eq!((nobody.code(), nobody.message()), (Code::Unknown, "etcdserver: requested lease not found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    grant(node, 0x21).await;
    grant(node, 0x22).await;
    lock(node, 0x21).await.expect("nobody has it");
    let waiting = wait_in_line(&cluster, 0, 0x22).await;
    // Without a lease of its own it gets one.
    let channel = patient(node).await;
    let orphan = tokio::spawn(async move {
        LockClient::new(channel).lock(LockRequest { name: "l".into(), lease: 0 }).await
    });
    until(async || leases(node).await == 3).await;
    waiting.abort();
    orphan.abort();
    until(async || leases(node).await == 2).await;
    until(async || !has(&cluster, "l/22").await).await;
    let watches = async || {
        let metrics = node.http_get("/metrics").await.unwrap_or_default();
        let line = metrics.lines().find(|line| line.starts_with("oarlock_watches ")).map(str::to_owned);
        line.is_none_or(|line| line.ends_with(" 0"))
    };
    until(watches).await;
    assert!(has(&cluster, "l/21").await, "whoever holds it is not disturbed");
}

async fn campaign(node: &Node, lease: i64, value: &'static str) -> Result<CampaignResponse, Status> {
    let request = CampaignRequest { name: "e".into(), lease, value: value.into() };
    ElectionClient::new(patient(node).await).campaign(request).await.map(tonic::Response::into_inner)
}

async fn proclaim(node: &Node, leader: LeaderKey, value: &'static str) -> Result<(), Status> {
    let request = ProclaimRequest { leader: Some(leader), value: value.into() };
    ElectionClient::new(patient(node).await).proclaim(request).await.map(drop)
}

async fn leader(node: &Node) -> Result<LeaderResponse, Status> {
    let request = LeaderRequest { name: "e".into() };
    ElectionClient::new(patient(node).await).leader(request).await.map(tonic::Response::into_inner)
}

async fn observed(stream: &mut Streaming<LeaderResponse>) -> String {
    let next = tokio::time::timeout(PATIENCE, stream.message()).await.expect("a leader comes");
    let kv = next.expect("it goes on").expect("it goes on").kv.expect("a record");
    String::from_utf8_lossy(&kv.value).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_follow_one_another() {
    let cluster = Cluster::start(3, &[]).await;
    let [one, two, three] = [0, 1, 2].map(|position: usize| &cluster.nodes[position]);
    grant(one, 0x31).await;
    grant(one, 0x32).await;
    let nobody = leader(two).await.expect_err("nobody leads");
    assert_eq!((nobody.code(), nobody.message()), (Code::Unknown, "election: no leader"));
    let request = LeaderRequest { name: "e".into() };
    let mut stream =
        ElectionClient::new(patient(three).await).observe(request).await.expect("it opens").into_inner();

    let first = campaign(one, 0x31, "a").await.expect("elected").leader.expect("a leader");
    assert_eq!((first.key.as_ref(), first.rev, first.lease), (b"e/31".as_slice(), 2, 0x31));
    assert_eq!(observed(&mut stream).await, "a");
    proclaim(two, first.clone(), "b").await.expect("it leads");
    assert_eq!(observed(&mut stream).await, "b");
    assert_eq!(leader(three).await.expect("somebody leads").kv.expect("a record").value, "b");

    let channel = patient(two).await;
    let request = CampaignRequest { name: "e".into(), lease: 0x32, value: "c".into() };
    let second = tokio::spawn(async move { ElectionClient::new(channel).campaign(request).await });
    until(async || has(&cluster, "e/32").await).await;
    tokio::time::sleep(QUIET).await;
    assert!(!second.is_finished());
    let resign = ResignRequest { leader: Some(first.clone()) };
    ElectionClient::new(patient(three).await).resign(resign).await.expect("resigned");
    let second = tokio::time::timeout(PATIENCE, second).await.expect("in time").expect("goes on");
    assert_eq!(second.expect("elected").into_inner().leader.expect("a leader").key, "e/32");
    assert_eq!(observed(&mut stream).await, "c");
    let late = proclaim(one, first, "d").await.expect_err("it leads no more");
    assert_eq!((late.code(), late.message()), (Code::Unknown, "election: not leader"));

    let unsaid = ResignRequest { leader: None };
    let unsaid = ElectionClient::new(patient(one).await).resign(unsaid).await.expect_err("whose?");
    assert_eq!((unsaid.code(), unsaid.message()), (Code::Unknown, "\"leader\" field must be provided"));
}
