//! etcd's Cluster and Maintenance services and its JSON gateway, against real processes.

use oarlock_proto::etcd::etcdserverpb as pb;
use oarlock_proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use oarlock_proto::etcd::etcdserverpb::cluster_client::ClusterClient;
use oarlock_proto::etcd::etcdserverpb::downgrade_request::DowngradeAction;
use oarlock_proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use oarlock_tests::cluster::{Cluster, Node, Oarlock, put, read};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Channel;
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(30);

async fn members(node: &Node) -> ClusterClient<Channel> {
    ClusterClient::new(node.channel().await.expect("the node serves"))
}

async fn maintenance(node: &Node) -> MaintenanceClient<Channel> {
    MaintenanceClient::new(node.channel().await.expect("the node serves"))
}

async fn status(node: &Node) -> pb::StatusResponse {
    let answer = maintenance(node).await.status(pb::StatusRequest {}).await;
    answer.expect("a member tells its status").into_inner()
}

async fn list(node: &Node) -> Vec<pb::Member> {
    let request = pb::MemberListRequest { linearizable: true };
    members(node).await.member_list(request).await.expect("members can be listed").into_inner().members
}

fn is(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, format!("etcdserver: {text}").as_str()));
}

/// Asks for JSON; the HTTP status and the body.
async fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let answer = node.http_post(path, &body.to_string()).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_in_etcds_words() {
    let cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let follower = &cluster.nodes[cluster.follower().await];
    let all = list(follower).await;
    assert_eq!(all.len(), 3);
    let mut client = members(follower).await;
    let add = |url: &str, is_learner| pb::MemberAddRequest { peer_ur_ls: vec![url.into()], is_learner };

    let taken = client.member_add(add(&all[0].peer_ur_ls[0], false)).await.expect_err("taken");
    is(&taken, Code::FailedPrecondition, "Peer URLs already exists");
    let bad = client.member_add(add("127.0.0.1:1", false)).await.expect_err("no URL");
    is(&bad, Code::InvalidArgument, "given member URLs are invalid");
    let gone = client.member_remove(pb::MemberRemoveRequest { id: 77 }).await.expect_err("no member");
    is(&gone, Code::NotFound, "member not found");
    let votes = client.member_promote(pb::MemberPromoteRequest { id: all[0].id }).await.expect_err("a voter");
    is(&votes, Code::FailedPrecondition, "can only promote a learner member");
    let update = pb::MemberUpdateRequest { id: 77, peer_ur_ls: vec!["http://127.0.0.1:9".into()] };
    is(&client.member_update(update).await.expect_err("no member"), Code::NotFound, "member not found");

    let learner = client.member_add(add("http://127.0.0.1:9", true)).await.expect("added").into_inner();
    let member = learner.member.expect("the new one");
    assert!(member.is_learner && learner.members.len() == 4 && learner.members.contains(&member));
    assert_eq!(learner.header.expect("always").revision, 0);
    let behind = client.member_promote(pb::MemberPromoteRequest { id: member.id }).await.expect_err("behind");
    is(&behind, Code::FailedPrecondition, "can only promote a learner member which is in sync with leader");
    let update = pb::MemberUpdateRequest { id: member.id, peer_ur_ls: vec!["http://127.0.0.1:10".into()] };
    let updated = client.member_update(update).await.expect("updated").into_inner().members;
    assert!(updated.iter().any(|member| member.peer_ur_ls == ["http://127.0.0.1:10"]));
    let removed = client.member_remove(pb::MemberRemoveRequest { id: member.id }).await.expect("removed");
    assert_eq!(removed.into_inner().members.len(), 3);
    // A voter to be is shown as one, though it starts as a learner.
    let voter = client.member_add(add("http://127.0.0.1:11", false)).await.expect("added").into_inner();
    assert!(!voter.member.expect("the new one").is_learner);
    assert_eq!(list(&cluster.nodes[leader]).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_is_not_given_away() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let dead = cluster.follower().await;
    cluster.nodes[dead].kill();
    let others = list(&cluster.nodes[leader]).await;
    let alive = others.iter().find(|member| {
        let name = cluster.nodes[leader].name();
        member.name != name && member.name != cluster.nodes[dead].name()
    });
    let request = pb::MemberRemoveRequest { id: alive.expect("three members").id };
    // Until the leader has noticed that the third is gone, the removal would be harmless to it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let refused = members(&cluster.nodes[leader]).await.member_remove(request).await.expect_err("unsafe");
    is(&refused, Code::Unavailable, "unhealthy cluster");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_hashes_and_leadership() {
    let cluster = Cluster::start(3, &["--quota-backend-bytes", "1073741824"]).await;
    for number in 0..50 {
        put(&cluster.nodes[0], &format!("/k{}", number % 7), b"v", 0).await.expect("stored");
    }
    cluster.compact(0).await;
    for number in 0..50 {
        put(&cluster.nodes[0], &format!("/k{}", number % 9), b"w", 0).await.expect("stored");
    }
    cluster.wait_equal_digests(PATIENCE).await;
    let mut hashes = Vec::new();
    for revision in [0, 90] {
        for node in &cluster.nodes {
            let answer = maintenance(node).await.hash_kv(pb::HashKvRequest { revision }).await;
            let answer = answer.expect("hashed").into_inner();
            hashes.push((answer.hash, answer.compact_revision, answer.hash_revision));
        }
    }
    assert!(hashes[0] == hashes[1] && hashes[1] == hashes[2] && hashes[3] == hashes[4], "{hashes:?}");
    assert!(hashes[0] != hashes[3] && hashes[0].1 == 51 && hashes[0].2 == 101, "{hashes:?}");
    let mut client = maintenance(&cluster.nodes[0]).await;
    let past = client.hash_kv(pb::HashKvRequest { revision: 20 }).await.expect_err("compacted");
    is(&past, Code::OutOfRange, "mvcc: required revision has been compacted");
    let future = client.hash_kv(pb::HashKvRequest { revision: 1000 }).await.expect_err("not yet");
    is(&future, Code::OutOfRange, "mvcc: required revision is a future revision");

    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let shown = status(&cluster.nodes[leader]).await;
    let header = shown.header.expect("always");
    assert_eq!((shown.version.as_str(), shown.storage_version.as_str()), ("3.6.14", "3.6.0"));
    assert_eq!((shown.leader, header.revision, shown.db_size_quota), (header.member_id, 101, 1 << 30));
    assert!(shown.raft_applied_index > 100 && shown.db_size > 0 && shown.errors.is_empty(), "{shown:?}");

    let target_id = status(&cluster.nodes[follower]).await.header.expect("always").member_id;
    let mut elsewhere = maintenance(&cluster.nodes[follower]).await;
    let elsewhere = elsewhere.move_leader(pb::MoveLeaderRequest { target_id }).await;
    is(&elsewhere.expect_err("a follower"), Code::FailedPrecondition, "not leader");
    let mut client = maintenance(&cluster.nodes[leader]).await;
    let nobody = client.move_leader(pb::MoveLeaderRequest { target_id: 5 }).await.expect_err("nobody");
    is(&nobody, Code::FailedPrecondition, "bad leader transferee");
    client.move_leader(pb::MoveLeaderRequest { target_id }).await.expect("moved");
    assert_eq!(cluster.leader().await, follower);
}

async fn alarm(node: &Node, action: AlarmAction, alarm: pb::AlarmType) -> Vec<pb::AlarmMember> {
    let request = pb::AlarmRequest { action: action.into(), member_id: 0, alarm: alarm.into() };
    maintenance(node).await.alarm(request).await.expect("served").into_inner().alarms
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_are_shared_have_effect_and_are_lowered() {
    let cluster = Cluster::start(3, &[]).await;
    let [first, second, _] = &cluster.nodes[..] else { panic!("three nodes") };
    assert_eq!(alarm(first, AlarmAction::Activate, pb::AlarmType::Nospace).await.len(), 1);
    let raised = alarm(second, AlarmAction::Get, pb::AlarmType::None).await;
    assert_eq!(raised, [pb::AlarmMember { member_id: 0, alarm: pb::AlarmType::Nospace.into() }]);
    let key = json!({ "key": "Zm9v" });
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let (http, body) = post(first, "/v3/kv/put", &key).await;
        if http != 200 {
            break (http, body);
        }
        assert!(Instant::now() < deadline, "the alarm has no effect");
    };
    let text = "etcdserver: mvcc: database space exceeded";
    assert_eq!(refused, (429, json!({ "error": text, "code": 8, "message": text })));
    assert_eq!(post(first, "/v3/kv/deleterange", &key).await.0, 200);
    assert_eq!(status(first).await.errors, ["memberID:0 alarm:NOSPACE "]);
    assert_eq!(alarm(second, AlarmAction::Deactivate, pb::AlarmType::Nospace).await.len(), 1);
    assert_eq!(alarm(second, AlarmAction::Deactivate, pb::AlarmType::Nospace).await.len(), 0);
    let deadline = Instant::now() + PATIENCE;
    while post(first, "/v3/kv/put", &key).await.0 != 200 {
        assert!(Instant::now() < deadline, "writes are still refused");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut client = maintenance(first).await;
    let mut downgrade = async |action: DowngradeAction, version: &str| {
        let request = pb::DowngradeRequest { action: action.into(), version: version.into() };
        client.downgrade(request).await.map(|answer| answer.into_inner().version)
    };
    let far = downgrade(DowngradeAction::Validate, "3.1").await.expect_err("too far");
    is(&far, Code::InvalidArgument, "invalid downgrade target version");
    assert_eq!(downgrade(DowngradeAction::Enable, "3.5").await.expect("allowed"), "3.6");
    let twice = downgrade(DowngradeAction::Enable, "3.5").await.expect_err("one at a time");
    is(&twice, Code::FailedPrecondition, "cluster has a downgrade job in progress");
    downgrade(DowngradeAction::Cancel, "").await.expect("cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_over_its_quota_takes_only_what_frees_space() {
    let cluster = Cluster::start(1, &["--quota-backend-bytes", "2000000"]).await;
    let node = &cluster.nodes[0];
    let value = vec![b'v'; 300_000];
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    while put(node, &format!("/large{number}"), &value, 0).await.is_ok() {
        assert!(Instant::now() < deadline, "the quota has no effect");
        number += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let raised = alarm(node, AlarmAction::Get, pb::AlarmType::None).await;
    assert_eq!(raised.len(), 1);
    assert_eq!(raised[0].alarm(), pb::AlarmType::Nospace);
    let all = json!({ "key": "AA==", "range_end": "AA==" });
    let (http, body) = post(node, "/v3/kv/deleterange", &all).await;
    assert_eq!(http, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_state_is_whole_and_is_restored() {
    let cluster = Cluster::start(1, &[]).await;
    put(&cluster.nodes[0], "/saved", b"value", 0).await.expect("stored");
    let mut client = maintenance(&cluster.nodes[0]).await;
    let mut stream = client.snapshot(pb::SnapshotRequest {}).await.expect("begins").into_inner();
    let (mut file, mut remaining) = (Vec::new(), 1);
    while let Some(part) = stream.message().await.expect("goes on") {
        file.extend_from_slice(&part.blob);
        remaining = part.remaining_bytes;
        assert_eq!(part.version, "3.6.0");
    }
    assert_eq!((file.len() % 512, remaining), (32, 0));
    let path = cluster.directory().join("saved.db");
    std::fs::write(&path, &file).expect("the test's directory is writable");
    let port = cluster.nodes[0].options.peer_port;
    let target = cluster.directory().join("restored");
    let restored = Oarlock::new(&cluster.endpoints()).run(&[
        "snapshot",
        "restore",
        &path.to_string_lossy(),
        "--data-dir",
        &target.to_string_lossy(),
        "--name",
        "n1",
        "--initial-cluster",
        &format!("n1=http://127.0.0.1:{port}"),
    ]);
    assert_eq!(restored.code, 0, "{restored:?}");
    let mut cluster = cluster;
    cluster.nodes[0].kill();
    cluster.nodes[0].options.data_dir = target;
    cluster.nodes[0].start();
    cluster.wait_ready(PATIENCE).await;
    let found = read(&cluster.nodes[0], "/saved").await.expect("readable");
    assert_eq!(found.map(|record| record.value), Some("value".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_speaks_json_on_every_service() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let (http, body) = post(node, "/v3/kv/put", &json!({ "key": "Zm9v", "value": "YmFy" })).await;
    assert_eq!((http, &body["header"]["revision"]), (200, &json!("2")), "{body}");
    let (_, body) = post(node, "/v3/kv/range", &json!({ "key": "Zm9v" })).await;
    assert_eq!(body["kvs"][0]["value"], "YmFy", "{body}");
    assert_eq!((&body["count"], &body["more"]), (&json!("1"), &Value::Null));
    let txn = json!({
        "compare": [{ "target": "VERSION", "key": "Zm9v", "version": "1" }],
        "success": [{ "request_put": { "key": "Zm9v", "value": "YmF6" } }],
    });
    let (_, body) = post(node, "/v3/kv/txn", &txn).await;
    assert_eq!(body["succeeded"], true, "{body}");
    let (_, body) = post(node, "/v3/cluster/member/list", &json!({})).await;
    assert_eq!(body["members"][0]["name"], "n1", "{body}");
    let (_, body) = post(node, "/v3/maintenance/status", &json!({})).await;
    assert_eq!(body["version"], "3.6.14", "{body}");
    let (http, body) = post(node, "/v3/kv/range", &json!({})).await;
    let text = "etcdserver: key is not provided";
    assert_eq!((http, body), (400, json!({ "error": text, "code": 3, "message": text })));
    let (http, _) = post(node, "/v3/kv/nothing", &json!({})).await;
    assert_eq!(http, 404);
    let version = node.http_get("/version").await.expect("an answer");
    assert!(version.contains("\"etcdserver\":\"3.6.14\"") && version.contains("\"etcdcluster\":\"3.6.0\""));
    let metrics = node.http_get("/metrics").await.expect("an answer");
    assert!(metrics.contains("\netcd_server_has_leader 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_lines_of_json_while_its_request_goes_on() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let address = ("127.0.0.1", node.options.client_port);
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("the node serves");
    let create = "{\"create_request\":{\"key\":\"Zm9v\"}}\n";
    let head = "POST /v3/watch HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    socket.write_all(format!("{head}{}", chunk(create)).as_bytes()).await.expect("written");
    let mut seen = String::new();
    until(&mut socket, &mut seen, "\"created\":true").await;
    put(node, "foo", b"bar", 0).await.expect("stored");
    until(&mut socket, &mut seen, "\"value\":\"YmFy\"").await;
    let cancel = "{\"cancel_request\":{\"watch_id\":\"0\"}}";
    socket.write_all(chunk(cancel).as_bytes()).await.expect("written");
    until(&mut socket, &mut seen, "\"canceled\":true").await;
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    assert!(seen.contains("{\"result\":{"), "{seen}");
}

/// Reads on until the text has come.
async fn until(socket: &mut tokio::net::TcpStream, seen: &mut String, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = [0; 4096];
    while !seen.contains(text) {
        let left = deadline.saturating_duration_since(Instant::now());
        let count = tokio::time::timeout(left, socket.read(&mut bytes)).await;
        let count = count.unwrap_or_else(|_| panic!("no {text} in {seen}")).expect("still open");
        assert!(count > 0, "ended without {text}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}
