//! A member of a pool, as the program that takes part has it.

use super::assignment::Assignment;
use super::load::Loads;
use super::owned::Owned;
use crate::error::{Error, Result};
use bytes::Bytes;
use futures::Stream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for the member's task; beyond it callers wait in turn.
const COMMANDS_MAX: usize = 256;
/// Assignments that wait for the program. Beyond it the member's task goes on, but reads no more of
/// what happens to the pool, and reads the pool anew when the program has caught up.
const ASSIGNMENTS_MAX: usize = 256;

/// A running member: a stream of [`Assignment`]s. Dropping it leaves the pool, without waiting for
/// successors; see [`MemberHandle::drain`] for that.
///
/// The stream ends after the member left, or with the error that ended it.
#[derive(Debug)]
pub struct Member {
    assignments: mpsc::Receiver<Result<Assignment>>,
    handle: MemberHandle,
}

/// What the parts of a program need of its member. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemberHandle {
    pool: Bytes,
    instance: Bytes,
    owned: Owned,
    loads: Arc<Mutex<Loads>>,
    commands: mpsc::Sender<Command>,
}

/// What a member's task is asked for.
#[derive(Debug)]
pub(super) enum Command {
    /// It is warm for a shard.
    Ready { shard: Bytes, done: oneshot::Sender<Result<()>> },
    /// It lets a shard go.
    Release { shard: Bytes, done: oneshot::Sender<Result<()>> },
    /// It hands everything over, and leaves after `patience` at the latest. Answered with what was
    /// not handed over.
    Drain { patience: Duration, done: oneshot::Sender<Result<Vec<Bytes>>> },
    /// It leaves at once.
    Leave { done: oneshot::Sender<Result<()>> },
}

/// The other ends of a member, for whoever drives it.
pub(super) struct Ends {
    pub(super) assignments: mpsc::Sender<Result<Assignment>>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) loads: Arc<Mutex<Loads>>,
}

impl Member {
    /// A member that is driven from the other ends.
    pub(super) fn new(pool: Bytes, instance: Bytes, owned: Owned) -> (Self, Ends) {
        let (assignments, receiver) = mpsc::channel(ASSIGNMENTS_MAX);
        let (commands, requested) = mpsc::channel(COMMANDS_MAX);
        let loads = Arc::default();
        let ends = Ends { assignments, commands: requested, loads: Arc::clone(&loads) };
        let handle = MemberHandle { pool, instance, owned, loads, commands };
        (Self { assignments: receiver, handle }, ends)
    }

    /// What comes next; `None` after the member left.
    ///
    /// # Errors
    /// What ended the member, as the last item: the pool is gone, or does not let it take part.
    pub async fn next(&mut self) -> Option<Result<Assignment>> {
        self.assignments.recv().await
    }

    /// What the parts of the program need of it.
    pub fn handle(&self) -> MemberHandle {
        self.handle.clone()
    }

    /// What it owns right now.
    pub fn owned(&self) -> &Owned {
        &self.handle.owned
    }
}

impl Stream for Member {
    type Item = Result<Assignment>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.assignments.poll_recv(context)
    }
}

impl std::ops::Deref for Member {
    type Target = MemberHandle;

    fn deref(&self) -> &MemberHandle {
        &self.handle
    }
}

impl MemberHandle {
    /// The pool's name.
    pub fn pool(&self) -> &Bytes {
        &self.pool
    }

    /// The instance's name.
    pub fn instance(&self) -> &Bytes {
        &self.instance
    }

    /// What the member owns right now.
    pub fn owned(&self) -> &Owned {
        &self.owned
    }

    /// The fencing token of a shard; see [`Owned::token`].
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the member may not act on it.
    pub fn token(&self, shard: impl AsRef<[u8]>) -> Result<crate::Token> {
        self.owned.token(shard)
    }

    /// The member is warm for a shard: the answer to [`Assignment::Prepare`] and
    /// [`Assignment::Copy`]. If the move was given up meanwhile nothing happens.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the member is gone, or what the service says.
    pub async fn ready(&self, shard: impl Into<Bytes>) -> Result<()> {
        let shard = shard.into();
        self.ask(|done| Command::Ready { shard, done }).await
    }

    /// The member lets a shard go: the answer to [`Assignment::Drain`], or because it cannot serve
    /// it. Its token is refused here from when this is called. When it returns, the shard is its
    /// successor's, if one was warm.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the member does not own the shard, or is gone.
    pub async fn release(&self, shard: impl Into<Bytes>) -> Result<()> {
        let shard = shard.into();
        self.ask(|done| Command::Release { shard, done }).await
    }

    /// Counts work done on a shard, in units of the program's choice, such as requests. The task
    /// reports the smoothed count of each interval, coarsely, and placement balances by it in place of
    /// weights. Count on all members of a pool or on none.
    pub fn count(&self, shard: &Bytes, units: f64) {
        // Nothing panics while it is held, so a poisoned lock still holds whole loads.
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).count(shard, units);
    }

    /// Hands everything over to warm successors, then leaves: for a planned shutdown. The program
    /// goes on answering [`Assignment`]s meanwhile. After `patience` the member leaves with whatever
    /// it still owns, which is returned; empty if all was handed over.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the member is gone already, or what the service says.
    pub async fn drain(&self, patience: Duration) -> Result<Vec<Bytes>> {
        self.ask(|done| Command::Drain { patience, done }).await
    }

    /// Leaves at once: what it owns is given to others as soon as placement gets to it.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the member is gone already, or what the service says.
    pub async fn leave(&self) -> Result<()> {
        self.ask(|done| Command::Leave { done }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    fn gone(&self) -> Error {
        let (instance, pool) = (String::from_utf8_lossy(&self.instance), String::from_utf8_lossy(&self.pool));
        let what = format!("membership {instance:?} of pool {pool:?}");
        Error::NotHeld { what, cause: "it left, or was ended".into() }
    }
}
