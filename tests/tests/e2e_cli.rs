//! Every verb of the command line against real servers: text, JSON, and exit codes.

use oarlock_tests::cluster::{Cluster, Oarlock, Ran, turn};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// The documented exit codes.
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONDITION: i32 = 4;
const REFUSED: i32 = 5;
const NOT_DONE: i32 = 6;

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {value}"))
}

/// Waits until `check` says so.
async fn eventually(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
fn interrupt(child: &Child) {
    // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    writes_and_reads(&oarlock);
    ranges(&oarlock);
    conditions(&oarlock);
    transactions(&oarlock);
}

fn writes_and_reads(oarlock: &Oarlock) {
    assert_eq!(oarlock.text(&["put", "/a", "1"]), "revision 2");
    assert_eq!(oarlock.text(&["get", "/a"]), "1");
    let written = oarlock.json(&["put", "/a", "2", "--previous"]);
    assert_eq!((number(&written, "revision"), &written["previous"]["value"]), (3, &"1".into()));
    let record = oarlock.json(&["get", "/a"]);
    let numbers = ["create_revision", "mod_revision", "version", "owner"].map(|name| number(&record, name));
    assert_eq!(numbers, [2, 3, 2, 0]);
    assert!(oarlock.text(&["get", "/a", "--long"]).contains("created 2\tchanged 3\tversion 2"));
    assert_eq!(oarlock.text(&["get", "/a", "--revision", "2"]), "1");
    assert_eq!(oarlock.text(&["get", "/a", "--serializable"]), "2");
    let piped = oarlock.run_with(&["put", "/piped", "-"], "from a pipe");
    assert_eq!((piped.code, oarlock.text(&["get", "/piped"])), (0, "from a pipe".into()));
    assert!(oarlock.fails(NOT_FOUND, &["get", "/missing"]).contains("/missing"));
    assert!(oarlock.fails(REFUSED, &["put", "/a", "3", "--if-absent"]).contains("exists"));
    assert!(oarlock.fails(REFUSED, &["get", "/a", "--revision", "999"]).contains("999"));
    assert!(oarlock.fails(USAGE, &["put", "", "x"]).contains("key"));
    let gone = oarlock.json(&["delete", "/piped", "--previous"]);
    assert_eq!((number(&gone, "deleted"), &gone["previous"][0]["value"]), (1, &"from a pipe".into()));
    assert!(oarlock.text(&["del", "/piped"]).starts_with("deleted 0"));
    assert_eq!(oarlock.text(&["add", "/n"]), "1");
    assert_eq!(oarlock.text(&["add", "/n", "-5"]), "-4");
    oarlock.text(&["put", "/text", "abc"]);
    oarlock.fails(REFUSED, &["add", "/text"]);
}

fn ranges(oarlock: &Oarlock) {
    for number in 0..5 {
        oarlock.text(&["put", &format!("/r/{number}"), "v"]);
    }
    assert_eq!(oarlock.text(&["ls", "/r/", "--keys-only"]), "/r/0\n/r/1\n/r/2\n/r/3\n/r/4");
    assert_eq!(oarlock.text(&["ls", "/r/", "--limit", "2", "--reverse"]), "/r/4\tv\n/r/3\tv");
    assert_eq!(oarlock.text(&["range", "/r/", "--count"]), "5");
    assert_eq!(number(&oarlock.json(&["ls", "/r/", "--count"]), "count"), 5);
    assert_eq!(oarlock.json_lines(&["ls", "/r/"]).len(), 5);
    assert_eq!(oarlock.text(&["ls", "/nothing/"]), "");
    assert!(oarlock.text(&["ls"]).lines().count() > 5);
    assert_eq!(number(&oarlock.json(&["delete", "/r/", "--prefix"]), "deleted"), 5);
}

fn conditions(oarlock: &Oarlock) {
    let revision = number(&oarlock.json(&["put", "/c", "1"]), "revision");
    let swapped = oarlock.json(&["cas", "/c", &revision.to_string(), "2"]);
    assert_eq!(swapped["swapped"], true);
    let complaint = oarlock.fails(CONDITION, &["cas", "/c", &revision.to_string(), "3"]);
    assert!(complaint.contains("was last changed at revision"), "{complaint}");
    assert!(oarlock.fails(CONDITION, &["cas", "/new", "7", "1"]).contains("does not exist"));
    oarlock.text(&["cas", "/new", "0", "1"]);
    let token = oarlock.json(&["get", "/c"])["create_revision"].to_string();
    oarlock.text(&["put", "/guarded", "1", "--guard", &format!("/c={token}")]);
    oarlock.fails(REFUSED, &["put", "/guarded", "2", "--guard", "/c=1"]);
    oarlock.fails(REFUSED, &["delete", "/guarded", "--guard", "/c=1"]);
    oarlock.fails(USAGE, &["put", "/guarded", "2", "--guard", "nonsense"]);
    assert_eq!(oarlock.text(&["get", "/guarded"]), "1");
}

fn transactions(oarlock: &Oarlock) {
    let script = "mod(\"/t\") = 0\n\nput /t \"a b\"\nadd /t/n 3\n\nget /t\n";
    let first = oarlock.run_with(&["txn"], script);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.starts_with("succeeded") && first.out.ends_with("put\n3\n"), "{first:?}");
    let second = oarlock.run_with(&["txn", "-", "--output", "json"], script);
    assert_eq!(second.code, CONDITION, "{second:?}");
    let document: Value = serde_json::from_str(&second.out).expect("JSON");
    assert_eq!(document["results"][0]["records"][0]["value"], "a b");
    let malformed = oarlock.run_with(&["txn"], "nonsense\n");
    assert_eq!(malformed.code, USAGE);
    assert!(malformed.err.contains("line 1"), "{malformed:?}");
    assert!(oarlock.fails(1, &["txn", "/no/such/file"]).contains("/no/such/file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    oarlock.text(&["put", "/w/1", "one"]);
    oarlock.text(&["put", "/w/1", "two"]);
    oarlock.text(&["delete", "/w/1"]);
    let past =
        oarlock.json_lines(&["watch", "/w/", "--prefix", "--revision", "2", "--count", "3", "--previous"]);
    let events: Vec<_> = past.iter().map(|event| event["event"].as_str().unwrap_or("")).collect();
    assert_eq!(events, ["put", "put", "delete"]);
    assert_eq!(past[1]["previous"]["value"], "one");
    let mut child = oarlock.start(&mut oarlock.command(&["watch", "/w/2", "--count", "1"]));
    let mut said = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
    let created = said.next().expect("it says so").expect("text");
    assert!(created.contains("watching from revision"), "{created}");
    oarlock.text(&["put", "/w/2", "live"]);
    let output = child.wait_with_output().expect("it ends after one event");
    assert!(String::from_utf8_lossy(&output.stdout).contains("/w/2\tlive"), "{output:?}");
    oarlock.text(&["compact"]);
    let watch = ["watch", "/w/", "--prefix", "--revision", "2", "--count", "1"];
    assert!(oarlock.fails(REFUSED, &watch).contains("compacted"));
    oarlock.fails(REFUSED, &["compact", "99999"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_ephemerals() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let mut child = oarlock.start(&mut oarlock.command(&["session", "open", "--ttl", "5s"]));
    let mut out = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    let id = out.next().expect("its id").expect("text");
    oarlock.text(&["put", "/owned", "x", "--owner", &id]);
    let session = oarlock.json(&["session", "get", &id]);
    assert_eq!((number(&session, "timeout_ms"), &session["attached_keys"][0]), (5_000, &"/owned".into()));
    assert!(oarlock.text(&["session", "get", &id]).contains("owns /owned"));
    assert!(oarlock.text(&["session", "ls"]).contains(&id));
    assert_eq!(oarlock.json_lines(&["session", "ls"]).len(), 1);
    oarlock.text(&["session", "close", &id]);
    oarlock.fails(NOT_FOUND, &["get", "/owned"]);
    oarlock.fails(NOT_FOUND, &["session", "get", &id]);
    let ended = child.wait().expect("it ends with its session");
    assert_eq!(ended.code(), Some(8), "the session was lost");
    ephemerals(&oarlock).await;
}

async fn ephemerals(oarlock: &Oarlock) {
    let script = "oarlock=$1; shift; test \"$OARLOCK_KEY\" = /e && test -n \"$OARLOCK_TOKEN\" && \"$oarlock\" get /e && exit 9";
    let program = oarlock_tests::cluster::binary("oarlock");
    let program = program.to_string_lossy();
    let command = ["ephemeral", "/e", "mine", "--", "sh", "-c", script, "sh", &program];
    let ran = oarlock.run(&command);
    assert_eq!((ran.code, ran.out.as_str()), (9, "mine\n"), "{ran:?}");
    oarlock.fails(NOT_FOUND, &["get", "/e"]);
    oarlock.fails(1, &["ephemeral", "/e", "mine", "--", "/no/such/program"]);
    oarlock.fails(NOT_FOUND, &["get", "/e"]);
    let first = oarlock.start(&mut oarlock.command(&["ephemeral", "/lock", "first", "--exclusive"]));
    eventually("the first has the lock", || oarlock.run(&["get", "/lock"]).code == 0).await;
    let waiting = ["ephemeral", "/lock", "second", "--exclusive", "--", "true"];
    let second = oarlock.start(&mut oarlock.command(&waiting));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(oarlock.text(&["get", "/lock"]), "first");
    interrupt(&first);
    let first = Ran::from(first.wait_with_output().expect("it ends"));
    assert_eq!(first.code, 0, "{first:?}");
    let second = Ran::from(second.wait_with_output().expect("it gets the lock and ends"));
    assert_eq!(second.code, 0, "{second:?}");
    assert!(second.err.contains("is held (first); waiting"), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_leadership() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    assert!(oarlock.text(&["status"]).contains("leader"));
    let status = oarlock.json(&["status"]);
    let members = status.as_array().expect("a list").clone();
    assert_eq!(members.iter().filter(|member| member["role"] == "leader").count(), 1, "{status}");
    let listed = oarlock.json(&["member", "ls"]);
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|member| &member["name"]).collect();
    assert_eq!(names.len(), 3);
    let follower = members.iter().find(|member| member["role"] == "follower").expect("two follow");
    oarlock.text(&["move-leader", follower["name"].as_str().expect("text")]);
    let leads = || {
        let status = oarlock.json(&["status"]);
        let members = status.as_array().expect("a list");
        members.iter().any(|member| member["role"] == "leader" && member["name"] == follower["name"])
    };
    eventually("the other leads", leads).await;
    oarlock.text(&["move-leader"]);
    oarlock.text(&["member", "add", "spare", "--peer-urls", "http://127.0.0.1:9", "--learner"]);
    assert!(oarlock.text(&["member", "list"]).contains("learner"));
    oarlock.text(&["member", "update", "spare", "--peer-urls", "http://127.0.0.1:10"]);
    assert!(oarlock.text(&["member", "ls"]).contains("http://127.0.0.1:10"));
    oarlock.fails(REFUSED, &["member", "promote", "spare"]);
    oarlock.text(&["member", "rm", "spare"]);
    assert!(oarlock.fails(NOT_FOUND, &["member", "remove", "spare"]).contains("there are"));
    oarlock.fails(USAGE, &["member", "add", "odd", "--peer-urls", "nonsense"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_founds_another_cluster() {
    let _turn = turn().await;
    let mut old = Cluster::start(1, &[]).await;
    let before = Oarlock::new(&old.endpoints());
    for number in 0..50 {
        before.text(&["put", &format!("/k/{number:02}"), "kept"]);
    }
    let session = before.start(&mut before.command(&["ephemeral", "/mine", "x"]));
    eventually("the key is there", || before.run(&["get", "/mine"]).code == 0).await;
    let file = old.directory().join("backup.oar");
    let path = file.to_string_lossy().into_owned();
    let saved = before.json(&["snapshot", "save", &path]);
    assert!(before.fails(USAGE, &["snapshot", "save", &path]).contains("exists"));
    let checked = before.json(&["snapshot", "check", &path]);
    assert_eq!(number(&checked, "revision"), number(&saved, "revision"));
    assert!(before.text(&["snapshot", "check", &path]).contains("sound"));
    damaged_files_are_refused(&before, &file);
    interrupt(&session);
    session.wait_with_output().expect("it ends");

    let mut new = Cluster::prepare(3, &[]);
    let cluster = new.nodes[0].options.initial_cluster.clone();
    for node in &new.nodes {
        let directory = node.options.data_dir.to_string_lossy().into_owned();
        let place = ["snapshot", "restore", &path, "--data-dir", &directory, "--name", node.name()];
        let flags = ["--initial-cluster", &cluster, "--initial-cluster-token", "restored"];
        let restored = before.json(&[place.as_slice(), &flags].concat());
        assert!(number(&restored, "revision") > number(&saved, "revision") + 999_999_999, "{restored}");
        assert!(before.fails(USAGE, &[place.as_slice(), &flags].concat()).contains("exists"));
    }
    old.nodes[0].kill();
    new.nodes.iter_mut().for_each(oarlock_tests::cluster::Node::start);
    new.wait_ready(PATIENCE).await;
    new.wait_equal_digests(PATIENCE).await;
    let after = Oarlock::new(&new.endpoints());
    assert_eq!(after.text(&["ls", "/k/", "--count"]), "50");
    after.fails(NOT_FOUND, &["get", "/mine"]);
    assert!(after.json_lines(&["session", "ls"]).is_empty());
    let written = number(&after.json(&["put", "/new", "1"]), "revision");
    assert!(written > number(&saved, "revision") + 1_000_000_000);
    assert!(after.fails(REFUSED, &["watch", "/k/", "--prefix", "--revision", "2"]).contains("compacted"));
    assert_eq!(after.json(&["member", "ls"]).as_array().map(Vec::len), Some(3));
}

fn damaged_files_are_refused(oarlock: &Oarlock, file: &std::path::Path) {
    let whole = std::fs::read(file).expect("it was saved");
    let bad = file.with_file_name("bad.oar");
    let path = bad.to_string_lossy().into_owned();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for (bytes, complaint) in
        [(&changed[..], "damaged"), (&whole[..whole.len() - 9], "cut off"), (b"x", "no saved")]
    {
        std::fs::write(&bad, bytes).expect("the directory is writable");
        let said = oarlock.fails(1, &["snapshot", "check", &path]);
        assert!(said.contains(complaint), "{said}");
    }
    assert!(oarlock.fails(1, &["snapshot", "check", "/no/such/file"]).contains("/no/such/file"));
}

#[test]
fn nobody_there_is_said_and_wrong_usage_too() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let nobody = format!("http://127.0.0.1:{}", port.expect("loopback has a free port").port());
    let oarlock = Oarlock::new(&[nobody]);
    assert!(oarlock.fails(NOT_DONE, &["--timeout", "1s", "get", "/a"]).contains("cannot connect"));
    oarlock.fails(NOT_DONE, &["--timeout", "1s", "status"]);
    oarlock.fails(USAGE, &["frobnicate"]);
    oarlock.fails(USAGE, &["get"]);
    oarlock.fails(USAGE, &["--timeout", "soon", "get", "/a"]);
    oarlock.fails(USAGE, &["--endpoints", "ftp://x", "get", "/a"]);
    for shell in ["bash", "zsh", "fish"] {
        assert!(oarlock.text(&["completions", shell]).contains("oarlock"));
    }
    assert!(oarlock.text(&["--help"]).contains("Exit codes"));
    assert!(oarlock.text(&["--version"]).starts_with("oarlock "));
}

#[test]
fn a_developer_gets_a_cluster_with_one_command() {
    let mut command = Oarlock::new(&[]).command(&["dev", "--nodes", "1", "--port", "0"]);
    let mut child = Oarlock::new(&[]).start(command.stdout(Stdio::piped()));
    let mut out = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    let endpoints = loop {
        let line = out.next().expect("it says how to reach it").expect("text");
        if let Some(endpoints) = line.trim().strip_prefix("export OARLOCK_ENDPOINTS=") {
            break endpoints.to_owned();
        }
    };
    let oarlock = Oarlock::new(&[endpoints]);
    oarlock.text(&["put", "/a", "1"]);
    assert_eq!(oarlock.text(&["get", "/a"]), "1");
    interrupt(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
