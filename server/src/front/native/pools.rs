//! The `Pools` service.

use super::convert::{self, Form, pool, pool_plan, pool_reply};
use super::door::{Door, Signed};
use super::errors::{self, status};
use super::routes::{self, RouteStream};
use crate::node::request::{Request as Ask, Write};
use bytes::Bytes;
use oarlock_proto::v1::{self, pools_server::Pools};
use oarlock_state::Rejection;
use oarlock_state::pool::placement::{explain, plan, simulate};
use oarlock_state::pool::{PoolError, PoolState};
use std::sync::Arc;
use tonic::{Request, Response, Status};

type Written = Result<Response<v1::PoolResponse>, Status>;
type Answered = Result<Response<v1::PoolAnswer>, Status>;

/// Serves shard pools.
pub struct PoolService {
    door: Arc<Door>,
}

impl PoolService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    async fn write<T>(&self, request: Request<T>, convert: fn(T) -> Form<Write>) -> Written {
        let door = self.door.admit(request.metadata())?;
        let write = convert(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(Ask::Write(write)).await.and_then(pool_reply::written).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }

    async fn read<T>(&self, request: Request<T>, convert: fn(T) -> Form<Ask>) -> Answered {
        let door = self.door.admit(request.metadata())?;
        let ask = convert(request.into_inner()).map_err(|refusal| door.refuse(refusal))?;
        let answer = door.ask(ask).await.and_then(pool_reply::answered).map_err(status)?;
        Ok(Response::new(answer.signed(&door)))
    }
}

/// A pool's state, for what is computed from it here and not in the log.
async fn state(
    door: &Door,
    pool: Bytes,
    options: Option<&v1::ReadOptions>,
) -> Result<(Option<v1::Header>, Box<PoolState>), Status> {
    let ask = pool::state(pool, options).map_err(|refusal| door.refuse(refusal))?;
    let (header, state) = door.ask(ask).await.and_then(pool_reply::state).map_err(status)?;
    Ok((Some(door.sign(header)), state))
}

/// Computes beside the tasks that serve streams: a plan for a large pool takes its time.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let failed = |_| status(errors::internal("the computation for a pool broke off"));
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

#[tonic::async_trait]
impl Pools for PoolService {
    type RouteStream = RouteStream;

    async fn create(&self, request: Request<v1::CreatePoolRequest>) -> Written {
        self.write(request, pool::create).await
    }

    async fn set_policy(&self, request: Request<v1::SetPoolPolicyRequest>) -> Written {
        self.write(request, pool::set_policy).await
    }

    async fn delete(&self, request: Request<v1::DeletePoolRequest>) -> Written {
        self.write(request, pool::delete).await
    }

    async fn add_shards(&self, request: Request<v1::AddShardsRequest>) -> Written {
        self.write(request, pool::add_shards).await
    }

    async fn remove_shards(&self, request: Request<v1::RemoveShardsRequest>) -> Written {
        self.write(request, pool::remove_shards).await
    }

    async fn join(&self, request: Request<v1::JoinPoolRequest>) -> Written {
        self.write(request, pool::join).await
    }

    async fn leave(&self, request: Request<v1::LeavePoolRequest>) -> Written {
        self.write(request, pool::leave).await
    }

    async fn ready(&self, request: Request<v1::ShardsReadyRequest>) -> Written {
        self.write(request, pool::ready).await
    }

    async fn release(&self, request: Request<v1::ReleaseShardsRequest>) -> Written {
        self.write(request, pool::release).await
    }

    async fn report(&self, request: Request<v1::ReportLoadRequest>) -> Written {
        self.write(request, pool::report).await
    }

    async fn set_member_state(&self, request: Request<v1::SetPoolMemberStateRequest>) -> Written {
        self.write(request, pool::set_member_state).await
    }

    async fn pin(&self, request: Request<v1::PinShardRequest>) -> Written {
        self.write(request, pool::pin).await
    }

    async fn set_weights(&self, request: Request<v1::SetShardWeightsRequest>) -> Written {
        self.write(request, pool::set_weights).await
    }

    async fn pause(&self, request: Request<v1::PausePoolRequest>) -> Written {
        self.write(request, pool::pause).await
    }

    async fn r#move(&self, request: Request<v1::MoveShardRequest>) -> Written {
        self.write(request, pool::move_shard).await
    }

    async fn force(&self, request: Request<v1::ForceShardRequest>) -> Written {
        self.write(request, pool::force).await
    }

    async fn list(&self, request: Request<v1::ListPoolsRequest>) -> Answered {
        self.read(request, pool::list).await
    }

    async fn describe(&self, request: Request<v1::DescribePoolRequest>) -> Answered {
        self.read(request, pool::describe).await
    }

    async fn describe_shard(&self, request: Request<v1::DescribeShardRequest>) -> Answered {
        self.read(request, pool::shard).await
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainShardRequest>,
    ) -> Result<Response<v1::ExplainShardResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let v1::ExplainShardRequest { pool, shard, options } = request.into_inner();
        let shard = convert::key::key(shard).map_err(|refusal| door.refuse(refusal))?;
        let (header, state) = state(&door, pool, options.as_ref()).await?;
        let missing = PoolError::ShardNotFound { pool: state.pool.clone(), shard: shard.clone() };
        let explained = compute(move || {
            let of = state.shards.iter().find(|one| one.shard == shard)?.clone();
            Some(pool_plan::explanation(of, explain(&state, &shard)?))
        });
        let Some(answer) = explained.await? else {
            return Err(status(errors::rejection(&Rejection::Pool(missing))));
        };
        Ok(Response::new(v1::ExplainShardResponse { header, ..answer }))
    }

    async fn plan(
        &self,
        request: Request<v1::PlanPoolRequest>,
    ) -> Result<Response<v1::PlanPoolResponse>, Status> {
        let door = self.door.admit(request.metadata())?;
        let v1::PlanPoolRequest { pool, changes, options } = request.into_inner();
        let changes: Form<Vec<_>> = changes.into_iter().map(pool::what_if).collect();
        let changes = changes.map_err(|refusal| door.refuse(refusal))?;
        let (header, state) = state(&door, pool, options.as_ref()).await?;
        let planned = compute(move || {
            pool_plan::plan(if changes.is_empty() { plan(&state) } else { simulate(&state, &changes) })
        });
        Ok(Response::new(v1::PlanPoolResponse { header, ..planned.await? }))
    }

    async fn route(&self, request: Request<v1::RouteRequest>) -> Result<Response<Self::RouteStream>, Status> {
        let door = self.door.admit(request.metadata())?;
        let routes = routes::begin(door.clone(), request.into_inner());
        Ok(Response::new(routes.map_err(|refusal| door.refuse(refusal))?))
    }
}
