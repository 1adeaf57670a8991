//! pool: shard pools, from making one to taking part.

mod join;
mod routes;
mod show;
mod whatif;

use crate::args::{Common, PoolVerb};
use crate::failure::Failure;
use crate::output::{self, say};
use bytes::Bytes;
use oarlock_client::pool::{Policy, Shards};
use oarlock_client::wire::pool_refusal::Reason;
use oarlock_client::{Client, Error};
use serde_json::json;
use std::process::ExitCode;

/// Runs a verb on pools.
pub async fn run(common: &Common, verb: PoolVerb) -> Result<ExitCode, Failure> {
    match verb {
        PoolVerb::Join(args) => join::run(common, args).await,
        PoolVerb::Ls { prefix } => show::ls(common, prefix).await,
        PoolVerb::Status { pool, shards } => show::status(common, pool, shards).await,
        PoolVerb::Explain { pool, shard } => whatif::explain(common, pool, shard).await,
        PoolVerb::Plan(args) => whatif::plan(common, args).await,
        PoolVerb::Routes { pool, follow, key } => routes::run(common, pool, follow, key).await,
        other => {
            let client = common.connect().await?;
            let revision = change(&client, other).await.map_err(told)?;
            if common.is_json() {
                output::line(&json!({ "revision": revision }));
            } else {
                say!("revision {revision}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The verbs that change something; the revision of the change.
async fn change(client: &Client, verb: PoolVerb) -> Result<u64, Failure> {
    let pools = client.pools();
    let revision = match verb {
        PoolVerb::Create(args) => {
            let shards = args.slots.map_or(Shards::Named, Shards::Slots);
            pools.create(args.pool, shards, args.policy.over(Policy::default())).await?
        }
        PoolVerb::Policy { pool, policy } => {
            let (info, _) = pools.describe(pool.clone()).await?;
            let now = info.policy.as_ref().map(Policy::from).unwrap_or_default();
            pools.set_policy(pool, policy.over(now)).await?
        }
        PoolVerb::Delete { pool, force } => pools.delete(pool, force).await?,
        PoolVerb::Drain(args) => pools.drain(args.pool, args.instance.into()).await?,
        PoolVerb::Cordon(args) => pools.cordon(args.pool, args.instance.into()).await?,
        PoolVerb::Activate(args) => pools.activate(args.pool, args.instance.into()).await?,
        PoolVerb::Move { pool, shard, to } => pools.move_shard(pool, shard.into(), to.into()).await?,
        PoolVerb::Pin { pool, shard, to } => pools.pin(pool, shard.into(), to.map(Into::into)).await?,
        PoolVerb::Pause { pool, duration, reason } => pools.pause(pool, duration, reason).await?,
        PoolVerb::Force { pool, shard } => pools.force(pool, shard.into()).await?,
        PoolVerb::Weights { pool, weights } => pools.set_weights(pool, numbers(&weights, None)?).await?,
        PoolVerb::Add { pool, shards } => pools.add_shards(pool, numbers(&shards, Some(1))?).await?,
        PoolVerb::Remove { pool, shards } => {
            pools.remove_shards(pool, shards.into_iter().map(Into::into).collect()).await?
        }
        PoolVerb::Join(_)
        | PoolVerb::Ls { .. }
        | PoolVerb::Status { .. }
        | PoolVerb::Explain { .. }
        | PoolVerb::Plan(_)
        | PoolVerb::Routes { .. } => return Err(Failure::Usage("this verb changes nothing".into())),
    };
    Ok(revision)
}

/// `SHARD=NUMBER`s; without a number the one `unless` stands for it, if there is one.
fn numbers(words: &[String], unless: Option<u32>) -> Result<Vec<(Bytes, u32)>, Failure> {
    words.iter().map(|word| number(word, unless)).collect()
}

fn number(word: &str, unless: Option<u32>) -> Result<(Bytes, u32), Failure> {
    let bad = || Failure::Usage(format!("{word:?} is not of the form SHARD=WEIGHT"));
    let (shard, number) = match (word.rsplit_once('='), unless) {
        (Some((shard, number)), _) => (shard, number.parse().map_err(|_| bad())?),
        (None, Some(number)) => (word, number),
        (None, None) => return Err(bad()),
    };
    Ok((Bytes::copy_from_slice(shard.as_bytes()), number))
}

/// What is not there has its own exit code.
fn told(failure: Failure) -> Failure {
    match failure {
        Failure::Client(error) if is_not_found(&error) => Failure::NotFound(error.to_string()),
        other => other,
    }
}

fn is_not_found(error: &Error) -> bool {
    [Reason::PoolNotFound, Reason::ShardNotFound, Reason::MemberNotFound]
        .into_iter()
        .any(|reason| error.is_pool_refused(reason))
}

/// A name for people.
fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_behind_the_last_equals_sign() {
        assert_eq!(number("a=b=3", None).expect("well formed"), (Bytes::from("a=b"), 3));
        assert_eq!(number("a", Some(1)).expect("well formed"), (Bytes::from("a"), 1));
        assert!(matches!(number("a", None), Err(Failure::Usage(_))));
        assert!(matches!(number("a=x", Some(1)), Err(Failure::Usage(_))));
    }
}
