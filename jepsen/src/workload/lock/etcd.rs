//! etcd's Lock service, one request at a time, with a lease that is kept alive while its holder works.

use super::{LOCKS, name};
use crate::door::{Answer, Door, Freshness, Step};
use crate::workload::{Insistence, Seat, refused};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A lease, and until when its holder relies on it, in the history's time.
struct Lease {
    id: u64,
    timeout_ms: u64,
    until: u64,
}

/// The lock's key in the queue, which names its holder, and the revision of its creation.
struct Grant {
    name: String,
    key: String,
    token: u64,
}

/// Whether the client goes on with its lease.
enum Next {
    Turn,
    Life,
    /// It dies: nothing more is sent, and its lease ends by itself.
    Death,
}

pub(super) async fn client(values: Arc<AtomicU64>, mut seat: Seat) {
    while !seat.is_over() {
        let Some(mut lease) = open(&mut seat).await else { continue };
        let mut died = false;
        for _ in 0..seat.chance.random_range(5..40) {
            if seat.is_over() || !keep_alive(&mut seat, &mut lease).await {
                break;
            }
            match turn(&values, &mut seat, &mut lease).await {
                Next::Turn => seat.pause().await,
                Next::Life => break,
                Next::Death => {
                    died = true;
                    break;
                }
            }
        }
        if !died && seat.chance.random_bool(0.6) {
            let call = async |door: &mut Door| door.close(lease.id).await;
            let _ = seat.run("close", None, json!({ "session": lease.id }), call, |()| json!({})).await;
        }
    }
}

async fn open(seat: &mut Seat) -> Option<Lease> {
    let timeout_ms = seat.chance.random_range(4..=6) * 1_000;
    let sent = seat.process.journal().now();
    let call = async |door: &mut Door| door.open(timeout_ms).await;
    let told = |lease: &crate::door::Lease| json!({ "session": lease.id, "timeout_ms": lease.timeout_ms });
    let lease = seat.run("open", None, json!({ "timeout_ms": timeout_ms }), call, told).await.ok()?;
    Some(Lease { id: lease.id, timeout_ms: lease.timeout_ms, until: sent + lease.timeout_ms * 1_000 })
}

async fn keep_alive(seat: &mut Seat, lease: &mut Lease) -> bool {
    let sent = seat.process.journal().now();
    let call = async |door: &mut Door| door.keep_alive(lease.id).await;
    let told = |valid_for: &u64| json!({ "valid_for_ms": valid_for });
    let answer = seat.run("keepalive", None, json!({ "session": lease.id }), call, told).await;
    if let Ok(valid_for) = answer {
        lease.until = lease.until.max(sent + valid_for * 1_000);
    }
    !matches!(answer, Err(failure) if failure.is_definite())
}

async fn turn(values: &AtomicU64, seat: &mut Seat, lease: &mut Lease) -> Next {
    let name = name(seat.chance.random_range(0..LOCKS));
    let until = lease.until;
    let input = json!({ "session": lease.id });
    let Ok((key, token)) = acquire(seat, &name, lease.id, until, input).await else {
        return Next::Life; // it may wait in the queue still
    };
    let grant = Grant { name, key, token };
    for _ in 0..seat.chance.random_range(1..=15) {
        let looked = seat.process.journal().now();
        if looked >= lease.until {
            lost(seat, &grant, "the lease was not confirmed in time");
            return Next::Life;
        }
        match seat.chance.random_range(0..100) {
            _ if seat.is_over() => break,
            0..60 => {
                if !write_guarded(values, seat, &grant).await {
                    lost(seat, &grant, "a guarded write was refused");
                    return Next::Life;
                }
            }
            60..75 => write_unguarded(values, seat, &grant).await,
            75..80 => {
                let time =
                    Duration::from_millis(lease.timeout_ms).mul_f64(seat.chance.random_range(0.3..2.0));
                seat.wait(time).await;
                write_guarded(values, seat, &grant).await;
                write_unguarded(values, seat, &grant).await;
            }
            80..82 => return Next::Death,
            82..90 => {
                keep_alive(seat, lease).await;
                let pending = seat.process.invoke("confirm", Some(&grant.name), named(&grant), "any");
                pending.ok(json!({ "token": grant.token, "valid_until": lease.until }));
            }
            _ => seat.pause().await,
        }
    }
    let call = async |door: &mut Door| door.unlock(&grant.key).await;
    let released = seat.run("release", Some(&grant.name), named(&grant), call, |()| json!({})).await;
    if released.is_ok() { Next::Turn } else { Next::Life }
}

async fn acquire(seat: &mut Seat, name: &str, lease: u64, until: u64, input: Value) -> Answer<(String, u64)> {
    let call = async |door: &mut Door| {
        let key = door.lock(name, lease).await?;
        let (record, _) = door.get(&key, Freshness::Linearizable).await?;
        let record = record.ok_or_else(|| refused("the lease ended before it was granted"))?;
        Ok((key, record.created))
    };
    let told = |(_, token): &(String, u64)| json!({ "token": token, "valid_until": until });
    seat.run("acquire", Some(name), input, call, told).await
}

fn named(grant: &Grant) -> Value {
    json!({ "token": grant.token })
}

fn lost(seat: &mut Seat, grant: &Grant, why: &str) {
    seat.process.invoke("held", Some(&grant.name), named(grant), "any").ok(json!({ "lost": why }));
}

/// Whether it may have been accepted, or nobody knows.
async fn write_guarded(values: &AtomicU64, seat: &mut Seat, grant: &Grant) -> bool {
    let value = values.fetch_add(1, Relaxed);
    let call = async |door: &mut Door| {
        let steps = [Step::Put(format!("data/{}", grant.name), value.to_string())];
        match door.transact(&[(grant.key.clone(), grant.token)], &steps).await? {
            (true, _, revision) => Ok(revision),
            (false, _, _) => Err(refused("the token is not current")),
        }
    };
    let input = json!({ "token": grant.token, "value": value });
    let told = |revision: &u64| json!({ "revision": revision });
    let answer = seat.run("guarded", Some(&grant.name), input, call, told).await;
    !answer.is_err_and(|failure| failure.is_definite())
}

async fn write_unguarded(values: &AtomicU64, seat: &mut Seat, grant: &Grant) {
    let value = values.fetch_add(1, Relaxed);
    let key = format!("data/{}", grant.name);
    let call = async |door: &mut Door| door.put(&key, &value.to_string()).await;
    let input = json!({ "token": grant.token, "value": value });
    let told = |revision: &u64| json!({ "revision": revision });
    let _ = seat.run("unguarded", Some(&grant.name), input, call, told).await;
}

/// Every lock can be had through every member.
pub(super) async fn finish(mut seat: Seat) {
    let insistence = Insistence::new();
    for number in 0..LOCKS {
        while !have_once(&mut seat, &name(number)).await && insistence.again().await {}
    }
}

async fn have_once(seat: &mut Seat, name: &str) -> bool {
    let Some(lease) = open(seat).await else { return false };
    let input = json!({ "session": lease.id, "final": true });
    let had = acquire(seat, name, lease.id, lease.until, input).await;
    if let Ok((_, token)) = &had {
        let pending = seat.process.invoke("held", Some(name), json!({ "token": token }), "any");
        pending.ok(json!({ "lost": "the lease is closed" }));
    }
    let call = async |door: &mut Door| door.close(lease.id).await;
    let _ = seat.run("close", None, json!({ "session": lease.id }), call, |()| json!({})).await;
    had.is_ok()
}
