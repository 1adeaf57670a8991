//! Backups while clients write and faults come and go; in the end the whole cluster is restored from one.
//!
//! What is read then must be the state of the backup's revision. Revisions and tokens go on above all
//! that were ever seen, sessions of before are gone, and a watch that would go on from before is told
//! that it cannot.

use super::library::{self, ANY, tell};
use super::{Common, Insistence, Seat, Workload, register};
use crate::door::{Door, Freshness, Told};
use crate::history::Api;
use crate::nemesis::Field;
use futures::future::{BoxFuture, LocalBoxFuture};
use oarlock_client::{Client, Token};
use rand::Rng;
use serde_json::json;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const KEYS: u64 = 12;
/// How long the restored cluster may take until it serves.
const READY: Duration = Duration::from_secs(60);
/// How long a watch may take to say that it cannot go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The workload.
#[derive(Default)]
pub(super) struct Snapshot {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    values: AtomicU64,
    /// The last backup, and its revision.
    backup: Mutex<Option<(Vec<u8>, u64)>>,
}

/// What was held and seen before the cluster was restored.
struct Before {
    session: u64,
    token: u64,
    revision: u64,
}

impl Workload for Snapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }
    fn about(&self) -> &'static str {
        "backups are taken under faults; the cluster that is restored from one has its state, and nothing \
         of before is current in it"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        match seat.number % 4 {
            3 => Box::pin(save(shared, seat)),
            _ => Box::pin(write(shared, seat)),
        }
    }
    fn epilogue<'f>(&'f self, field: &'f mut Field, common: &'f Common) -> LocalBoxFuture<'f, ()> {
        Box::pin(epilogue(&self.shared, field, common))
    }
    fn checks(&self) -> &'static [&'static str] {
        &["restore"]
    }
}

fn key(number: u64) -> String {
    format!("snapshot/{number}")
}

async fn write(shared: Arc<Shared>, mut seat: Seat) {
    let mut seen = None;
    while !seat.is_over() {
        let key = key(seat.chance.random_range(0..KEYS));
        seen = register::act(&mut seat, &key, seen, &shared.values).await;
        seat.pause().await;
    }
}

async fn save(shared: Arc<Shared>, mut seat: Seat) {
    while !seat.is_over() {
        back_up(&shared, &mut seat).await;
        seat.wait(Duration::from_millis(500)).await;
    }
}

async fn back_up(shared: &Shared, seat: &mut Seat) -> bool {
    let call = async |door: &mut Door| door.backup().await;
    let told = |(bytes, revision): &(Vec<u8>, u64)| json!({ "revision": revision, "bytes": bytes.len() });
    match seat.run("backup", None, json!({}), call, told).await {
        Ok(backup) => {
            *shared.backup.lock().unwrap_or_else(PoisonError::into_inner) = Some(backup);
            true
        }
        Err(_) => false,
    }
}

async fn epilogue(shared: &Shared, field: &mut Field, common: &Common) {
    let mut seat = Seat::last(common.clone(), 0);
    let Some(before) = before(&mut seat).await else { return };
    // Half of the time the last one that was taken under faults, else one of everything.
    if seat.chance.random_bool(0.5) {
        back_up(shared, &mut seat).await;
    }
    let backup = shared.backup.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((bytes, revision)) = backup else { return };
    let path = field.directory.join("backup.oar");
    let pending = seat.process.invoke("restore", None, json!({ "revision": revision }), ANY);
    let restored = std::fs::write(&path, bytes).map_err(|error| error.to_string());
    let restored = restored.and_then(|()| field.cluster.restore(&path));
    let started = restored.and_then(|()| field.cluster.start_all().map_err(|error| error.to_string()));
    if let Err(why) = started {
        pending.failed(super::untyped(&why));
        return;
    }
    let silent = field.cluster.wait_ready(READY).await;
    if !silent.is_empty() {
        pending.failed(super::untyped(&format!("{} did not serve after it was restored", silent.join(", "))));
        return;
    }
    pending.ok(json!({}));
    field.announce();
    for member in 0..field.cluster.members().len() {
        let mut seat = Seat::last(common.clone(), member);
        read_all(&mut seat).await;
        look_for_the_past(&mut seat, &before).await;
    }
    let mut seat = Seat::last(common.clone(), 0);
    go_on(shared, &mut seat).await;
    field.note_exits(false);
}

/// A session with a lock, which the restored cluster must not know any more.
async fn before(seat: &mut Seat) -> Option<Before> {
    let insistence = Insistence::new();
    while insistence.again().await {
        let Some(client) = library::connect_to_member(seat).await else { continue };
        let Some(session) = library::open(seat, &client, Duration::from_secs(60)).await else { continue };
        let call = session.mutex("snapshot").acquire();
        let told = |hold: &oarlock_client::Hold| json!({ "token": hold.guard().revision });
        let Ok(hold) = tell(seat, "acquire", None, json!({}), call, told).await else { continue };
        let put = client.put("snapshot/last", "before").guard(hold.guard());
        let told = |revision: &u64| json!({ "revision": revision });
        let call = async { Ok(put.await?.revision) };
        let Ok(revision) = tell(seat, "guarded", None, json!({}), call, told).await else { continue };
        let (session_id, token) = (session.id(), hold.guard().revision);
        // Neither is given up: they are lost with the cluster.
        tokio::spawn(async move {
            let _both = (session, hold);
            std::future::pending::<()>().await;
        });
        return Some(Before { session: session_id, token, revision });
    }
    None
}

async fn read_all(seat: &mut Seat) {
    for number in 0..KEYS {
        let insistence = Insistence::new();
        let key = key(number);
        while register::read(seat, &key, Freshness::Linearizable).await.is_none() && insistence.again().await
        {
        }
    }
}

/// Nothing of before is current.
async fn look_for_the_past(seat: &mut Seat, before: &Before) {
    let call = async |door: &mut Door| door.keep_alive(before.session).await;
    let told = |valid_for: &u64| json!({ "valid_for_ms": valid_for });
    let _ = seat.run("keepalive", None, json!({ "session": before.session }), call, told).await;
    if let Some(client) = library::connect_to_member(seat).await {
        let put = client.put("snapshot/last", "after").guard(Token::of_lock("snapshot", before.token));
        let call = async { Ok(put.await?.revision) };
        let told = |revision: &u64| json!({ "revision": revision });
        let _ = tell(seat, "guarded", None, json!({ "token": before.token }), call, told).await;
    }
    let start = before.revision + 1;
    let call = async |door: &mut Door| {
        let mut watching = door.watch("snapshot/", start).await?;
        let end = async {
            while let Some(told) = watching.next().await {
                if let Told::Compacted(_) | Told::Ended(_) = told {
                    return matches!(told, Told::Compacted(_));
                }
            }
            false
        };
        Ok(tokio::time::timeout(PATIENCE, end).await.unwrap_or(false))
    };
    let told = |compacted: &bool| json!({ "compacted": compacted });
    let _ = seat.run("watch", None, json!({ "start": start }), call, told).await;
}

/// New writes and a new holder.
async fn go_on(shared: &Shared, seat: &mut Seat) {
    for number in 0..KEYS {
        register::write(seat, &key(number), &shared.values).await;
    }
    let Some(client) = library::connect_to_member(seat).await else { return };
    acquire_anew(seat, &client).await;
}

async fn acquire_anew(seat: &mut Seat, client: &Client) {
    let Some(session) = library::open(seat, client, Duration::from_secs(10)).await else { return };
    let call = session.mutex("snapshot").acquire();
    let told = |hold: &oarlock_client::Hold| json!({ "token": hold.guard().revision });
    let _ = tell(seat, "acquire", None, json!({}), call, told).await;
    library::close(seat, session).await;
}
