//! gRPC's unary calls straight on HTTP/2. What measures shares the machine with what is measured, so it
//! goes without what an application's client has besides: queues before the connection, balancing, boxed
//! bodies. One connection is shared by the clients of a thread, and made again when it broke.

use super::{ANSWER_BYTES_MAX, PATIENCE};
use crate::bench::error::BenchError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, StatusCode, Uri};
use prost::Message;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tonic::Status;

/// Bytes before each message: whether it is compressed, and its length.
const HEAD: usize = 5;
/// Bytes on their way to a client that it has not taken yet.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all clients of a connection.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A connection that clients of one thread share.
#[derive(Clone)]
pub struct Wire {
    line: Rc<Line>,
}

struct Line {
    authority: Authority,
    current: RefCell<Option<SendRequest<Bytes>>>,
    /// Held by whoever connects, so that the others wait for that connection.
    dialing: Mutex<()>,
}

impl Wire {
    /// Connects to a server.
    pub async fn connect(endpoint: &str) -> Result<Self, BenchError> {
        let bad = || BenchError::BadEndpoint { endpoint: endpoint.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|_| bad())?;
        let authority = match uri.scheme_str() {
            Some("http") => uri.into_parts().authority.ok_or_else(bad)?,
            _ => return Err(bad()),
        };
        let line = Line { authority, current: RefCell::new(None), dialing: Mutex::new(()) };
        let wire = Self { line: Rc::new(line) };
        let unanswered = |status: Status| BenchError::Unanswered {
            endpoint: endpoint.to_owned(),
            why: super::words(&status),
        };
        wire.sender().await.map_err(unanswered)?;
        Ok(wire)
    }

    /// Calls a method by its path and returns the answer.
    ///
    /// # Errors
    /// As the server says; `unavailable` if the connection broke, `deadline_exceeded` if there is no answer
    /// within [`PATIENCE`].
    pub async fn call<A: Message + Default>(
        &self,
        path: &'static str,
        question: &impl Message,
    ) -> Result<A, Status> {
        match tokio::time::timeout(PATIENCE, self.exchange(path, question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {PATIENCE:?}"))),
        }
    }

    async fn exchange<A: Message + Default>(
        &self,
        path: &'static str,
        question: &impl Message,
    ) -> Result<A, Status> {
        let mut sender = self.sender().await?;
        let broken = |error: h2::Error| self.broken(&error);
        poll_fn(|context| sender.poll_ready(context)).await.map_err(broken)?;
        let (response, mut stream) = sender.send_request(self.request(path)?, false).map_err(broken)?;
        stream.send_data(framed(question), true).map_err(broken)?;
        let (head, mut body) = response.await.map_err(broken)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Status::unavailable(format!("HTTP status {}", head.status)));
        }
        check(&head.headers)?;
        let message = receive(&mut body).await.map_err(broken)?;
        if let Some(trailers) = body.trailers().await.map_err(broken)? {
            check(&trailers)?;
        }
        unframed(message)
    }

    fn request(&self, path: &'static str) -> Result<Request<()>, Status> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.line.authority.clone())
            .path_and_query(PathAndQuery::from_static(path));
        let internal = |error: http::Error| Status::internal(error.to_string());
        Request::post(uri.build().map_err(internal)?)
            .header(TE, HeaderValue::from_static("trailers"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .body(())
            .map_err(internal)
    }

    /// What sends on the connection; connects first if there is none.
    async fn sender(&self) -> Result<SendRequest<Bytes>, Status> {
        if let Some(sender) = self.line.current.borrow().clone() {
            return Ok(sender);
        }
        let _turn = self.line.dialing.lock().await;
        if let Some(sender) = self.line.current.borrow().clone() {
            return Ok(sender);
        }
        let sender = tokio::time::timeout(PATIENCE, self.dial())
            .await
            .map_err(|_| Status::unavailable(format!("no connection within {PATIENCE:?}")))??;
        *self.line.current.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }

    async fn dial(&self) -> Result<SendRequest<Bytes>, Status> {
        let unavailable = |error: &dyn std::error::Error| Status::unavailable(error.to_string());
        let address =
            format!("{}:{}", self.line.authority.host(), self.line.authority.port_u16().unwrap_or(80));
        let socket = TcpStream::connect(address).await.map_err(|error| unavailable(&error))?;
        socket.set_nodelay(true).map_err(|error| unavailable(&error))?;
        let (sender, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(socket)
            .await
            .map_err(|error| unavailable(&error))?;
        // How it ends, every call on it is told.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(sender)
    }

    /// A failure of the connection, or of a stream alone. After the former the next call connects again.
    fn broken(&self, error: &h2::Error) -> Status {
        let is_of_stream = error.is_reset() && error.reason() != Some(Reason::NO_ERROR);
        if !is_of_stream {
            self.line.current.borrow_mut().take();
        }
        Status::unavailable(error.to_string())
    }
}

/// A message with its head.
fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEAD + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut frame);
    frame.freeze()
}

/// The message behind a head. Whoever did not offer compression is sent none.
fn unframed<A: Message + Default>(mut frame: Bytes) -> Result<A, Status> {
    if frame.len() < HEAD || frame[0] != 0 {
        return Err(Status::internal("the answer is no message of gRPC"));
    }
    frame.advance(HEAD);
    A::decode(frame).map_err(|error| Status::internal(error.to_string()))
}

async fn receive(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut whole = Bytes::new();
    let mut parts = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        if parts.len() + whole.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(Reason::FRAME_SIZE_ERROR.into());
        }
        match (whole.is_empty(), parts.is_empty()) {
            (true, true) => whole = part,
            // Most answers come in one part; the others are put together.
            _ => {
                parts.extend_from_slice(&std::mem::take(&mut whole));
                parts.extend_from_slice(&part);
            }
        }
    }
    Ok(if parts.is_empty() { whole } else { parts.freeze() })
}

/// The status that headers or trailers tell, if it is a failure.
fn check(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != tonic::Code::Ok => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_proto::etcd::mvccpb::KeyValue;

    fn record() -> KeyValue {
        KeyValue { key: "k".into(), value: vec![7; 300].into(), ..Default::default() }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let frame = framed(&record());
        assert_eq!(frame[..HEAD], [0, 0, 0, 1, 50]);
        assert_eq!(unframed::<KeyValue>(frame).expect("it is one"), record());
    }

    #[test]
    fn what_is_no_message_is_told() {
        for bad in [&b""[..], b"\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x01\xff"] {
            let status = unframed::<KeyValue>(Bytes::copy_from_slice(bad)).expect_err("it is none");
            assert_eq!(status.code(), tonic::Code::Internal, "{bad:?}");
        }
    }

    #[test]
    fn a_status_of_failure_is_an_error() {
        let with = |code: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static(code));
            headers.insert("grpc-message", HeaderValue::from_static("no%20leader"));
            check(&headers)
        };
        assert!(with("0").is_ok() && check(&HeaderMap::new()).is_ok());
        let status = with("14").expect_err("it failed");
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "no leader"));
    }

    #[tokio::test]
    async fn only_plain_http_is_spoken_and_silence_is_told() {
        for bad in ["https://127.0.0.1:1", "127.0.0.1", "http://"] {
            let refusal = Wire::connect(bad).await.err().expect("no such server");
            assert!(matches!(refusal, BenchError::BadEndpoint { .. }), "{refusal}");
        }
        let refusal = Wire::connect("http://127.0.0.1:1").await.err().expect("nobody listens");
        assert!(refusal.to_string().starts_with("cannot reach http://127.0.0.1:1: "), "{refusal}");
    }
}
