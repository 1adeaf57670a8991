//! Sessions: what ephemeral keys and exactly-once writes hang off.
//!
//! A session lives on one bidirectional stream at a time. When the stream or its server dies, the
//! session attaches elsewhere by itself, and sends again whatever was not answered, under the same
//! sequence numbers: the servers execute each of them once.
//!
//! ```no_run
//! use oarlock_client::Client;
//! use std::time::Duration;
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let session = client.session().timeout(Duration::from_secs(5)).open().await?;
//! session.on_lost(|cause| eprintln!("stop everything: {cause}"));
//! session.put_ephemeral("/members/7", "10.0.0.7:80").await?;
//! session.add("/starts/7", 1).await?; // once, whatever happens on the way
//! assert!(session.valid_for() <= Duration::from_secs(5));
//! session.close().await?;
//! # Ok(())
//! # }
//! ```

mod driver;
mod jeopardy;
mod link;
mod objects;
mod pipeline;
mod pools;
mod pulse;
mod state;
mod watches;

pub(crate) use objects::ObjectWatch;
pub use state::{SessionState, Validity};
pub(crate) use watches::Told;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::kv::{Put, Written};
use crate::types::{KeyValue, Token};
use bytes::Bytes;
use driver::{Command, Driver, Operation};
use futures::Stream;
use oarlock_proto::v1::{self, client_op::Op, server_item::Item, sessions_client::SessionsClient};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that wait for the driver; beyond it callers wait in turn.
const COMMANDS_MAX: usize = 1024;

/// A session of this client. Cheap to clone; the clones are one session. It ends when
/// [`close`](Session::close) is called, when the last clone is dropped and its timeout has passed,
/// or when the servers hear nothing of it for its timeout.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    id: u64,
    timeout: Duration,
    deadline: Duration,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<Validity>,
    next_claim: AtomicU64,
    next_watch: AtomicU64,
}

/// A session that is about to be opened.
#[must_use = "nothing happens until `open` is awaited"]
pub struct SessionBuilder {
    client: Client,
    timeout: Duration,
}

impl Client {
    /// A session of 10 s unless said otherwise: `client.session().timeout(..).open().await?`.
    pub fn session(&self) -> SessionBuilder {
        SessionBuilder { client: self.clone(), timeout: Duration::from_secs(10) }
    }
}

impl SessionBuilder {
    /// How long the servers wait for a sign of life. The servers clamp it to their limits.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens it.
    pub async fn open(self) -> Result<Session> {
        let secret: [u8; 16] = rand::random();
        let request = v1::OpenSessionRequest {
            timeout_ms: self.timeout.as_millis().try_into().unwrap_or(u64::MAX),
            secret: secret.to_vec().into(),
            id: 0,
        };
        let sent = tokio::time::Instant::now();
        // Repeating may open two; the one that nobody knows of expires unused.
        let opened = self
            .client
            .call(true, |connection| {
                let request = request.clone();
                async move { SessionsClient::new(connection.channel).open(request).await }
            })
            .await?;
        let timeout = Duration::from_millis(opened.timeout_ms);
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (validity, state) = watch::channel(Validity::healthy(sent + timeout));
        let deadline = self.client.inner.options.deadline;
        let client = self.client.clone();
        let driver = Driver::new(self.client, opened.session, opened.secret, timeout, receiver, validity);
        tokio::spawn(driver.run());
        let id = opened.session;
        let (next_claim, next_watch) = (AtomicU64::new(1), AtomicU64::new(1));
        let shared = Shared { id, timeout, deadline, commands, state, client, next_claim, next_watch };
        Ok(Session { shared: Arc::new(shared) })
    }
}

impl Session {
    /// Its id, as servers and operators see it.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The client that opened it, for reads and watches that need no session.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Its timeout, as the servers granted it.
    pub fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    /// How it stands right now.
    pub fn state(&self) -> SessionState {
        self.shared.state.borrow().state.clone()
    }

    /// For how long the holder may still act on what the session owns, counted from when its last
    /// confirmed sign of life was sent. Zero once that time has passed, or the session is lost.
    pub fn valid_for(&self) -> Duration {
        self.valid_until().saturating_duration_since(tokio::time::Instant::now())
    }

    /// Until when the holder may still act; see [`valid_for`](Self::valid_for).
    pub fn valid_until(&self) -> tokio::time::Instant {
        let validity = self.shared.state.borrow();
        match validity.state {
            SessionState::Healthy | SessionState::Jeopardy => validity.until,
            SessionState::Lost { .. } => validity.until.min(tokio::time::Instant::now()),
        }
    }

    /// Every state from the current one on, with until when the holder may act; states that follow
    /// each other faster than they are taken are skipped. Ends after the session's end.
    pub fn states(&self) -> impl Stream<Item = Validity> + Send + Unpin + 'static {
        tokio_stream::wrappers::WatchStream::new(self.shared.state.clone())
    }

    /// How it stands, and until when the holder may act, to be looked at again and again.
    pub(crate) fn validity(&self) -> watch::Receiver<Validity> {
        self.shared.state.clone()
    }

    /// Whether it was lost or closed.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.commands.is_closed() || matches!(self.state(), SessionState::Lost { .. })
    }

    /// The client's deadline for a call.
    pub(crate) fn deadline(&self) -> Duration {
        self.shared.deadline
    }

    /// Waits for the next change of state.
    pub async fn changed(&self) -> SessionState {
        let mut state = self.shared.state.clone();
        state.mark_unchanged();
        if state.changed().await.is_err() {
            return SessionState::Lost { cause: "the session was closed".into() };
        }
        state.borrow().state.clone()
    }

    /// Calls back each time the session has not been confirmed for two thirds of its timeout. The
    /// holder may go on until [`valid_for`](Self::valid_for) is zero.
    pub fn on_jeopardy(&self, mut then: impl FnMut(Duration) + Send + 'static) {
        let mut state = self.shared.state.clone();
        tokio::spawn(async move {
            let mut was = false;
            loop {
                let validity = state.borrow_and_update().clone();
                let is = validity.state == SessionState::Jeopardy;
                if is && !was {
                    then(validity.until.saturating_duration_since(tokio::time::Instant::now()));
                }
                was = is;
                if state.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Calls back once, when the session is lost. Not after [`close`](Self::close).
    pub fn on_lost(&self, then: impl FnOnce(String) + Send + 'static) {
        let lost = self.lost();
        tokio::spawn(async move {
            if let Some(cause) = lost.await {
                then(cause);
            }
        });
    }

    /// Completes with the cause when the session is lost; with `None` when it was closed.
    pub fn lost(&self) -> impl Future<Output = Option<String>> + Send + 'static {
        let mut state = self.shared.state.clone();
        async move {
            loop {
                if let SessionState::Lost { cause } = &state.borrow_and_update().state {
                    return Some(cause.clone());
                }
                state.changed().await.ok()?;
            }
        }
    }

    /// Sets a key that goes when this session ends.
    pub fn put_ephemeral(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        self.put(key, value).owner(self)
    }

    /// Takes a key for this session if nobody has it: the simplest lock or leadership. Returns the
    /// fencing token, or whoever holds the key.
    pub async fn acquire(
        &self,
        single: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<std::result::Result<Token, Option<KeyValue>>> {
        use crate::txn::{compare, op};
        let single = single.into();
        let outcome = self
            .txn()
            .when(compare::version(single.clone()).eq(0_u64))
            .then(op::put_owned(single.clone(), value, self.id()))
            .otherwise(op::get(single.clone()))
            .await?;
        if !outcome.succeeded {
            return Ok(Err(outcome.first_record()));
        }
        if self.valid_for().is_zero() {
            // The grant may be history by the time the caller sees it.
            let cause = "its validity ran out before the grant arrived".to_owned();
            return Err(Error::SessionLost { session: self.id(), cause });
        }
        Ok(Ok(Token::of_key(single, outcome.revision)))
    }

    /// Ends the session now; the servers remove what it owns in one revision.
    pub async fn close(self) -> Result<()> {
        match self.submit(Op::CloseSession(true), Vec::new(), false).await {
            Ok(_)
            | Err(Error::SessionLost { .. })
            | Err(Error::Rejected { code: v1::ErrorCode::SessionNotFound, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A write under the session's exactly-once window.
    pub(crate) async fn write(&self, op: Op, guards: Vec<v1::Guard>) -> Result<Item> {
        self.submit(op, guards, true).await
    }

    /// Anything that may be repeated freely.
    pub(crate) async fn read(&self, op: Op) -> Result<Item> {
        self.submit(op, Vec::new(), false).await
    }

    async fn submit(&self, op: Op, guards: Vec<v1::Guard>, exactly_once: bool) -> Result<Item> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Op(Operation { op, guards, exactly_once, reply });
        let work = async {
            let gone = |_| self.gone();
            self.shared.commands.send(command).await.map_err(gone)?;
            answer.await.map_err(|_| self.gone())?
        };
        let deadline = self.shared.deadline;
        let late = |_| Error::Unknown {
            message: format!(
                "no answer within {deadline:?}; the session goes on trying. Ask for the outcome"
            ),
        };
        tokio::time::timeout(deadline, work).await.map_err(late)?
    }

    pub(crate) fn gone(&self) -> Error {
        let cause = match self.state() {
            SessionState::Lost { cause } => cause,
            SessionState::Healthy | SessionState::Jeopardy => "it was closed".to_owned(),
        };
        Error::SessionLost { session: self.id(), cause }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id()).field("state", &self.state()).finish()
    }
}

/// Convenience for the common case of one owned key.
impl Session {
    /// Sets an ephemeral key and waits for it.
    pub async fn announce(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Written> {
        self.put_ephemeral(key, value).await
    }
}
