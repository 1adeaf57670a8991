//! The recipes of the client library against three real processes, with participants that die and
//! leaders that are killed in the middle.

use futures::{Stream, StreamExt};
use oarlock_client::recipes::barrier::How;
use oarlock_client::recipes::cron::{CronTask, Missed, RunRecord, RunState, Schedule};
use oarlock_client::recipes::document::{Document, DocumentError};
use oarlock_client::recipes::double_barrier::Participants;
use oarlock_client::recipes::group::{Change, Departure, State};
use oarlock_client::recipes::ids::IdError;
use oarlock_client::recipes::informer::Delta;
use oarlock_client::recipes::latch::Passed;
use oarlock_client::recipes::queue::{Fate, PutOptions, Worker};
use oarlock_client::recipes::singleton::{self, Singleton, Standing};
use oarlock_client::recipes::{
    Barrier, Counter, DoubleBarrier, Group, Ids, Informer, Latch, MaxRegister, Queue,
};
use oarlock_client::{Client, Error, Session, op, prefix};
use oarlock_tests::cluster::Cluster;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(40);
const TIMEOUT: Duration = Duration::from_secs(2);
/// Well above the time that an election of the cluster takes.
const CALM: Duration = Duration::from_secs(6);
const SHORT: Duration = Duration::from_millis(500);

async fn connect(endpoints: Vec<String>) -> Client {
    Client::builder().deadline(PATIENCE).connect(endpoints).await.expect("the cluster serves")
}

async fn open(client: &Client) -> Session {
    client.session().timeout(Duration::from_secs(20)).open().await.expect("sessions can be opened")
}

/// What comes of `work`, which must be done within the test's patience.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let late = |_| panic!("not within {PATIENCE:?}: {what}");
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(late)
}

async fn eventually(what: &str, check: impl Fn() -> bool) {
    soon(what, async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn next<S: Stream + Unpin>(what: &str, stream: &mut S) -> S::Item {
    soon(what, stream.next()).await.expect("the stream goes on")
}

/// Kills the leader, lets the others elect, and starts it again.
async fn depose(cluster: &mut Cluster) {
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    cluster.leader().await;
    cluster.nodes[leader].start();
}

/// A participant with threads of its own, which can die in the middle of anything without a word.
struct Mortal(tokio::runtime::Runtime);

impl Mortal {
    /// Lives: does this with a session of its own, and then stands still.
    fn live<F, Fut>(endpoints: Vec<String>, life: F) -> Self
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads can be made");
        runtime.spawn(async move {
            let client = connect(endpoints).await;
            let session = client.session().timeout(TIMEOUT).open().await.expect("sessions can be opened");
            life(session).await;
            std::future::pending::<()>().await;
        });
        Self(runtime)
    }

    fn die(self) {
        self.0.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_informer_follows_and_never_empties() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    for number in 0..20 {
        client.put(format!("/i/{number:02}"), number.to_string()).await.expect("written");
    }
    // This one knows a single member, which will be away while the history is compacted.
    let alone = cluster.follower().await;
    let builder = Client::builder().discover(false);
    let there = builder.connect([cluster.nodes[alone].client_url()]).await.expect("it serves");
    let numbers: Informer<i64> = Informer::json(&there, prefix("/i/"));
    soon("the first listing", numbers.synced()).await.expect("allowed");
    let mut deltas = numbers.deltas();
    for number in 0..20 {
        let delta = next("what is there", &mut deltas).await;
        assert!(matches!(delta, Delta::Upsert { previous: None, .. }), "{number}: {delta:?}");
    }
    follow_changes(&client, &numbers, &mut deltas).await;

    cluster.nodes[alone].kill();
    let away = Instant::now();
    client.put("/i/00", "100").await.expect("two of three serve");
    client.delete("/i/01").await.expect("two of three serve");
    let other = (alone + 1) % 3;
    cluster.compact(other).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(numbers.snapshot().len(), 20, "it keeps what it has");
    assert_eq!(numbers.get("/i/00").map(|item| item.value), Some(0));
    assert!(numbers.age().is_some_and(|age| age >= away.elapsed()), "and says how old it is");
    eventually("it says why", || numbers.failure().is_some()).await;
    cluster.nodes[alone].start();
    // Beyond the compaction only differences are told, in whatever order.
    let (one, two) = (next("a difference", &mut deltas).await, next("another", &mut deltas).await);
    let (gone, changed) = if matches!(one, Delta::Remove { .. }) { (one, two) } else { (two, one) };
    assert!(matches!(&gone, Delta::Remove { previous, .. } if previous.key == "/i/01"), "{gone:?}");
    assert!(
        matches!(&changed, Delta::Upsert { item, previous: Some(_) } if item.value == 100),
        "{changed:?}"
    );
    eventually("it is current", || numbers.age().is_some_and(|age| age < Duration::from_secs(6))).await;
    assert!(numbers.failure().is_none());

    cluster.nodes.iter_mut().for_each(oarlock_tests::cluster::Node::kill);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(numbers.iter().count(), 19, "without a cluster, too");
    cluster.nodes.iter_mut().for_each(oarlock_tests::cluster::Node::start);
    let revision = client.put("/i/99", "99").await.expect("the cluster is back").revision;
    soon("the write", numbers.reached(revision)).await;
    assert_eq!(numbers.get("/i/99").map(|item| item.value), Some(99));
    assert!(matches!(next("it", &mut deltas).await, Delta::Upsert { item, .. } if item.value == 99));
}

async fn follow_changes(
    client: &Client,
    numbers: &Informer<i64>,
    deltas: &mut (impl Stream<Item = Delta<i64>> + Unpin),
) {
    let session = client.session().timeout(TIMEOUT).open().await.expect("opened");
    session.put_ephemeral("/i/mine", "7").await.expect("written");
    assert!(
        matches!(next("the key", deltas).await, Delta::Upsert { item, .. } if item.owner == session.id())
    );
    let id = session.id();
    session.close().await.expect("closed");
    let gone = next("its end", deltas).await;
    assert!(matches!(&gone, Delta::Remove { session, cause: Some(_), .. } if *session == id), "{gone:?}");
    let written = client.put("/i/02", "no number").await.expect("written");
    soon("the bad value", numbers.reached(written.revision)).await;
    assert_eq!(numbers.get("/i/02").map(|item| item.value), Some(2), "the last good value stays");
    assert_eq!(numbers.undecodable().len(), 1);
    client.put("/i/02", "22").await.expect("written");
    let better = next("the better value", deltas).await;
    assert!(matches!(&better, Delta::Upsert { item, previous: Some(before) }
        if item.value == 22 && before.value == 2));
    assert!(numbers.undecodable().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn barriers_hold_and_let_go() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let barrier = Barrier::new(&client, "/b/gate");
    assert_eq!(barrier.wait().await.expect("it is down").how, How::NotUp);
    assert!(barrier.raise("closed for now").await.expect("raised"));
    assert!(!barrier.raise("again").await.expect("it is up"));
    assert_eq!(barrier.wait_for(SHORT).await.expect("waited"), None);
    let waiting = tokio::spawn({
        let barrier = barrier.clone();
        async move { barrier.wait().await }
    });
    tokio::time::sleep(SHORT).await;
    depose(&mut cluster).await;
    assert!(barrier.lift().await.expect("lifted"));
    barrier.raise("for those who come later").await.expect("raised");
    let lifted = soon("the lifting", waiting).await.expect("no panic").expect("waited");
    assert_eq!(lifted.how, How::Request);
    assert!(barrier.lift().await.expect("lifted") && !barrier.lift().await.expect("down"));

    let owner = Mortal::live(cluster.endpoints(), |session| async move {
        let barrier = Barrier::new(session.client(), "/b/gate");
        barrier.raise_for(&session, "busy").await.expect("raised");
    });
    soon("the owner", async {
        while barrier.raised().await.expect("read").is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    owner.die();
    assert_eq!(soon("its end", barrier.wait()).await.expect("waited").how, How::OwnerGone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn double_barriers_outlive_their_participants() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let sessions = [open(&client).await, open(&client).await, open(&client).await];
    // Three pass through many generations together, over a change of leader.
    let walks = sessions.clone().map(|session| {
        tokio::spawn(async move {
            let barrier = DoubleBarrier::new(&session, "/d/rounds", 3);
            let mut generations = Vec::new();
            for _ in 0..12 {
                let inside = barrier.enter().await.expect("entered");
                generations.push(inside.generation());
                inside.leave().await.expect("left");
            }
            generations
        })
    });
    depose(&mut cluster).await;
    let mut seen = Vec::new();
    for walk in walks {
        seen.push(soon("the walk", walk).await.expect("no panic"));
    }
    assert!(seen[0] == seen[1] && seen[1] == seen[2], "all were in the same generations: {seen:?}");
    assert!(seen[0].is_sorted_by(|one, next| one < next));
    assert!(client.range(prefix("/d/")).await.expect("read").records.is_empty(), "nothing is left over");

    one_dies_before(&cluster, &client, &sessions).await;
    one_dies_inside(&cluster, &client, &sessions).await;
    all_die_inside(&cluster, &client, &sessions).await;
    patience_ends(&client, &sessions).await;
}

/// Its place is taken by another; the others wait on and are not let through too early.
async fn one_dies_before(cluster: &Cluster, client: &Client, sessions: &[Session; 3]) {
    let mortal = Mortal::live(cluster.endpoints(), |session| async move {
        let _ = DoubleBarrier::new(&session, "/d/before", 3).enter().await;
    });
    let there = Participants::new(client, "/d/before");
    participants(&there, 1).await;
    let first = tokio::spawn({
        let barrier = DoubleBarrier::new(&sessions[0], "/d/before", 3);
        async move { barrier.pass().await }
    });
    participants(&there, 2).await;
    mortal.die();
    participants(&there, 1).await;
    let second = tokio::spawn({
        let barrier = DoubleBarrier::new(&sessions[1], "/d/before", 3);
        async move { barrier.pass().await }
    });
    tokio::time::sleep(SHORT).await;
    assert!(!first.is_finished() && !second.is_finished(), "two are not three");
    let third = DoubleBarrier::new(&sessions[2], "/d/before", 3).pass().await.expect("passed");
    for other in [first, second] {
        assert_eq!(soon("the others", other).await.expect("no panic").expect("passed"), third);
    }
}

async fn participants(there: &Participants, count: usize) {
    soon("the participants", async {
        while there.read().await.expect("read").participants.len() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The other leaves without it.
async fn one_dies_inside(cluster: &Cluster, client: &Client, sessions: &[Session; 3]) {
    let (told, entered) = tokio::sync::oneshot::channel();
    let mortal = Mortal::live(cluster.endpoints(), |session| async move {
        let inside = DoubleBarrier::new(&session, "/d/inside", 2).enter().await.expect("entered");
        let _ = told.send(inside.generation());
        std::future::pending::<()>().await;
    });
    let inside = DoubleBarrier::new(&sessions[0], "/d/inside", 2).enter().await.expect("entered");
    assert_eq!(soon("the other", entered).await.expect("it lives"), inside.generation());
    assert!(!inside.leave_for(SHORT).await.expect("left"), "the other is still inside");
    let again = DoubleBarrier::new(&sessions[0], "/d/inside", 2);
    assert!(again.enter_for(SHORT).await.expect("asked").is_none(), "nobody laps the others");
    mortal.die();
    participants(&Participants::new(client, "/d/inside"), 0).await;
    // Two others begin the next generation, though nobody has closed the one before.
    let (one, two) = (again.pass(), DoubleBarrier::new(&sessions[1], "/d/inside", 2));
    let (one, two) = soon("the next generation", futures::future::join(one, two.pass())).await;
    assert_eq!(one.expect("passed"), two.expect("passed"));
}

/// Whoever waits for them to leave goes on.
async fn all_die_inside(cluster: &Cluster, client: &Client, sessions: &[Session; 3]) {
    let inside = |session: Session| async move {
        let _inside = DoubleBarrier::new(&session, "/d/all", 3).enter().await;
        std::future::pending::<()>().await;
    };
    let mortals = [Mortal::live(cluster.endpoints(), inside), Mortal::live(cluster.endpoints(), inside)];
    let mine = DoubleBarrier::new(&sessions[0], "/d/all", 3).enter().await.expect("entered");
    let leaving = tokio::spawn(mine.leave());
    tokio::time::sleep(SHORT).await;
    mortals.into_iter().for_each(Mortal::die);
    soon("their end", leaving).await.expect("no panic").expect("left");
    assert!(client.range(prefix("/d/all/")).await.expect("read").records.is_empty());
}

async fn patience_ends(client: &Client, sessions: &[Session; 3]) {
    let barrier = DoubleBarrier::new(&sessions[0], "/d/patience", 2);
    assert!(barrier.enter_for(SHORT).await.expect("asked").is_none());
    assert!(client.range(prefix("/d/patience/")).await.expect("read").records.is_empty(), "withdrawn");
    let waiting = tokio::spawn({
        let barrier = barrier.clone();
        async move { barrier.enter().await.map(|inside| inside.generation()) }
    });
    let there = Participants::new(client, "/d/patience");
    participants(&there, 1).await;
    let other = DoubleBarrier::new(&sessions[1], "/d/patience", 3).enter().await.map(|_| ());
    assert!(matches!(&other, Err(Error::Invalid { message }) if message.contains("must agree")), "{other:?}");
    waiting.abort();
    participants(&there, 0).await;
    let removed = tokio::spawn({
        let barrier = barrier.clone();
        async move { barrier.enter().await.map(|inside| inside.generation()) }
    });
    participants(&there, 1).await;
    assert_eq!(there.remove(sessions[0].id()).await.expect("removed"), 1);
    assert!(soon("it", removed).await.expect("no panic").is_err(), "it was taken out");
    let alone = DoubleBarrier::new(&sessions[2], "/d/alone", 1);
    assert!(alone.pass().await.expect("passed") < alone.pass().await.expect("passed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latches_count_down_once_for_each_name() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let latch = Latch::new(&client, "/l/parts");
    assert!(matches!(latch.arrive("early").await, Err(Error::Invalid { .. })));
    assert!(latch.create(3).await.expect("created") && !latch.create(5).await.expect("it is there"));
    let wait = || {
        let latch = latch.clone();
        tokio::spawn(async move { latch.wait().await })
    };
    let waiting = wait();
    assert!(latch.arrive("a").await.expect("arrived") && !latch.arrive("a").await.expect("once"));
    assert!(matches!(latch.arrive("a/b").await, Err(Error::Invalid { .. })));
    depose(&mut cluster).await;
    latch.arrive("b").await.expect("arrived");
    assert_eq!(latch.remaining().await.expect("read"), 1);
    assert_eq!(latch.wait_for(SHORT).await.expect("waited"), None);
    latch.arrive("c").await.expect("arrived");
    latch.reset(1).await.expect("reset");
    assert_eq!(soon("the count", waiting).await.expect("no panic").expect("waited"), Passed::Complete);
    let waiting = wait();
    tokio::time::sleep(TIMEOUT).await;
    latch.reset(2).await.expect("reset");
    assert_eq!(soon("the reset", waiting).await.expect("no panic").expect("waited"), Passed::Reset);
    assert_eq!(latch.arrived().await.expect("read"), Vec::<String>::new());
    latch.remove().await.expect("removed");
    assert!(client.range(prefix("/l/")).await.expect("read").records.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_counted_and_given_out_once() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let session = open(&client).await;
    let adding = (0..8).map(|_| {
        let counter = Counter::new(&session, "/n/sum");
        tokio::spawn(async move {
            for _ in 0..100 {
                counter.add(1).await.expect("added");
            }
        })
    });
    let adding: Vec<_> = adding.collect();
    let giving = (0..4).map(|_| {
        let ids = Ids::new(&client, "/n/ids").block(7);
        tokio::spawn(async move {
            let mut got = Vec::new();
            for _ in 0..50 {
                got.push(ids.next().await.expect("an id"));
            }
            got.extend(ids.reserve(5).await.expect("five"));
            got
        })
    });
    let giving: Vec<_> = giving.collect();
    depose(&mut cluster).await;
    for task in adding {
        soon("adding", task).await.expect("no panic");
    }
    assert_eq!(Counter::new(&client, "/n/sum").get().await.expect("read"), 800, "exactly once");
    let mut all = BTreeSet::new();
    for task in giving {
        let got = soon("ids", task).await.expect("no panic");
        assert!(got.is_sorted(), "ids of one process grow");
        assert!(got.into_iter().all(|id| all.insert(id)), "no id twice");
    }
    assert_eq!((all.len(), all.first()), (220, Some(&1)));

    let few = Ids::new(&client, "/n/few").block(4).limit(6);
    for expected in 1..=6 {
        assert_eq!(few.next().await.expect("within the limit"), expected);
    }
    for _ in 0..3 {
        assert!(matches!(few.next().await, Err(IdError::Exhausted { limit: 6, .. })));
    }
    few.clone().limit(100).skip_to(50).await.expect("skipped");
    assert_eq!(Ids::new(&client, "/n/few").next().await.expect("an id"), 51);
    let full = Ids::new(&client, "/n/full");
    full.skip_to(i64::MAX - 3).await.expect("skipped");
    assert!(matches!(full.next().await, Err(IdError::Exhausted { .. })), "a block does not fit");

    let seats = Counter::new(&client, "/n/seats");
    seats.set(10).await.expect("set");
    let booked = futures::future::join_all((0..12).map(|_| seats.add_within(-1, 0, 10))).await;
    let booked = booked.into_iter().filter(|seat| seat.as_ref().is_ok_and(Option::is_some)).count();
    assert_eq!((booked, seats.get().await.expect("read")), (10, 0));
    assert_eq!(seats.compare_and_set(0, 5).await.expect("compared"), None);
    assert_eq!(seats.compare_and_set(0, 6).await.expect("compared"), Some(5));
    let newest = MaxRegister::new(&client, "/n/newest");
    assert_eq!(newest.raise(7).await.expect("raised"), 7);
    assert_eq!((newest.raise(3).await.expect("kept"), newest.get().await.expect("read")), (7, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_know_their_members() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let group: Group<String> = Group::new(&client, "/g/workers");
    group.synced().await.expect("allowed");
    let mut changes = group.changes();
    let session = open(&client).await;
    let data = "10.0.0.1".to_owned();
    let me = group.join(&session, "one", data.clone(), State::Joining).await.expect("joined");
    assert!(matches!(next("joining", &mut changes).await, Change::Joined(member) if member.name == "one"));
    let taken = group.join(&session, "one", data.clone(), State::Ready).await.map(|_| ());
    assert!(taken.is_err_and(|error| error.to_string().contains("taken")));
    assert!(group.join(&session, "a/b", data.clone(), State::Ready).await.is_err());

    let mortal = Mortal::live(cluster.endpoints(), |session| async move {
        let group: Group<String> = Group::new(session.client(), "/g/workers");
        let _me = group.join(&session, "two", "10.0.0.2".into(), State::Ready).await.expect("joined");
        std::future::pending::<()>().await;
    });
    assert!(matches!(next("the other", &mut changes).await, Change::Joined(member) if member.name == "two"));
    depose(&mut cluster).await;
    me.set_state(State::Ready).await.expect("set");
    let ready = soon("both", group.until_ready(2)).await;
    assert_eq!(ready.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert!(matches!(next("ready", &mut changes).await,
        Change::Changed { now, before } if (before.state, now.state) == (State::Joining, State::Ready)));

    // A successor waits for the dead one's session to end, and the dead one's token is void.
    let before = group.member("two").expect("it is there");
    let token = oarlock_client::KeyValue {
        key: "/g/workers/two".into(),
        create_revision: before.since,
        ..Default::default()
    }
    .token();
    assert!(client.check_token(&token).await.expect("checked"));
    mortal.die();
    let joining = group.join_when_free(&session, "two", "10.0.0.3".into(), State::Draining);
    let two = soon("the name", joining).await.expect("joined");
    assert!(!client.check_token(&token).await.expect("checked"));
    let left = next("its end", &mut changes).await;
    assert!(
        matches!(&left, Change::Left { member, why: Departure::Lost } if member.name == "two"),
        "{left:?}"
    );
    assert!(matches!(next("the successor", &mut changes).await,
        Change::Joined(member) if member.state == State::Draining && member.data == "10.0.0.3"));
    two.set_data("10.0.0.4".into()).await.expect("set");
    soon("the data", group.until(|all| all.iter().any(|m| m.data == "10.0.0.4").then_some(()))).await;
    two.leave().await.expect("left");
    drop(me);
    session.close().await.expect("closed");
    let why = |change: Change<String>| match change {
        Change::Left { why, .. } => Some(why),
        Change::Joined(_) | Change::Changed { .. } => None,
    };
    let mut last = Vec::new();
    while last.len() < 2 {
        last.extend(why(next("the end", &mut changes).await));
    }
    assert_eq!(last, [Departure::Left, Departure::Closed]);
    assert!(group.members().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_item_is_completed_once() {
    const ITEMS: usize = 150;
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let putter = open(&client).await;
    let queue = Queue::new(&putter, "/q/work").attempts(10);
    let workers: Vec<_> = (0..3)
        .map(|number| {
            let (client, queue) = (client.clone(), queue.clone());
            tokio::spawn(async move {
                let session = open(&client).await;
                let mut worker = queue.worker(&session, format!("worker {number}"));
                loop {
                    let claim = worker.claim().await.expect("the session lives");
                    let payload = String::from_utf8(claim.payload().to_vec()).expect("text");
                    let done = op::add(format!("/q-done/{payload}"), 1);
                    claim.complete_with([done]).await.expect("the claim is ours");
                }
            })
        })
        .collect();
    // One claims and dies with what it has, again and again; nobody else can have it until then.
    let mortals: Vec<_> = (0..2)
        .map(|_| {
            let queue = queue.clone();
            Mortal::live(cluster.endpoints(), move |session| async move {
                let mut worker = queue.worker(&session, "mortal");
                let _held = [worker.claim().await.expect("claimed"), worker.claim().await.expect("claimed")];
                std::future::pending::<()>().await;
            })
        })
        .collect();
    let puts = (0..ITEMS).map(|number| {
        let queue = queue.clone();
        async move { queue.put(format!("{number:03}")).await }
    });
    let putting = tokio::spawn(futures::future::try_join_all(puts.collect::<Vec<_>>()));
    depose(&mut cluster).await;
    let ids = soon("puts", putting).await.expect("no panic").expect("put");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ITEMS, "each has an id of its own");
    for _ in 0..4 {
        // Enough for those who will die.
        queue.put("spare").await.expect("put");
    }
    tokio::time::sleep(SHORT).await;
    mortals.into_iter().for_each(Mortal::die);
    soon("the work", async {
        while client.range(prefix("/q/work/")).count().await.expect("read") > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    workers.iter().for_each(tokio::task::JoinHandle::abort);
    let done = client.range(prefix("/q-done/")).all().await.expect("read").records;
    let (spare, done): (Vec<_>, Vec<_>) = done.iter().partition(|record| record.key.ends_with(b"spare"));
    assert_eq!(done.len(), ITEMS, "each is done");
    assert!(done.iter().all(|record| record.text() == "1"), "each once: {done:?}");
    assert_eq!(spare[0].text(), "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_are_tried_again_and_set_aside() {
    let cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let session = open(&client).await;
    let queue = Queue::new(&client, "/q/tries").attempts(2);
    let mut worker = queue.worker(&session, "w");
    assert!(worker.try_claim().await.expect("asked").is_none());
    items_come_late_and_by_priority(&queue, &session, &mut worker).await;
    failures_come_again_then_never(&queue, &session, &mut worker).await;
    lost_claims_are_refused(&client, &queue, &session, &mut worker).await;

    // An item that kills every worker is set aside, too.
    queue.put("deadly").await.expect("put");
    for _ in 0..2 {
        let (told, claimed) = tokio::sync::oneshot::channel();
        let deadly = queue.clone();
        let mortal = Mortal::live(cluster.endpoints(), move |session| async move {
            let _claim = deadly.worker(&session, "mortal").claim().await.expect("claimed");
            let _ = told.send(());
            std::future::pending::<()>().await;
        });
        soon("the claim", claimed).await.expect("it lives");
        mortal.die();
    }
    let burying = tokio::spawn(async move { worker.claim().await.map(|claim| claim.id().to_owned()) });
    soon("the burial", async {
        while queue.stats().await.expect("read").dead == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(queue.dead(1).await.expect("read")[0].reason.contains("died in attempt 2"));
    assert!(!burying.is_finished(), "nobody gets it");
    burying.abort();
    let stats = queue.stats().await.expect("read");
    assert_eq!((stats.waiting, stats.claimed, stats.delayed, stats.dead), (0, 0, 0, 1));
}

/// Priorities, delays, and waking up.
async fn items_come_late_and_by_priority(queue: &Queue, session: &Session, worker: &mut Worker) {
    let waiting = tokio::spawn({
        let mut worker = queue.worker(session, "waiting");
        async move {
            let claim = worker.claim().await?;
            let payload = claim.payload().clone();
            claim.complete().await.map(|()| payload)
        }
    });
    tokio::time::sleep(SHORT).await;
    let put = Instant::now();
    let late = PutOptions { delay: TIMEOUT, ..PutOptions::default() };
    queue.put_with("late", late).await.expect("put");
    assert_eq!(queue.stats().await.expect("read").delayed, 1);
    assert_eq!(soon("the late one", waiting).await.expect("no panic").expect("done"), "late");
    assert!(put.elapsed() >= TIMEOUT, "{:?}", put.elapsed());
    let mut expected = vec!["urgent".to_owned()];
    for number in 1..8 {
        expected.push(format!("plain {number}"));
        queue.put(format!("plain {number}")).await.expect("put");
    }
    let urgent = PutOptions { priority: 1, ..PutOptions::default() };
    queue.put_with("urgent", urgent).await.expect("put");
    let order: Vec<_> = queue.peek(10).await.expect("read").into_iter().map(|item| item.payload).collect();
    assert_eq!(order, expected);
    for payload in expected {
        let claim = worker.claim().await.expect("claimed");
        assert_eq!(claim.payload(), &payload, "a worker alone takes them in their order");
        claim.complete().await.expect("completed");
    }
}

/// Failing: again after a pause, then set aside; back again by hand.
async fn failures_come_again_then_never(queue: &Queue, session: &Session, worker: &mut Worker) {
    let id = queue.put("stubborn").await.expect("put");
    let claim = worker.claim().await.expect("claimed");
    assert_eq!((claim.id(), claim.attempt()), (id.as_str(), 1));
    let seen = &queue.peek(1).await.expect("read")[0];
    assert_eq!(seen.claimed, Some((session.id(), "w".to_owned())));
    let failed = Instant::now();
    let pause = TIMEOUT;
    assert_eq!(claim.fail_for("no luck", pause).await.expect("failed"), Fate::Again);
    assert!(worker.try_claim().await.expect("asked").is_none(), "not before the pause is over");
    assert_eq!(queue.peek(1).await.expect("read")[0].reason.as_deref(), Some("no luck"));
    let claim = worker.claim().await.expect("claimed");
    assert!(failed.elapsed() >= pause, "{:?}", failed.elapsed());
    assert_eq!(claim.attempt(), 2);
    assert_eq!(claim.fail("still none").await.expect("failed"), Fate::Dead);
    let dead = queue.dead(10).await.expect("read");
    assert_eq!((dead[0].payload.as_ref(), dead[0].attempts), (b"stubborn".as_slice(), 2));
    assert_eq!(dead[0].reason, "still none");
    assert!(queue.revive(&id).await.expect("revived") && !queue.revive(&id).await.expect("once"));
    worker.claim().await.expect("claimed").reject("hopeless").await.expect("rejected");
    assert!(queue.discard(&id).await.expect("discarded") && !queue.discard(&id).await.expect("once"));
}

/// Released and dropped claims do not count as attempts; lost ones are refused.
async fn lost_claims_are_refused(client: &Client, queue: &Queue, session: &Session, worker: &mut Worker) {
    let id = queue.put("again").await.expect("put");
    worker.claim().await.expect("claimed").release().await.expect("released");
    drop(worker.claim().await.expect("claimed"));
    let claim = worker.claim().await.expect("claimed, as dropping released it");
    assert_eq!((claim.attempt(), queue.attempts_of(&id).await.expect("read")), (1, 1));
    client.delete(format!("/q/tries/claims/{id}")).await.expect("taken away");
    let mut other = queue.worker(session, "other");
    let theirs = other.claim().await.expect("claimed");
    assert!(claim.complete_with([op::put("/q-stale", "x")]).await.is_err_and(|error| error.is_fenced()));
    assert!(client.get("/q-stale").await.expect("read").is_none(), "nothing of it happened");
    theirs.complete().await.expect("completed");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Limits {
    rate: u32,
}

fn limits(client: &Client) -> Document<Limits> {
    Document::new(client, "/c/limits").keep(3).validate(|limits: &Limits| match limits.rate {
        0 => Err("nothing would be served".into()),
        _ => Ok(()),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_have_versions() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let document = limits(&client);
    assert!(matches!(document.read().await, Err(DocumentError::Missing { .. })));
    let refused = document.put(Limits { rate: 0 }, "a", "").await;
    assert!(matches!(&refused, Err(DocumentError::Refused { reason }) if reason.contains("served")));
    let first = document.put(Limits { rate: 1 }, "alice", "a start").await.expect("put");
    assert_eq!((first.number, document.read().await.expect("read")), (1, first.clone()));
    let second = document.put_if(1, Limits { rate: 2 }, "bob", "").await.expect("put");
    let late = document.put_if(1, Limits { rate: 9 }, "carol", "").await;
    assert!(matches!(late, Err(DocumentError::Conflict { current: 2, .. })), "{late:?}");
    let racing = (0..6).map(|rate| {
        let document = document.clone();
        async move { document.put_if(2, Limits { rate: 10 + rate }, "racer", "").await }
    });
    let raced = futures::future::join_all(racing).await;
    assert_eq!(raced.iter().filter(|put| put.is_ok()).count(), 1, "one of them: {raced:?}");
    depose(&mut cluster).await;

    assert_eq!(document.read_at(second.revision).await.expect("history is there").value.rate, 2);
    document.roll_back(1).await.expect("rolled back");
    assert_eq!(document.read().await.expect("read").value.rate, 1);
    for rate in 20..24 {
        document.put(Limits { rate }, "dave", "").await.expect("put");
    }
    let kept: Vec<_> = document.history().await.expect("read").iter().map(|v| v.number).collect();
    assert_eq!(kept, [5, 6, 7]);
    let gone = document.roll_back(2).await;
    assert!(matches!(gone, Err(DocumentError::NotKept { number: 2, oldest: 5, .. })), "{gone:?}");
    let leader = cluster.leader().await;
    cluster.compact(leader).await;
    let compacted = document.read_at(second.revision).await;
    assert!(
        matches!(&compacted, Err(DocumentError::Client(error))
        if error.code() == Some(oarlock_client::wire::ErrorCode::Compacted)),
        "{compacted:?}"
    );
    assert_eq!(document.read_version(5).await.expect("kept").value.rate, 21, "kept ones stay readable");
    roll_out(&client, &document).await;
    keeps_the_last_good_value(&mut cluster, &client, &document).await;
}

async fn roll_out(client: &Client, document: &Document<Limits>) {
    let not = document.promote().await;
    assert!(matches!(not, Err(DocumentError::NotStaged { .. })));
    document.stage(Limits { rate: 500 }, 50.0, "erin", "try").await.expect("staged");
    let head = document.status().await.expect("read");
    let instances: Vec<_> = (0..10).map(|number| format!("instance-{number}")).collect();
    let followers: Vec<_> = instances.iter().map(|name| document.follow(name.clone())).collect();
    for (name, follower) in instances.iter().zip(&followers) {
        soon("a value", follower.synced()).await.expect("allowed");
        let version = follower.value().expect("synced");
        assert_eq!(version.number, head.version_for(name), "{name}");
    }
    let candidates = || followers.iter().filter(|f| f.value().is_some_and(|v| v.value.rate == 500)).count();
    assert!((1..10).contains(&candidates()), "some and not all: {}", candidates());
    assert!(matches!(
        document.put(Limits { rate: 3 }, "frank", "").await,
        Err(DocumentError::Staged { percent: 50.0, .. })
    ));
    document.widen(100.0).await.expect("widened");
    eventually("all use the candidate", || candidates() == 10).await;
    document.abort().await.expect("aborted");
    eventually("none does", || candidates() == 0).await;
    document.stage(Limits { rate: 500 }, 0.0, "erin", "again").await.expect("staged");
    document.promote().await.expect("promoted");
    eventually("all use it", || candidates() == 10).await;
    assert_eq!(document.read().await.expect("read").value.rate, 500);
    assert!(matches!(limits(client).widen(101.0).await, Err(DocumentError::Client(Error::Invalid { .. }))));
}

async fn keeps_the_last_good_value(cluster: &mut Cluster, client: &Client, document: &Document<Limits>) {
    let here = document.follow("here");
    soon("a value", here.synced()).await.expect("allowed");
    let before = here.value().expect("synced");
    // A careless process without the validation.
    let careless: Document<Limits> = Document::new(client, "/c/limits");
    careless.put(Limits { rate: 0 }, "mallory", "").await.expect("put");
    eventually("it is noticed", || !here.refused().is_empty()).await;
    assert_eq!(here.value().expect("kept"), before);
    cluster.nodes.iter_mut().for_each(oarlock_tests::cluster::Node::kill);
    assert_eq!(here.value().expect("kept"), before, "without a cluster, too");
    cluster.nodes.iter_mut().for_each(oarlock_tests::cluster::Node::start);
    let changing = here.changed_from(before.number);
    let mended = soon("the cluster", document.put(Limits { rate: 7 }, "alice", "mended")).await.expect("put");
    let now = soon("the change", changing).await;
    assert_eq!((now.number, now.value.rate), (mended.number, 7));
}

/// How often a task runs right now in this process; never above one at a time by validity.
#[derive(Default)]
struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// While it lives the task runs.
struct Running<'b>(&'b Busy);

impl Busy {
    fn begin(&self) -> Running<'_> {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        Running(self)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

/// A process that beats while it leads.
fn beat(client: &Client, name: &'static str, busy: Arc<Busy>) -> singleton::Running {
    let beats = client.clone();
    Singleton::new(client, "/s/task").value(name).timeout(CALM).start(move |term| {
        let (client, busy) = (beats.clone(), busy.clone());
        async move {
            let _running = busy.begin();
            while !term.valid_for().is_zero() {
                client.put("/s/beat", name).guard(term.guard()).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok::<(), Error>(())
        }
    })
}

async fn beats(client: &Client, name: &str) {
    soon(name, async {
        while client.get("/s/beat").await.expect("read").is_none_or(|record| record.text() != name) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn token(running: &singleton::Running) -> Option<oarlock_client::Token> {
    match running.standing() {
        Standing::Leading { token } => Some(token),
        Standing::Standby | Standing::Pausing { .. } | Standing::Done => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_singleton_runs_in_one_process_at_a_time() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let busy = Arc::new(Busy::default());
    let theirs = busy.clone();
    let mortal = Mortal::live(cluster.endpoints(), move |session| async move {
        let _running = beat(session.client(), "mortal", theirs);
        std::future::pending::<()>().await;
    });
    beats(&client, "mortal").await;
    let one = beat(&client, "one", busy.clone());
    tokio::time::sleep(SHORT).await;
    assert_eq!(one.standing(), Standing::Standby);
    mortal.die();
    beats(&client, "one").await;
    let before = token(&one).expect("it leads");
    depose(&mut cluster).await;
    tokio::time::sleep(CALM).await;
    assert_eq!(token(&one), Some(before.clone()), "a failover of the cluster is none of the task");
    let two = beat(&client, "two", busy.clone());
    one.stop().await;
    beats(&client, "two").await;
    assert!(token(&two).is_some_and(|token| token.revision > before.revision));
    let late = client.put("/s/beat", "late").guard(before).await;
    assert!(late.is_err_and(|error| error.is_fenced()), "a former leader is refused");
    two.stop().await;
    assert_eq!((busy.most.load(SeqCst), busy.now.load(SeqCst)), (1, 0));

    // One that fails and panics is begun again until it is done.
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let flaky = Singleton::new(&client, "/s/flaky").start(move |term| {
        let attempt = counted.fetch_add(1, SeqCst);
        async move {
            assert!(attempt != 0, "the first attempt panics");
            let current = term.token().map_err(|error| error.to_string())?;
            if attempt == 1 { Err(format!("not yet under {}", current.revision)) } else { Ok(()) }
        }
    });
    soon("success", flaky.done()).await;
    assert_eq!(tries.load(SeqCst), 3);

    // Being asked to end, it has its grace.
    let (told, heard) = tokio::sync::oneshot::channel();
    let told = Arc::new(std::sync::Mutex::new(Some(told)));
    let polite = Singleton::new(&client, "/s/polite").start(move |term| {
        let told = told.clone();
        async move {
            term.stopping().await;
            if let Some(told) = told.lock().expect("no panic").take() {
                let _ = told.send(!term.valid_for().is_zero());
            }
            Ok::<(), Error>(())
        }
    });
    eventually("it leads", || token(&polite).is_some()).await;
    polite.stop().await;
    assert!(soon("the end", heard).await.expect("it was told"), "it ends under its own lead");
}

/// Runs at every second; each run is counted.
fn tick(client: &Client, name: &'static str, hangs_at: Option<usize>) -> singleton::Running {
    let schedule = Schedule::new("* * * * * *").expect("every second");
    let task = CronTask::new(client, "/cron/tick", schedule);
    let task = task.value(name).timeout(CALM).attempts(2).missed(Missed::RunAll { most: 100 });
    let (client, runs) = (client.clone(), Arc::new(AtomicUsize::new(0)));
    task.start(move |run| {
        let (client, hangs) = (client.clone(), hangs_at == Some(runs.fetch_add(1, SeqCst)));
        async move {
            let key = format!("/ticks/{}", run.slot());
            client.txn().guard(run.guard()).then(op::add(key, 1)).await?;
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok::<(), Error>(())
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_task_runs_once_in_each_slot() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = connect(cluster.endpoints()).await;
    let mortal = Mortal::live(cluster.endpoints(), |session| async move {
        let _running = tick(session.client(), "mortal", Some(2));
        std::future::pending::<()>().await;
    });
    let task = CronTask::new(&client, "/cron/tick", Schedule::new("* * * * * *").expect("every second"));
    let history = async |least: usize| {
        soon("the runs", async {
            loop {
                let runs = task.history().await.expect("read");
                if runs.len() >= least {
                    return runs;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    };
    let hung = history(3).await.remove(2);
    assert_eq!((hung.state.clone(), hung.by.as_str(), hung.attempt), (RunState::Started, "mortal", 1));
    // That it began is recorded before it does anything.
    soon("what it does before it hangs", async {
        let ticks = prefix(format!("/ticks/{}", hung.slot));
        while client.range(ticks.clone()).all().await.expect("read").records.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let running = tick(&client, "other", None);
    mortal.die();
    depose(&mut cluster).await;
    history(12).await;
    running.stop().await;
    let runs = task.history().await.expect("read");
    let slots: Vec<i64> = runs.iter().map(|run| run.slot.as_second()).collect();
    assert!(slots.windows(2).all(|pair| pair[1] == pair[0] + 1), "no slot is missing: {slots:?}");
    let again = runs.iter().find(|run| run.slot == hung.slot).expect("it is recorded");
    assert_eq!((again.by.as_str(), again.attempt), ("other", 2), "its process died in it: {again:?}");
    let done = |run: &&RunRecord| matches!(run.state, RunState::Done { .. });
    assert!(runs.iter().filter(done).count() >= runs.len() - 1, "{runs:?}");
    let counted = client.range(prefix("/ticks/")).all().await.expect("read").records;
    for count in &counted {
        let is_hung = count.key.ends_with(hung.slot.to_string().as_bytes());
        assert_eq!(count.text(), if is_hung { "2" } else { "1" }, "{:?}", count.key);
    }
    assert!(counted.len() >= 12);
}
