//! The task that keeps a session alive and carries its operations.

use super::jeopardy;
use super::link::{Broken, Link};
use super::pipeline::Pipeline;
use super::pulse::Pulse;
use super::state::{SessionState, Validity};
use super::watches::{Watches, Watching};
use crate::client::Client;
use crate::error::{Error, Result};
use bytes::Bytes;
use oarlock_proto::v1::{self, client_op::Op, server_item::Item};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Pause between attempts to attach somewhere, or to repeat what was refused.
const PAUSE: Duration = Duration::from_millis(50);
/// At least this long is waited for one member's welcome.
const ATTACH_TIME_MIN: Duration = Duration::from_millis(500);

/// What a session is asked for.
#[expect(clippy::large_enum_variant, reason = "nearly all are operations, which a box would only slow down")]
pub(super) enum Command {
    /// An operation.
    Op(Operation),
    /// Watches of objects.
    Watch(Watching),
    /// The end of the watches that were asked for together under this number.
    Unwatch(u64),
}

/// An operation and who waits for it.
pub(super) struct Operation {
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
    validity: Arc<watch::Sender<Validity>>,
    pipeline: Pipeline,
    watches: Watches,
    /// Nobody holds the session any more.
    abandoned: bool,
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

impl From<Broken> for End {
    fn from(Broken: Broken) -> Self {
        Self::Broken
    }
}

type Step = std::result::Result<(), End>;

impl Driver {
    pub(super) fn new(
        client: Client,
        session: u64,
        secret: Bytes,
        timeout: Duration,
        commands: mpsc::Receiver<Command>,
        validity: watch::Sender<Validity>,
    ) -> Self {
        let pipeline = Pipeline::new();
        let validity = Arc::new(validity);
        let (watches, abandoned, close) = (Watches::default(), false, None);
        Self { client, session, secret, timeout, commands, validity, pipeline, watches, abandoned, close }
    }

    /// Attaches, carries, and attaches again, until the session ends.
    pub(super) async fn run(mut self) {
        tokio::spawn(jeopardy::watch(Arc::downgrade(&self.validity), self.timeout));
        let mut turn = 0;
        loop {
            let end = match self.attach(turn).await {
                Ok(link) => self.carry(link).await,
                Err(end) => end,
            };
            match end {
                End::Finished => return,
                // Whoever closed it wanted it gone.
                End::Lost(_) if self.close.is_some() => return,
                End::Lost(cause) => return self.lose(cause),
                End::Broken => {
                    turn += 1;
                    if self.commands.is_closed() && self.pipeline.is_empty() {
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
            if let Command::Op(operation) = command {
                let _ = operation.reply.send(Err(error.clone()));
            }
        }
    }

    /// Opens a stream to an endpoint and attaches the session to it.
    async fn attach(&mut self, turn: usize) -> std::result::Result<Link, End> {
        let patience = (self.timeout / 3).max(ATTACH_TIME_MIN);
        let sent = Instant::now();
        let attached = Link::attach(&self.client, turn, self.session, self.secret.clone());
        match tokio::time::timeout(patience, attached).await {
            Ok(Ok((link, welcome))) => {
                self.confirm(sent, welcome.valid_for_ms);
                Ok(link)
            }
            Ok(Err(error)) => Err(end_of(error)),
            Err(_late) => Err(End::Broken),
        }
    }

    /// Carries operations over one stream until it ends.
    async fn carry(&mut self, mut link: Link) -> End {
        let mut pulse = Pulse::new(self.timeout, Instant::now());
        let mut beat = tokio::time::interval(pulse.interval());
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        // The watches first: what they tell comes before the answers that could reveal it.
        let mut again = self.watches.all();
        again.extend(self.pipeline.unanswered());
        let mut step = self.send(&link, again);
        loop {
            if let Err(end) = step {
                return end;
            }
            let room = self.pipeline.room();
            let again = self.pipeline.has_refused();
            step = tokio::select! {
                frame = link.receive() => match frame {
                    Ok(frame) => self.receive(&link, frame, &mut pulse, &mut beat),
                    Err(broken) => Err(broken.into()),
                },
                count = self.commands.recv_many(&mut batch, room), if room > 0 && !self.abandoned => {
                    self.take(&link, count, &mut batch)
                }
                () = tokio::time::sleep(PAUSE), if again => {
                    let refused = self.pipeline.refused();
                    self.send(&link, refused)
                }
                _ = beat.tick() => self.beat(&link, &mut pulse),
            };
        }
    }

    fn take(&mut self, link: &Link, count: usize, batch: &mut Vec<Command>) -> Step {
        if count == 0 {
            // Nobody holds the session any more. Finish what was begun, then let it expire.
            self.abandoned = true;
            return if self.pipeline.is_empty() { Err(End::Finished) } else { Ok(()) };
        }
        let mut ops: Vec<v1::ClientOp> = Vec::with_capacity(count);
        for command in batch.drain(..) {
            match command {
                Command::Op(operation) => ops.push(self.pipeline.add(operation)),
                Command::Watch(watching) => ops.extend(self.watches.begin(watching)),
                Command::Unwatch(group) => ops.extend(self.watches.end(group)),
            }
        }
        let closing = ops.iter().find(|op| matches!(op.op, Some(Op::CloseSession(_))));
        self.close = self.close.or(closing.map(|op| op.id));
        self.send(link, ops)
    }

    fn send(&self, link: &Link, ops: Vec<v1::ClientOp>) -> Step {
        for frame in self.pipeline.frames(ops) {
            link.send(frame)?;
        }
        Ok(())
    }

    fn receive(
        &mut self,
        link: &Link,
        frame: v1::ServerFrame,
        pulse: &mut Pulse,
        beat: &mut Interval,
    ) -> Step {
        let mut closed = false;
        for item in frame.items {
            closed |= self.close == Some(item.id) && is_gone(&item);
            self.item(link, item)?;
        }
        if closed {
            return Err(End::Finished);
        }
        if let Some(alive) = frame.alive {
            self.alive(&alive, pulse, beat)?;
        }
        if let Some(goodbye) = frame.goodbye {
            return Err(end_of(Error::from_wire(goodbye)));
        }
        if self.abandoned && self.pipeline.is_empty() {
            return Err(End::Finished);
        }
        Ok(())
    }

    fn item(&mut self, link: &Link, item: v1::ServerItem) -> Step {
        let ops = match item {
            v1::ServerItem { item: Some(Item::Watch(frame)), .. } => self.watches.frame(frame),
            v1::ServerItem { id, item: Some(Item::Error(error)) } if self.watches.has(id) => {
                self.watches.over(id, error)
            }
            answer => {
                self.pipeline.answered(answer);
                return Ok(());
            }
        };
        self.send(link, ops)
    }

    fn alive(&self, alive: &v1::Alive, pulse: &mut Pulse, beat: &mut Interval) -> Step {
        if alive.lost {
            return Err(End::Lost("it was not kept alive in time, or was closed by somebody else".into()));
        }
        let sent = pulse.answered(alive.keep_alive);
        match sent {
            Some(sent) if alive.valid_for_ms > 0 => {
                pulse.confirm(sent);
                self.confirm(sent, alive.valid_for_ms);
            }
            // No quorum for the moment.
            _ => beat.reset_after(pulse.retry_interval()),
        }
        Ok(())
    }

    fn beat(&self, link: &Link, pulse: &mut Pulse) -> Step {
        let now = Instant::now();
        if pulse.is_overdue(now) {
            return Err(End::Broken);
        }
        let keep_alive = pulse.send(now);
        let acked_up_to = self.pipeline.acked_up_to();
        Ok(link.send(v1::ClientFrame { keep_alive, acked_up_to, ..Default::default() })?)
    }

    /// The promise counts from when the sign of life was sent, which was before the server saw it.
    fn confirm(&self, sent: Instant, valid_for_ms: u64) {
        if valid_for_ms == 0 {
            return;
        }
        let until = sent + Duration::from_millis(valid_for_ms);
        self.validity.send_if_modified(|validity| {
            let is_news = until > validity.until || validity.state != SessionState::Healthy;
            if is_news {
                *validity = Validity::healthy(until.max(validity.until));
            }
            is_news
        });
    }
}

/// What the refusal of a whole stream means for the session.
fn end_of(error: Error) -> End {
    match error {
        Error::Rejected { code: v1::ErrorCode::SessionNotFound, message, .. } => End::Lost(message),
        // Wrong secret, or a protocol that this server does not speak: no endpoint will do better.
        Error::Invalid { message } => End::Lost(message),
        Error::SessionLost { cause, .. } => End::Lost(cause),
        Error::NotProposed { .. }
        | Error::Rejected { .. }
        | Error::NotHeld { .. }
        | Error::Unknown { .. } => End::Broken,
    }
}

/// Whether the answer to a close means that the session is gone.
fn is_gone(item: &v1::ServerItem) -> bool {
    match &item.item {
        Some(Item::Done(_)) => true,
        Some(Item::Error(error)) => error.code() == v1::ErrorCode::SessionNotFound,
        _ => false,
    }
}
