//! One connection: its requests, the calls among them that wait for the node, and their answers.

use super::bridge;
use super::gather::{Gather, Hold};
use super::intake::{Intake, Taken};
use super::keep_alive::KeepAlive;
use super::replies::{Replies, Reply};
use super::table::{Begun, Call, Ended, Rest, Table};
use crate::front::unary::Answer;
use crate::node::handle::{Conn, Handle};
use crate::node::request::Refusal;
use axum::Router;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use slab::Slab;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::metadata::MetadataMap;

/// An idle connection is asked for life this often, so that watches of vanished clients end.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long the answer to that may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one stream, and of one connection, on their way without an answer. Too low: a distant
/// client waits for the window. Too high: memory per slow connection.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of one HTTP/2 frame: a batch of operations fits into one.
const FRAME_BYTES: u32 = 256 << 10;
/// Bytes of a request's headers. Tokens are the longest of them.
const HEADERS_BYTES: u32 = 16 << 10;
/// Bytes of one stream's answer that wait for the socket; a task that has more waits with them.
const SEND_BYTES: usize = 400 << 10;
/// How a call ended, in the trailers of its answer.
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What a connection leads to.
pub struct Services {
    /// Calls that are served within the connection's task.
    pub calls: Table,
    /// Everything else.
    pub router: Router,
    /// Who is asked for the calls.
    pub node: Handle,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum Failure {
    /// The client broke the protocol, or the socket broke.
    #[error(transparent)]
    Protocol(#[from] h2::Error),
    /// The client is gone.
    #[error("the client did not answer a ping for {KEEP_ALIVE_TIMEOUT:?}")]
    Silent,
}

/// Serves a connection of at most so many streams at once, until it ends.
///
/// # Errors
/// See [`Failure`].
pub async fn serve<S>(socket: S, services: &Services, streams: u32) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hold = Hold::default();
    let mut wire = builder(streams).handshake(Gather::new(socket, hold.clone())).await?;
    let pings = wire.ping_pong().expect("nobody has taken it");
    let replies = Arc::new(Replies::default());
    let mut connection = Connection {
        services,
        wire,
        hold,
        keep_alive: KeepAlive::new(pings, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT),
        node: services.node.open_conn(replies.clone()),
        replies,
        taken: Vec::new(),
        waiting: Slab::new(),
        waiting_max: streams as usize,
        slow: FuturesUnordered::new(),
    };
    poll_fn(|context| connection.poll(context)).await
}

fn builder(streams: u32) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADERS_BYTES)
        .max_send_buffer_size(SEND_BYTES)
        .max_concurrent_streams(streams);
    builder
}

/// Where an answer goes.
type Respond = SendResponse<Bytes>;

struct Connection<'s, S> {
    services: &'s Services,
    wire: h2::server::Connection<Gather<S>, Bytes>,
    hold: Hold,
    keep_alive: KeepAlive,
    node: Conn,
    replies: Arc<Replies>,
    /// Empty, with room for the replies of a round.
    taken: Vec<Reply>,
    /// Calls that the node has not replied to. Their keys are the tags of their questions.
    waiting: Slab<Waiting>,
    /// How many they may be. Streams are bounded too, but end at once when the client resets them.
    waiting_max: usize,
    /// Requests of which parts are missing, and calls that ask the node more than once.
    slow: FuturesUnordered<BoxFuture<'s, Slow<'s>>>,
}

struct Waiting {
    respond: Respond,
    rest: Box<dyn Rest>,
}

/// What something slow has come to.
enum Slow<'s> {
    Taken(&'s dyn Call, Taken, Respond),
    Answered(Answer<Bytes>, Respond),
    Gone,
}

impl<'s, S: AsyncRead + AsyncWrite + Unpin> Connection<'s, S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.keep_alive.poll(context).is_ready() {
            return Poll::Ready(Err(Failure::Silent));
        }
        let passes = match self.answer(context) {
            0 | 1 => &[false][..],
            _ => &[true, false],
        };
        loop {
            self.poll_slow(context);
            let slow = self.slow.len();
            for hold in passes {
                // Writes what was answered, too: all of a round in one piece, by the last pass.
                self.hold.set(*hold);
                while let Poll::Ready(accepted) = self.wire.poll_accept(context) {
                    match accepted {
                        Some(Ok((request, respond))) => self.accept(request, respond, context),
                        Some(Err(error)) => return Poll::Ready(Err(error.into())),
                        None => return Poll::Ready(Ok(())),
                    }
                }
            }
            // What was added must be polled once, to be woken later.
            if self.slow.len() == slow {
                return Poll::Pending;
            }
        }
    }

    /// Answers the calls that the node has replied to. Returns how many they are.
    fn answer(&mut self, context: &mut Context<'_>) -> usize {
        let mut replies = std::mem::take(&mut self.taken);
        self.replies.take(context, &mut replies);
        let count = replies.len();
        for (tag, reply) in replies.drain(..) {
            if let Some(Waiting { respond, rest }) = self.waiting.try_remove(tag as usize) {
                self.end(rest.end(reply), respond);
            }
        }
        self.taken = replies;
        count
    }

    fn poll_slow(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(slow)) = self.slow.poll_next_unpin(context) {
            match slow {
                Slow::Taken(call, taken, respond) => self.begin(call, taken, respond),
                Slow::Answered(answer, respond) => send(respond, answer),
                Slow::Gone => {}
            }
        }
    }

    fn accept(&mut self, request: Request<RecvStream>, respond: Respond, context: &mut Context<'_>) {
        self.keep_alive.heard();
        let Some(call) = self.services.calls.find(&request) else {
            tokio::spawn(bridge::serve(self.services.router.clone(), request, respond));
            return;
        };
        let (head, stream) = request.into_parts();
        let mut intake = Intake::new(head.headers, stream, call.bytes_max());
        match intake.poll(context) {
            Poll::Ready(taken) => self.begin(call, taken, respond),
            Poll::Pending => self.slow.push(Box::pin(async move {
                Slow::Taken(call, poll_fn(|context| intake.poll(context)).await, respond)
            })),
        }
    }

    fn begin(&mut self, call: &dyn Call, taken: Taken, respond: Respond) {
        let begun = match taken {
            Taken::Message(headers, message) => call.begin(&MetadataMap::from_headers(headers), message),
            Taken::Refused(status) => Err(status),
            Taken::Gone => return,
        };
        match begun {
            Ok(begun) => self.ask(begun, respond),
            Err(status) => send(respond, Err(status)),
        }
    }

    fn ask(&mut self, begun: Begun, respond: Respond) {
        let Begun { who, ask, rest } = begun;
        if self.waiting.len() >= self.waiting_max {
            self.end(rest.end(Err(Refusal::Busy { queue: "the connection's calls" })), respond);
            return;
        }
        let place = self.waiting.vacant_entry();
        match self.node.submit_as(&who, place.key() as u64, ask) {
            Ok(()) => drop(place.insert(Waiting { respond, rest })),
            Err(refusal) => self.end(rest.end(Err(refusal)), respond),
        }
    }

    fn end(&mut self, ended: Ended, respond: Respond) {
        match ended {
            Ended::Now(answer) => send(respond, answer),
            Ended::Later(answer) => self.slow.push(Box::pin(later(answer, respond))),
        }
    }
}

/// Waits for an answer, until the client does no longer.
async fn later<'s>(mut answer: BoxFuture<'static, Answer<Bytes>>, mut respond: Respond) -> Slow<'s> {
    let answered = poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => respond.poll_reset(context).map(|_| None),
    });
    match answered.await {
        Some(answer) => Slow::Answered(answer, respond),
        None => Slow::Gone,
    }
}

/// Hands over an answer, to be written when the socket and the client's windows have room.
fn send(mut respond: Respond, answer: Answer<Bytes>) {
    // It fails if the client has taken the request back, or is gone.
    let _ = match answer {
        Ok(response) => send_message(&mut respond, response),
        Err(status) => respond.send_response(status.into_http(), true).map(drop),
    };
}

fn send_message(respond: &mut Respond, response: tonic::Response<Bytes>) -> Result<(), h2::Error> {
    let (metadata, message, _) = response.into_parts();
    let mut head = http::Response::new(());
    *head.headers_mut() = metadata.into_headers();
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
