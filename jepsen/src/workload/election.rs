//! Elections: one leader for each term, who hands over, resigns, is held up or dies, and observers who
//! see them in order.

use super::holding::{End, Work, granted};
use super::library::{self, ANY, failure, lives, tell};
use super::{Insistence, Seat, Workload};
use crate::history::Api;
use futures::StreamExt;
use futures::future::BoxFuture;
use oarlock_client::{Error, Leader, Leadership, Observed, Session, SessionState};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const NAME: &str = "election";

/// The workload.
#[derive(Default)]
pub(super) struct Election {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    values: AtomicU64,
    candidates: AtomicU64,
    observers: AtomicU64,
}

impl Workload for Election {
    fn name(&self) -> &'static str {
        "election"
    }
    fn about(&self) -> &'static str {
        "one candidate leads at a time, observers see the terms in order, and a former leader writes nothing"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        let observes = seat.number % 3 == 2;
        lives(seat, async move |seat: &mut Seat| match observes {
            true => observe(&shared, seat).await,
            false => stand(&shared, seat).await,
        })
    }
    fn finish(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let insistence = Insistence::new();
            while !lead_once(&shared, &mut seat).await && insistence.again().await {}
        })
    }
    fn checks(&self) -> &'static [&'static str] {
        &["lock"]
    }
}

/// One candidate, until it closes its session, loses it, or dies.
async fn stand(shared: &Shared, seat: &mut Seat) {
    let Some(client) = library::connect(seat).await else { return };
    let timeout = Duration::from_millis(seat.chance.random_range(2_000..4_000));
    let Some(session) = library::open(seat, &client, timeout).await else { return };
    for _ in 0..seat.chance.random_range(3..20) {
        if seat.is_over() || matches!(session.state(), SessionState::Lost { .. }) {
            break;
        }
        let patience = Duration::from_millis(seat.chance.random_range(500..6_000));
        if let Ok(leadership) = campaign(shared, seat, &session, patience, false).await
            && lead(shared, seat, &session, leadership).await == End::Died
        {
            return;
        }
        seat.pause().await;
    }
    if seat.chance.random_bool(0.6) {
        library::close(seat, session).await;
    }
}

async fn campaign(
    shared: &Shared,
    seat: &mut Seat,
    session: &Session,
    patience: Duration,
    is_last: bool,
) -> Result<Leadership, Error> {
    let candidate = shared.candidates.fetch_add(1, Relaxed);
    let journal = seat.process.journal().clone();
    let priority = seat.chance.random_range(0..3);
    let campaign = session.election(NAME).campaign(candidate.to_string()).priority(priority);
    let late = || Error::NotHeld { what: NAME.to_owned(), cause: "it was not elected in time".into() };
    let call = async {
        let standing = campaign.stand().await?;
        // A candidate that is dropped withdraws; if it was elected at that moment it resigns.
        tokio::time::timeout(patience, standing.elected()).await.unwrap_or_else(|_| Err(late()))
    };
    let mut input = json!({ "session": session.id(), "candidate": candidate });
    if is_last {
        input["final"] = json!(true);
    }
    tell(seat, "campaign", Some(NAME), input, call, |leadership| granted(leadership, &journal)).await
}

/// Leads for a while, and gives the lead up.
async fn lead(shared: &Shared, seat: &mut Seat, session: &Session, leadership: Leadership) -> End {
    let (client, timeout, values) = (session.client(), session.timeout(), &shared.values);
    let work = Work { held: &leadership, name: NAME, client, timeout, values };
    let end = work.run(seat).await;
    if end != End::Done {
        return end;
    }
    let named = work.named();
    if seat.chance.random_bool(0.4) {
        let waiting = session.election(NAME).observer().candidates().await.unwrap_or_default();
        if let Some(heir) = waiting.first().map(|place| place.claim) {
            let call = leadership.handoff(heir);
            if tell(seat, "handoff", Some(NAME), named.clone(), call, |()| json!({})).await.is_ok() {
                return End::Done; // dropping what is left withdraws the former leader
            }
        }
    }
    let _ = tell(seat, "resign", Some(NAME), named, leadership.resign(), |()| json!({})).await;
    End::Done
}

/// One observer, who looks once in a while, or watches for a while.
async fn observe(shared: &Shared, seat: &mut Seat) {
    let Some(client) = library::connect(seat).await else { return };
    let observer = client.election(NAME);
    for _ in 0..seat.chance.random_range(1..30) {
        if seat.is_over() {
            return;
        }
        let call = async { observer.leader().await };
        let told = |leader: &Option<Leader>| leader_of(leader.as_ref());
        let _ = tell(seat, "observe", Some(NAME), json!({}), call, told).await;
        seat.pause().await;
    }
    let number = shared.observers.fetch_add(1, Relaxed);
    let mut observed = observer.observe();
    let mut over = seat.common.over.clone();
    for _ in 0..seat.chance.random_range(5..60) {
        let pending = seat.process.invoke("observe", Some(NAME), json!({ "observer": number }), ANY);
        let next = tokio::select! {
            next = observed.next() => next,
            _ = over.wait_for(|over| *over) => None,
        };
        match next {
            Some(Ok(Observed::Leader(leader))) => pending.ok(leader_of(Some(&leader))),
            Some(Ok(Observed::Vacant)) => pending.ok(leader_of(None)),
            Some(Err(error)) => return pending.failed(failure(&error)),
            None => return,
        }
    }
}

/// The candidate who leads, and its term.
fn leader_of(leader: Option<&Leader>) -> Value {
    let candidate = |leader: &Leader| std::str::from_utf8(&leader.value).ok()?.parse::<u64>().ok();
    match leader {
        Some(leader) => json!({ "leader": candidate(leader), "token": leader.token.revision }),
        None => json!({ "leader": null, "token": null }),
    }
}

/// Somebody can lead.
async fn lead_once(shared: &Shared, seat: &mut Seat) -> bool {
    let Some(client) = library::connect_to_member(seat).await else { return false };
    let Some(session) = library::open(seat, &client, Duration::from_secs(10)).await else { return false };
    let campaign = campaign(shared, seat, &session, Duration::from_secs(10), true).await;
    let Ok(leadership) = campaign else { return false };
    let named = json!({ "token": leadership.guard().revision, "claim": leadership.claim().to_string() });
    let _ = tell(seat, "resign", Some(NAME), named, leadership.resign(), |()| json!({})).await;
    library::close(seat, session).await;
    true
}
