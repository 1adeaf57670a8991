//! Bad input of every kind gets a clear answer, and nobody else is disturbed.

use futures::StreamExt;
use oarlock_proto::v1::{self, kv_client::KvClient, sessions_client::SessionsClient};
use oarlock_tests::cluster::{Cluster, binary, detail, put, read};
use std::process::Command;
use std::time::{Duration, Instant};
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
    assert!(long_key.message().contains("at most 16384"), "{long_key:?}");
    let value = vec![b'v'; 1600 * 1024].into();
    let large = refused(&cluster, v1::PutRequest { key: "/k".into(), value, ..Default::default() }).await;
    assert!(large.message().contains("the limit is"), "{large:?}");
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

/// Sends bytes, and takes whatever comes until the server hangs up or falls silent.
async fn throw(port: u16, bytes: &[u8]) {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the port is open");
    let _ = socket.write_all(bytes).await; // the server may hang up in the middle
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(300), socket.read_to_end(&mut answer)).await;
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

/// Opens a session stream with these frames and returns what it ends with: the goodbye's or the
/// call's words, or nothing when it goes on for a second.
async fn stream(cluster: &Cluster, frames: Vec<v1::ClientFrame>) -> Option<String> {
    let channel = cluster.nodes[0].channel().await.expect("the node serves");
    let outgoing = futures::stream::iter(frames).chain(futures::stream::pending());
    let mut answers = match SessionsClient::new(channel).stream(outgoing).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return Some(status.message().to_owned()),
    };
    loop {
        match tokio::time::timeout(Duration::from_secs(1), answers.message()).await {
            Ok(Ok(Some(v1::ServerFrame { goodbye: Some(error), .. }))) => return Some(error.message),
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Some("ended without a word".into()),
            Ok(Err(status)) => return Some(status.message().to_owned()),
            Err(_) => return None,
        }
    }
}

fn hello() -> v1::Hello {
    let open = v1::OpenSessionRequest { timeout_ms: 10_000, ..Default::default() };
    v1::Hello { open: Some(open), ..Default::default() }
}

fn put_op(id: u64, value: Vec<u8>) -> v1::ClientOp {
    let put = v1::PutRequest { key: "/stream".into(), value: value.into(), ..Default::default() };
    v1::ClientOp { id, op: Some(v1::client_op::Op::Put(put)), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_too_large_or_make_no_sense_end_their_stream_alone() {
    let cluster = Cluster::start(1, &[]).await;
    let healthy =
        v1::ClientFrame { hello: Some(hello()), ops: vec![put_op(1, b"v".to_vec())], ..Default::default() };
    assert_eq!(stream(&cluster, vec![healthy.clone()]).await, None, "a proper stream goes on");
    let silent = v1::ClientFrame { hello: None, ..healthy.clone() };
    let huge = v1::ClientFrame { ops: vec![put_op(2, vec![0; 80 << 20])], ..Default::default() };
    let stranger = v1::Hello { attach: 999, secret: vec![1; 16].into(), ..Default::default() };
    let stranger = v1::ClientFrame { hello: Some(stranger), ..Default::default() };
    for (name, frames) in [
        ("no hello", vec![silent]),
        ("two hellos", vec![healthy.clone(), healthy.clone()]),
        ("80 MiB", vec![healthy.clone(), huge]),
        ("a session that is not there", vec![stranger]),
    ] {
        let said = stream(&cluster, frames).await;
        assert!(said.as_ref().is_some_and(|said| said.len() > 10), "{name}: {said:?}");
    }
    let many = (1..=50_000).map(|id| put_op(id, b"v".to_vec())).collect();
    let many = v1::ClientFrame { hello: Some(hello()), ops: many, ..Default::default() };
    stream(&cluster, vec![many]).await; // answered or refused one by one; nobody else must suffer
    put(&cluster.nodes[0], "/k", b"fine", 0).await.expect("the server goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_on_disk_only_what_makes_room_is_accepted() {
    let mut cluster = Cluster::start(1, &[]).await;
    put(&cluster.nodes[0], "/k", b"v", 0).await.expect("there is room");
    // As if the disk were nearly full: more is to be kept free than any disk has.
    cluster.nodes[0].kill();
    cluster.nodes[0].options.flags = ["--reserve-disk-bytes", "1000000000000000"].map(String::from).to_vec();
    cluster.nodes[0].start();
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        match put(&cluster.nodes[0], "/k", b"w", 0).await {
            Err(status) if detail(&status).is_some_and(|error| error.code() == v1::ErrorCode::NoSpace) => {
                break status;
            }
            Ok(_) | Err(_) => assert!(Instant::now() < deadline, "writes are not refused"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(detail(&refused).expect("typed").certainty(), v1::Certainty::NotProposed, "{refused:?}");
    assert!(refused.message().len() > 20, "{refused:?}");
    let record = read(&cluster.nodes[0], "/k").await.expect("reads go on");
    assert_eq!(record.expect("it was written").value, "v", "what was refused did not happen");
    let channel = cluster.nodes[0].channel().await.expect("the node serves");
    let range = Some(v1::KeyRange { key: "/k".into(), ..Default::default() });
    let delete = v1::DeleteRequest { range, ..Default::default() };
    KvClient::new(channel).delete(delete).await.expect("deletes make room");
    cluster.compact(0).await;
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
