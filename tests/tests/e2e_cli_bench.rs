//! `oarlock bench` against a real server: every kind of work over the APIs that can do it, what it
//! reports, and what it refuses.

use oarlock_tests::cluster::{Cluster, Oarlock, turn};
use serde_json::Value;

/// The documented exit code of wrong usage.
const USAGE: i32 = 2;

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {value}"))
}

/// A report with operations, and without a failure.
fn report(oarlock: &Oarlock, arguments: &[&[&str]]) -> Value {
    let report = oarlock.json(&[&["bench"], arguments.concat().as_slice()].concat());
    assert!(report["per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{report}");
    assert_eq!(number(&report, "errors"), 0, "{report}");
    let latency = &report["latency_us"];
    assert!(number(latency, "p50") <= number(latency, "p99"), "{report}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_over_every_way() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let pid = cluster.nodes[0].pid().expect("it runs").to_string();
    let short = ["--seconds", "1", "--warm-up", "0", "--clients", "4", "--pids", &pid];
    let keys = ["--keys", "100"];
    assert_eq!(number(&report(&oarlock, &[&["fill"], &keys]), "operations"), 100);
    let ways: [&[&str]; 3] = [&[], &["--mode", "stream", "--in-flight", "8"], &["--api", "etcd"]];
    for way in ways {
        for work in [
            ["put"].as_slice(),
            &["get"],
            &["get", "--consistency", "serializable", "--distribution", "zipf"],
            &["exists"],
            &["mixed", "--reads", "0.5"],
            &["cas"],
            &["cas", "--by", "value"],
            &["txn", "--operations", "3", "--reads", "0.4"],
            &["range", "--range-keys", "10"],
        ] {
            let report = report(&oarlock, &[work, &keys, &short, way]);
            assert_eq!(number(&report, "missing"), 0, "{report}");
            assert_eq!(report["setting"]["keys"], 100, "{report}");
            assert!(number(&report, "server_peak_mib") >= number(&report, "server_resident_mib"), "{report}");
        }
    }
    for way in [[].as_slice(), &["--mode", "stream"], &["--api", "etcd"]] {
        report(&oarlock, &[&["keep-alive"], &short, way]);
    }
    report(&oarlock, &[&["resolve", "--services", "2", "--instances", "2"], &short]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_and_figures() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    for api in [[].as_slice(), &["--api", "etcd"]] {
        let held = ["--count", "20", "--seconds", "1", "--streams", "2"];
        report(&oarlock, &[&["sessions", "--timeout-ms", "2000"], &held, api]);
        for watch in [["watchers"].as_slice(), &["watchers", "--one-key"]] {
            let watched = report(&oarlock, &[watch, &held, api]);
            assert_eq!(watched["notes"][0][0], "writes", "{watched}");
            let writes: u64 =
                watched["notes"][0][1].as_str().and_then(|count| count.parse().ok()).unwrap_or(0);
            assert!(writes > 5, "{watched}");
            assert_eq!(
                number(&watched, "operations"),
                writes * 20,
                "each write reaches each watch: {watched}"
            );
        }
        report(&oarlock, &[&["locks", "--contenders", "2", "--seconds", "1", "--warm-up", "0"], api]);
    }
    assert!(oarlock.json_lines(&["session", "ls"]).is_empty(), "a session was left behind");
    let figures = oarlock.text(&["bench", "figures", "--clients", "2", "--seconds", "1", "--in-flight", "4"]);
    assert_eq!(figures.lines().count(), 8, "{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_its_files_and_pictures() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let hdr = path("latency.hdr");
    let open = ["put", "--rate", "200", "--duration", "2s", "--warm-up", "0", "--seed", "7", "--hdr", &hdr];
    let report = report(&oarlock, &[&open]);
    assert_eq!(number(&report, "operations") + number(&report, "unsent"), 400, "{report}");
    assert_eq!((&report["setting"]["seed"], &report["setting"]["rate"]), (&7.into(), &200.0.into()));
    let by_second: u64 =
        report["series"].as_array().expect("a series").iter().map(|moment| number(moment, "count")).sum();
    assert!(by_second <= 400 && by_second > 300, "{report}");
    let text = std::fs::read_to_string(&hdr).expect("the file was written");
    assert!(text.trim_start().starts_with("Value") && text.contains("#[Max"), "{text}");

    std::fs::write(path("one.json"), report.to_string()).expect("the directory is writable");
    let drawn = oarlock.text(&["bench", "plot", &path("one.json"), "-d", &path("pictures")]);
    assert_eq!(drawn.lines().count(), 3, "{drawn}");
    for picture in drawn.lines() {
        let svg = std::fs::read_to_string(picture).expect("the picture was written");
        assert!(svg.contains("one") && svg.contains("<polyline"), "{picture}");
    }
    assert!(oarlock.fails(1, &["bench", "plot", &hdr]).contains("line 1 is no report"));
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_sent() {
    // Nobody is there: whoever sent something would fail otherwise.
    let oarlock = Oarlock::new(&["http://127.0.0.1:9".to_owned()]);
    for (refused, why) in [
        (["range", "--api", "zookeeper"].as_slice(), "one node at a time"),
        (&["get", "--api", "etcd", "--mode", "stream"], "no session streams"),
        (&["put", "--api", "zookeeper", "--prefix", "/x"], "must name a parent"),
        (&["watchers", "--api", "zookeeper"], "do not say what was written"),
        (&["resolve", "--api", "etcd"], "no registry"),
        (&["txn", "--operations", "0"], "--operations"),
        (&["put", "--rate", "0"], "--rate"),
    ] {
        let said = oarlock.fails(USAGE, &[&["bench"], refused].concat());
        assert!(said.contains(why), "{said}");
    }
}
