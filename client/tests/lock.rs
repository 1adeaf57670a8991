//! Locks against members that break, forget and compact at the worst moments.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake;

use fake::Cluster;
use oarlock_client::{Client, Error, LossCause, Session};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

async fn session(cluster: &Cluster) -> Session {
    let builder = Client::builder().discover(false);
    let client = builder.connect(cluster.urls.clone()).await.expect("it listens");
    client.session().timeout(PATIENCE).open().await.expect("it opens")
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("not for ever")
}

/// Waits until something is true of the locks.
async fn until(cluster: &Cluster, mut holds: impl FnMut(&fake::objects::Objects) -> bool) {
    soon(async {
        while !cluster.with_objects(|objects| holds(objects)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_is_compacted_while_the_stream_is_broken_is_found() {
    let cluster = Cluster::start(2).await;
    let session = session(&cluster).await;
    let hold = session.mutex("a").acquire().await.expect("free");
    let waiting = session.mutex("a").enqueue().await.expect("it waits");
    assert_eq!(waiting.position(), Some(0));
    // In one step: the lock goes on to the waiter, the event is compacted, and the stream breaks.
    {
        let mut state = cluster.state.lock().expect("no panic");
        state.objects.take_away("a");
        state.objects.compact();
        cluster.faults.iter().for_each(|faults| faults.cut.notify_one());
    }
    let lost = soon(hold.lost()).await;
    assert_eq!(lost.cause, LossCause::Unobserved, "the event that says why is gone");
    let next = soon(waiting.granted()).await.expect("no lost wake-up");
    assert!(next.token().expect("held").revision > hold.guard().revision);
}

#[tokio::test]
async fn an_acquire_whose_answer_is_lost_is_asked_again_and_granted_once() {
    let cluster = Cluster::start(2).await;
    let session = session(&cluster).await;
    let first = session.mutex("a").acquire().await.expect("free");
    cluster.faults.iter().for_each(|faults| faults.break_after.store(1, SeqCst));
    let waiting = soon(session.mutex("a").enqueue()).await.expect("it waits");
    assert_eq!(cluster.with_objects(|objects| objects.waiters("a")), 1);
    soon(async {
        while waiting.position() != Some(0) {
            tokio::time::sleep(Duration::from_millis(5)).await; // a repeated answer has no position
        }
    })
    .await;
    first.release().await.expect("held");
    let second = soon(waiting.granted()).await.expect("next");
    second.release().await.expect("held");
    until(&cluster, |objects| objects.is_free("a")).await;
}

#[tokio::test]
async fn an_acquire_that_is_dropped_before_its_answer_leaves_nothing() {
    let cluster = Cluster::start(1).await;
    let session = session(&cluster).await;
    let hold = session.mutex("a").acquire().await.expect("free");
    cluster.faults[0].refuse.store(3, SeqCst);
    for _ in 0..4 {
        let acquiring = tokio::spawn({
            let session = session.clone();
            async move { session.mutex("a").acquire().await.map(drop) }
        });
        tokio::task::yield_now().await;
        acquiring.abort();
    }
    let handle = session.mutex("a").enqueue().await.expect("it waits");
    drop(handle);
    session.mutex("b").acquire().await.expect("free").release().await.expect("in order behind the others");
    until(&cluster, |objects| objects.waiters("a") == 0).await;
    drop(hold);
    until(&cluster, |objects| objects.is_free("a")).await;
}

#[tokio::test]
async fn a_grant_that_comes_before_the_cancellation_is_returned() {
    let cluster = Cluster::start(1).await;
    let session = session(&cluster).await;
    let hold = session.mutex("a").acquire().await.expect("free");
    let waiting = session.mutex("a").enqueue().await.expect("it waits");
    // Granted in the members' state, and nobody was told yet.
    cluster.state.lock().expect("no panic").objects.take_away("a");
    let granted = soon(waiting.cancel()).await.expect("answered").expect("the grant came first");
    granted.release().await.expect("held");
    assert!(matches!(hold.token(), Err(Error::NotHeld { .. })));
    until(&cluster, |objects| objects.is_free("a")).await;
}

#[tokio::test]
async fn a_token_is_not_given_out_after_the_validity_and_the_loss_says_why() {
    let cluster = Cluster::start(1).await;
    let builder = Client::builder().discover(false);
    let client = builder.connect(cluster.urls.clone()).await.expect("it listens");
    let session = client.session().timeout(Duration::from_millis(600)).open().await.expect("it opens");
    let hold = session.mutex("a").acquire().await.expect("free");
    cluster.faults[0].cut_off.store(true, SeqCst);
    let lost = hold.lost();
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert!(hold.token().is_ok(), "it goes on through jeopardy");
    assert_eq!(soon(lost).await.cause, LossCause::Unconfirmed);
    assert!(hold.valid_for().is_zero());
    assert!(matches!(hold.token(), Err(Error::NotHeld { .. })));
    let stale = hold.guard();
    cluster.lose();
    cluster.faults[0].cut_off.store(false, SeqCst);
    let mut state = std::pin::pin!(session.lost());
    assert!(soon(&mut state).await.is_some());
    assert_eq!(hold.guard(), stale, "guards are the log's to judge");
}
