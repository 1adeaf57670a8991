//! A weighted semaphore: shares that add up to no more than its capacity, each under its own token.

use super::holding::{self, End, Work, granted};
use super::library::{self, lives, tell};
use super::{Insistence, Seat, Workload};
use crate::history::Api;
use futures::future::BoxFuture;
use oarlock_client::{Error, Hold, Session};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

const NAME: &str = "semaphore";
const CAPACITY: u64 = 5;

/// The workload.
#[derive(Default)]
pub(super) struct Semaphore {
    values: Arc<AtomicU64>,
}

impl Workload for Semaphore {
    fn name(&self) -> &'static str {
        "semaphore"
    }
    fn about(&self) -> &'static str {
        "shares of one to three of five are held at the same time, and never more than five"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let values = self.values.clone();
        lives(seat, async move |seat: &mut Seat| life(&values, seat).await)
    }
    fn finish(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let insistence = Insistence::new();
            while !have_once(&mut seat).await && insistence.again().await {}
        })
    }
    fn checks(&self) -> &'static [&'static str] {
        &["lock"]
    }
}

/// One client, until it closes its session, loses it, or dies.
async fn life(values: &AtomicU64, seat: &mut Seat) {
    holding::life(values, seat, |values, seat, session| Box::pin(turn(values, seat, session))).await;
}

async fn turn(values: &AtomicU64, seat: &mut Seat, session: &Session) -> End {
    let weight = seat.chance.random_range(1..=3);
    let patience = Duration::from_millis(seat.chance.random_range(100..3_000));
    let Ok(hold) = acquire(seat, session, weight, patience, false).await else { return End::Lost };
    let (client, timeout) = (session.client(), session.timeout());
    let work = Work { held: &hold, name: NAME, client, timeout, values };
    let end = work.run(seat).await;
    if end == End::Done {
        let named = work.named();
        let _ = tell(seat, "release", Some(NAME), named, hold.release(), |()| json!({})).await;
    }
    end
}

async fn acquire(
    seat: &mut Seat,
    session: &Session,
    weight: u64,
    patience: Duration,
    is_last: bool,
) -> Result<Hold, Error> {
    let journal = seat.process.journal().clone();
    let asked = session.semaphore(NAME, CAPACITY).weight(weight).acquire_timeout(patience);
    let late = || Error::NotHeld { what: NAME.to_owned(), cause: "it was not granted in time".into() };
    let call = async { asked.await?.ok_or_else(late) };
    let mut input: Value = json!({ "session": session.id(), "weight": weight, "capacity": CAPACITY });
    if is_last {
        input["final"] = json!(true);
    }
    tell(seat, "acquire", Some(NAME), input, call, |hold| granted(hold, &journal)).await
}

/// All of it can be had.
async fn have_once(seat: &mut Seat) -> bool {
    let Some(client) = library::connect_to_member(seat).await else { return false };
    let Some(session) = library::open(seat, &client, Duration::from_secs(10)).await else { return false };
    let acquired = acquire(seat, &session, CAPACITY, Duration::from_secs(10), true).await;
    let Ok(hold) = acquired else { return false };
    let named = json!({ "token": hold.guard().revision, "claim": hold.claim().to_string() });
    let _ = tell(seat, "release", Some(NAME), named, hold.release(), |()| json!({})).await;
    library::close(seat, session).await;
    true
}
