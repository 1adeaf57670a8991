//! The task: acts while its member leads, and looks from time to time whether it does.

use super::agenda::{Agenda, Progress, Work, again_ms};
use super::news::News;
use crate::node::handle::Handle;
use crate::node::request::{Consistency, Refusal, Request, Response, Role, Write};
use crate::tasks::Tasks;
use bytes::Bytes;
use oarlock_state::command::Answer;
use oarlock_state::pool::placement::{Plan, plan};
use oarlock_state::pool::{PoolError, PoolOp, PoolQuery, PoolReply, PoolState, PoolSummary};
use oarlock_state::{Caller, Command, Query, Rejection};
use slog::{Logger, debug, o, warn};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often a member looks whether it leads: so long after an election nobody plans.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pools listed at a time.
const LIST_PAGE: u64 = 1_000;

/// Plans all pools while this member leads, until the node stops.
pub async fn run(handle: Handle, tasks: Tasks, logger: Logger) {
    let logger = logger.new(o!("part" => "pools"));
    let planner = Planner { handle, tasks, logger, begun: Instant::now() };
    loop {
        sleep(LOOK_EVERY).await;
        if planner.leads() {
            planner.lead().await;
        }
    }
}

struct Planner {
    handle: Handle,
    tasks: Tasks,
    logger: Logger,
    begun: Instant,
}

impl Planner {
    fn leads(&self) -> bool {
        self.handle.status_now().role == Role::Leader && !self.handle.is_stopping()
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Until it leads no more, or the watch is over.
    async fn lead(&self) {
        let Ok(news) = News::open(&self.handle) else { return };
        let mut agenda = Agenda::default();
        while self.leads() {
            let heard = news.take();
            let now_ms = self.now_ms();
            if heard.over {
                return;
            }
            if heard.placed {
                agenda.lose_track(now_ms);
            }
            for (pool, tuned) in heard.changed {
                agenda.changed(pool, tuned, now_ms);
            }
            match agenda.take(now_ms) {
                Some(Work::List) => self.list(&mut agenda).await,
                Some(Work::Plan(pool)) => {
                    let progress = self.plan(&pool).await;
                    agenda.planned(&pool, progress, self.now_ms());
                }
                None => {
                    let idle = agenda.next_ms().map_or(LOOK_EVERY, |next_ms| {
                        Duration::from_millis(next_ms.saturating_sub(now_ms)).min(LOOK_EVERY)
                    });
                    // Whether it was woken or not, it looks at everything.
                    let _ = timeout(idle, news.wait()).await;
                }
            }
        }
    }

    async fn read(&self, query: PoolQuery) -> Result<PoolReply, Refusal> {
        // The leader's own state will do: a plan for an older one is refused by the log.
        let consistency = Consistency::Serializable;
        let read = Request::Read { query: Query::Pool(query), consistency, timeout_ms: 0 };
        match self.handle.call_as(&Caller::Server, read).await? {
            Response::Answer { answer: Answer::Pool(reply), .. } => Ok(reply),
            other => Err(Refusal::Invalid { what: format!("a pool answers something else: {other:?}") }),
        }
    }

    async fn list(&self, agenda: &mut Agenda) {
        match self.names().await {
            Ok(names) => agenda.listed(names, self.now_ms()),
            Err(refusal) => {
                debug!(self.logger, "cannot list the pools"; "why" => %refusal);
                agenda.list_failed(self.now_ms());
            }
        }
    }

    async fn names(&self) -> Result<Vec<Bytes>, Refusal> {
        let mut names: Vec<Bytes> = Vec::new();
        loop {
            let after = names.last().cloned().unwrap_or_default();
            let list = PoolQuery::List { prefix: Bytes::new(), after, limit: LIST_PAGE };
            let PoolReply::Listed { pools, more } = self.read(list).await? else {
                return Err(Refusal::Invalid { what: "a list of pools was asked for".into() });
            };
            let more = more && !pools.is_empty();
            names.extend(pools.into_iter().map(|PoolSummary { pool, .. }| pool));
            if !more {
                return Ok(names);
            }
        }
    }

    /// Plans one pool, once.
    async fn plan(&self, pool: &Bytes) -> Progress {
        let state = match self.read(PoolQuery::State { pool: pool.clone() }).await {
            Ok(PoolReply::State(state)) => state,
            Ok(_) => return Progress::Failed,
            Err(refusal) => return self.refused(pool, &refusal),
        };
        let (state, plan) = self.compute(state).await;
        if plan.steps.is_empty() {
            return Progress::Nothing { again_ms: again_ms(&state, &plan) };
        }
        let (steps, basis) = (plan.steps.len(), state.changed);
        debug!(self.logger, "planned"; "pool" => ?pool, "steps" => steps, "waiting" => plan.waiting);
        let assign = PoolOp::Assign { pool: pool.clone(), basis, steps: plan.steps };
        let write = Request::Write(Write::of(Command::Pool(assign)));
        match self.handle.call_as(&Caller::Server, write).await {
            Ok(_) => Progress::Done,
            Err(refusal) => self.refused(pool, &refusal),
        }
    }

    async fn compute(&self, state: Box<PoolState>) -> (Box<PoolState>, Plan) {
        let job = move || {
            let plan = plan(&state);
            (state, plan)
        };
        self.tasks.blocking(job).await
    }

    fn refused(&self, pool: &Bytes, refusal: &Refusal) -> Progress {
        match refusal {
            Refusal::Rejected(Rejection::Pool(PoolError::Stale { .. })) => Progress::Stale,
            Refusal::Rejected(Rejection::Pool(PoolError::PoolNotFound { .. })) => Progress::Gone,
            Refusal::Rejected(rejection) => {
                // A pin or the budget may have changed since; if it comes again and again, placement and
                // apply differ.
                warn!(self.logger, "plan was refused, and is made again"; "pool" => ?pool, "why" => %rejection);
                Progress::Failed
            }
            passing => {
                debug!(self.logger, "cannot plan now"; "pool" => ?pool, "why" => %passing);
                Progress::Failed
            }
        }
    }
}
