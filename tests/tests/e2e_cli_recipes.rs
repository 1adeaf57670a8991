//! The verbs on queues and barriers against a real server: text, JSON, exit codes, and what happens
//! when a command's process is killed.

use oarlock_tests::cluster::{Cluster, Oarlock, Ran};
use serde_json::Value;
use std::process::Child;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// The documented exit codes.
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONDITION: i32 = 4;
const SESSION_LOST: i32 = 8;

/// Waits until `check` says so.
async fn eventually(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {value}"))
}

fn ended(child: Child) -> Ran {
    child.wait_with_output().expect("a child can be waited for").into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let first = oarlock.text(&["queue", "put", "/q", "hello"]);
    oarlock.json(&["queue", "put", "/q", "urgent", "--priority", "1"]);
    oarlock.text(&["queue", "put", "/q", "later", "--delay", "1h"]);
    let listed = oarlock.json_lines(&["queue", "ls", "/q"]);
    assert_eq!((&listed[0]["payload"], &listed[1]["item"]), (&"urgent".into(), &first.clone().into()));
    assert!(oarlock.text(&["queue", "ls", "/q"]).contains("hello"));
    let stats = oarlock.json(&["queue", "stats", "/q"]);
    assert_eq!(["waiting", "claimed", "delayed", "dead"].map(|name| number(&stats, name)), [2, 0, 1, 0]);
    assert!(oarlock.text(&["queue", "stats", "/q"]).starts_with("waiting 2\n"));

    // The item is the command's input; its exit code decides.
    assert_eq!(oarlock.text(&["queue", "run", "/q", "--", "cat"]), "urgent");
    let script = r#"echo "$OARLOCK_ITEM $OARLOCK_ATTEMPT"; exit 7"#;
    let failed = oarlock.run(&["queue", "claim-and-run", "/q", "--attempts", "2", "--", "sh", "-c", script]);
    assert_eq!((failed.code, failed.out.as_str()), (7, format!("{first} 1\n").as_str()));
    assert!(failed.err.contains("again"), "{failed:?}");
    let failed = oarlock.run(&[
        "--output",
        "json",
        "queue",
        "run",
        "/q",
        "--attempts",
        "2",
        "--",
        "sh",
        "-c",
        "exit 7",
    ]);
    let became: Value = serde_json::from_str(&failed.out).expect("JSON");
    assert_eq!((failed.code, &became["became"]), (7, &"dead".into()));
    let dead = oarlock.json(&["queue", "ls", "/q", "--dead"]);
    assert!(dead["reason"].as_str().is_some_and(|reason| reason.contains("exit code 7")), "{dead}");
    assert!(oarlock.text(&["queue", "ls", "/q", "--dead"]).contains("hello"));
    oarlock.text(&["queue", "revive", "/q", &first]);
    assert_eq!(oarlock.text(&["queue", "run", "/q", "--", "cat"]), "hello");
    assert!(oarlock.fails(NOT_FOUND, &["queue", "discard", "/q", &first]).contains(&first));
    oarlock.fails(NOT_FOUND, &["queue", "run", "/q", "--wait", "300ms", "--", "true"]);
    oarlock.fails(USAGE, &["queue", "run", "/q"]);
    oarlock.text(&["queue", "put", "/q", "x"]);
    assert!(oarlock.fails(1, &["queue", "run", "/q", "--", "/no/such/program"]).contains("/no/such"));
    assert_eq!(oarlock.text(&["queue", "run", "/q", "--", "cat"]), "x", "it was given back");
    killed_workers(&oarlock).await;
}

/// A worker that is killed with SIGKILL, and one whose session is closed by an operator.
async fn killed_workers(oarlock: &Oarlock) {
    let claimed = || oarlock.json(&["queue", "ls", "/k"])["claimed"].clone();
    oarlock.text(&["queue", "put", "/k", "x"]);
    let sleeping = ["queue", "run", "/k", "--ttl", "1s", "--name", "doomed", "--", "sleep", "10"];
    let mut doomed = oarlock.start(&mut oarlock.command(&sleeping));
    eventually("it is claimed", || claimed()["worker"] == "doomed").await;
    doomed.kill().expect("it runs");
    doomed.wait().expect("it ends");
    let attempt = oarlock.text(&["queue", "run", "/k", "--", "sh", "-c", "echo $OARLOCK_ATTEMPT"]);
    assert_eq!(attempt, "2", "the item came back by itself");

    oarlock.text(&["queue", "put", "/k", "x"]);
    let losing = oarlock.start(&mut oarlock.command(&["queue", "run", "/k", "--", "sleep", "10"]));
    eventually("it is claimed", || !claimed().is_null()).await;
    oarlock.text(&["session", "close", &number(&claimed(), "session").to_string()]);
    let losing = ended(losing);
    assert_eq!(losing.code, SESSION_LOST, "{losing:?}");
    assert!(losing.err.contains("stopping the command"), "{losing:?}");
    eventually("it is free", || claimed().is_null()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn barriers() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    assert_eq!(oarlock.text(&["barrier", "wait", "/b"]), "not up");
    assert_eq!(oarlock.text(&["barrier", "raise", "/b", "--reason", "busy"]), "raised");
    assert!(oarlock.fails(CONDITION, &["barrier", "raise", "/b"]).contains("up already"));
    assert!(oarlock.fails(CONDITION, &["barrier", "wait", "/b", "--for", "300ms"]).contains("still up"));
    let waiting = oarlock.start(&mut oarlock.command(&["--output", "json", "barrier", "wait", "/b"]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(oarlock.json(&["barrier", "lift", "/b"])["lifted"], "/b");
    let waited: Value = serde_json::from_str(&ended(waiting).out).expect("JSON");
    assert_eq!(waited["how"], "lifted");
    oarlock.fails(NOT_FOUND, &["barrier", "lift", "/b"]);
    let mut raised =
        oarlock.start(&mut oarlock.command(&["barrier", "raise", "/b", "--ttl", "1s", "--", "sleep", "10"]));
    eventually("it is up", || oarlock.run(&["get", "/b"]).code == 0).await;
    raised.kill().expect("it runs");
    raised.wait().expect("it ends");
    assert_eq!(oarlock.text(&["barrier", "wait", "/b"]), "owner gone");
    assert_eq!(oarlock.run(&["barrier", "raise", "/b", "--", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(oarlock.text(&["barrier", "wait", "/b"]), "not up", "it went with the command");
    double_barriers(&oarlock).await;
}

async fn double_barriers(oarlock: &Oarlock) {
    let enter = |command: &[&str]| {
        let words =
            [&["--output", "json", "barrier", "enter", "/d", "--size", "2", "--ttl", "2s"], command].concat();
        oarlock.start(&mut oarlock.command(&words))
    };
    let there = || oarlock.json(&["barrier", "ls", "/d"]);
    let count = || there()["participants"].as_array().map_or(0, Vec::len);
    oarlock.fails(CONDITION, &["barrier", "enter", "/d", "--size", "2", "--for", "300ms", "--", "true"]);
    assert!(oarlock.fails(USAGE, &["barrier", "enter", "/d", "--size", "0"]).contains("at least 1"));
    let one = enter(&["--", "sh", "-c", "exit 5"]);
    eventually("one waits", || count() == 1).await;
    assert!(oarlock.text(&["barrier", "ls", "/d"]).starts_with("waiting"));
    let two = enter(&["--", "sleep", "1"]);
    let begun = Instant::now();
    let (one, two) = (ended(one), ended(two));
    assert_eq!((one.code, two.code), (5, 0), "{one:?} {two:?}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "the first left with the second");
    let generation = |ran: &Ran| -> Value {
        let lines: Vec<Value> =
            ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&"entered".into(), &"left".into()));
        lines[0]["generation"].clone()
    };
    assert_eq!(generation(&one), generation(&two));

    // One that hangs is taken out; one that is killed vanishes.
    let (hanging, mut killed) = (enter(&[]), enter(&["--", "sleep", "10"]));
    eventually("both are inside", || there()["generation"].is_u64()).await;
    assert!(oarlock.text(&["barrier", "ls", "/d"]).contains("is inside"));
    killed.kill().expect("it runs");
    killed.wait().expect("it ends");
    eventually("one is left", || count() == 1).await;
    let session = number(&there()["participants"][0], "session").to_string();
    oarlock.fails(NOT_FOUND, &["barrier", "leave", "/d", "1"]);
    oarlock.json(&["barrier", "leave", "/d", &session]);
    assert_eq!(ended(hanging).code, 0);
    assert_eq!(count(), 0);
}
