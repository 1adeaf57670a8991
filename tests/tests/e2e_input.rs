//! Bad input of every kind gets a clear answer, and nobody else is disturbed.

use oarlock_proto::v1::{self, kv_client::KvClient};
use oarlock_tests::cluster::{Cluster, binary, detail, put, read};
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(30);

async fn refused(cluster: &Cluster, request: v1::PutRequest) -> tonic::Status {
    let channel = cluster.nodes[0].channel().await.expect("the node serves");
    KvClient::new(channel).put(request).await.expect_err("bad input is refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_or_unknown_is_refused_with_a_sentence() {
    let cluster = Cluster::start(1, &[]).await;
    let empty = refused(&cluster, v1::PutRequest::default()).await;
    assert_eq!(empty.code(), Code::InvalidArgument, "{empty:?}");
    let key = vec![b'k'; 17 * 1024].into();
    let long_key = refused(&cluster, v1::PutRequest { key, ..Default::default() }).await;
    assert_eq!(detail(&long_key).expect("typed").code(), v1::ErrorCode::TooLarge, "{long_key:?}");
    let value = vec![b'v'; 1600 * 1024].into();
    let large = refused(&cluster, v1::PutRequest { key: "/k".into(), value, ..Default::default() }).await;
    assert_eq!(detail(&large).expect("typed").code(), v1::ErrorCode::TooLarge, "{large:?}");
    let value = vec![b'v'; 64 << 20].into();
    let huge = refused(&cluster, v1::PutRequest { key: "/k".into(), value, ..Default::default() }).await;
    assert!(
        matches!(huge.code(), Code::OutOfRange | Code::ResourceExhausted | Code::Unavailable),
        "{huge:?}"
    );
    let orphan =
        refused(&cluster, v1::PutRequest { key: "/k".into(), owner: 77, ..Default::default() }).await;
    assert_eq!(detail(&orphan).expect("typed").code(), v1::ErrorCode::SessionNotFound, "{orphan:?}");
    assert!(orphan.message().contains("77"), "the message names the session: {orphan:?}");
    put(&cluster.nodes[0], "/k", b"fine", 0).await.expect("the server goes on");
}

/// Sends bytes, and takes whatever comes until the server hangs up or a second passes.
async fn throw(port: u16, bytes: &[u8]) {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the port is open");
    let _ = socket.write_all(bytes).await; // the server may hang up in the middle
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.read_to_end(&mut answer)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_port_disturbs_nobody() {
    let cluster = Cluster::start(3, &[]).await;
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &noise[..1000]].concat();
    let bad_call = b"POST /oarlock.v1.Kv/Put HTTP/1.1\r\ncontent-length: 5\r\n\r\nxxxxx".as_slice();
    for node in &cluster.nodes {
        for port in [node.options.client_port, node.options.peer_port] {
            for bytes in [&noise, b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xff; 16], &preface, bad_call, &[]]
            {
                throw(port, bytes).await;
            }
        }
    }
    for node in &cluster.nodes {
        put(node, "/still", b"here", 0).await.expect("the server goes on");
    }
    let record = read(&cluster.nodes[2], "/still").await.expect("reads go on");
    assert_eq!(record.expect("it was written").value, "here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_protobuf_is_an_error_of_the_call_alone() {
    let cluster = Cluster::start(1, &[]).await;
    let channel = cluster.nodes[0].channel().await.expect("the node serves");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("the connection is up");
    let path = "/oarlock.v1.Kv/Put".parse().expect("a path");
    // A string where a message is expected: its bytes do not parse as a PutRequest.
    let codec = tonic_prost::ProstCodec::<v1::Error, v1::PutResponse>::default();
    let request = v1::Error { code: 3, message: "\u{7f}".repeat(9), ..Default::default() };
    let status = grpc.unary(tonic::Request::new(request), path, codec).await.expect_err("refused");
    assert!(matches!(status.code(), Code::Internal | Code::InvalidArgument), "{status:?}");
    put(&cluster.nodes[0], "/k", b"fine", 0).await.expect("the server goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_cannot_share_a_data_directory() {
    let cluster = Cluster::start(1, &[]).await;
    let mut second = oarlock_tests::cluster::Node::new({
        let mut options = cluster.nodes[0].options.clone();
        (options.client_port, options.peer_port) = (0, 0);
        options
    });
    second.start();
    let code = second.wait_exit(PATIENCE).await.expect("the second process ends by itself");
    assert_ne!(code, 0);
    let log = second.log();
    assert!(log.contains("in use") || log.contains("lock"), "the log says why: {log}");
    put(&cluster.nodes[0], "/k", b"fine", 0).await.expect("the first goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start(1, &[]).await;
    cluster.nodes[0].kill();
    let other = cluster.nodes[0].options.initial_cluster.replace("n1=", "stranger=");
    cluster.nodes[0].options.initial_cluster = other;
    cluster.nodes[0].options.name = "stranger".into();
    cluster.nodes[0].start();
    let code = cluster.nodes[0].wait_exit(PATIENCE).await.expect("it ends by itself");
    assert_ne!(code, 0, "see {}", cluster.nodes[0].log_path().display());
}

#[test]
fn bad_flags_are_explained() {
    let run = |arguments: &[&str]| {
        let output = Command::new(binary("oarlockd")).args(arguments).output().expect("oarlockd runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for arguments in [
        ["--listen-client-urls", "not a url"].as_slice(),
        &["--initial-cluster", "a=http://127.0.0.1:1,a=http://127.0.0.1:2"],
        &["--no-such-flag"],
        &["--heartbeat-interval", "1000", "--election-timeout", "1000"],
        &["--listen-client-urls", "https://127.0.0.1:2379"],
    ] {
        let (code, message) = run(arguments);
        assert!(code.is_some_and(|code| code != 0), "{arguments:?} was accepted");
        assert!(message.len() > 20, "{arguments:?} was refused without a word: {message:?}");
    }
}
