//! The task behind a claim: it asks, follows what becomes of it, and gives it up when nobody wants it
//! any more.
//!
//! One task does these things one after the other, so that nothing is left behind whatever its handles
//! do: a claim that is abandoned before its answer came is given up after it. A claim costs one write,
//! one watch of its objects from the revision after the answer, and one write to give it up. When the
//! watch is cut off, by compaction or by the task's own slowness, the task reads what the claim has and
//! watches from there.

use super::claim::{Claim, LossCause};
use super::follow::{Follow, Phase, Standing};
use crate::error::{Error, Result};
use crate::session::{ObjectWatch, Session, Told};
use bytes::Bytes;
use oarlock_proto::v1::{self, object_answer::Answer, object_op::Op, object_query::Query};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Pause before a question is asked again that was refused for a passing reason.
const PAUSE: Duration = Duration::from_millis(50);
/// Steps after which giving up is left to the session's end. Each step may find that the claim was
/// granted, or sent back into the queue, meanwhile.
const STEPS_MAX: usize = 8;

/// What a claim asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) acquire: v1::AcquireRequest,
    pub(crate) guards: Vec<v1::Guard>,
}

/// What the handle of a claim has of it. Dropping it gives the claim up.
#[derive(Debug)]
pub(crate) struct Grip {
    pub(crate) session: Session,
    pub(crate) claim: Claim,
    pub(crate) standing: Arc<watch::Sender<Standing>>,
    name: Bytes,
    /// Sent when there is nothing to give up, dropped when there may be.
    forget: oneshot::Sender<()>,
}

impl Grip {
    /// Begins a claim.
    pub(crate) fn begin(session: &Session, mut request: Request) -> Self {
        let claim = Claim { session: session.id(), request: session.next_claim() };
        request.acquire.claim = Some(claim.into());
        let name = request.acquire.parts.first().map_or_else(Bytes::new, |part| part.name.clone());
        let standing = Arc::new(watch::Sender::new(Standing::asked()));
        let (forget, forgotten) = oneshot::channel();
        let claimant =
            Claimant { session: session.clone(), claim, request, standing: standing.clone(), forgotten };
        tokio::spawn(claimant.run());
        Self { session: session.clone(), claim, standing, name, forget }
    }

    /// The name of the object, or of one of several.
    pub(crate) fn name(&self) -> Bytes {
        self.name.clone()
    }

    /// There is nothing to give up any more.
    pub(crate) fn forget(self) {
        let _ = self.forget.send(());
    }
}

struct Claimant {
    session: Session,
    claim: Claim,
    request: Request,
    standing: Arc<watch::Sender<Standing>>,
    forgotten: oneshot::Receiver<()>,
}

/// Why the claim is followed no further.
enum End {
    /// There is nothing to give up.
    Nothing,
    /// Its handles are gone.
    Abandoned,
    /// The service does not let it be followed.
    Refused(Error),
}

impl Claimant {
    async fn run(mut self) {
        let Request { acquire, guards } = self.request.clone();
        let parts = acquire.parts.clone();
        let priority = acquire.priority;
        let answer = self.session.write_object(Op::Acquire(acquire), guards, true).await;
        let response = match answer {
            Ok(response) => response,
            Err(error) => return self.refuse(error),
        };
        let from = response.header.unwrap_or_default().revision + 1;
        let mut follow = Follow::new(self.claim, &parts, priority, &response.result.unwrap_or_default());
        self.standing.send_modify(|standing| follow.tell(standing));
        match self.follow(&mut follow, from).await {
            End::Nothing => {}
            End::Abandoned => self.give_up(&follow).await,
            End::Refused(error) => {
                self.give_up(&follow).await;
                self.refuse(error);
            }
        }
    }

    fn refuse(&self, error: Error) {
        self.standing.send_modify(|standing| standing.enter(Phase::Refused(error)));
    }

    /// Follows what becomes of the claim, over as many watches as that takes.
    async fn follow(&mut self, follow: &mut Follow, mut from: u64) -> End {
        if follow.wants_position() {
            match self.reread(follow).await {
                Ok(revision) => from = revision + 1,
                Err(end) => return end,
            }
        }
        loop {
            let Ok(mut watch) = self.session.watch_objects(follow.names(), from).await else {
                return self.session_over(follow);
            };
            if let Err(end) = self.follow_watch(follow, &mut watch).await {
                return end;
            }
            drop(watch);
            match self.reread(follow).await {
                Ok(revision) => from = revision + 1,
                Err(end) => return end,
            }
        }
    }

    /// Follows one watch until it has to be begun anew (`Ok`), or the claim is followed no further.
    async fn follow_watch(
        &mut self,
        follow: &mut Follow,
        watch: &mut ObjectWatch,
    ) -> std::result::Result<(), End> {
        let lost = self.session.lost();
        tokio::pin!(lost);
        loop {
            let told = tokio::select! {
                biased;
                told = watch.next() => told,
                _ = &mut lost => return Err(self.session_over(follow)),
                forgotten = &mut self.forgotten => {
                    return Err(if forgotten.is_ok() { End::Nothing } else { End::Abandoned });
                }
            };
            match told {
                Some(Told::Events(events)) => {
                    for event in &events {
                        self.standing.send_modify(|standing| follow.event(event, standing));
                    }
                }
                Some(Told::Pools(_)) => {} // not of an object
                Some(Told::Over(error)) if is_mendable(&error) => {
                    tokio::time::sleep(PAUSE).await;
                    return Ok(());
                }
                Some(Told::Over(error)) => return Err(End::Refused(error)),
                None if self.session.is_over() => return Err(self.session_over(follow)),
                None => return Ok(()),
            }
            if follow.is_over() {
                return Err(End::Nothing);
            }
            if follow.wants_position() {
                return Ok(());
            }
        }
    }

    /// Reads what the claim has by now, and at which revision.
    async fn reread(&self, follow: &mut Follow) -> std::result::Result<u64, End> {
        let Claim { session, request } = self.claim;
        let query = v1::ObjectsOfSessionRequest { session, request: Some(request), options: None };
        loop {
            match self.session.read_objects(Query::OfSession(query)).await {
                Ok((Answer::OfSession(places), revision)) => {
                    self.standing.send_modify(|standing| follow.reread(&places.places, standing));
                    return if follow.is_over() { Err(End::Nothing) } else { Ok(revision) };
                }
                Ok(_) => {
                    let message = "the server answered with something else than was asked".to_owned();
                    return Err(End::Refused(Error::Unknown { message }));
                }
                Err(_) if self.session.is_over() => return Err(self.session_over(follow)),
                Err(error) if error.is_passing() => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(End::Refused(error)),
            }
        }
    }

    fn session_over(&self, follow: &mut Follow) -> End {
        let cause = match self.session.state() {
            crate::SessionState::Lost { .. } => LossCause::Expired,
            crate::SessionState::Healthy | crate::SessionState::Jeopardy => LossCause::Closed,
        };
        self.standing.send_modify(|standing| follow.session_over(cause, standing));
        End::Nothing
    }

    /// Gives up whatever the claim has. The log may have granted or moved it since it was last heard
    /// of, so each answer says what to do next. What fails is left to the session's end.
    async fn give_up(&self, follow: &Follow) {
        let holds = follow.holds();
        let mut step = match follow.waits_for() {
            Some(name) => Some(Op::Cancel(self.cancel(name))),
            None if holds.is_empty() => None,
            None => Some(Op::Release(v1::ReleaseRequest { holds, options: None })),
        };
        for _ in 0..STEPS_MAX {
            let Some(op) = step.take() else { return };
            let answer = self.session.write_object(op.clone(), Vec::new(), true).await;
            step = self.next_step(op, answer, follow).await;
        }
    }

    async fn next_step(&self, op: Op, answer: Result<v1::ObjectResponse>, follow: &Follow) -> Option<Op> {
        use v1::object_refusal::Reason;
        let error = answer.err()?;
        match op {
            Op::Cancel(_) if error.is_refused(Reason::AlreadyGranted) => {
                let token = error.refusal().map_or(0, |refusal| refusal.token);
                let held = |name| v1::Held { name, claim: Some(self.claim.into()), token };
                let holds = follow.names().into_iter().map(held).collect();
                Some(Op::Release(v1::ReleaseRequest { holds, options: None }))
            }
            Op::Release(release) if error.is_refused(Reason::NotHeld) => match &release.holds[..] {
                // A leader that was preempted waits again.
                [only] => Some(Op::Cancel(self.cancel(only.name.clone()))),
                several => {
                    // Some of them are lost: the others one by one.
                    for held in several {
                        let alone = v1::ReleaseRequest { holds: vec![held.clone()], options: None };
                        let _ = self.session.write_object(Op::Release(alone), Vec::new(), true).await;
                    }
                    None
                }
            },
            _ => None,
        }
    }

    fn cancel(&self, name: Bytes) -> v1::CancelRequest {
        v1::CancelRequest { name, claim: Some(self.claim.into()), options: None }
    }
}

/// Whether a watch that ended for this reason goes on after a look at what the claim has.
fn is_mendable(error: &Error) -> bool {
    error.is_passing() || error.code() == Some(v1::ErrorCode::Compacted)
}
