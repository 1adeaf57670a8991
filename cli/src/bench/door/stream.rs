//! Batched frames on one session stream for each client. Writes are exactly-once writes of the
//! client's session, as an application's would be.

use super::{ANSWER_BYTES_MAX, Client, Place, connect_each, native, refused, words};
use crate::bench::crew::Course;
use crate::bench::error::BenchError;
use crate::bench::pace::Turn;
use crate::bench::request::{Answer, Request, Underway};
use crate::bench::words::Words;
use oarlock_proto::v1::{self, client_op::Op, server_item::Item, sessions_client::SessionsClient};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Timeout of a client's session.
const TIMEOUT_MS: u64 = 60_000;
/// The session is kept alive well within that.
const KEEP_ALIVE_EACH: Duration = Duration::from_secs(15);
/// Numbers of operations that are no exactly-once writes have this bit, so that those of writes have no
/// gaps: the session's window is counted in them.
const READ_BIT: u64 = 1 << 59;
/// The number of keep-alives that nobody measures.
const UNMEASURED: u64 = READ_BIT - 1;

/// A client of a session stream.
pub struct Pipelined {
    frames: mpsc::Sender<v1::ClientFrame>,
    incoming: Streaming<v1::ServerFrame>,
    place: Place,
}

impl Client for Pipelined {
    type Connection = Channel;
    const SHARES_PACE: bool = false;

    async fn connect(endpoint: &str, _words: &Words) -> Result<Channel, BenchError> {
        Ok(connect_each(&[endpoint.to_owned()], 1).await?.remove(0))
    }

    async fn open(channel: Channel, place: Place) -> Result<Self, BenchError> {
        let (frames, outgoing) = mpsc::channel(64);
        let open = v1::OpenSessionRequest { timeout_ms: TIMEOUT_MS, ..Default::default() };
        let hello = v1::Hello { open: Some(open), ..Default::default() };
        send(&frames, v1::ClientFrame { hello: Some(hello), ..Default::default() }).await?;
        let mut client = SessionsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut incoming = client.stream(ReceiverStream::new(outgoing)).await?.into_inner();
        match incoming.message().await? {
            Some(frame) if frame.welcome.is_some() => Ok(Self { frames, incoming, place }),
            Some(v1::ServerFrame { goodbye: Some(goodbye), .. }) => {
                Err(Status::unavailable(goodbye.message).into())
            }
            _ => Err(Status::unavailable("the stream began without a welcome").into()),
        }
    }

    /// A stream that fails ends the client: what was on its way has failed with it.
    async fn run(&mut self, course: Course) {
        let mut pipeline = Pipeline::new(course, self.place.clone());
        if let Err(status) = drive(&mut self.incoming, &self.frames, &mut pipeline).await {
            pipeline.fail(&words(&status));
        }
    }
}

async fn drive(
    incoming: &mut Streaming<v1::ServerFrame>,
    frames: &mpsc::Sender<v1::ClientFrame>,
    pipeline: &mut Pipeline,
) -> Result<(), Status> {
    let pace = pipeline.course.pace.clone();
    let mut clock = tokio::time::interval(KEEP_ALIVE_EACH);
    loop {
        pipeline.fill();
        if pipeline.is_done() {
            return close(frames, pipeline.next_write).await;
        }
        if let Some(frame) = pipeline.frame() {
            send(frames, frame).await?;
        }
        let waits_for_turn = !pace.is_closed() && pipeline.has_room();
        tokio::select! {
            frame = incoming.message() => match frame? {
                Some(frame) => pipeline.answered(frame)?,
                None => return Err(Status::unavailable("the stream ended")),
            },
            turn = pace.next(), if waits_for_turn => match turn {
                Some(turn) => pipeline.begin(turn),
                None => pipeline.is_over = true,
            },
            _ = clock.tick() => pipeline.keep_alive = UNMEASURED,
        }
    }
}

async fn send(frames: &mpsc::Sender<v1::ClientFrame>, frame: v1::ClientFrame) -> Result<(), Status> {
    frames.send(frame).await.map_err(|_| Status::unavailable("the stream ended"))
}

/// Ends the session, so that a bench leaves none behind.
async fn close(frames: &mpsc::Sender<v1::ClientFrame>, id: u64) -> Result<(), Status> {
    let op = v1::ClientOp { id, op: Some(Op::CloseSession(true)), ..Default::default() };
    send(frames, v1::ClientFrame { ops: vec![op], ..Default::default() }).await
}

/// The operations on their way. Writes are answered in the order sent, and reads nearly so; one kind may
/// overtake the other, so each has a queue.
struct Pipeline {
    course: Course,
    words: Words,
    in_flight: usize,
    writes: VecDeque<Sent>,
    reads: VecDeque<Sent>,
    next_write: u64,
    next_read: u64,
    /// What the next frame carries.
    ops: Vec<v1::ClientOp>,
    /// Number of the next frame's keep-alive, if it has one.
    keep_alive: u64,
    /// Nothing is begun any more.
    is_over: bool,
}

struct Sent {
    id: u64,
    due: Instant,
    operation: Underway,
}

impl Pipeline {
    fn new(course: Course, place: Place) -> Self {
        Self {
            course,
            words: place.words,
            in_flight: place.in_flight.max(1),
            writes: VecDeque::new(),
            reads: VecDeque::new(),
            next_write: 1,
            next_read: READ_BIT,
            ops: Vec::new(),
            keep_alive: 0,
            is_over: false,
        }
    }

    fn has_room(&self) -> bool {
        !self.is_over && self.writes.len() + self.reads.len() < self.in_flight
    }

    fn is_done(&self) -> bool {
        self.is_over && self.writes.is_empty() && self.reads.is_empty()
    }

    /// Begins all that is due and has room.
    fn fill(&mut self) {
        while self.has_room() {
            match self.course.pace.ready() {
                Some(turn) => self.begin(turn),
                None => {
                    self.is_over = self.course.pace.is_closed();
                    return;
                }
            }
        }
    }

    fn begin(&mut self, turn: Turn) {
        let Some(request) = self.course.next() else {
            self.is_over = true;
            return;
        };
        self.course.tally.borrow_mut().sent(turn);
        self.ask(turn.due, Underway::new(request));
    }

    fn ask(&mut self, due: Instant, operation: Underway) {
        let exactly_once = operation.request.is_write();
        let counter = if exactly_once { &mut self.next_write } else { &mut self.next_read };
        let id = *counter;
        *counter += 1;
        match native::op(&mut self.words, &operation.request) {
            op @ Some(_) => self.ops.push(v1::ClientOp { id, op, exactly_once, ..Default::default() }),
            None if matches!(operation.request, Request::KeepAlive { .. }) => self.keep_alive = id,
            None => {
                let words = refused(&operation.request);
                self.course.tally.borrow_mut().answered(due, Err(words));
                return;
            }
        }
        let sent = Sent { id, due, operation };
        if exactly_once { self.writes.push_back(sent) } else { self.reads.push_back(sent) }
    }

    fn frame(&mut self) -> Option<v1::ClientFrame> {
        if self.ops.is_empty() && self.keep_alive == 0 {
            return None;
        }
        // Everything below the oldest write on its way was answered.
        let acked_up_to = self.writes.front().map_or(self.next_write, |sent| sent.id) - 1;
        let (ops, keep_alive) = (std::mem::take(&mut self.ops), std::mem::take(&mut self.keep_alive));
        Some(v1::ClientFrame { ops, keep_alive, acked_up_to, hello: None })
    }

    fn answered(&mut self, frame: v1::ServerFrame) -> Result<(), Status> {
        for v1::ServerItem { id, item } in frame.items {
            let Some(Sent { due, operation, .. }) = self.take(id) else { continue };
            let answer = match item {
                Some(Item::Range(range)) => Ok(native::of_range(&operation.request, range)),
                Some(Item::Txn(txn)) => Ok(native::of_txn(&operation.request, txn)),
                Some(Item::Error(error)) => Err(error.message),
                _ => Ok(Answer::Done),
            };
            self.settle(due, operation, answer);
        }
        if let Some(alive) = frame.alive {
            if alive.lost {
                return Err(Status::not_found("the session is lost"));
            }
            if let Some(Sent { due, operation, .. }) = self.take(alive.keep_alive) {
                let is_kept = alive.valid_for_ms > 0;
                let answer =
                    if is_kept { Ok(Answer::Done) } else { Err("no quorum confirmed it".to_owned()) };
                self.settle(due, operation, answer);
            }
        }
        match frame.goodbye {
            Some(goodbye) => Err(Status::unavailable(goodbye.message)),
            None => Ok(()),
        }
    }

    fn take(&mut self, id: u64) -> Option<Sent> {
        let queue = if id & READ_BIT == 0 { &mut self.writes } else { &mut self.reads };
        let position = queue.iter().position(|sent| sent.id == id)?;
        queue.remove(position)
    }

    fn settle(&mut self, due: Instant, mut operation: Underway, answer: Result<Answer, String>) {
        let outcome = match answer {
            Ok(answer) => match operation.answered(answer) {
                Some(done) => Ok(done),
                None => return self.ask(due, operation),
            },
            Err(words) => Err(words),
        };
        self.course.tally.borrow_mut().answered(due, outcome);
    }

    fn fail(self, words: &str) {
        let mut tally = self.course.tally.borrow_mut();
        if self.writes.is_empty() && self.reads.is_empty() {
            tally.fail(words.to_owned());
        }
        for sent in self.writes.iter().chain(&self.reads) {
            tally.answered(sent.due, Err(words.to_owned()));
        }
    }
}
