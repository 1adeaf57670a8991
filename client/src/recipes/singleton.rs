//! A task that runs in one process at a time.
//!
//! # Model
//! Every process of a service starts the same [`Singleton`]. They stand in an election of that name;
//! the task runs in the one that leads, and is given the [`Term`]: the lead's token and how long it
//! may be relied on. When the task fails, the lead goes to another process.
//!
//! # Keys
//! None but the election: the name is the election's.
//!
//! # Guarantees
//! * The task is stopped (dropped at its next `await`) when the lead is lost and at the latest when
//!   its validity ends, so that tasks of two processes do not overlap, as far as clocks run at about
//!   the same rate and the task does not block its thread. Writes guarded by the
//!   [token](Term::guard) are refused in any case.
//! * In one process the task never runs twice at the same time: it stands for election again only
//!   when the task before has ended.
//! * A failover of the cluster is none of the task: it goes on until its validity ends.
//!
//! # Failure model
//! A task that returns an error or panics is begun again, here or elsewhere, after a pause that grows.
//! One that returns `Ok` is done in this process: the lead is given up and the next process runs it.
//! A lost session is replaced by a new one.
//!
//! ```no_run
//! use oarlock_client::recipes::singleton::Singleton;
//! use oarlock_client::Client;
//! use std::time::Duration;
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let worker = client.clone();
//! let running = Singleton::new(&client, "billing/closer").value("10.0.0.7").start(move |term| {
//!     let client = worker.clone();
//!     async move {
//!         loop {
//!             client.put("/billing/closed", "now").guard(term.guard()).await?;
//!             tokio::time::sleep(Duration::from_secs(1)).await;
//!         }
//!         #[expect(unreachable_code, reason = "it names the error's type")]
//!         Ok::<(), oarlock_client::Error>(())
//!     }
//! });
//! running.stop().await;
//! # Ok(())
//! # }
//! ```

use crate::client::Client;
use crate::election::Leadership;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::types::Token;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Pauses after failures grow from the first to the last.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A task that is about to be started.
#[derive(Clone)]
pub struct Singleton {
    client: Client,
    name: Bytes,
    value: Bytes,
    timeout: Duration,
    priority: u32,
    grace: Duration,
}

/// How a singleton stands in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Another process leads, or none yet.
    Standby,
    /// The task runs here.
    Leading {
        /// With this token.
        token: Token,
    },
    /// Something failed; it is tried again soon.
    Pausing {
        /// What.
        why: String,
    },
    /// The task returned, or was stopped.
    Done,
}

/// In which part of its life a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Leading,
    Stopping,
    Over,
}

/// The lead that a task runs under. Cheap to clone.
#[derive(Clone)]
pub struct Term {
    guard: Token,
    session: Session,
    phase: watch::Receiver<Phase>,
}

impl Term {
    /// The token, to go with a write as its guard.
    pub fn guard(&self) -> Token {
        self.guard.clone()
    }

    /// The token, to be handed to a resource outside.
    ///
    /// # Errors
    /// [`Error::SessionLost`] once the term is over.
    pub fn token(&self) -> Result<Token> {
        if self.valid_for().is_zero() {
            let cause = "the term is over".to_owned();
            return Err(Error::SessionLost { session: self.session.id(), cause });
        }
        Ok(self.guard())
    }

    /// For how long the task may still act. Zero once the term is over.
    pub fn valid_for(&self) -> Duration {
        match *self.phase.borrow() {
            Phase::Leading | Phase::Stopping => self.session.valid_for(),
            Phase::Over => Duration::ZERO,
        }
    }

    /// The session that leads, for what is to happen exactly once.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Completes when the task is asked to end: by [`Running::stop`], or because somebody asked for the
    /// lead. It has [`grace`](Singleton::grace) from then on.
    pub async fn stopping(&self) {
        let mut phase = self.phase.clone();
        // If the sender is gone, so is the term.
        let _ = phase.wait_for(|phase| *phase != Phase::Leading).await;
    }
}

impl Singleton {
    /// A task under the election of this name.
    pub fn new(client: &Client, name: impl Into<Bytes>) -> Self {
        Self {
            client: client.clone(),
            name: name.into(),
            value: Bytes::new(),
            timeout: Duration::from_secs(10),
            priority: 0,
            grace: Duration::from_secs(5),
        }
    }

    /// What others see of this process: its name or address.
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// The session's timeout: how long after the death of the process another one takes over.
    /// Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Processes of higher priority lead first. Default: 0.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// How long a task may take to end when it is asked to. Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts to stand for election, and runs `task` whenever this process leads.
    pub fn start<F, Fut, E>(self, task: F) -> Running
    where
        F: Fn(Term) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<(), E>> + Send + 'static,
        E: Display,
    {
        let (stop, stopped) = watch::channel(false);
        let (standing, seen) = watch::channel(Standing::Standby);
        let task = move |term| {
            let work = task(term);
            async move { work.await.map_err(|error| error.to_string()) }
        };
        let runner = Runner { singleton: self, stopped, standing };
        Running { stop, standing: seen, task: Some(tokio::spawn(runner.run(task))) }
    }
}

/// A singleton that was started. Dropping it stops the task at once.
pub struct Running {
    stop: watch::Sender<bool>,
    standing: watch::Receiver<Standing>,
    task: Option<JoinHandle<()>>,
}

impl Running {
    /// How it stands here.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Every standing from the present one on; those that follow each other faster than they are
    /// taken are skipped.
    pub fn standings(&self) -> impl Stream<Item = Standing> + Send + Unpin + 'static {
        tokio_stream::wrappers::WatchStream::new(self.standing.clone())
    }

    /// Waits until the task has returned `Ok`.
    pub async fn done(&self) {
        let mut standing = self.standing.clone();
        let _ = standing.wait_for(|standing| *standing == Standing::Done).await;
    }

    /// Asks the task to end, waits for that for its grace, stops it, and gives the lead up.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // A panic of the runner is one of this crate, and was printed.
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Runner {
    singleton: Singleton,
    stopped: watch::Receiver<bool>,
    standing: watch::Sender<Standing>,
}

/// How a term ended.
enum Ended {
    /// The task returned `Ok`, or the singleton was stopped.
    Done,
    /// To be tried again at once.
    Lost(String),
    /// To be tried again after a pause.
    Failed(String),
}

type Outcome = std::result::Result<(), String>;

impl Runner {
    async fn run<F, Fut>(self, task: F)
    where
        F: Fn(Term) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let mut pause = PAUSE;
        while !*self.stopped.borrow() {
            self.standing.send_replace(Standing::Standby);
            let why = match self.stand(&task).await {
                Ok(Ended::Done) => break,
                Ok(Ended::Lost(why)) => {
                    pause = PAUSE;
                    why
                }
                Ok(Ended::Failed(why)) => why,
                Err(error) => error.to_string(),
            };
            self.standing.send_replace(Standing::Pausing { why });
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = self.stopped() => break,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.standing.send_replace(Standing::Done);
    }

    /// Stands in the election, leads, and runs the task, once.
    async fn stand<F, Fut>(&self, task: &F) -> Result<Ended>
    where
        F: Fn(Term) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let Singleton { client, name, value, timeout, priority, .. } = &self.singleton;
        let session = client.session().timeout(*timeout).open().await?;
        let campaign = session.election(name.clone()).campaign(value.clone()).priority(*priority);
        let elected = tokio::select! {
            elected = campaign => Some(elected),
            () = self.stopped() => None,
        };
        let ended = match elected {
            None => Ok(Ended::Done),
            Some(Err(error)) => Err(error),
            Some(Ok(leadership)) => Ok(self.lead(&session, leadership, task).await),
        };
        // Its end is only hurried: nothing hangs off it but what is over.
        let _ = tokio::time::timeout(Duration::from_secs(1), session.close()).await;
        ended
    }

    async fn lead<F, Fut>(&self, session: &Session, leadership: Leadership, task: &F) -> Ended
    where
        F: Fn(Term) -> Fut,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let (phase, receiver) = watch::channel(Phase::Leading);
        let guard = leadership.guard();
        let term = Term { guard: guard.clone(), session: session.clone(), phase: receiver };
        self.standing.send_replace(Standing::Leading { token: guard });
        let mut work = JoinSet::new();
        work.spawn(task(term));
        let leadership = Arc::new(leadership);
        let ended = tokio::select! {
            ended = over(&leadership, &mut work) => ended,
            is_stop = self.asked(&leadership) => {
                phase.send_replace(Phase::Stopping);
                let in_time = tokio::time::timeout(self.singleton.grace, over(&leadership, &mut work)).await;
                match in_time {
                    Ok(Ended::Failed(why)) if !is_stop => Ended::Failed(why),
                    _ if is_stop => Ended::Done,
                    _ => Ended::Lost("somebody asked for the lead".to_owned()),
                }
            }
        };
        phase.send_replace(Phase::Over);
        // Only then may the task begin again here, and only then is the lead given up.
        work.shutdown().await;
        if let Some(leadership) = Arc::into_inner(leadership) {
            // If it is lost, there is nothing to give up; if it fails, the session's end does it.
            let _ = leadership.resign().await;
        }
        ended
    }

    /// Completes when the task is to end soon; whether for good.
    async fn asked(&self, leadership: &Leadership) -> bool {
        let mut requests = leadership.revocation_requested();
        tokio::select! {
            () = self.stopped() => true,
            Some(_) = requests.next() => false,
        }
    }

    async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        // If the sender is gone, this task is about to be aborted.
        if stopped.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Completes when the task has ended, or must.
async fn over(leadership: &Leadership, work: &mut JoinSet<Outcome>) -> Ended {
    tokio::select! {
        outcome = work.join_next() => match outcome {
            Some(Ok(Ok(()))) | None => Ended::Done,
            Some(Ok(Err(why))) => Ended::Failed(why),
            Some(Err(error)) => Ended::Failed(format!("the task panicked: {error}")),
        },
        lost = leadership.lost() => Ended::Lost(lost.to_string()),
        () = invalid(leadership) => Ended::Lost("the lead was not confirmed in time".to_owned()),
    }
}

/// Completes when the lead's validity has run out.
async fn invalid(leadership: &Leadership) {
    loop {
        let left = leadership.valid_for();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}
