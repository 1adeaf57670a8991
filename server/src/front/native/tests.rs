//! The doors over a real connection, as far as they answer without a node behind them.

use super::door::{Door, Limits};
use super::routes;
use crate::node::handle::{Handle, Identity};
use crate::node::mailbox::MailboxLimits;
use bytes::Bytes;
use oarlock_proto::v1::{self, client_op::Op, server_item::Item};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Streaming;
use tonic::transport::{Channel, Server};

const FRAME_BYTES: usize = 4096;

/// A server whose node never answers, and a connection to it.
async fn channel() -> Channel {
    let identity = Identity { cluster_id: 5, name: "one".into(), version: "0", ..Identity::default() };
    let handle = Handle::new(identity, MailboxLimits::default());
    let limits = Limits { frame_bytes: FRAME_BYTES, ..Limits::default() };
    let gate = crate::auth::Gate::for_tests(handle.clone());
    let (routes, _reporter) =
        routes(Door::new(handle, limits, None, gate)).expect("the schemas are readable");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = Server::builder().add_routes(routes).serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("it listens")
}

async fn stream(frames: Vec<v1::ClientFrame>) -> (mpsc::Sender<v1::ClientFrame>, Streaming<v1::ServerFrame>) {
    let (sender, receiver) = mpsc::channel(8);
    for frame in frames {
        sender.send(frame).await.expect("room");
    }
    let mut client = v1::sessions_client::SessionsClient::new(channel().await);
    let answers = client.stream(ReceiverStream::new(receiver)).await.expect("a stream");
    (sender, answers.into_inner())
}

fn hello(ops: Vec<v1::ClientOp>) -> v1::ClientFrame {
    v1::ClientFrame { hello: Some(v1::Hello::default()), ops, ..v1::ClientFrame::default() }
}

fn op(id: u64, op: Op) -> v1::ClientOp {
    v1::ClientOp { id, op: Some(op), ..v1::ClientOp::default() }
}

/// Everything up to `count` items or a goodbye.
async fn items(
    answers: &mut Streaming<v1::ServerFrame>,
    count: usize,
) -> (Vec<v1::ServerItem>, Option<v1::Error>) {
    let mut items = Vec::new();
    while items.len() < count {
        let Some(frame) = answers.message().await.expect("no status") else { break };
        items.extend(frame.items);
        if frame.goodbye.is_some() {
            return (items, frame.goodbye);
        }
    }
    (items, None)
}

fn code_of(item: &v1::ServerItem) -> Option<v1::ErrorCode> {
    match &item.item {
        Some(Item::Error(error)) => Some(error.code()),
        _ => None,
    }
}

#[tokio::test]
async fn a_stream_without_a_session_is_welcomed_and_answers_pings() {
    let (_sender, mut answers) =
        stream(vec![hello(vec![op(1, Op::Ping(true)), op(2, Op::Ping(true))])]).await;
    let first = answers.message().await.expect("no status").expect("a frame");
    let welcome = first.welcome.expect("comes first");
    assert_eq!((welcome.session, welcome.window), (0, 4096));
    assert_eq!(welcome.header.expect("signed").cluster_id, 5);
    let (rest, _) = items(&mut answers, 2 - first.items.len()).await;
    let ids: Vec<u64> = first.items.iter().chain(&rest).map(|item| item.id).collect();
    assert_eq!(ids, [1, 2]);
}

#[tokio::test]
async fn a_stream_must_begin_with_hello_and_say_it_once() {
    let (_sender, mut answers) = stream(vec![v1::ClientFrame::default()]).await;
    let (_, goodbye) = items(&mut answers, 1).await;
    assert!(goodbye.expect("refused").message.contains("hello"));
    assert!(answers.message().await.expect("no status").is_none(), "goodbye is the last frame");

    let (_sender, mut answers) = stream(vec![hello(vec![]), hello(vec![])]).await;
    let (_, goodbye) = items(&mut answers, 1).await;
    assert!(goodbye.expect("refused").message.contains("again"));
}

#[tokio::test]
async fn malformed_operations_are_refused_one_by_one() {
    let empty_key = v1::PutRequest { value: Bytes::from("v"), ..v1::PutRequest::default() };
    let named = v1::ClientOp { exactly_once: true, ..op(2, Op::Delete(delete_of("k"))) };
    let ops = vec![
        op(1, Op::Put(empty_key)),
        named,
        op(u64::MAX, Op::Ping(true)),
        v1::ClientOp { id: 3, ..v1::ClientOp::default() },
        op(4, Op::CancelWatch(v1::WatchCancel { watch_id: 9 })),
        op(5, Op::CloseSession(true)),
        op(6, Op::Ping(true)),
    ];
    let (_sender, mut answers) = stream(vec![hello(ops)]).await;
    let (items, goodbye) = items(&mut answers, 7).await;
    assert!(goodbye.is_none());
    assert!(items[..6].iter().all(|item| code_of(item) == Some(v1::ErrorCode::InvalidArgument)), "{items:?}");
    assert_eq!((items[6].id, code_of(&items[6])), (6, None));
}

fn delete_of(key: &'static str) -> v1::DeleteRequest {
    let range = v1::KeyRange { key: Bytes::from(key), range_end: Bytes::new() };
    v1::DeleteRequest { range: Some(range), ..v1::DeleteRequest::default() }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_answered_with_the_limit() {
    let value = Bytes::from(vec![0; 2 * FRAME_BYTES]);
    let put = v1::PutRequest { key: Bytes::from("k"), value, ..v1::PutRequest::default() };
    let large = v1::ClientFrame { ops: vec![op(1, Op::Put(put))], ..v1::ClientFrame::default() };
    let (_sender, mut answers) = stream(vec![hello(vec![]), large]).await;
    let (_, goodbye) = items(&mut answers, 1).await;
    let goodbye = goodbye.expect("refused");
    assert_eq!(goodbye.code(), v1::ErrorCode::TooLarge);
    assert!(goodbye.message.contains("4096"), "{}", goodbye.message);
}

#[tokio::test]
async fn a_keep_alive_without_a_session_ends_the_stream() {
    let (sender, mut answers) = stream(vec![hello(vec![])]).await;
    sender.send(v1::ClientFrame { keep_alive: 1, ..v1::ClientFrame::default() }).await.expect("room");
    let (_, goodbye) = items(&mut answers, 1).await;
    assert!(goodbye.expect("refused").message.contains("session"));
}

#[tokio::test]
async fn malformed_unary_requests_carry_their_error() {
    let mut kv = v1::kv_client::KvClient::new(channel().await);
    let status = kv.range(v1::RangeRequest::default()).await.expect_err("no range");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.metadata().get_bin(super::errors::DETAILS).is_some());
}

#[tokio::test]
async fn a_watch_service_tells_refusals_apart_from_the_ends_of_watches() {
    use v1::watch_request::Request as Ask;
    let ask = |request| v1::WatchRequest { request };
    let create = |watch_id, range| Ask::Create(v1::WatchCreate { watch_id, range, ..Default::default() });
    let range = Some(v1::KeyRange { key: Bytes::from("k"), range_end: Bytes::new() });
    let requests = [
        ask(None),
        ask(Some(create(0, range.clone()))),
        ask(Some(Ask::Cancel(v1::WatchCancel { watch_id: 5 }))),
        ask(Some(create(1, None))),
        ask(Some(create(2, range.clone()))),
        ask(Some(create(2, range))),
    ];
    let (sender, receiver) = mpsc::channel(8);
    for request in requests {
        sender.send(request).await.expect("room");
    }
    let mut client = v1::watch_client::WatchClient::new(channel().await);
    let mut answers = client.watch(ReceiverStream::new(receiver)).await.expect("a stream").into_inner();
    let mut told = Vec::new();
    for _ in 0..5 {
        let answer = answers.message().await.expect("no status").expect("an answer");
        told.push((answer.frame.map(|frame| frame.watch_id), answer.refused.is_some()));
    }
    // Nobody answers for watch 2, which the second attempt under its number leaves alone.
    assert_eq!(told, [(None, true), (None, true), (None, true), (Some(1), false), (None, true)]);
}
