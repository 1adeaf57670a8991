//! The receiving half of a session stream.
//!
//! The first frame says whose stream it is. From then on each frame's operations go to the node in
//! the order sent. The reader never runs ahead of the client's appetite: it waits while too many
//! operations are unanswered or too many bytes wait to be taken, and so does the client, by flow
//! control.

use super::convert::invalid;
use super::door::Door;
use super::errors;
use super::frames::{Frames, Own, refused};
use super::ops::{Asked, Caller, asked};
use super::outbox::Outbox;
use super::session::{keep_alive, open, proven};
use super::tags::{self, ID_END, Kind, tag};
use super::watch_ids::WatchIds;
use crate::node::handle::Conn;
use crate::node::request::{Refusal, Request, WatchSpec};
use oarlock_proto::v1::{self, server_item::Item as Body};
use oarlock_state::SessionId;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status, Streaming};

/// How often, and how long apart, a full node is asked again before its refusal is passed on.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Begins to serve a stream.
pub fn begin(door: Arc<Door>, incoming: Streaming<v1::ClientFrame>) -> Frames {
    let outbox = Arc::new(Outbox::new(*door.limits()));
    let conn = Arc::new(door.open_conn(outbox.clone()));
    let watches = Arc::new(WatchIds::new(door.limits().watches));
    let reader = Reader {
        door: door.clone(),
        outbox: outbox.clone(),
        conn: conn.clone(),
        watches: watches.clone(),
        caller: Caller::default(),
        pending: Vec::new(),
    };
    let task = tokio::spawn(reader.run(incoming));
    Frames::new(door, outbox, conn, watches, task.abort_handle())
}

struct Reader {
    door: Arc<Door>,
    outbox: Arc<Outbox<Own>>,
    conn: Arc<Conn>,
    watches: Arc<WatchIds>,
    caller: Caller,
    /// Of the frame at hand: requests that were converted and not yet handed over.
    pending: Vec<(u64, Request)>,
}

impl Reader {
    async fn run(mut self, mut incoming: Streaming<v1::ClientFrame>) {
        match self.serve(&mut incoming).await {
            Ok(()) => self.outbox.finish(),
            Err(reason) => {
                self.outbox.push(Own::Goodbye(reason));
                self.outbox.close();
            }
        }
    }

    /// Until the client has no more to say, or must be told goodbye.
    async fn serve(&mut self, incoming: &mut Streaming<v1::ClientFrame>) -> Result<(), v1::Error> {
        let Some(mut first) = next(incoming, &self.door).await? else { return Ok(()) };
        let Some(hello) = first.hello.take() else {
            return Err(malformed("the first frame of a stream must carry `hello`"));
        };
        self.greet(hello).await?;
        self.frame(first).await?;
        while let Some(frame) = next(incoming, &self.door).await? {
            if frame.hello.is_some() {
                return Err(malformed("`hello` came again; one stream is for one session"));
            }
            self.frame(frame).await?;
        }
        Ok(())
    }

    async fn greet(&mut self, hello: v1::Hello) -> Result<(), v1::Error> {
        let welcome = match hello {
            v1::Hello { open: Some(_), attach: 1.., .. } => {
                return Err(malformed("`hello` opens a session and attaches to one; it can do one of them"));
            }
            v1::Hello { open: Some(request), .. } => self.open(&request).await?,
            v1::Hello { attach: 0, .. } => v1::Welcome::default(),
            v1::Hello { attach, secret, .. } => self.attach(SessionId(attach), &secret).await?,
        };
        if welcome.session != 0 {
            self.caller.session = Some(SessionId(welcome.session));
        }
        let header = welcome.header.unwrap_or_else(|| self.door.header_now());
        let window = self.door.limits().window as u64;
        self.outbox.push(Own::Welcome(v1::Welcome { header: Some(header), window, ..welcome }));
        Ok(())
    }

    async fn open(&self, request: &v1::OpenSessionRequest) -> Result<v1::Welcome, v1::Error> {
        let opened = open(&self.door, request).await?;
        Ok(v1::Welcome {
            header: opened.header,
            session: opened.session,
            secret: opened.secret,
            timeout_ms: opened.timeout_ms,
            // It began after the frame was sent, and lives for its whole timeout from then.
            valid_for_ms: opened.timeout_ms,
            ..v1::Welcome::default()
        })
    }

    async fn attach(&self, session: SessionId, secret: &[u8]) -> Result<v1::Welcome, v1::Error> {
        let (info, valid_for) =
            tokio::join!(proven(&self.door, session, secret), keep_alive(&self.door, session));
        let info = info?;
        Ok(v1::Welcome {
            header: Some(self.door.header_now()),
            session: session.get(),
            timeout_ms: info.timeout_ms,
            valid_for_ms: valid_for?,
            last_sequence: info.last_sequence,
            ..v1::Welcome::default()
        })
    }

    async fn frame(&mut self, frame: v1::ClientFrame) -> Result<(), v1::Error> {
        self.caller.acked_up_to = self.caller.acked_up_to.max(frame.acked_up_to);
        if frame.keep_alive != 0 {
            self.keep_alive(frame.keep_alive).await?;
        }
        for op in frame.ops {
            self.op(op).await?;
        }
        self.hand_over().await
    }

    async fn keep_alive(&mut self, number: u64) -> Result<(), v1::Error> {
        let Some(session) = self.caller.session else {
            return Err(malformed("a keep-alive came on a stream without a session"));
        };
        if number >= ID_END {
            return Err(malformed("a keep-alive's number is 2^60 or above; count from 1"));
        }
        self.ask(Kind::KeepAlive, number, Request::KeepAlive { session }).await
    }

    async fn op(&mut self, op: v1::ClientOp) -> Result<(), v1::Error> {
        let id = op.id;
        match asked(op, self.caller) {
            Ok(Asked::Node(kind, request)) => self.ask(kind, id, *request).await?,
            Ok(Asked::Watch(watch, spec)) => self.watch(watch, spec),
            Ok(Asked::CancelWatch(watch)) => self.cancel_watch(watch),
            Ok(Asked::Ping) => {
                let body = Body::Done(self.door.header_now());
                self.outbox.push(Own::Item(v1::ServerItem { id, item: Some(body) }));
            }
            Err(refusal) => self.outbox.push(refused(id, self.door.error(&refusal))),
        }
        Ok(())
    }

    async fn ask(&mut self, kind: Kind, id: u64, request: Request) -> Result<(), v1::Error> {
        if !self.outbox.try_admit(kind) {
            // Whoever waits for room must not hold back what makes it.
            self.hand_over().await?;
            self.outbox.admit(kind).await;
        }
        self.pending.push((tag(kind, id), request));
        Ok(())
    }

    fn watch(&mut self, id: u64, spec: WatchSpec) {
        match self.watches.begin(id) {
            Ok(()) => self.pending.push((tag(Kind::Watch, id), Request::Watch(spec))),
            // By the operation's number, not the watch's: that may be a living watch's.
            Err(refusal) => self.outbox.push(refused(id, self.door.error(&refusal))),
        }
    }

    fn cancel_watch(&mut self, id: u64) {
        match self.watches.cancel(id) {
            Ok(()) => self.pending.push((tag(Kind::Watch, id), Request::CancelWatch)),
            Err(refusal) => self.outbox.push(refused(id, self.door.error(&refusal))),
        }
    }

    /// Hands the pending requests to the node. When its queue is full the stream waits a little:
    /// refusing one write and taking the next would break their order.
    async fn hand_over(&mut self) -> Result<(), v1::Error> {
        for _ in 0..BUSY_TRIES {
            match self.conn.offer_all(&mut self.pending) {
                Ok(()) => return Ok(()),
                Err(Refusal::Busy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(refusal) => return Err(self.turn_away(&refusal)),
            }
        }
        Err(self.turn_away(&Refusal::Busy { queue: "the request mailbox" }))
    }

    /// Answers the pending requests with a refusal, which then ends the stream.
    fn turn_away(&mut self, refusal: &Refusal) -> v1::Error {
        let error = self.door.error(refusal);
        for (tag, _) in self.pending.drain(..) {
            if let Some((kind, id)) = tags::parts(tag).filter(|(kind, _)| is_answered(*kind)) {
                self.outbox.push_refused(kind, refused(id, error.clone()));
            }
        }
        error
    }
}

/// Whether a request has an answer of its own, beside the stream's goodbye.
fn is_answered(kind: Kind) -> bool {
    match kind {
        Kind::Watch | Kind::KeepAlive => false,
        Kind::Point
        | Kind::Span
        | Kind::Put
        | Kind::Delete
        | Kind::Txn
        | Kind::CheckToken
        | Kind::GetOutcome
        | Kind::Object
        | Kind::ObjectQuery
        | Kind::Pool
        | Kind::PoolQuery
        | Kind::Close => true,
    }
}

/// The next message of a client; `None` when it has no more to say or is gone.
pub async fn next<M>(incoming: &mut Streaming<M>, door: &Door) -> Result<Option<M>, v1::Error> {
    match incoming.message().await {
        Ok(message) => Ok(message),
        Err(status) => unreadable(&status, door).map_or(Ok(None), Err),
    }
}

/// What to tell the client about a message that could not be read; nothing when it is gone.
fn unreadable(status: &Status, door: &Door) -> Option<v1::Error> {
    match status.code() {
        Code::OutOfRange => {
            let limit = door.limits().frame_bytes;
            Some(v1::Error {
                code: v1::ErrorCode::TooLarge.into(),
                ..malformed(format!(
                    "a frame is larger than {limit} bytes, the most that is taken; send several ({})",
                    status.message()
                ))
            })
        }
        Code::Internal => Some(malformed(format!("a frame could not be decoded: {}", status.message()))),
        _ => None,
    }
}

fn malformed(what: impl Into<String>) -> v1::Error {
    errors::plain(&invalid(what))
}
