//! What holders do, whether they hold a lock, a share of a semaphore, or the lead of an election.
//!
//! They write, most of the time with their token as a guard, and look whether they still hold it. Now
//! and then one stands still between the look and the write, for longer than its session lives, and
//! then writes as if nothing had happened.

use super::Seat;
use super::library::{self, ANY, failure, freeze, tell, valid_until};
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_client::{Claim, Client, Hold, Leadership, Lost, Session, SessionState, Token};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Something that is held.
pub(super) trait Held {
    /// Who holds it.
    fn claim(&self) -> Claim;
    /// What goes with a write.
    fn guard(&self) -> Token;
    /// For how long the holder may go on.
    fn valid_for(&self) -> Duration;
    /// That it is lost, as far as the holder knows.
    fn loss(&self) -> Option<Lost>;
}

macro_rules! held {
    ($kind:ty) => {
        impl Held for $kind {
            fn claim(&self) -> Claim {
                <$kind>::claim(self)
            }
            fn guard(&self) -> Token {
                <$kind>::guard(self)
            }
            fn valid_for(&self) -> Duration {
                <$kind>::valid_for(self)
            }
            fn loss(&self) -> Option<Lost> {
                self.lost().now_or_never()
            }
        }
    };
}
held!(Hold);
held!(Leadership);

/// What came of holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is still held, and no longer needed.
    Done,
    /// It was lost.
    Lost,
    /// The holder dies: whoever gets this sends nothing more.
    Died,
}

/// One turn of a holder within a session's life: acquire, work, give up.
pub(super) type Turn = for<'t> fn(&'t AtomicU64, &'t mut Seat, &'t Session) -> BoxFuture<'t, End>;

/// One client, which takes its turns until it closes its session, loses it, or dies.
pub(super) async fn life(values: &AtomicU64, seat: &mut Seat, turn: Turn) {
    let Some(client) = library::connect(seat).await else { return };
    let timeout = Duration::from_millis(seat.chance.random_range(2_000..4_000));
    let Some(session) = library::open(seat, &client, timeout).await else { return };
    for _ in 0..seat.chance.random_range(5..40) {
        if seat.is_over() || matches!(session.state(), SessionState::Lost { .. }) {
            break;
        }
        if seat.chance.random_bool(0.02) {
            freeze(seat, session.timeout(), 1.5);
        }
        if turn(values, seat, &session).await == End::Died {
            return;
        }
        seat.pause().await;
    }
    if seat.chance.random_bool(0.6) {
        library::close(seat, session).await;
    }
}

/// One holder at work.
pub(super) struct Work<'w, H> {
    /// What is held.
    pub(super) held: &'w H,
    /// Its name, and the key of what it protects.
    pub(super) name: &'w str,
    /// Whoever writes.
    pub(super) client: &'w Client,
    /// The session's timeout.
    pub(super) timeout: Duration,
    /// No value is written twice.
    pub(super) values: &'w AtomicU64,
}

/// What a grant tells, and until when it may be relied on.
pub(super) fn granted(held: &impl Held, journal: &crate::history::Journal) -> Value {
    let until = valid_until(journal, || held.valid_for());
    json!({ "token": held.guard().revision, "claim": held.claim().to_string(), "valid_until": until })
}

impl<H: Held> Work<'_, H> {
    /// Which hold it is.
    pub(super) fn named(&self) -> Value {
        json!({ "token": self.held.guard().revision, "claim": self.held.claim().to_string() })
    }

    /// Works for a while.
    pub(super) async fn run(&self, seat: &mut Seat) -> End {
        for _ in 0..seat.chance.random_range(1..=15) {
            if !self.is_still_held(seat) {
                return End::Lost;
            }
            match seat.chance.random_range(0..100) {
                _ if seat.is_over() => return End::Done,
                0..60 => {
                    if !self.write_guarded(seat).await {
                        return End::Lost;
                    }
                }
                60..75 => self.write_unguarded(seat).await,
                75..80 => {
                    // It has just looked, and now it is held up.
                    freeze(seat, self.timeout, 2.0);
                    self.write_guarded(seat).await;
                    self.write_unguarded(seat).await;
                }
                80..82 => return End::Died,
                _ => seat.pause().await,
            }
        }
        End::Done
    }

    /// Whether it is held as far as the holder knows. Whoever learns that it is not stops relying on it.
    fn is_still_held(&self, seat: &mut Seat) -> bool {
        let journal = seat.process.journal().clone();
        match self.held.loss() {
            Some(lost) => {
                let pending = seat.process.invoke("held", Some(self.name), self.named(), ANY);
                pending.ok(json!({ "lost": lost.to_string() }));
                false
            }
            None => {
                let pending = seat.process.invoke("confirm", Some(self.name), self.named(), ANY);
                pending.ok(granted(self.held, &journal));
                true
            }
        }
    }

    /// Whether it may have been accepted, or nobody knows.
    async fn write_guarded(&self, seat: &mut Seat) -> bool {
        let guard = Some(self.held.guard());
        !self.write(seat, "guarded", guard).await.is_err_and(|error| failure(&error).is_definite())
    }

    async fn write_unguarded(&self, seat: &mut Seat) {
        // What comes of it is in the history.
        let _ = self.write(seat, "unguarded", None).await;
    }

    async fn write(&self, seat: &mut Seat, f: &str, guard: Option<Token>) -> oarlock_client::Result<u64> {
        let value = self.values.fetch_add(1, Relaxed);
        let mut input = self.named();
        input["value"] = json!(value);
        let put = self.client.put(format!("{}/data", self.name), value.to_string());
        let put = match guard {
            Some(token) => put.guard(token),
            None => put,
        };
        let call = async { Ok(put.await?.revision) };
        tell(seat, f, Some(self.name), input, call, |revision| json!({ "revision": revision })).await
    }
}
