//! A claim on an item: what its worker does with it.

use super::{ATTEMPTS, CLAIMS, DEAD, HOLDS, ITEMS, Queue, REASONS, id};
use crate::error::{Error, Result};
use crate::recipes::place::afterwards;
use crate::session::Session;
use crate::txn::{Txn, compare, op};
use crate::types::{Token, key};
use bytes::Bytes;
use oarlock_proto::v1;
use std::time::Duration;

/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 4096;

/// A claimed item. Dropping it releases the item without counting the attempt.
pub struct Claim {
    queue: Queue,
    session: Session,
    id: String,
    /// The value of the claim's key, which no other claim has.
    mark: String,
    payload: Bytes,
    attempt: u64,
    /// Revision of the grant; 0 before it is known.
    granted: u64,
    is_open: bool,
}

/// What becomes of an item that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It will be tried again.
    Again,
    /// It is set aside: its attempts are used up.
    Dead,
}

impl Claim {
    pub(super) fn new(queue: Queue, session: Session, id: String, worker: &str) -> Self {
        let mark = format!("{worker} {:016x}", rand::random::<u64>());
        Self { queue, session, id, mark, payload: Bytes::new(), attempt: 0, granted: 0, is_open: true }
    }

    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    pub(super) fn granted(&mut self, revision: u64, attempt: u64) {
        (self.granted, self.attempt) = (revision, attempt);
    }

    pub(super) fn loaded(&mut self, payload: Bytes) {
        self.payload = payload;
    }

    pub(super) fn disarm(&mut self) {
        self.is_open = false;
    }

    /// The item's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The item.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The claim's key, whose creation is its token.
    pub fn key(&self) -> String {
        self.part(CLAIMS)
    }

    /// The fencing token: a write guarded by it, or a resource that checks it, refuses this worker
    /// once the claim is over.
    pub fn token(&self) -> Token {
        let record = crate::types::KeyValue {
            key: self.key().into(),
            create_revision: self.granted,
            ..Default::default()
        };
        record.token()
    }

    /// For how long the claim may be relied on without another word from the cluster.
    pub fn valid_for(&self) -> Duration {
        self.session.valid_for()
    }

    /// Completes when the claim is lost with its session, and says why.
    pub fn lost(&self) -> impl Future<Output = Option<String>> + Send + 'static {
        self.session.lost()
    }

    /// The item is done and goes.
    ///
    /// # Errors
    /// [`Error::is_fenced`] when the claim is over: somebody else has the item, or has completed it.
    pub async fn complete(self) -> Result<()> {
        self.complete_with([]).await
    }

    /// The item is done and goes; these operations happen in the same transaction, or not at all.
    ///
    /// # Errors
    /// As [`complete`](Self::complete), and those of the operations. After any other error than a
    /// refusal it may have happened: the item is gone if it has.
    pub async fn complete_with(mut self, ops: impl IntoIterator<Item = v1::Op>) -> Result<()> {
        let mut txn = self.end();
        for op in ops {
            txn = txn.then(op);
        }
        self.finish(txn.then(op::delete(key(self.part(ITEMS))))).await
    }

    /// The attempt failed: the item is tried again, or set aside when its attempts are used up.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn fail(self, reason: &str) -> Result<Fate> {
        self.fail_for(reason, Duration::ZERO).await
    }

    /// As [`fail`](Self::fail); it is not tried again before `pause` has passed. It keeps its place.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn fail_for(mut self, reason: &str, pause: Duration) -> Result<Fate> {
        let is_last = self.attempt >= u64::from(self.queue.attempts);
        let txn = if is_last { self.burial(reason) } else { self.postponement(reason, pause) };
        self.finish(txn).await?;
        Ok(if is_last { Fate::Dead } else { Fate::Again })
    }

    /// Gives the item back as if it had not been claimed, such as before a shutdown.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn release(mut self) -> Result<()> {
        let txn = self.queue_txn();
        let txn = txn.then(op::add(self.part(ATTEMPTS), -1)).then(op::delete(key(self.part(CLAIMS))));
        self.finish(txn).await
    }

    /// Sets the item aside at once, however many attempts are left.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn reject(mut self, reason: &str) -> Result<()> {
        let txn = self.burial(reason);
        self.finish(txn).await
    }

    /// Sets aside what its last worker died of.
    pub(super) async fn bury(mut self, attempts: u64) -> Result<()> {
        let payload = self.session.client().get(self.part(ITEMS)).await?;
        self.payload = payload.map(|record| record.value).unwrap_or_default();
        let reason = format!("its worker died in attempt {attempts}");
        let txn = self.burial(&reason);
        self.finish(txn).await
    }

    fn part(&self, part: &str) -> String {
        self.queue.key(part, &self.id)
    }

    fn queue_txn(&self) -> Txn {
        self.session.txn().guard(self.token())
    }

    /// The end of claim, attempts and reason.
    fn end(&self) -> Txn {
        let gone = [CLAIMS, ATTEMPTS, REASONS].map(|part| op::delete(key(self.part(part))));
        gone.into_iter().fold(self.queue_txn(), Txn::then)
    }

    fn postponement(&self, reason: &str, pause: Duration) -> Txn {
        let txn = self.queue_txn().then(op::put(self.part(REASONS), cut(reason)));
        let txn = txn.then(op::delete(key(self.part(CLAIMS))));
        if pause.is_zero() {
            return txn;
        }
        txn.then(op::put(self.part(HOLDS), id::due(id::now_ms(), pause).to_string()))
    }

    fn burial(&self, reason: &str) -> Txn {
        self.queue_txn()
            .then(op::put(self.part(DEAD), self.payload.clone()))
            .then(op::put(self.part(REASONS), cut(reason)))
            .then(op::delete(key(self.part(CLAIMS))))
            .then(op::delete(key(self.part(ITEMS))))
    }

    async fn finish(&mut self, txn: Txn) -> Result<()> {
        let outcome = txn.await;
        // A fenced claim is over; any other refusal leaves it, and dropping releases it.
        if outcome.is_ok() || outcome.as_ref().is_err_and(Error::is_fenced) {
            self.is_open = false;
        }
        outcome.map(|_| ())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (claim, attempts) = (self.part(CLAIMS), self.part(ATTEMPTS));
        let (session, mark) = (self.session.clone(), std::mem::take(&mut self.mark));
        afterwards(async move {
            // Not by the token: the grant's answer may have been lost, and the token with it.
            let mine = compare::value(claim.clone()).eq(mark);
            let release = session.txn().when(mine).then(op::add(attempts, -1)).then(op::delete(key(claim)));
            // If it fails, the session's end frees the item.
            let _ = release.await;
        });
    }
}

fn cut(reason: &str) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "ü".repeat(REASON_BYTES_MAX);
        assert_eq!(cut(&format!("x{long}")).len(), REASON_BYTES_MAX - 1);
    }
}
