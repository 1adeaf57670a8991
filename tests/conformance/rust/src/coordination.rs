//! Leases, locks, elections, members and maintenance.

use crate::{Env, Outcome, equal, refused};
use etcd_client::{GetOptions, LockOptions, PutOptions, ResignOptions};
use std::time::Duration;

pub async fn lease_takes_its_keys_along(mut env: Env) -> Outcome {
    let lease = env.client.lease_grant(60, None).await?.id();
    let options = PutOptions::new().with_lease(lease);
    env.client.put(env.key("a"), "1", Some(options.clone())).await?;
    env.client.put(env.key("b"), "2", Some(options)).await?;
    let left = env
        .client
        .lease_time_to_live(lease, Some(etcd_client::LeaseTimeToLiveOptions::new().with_keys()))
        .await?;
    equal("keys", left.keys().len(), 2)?;
    equal("granted", left.granted_ttl(), 60)?;
    let listed = env.client.leases().await?.leases().iter().any(|status| status.id() == lease);
    equal("listed", listed, true)?;
    env.client.lease_revoke(lease).await?;
    equal(
        "keys",
        env.client.get(env.prefix.as_str(), Some(GetOptions::new().with_prefix())).await?.count(),
        0,
    )
}

pub async fn lease_kept_alive(mut env: Env) -> Outcome {
    let lease = env.client.lease_grant(2, None).await?.id();
    env.client.put(env.key("a"), "1", Some(PutOptions::new().with_lease(lease))).await?;
    let (mut keeper, mut answers) = env.client.lease_keep_alive(lease).await?;
    for _ in 0..5 {
        keeper.keep_alive().await?;
        let answer = answers.message().await?.ok_or("the stream ended")?;
        equal("time to live", answer.ttl(), 2)?;
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    equal("key", env.client.get(env.key("a"), None).await?.count(), 1)
}

pub async fn unknown_lease_is_refused(mut env: Env) -> Outcome {
    refused(env.client.lease_revoke(0x7654321).await, "requested lease not found")?;
    let put = env.client.put(env.key("a"), "1", Some(PutOptions::new().with_lease(0x7654321))).await;
    refused(put, "requested lease not found")
}

pub async fn lock_excludes(mut env: Env) -> Outcome {
    let name = env.key("lock");
    let held = env.client.lock(name.as_str(), None).await?;
    equal("key is below the name", held.key().starts_with(name.as_bytes()), true)?;
    let lease = env.client.lease_grant(10, None).await?.id();
    let mut other = env.client.clone();
    let waiting_for = name.clone();
    let waiting =
        tokio::spawn(
            async move { other.lock(waiting_for, Some(LockOptions::new().with_lease(lease))).await },
        );
    tokio::time::sleep(Duration::from_millis(500)).await;
    equal("second waits", waiting.is_finished(), false)?;
    env.client.unlock(held.key()).await?;
    let second = waiting.await??;
    env.client.unlock(second.key()).await?;
    Ok(())
}

pub async fn election(mut env: Env) -> Outcome {
    let name = env.key("election");
    let lease = env.client.lease_grant(10, None).await?.id();
    refused(env.client.leader(name.as_str()).await, "election: no leader")?;
    let won = env.client.campaign(name.as_str(), "one", lease).await?;
    let leader = won.leader().ok_or("no leader key")?.clone();
    let now = env.client.leader(name.as_str()).await?;
    equal("leader", now.kv().map(|kv| kv.value().to_vec()), Some(b"one".to_vec()))?;
    let options = etcd_client::ProclaimOptions::new().with_leader(leader.clone());
    env.client.proclaim("two", Some(options)).await?;
    let mut seen = env.client.observe(name.as_str()).await?;
    let first = seen.message().await?.ok_or("the stream ended")?;
    equal("observed", first.kv().map(|kv| kv.value().to_vec()), Some(b"two".to_vec()))?;
    env.client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    refused(env.client.leader(name.as_str()).await, "election: no leader")
}

pub async fn members_and_status(mut env: Env) -> Outcome {
    let members = env.client.member_list().await?;
    equal("members", members.members().len(), 3)?;
    let status = env.client.status().await?;
    equal("version", status.version().starts_with("3."), true)?;
    equal("a leader", members.members().iter().any(|member| member.id() == status.leader()), true)?;
    refused(env.client.member_remove(12345).await, "member not found")
}

pub async fn hash_and_snapshot(mut env: Env) -> Outcome {
    env.client.put(env.key("a"), "1", None).await?;
    let mut one = etcd_client::Client::connect(&env.endpoints[..1], None).await?;
    equal("hash", one.hash_kv(0).await?.hash(), one.hash_kv(0).await?.hash())?;
    let mut stream = one.snapshot().await?;
    let mut size = 0;
    while let Some(part) = stream.message().await? {
        size += part.blob().len();
    }
    equal("some bytes", size > 32, true)
}
