//! A pool of shards: members join, own, hand over, leave, are held up and die.
//!
//! A grant lasts from when its member was told until it gave the shard up or could not get a token for
//! it any more; one that was lost before its member looked at it is none. What it writes meanwhile
//! carries the shard's epoch.

use super::library::{self, ANY, freeze, lives, tell, valid_until};
use super::{Insistence, Seat, Workload};
use crate::history::{Api, Failure, FailureKind, Journal, Process};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_client::pool::{Assignment, Member, MemberHandle, Policy, Shards};
use oarlock_client::{Client, Error, Session};
use rand::Rng;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const POOL: &str = "pool";
const SHARDS: u32 = 12;
/// How often a member looks whether it still owns what it was given.
const LOOK: Duration = Duration::from_millis(40);

/// The workload.
#[derive(Default)]
pub(super) struct Pool {
    values: Arc<AtomicU64>,
}

impl Workload for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }
    fn about(&self) -> &'static str {
        "shards are owned by members who come, hand over, stop and die; each has one owner at a time"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native]
    }
    fn prepare(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let insistence = Insistence::new();
            while !create(&seat).await && insistence.again().await {}
        })
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let values = self.values.clone();
        lives(seat, async move |seat: &mut Seat| match seat.number {
            0 => operate(seat).await,
            _ => life(&values, seat).await,
        })
    }
    fn finish(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let values = self.values.clone();
        // One member gets everything in the end.
        let is_first = seat.address() == seat.common.addresses.borrow()[0];
        if !is_first {
            return Box::pin(async {});
        }
        Box::pin(finish(values, seat))
    }
    fn checks(&self) -> &'static [&'static str] {
        &["owners"]
    }
}

async fn create(seat: &Seat) -> bool {
    let Some(client) = library::connect(seat).await else { return false };
    let policy = Policy { handoff: Duration::from_secs(3), ..Policy::default() };
    match client.pools().create(POOL, Shards::Slots(SHARDS), policy).await {
        Ok(_) => true,
        // An earlier attempt whose answer was lost.
        Err(error) => error.pool_refusal().is_some(),
    }
}

/// An operator, who moves shards about.
async fn operate(seat: &mut Seat) {
    let Some(client) = library::connect(seat).await else { return };
    let pools = client.pools();
    while !seat.is_over() {
        seat.wait(Duration::from_millis(700)).await;
        let to = format!("m{}", seat.chance.random_range(1..9));
        let shard = seat.chance.random_range(0..SHARDS).to_string();
        let input = json!({ "to": to });
        let call = pools.move_shard(POOL, shard.clone().into(), to.into());
        let _ =
            tell(seat, "move", Some(&shard), input, call, |revision| json!({ "revision": revision })).await;
    }
}

/// How a member's time in the pool ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    HandOver,
    Leave,
    Die,
}

/// One member, from its joining to its end.
async fn life(values: &Arc<AtomicU64>, seat: &mut Seat) {
    let Some(client) = library::connect(seat).await else { return };
    let timeout = Duration::from_millis(seat.chance.random_range(2_000..4_000));
    let Some(session) = library::open(seat, &client, timeout).await else { return };
    let name = format!("m{}", seat.number);
    let Some(member) = join(seat, &session, &name).await else { return };
    let farewell = match seat.chance.random_range(0..10) {
        0..4 => Farewell::HandOver,
        4..7 => Farewell::Leave,
        _ => Farewell::Die,
    };
    let mut tenures = Tenures::new(seat, client, member.handle(), name, values.clone());
    let mut member = member;
    let end = Instant::now() + Duration::from_millis(seat.chance.random_range(2_000..15_000));
    while !seat.is_over() && Instant::now() < end {
        serve(&mut member, &mut tenures, seat).await;
        if seat.chance.random_bool(0.02) {
            freeze(seat, timeout, 2.0);
        }
    }
    if farewell == Farewell::HandOver {
        hand_over(&mut member, &mut tenures, seat).await;
    }
    tenures.end_all(farewell == Farewell::Die).await;
    if farewell != Farewell::Die {
        let _ = tell(seat, "leave", None, json!({}), member.leave(), |()| json!({})).await;
        library::close(seat, session).await;
    }
}

/// Whoever comes under the name of one who died waits until that one's session has ended.
async fn join(seat: &mut Seat, session: &Session, name: &str) -> Option<Member> {
    let call = session.pool(POOL).join(name.to_owned()).start();
    let late = || Error::NotHeld { what: POOL.to_owned(), cause: "it did not join in time".into() };
    let call =
        async { tokio::time::timeout(Duration::from_secs(10), call).await.unwrap_or_else(|_| Err(late())) };
    let input = json!({ "member": name, "session": session.id() });
    tell(seat, "join", None, input, call, |_| json!({})).await.ok()
}

/// Takes what comes within a moment, and answers it.
async fn serve(member: &mut Member, tenures: &mut Tenures, seat: &mut Seat) {
    let Ok(Some(Ok(assignment))) = tokio::time::timeout(Duration::from_millis(100), member.next()).await
    else {
        // Nothing came, or the member is at its end, which shows in its tokens.
        return;
    };
    let shard = assignment.shard().clone();
    match assignment {
        Assignment::Assigned { token, .. } => tenures.begin(shard, token.revision).await,
        Assignment::Prepare { .. } | Assignment::Copy { .. } => {
            if seat.chance.random_bool(0.9) {
                // What comes of it shows in what is assigned.
                let _ = member.ready(shard).await;
            }
        }
        Assignment::Drain { .. } => {
            if seat.chance.random_bool(0.9) {
                tenures.end(&shard, false).await;
                let _ = member.release(shard).await;
            }
        }
        Assignment::Lost { .. } => tenures.end(&shard, false).await,
        Assignment::Keep { .. } | Assignment::Cancelled { .. } | Assignment::CopyDropped { .. } => {}
    }
}

/// Gives everything to successors, and goes on serving meanwhile.
async fn hand_over(member: &mut Member, tenures: &mut Tenures, seat: &mut Seat) {
    let handle = member.handle();
    // It leaves with the rest when its patience is over, so nothing may be relied on by then.
    let patience = Duration::from_secs(3);
    let reliance = patience - Duration::from_millis(500);
    let early = Instant::now() + reliance;
    tenures.rely_at_most(reliance);
    let mut drained = std::pin::pin!(async move { handle.drain(patience).await });
    while Instant::now() < early {
        if drained.as_mut().now_or_never().is_some() {
            return;
        }
        serve(member, tenures, seat).await;
    }
    tenures.end_all(false).await;
    let _ = drained.await;
}

/// What a member owns, each in a task of its own.
struct Tenures {
    journal: Journal,
    tenant: Tenant,
    running: BTreeMap<Bytes, (oneshot::Sender<bool>, JoinHandle<()>)>,
}

/// Who owns.
#[derive(Clone)]
struct Tenant {
    client: Client,
    handle: MemberHandle,
    name: String,
    values: Arc<AtomicU64>,
    /// From when on, in the journal's time, it relies on nothing, whatever it is promised: a write that
    /// is on its way may keep it from looking.
    relies_until: Arc<AtomicU64>,
}

impl Tenures {
    fn new(seat: &Seat, client: Client, handle: MemberHandle, name: String, values: Arc<AtomicU64>) -> Self {
        let tenant = Tenant { client, handle, name, values, relies_until: Arc::new(u64::MAX.into()) };
        Self { journal: seat.common.journal.clone(), tenant, running: BTreeMap::new() }
    }

    /// Nothing is relied on when this time is over.
    fn rely_at_most(&self, time: Duration) {
        self.tenant.relies_until.store(self.journal.now() + time.as_micros() as u64, Relaxed);
    }

    async fn begin(&mut self, shard: Bytes, epoch: u64) {
        self.end(&shard, false).await;
        let (stop, stopped) = oneshot::channel();
        let process = self.journal.process();
        let task = tokio::spawn(own(self.tenant.clone(), process, shard.clone(), epoch, stopped));
        self.running.insert(shard, (stop, task));
    }

    /// Waits until the owner does nothing more with the shard. Of one that `died` nobody knows that it
    /// relies on it no longer.
    async fn end(&mut self, shard: &Bytes, died: bool) {
        if let Some((stop, task)) = self.running.remove(shard) {
            // It may have ended by itself.
            let _ = stop.send(died);
            let _ = task.await;
        }
    }

    async fn end_all(&mut self, died: bool) {
        let shards: Vec<Bytes> = self.running.keys().cloned().collect();
        for shard in shards {
            self.end(&shard, died).await;
        }
    }
}

/// One grant, until it is given up or lost.
async fn own(
    tenant: Tenant,
    mut process: Process,
    shard: Bytes,
    epoch: u64,
    mut stopped: oneshot::Receiver<bool>,
) {
    let key = String::from_utf8_lossy(&shard).into_owned();
    let journal = process.journal().clone();
    let mut writer = journal.process();
    let grant = process.invoke("grant", Some(&key), json!({ "member": tenant.name, "epoch": epoch }), ANY);
    let mut until = 0;
    let died = loop {
        let valid = valid_until(&journal, || tenant.handle.owned().valid_for());
        match tenant.handle.token(&shard) {
            Ok(token) if token.revision == epoch => until = until.max(valid),
            Ok(_) | Err(_) => break false,
        }
        if rand::random_bool(0.3) {
            write(&tenant, &mut writer, &key, epoch).await;
        }
        match tokio::time::timeout(LOOK, &mut stopped).await {
            Ok(died) => break died.unwrap_or(false),
            Err(_elapsed) => {}
        }
    };
    if until == 0 {
        grant.failed(Failure::new(FailureKind::Rejected, "it was lost before it was looked at"));
        return;
    }
    let until = until.min(tenant.relies_until.load(Relaxed));
    grant.ok(json!({ "epoch": epoch, "valid_until": until, "died": died }));
}

/// A write that the log takes only while the epoch is current.
async fn write(tenant: &Tenant, writer: &mut Process, shard: &str, epoch: u64) {
    let value = tenant.values.fetch_add(1, Relaxed);
    let input = json!({ "token": epoch, "value": value });
    let pending = writer.invoke("guarded", Some(shard), input, ANY);
    let token = oarlock_client::Token::of_shard(POOL, shard.to_owned(), epoch);
    let put = tenant.client.put(format!("pool/{shard}/data"), value.to_string()).guard(token).await;
    pending
        .settle(put.map(|put| json!({ "revision": put.revision })).map_err(|error| library::failure(&error)));
}

/// A member who is alone gets every shard.
async fn finish(values: Arc<AtomicU64>, mut seat: Seat) {
    let insistence = Insistence::new();
    while insistence.again().await {
        let Some(client) = library::connect_to_member(&seat).await else { continue };
        let Some(session) = library::open(&mut seat, &client, Duration::from_secs(10)).await else {
            continue;
        };
        let Some(mut member) = join(&mut seat, &session, "last").await else { continue };
        let mut tenures = Tenures::new(&seat, client, member.handle(), "last".into(), values.clone());
        let mut everything = false;
        while !everything && insistence.again().await {
            serve(&mut member, &mut tenures, &mut seat).await;
            everything = member.owned().len() == SHARDS as usize;
        }
        let owned = member.owned().len();
        tenures.end_all(false).await;
        let pending = seat.process.invoke("own", None, json!({ "final": true }), ANY);
        pending.ok(json!({ "owned": owned, "of": SHARDS }));
        let _ = tell(&mut seat, "leave", None, json!({}), member.leave(), |()| json!({})).await;
        return;
    }
}
