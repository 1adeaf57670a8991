//! Administering pools.

use super::policy::{Policy, Shards, whole_ms};
use crate::client::Client;
use crate::endpoints::{Connection, MESSAGE_BYTES_MAX};
use crate::error::{Error, Result};
use bytes::Bytes;
use oarlock_proto::v1::{self, PoolMemberState, pool_answer::Answer, pools_client::PoolsClient};
use std::time::Duration;
use tonic::transport::Channel;

/// What an operator, or a program at its start, asks of pools. Made by [`Client::pools`]. Writes are
/// repeated by the client under a name, as [`ClientBuilder::remember_writes`](crate::ClientBuilder::remember_writes)
/// says. Errors are what the service says; [`Error::pool_refusal`] tells the reason to programs.
#[derive(Clone)]
pub struct Pools {
    client: Client,
}

impl Client {
    /// Administers pools: `client.pools().create("carts", Shards::Slots(256), Policy::default()).await?`.
    pub fn pools(&self) -> Pools {
        Pools { client: self.clone() }
    }
}

macro_rules! writes {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $method:ident $request:expr;)*) => {
        $(
            $(#[$doc])*
            pub async fn $name(&self, pool: impl Into<Bytes>, $($argument: $type),*) -> Result<u64> {
                let make: fn(Bytes, $($type),*) -> _ = $request;
                let mut request = make(pool.into(), $($argument),*);
                let options = request.options.get_or_insert_default();
                options.idempotency = self.client.fresh_name();
                let named = options.idempotency.is_some();
                let client = &self.client;
                let answer = client
                    .call(named, |connection| {
                        let mut request = request.clone();
                        request.options.get_or_insert_default().timeout_ms = client.timeout_ms(&connection, named);
                        async move { pools(connection).$method(request).await }
                    })
                    .await?;
                Ok(answer.header.unwrap_or_default().revision)
            }
        )*
    };
}

/// Each returns the revision of the change.
impl Pools {
    writes! {
        /// Makes a pool. If there is one that is exactly the same, that is as good.
        create(shards: Shards, policy: Policy) create |pool, shards, policy| v1::CreatePoolRequest {
            pool, shards: Some(shards.into()), policy: Some(policy.into()), options: None,
        };
        /// Replaces the policy.
        set_policy(policy: Policy) set_policy |pool, policy| v1::SetPoolPolicyRequest {
            pool, policy: Some(policy.into()), options: None,
        };
        /// Removes a pool without members, or with `force` whatever is in it.
        delete(force: bool) delete |pool, force| v1::DeletePoolRequest { pool, force, options: None };
        /// Adds shards to a pool of named ones, with their weights. Those that exist are passed over.
        add_shards(shards: Vec<(Bytes, u32)>) add_shards |pool, shards| v1::AddShardsRequest {
            pool, shards: numbers(shards), options: None,
        };
        /// Removes named shards: at once if nobody owns them, else once they are released.
        remove_shards(shards: Vec<Bytes>) remove_shards |pool, shards| v1::RemoveShardsRequest {
            pool, shards, options: None,
        };
        /// Gives a member nothing new; it keeps what it has.
        cordon(instance: Bytes) set_member_state |pool, instance| state(pool, instance, PoolMemberState::Cordoned);
        /// Moves everything away from a member, each shard as its successor is warm.
        drain(instance: Bytes) set_member_state |pool, instance| state(pool, instance, PoolMemberState::Draining);
        /// Gives a member shards again.
        activate(instance: Bytes) set_member_state |pool, instance| state(pool, instance, PoolMemberState::Active);
        /// Says where a shard has to be; the instance need not be a member yet. `None`: anywhere.
        pin(shard: Bytes, to: Option<Bytes>) pin |pool, shard, to| v1::PinShardRequest {
            pool, shard, to: to.unwrap_or_default(), options: None,
        };
        /// Replaces the weights of shards; each at least 1.
        set_weights(weights: Vec<(Bytes, u32)>) set_weights |pool, weights| v1::SetShardWeightsRequest {
            pool, weights: numbers(weights), options: None,
        };
        /// No planned moves and no reassignments for that long; zero goes on at once.
        pause(duration: Duration, reason: String) pause |pool, duration, reason| v1::PausePoolRequest {
            pool, for_ms: whole_ms(duration), reason, options: None,
        };
        /// Begins a planned move, whatever balance says.
        move_shard(shard: Bytes, to: Bytes) r#move |pool, shard, to| v1::MoveShardRequest {
            pool, shard, to, options: None,
        };
        /// Takes a shard away from whoever owns it or has it withheld, at once. The former owner may
        /// not know yet; its token is refused from now on.
        force(shard: Bytes) force |pool, shard| v1::ForceShardRequest { pool, shard, options: None };
    }

    /// The pools whose name begins with `prefix`, in order; all with an empty one.
    pub async fn list(&self, prefix: impl Into<Bytes>) -> Result<Vec<v1::PoolSummary>> {
        let prefix = prefix.into();
        let mut after = Bytes::new();
        let mut all = Vec::new();
        loop {
            let request = v1::ListPoolsRequest { prefix: prefix.clone(), after, limit: 0, options: None };
            let answer = self.ask(|mut pools| {
                let request = request.clone();
                async move { pools.list(request).await }
            });
            let Some(Answer::Listed(listed)) = answer.await?.answer else { return Err(mismatch()) };
            all.extend(listed.pools);
            match all.last() {
                Some(last) if listed.more => after = last.pool.clone(),
                _ => return Ok(all),
            }
        }
    }

    /// A pool with all its members and shards, and the revision that it was read at.
    pub async fn describe(&self, pool: impl Into<Bytes>) -> Result<(v1::PoolInfo, u64)> {
        let request = v1::DescribePoolRequest { pool: pool.into(), options: None };
        let answer = self.ask(|mut pools| {
            let request = request.clone();
            async move { pools.describe(request).await }
        });
        let answer = answer.await?;
        match answer.answer {
            Some(Answer::Described(info)) => Ok((info, answer.header.unwrap_or_default().revision)),
            _ => Err(mismatch()),
        }
    }

    /// One shard.
    pub async fn shard(&self, pool: impl Into<Bytes>, shard: impl Into<Bytes>) -> Result<v1::PoolShard> {
        let request = v1::DescribeShardRequest { pool: pool.into(), shard: shard.into(), options: None };
        let answer = self.ask(|mut pools| {
            let request = request.clone();
            async move { pools.describe_shard(request).await }
        });
        match answer.await?.answer {
            Some(Answer::Shard(shard)) => Ok(shard),
            _ => Err(mismatch()),
        }
    }

    /// Why a shard is where it is, and what stands against each member.
    pub async fn explain(
        &self,
        pool: impl Into<Bytes>,
        shard: impl Into<Bytes>,
    ) -> Result<v1::ExplainShardResponse> {
        let request = v1::ExplainShardRequest { pool: pool.into(), shard: shard.into(), options: None };
        self.ask(|mut pools| {
            let request = request.clone();
            async move { pools.explain(request).await }
        })
        .await
    }

    /// What would be done next; with `changes`, everything that would be done after them, as if
    /// neither a pause nor the budget stood against it. Changes nothing.
    pub async fn plan(
        &self,
        pool: impl Into<Bytes>,
        changes: Vec<v1::WhatIf>,
    ) -> Result<v1::PlanPoolResponse> {
        let request = v1::PlanPoolRequest { pool: pool.into(), changes, options: None };
        self.ask(|mut pools| {
            let request = request.clone();
            async move { pools.plan(request).await }
        })
        .await
    }

    async fn ask<T, F, Fut>(&self, question: F) -> Result<T>
    where
        F: Fn(PoolsClient<Channel>) -> Fut,
        Fut: Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
    {
        self.client.call(true, |connection| question(pools(connection))).await
    }
}

fn pools(connection: Connection) -> PoolsClient<Channel> {
    PoolsClient::new(connection.channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn state(pool: Bytes, instance: Bytes, state: PoolMemberState) -> v1::SetPoolMemberStateRequest {
    v1::SetPoolMemberStateRequest { pool, instance, state: state.into(), options: None }
}

fn numbers(numbers: Vec<(Bytes, u32)>) -> Vec<v1::ShardNumber> {
    numbers.into_iter().map(|(shard, number)| v1::ShardNumber { shard, number }).collect()
}

fn mismatch() -> Error {
    Error::Unknown { message: "the server answered with something else than was asked".into() }
}
