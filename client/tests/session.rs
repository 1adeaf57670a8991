//! Sessions against members that break, refuse, hang and forget.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake;

use fake::Cluster;
use oarlock_client::{Client, Error, Session, SessionState};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_millis(600);

async fn session(cluster: &Cluster) -> Session {
    let builder = Client::builder().discover(false);
    let client = builder.connect(cluster.urls.clone()).await.expect("it listens");
    client.session().timeout(TIMEOUT).open().await.expect("it opens")
}

#[tokio::test]
async fn writes_happen_exactly_once_and_in_order_however_often_streams_break() {
    const WAVES: usize = 5;
    const WRITES: usize = 100;
    let cluster = Cluster::start(2).await;
    let session = session(&cluster).await;
    for wave in 0..WAVES {
        // The stream breaks in the middle of the wave, with some writes done and none answered.
        for faults in &cluster.faults {
            faults.break_after.store(WRITES / 2 + wave, SeqCst);
        }
        let puts = (0..WRITES).map(|number| {
            let session = session.clone();
            async move { session.put(format!("{wave}.{number}"), "value").await }
        });
        let outcomes = futures::future::join_all(puts).await;
        assert!(outcomes.iter().all(Result::is_ok));
    }
    let executed = cluster.state.lock().expect("no panic").executed.clone();
    assert_eq!(executed.len(), WAVES * WRITES, "none twice, none lost");
    assert!(executed.is_sorted_by_key(|(sequence, _)| *sequence), "in the order of their sequences");
    let streams: usize = cluster.faults.iter().map(|faults| faults.attached.load(SeqCst)).sum();
    assert!(streams > WAVES, "the test broke something");
}

#[tokio::test]
async fn what_was_turned_away_is_repeated_and_what_is_malformed_is_not() {
    let cluster = Cluster::start(1).await;
    let session = session(&cluster).await;
    cluster.faults[0].refuse.store(4, SeqCst);
    session.put("a", "1").await.expect("repeated until it is taken");
    let malformed = session.put("", "1").await;
    assert!(matches!(malformed, Err(Error::Invalid { .. })), "{malformed:?}");
}

#[tokio::test]
async fn a_member_without_a_quorum_is_left_before_the_session_is_in_danger() {
    let cluster = Cluster::start(2).await;
    let session = session(&cluster).await;
    session.put("a", "1").await.expect("a healthy cluster");
    let used =
        cluster.faults.iter().position(|faults| faults.attached.load(SeqCst) > 0).expect("one is used");
    cluster.faults[used].cut_off.store(true, SeqCst);
    for _ in 0..30 {
        tokio::time::sleep(TIMEOUT / 10).await;
        assert!(session.valid_for() > Duration::ZERO, "never without validity");
        assert!(session.valid_for() <= TIMEOUT);
    }
    assert_eq!(session.state(), SessionState::Healthy);
    assert!(cluster.faults[1 - used].attached.load(SeqCst) > 0, "it went to the other");
}

#[tokio::test]
async fn validity_runs_out_without_confirmation_and_jeopardy_is_told() {
    let cluster = Cluster::start(1).await;
    let session = session(&cluster).await;
    let (told, mut jeopardy) = tokio::sync::mpsc::unbounded_channel();
    session.on_jeopardy(move |left| {
        let _ = told.send(left);
    });
    session.put("a", "1").await.expect("a healthy cluster");
    cluster.faults[0].cut_off.store(true, SeqCst);
    let left = jeopardy.recv().await.expect("told");
    assert!(left < TIMEOUT / 2, "{left:?}");
    tokio::time::sleep(TIMEOUT).await;
    assert_eq!(session.valid_for(), Duration::ZERO);
    cluster.faults[0].cut_off.store(false, SeqCst);
    tokio::time::sleep(TIMEOUT).await;
    assert_eq!(session.state(), SessionState::Healthy, "it was not lost after all");
    assert!(session.valid_for() > Duration::ZERO);
}

#[tokio::test]
async fn a_lost_session_says_so_to_everybody() {
    let cluster = Cluster::start(1).await;
    let session = session(&cluster).await;
    let lost = session.lost();
    cluster.lose();
    assert!(lost.await.is_some());
    assert!(matches!(session.state(), SessionState::Lost { .. }));
    assert_eq!(session.valid_for(), Duration::ZERO);
    let late = session.put("a", "1").await;
    assert!(matches!(late, Err(Error::SessionLost { session: 7, .. })), "{late:?}");
}

#[tokio::test]
async fn closing_is_not_a_loss() {
    let cluster = Cluster::start(1).await;
    let session = session(&cluster).await;
    let lost = session.lost();
    session.put("a", "1").await.expect("a healthy cluster");
    session.close().await.expect("closed");
    assert_eq!(lost.await, None);
}
