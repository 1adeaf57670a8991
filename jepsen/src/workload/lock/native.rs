//! Oarlock's locks, by its library.

use super::{LOCKS, name};
use crate::workload::holding::{self, End, Work, granted};
use crate::workload::library::{self, tell};
use crate::workload::{Insistence, Seat};
use oarlock_client::{Error, Hold, Session};
use rand::Rng;
use serde_json::json;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// One client, until it closes its session, loses it, or dies.
pub(super) async fn life(values: &AtomicU64, seat: &mut Seat) {
    holding::life(values, seat, |values, seat, session| Box::pin(turn(values, seat, session))).await;
}

/// Acquires, works, and gives up.
async fn turn(values: &AtomicU64, seat: &mut Seat, session: &Session) -> End {
    let name = name(seat.chance.random_range(0..LOCKS));
    let patience = Duration::from_millis(seat.chance.random_range(100..3_000));
    let Ok(hold) = acquire(seat, session, &name, patience, json!({ "session": session.id() })).await else {
        return End::Lost;
    };
    let (client, timeout) = (session.client(), session.timeout());
    let work = Work { held: &hold, name: &name, client, timeout, values };
    let end = work.run(seat).await;
    let named = work.named();
    match end {
        End::Lost | End::Died => {}
        // Dropping it releases it, too, but nobody is told when.
        End::Done if seat.chance.random_bool(0.1) => {
            let pending = seat.process.invoke("release", Some(&name), named, library::ANY);
            drop(hold);
            drop(pending);
        }
        End::Done => {
            let _ = tell(seat, "release", Some(&name), named, hold.release(), |()| json!({})).await;
        }
    }
    end
}

async fn acquire(
    seat: &mut Seat,
    session: &Session,
    name: &str,
    patience: Duration,
    input: serde_json::Value,
) -> Result<Hold, Error> {
    let journal = seat.process.journal().clone();
    let asked = session.mutex(name.to_owned()).acquire_timeout(patience);
    let late = || Error::NotHeld { what: name.to_owned(), cause: "it was not granted in time".into() };
    let call = async { asked.await?.ok_or_else(late) };
    tell(seat, "acquire", Some(name), input, call, |hold| granted(hold, &journal)).await
}

/// Every lock can be had through every member.
pub(super) async fn finish(mut seat: Seat) {
    let insistence = Insistence::new();
    for number in 0..LOCKS {
        while !have_once(&mut seat, &name(number)).await && insistence.again().await {}
    }
}

async fn have_once(seat: &mut Seat, name: &str) -> bool {
    let Some(client) = library::connect_to_member(seat).await else { return false };
    let Some(session) = library::open(seat, &client, Duration::from_secs(10)).await else { return false };
    let input = json!({ "session": session.id(), "final": true });
    let Ok(hold) = acquire(seat, &session, name, Duration::from_secs(10), input).await else { return false };
    let named = json!({ "token": hold.guard().revision, "claim": hold.claim().to_string() });
    let _ = tell(seat, "release", Some(name), named, hold.release(), |()| json!({})).await;
    library::close(seat, session).await;
    true
}
