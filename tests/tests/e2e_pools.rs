//! Shard pools on real clusters: fleets whose members are killed, drained and added, orders of
//! operators, routes, tokens, and the command line.

use bytes::Bytes;
use futures::StreamExt;
use oarlock_client::pool::{Assignment, Policy, ShardLoss, Shards, slot_of};
use oarlock_client::wire::pool_refusal::Reason;
use oarlock_client::{Client, Error};
use oarlock_tests::cluster::{Cluster, Oarlock, turn};
use oarlock_tests::pools::{Floor, Record, Worker};
use serde_json::Value;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(5);
const SLOTS: u32 = 16;

async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until each of these works on as many shards as that.
async fn balanced(floor: &Floor, names: &[&str], range: std::ops::RangeInclusive<usize>) {
    eventually(&format!("{names:?} have {range:?} shards each, of {SLOTS}"), || {
        let counts = floor.counts();
        counts.values().sum::<usize>() == SLOTS as usize
            && counts.len() == names.len()
            && names.iter().all(|name| counts.get(*name).is_some_and(|count| range.contains(count)))
    })
    .await;
}

async fn worker(cluster: &Cluster, name: &str, floor: &Floor) -> Worker {
    Worker::start(cluster.endpoints(), "fleet", name, TTL, floor).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_whose_members_come_and_go() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, &[]).await;
    let client = Client::connect(cluster.endpoints()).await.expect("connected");
    client.pools().create("fleet", Shards::Slots(SLOTS), Policy::default()).await.expect("made");
    let floor = Floor::default();
    let record = Record::begin(cluster.endpoints(), "fleet");
    let first = worker(&cluster, "w1", &floor).await;
    let second = worker(&cluster, "w2", &floor).await;
    let third = worker(&cluster, "w3", &floor).await;
    let fourth = worker(&cluster, "w4", &floor).await;
    balanced(&floor, &["w1", "w2", "w3", "w4"], 4..=4).await;

    // Drained: everything goes to warm successors, and nothing else moves.
    let before = record.len();
    let left = fourth.handle.drain(PATIENCE).await.expect("drained");
    assert!(left.is_empty(), "{left:?} were not handed over");
    balanced(&floor, &["w1", "w2", "w3"], 5..=6).await;
    assert_eq!(record.unowned_since(before).len(), 0, "{:?}", record.unowned_since(before));
    assert_eq!(record.grants_since(before), 4, "no more than what the drained member had");
    drop(fourth);

    // Added: no more than its share moves.
    let before = record.len();
    let fourth = worker(&cluster, "w4", &floor).await;
    balanced(&floor, &["w1", "w2", "w3", "w4"], 4..=5).await;
    assert_eq!(record.unowned_since(before).len(), 0);
    assert!(record.grants_since(before) <= 4, "{} moved", record.grants_since(before));

    // Killed: its shards are granted after its session's end, and not before.
    let before = record.len();
    let until = fourth.kill();
    balanced(&floor, &["w1", "w2", "w3"], 5..=6).await;
    let moved = record.since(before);
    assert!(moved.iter().all(|change| change.at >= until), "granted while its last owner might have acted");

    // The leader dies in the middle of a move to a new member.
    let before = record.len();
    let leader = cluster.leader().await;
    let fifth = worker(&cluster, "w5", &floor).await;
    cluster.nodes[leader].kill();
    balanced(&floor, &["w1", "w2", "w3", "w5"], 4..=5).await;
    assert_eq!(record.unowned_since(before).len(), 0, "a planned move survives a leader");
    cluster.nodes[leader].start();
    cluster.wait_ready(PATIENCE).await;
    let lost: usize =
        [&first, &second, &third, &fifth].map(|one| one.losses.lock().expect("whole").len()).iter().sum();
    assert_eq!(lost, 0, "nobody lost anything");
    assert_eq!(record.tables(), 1, "reconnections went on from where they were");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_tokens_and_routes() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, &[]).await;
    let client = Client::connect(cluster.endpoints()).await.expect("connected");
    let pools = client.pools();
    pools.create("fleet", Shards::Slots(SLOTS), Policy::default()).await.expect("made");
    let again =
        pools.create("fleet", Shards::Slots(SLOTS + 1), Policy::default()).await.expect_err("another");
    assert!(again.is_pool_refused(Reason::PoolExists), "{again}");
    let file = tempfile::tempdir().expect("a directory");
    let file = file.path().join("routes");
    let routes = client.pool("fleet").routes().persist(&file).await.expect("a table");
    assert_eq!(routes.slots(), SLOTS);
    let floor = Floor::default();
    let one = worker(&cluster, "w1", &floor).await;
    let two = worker(&cluster, "w2", &floor).await;
    balanced(&floor, &["w1", "w2"], 8..=8).await;
    orders(&client, &floor, &one, &two).await;
    fencing(&client, &one, &two).await;

    // Routes follow, and keep answering while the cluster is away.
    let slot = slot_of("some key", SLOTS).to_string();
    let (owner, epoch) = floor.worker_of(&slot).expect("owned");
    let route = routes
        .wait_for(|routes| {
            let primary = routes.lookup_key("some key")?.primary?;
            (primary.epoch == epoch).then_some(primary)
        })
        .await;
    assert_eq!(route.at.address, format!("{owner}:80"));
    tokio::time::sleep(Duration::from_millis(1500)).await; // the file is behind by up to a second
    for node in &mut cluster.nodes {
        node.kill();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(routes.lookup(&slot).and_then(|route| route.primary), Some(route.clone()));
    assert!(routes.age().is_some_and(|age| age >= Duration::from_secs(1)), "{:?}", routes.age());
    let lonely = Client::builder().connect_lazy(cluster.endpoints()).expect("URLs");
    let kept = lonely.pool("fleet").routes().persist(&file).await.expect("the file has it");
    assert_eq!(kept.lookup(&slot).and_then(|route| route.primary), Some(route));
    assert_eq!(kept.age(), None, "nothing was heard yet");

    // Whoever owns shards stops in time, and takes part again when the cluster is back.
    eventually("the validity of the owners ends", || {
        one.handle.owned().is_empty() && two.handle.owned().is_empty()
    })
    .await;
    eventually("the owners stop", || floor.counts().is_empty()).await;
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.wait_ready(PATIENCE).await;
    balanced(&floor, &["w1", "w2"], 1..=15).await;
    kept.wait_for(|routes| routes.age().map(drop)).await;
}

/// Pin, move, force.
async fn orders(client: &Client, floor: &Floor, one: &Worker, two: &Worker) {
    let pools = client.pools();
    let shard = one.handle.owned().shards()[0].clone();
    let name = String::from_utf8(shard.to_vec()).expect("slots have names of digits");
    let is_with = |worker: &str| floor.worker_of(&name).is_some_and(|(owner, _)| owner == worker);
    pools.move_shard("fleet", shard.clone(), "w2".into()).await.expect("a member");
    eventually("the shard is moved", || is_with("w2")).await;
    pools.pin("fleet", shard.clone(), Some("w1".into())).await.expect("a shard");
    eventually("the shard is where it is pinned to", || is_with("w1")).await;
    let refused = pools.move_shard("fleet", shard.clone(), "w2".into()).await.expect_err("it is pinned");
    assert!(refused.is_pool_refused(Reason::Step), "{refused}");
    let explained = client.pools().explain("fleet", shard.clone()).await.expect("explained");
    assert_eq!((explained.home.as_ref(), explained.candidates.len()), (b"w1".as_slice(), 2));
    let before = floor.worker_of(&name).expect("owned").1;
    pools.force("fleet", shard.clone()).await.expect("a shard");
    eventually("the shard is granted anew", || {
        floor.worker_of(&name).is_some_and(|(_, epoch)| epoch > before)
    })
    .await;
    let losses = one.losses.lock().expect("whole").clone();
    assert_eq!(losses, [(shard.clone(), ShardLoss::Forced)]);
    assert_eq!(two.losses.lock().expect("whole").len(), 0, "a planned move is no loss");
    pools.pin("fleet", shard, None).await.expect("a shard");
    let plan = pools.plan("fleet", Vec::new()).await.expect("planned");
    assert_eq!(plan.after.len(), 2);
}

/// A token is worth something for as long as its owner owns the shard.
async fn fencing(client: &Client, one: &Worker, two: &Worker) {
    let shard = one.handle.owned().shards()[0].clone();
    let token = one.handle.token(&shard).expect("owned");
    client.put("/fenced", "by one").guard(token.clone()).await.expect("the owner writes");
    assert!(client.check_token(&token).await.expect("answered"));
    client.pools().move_shard("fleet", shard.clone(), "w2".into()).await.expect("a member");
    eventually("the shard is moved", || two.handle.token(&shard).is_ok()).await;
    let late = client.put("/fenced", "late").guard(token.clone()).await.expect_err("not the owner any more");
    assert!(late.is_fenced(), "{late}");
    assert!(!client.check_token(&token).await.expect("answered"));
    assert!(matches!(one.handle.token(&shard), Err(Error::NotHeld { .. })));
    let token = two.handle.token(&shard).expect("owned");
    client.put("/fenced", "by two").guard(token).await.expect("the owner writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_shards_come_and_go() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, &[]).await;
    let client = Client::connect(cluster.endpoints()).await.expect("connected");
    let pools = client.pools();
    let missing = client.session().open().await.expect("a session").pool("none").join("x").start().await;
    assert!(missing.expect_err("no pool").is_pool_refused(Reason::PoolNotFound));
    let policy = Policy { secondaries: 1, ..Policy::default() };
    pools.create("topics", Shards::Named, policy).await.expect("made");
    pools.add_shards("topics", vec![("a".into(), 1), ("b".into(), 5)]).await.expect("named");
    let session = client.session().timeout(TTL).open().await.expect("a session");
    let mut member = session.pool("topics").join("t1").start().await.expect("a pool");
    let mut assigned = Vec::new();
    while assigned.len() < 2 {
        if let Assignment::Assigned { shard, .. } = member.next().await.expect("lives").expect("lives") {
            assigned.push(shard);
        }
    }
    assigned.sort();
    assert_eq!(assigned, ["a", "b"]);

    // A second member keeps the copies.
    let other = client.session().timeout(TTL).open().await.expect("a session");
    let mut second = other.pool("topics").join("t2").start().await.expect("a pool");
    let is_copy = |assignment: &Assignment| matches!(assignment, Assignment::Copy { .. });
    let copy = loop {
        let assignment = second.next().await.expect("lives").expect("lives");
        match &assignment {
            Assignment::Prepare { shard, .. } => second.ready(shard.clone()).await.expect("a member"),
            one if is_copy(one) => break one.shard().clone(),
            _ => {}
        }
    };
    second.ready(copy.clone()).await.expect("a member");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shard = pools.shard("topics", copy.clone()).await.expect("there");
        if shard.secondaries.iter().any(|one| one.ready) {
            break;
        }
        assert!(Instant::now() < deadline, "the copy is warm: {shard:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Removed: its owner is asked to let go first. Added again: nobody had it before.
    let routes = client.pool("topics").routes().await.expect("a table");
    let mut changes = routes.changes();
    pools.remove_shards("topics", vec!["a".into()]).await.expect("named");
    let owner = loop {
        tokio::select! {
            one = member.next() => if let Some(Ok(Assignment::Drain { shard, to: None, .. })) = one {
                assert_eq!(shard, "a");
                break &member;
            },
            one = second.next() => if let Some(Ok(Assignment::Drain { shard, to: None, .. })) = one {
                assert_eq!(shard, "a");
                break &second;
            },
        }
    };
    assert!(owner.token("a").is_ok(), "owned until it lets go");
    owner.release("a").await.expect("owned");
    while routes.lookup("a").is_some() {
        changes.next().await;
    }
    let unknown = pools.shard("topics", "a").await.expect_err("removed");
    assert!(unknown.is_pool_refused(Reason::ShardNotFound), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_the_same_name_waits_for_the_old_session() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, &[]).await;
    let client = Client::connect(cluster.endpoints()).await.expect("connected");
    let policy = Policy { reassign_delay: Duration::from_secs(30), ..Policy::default() };
    client.pools().create("fleet", Shards::Slots(SLOTS), policy).await.expect("made");
    let floor = Floor::default();
    let one = worker(&cluster, "w1", &floor).await;
    let _two = worker(&cluster, "w2", &floor).await;
    balanced(&floor, &["w1", "w2"], 8..=8).await;
    let record = Record::begin(cluster.endpoints(), "fleet");
    eventually("the routes are known", || record.owners().len() == SLOTS as usize).await;
    let owned: Vec<Bytes> = one.handle.owned().shards();
    let before = record.len();
    let until = one.kill();
    let back = worker(&cluster, "w1", &floor).await;
    assert!(Instant::now() >= until, "it joined while its predecessor might have acted");
    balanced(&floor, &["w1", "w2"], 8..=8).await;
    assert_eq!(back.handle.owned().shards(), owned, "a restart moves nothing");
    let others = record.since(before).into_iter().filter(|change| !owned.contains(&change.shard)).count();
    assert_eq!(others, 0);
}

const NOT_FOUND: i32 = 3;
const REFUSED: i32 = 5;
const USAGE: i32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    oarlock.text(&["pool", "create", "jobs", "--slots", "4", "--handoff", "20s", "--moves-max", "2"]);
    assert!(oarlock.fails(REFUSED, &["pool", "create", "jobs", "--slots", "5"]).contains("exists"));
    assert!(oarlock.fails(NOT_FOUND, &["pool", "status", "none"]).contains("none"));
    oarlock.fails(USAGE, &["pool", "weights", "jobs", "0"]);
    let listed = oarlock.json(&["pool", "ls"]);
    assert_eq!(
        (&listed["pool"], &listed["shards"], &listed["members"]),
        (&"jobs".into(), &4.into(), &0.into())
    );
    oarlock.text(&["pool", "weights", "jobs", "0=5"]);
    oarlock.text(&["pool", "policy", "jobs", "--sticky", "false", "--tolerance-percent", "20"]);

    let directory = tempfile::tempdir().expect("a directory");
    let told = directory.path().join("told");
    let script = format!("echo up $OARLOCK_INSTANCE; cat > {}", told.display());
    let arguments =
        ["pool", "join", "jobs", "--instance", "j1", "--zone", "z", "--address", "j1:80", "--ttl", "3s"];
    let mut command = oarlock.command(&[&arguments[..], &["--", "sh", "-c", &script]].concat());
    let mut joined = oarlock.start(&mut command);
    let status = || oarlock.json(&["pool", "status", "jobs", "--shards"]);
    eventually("one owns everything", || status()["owned"] == 4).await;
    eventually("it was told", || lines(&told).len() == 4).await;
    assert!(lines(&told).iter().all(|line| line["event"] == "assigned" && line["token"].as_u64() > Some(0)));
    let text = oarlock.text(&["pool", "status", "jobs", "--shards"]);
    assert!(text.contains("jobs: 4 slots, 4 owned, 1 members") && text.contains("j1:80"), "{text}");
    shows(&oarlock);

    // A second one takes over everything when the first is interrupted.
    let answering = "while read line; do s=$(echo $line | sed 's/.*\"shard\":\"\\([0-9]*\\)\".*/\\1/'); case $line in *prepare*) echo ready $s;; *drain*) echo release $s;; esac; done";
    let arguments = ["pool", "join", "jobs", "--instance", "j2", "--ttl", "3s", "--answers"];
    let mut command = oarlock.command(&[&arguments[..], &["--", "sh", "-c", answering]].concat());
    let mut other = oarlock.start(&mut command);
    eventually("there are two", || status()["members"].as_array().map(Vec::len) == Some(2)).await;
    terminate(&joined);
    let status_code = joined.wait().expect("waited for");
    assert!(status_code.success(), "{status_code:?}: {:?}", lines(&told));
    eventually("the other owns everything", || {
        let now = status();
        now["owned"] == 4 && now["members"][0]["shards"] == 4
    })
    .await;
    let drained = lines(&told).iter().filter(|line| line["event"] == "drain").count();
    let lost = lines(&told).iter().filter(|line| line["event"] == "lost").count();
    assert!(drained >= 2 && lost == 0, "{:?}", lines(&told));
    other.kill().expect("it runs");
    other.wait().expect("waited for");
    eventually("its session ends", || status()["owned"] == 0).await;
    oarlock.text(&["pool", "delete", "jobs", "--force"]);
    oarlock.fails(NOT_FOUND, &["pool", "routes", "jobs"]);
}

/// The verbs that only look, and the orders that one member can follow.
fn shows(oarlock: &Oarlock) {
    let route = oarlock.json_lines(&["pool", "routes", "jobs"]);
    assert_eq!(route.len(), 4);
    assert_eq!((&route[0]["owner"], &route[0]["address"]), (&"j1".into(), &"j1:80".into()));
    assert_eq!(oarlock.json(&["pool", "routes", "jobs", "--key", "k"])["owner"], "j1");
    assert!(oarlock.text(&["pool", "plan", "jobs"]).contains("nothing to do"));
    let plan = oarlock.json(&["pool", "plan", "jobs", "--join", "j9:1:z"]);
    assert!(plan["moved"].as_u64() >= Some(1), "{plan}");
    assert!(oarlock.text(&["pool", "plan", "jobs", "--join", "j9"]).contains("move to"));
    let explained = oarlock.json(&["pool", "explain", "jobs", "0"]);
    assert_eq!((&explained["home"], &explained["work"]), (&"j1".into(), &5.into()));
    assert!(oarlock.text(&["pool", "explain", "jobs", "0"]).contains("shard 0, work 5, at j1"));
    oarlock.fails(NOT_FOUND, &["pool", "explain", "jobs", "77"]);
    oarlock.text(&["pool", "pause", "jobs", "10m", "--reason", "upgrade"]);
    assert!(oarlock.text(&["pool", "status", "jobs"]).contains("upgrade"));
    oarlock.text(&["pool", "pause", "jobs", "0s"]);
    oarlock.text(&["pool", "cordon", "jobs", "j1"]);
    assert_eq!(oarlock.json(&["pool", "status", "jobs"])["members"][0]["state"], "cordoned");
    oarlock.text(&["pool", "activate", "jobs", "j1"]);
    oarlock.fails(NOT_FOUND, &["pool", "drain", "jobs", "nobody"]);
    oarlock.fails(NOT_FOUND, &["pool", "pin", "jobs", "77", "j1"]);
    oarlock.text(&["pool", "pin", "jobs", "1", "j1"]);
    oarlock.text(&["pool", "pin", "jobs", "1"]);
    oarlock.fails(REFUSED, &["pool", "move", "jobs", "1", "j1"]);
    oarlock.fails(REFUSED, &["pool", "add", "jobs", "x"]);
}

fn lines(file: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
fn terminate(child: &std::process::Child) {
    // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
}
