//! Locks, semaphores and elections with real processes, the client library, and a leader that is
//! killed in the middle.

use futures::StreamExt;
use oarlock_client::{Client, Error, Hold, LossCause, Observed, Session, Token};
use oarlock_proto::v1::object_refusal::Reason;
use oarlock_tests::cluster::{Cluster, turn};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

async fn client(cluster: &Cluster) -> Client {
    Client::connect(cluster.endpoints()).await.expect("a member answers")
}

async fn session(client: &Client, timeout: Duration) -> Session {
    client.session().timeout(timeout).open().await.expect("it opens")
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}

/// Kills the leader and starts it again, in the background of whatever goes on.
async fn kill_leader(cluster: &mut Cluster) {
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.nodes[leader].start();
    cluster.wait_ready(PATIENCE).await;
}

/// Tickets in the order of the queue, as the service tells them.
async fn queue(client: &Client, name: &'static str) -> Vec<u64> {
    let object = client.locks().describe(name).await.expect("a healthy cluster").expect("it is held");
    object.queue.iter().map(|place| place.claim.request).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_waiters_are_granted_in_order_while_the_leader_is_killed() {
    const WAITERS: usize = 20;
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, &[]).await;
    let client = client(&cluster).await;
    let session = session(&client, Duration::from_secs(30)).await;
    let first = session.mutex("fifo").acquire().await.expect("free");
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..WAITERS {
        // Half of them share a session, half have their own.
        let own = if number % 2 == 0 { session.clone() } else { self::session(&client, PATIENCE).await };
        let waiting = own.mutex("fifo").metadata(number.to_string()).enqueue().await.expect("it waits");
        assert_eq!(waiting.position(), Some(number as u64));
        let (client, order) = (client.clone(), order.clone());
        tasks.spawn(async move {
            let hold = waiting.granted().await.expect("granted in the end");
            let token = hold.token().expect("held").revision;
            order.lock().expect("no panic").push((number, token));
            // Guarded, so that a second holder at the same time would be caught.
            client.put("/fifo/last", number.to_string()).guard(hold.guard()).await.expect("held");
            tokio::time::sleep(Duration::from_millis(150)).await;
            hold.release().await.expect("still held");
        });
    }
    let token = first.token().expect("held").revision;
    first.release().await.expect("held");
    kill_leader(&mut cluster).await;
    soon("all grants", async { while tasks.join_next().await.transpose().expect("no panic").is_some() {} })
        .await;
    let order = order.lock().expect("no panic").clone();
    let numbers: Vec<usize> = order.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..WAITERS).collect::<Vec<_>>(), "in the order of arrival");
    let tokens: Vec<u64> = std::iter::once(token).chain(order.iter().map(|(_, token)| *token)).collect();
    assert!(tokens.is_sorted_by(|one, next| one < next), "tokens rise: {tokens:?}");
    assert_eq!(client.locks().describe("fifo").await.expect("readable"), None, "nothing is left of it");
    cluster.wait_equal_digests(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_whose_session_dies_vanish_and_those_behind_move_up() {
    let cluster = Cluster::start(1, &[]).await;
    let client = client(&cluster).await;
    let owner = session(&client, PATIENCE).await;
    let hold = owner.mutex("a").acquire().await.expect("free");
    let (dying, closing) = (session(&client, PATIENCE).await, session(&client, PATIENCE).await);
    let dead = dying.mutex("a").enqueue().await.expect("it waits");
    let closed = closing.mutex("a").enqueue().await.expect("it waits");
    let dropped = owner.mutex("a").enqueue().await.expect("it waits");
    let last = owner.mutex("a").enqueue().await.expect("it waits");
    let mut positions = last.positions();
    assert_eq!(positions.next().await, Some(3));
    client.close_session(dying.id()).await.expect("an operator ends it");
    closing.close().await.expect("its owner ends it");
    drop(dropped);
    soon("moving up", async { while positions.next().await != Some(0) {} }).await;
    assert_eq!(queue(&client, "a").await, [last.claim().request]);
    assert!(matches!(soon("the news", dead.granted()).await, Err(Error::SessionLost { .. })));
    assert!(matches!(soon("the news", closed.granted()).await, Err(Error::SessionLost { .. })));
    hold.release().await.expect("held");
    let last = soon("the grant", last.granted()).await.expect("next in the queue");
    assert_eq!(positions.next().await, None, "who holds has no position");
    drop(last);
    let free = async {
        while client.locks().describe("a").await.expect("readable").is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("a dropped hold's release", free).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trying_timing_out_weights_and_several_at_once() {
    let cluster = Cluster::start(1, &[]).await;
    let client = client(&cluster).await;
    let (one, other) = (session(&client, PATIENCE).await, session(&client, PATIENCE).await);

    let hold = one.mutex("a").metadata("host 1").acquire().await.expect("free");
    let busy = other.mutex("a").try_acquire().await.expect("answered").expect_err("taken");
    assert_eq!((&busy.name[..], &busy.holders[0].metadata[..]), (&b"a"[..], &b"host 1"[..]));
    assert_eq!(busy.holders[0].claim, hold.claim());
    let waited = other.mutex("a").acquire_timeout(Duration::from_millis(200)).await.expect("answered");
    assert!(waited.is_none() && queue(&client, "a").await.is_empty(), "the claim is cancelled");
    let (late, released) = tokio::join!(other.mutex("a").acquire_timeout(PATIENCE), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        hold.release().await
    });
    released.expect("held");
    drop(late.expect("answered").expect("granted in time"));

    let licence = |session: &Session, weight| session.semaphore("licences", 5).weight(weight);
    let (three, two) = (licence(&one, 3).acquire().await, licence(&other, 2).acquire().await);
    let (three, two) = (three.expect("free"), two.expect("free"));
    licence(&one, 1).try_acquire().await.expect("answered").expect_err("all are taken");
    let four = licence(&other, 4).enqueue().await.expect("it waits");
    let small = licence(&one, 1).enqueue().await.expect("it waits");
    two.release().await.expect("held");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((four.position(), small.position()), (Some(0), Some(1)), "nobody is overtaken");
    three.release().await.expect("held");
    let four = soon("the large one", four.granted()).await.expect("next");
    let small = soon("the small one", small.granted()).await.expect("it fits beside");
    let wrong = one.semaphore("licences", 6).try_acquire().await.expect_err("another capacity");
    assert_eq!(wrong.refusal().map(|refusal| refusal.reason()), Some(Reason::Mismatch));
    drop((four, small));

    let b = one.mutex("b").acquire().await.expect("free");
    let both = other.mutex("c").and(other.mutex("b"));
    both.try_acquire().await.expect("answered").expect_err("one of them is taken");
    one.mutex("c")
        .try_acquire()
        .await
        .expect("answered")
        .expect("nothing is held of all or none")
        .release()
        .await
        .expect("held");
    let (both, released) = tokio::join!(both.acquire(), b.release());
    released.expect("held");
    let both = both.expect("granted");
    let tokens = both.guards();
    assert_eq!(tokens, ["b", "c"].map(|name| Token::of_lock(name, tokens[0].revision)));
    assert!(client.check_token(&tokens[1]).await.expect("answered"));
    both.release().await.expect("held");
    assert!(!client.check_token(&tokens[1]).await.expect("answered"));
}

async fn is_fenced(client: &Client, token: Token) -> bool {
    match client.put("/guarded", "late").guard(token).await {
        Ok(_) => false,
        Err(error) => error.is_fenced(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_have_a_cause_and_stale_tokens_are_refused_everywhere() {
    let cluster = Cluster::start(1, &[]).await;
    let client = client(&cluster).await;
    let session = session(&client, PATIENCE).await;
    let hold = session.mutex("a").acquire().await.expect("free");
    let token = hold.guard();
    client.put("/guarded", "in time").guard(token.clone()).await.expect("current");

    let mut requests = hold.revocation_requested();
    client.locks().request_revocation("a", "ops", "upgrade").await.expect("it is held");
    let request = soon("the request", requests.next()).await.expect("told");
    assert_eq!((request.by.as_str(), request.reason.as_str()), ("ops", "upgrade"));

    let lost = hold.lost();
    client.locks().revoke("a", hold.claim()).await.expect("an operator may");
    assert_eq!(soon("the loss", lost).await.cause, LossCause::Revoked);
    assert!(matches!(hold.token(), Err(Error::NotHeld { .. })) && hold.valid_for().is_zero());
    assert!(is_fenced(&client, token.clone()).await);
    assert!(is_fenced(&client, hold.guard()).await);
    let next = session.mutex("b").guard(token).try_acquire().await;
    assert!(next.is_err_and(|error| error.is_fenced()), "object operations are guarded too");
    let late = hold.release().await.expect_err("it was lost");
    assert_eq!(late.refusal().map(|refusal| refusal.reason()), Some(Reason::NotHeld));

    let reader = session.read_write("rw").read().acquire().await.expect("free");
    let beside = session.read_write("rw").read().acquire().await.expect("shared");
    let refused = reader.upgrade().await.expect_err("not alone");
    assert_eq!(refused.refusal().map(|refusal| refusal.reason()), Some(Reason::NotAlone));
    beside.release().await.expect("held");
    let before = reader.guard();
    reader.upgrade().await.expect("alone");
    assert!(reader.guard().revision > before.revision, "a writer fences the readers before it");
    reader.downgrade().await.expect("held");
    reader.set_lock_delay(Duration::from_secs(1)).await.expect("held");

    let brief = self::session(&client, PATIENCE).await;
    let held: Hold = brief.mutex("c").acquire().await.expect("free");
    let lost = held.lost();
    brief.close().await.expect("closed");
    assert_eq!(soon("the loss", lost).await.cause, LossCause::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_survives_compaction_of_its_events_and_restarts() {
    let mut cluster = Cluster::start(1, &[]).await;
    let client = client(&cluster).await;
    let (owner, waiter) = (session(&client, PATIENCE).await, session(&client, PATIENCE).await);
    let hold = owner.mutex("a").acquire().await.expect("free");
    let waiting = waiter.mutex("a").enqueue().await.expect("it waits");
    let mut observed = client.election("e").observe();
    assert_eq!(observed.next().await.expect("seen").expect("readable"), Observed::Vacant);
    // While everybody is away the lock is granted, the election has a leader, and all is compacted.
    cluster.nodes[0].pause();
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.nodes[0].resume();
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.wait_ready(PATIENCE).await;
    let leader = owner.election("e").campaign("me").await.expect("nobody leads");
    hold.release().await.expect("held");
    cluster.compact(0).await;
    let waiting = soon("the grant", waiting.granted()).await.expect("next");
    assert!(client.check_token(&waiting.token().expect("held")).await.expect("answered"));
    let seen = soon("the leader", observed.next()).await.expect("seen").expect("readable");
    assert!(matches!(seen, Observed::Leader(seen) if seen.token == leader.guard()));
}

async fn value(observed: &mut oarlock_client::Observation) -> Option<String> {
    match soon("an observation", observed.next()).await.expect("it goes on").expect("readable") {
        Observed::Leader(leader) => Some(String::from_utf8_lossy(&leader.value).into_owned()),
        Observed::Vacant => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_are_observed_handed_over_and_survive_a_killed_leader() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, &[]).await;
    let client = client(&cluster).await;
    let (one, two) = (session(&client, PATIENCE).await, session(&client, PATIENCE).await);
    let mut observed = client.election("e").observe();
    assert_eq!(value(&mut observed).await, None);
    let first = one.election("e").campaign("one").await.expect("nobody leads");
    assert_eq!(value(&mut observed).await.as_deref(), Some("one"));
    first.proclaim("one, ready").await.expect("it leads");
    assert_eq!(value(&mut observed).await.as_deref(), Some("one, ready"));

    let second = two.election("e").campaign("two").stand().await.expect("it stands");
    kill_leader(&mut cluster).await;
    assert!(first.token().is_ok(), "a failover of the service is none of the application");
    first.handoff(second.claim()).await.expect("it stands");
    assert_eq!(soon("the loss", first.lost()).await.cause, LossCause::HandedOff);
    let second = soon("the lead", second.elected()).await.expect("handed over");
    assert_eq!(value(&mut observed).await.as_deref(), Some("two"));
    let again = first.stand_again();
    let over = one.election("e").campaign("over").priority(7).preempt().await.expect("it preempts");
    assert_eq!(soon("the loss", second.lost()).await.cause, LossCause::Preempted);
    assert_eq!(value(&mut observed).await.as_deref(), Some("over"));
    let busy = two.election("e").campaign("try").try_lead().await.expect("answered");
    assert_eq!(&busy.expect_err("somebody leads").holders[0].metadata[..], b"over");
    assert_eq!(client.election("e").candidates().await.expect("readable").len(), 2);
    // Dropped it would withdraw too, but a moment later, and lead until then.
    assert!(second.stand_again().withdraw().await.expect("it stands again").is_none());
    over.resign().await.expect("it leads");
    let first = soon("the lead", again.elected()).await.expect("it stood again");
    assert_eq!(value(&mut observed).await.as_deref(), Some("one, ready"));
    let token = first.guard();
    first.resign().await.expect("it leads");
    assert_eq!(value(&mut observed).await, None);
    assert!(is_fenced(&client, token).await);
}

/// Holds a lock, stands still past the session's timeout with all that belongs to it, and wakes up.
fn hold_and_pause(endpoints: Vec<String>, held: &std::sync::mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(endpoints).await.expect("a member answers");
        let session = session(&client, Duration::from_secs(3)).await;
        let lock = session.mutex("a").lock_delay(Duration::from_millis(500));
        let hold = lock.acquire().await.expect("free");
        let (lost, token) = (hold.lost(), hold.token().expect("held"));
        held.send(()).expect("the test waits");
        std::thread::sleep(Duration::from_secs(6));
        assert!(matches!(hold.token(), Err(Error::NotHeld { .. })), "its clock says so at once");
        assert!(is_fenced(&client, token).await);
        let cause = soon("the loss", lost).await.cause;
        assert!(matches!(cause, LossCause::Expired | LossCause::Unconfirmed), "{cause}");
        assert!(soon("the session's end", session.lost()).await.is_some());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_stood_still_wakes_up_fenced() {
    let cluster = Cluster::start(1, &[]).await;
    let client = client(&cluster).await;
    let (held, paused) = std::sync::mpsc::channel();
    let endpoints = cluster.endpoints();
    let holder = std::thread::spawn(move || hold_and_pause(endpoints, &held));
    tokio::task::block_in_place(|| paused.recv()).expect("it holds");
    let waiter = session(&client, PATIENCE).await;
    let waiting = waiter.mutex("a").enqueue().await.expect("it waits");
    assert_eq!(client.locks().why("a").await.expect("readable").edges.len(), 1);
    let next = soon("the grant", waiting.granted()).await.expect("next");
    client.put("/guarded", "mine").guard(next.guard()).await.expect("current");
    tokio::task::block_in_place(|| holder.join()).expect("what the holder saw was right");
    assert_eq!(client.get("/guarded").await.expect("readable").expect("written").value, "mine");
    assert!(client.check_token(&next.token().expect("held")).await.expect("answered"));
    assert_eq!(client.locks().of_session(waiter.id()).await.expect("it lives").len(), 1);
    assert_eq!(client.locks().list("a").await.expect("readable").len(), 1);
}
