//! Three members in one process, over real sockets and disks.

use oarlock_proto::v1;
use oarlock_proto::v1::cluster_client::ClusterClient;
use oarlock_proto::v1::kv_client::KvClient;
use oarlock_proto::v1::maintenance_client::MaintenanceClient;
use oarlock_server::config::{Config, Settings};
use oarlock_server::node::runtime::Ending;
use oarlock_server::serve::Member;
use slog::{Drain, Logger, o};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(30);

/// Log lines, when a person runs the test with OARLOCK_TEST_LOG set.
fn logger() -> Logger {
    if std::env::var_os("OARLOCK_TEST_LOG").is_none() {
        return Logger::root(slog::Discard, o!());
    }
    let plain = slog_term::PlainSyncDecorator::new(std::io::stderr());
    Logger::root(slog_term::FullFormat::new(plain).build().fuse(), o!())
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn settings(dir: &Path, name: &str, peer: u16, runtime: &str) -> Settings {
    Settings {
        name: Some(name.into()),
        data_dir: Some(dir.join(name).to_str().expect("a plain path").into()),
        listen_client_urls: Some("http://127.0.0.1:0".into()),
        listen_peer_urls: Some(format!("http://127.0.0.1:{peer}")),
        heartbeat_interval: Some(50),
        election_timeout: Some(500),
        runtime: Some(runtime.into()),
        reserve_disk_bytes: Some(1 << 20),
        ..Settings::default()
    }
}

fn founder(dir: &Path, ports: &[u16], place: usize, runtime: &str) -> Settings {
    let members: Vec<String> =
        ports.iter().enumerate().map(|(at, port)| format!("n{at}=http://127.0.0.1:{port}")).collect();
    Settings {
        initial_cluster: Some(members.join(",")),
        ..settings(dir, &format!("n{place}"), ports[place], runtime)
    }
}

async fn start(settings: Settings) -> Member {
    let config = Config::from_settings(settings).expect("good settings");
    Member::start(&config, &logger()).await.expect("started")
}

async fn stop(mut member: Member) -> Ending {
    member.node.shut_down();
    let ending = tokio::time::timeout(PATIENCE, member.node.ended()).await.expect("ends in time");
    member.close(ending).await
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("a good address");
    endpoint.connect().await.expect("connected")
}

async fn client(member: &Member) -> KvClient<Channel> {
    KvClient::new(channel(member.client_addresses[0]).await)
}

/// Puts until it succeeds: an election may be going on.
async fn put(kv: &mut KvClient<Channel>, key: &str, value: &str) -> v1::Header {
    let begun = Instant::now();
    loop {
        let request = v1::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..v1::PutRequest::default()
        };
        match kv.put(request).await {
            Ok(response) => return response.into_inner().header.expect("every answer has one"),
            Err(status) if begun.elapsed() > PATIENCE => panic!("no put within {PATIENCE:?}: {status}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn get(kv: &mut KvClient<Channel>, key: &str) -> Option<String> {
    let begun = Instant::now();
    loop {
        let range = v1::KeyRange { key: key.to_owned().into(), ..v1::KeyRange::default() };
        let request = v1::RangeRequest { range: Some(range), ..v1::RangeRequest::default() };
        match kv.range(request).await {
            Ok(response) => {
                let record = response.into_inner().records.into_iter().next();
                return record.map(|record| String::from_utf8(record.value.to_vec()).expect("text"));
            }
            Err(status) if begun.elapsed() > PATIENCE => panic!("no read within {PATIENCE:?}: {status}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits until the condition holds of a member's own idea of the cluster.
async fn wait_until(member: &Member, what: &str, holds: impl Fn(&Member) -> bool) {
    let begun = Instant::now();
    while !holds(member) {
        assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", member.node.handle().status_now());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn http_get(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("an answer");
    response
}

async fn serve_and_survive(runtime: &'static str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let mut members = Vec::new();
    for place in 0..3 {
        members.push(Some(start(founder(dir.path(), &ports, place, runtime)).await));
    }
    let mut clients = Vec::new();
    for member in members.iter().flatten() {
        clients.push(client(member).await);
    }
    // Every member takes writes and gives linearizable reads.
    for place in 0..3 {
        put(&mut clients[place], &format!("key{place}"), "one").await;
        assert_eq!(get(&mut clients[(place + 1) % 3], &format!("key{place}")).await.as_deref(), Some("one"));
    }
    // The others go on without the leader.
    let leads = |member: &Option<Member>| {
        member.as_ref().is_some_and(|member| {
            let status = member.node.handle().status_now();
            status.leader == status.node
        })
    };
    let leader = members.iter().position(leads).expect("somebody leads");
    let stopped = members[leader].take().expect("it runs");
    assert_eq!(stop(stopped).await, Ending::Stopped);
    let other = (leader + 1) % 3;
    put(&mut clients[other], "key0", "two").await;
    // It comes back and has what it missed.
    let back = start(founder(dir.path(), &ports, leader, runtime)).await;
    let mut kv = client(&back).await;
    assert_eq!(get(&mut kv, "key0").await.as_deref(), Some("two"));
    members[leader] = Some(back);
    for member in members.into_iter().flatten() {
        stop(member).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn three_members_serve_on_one_thread() {
    serve_and_survive("compact").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_serve_on_several_threads() {
    serve_and_survive("spread").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_member_alone_answers_health_questions() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let member = start(settings(dir.path(), "alone", free_port(), "compact")).await;
    let address = member.client_addresses[0];
    put(&mut client(&member).await, "a", "b").await;
    let health = http_get(address, "/health").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.contains(r#""health":"true""#), "{health}");
    let ready = http_get(address, "/readyz?verbose").await;
    assert!(ready.contains("[+]linearizable_read ok"), "{ready}");
    assert!(http_get(address, "/livez").await.ends_with("ok\n"));
    assert!(http_get(address, "/version").await.contains("oarlockserver"));
    let metrics = http_get(address, "/metrics").await;
    assert!(metrics.contains("oarlock_is_leader 1"), "{metrics}");
    assert!(http_get(address, "/nonsense").await.starts_with("HTTP/1.1 404"));
    stop(member).await;
}

/// Garbage on either port ends that connection and nothing else.
#[tokio::test(flavor = "current_thread")]
async fn garbage_disturbs_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().expect("a temporary directory");
    let peer = free_port();
    let member = start(settings(dir.path(), "alone", peer, "compact")).await;
    let ports = [member.client_addresses[0].port(), peer];
    for port in ports {
        for garbage in [&[0xff_u8; 300][..], b"hello\r\n\r\n", &[0; 64]] {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
            stream.write_all(garbage).await.expect("sent");
            stream.shutdown().await.expect("closed for writing");
            let mut answer = Vec::new();
            // Whether it is answered or reset, it ends.
            let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "port {port} keeps garbage waiting");
        }
    }
    put(&mut client(&member).await, "a", "b").await;
    stop(member).await;
}

/// A member joins by a client address, catches up by a snapshot, becomes a voter, and is removed.
#[tokio::test(flavor = "current_thread")]
async fn a_member_joins_by_snapshot_and_is_removed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let short_log =
        |settings| Settings { snapshot_count: Some(10), overlay_bytes: Some(1 << 20), ..settings };
    let first = start(short_log(settings(dir.path(), "first", free_port(), "compact"))).await;
    let mut kv = client(&first).await;
    // More than a segment of the log holds, as it is cut by segments.
    let large = "x".repeat(1 << 20);
    for turn in 0..140 {
        put(&mut kv, &format!("key{}", turn % 10), &large).await;
    }
    wait_until(&first, "the log is cut", |member| member.node.handle().status_now().first > 2).await;
    let joining = Settings {
        join: Some(format!("http://{}", first.client_addresses[0])),
        ..short_log(settings(dir.path(), "second", free_port(), "compact"))
    };
    let mut second = start(joining).await;
    let mut second_kv = client(&second).await;
    assert_eq!(get(&mut second_kv, "key0").await, Some(large));
    wait_until(&first, "it becomes a voter", |member| {
        let members = &member.node.handle().status_now().members;
        members.len() == 2 && members.iter().all(|member| !member.learner)
    })
    .await;
    put(&mut second_kv, "after", "joining").await;
    let request = v1::RemoveMemberRequest { id: second.node.handle().identity().node.get() };
    let mut cluster = ClusterClient::new(channel(first.client_addresses[0]).await);
    cluster.remove_member(request).await.expect("removed");
    let ending = tokio::time::timeout(PATIENCE, second.node.ended()).await.expect("it hears of it");
    assert_eq!(second.close(ending).await, Ending::Removed);
    assert_eq!(get(&mut kv, "after").await.as_deref(), Some("joining"));
    stop(first).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_saved_snapshot_holds_what_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let member = start(settings(dir.path(), "alone", free_port(), "compact")).await;
    let written = put(&mut client(&member).await, "a", "b").await;
    let mut maintenance = MaintenanceClient::new(channel(member.client_addresses[0]).await);
    let mut chunks = maintenance.snapshot(v1::SnapshotRequest {}).await.expect("begun").into_inner();
    let first = chunks.message().await.expect("good").expect("not empty");
    let info = first.info.expect("first comes what it is");
    assert!(info.revision >= written.revision, "{info:?} lacks what was acknowledged at {written:?}");
    let mut bytes = 0;
    while let Some(chunk) = chunks.message().await.expect("good") {
        bytes += chunk.data.len();
    }
    assert!(bytes > 0);
    stop(member).await;
}
