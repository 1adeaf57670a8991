//! How a member follows its session and its pool.

use super::{Done, Driver, End, Step};
use crate::error::{Error, Result};
use crate::pool::assignment::ShardLoss;
use crate::session::{Session, SessionState, Told};
use futures::future::FutureExt;
use oarlock_proto::v1::{self, pool_event::Event, pool_op::Op, pool_refusal::Reason};
use std::time::Duration;

/// Pause before something is asked again that was refused for a passing reason.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause before an instance asks again whether its name is free.
const NAME_PAUSE: Duration = Duration::from_millis(250);

impl Driver {
    pub(super) fn validity_changed(&mut self, is_open: bool) -> Step {
        let state = self.validity.borrow_and_update().state.clone();
        match state {
            SessionState::Lost { .. } => self.reopen(),
            SessionState::Healthy | SessionState::Jeopardy if !is_open || self.session.is_over() => {
                // Whoever closed the session wanted the member gone.
                return Err(End(None));
            }
            SessionState::Healthy if self.is_suspended => {
                self.is_suspended = false;
                self.ask_read(Duration::ZERO);
            }
            SessionState::Healthy | SessionState::Jeopardy => {}
        }
        Ok(())
    }

    /// Nobody vouches for the session any more: it must not be acted upon, whether it lives or not.
    pub(super) fn suspend(&mut self) {
        self.is_suspended = true;
        self.tell_lost(ShardLoss::Unconfirmed);
    }

    /// The session is gone: everything is lost, and another one is needed.
    pub(super) fn reopen(&mut self) {
        self.tell_lost(ShardLoss::Expired);
        self.watch = None;
        self.generation += 1;
        self.is_suspended = true;
        self.is_opening = true;
        if self.leaving.is_some() {
            // There is nothing left to hand over or to leave.
            self.work.push(std::future::ready(Done::Left(Ok(v1::PoolResponse::default()))).boxed());
            return;
        }
        let (client, timeout) = (self.session.client().clone(), self.session.timeout());
        let open = async move {
            loop {
                match client.session().timeout(timeout).open().await {
                    Err(error) if error.is_passing() => tokio::time::sleep(PAUSE).await,
                    opened => return Done::Opened(opened),
                }
            }
        };
        self.work.push(open.boxed());
    }

    pub(super) fn opened(&mut self, opened: Result<Session>) -> Step {
        self.session = opened.map_err(|error| End(Some(error)))?;
        self.is_own = true;
        (self.is_suspended, self.is_opening) = (false, false);
        self.validity = self.session.validity();
        self.owned.live_by(self.session.validity());
        self.standing.begin(self.session.id());
        self.ask_join(Duration::ZERO);
        Ok(())
    }

    pub(super) fn ask_join(&mut self, pause: Duration) {
        let generation = self.next_generation();
        self.join.session = self.session.id();
        let (session, join) = (self.session.clone(), self.join.clone());
        let ask = async move {
            tokio::time::sleep(pause).await;
            Done::Joined(generation, session.write_pool(Op::Join(join)).await)
        };
        self.work.push(ask.boxed());
    }

    pub(super) fn ask_read(&mut self, pause: Duration) {
        let generation = self.next_generation();
        let (session, pool) = (self.session.clone(), self.join.pool.clone());
        let ask = async move {
            tokio::time::sleep(pause).await;
            Done::Read(generation, session.read_pool(pool).await)
        };
        self.work.push(ask.boxed());
    }

    pub(super) fn ask_watch(&mut self, from: u64) {
        let (generation, session, pool) = (self.generation, self.session.clone(), self.join.pool.clone());
        let ask = async move { Done::Watching(generation, session.watch_pool(pool, from).await) };
        self.work.push(ask.boxed());
    }

    /// What was watched so far, and what was asked before, is of no interest any more.
    pub(super) fn next_generation(&mut self) -> u64 {
        self.watch = None;
        self.generation += 1;
        self.generation
    }

    pub(super) fn done(&mut self, done: Done) -> Step {
        let current = self.generation;
        match done {
            Done::Joined(generation, answer) if generation == current => self.joined(answer)?,
            Done::Read(generation, answer) if generation == current => self.read(answer)?,
            Done::Watching(generation, Ok(watch)) if generation == current => self.watch = Some(watch),
            Done::Joined(..) | Done::Read(..) | Done::Watching(..) | Done::Nothing => {}
            Done::Opened(opened) => self.opened(opened)?,
            Done::Released(session, shard, done, answer) => {
                if session == self.session.id() {
                    self.standing.released(&shard);
                }
                let _ = done.send(answer.map(drop));
            }
            Done::Draining(Ok(_)) => {
                if let Some(leaving) = &mut self.leaving {
                    leaving.is_known = true;
                }
            }
            // With the session everything is lost, which ends the member as well.
            Done::Draining(Err(Error::SessionLost { .. })) => {}
            Done::Draining(Err(error)) => return Err(End(Some(error))),
            Done::Left(Ok(_) | Err(Error::SessionLost { .. })) => return Err(End(None)),
            Done::Left(Err(error)) if error.is_pool_refused(Reason::NotMember) => return Err(End(None)),
            Done::Left(Err(error)) => return Err(End(Some(error))),
        }
        Ok(())
    }

    pub(super) fn joined(&mut self, answer: Result<v1::PoolResponse>) -> Step {
        match answer {
            Ok(_) => {
                if let Some(started) = self.started.take() {
                    let _ = started.send(Ok(()));
                }
                self.ask_read(Duration::ZERO);
                Ok(())
            }
            // The session of the program's last run, which is not over yet.
            Err(error) if error.is_pool_refused(Reason::InstanceInUse) => {
                self.ask_join(NAME_PAUSE);
                Ok(())
            }
            // Noticed by its validity, too.
            Err(Error::SessionLost { .. }) if self.started.is_none() => Ok(()),
            Err(error) if error.is_passing() => {
                self.ask_join(PAUSE);
                Ok(())
            }
            Err(error) => Err(End(Some(error))),
        }
    }

    pub(super) fn read(&mut self, answer: Result<(v1::PoolInfo, u64)>) -> Step {
        match answer {
            Ok(_) if self.is_suspended => {}
            Ok((pool, revision)) => {
                let is_me = |member: &v1::PoolMember| {
                    member.instance == self.join.instance && member.session == self.session.id()
                };
                if !pool.members.iter().any(is_me) && self.leaving.is_none() {
                    self.tell_lost(ShardLoss::Unobserved);
                    self.ask_join(PAUSE);
                    return Ok(());
                }
                let told = self.standing.reread(&pool);
                self.tell(told);
                self.ask_watch(revision + 1);
            }
            Err(Error::SessionLost { .. }) => {}
            Err(error) if error.is_passing() => self.ask_read(PAUSE),
            Err(error) => return Err(End(Some(error))),
        }
        Ok(())
    }

    pub(super) fn told(&mut self, told: Option<Told>) -> Step {
        match told {
            Some(Told::Pools(events)) => {
                for event in events.into_iter().filter_map(|event| event.event) {
                    self.event(&event)?;
                }
            }
            Some(Told::Events(_)) => {}
            Some(Told::Over(error)) if !is_mendable(&error) => return Err(End(Some(error))),
            Some(Told::Over(_)) => self.ask_read(PAUSE),
            None => self.ask_read(Duration::ZERO),
        }
        Ok(())
    }

    pub(super) fn event(&mut self, event: &Event) -> Step {
        if !self.is_suspended {
            let told = self.standing.event(event);
            self.tell(told);
        }
        match event {
            Event::Deleted(_) => {
                self.tell_lost(ShardLoss::Deleted);
                Err(End(Some(self.gone("the pool was deleted"))))
            }
            Event::Left(instance) if *instance == self.join.instance && self.leaving.is_none() => {
                self.tell_lost(ShardLoss::Closed);
                self.ask_join(PAUSE);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn gone(&self, cause: &str) -> Error {
        let text = String::from_utf8_lossy;
        let (instance, pool) = (text(&self.join.instance), text(&self.join.pool));
        Error::NotHeld { what: format!("membership {instance:?} of pool {pool:?}"), cause: cause.into() }
    }
}

/// Whether reading the pool and watching it anew can mend what ended a watch.
fn is_mendable(error: &Error) -> bool {
    error.is_passing() || matches!(error.code(), Some(v1::ErrorCode::Compacted | v1::ErrorCode::Lagging))
}
