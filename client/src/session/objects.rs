//! What locks and elections ask of a session's stream.

use super::driver::{Command, Operation};
use super::watches::{Subject, TOLD_MAX, Told, Watching};
use super::{Session, Shared};
use crate::error::{Error, Result};
use bytes::Bytes;
use oarlock_proto::v1::{self, client_op::Op, object_answer::Answer, object_op, server_item::Item};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};

/// Set in the numbers of watches, so that they are no other operation's.
const WATCH: u64 = 1 << 58;
/// A server that has heard nothing of a request for so long says so, and it is repeated under the
/// same sequence.
pub(super) const ATTEMPT_MS: u32 = 2_500;

/// Watches of one or several objects, or of a pool, told together. Dropping it ends them.
pub(crate) struct ObjectWatch {
    shared: Arc<Shared>,
    group: u64,
    told: mpsc::Receiver<Told>,
}

impl ObjectWatch {
    /// What happened next; `None` when the watch was cut off, or the session is over.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

impl Drop for ObjectWatch {
    fn drop(&mut self) {
        // Without room the watch ends with the next frame that nobody hears.
        let _ = self.shared.commands.try_send(Command::Unwatch(self.group));
    }
}

impl Session {
    /// A number for a claim, which no other of this session has.
    pub(crate) fn next_claim(&self) -> u64 {
        self.shared.next_claim.fetch_add(1, Ordering::Relaxed)
    }

    /// A write of objects. It is repeated until it is answered or the session is over, if it is
    /// `patient`; otherwise for as long as the client's deadline allows.
    pub(crate) async fn write_object(
        &self,
        op: object_op::Op,
        guards: Vec<v1::Guard>,
        patient: bool,
    ) -> Result<v1::ObjectResponse> {
        let op = Op::Object(v1::ObjectOp { op: Some(within_attempt(op)) });
        let item = match patient {
            true => self.submit_patiently(op, guards, true).await?,
            false => self.write(op, guards).await?,
        };
        match item {
            Item::Object(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    /// A question about objects: what is answered, and at which revision.
    pub(crate) async fn read_objects(&self, query: v1::object_query::Query) -> Result<(Answer, u64)> {
        let op = Op::ObjectQuery(v1::ObjectQuery { query: Some(query) });
        match self.submit_patiently(op, Vec::new(), false).await? {
            Item::ObjectAnswer(v1::ObjectAnswer { answer: Some(answer), header }) => {
                Ok((answer, header.unwrap_or_default().revision))
            }
            _ => Err(mismatch()),
        }
    }

    /// Watches objects from a revision on.
    pub(crate) async fn watch_objects(&self, names: Vec<Bytes>, start: u64) -> Result<ObjectWatch> {
        self.watch_subjects(names.into_iter().map(Subject::Object).collect(), start).await
    }

    /// Watches whatever it is, told together, from a revision on.
    pub(super) async fn watch_subjects(&self, subjects: Vec<Subject>, start: u64) -> Result<ObjectWatch> {
        let count = subjects.len() as u64;
        let first = WATCH | self.shared.next_watch.fetch_add(count, Ordering::Relaxed);
        let (told, receiver) = mpsc::channel(TOLD_MAX);
        let begin = Command::Watch(Watching { first, subjects, start, told });
        self.shared.commands.send(begin).await.map_err(|_| self.gone())?;
        Ok(ObjectWatch { shared: self.shared.clone(), group: first, told: receiver })
    }

    pub(super) async fn submit_patiently(
        &self,
        op: Op,
        guards: Vec<v1::Guard>,
        exactly_once: bool,
    ) -> Result<Item> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Op(Operation { op, guards, exactly_once, reply });
        self.shared.commands.send(command).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }
}

pub(super) fn mismatch() -> Error {
    Error::Unknown { message: "the server answered with something else than was asked".into() }
}

/// The operation, to be given up by a server in time for a repetition.
fn within_attempt(mut op: object_op::Op) -> object_op::Op {
    use object_op::Op;
    let options = match &mut op {
        Op::Acquire(request) => &mut request.options,
        Op::Release(request) => &mut request.options,
        Op::Cancel(request) => &mut request.options,
        Op::Downgrade(request) => &mut request.options,
        Op::Upgrade(request) => &mut request.options,
        Op::RequestRevocation(request) => &mut request.options,
        Op::Revoke(request) => &mut request.options,
        Op::SetLockDelay(request) => &mut request.options,
        Op::Proclaim(request) => &mut request.options,
        Op::Handoff(request) => &mut request.options,
    };
    options.get_or_insert_default().timeout_ms = ATTEMPT_MS;
    op
}
