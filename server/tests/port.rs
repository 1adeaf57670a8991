//! The client port, spoken to frame by frame: what is served within the connection's task must look
//! to a client exactly as what the router serves.

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use oarlock_proto::etcd::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};
use oarlock_server::config::{Config, Settings};
use oarlock_server::serve::Member;
use prost::Message;
use slog::{Logger, o};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(30);
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// A cluster of one, for as long as the directory is.
async fn start(dir: &tempfile::TempDir) -> Member {
    let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
    let peer = listener.local_addr().expect("bound").port();
    drop(listener);
    let config = Config::from_settings(Settings {
        name: Some("n0".into()),
        data_dir: Some(dir.path().join("n0").to_str().expect("a plain path").into()),
        initial_cluster: Some(format!("n0=http://127.0.0.1:{peer}")),
        listen_client_urls: Some("http://127.0.0.1:0".into()),
        listen_peer_urls: Some(format!("http://127.0.0.1:{peer}")),
        heartbeat_interval: Some(50),
        election_timeout: Some(500),
        reserve_disk_bytes: Some(1 << 20),
        ..Settings::default()
    });
    let logger = Logger::root(slog::Discard, o!());
    Member::start(&config.expect("good settings"), &logger).await.expect("started")
}

async fn stop(mut member: Member) {
    member.node.shut_down();
    let ending = tokio::time::timeout(PATIENCE, member.node.ended()).await.expect("ends in time");
    member.close(ending).await;
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.expect("connected");
    // As other clients do: h2 itself holds hundreds of short answers at once for an attack otherwise.
    let builder = h2::client::Builder::new().initial_connection_window_size(1 << 20).to_owned();
    let (client, connection) = builder.handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    client.ready().await.expect("ready")
}

fn request(path: &str) -> Request<()> {
    let request = Request::builder().method(Method::POST).uri(format!("http://port{path}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).expect("good")
}

fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).expect("room");
    frame.freeze()
}

fn put(key: &str, value: impl Into<Bytes>) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.into(), ..PutRequest::default() }
}

/// What a call was answered.
#[derive(Debug)]
struct Answer {
    body: Bytes,
    /// The last headers: trailers, or those of an answer that has nothing else.
    end: HeaderMap,
}

impl Answer {
    fn status(&self) -> Status {
        Status::from_header_map(&self.end).expect("every answer tells how it ended")
    }

    /// Code and text of a refusal.
    fn refusal(&self) -> (Code, String) {
        (self.status().code(), self.status().message().to_owned())
    }

    fn message<M: Message + Default>(&self) -> M {
        assert_eq!(self.status().code(), Code::Ok, "{self:?}");
        assert_eq!(self.body[..5], frame_head(self.body.len() - 5));
        M::decode(&self.body[5..]).expect("the message")
    }
}

fn frame_head(length: usize) -> [u8; 5] {
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [0, a, b, c, d]
}

/// Calls with a body in these parts, each of which goes out before the next is written.
async fn call(client: &SendRequest<Bytes>, request: Request<()>, parts: &[Bytes]) -> Answer {
    let mut client = client.clone().ready().await.expect("the connection holds");
    let (response, mut stream) = client.send_request(request, false).expect("sent");
    for (at, part) in parts.iter().enumerate() {
        // It fails once the server has refused what came before.
        let _ = stream.send_data(part.clone(), at + 1 == parts.len());
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(PATIENCE, answer(response)).await.expect("answered in time")
}

async fn answer(response: h2::client::ResponseFuture) -> Answer {
    let (head, mut stream) = response.await.expect("an answer").into_parts();
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.headers["content-type"], "application/grpc");
    let mut body = BytesMut::new();
    while let Some(part) = stream.data().await {
        let part = part.expect("whole");
        stream.flow_control().release_capacity(part.len()).expect("that much came");
        body.put(part);
    }
    let trailers = stream.trailers().await.expect("whole");
    Answer { body: body.freeze(), end: trailers.unwrap_or(head.headers) }
}

/// Waits until the member leads.
async fn settle(client: &SendRequest<Bytes>) {
    let settled = async {
        while call(client, request(PUT), &[frame(&put("/settled", "1"))]).await.status().code() != Code::Ok {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("elected in time");
}

async fn get(client: &SendRequest<Bytes>, key: &str) -> RangeResponse {
    let range = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    call(client, request(RANGE), &[frame(&range)]).await.message()
}

async fn calls_are_answered(client: &SendRequest<Bytes>) {
    // Larger than a frame of HTTP/2 and than the client's window.
    let large = put("/large", vec![7; 300_000]);
    let answer = call(client, request(PUT), &[frame(&large)]).await.message::<PutResponse>();
    assert!(answer.header.expect("every answer has one").revision > 1);
    let found = get(client, "/large").await;
    assert_eq!((found.count, &found.kvs[0].value), (1, &large.value));
    let bytes = frame(&put("/cut", "by bytes"));
    let parts: Vec<Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
    call(client, request(PUT), &parts).await.message::<PutResponse>();
    assert_eq!(get(client, "/cut").await.kvs[0].value, "by bytes");
}

async fn bad_calls_are_refused(client: &SendRequest<Bytes>) {
    let of = |code, text: &str| (code, text.to_owned());
    let refused = call(client, request(PUT), &[frame(&put("", "1"))]).await;
    assert_eq!(refused.refusal(), of(Code::InvalidArgument, "etcdserver: key is not provided"));
    let large = call(client, request(PUT), &[frame(&put("/k", vec![1; 1_700_000]))]).await;
    assert_eq!(large.refusal(), of(Code::InvalidArgument, "etcdserver: request is too large"));
    let huge = call(client, request(PUT), &[frame(&put("/k", vec![1; 3_000_000]))]).await;
    let text = "grpc: received message larger than max (3000009 vs. 2097152)";
    assert_eq!(huge.refusal(), of(Code::ResourceExhausted, text));
    let malformed = call(client, request(PUT), &[Bytes::from_static(&[0, 0, 0, 0, 1, 0xff])]).await;
    assert_eq!(malformed.status().code(), Code::Internal, "{malformed:?}");
    let short = call(client, request(PUT), &[Bytes::from_static(&[0, 0, 0, 0, 9, 1])]).await;
    assert_eq!(short.refusal(), of(Code::Internal, "Unexpected EOF decoding stream."));
    let none = call(client, request(PUT), &[Bytes::new()]).await;
    assert_eq!(none.refusal(), of(Code::Internal, "Missing request message."));
    let unknown = call(client, request("/etcdserverpb.KV/Guess"), &[frame(&put("/k", "1"))]).await;
    assert_eq!(unknown.status().code(), Code::Unimplemented, "{unknown:?}");
    let mut packed = request(PUT);
    packed.headers_mut().insert("grpc-encoding", "gzip".parse().expect("printable"));
    let packed = call(client, packed, &[frame(&put("/k", "1"))]).await;
    assert_eq!(packed.status().code(), Code::Unimplemented, "the router answers it: {packed:?}");
}

async fn cancelled_calls_disturb_nobody(client: &SendRequest<Bytes>) {
    for whole in [false, true] {
        for path in [PUT, "/etcdserverpb.Lease/LeaseLeases"] {
            let mut client = client.clone().ready().await.expect("the connection holds");
            let (response, mut stream) = client.send_request(request(path), false).expect("sent");
            stream.send_data(frame(&put("/cancelled", "1")), whole).expect("sent");
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
        }
    }
    assert_eq!(get(client, "/settled").await.count, 1);
}

async fn many_calls_share_a_connection(client: &SendRequest<Bytes>) {
    let puts = (0..200).map(|number| async move {
        let key = format!("/many/{number:03}");
        call(client, request(PUT), &[frame(&put(&key, key.clone()))]).await.message::<PutResponse>();
        let found = get(client, &key).await;
        assert_eq!(found.kvs[0].value, key, "answers do not get mixed up");
    });
    join_all(puts).await;
    let (key, range_end) = ("/many/".into(), "/many0".into());
    let all = RangeRequest { key, range_end, ..RangeRequest::default() };
    let all: RangeResponse = call(client, request(RANGE), &[frame(&all)]).await.message();
    assert_eq!(all.count, 200);
}

async fn plain_http(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).await.expect("connected");
    let request = b"GET /version HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.expect("sent");
    let mut response = String::new();
    socket.read_to_string(&mut response).await.expect("an answer");
    response
}

async fn speak(client: &SendRequest<Bytes>, address: SocketAddr) {
    calls_are_answered(client).await;
    bad_calls_are_refused(client).await;
    cancelled_calls_disturb_nobody(client).await;
    many_calls_share_a_connection(client).await;
    assert!(plain_http(address).await.contains("etcdserver"), "HTTP/1 on the same port");
    let version = Request::get("http://port/version").body(()).expect("good");
    let mut client = client.clone().ready().await.expect("the connection holds");
    let (response, _) = client.send_request(version, true).expect("sent");
    let (head, mut body) = response.await.expect("an answer").into_parts();
    assert_eq!(
        (head.status, &head.headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().expect("printable"))
    );
    let text = body.data().await.expect("a body").expect("whole");
    assert_eq!(head.headers["content-length"], text.len().to_string());
}

#[tokio::test]
async fn the_port_speaks_to_every_kind_of_client() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let member = start(&dir).await;
    let address = member.client_addresses[0];
    let client = connect(address).await;
    settle(&client).await;
    speak(&client, address).await;
    stop(member).await;
}
