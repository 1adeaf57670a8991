//! The task that keeps a session alive and carries its operations.

use super::pipeline::Pipeline;
use super::state::{SessionState, Validity};
use crate::client::Client;
use crate::error::{Error, Result};
use bytes::Bytes;
use oarlock_proto::v1::{self, client_op::Op, server_item::Item, sessions_client::SessionsClient};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Unanswered operations beyond which callers wait. Well within the servers' window.
const UNANSWERED_MAX: usize = 2048;
/// Operations in one frame.
const OPS_PER_FRAME_MAX: usize = 512;
/// Pause between attempts to attach somewhere.
const PAUSE: Duration = Duration::from_millis(50);

/// An operation and who waits for it.
pub(super) struct Command {
    pub(super) op: Op,
    pub(super) guards: Vec<v1::Guard>,
    pub(super) exactly_once: bool,
    pub(super) reply: oneshot::Sender<Result<Item>>,
}

/// Keeps one session on one stream at a time.
pub(super) struct Driver {
    client: Client,
    session: u64,
    secret: Bytes,
    timeout: Duration,
    commands: mpsc::Receiver<Command>,
    validity: watch::Sender<Validity>,
    pipeline: Pipeline,
    /// When each keep-alive that was not confirmed yet was sent.
    beats: VecDeque<(u64, Instant)>,
    next_beat: u64,
    closing: bool,
    /// Id of the operation that closes the session, once it was asked for.
    close: Option<u64>,
}

/// Why a stream ended.
enum End {
    /// The session was closed, or nobody holds it any more.
    Finished,
    /// The servers say that it is gone.
    Lost(String),
    /// Try another endpoint.
    Broken,
}

/// One attached stream.
struct Link {
    frames: mpsc::Sender<v1::ClientFrame>,
    incoming: Streaming<v1::ServerFrame>,
}

impl Driver {
    pub(super) fn new(
        client: Client,
        session: u64,
        secret: Bytes,
        timeout: Duration,
        commands: mpsc::Receiver<Command>,
        validity: watch::Sender<Validity>,
    ) -> Self {
        let (pipeline, beats) = (Pipeline::new(), VecDeque::new());
        Self {
            client,
            session,
            secret,
            timeout,
            commands,
            validity,
            pipeline,
            beats,
            next_beat: 1,
            closing: false,
            close: None,
        }
    }

    /// Attaches, carries, and attaches again, until the session ends.
    pub(super) async fn run(mut self) {
        let mut turn = 0;
        loop {
            let end = match self.attach(turn).await {
                Ok(link) => self.carry(link).await,
                Err(end) => end,
            };
            match end {
                End::Finished => return,
                End::Lost(cause) => return self.lose(cause),
                End::Broken => {
                    turn += 1;
                    self.beats.clear();
                    self.note_jeopardy();
                    if self.commands.is_closed() && self.pipeline.len() == 0 {
                        return;
                    }
                    tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
                }
            }
        }
    }

    fn lose(&mut self, cause: String) {
        let error = Error::SessionLost { session: self.session, cause: cause.clone() };
        self.validity.send_modify(|validity| validity.state = SessionState::Lost { cause });
        self.pipeline.fail(&error);
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            let _ = command.reply.send(Err(error.clone()));
        }
    }

    /// Opens a stream to an endpoint and attaches the session to it.
    async fn attach(&mut self, turn: usize) -> std::result::Result<Link, End> {
        let patience = (self.timeout / 3).max(Duration::from_millis(500));
        let sent = Instant::now();
        match tokio::time::timeout(patience, self.try_attach(turn)).await {
            Ok(Ok((link, welcome))) => {
                if welcome.valid_for_ms > 0 {
                    self.confirm(sent, welcome.valid_for_ms);
                }
                Ok(link)
            }
            Ok(Err(Error::Rejected { code: v1::ErrorCode::SessionNotFound, message, .. })) => {
                Err(End::Lost(message))
            }
            Ok(Err(_)) | Err(_) => Err(End::Broken),
        }
    }

    async fn try_attach(&self, turn: usize) -> Result<(Link, v1::Welcome)> {
        let (_, channel) = self.client.inner.endpoints.own_connection(turn).await?;
        let (frames, outgoing) = mpsc::channel(64);
        let hello = v1::Hello { attach: self.session, secret: self.secret.clone(), open: None };
        let first = v1::ClientFrame { hello: Some(hello), ..Default::default() };
        let hung_up = || Error::Unknown { message: "the stream ended".into() };
        frames.send(first).await.map_err(|_| hung_up())?;
        let wire = |status: Status| Error::from_status(&status);
        let mut incoming = SessionsClient::new(channel)
            .max_decoding_message_size(crate::endpoints::MESSAGE_BYTES_MAX)
            .stream(ReceiverStream::new(outgoing))
            .await
            .map_err(wire)?
            .into_inner();
        let frame = incoming.message().await.map_err(wire)?.ok_or_else(hung_up)?;
        if let Some(goodbye) = frame.goodbye {
            return Err(Error::from_wire(goodbye));
        }
        let welcome = frame.welcome.ok_or_else(hung_up)?;
        Ok((Link { frames, incoming }, welcome))
    }

    /// Carries operations over one stream until it ends.
    async fn carry(&mut self, mut link: Link) -> End {
        if let Err(end) = self.send(&link, self.pipeline.unanswered()).await {
            return end;
        }
        let mut beat = tokio::time::interval(self.timeout / 3);
        let mut batch = Vec::new();
        loop {
            let room = UNANSWERED_MAX.saturating_sub(self.pipeline.len()).min(OPS_PER_FRAME_MAX);
            let step = tokio::select! {
                frame = link.incoming.message() => match frame {
                    Ok(Some(frame)) => self.receive(&link, frame).await,
                    Ok(None) | Err(_) => Err(End::Broken),
                },
                count = self.commands.recv_many(&mut batch, room.max(1)), if room > 0 && !self.closing => {
                    self.take(&link, count, &mut batch).await
                }
                _ = beat.tick() => self.beat(&link).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn take(&mut self, link: &Link, count: usize, batch: &mut Vec<Command>) -> std::result::Result<(), End> {
        if count == 0 {
            // Nobody holds the session any more. Finish what was begun, then let it expire.
            self.closing = true;
            return if self.pipeline.len() == 0 { Err(End::Finished) } else { Ok(()) };
        }
        let ops: Vec<v1::ClientOp> = batch.drain(..).map(|command| self.pipeline.add(command)).collect();
        let closing = ops.iter().find(|op| matches!(op.op, Some(Op::CloseSession(_))));
        self.close = self.close.or(closing.map(|op| op.id));
        self.send(link, ops).await
    }

    async fn send(&self, link: &Link, ops: Vec<v1::ClientOp>) -> std::result::Result<(), End> {
        if ops.is_empty() {
            return Ok(());
        }
        let frame = v1::ClientFrame { ops, acked_up_to: self.pipeline.acked_up_to(), ..Default::default() };
        link.frames.send(frame).await.map_err(|_| End::Broken)
    }

    async fn receive(&mut self, link: &Link, frame: v1::ServerFrame) -> std::result::Result<(), End> {
        if let Some(alive) = frame.alive {
            if alive.lost {
                return Err(End::Lost("it was not kept alive in time, or was closed by somebody else".into()));
            }
            self.confirmed(&alive);
        }
        let mut again = Vec::new();
        let mut closed = false;
        for item in frame.items {
            closed |= self.close == Some(item.id) && matches!(item.item, Some(Item::Done(_)));
            again.extend(self.pipeline.answered(item));
        }
        if let Some(goodbye) = frame.goodbye {
            let gone = goodbye.code() == v1::ErrorCode::SessionNotFound;
            return Err(if gone { End::Lost(goodbye.message) } else { End::Broken });
        }
        if closed || (self.closing && self.pipeline.len() == 0) {
            return Err(End::Finished);
        }
        if !again.is_empty() {
            // The server did nothing for a passing reason; ask again after a breath.
            tokio::time::sleep(PAUSE).await;
            return self.send(link, again).await;
        }
        Ok(())
    }

    async fn beat(&mut self, link: &Link) -> std::result::Result<(), End> {
        let unanswered = self.beats.front().map(|(_, sent)| sent.elapsed());
        self.note_jeopardy();
        // Two beats without an answer: this server does not do its duty, or is cut off.
        if unanswered.is_some_and(|age| age >= self.timeout / 2) {
            return Err(End::Broken);
        }
        let keep_alive = self.next_beat;
        self.next_beat += 1;
        self.beats.push_back((keep_alive, Instant::now()));
        let frame = v1::ClientFrame {
            keep_alive,
            acked_up_to: self.pipeline.acked_up_to(),
            ..Default::default()
        };
        link.frames.send(frame).await.map_err(|_| End::Broken)
    }

    fn confirmed(&mut self, alive: &v1::Alive) {
        while let Some((beat, sent)) = self.beats.front().copied() {
            if beat > alive.keep_alive {
                return;
            }
            self.beats.pop_front();
            if beat == alive.keep_alive {
                self.confirm(sent, alive.valid_for_ms);
            }
        }
    }

    /// The promise counts from when the sign of life was sent, which was before the server saw it.
    fn confirm(&self, sent: Instant, valid_for_ms: u64) {
        let until = sent + Duration::from_millis(valid_for_ms);
        self.validity.send_modify(|validity| {
            if until > validity.until || validity.state != SessionState::Healthy {
                *validity = Validity::healthy(until.max(validity.until));
            }
        });
    }

    fn note_jeopardy(&self) {
        let left = |validity: &Validity| validity.until.saturating_duration_since(Instant::now());
        self.validity.send_if_modified(|validity| {
            let shaken = validity.state == SessionState::Healthy && left(validity) < self.timeout / 3;
            if shaken {
                validity.state = SessionState::Jeopardy;
            }
            shaken
        });
    }
}
