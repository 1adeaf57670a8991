//! What the program asks of its member.

use super::{Done, Driver, Leaving};
use crate::error::{Error, Result};
use crate::pool::member::Command;
use crate::session::Session;
use bytes::Bytes;
use futures::future::FutureExt;
use oarlock_proto::v1::{self, pool_op::Op};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

impl Driver {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Ready { shard, done } => self.ask_ready(shard, done),
            Command::Release { shard, done } => self.ask_release(shard, done),
            Command::Drain { patience, done } => self.ask_drain(patience, done),
            Command::Leave { done } => {
                self.leaving.get_or_insert_with(|| Leaving::at(Instant::now())).left.push(done);
                self.ask_leave();
            }
        }
    }

    pub(super) fn ask_ready(&mut self, shard: Bytes, done: oneshot::Sender<Result<()>>) {
        let (pool, instance, session) = self.me();
        let op = Op::Ready(v1::ShardsReadyRequest {
            pool,
            instance,
            session: session.id(),
            shards: vec![shard],
            options: None,
        });
        let ask = async move {
            let _ = done.send(session.write_pool(op).await.map(drop));
            Done::Nothing
        };
        self.work.push(ask.boxed());
    }

    pub(super) fn ask_release(&mut self, shard: Bytes, done: oneshot::Sender<Result<()>>) {
        let Some(epoch) = self.standing.release(&shard) else {
            let what = format!("shard {:?}", String::from_utf8_lossy(&shard));
            let _ = done.send(Err(Error::NotHeld { what, cause: "this member does not own it".into() }));
            return;
        };
        let (pool, instance, session) = self.me();
        let shards = vec![v1::OwnedShard { shard: shard.clone(), epoch }];
        let op = Op::Release(v1::ReleaseShardsRequest {
            pool,
            instance,
            session: session.id(),
            shards,
            options: None,
        });
        let ask = async move { Done::Released(session.id(), shard, done, session.write_pool(op).await) };
        self.work.push(ask.boxed());
    }

    pub(super) fn ask_drain(&mut self, patience: Duration, done: oneshot::Sender<Result<Vec<Bytes>>>) {
        let (pool, instance, session) = self.me();
        let mut leaving = Leaving::at(Instant::now() + patience);
        leaving.drained = Some(done);
        self.leaving = Some(leaving);
        let state = v1::PoolMemberState::Draining.into();
        let op = Op::SetMemberState(v1::SetPoolMemberStateRequest { pool, instance, state, options: None });
        self.work.push(async move { Done::Draining(session.write_pool(op).await) }.boxed());
    }

    pub(super) fn ask_leave(&mut self) {
        let Some(leaving) = self.leaving.as_mut().filter(|_| !self.standing.has_left()) else { return };
        leaving.left_over = self.standing.owned().into_keys().collect();
        let lost = self.standing.leave();
        self.tell(lost);
        let (pool, instance, session) = self.me();
        let op = Op::Leave(v1::LeavePoolRequest { pool, instance, session: session.id(), options: None });
        let deadline = session.deadline();
        let ask = async move {
            let late = |_| Error::Unknown { message: format!("no answer to the leave within {deadline:?}") };
            let left = tokio::time::timeout(deadline, session.write_pool(op)).await;
            Done::Left(left.map_err(late).flatten())
        };
        self.work.push(ask.boxed());
    }

    /// The program does not listen any more.
    pub(super) fn leave_unheard(&mut self) {
        self.pending.clear();
        self.leaving.get_or_insert_with(|| Leaving::at(Instant::now()));
        self.ask_leave();
    }

    pub(super) fn ask_report(&mut self) {
        let owned = self.standing.owned();
        let loads = {
            // Nothing panics while it is held, so a poisoned lock still holds whole loads.
            let mut loads = self.ends.loads.lock().unwrap_or_else(PoisonError::into_inner);
            loads.report(|shard| owned.contains_key(shard))
        };
        if loads.is_empty() || self.is_suspended {
            return;
        }
        let (pool, instance, session) = self.me();
        let loads = loads.into_iter().map(|(shard, number)| v1::ShardNumber { shard, number }).collect();
        let op =
            Op::Report(v1::ReportLoadRequest { pool, instance, session: session.id(), loads, options: None });
        let ask = async move {
            // A shard may have been lost meanwhile; the next report does without it.
            let _ = session.write_pool(op).await;
            Done::Nothing
        };
        self.work.push(ask.boxed());
    }

    pub(super) fn me(&self) -> (Bytes, Bytes, Session) {
        (self.join.pool.clone(), self.join.instance.clone(), self.session.clone())
    }
}
