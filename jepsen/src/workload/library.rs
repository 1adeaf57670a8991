//! Clients of Oarlock's own library, each on a thread of its own.
//!
//! What the library does by itself, such as keeping sessions alive and moving to another member, is
//! part of what is tested. So a client must be able to die with all of it, and to stand still with all
//! of it, as a process does that is killed, or that waits for its garbage collector: its runtime is
//! dropped, or its only thread sleeps.

use super::Seat;
use crate::history::{Failure, FailureKind, Journal};
use futures::future::BoxFuture;
use oarlock_client::{Client, Error, Session};
use rand::Rng;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;
use tokio::sync::oneshot;

/// Time for setting up a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// The member that is asked, in the history: the library's choice.
pub(super) const ANY: &str = "any";

/// One life of a client after another, until its seat says that it is over. What a life leaves behind
/// when it returns, such as a session that it did not close, is dead at once: nothing more is sent.
pub(super) fn lives(seat: Seat, life: impl AsyncFn(&mut Seat) + Send + 'static) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        // Dropped with this future, so that a run that gives up its clients ends the thread, too.
        let (_running, stopped) = oneshot::channel();
        let (done, finished) = oneshot::channel();
        let client = move || {
            on_this_thread(seat, &life, stopped);
            // Nobody hears it if the run gave up its clients.
            let _ = done.send(());
        };
        if std::thread::Builder::new().name("client".into()).spawn(client).is_ok() {
            let _ = finished.await;
        }
    })
}

fn on_this_thread(mut seat: Seat, life: &impl AsyncFn(&mut Seat), mut stopped: oneshot::Receiver<()>) {
    while !seat.is_over() {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let given_up = runtime.block_on(async {
            tokio::select! {
                () = life(&mut seat) => false,
                _ = &mut stopped => true,
            }
        });
        runtime.shutdown_background();
        if given_up {
            return;
        }
    }
}

/// The whole client stands still, for a third of its session's timeout up to `most` times that: nothing
/// of it runs, and its connections stay open.
pub(super) fn freeze(seat: &mut Seat, timeout: Duration, most: f64) {
    let time = timeout.mul_f64(seat.chance.random_range(0.3..most));
    let pending = seat.process.invoke("freeze", None, json!({ "ms": time.as_millis() as u64 }), ANY);
    std::thread::sleep(time);
    pending.ok(json!({}));
}

/// A client that knows all members. `None`, a moment later, if none answers.
pub(super) async fn connect(seat: &Seat) -> Option<Client> {
    let members = seat.common.addresses.borrow().clone();
    let mut builder = Client::builder().deadline(seat.common.patience).connect_timeout(CONNECT);
    if let Some(own) = seat.own_address() {
        builder = builder.local_address(own);
    }
    let connected = builder.connect(members.iter().map(|member| member.endpoint.clone())).await;
    if connected.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    connected.ok()
}

/// A client that asks only the member of its seat.
pub(super) async fn connect_to_member(seat: &Seat) -> Option<Client> {
    let builder = Client::builder().deadline(seat.common.patience).connect_timeout(CONNECT).discover(false);
    builder.connect([seat.address().endpoint]).await.ok()
}

/// Opens a session.
pub(super) async fn open(seat: &mut Seat, client: &Client, timeout: Duration) -> Option<Session> {
    let input = json!({ "timeout_ms": timeout.as_millis() as u64 });
    let told = |session: &Session| json!({ "session": session.id(), "timeout_ms": session.timeout().as_millis() as u64 });
    tell(seat, "open", None, input, client.session().timeout(timeout).open(), told).await.ok()
}

/// Closes a session, as a program does that ends well.
pub(super) async fn close(seat: &mut Seat, session: Session) {
    let input = json!({ "session": session.id() });
    let _ = tell(seat, "close", None, input, session.close(), |()| json!({})).await;
}

/// One operation of the library: written down before it is sent and when it is answered.
pub(super) async fn tell<T>(
    seat: &mut Seat,
    f: &str,
    key: Option<&str>,
    input: Value,
    call: impl Future<Output = Result<T, Error>>,
    result: impl FnOnce(&T) -> Value,
) -> Result<T, Error> {
    let pending = seat.process.invoke(f, key, input, ANY);
    let answer = call.await;
    pending.settle(answer.as_ref().map(result).map_err(failure));
    if answer.is_err() {
        // Whoever fails at once would otherwise fill the history with failures.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answer
}

/// What an error of the library says about the operation.
pub(super) fn failure(error: &Error) -> Failure {
    let kind = match error {
        Error::NotProposed { .. } => FailureKind::NotProposed,
        Error::Rejected { .. } | Error::NotHeld { .. } | Error::Invalid { .. } => FailureKind::Rejected,
        Error::Unknown { .. } | Error::SessionLost { .. } => FailureKind::Unknown,
    };
    Failure::new(kind, error.to_string())
}

/// Until when something may be relied on, in the history's time: never later than its holder knows,
/// because the time is taken first.
pub(super) fn valid_until(journal: &Journal, valid_for: impl FnOnce() -> Duration) -> u64 {
    let now = journal.now();
    now.saturating_add(u64::try_from(valid_for().as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Api, FORMAT, Header};
    use crate::workload::Common;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use tokio::sync::watch;

    fn seat(directory: &tempfile::TempDir, over: watch::Receiver<bool>) -> Seat {
        let header = Header {
            format: FORMAT,
            workload: "lives".into(),
            nemesis: Vec::new(),
            api: Api::Native,
            server: "oarlock".into(),
            nodes: 1,
            seed: 1,
            seconds: 1,
            command: String::new(),
            began_unix_ms: 0,
        };
        let journal = Journal::create(&directory.path().join("history"), &header).expect("it is writable");
        let (_, addresses) = watch::channel(Arc::default());
        let (patience, pace, own) = (Duration::from_secs(1), Duration::ZERO, Arc::default());
        Seat::new(Common { api: Api::Native, patience, pace, seed: 1, journal, addresses, own, over }, 0)
    }

    #[tokio::test]
    async fn a_life_takes_with_it_what_it_began() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stop, over) = watch::channel(false);
        let (begun, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counts = (begun.clone(), done.clone());
        let client = lives(seat(&directory, over), async move |_seat: &mut Seat| {
            let done = counts.1.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                done.fetch_add(1, Relaxed);
            });
            if counts.0.fetch_add(1, Relaxed) == 9 {
                stop.send_replace(true);
            }
        });
        client.await;
        assert_eq!(begun.load(Relaxed), 10, "one life after another, until it is over");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(done.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn nothing_of_a_client_runs_while_it_is_frozen() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stop, over) = watch::channel(false);
        let ticks = Arc::new(AtomicU64::new(0));
        let counted = ticks.clone();
        let client = lives(seat(&directory, over), async move |seat: &mut Seat| {
            let ticks = counted.clone();
            tokio::spawn(async move {
                loop {
                    tokio::task::yield_now().await;
                    ticks.fetch_add(1, Relaxed);
                }
            });
            tokio::time::sleep(Duration::from_millis(5)).await;
            let before = counted.load(Relaxed);
            freeze(seat, Duration::from_millis(100), 1.0);
            assert!(before > 0 && counted.load(Relaxed) == before, "{before}");
            stop.send_replace(true);
        });
        client.await;
        assert!(ticks.load(Relaxed) > 0);
    }

    #[tokio::test]
    async fn a_client_that_is_given_up_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stop, over) = watch::channel(false);
        let alive = Arc::new(());
        let held = alive.clone();
        let client = lives(seat(&directory, over), async move |_seat: &mut Seat| {
            let _held = &held;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), client).await.is_err());
        let gone = async {
            while Arc::strong_count(&alive) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("its thread ends");
        drop(stop);
    }
}
