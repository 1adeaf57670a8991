//! Summaries of runs that were never run.

use super::*;
use crate::check::{Anomaly, Verdict};
use crate::history::Api;
use crate::report::testing::{fault, operation, small};

fn run(root: &Path, name: &str, verdict: Verdict, change: impl FnOnce(&mut crate::history::History)) {
    let second = 1_000_000;
    let operations = vec![operation("write", 0, second), operation("write", second, 3 * second)];
    let mut history = small(operations, vec![fault("kill", second, 2 * second)]);
    history.header.nemesis = vec!["kill".into()];
    history.header.command = "oarlock-jepsen run --seed 7".into();
    change(&mut history);
    let directory = root.join(name);
    std::fs::create_dir_all(&directory).expect("it is writable");
    Judged::new(&history, &[verdict]).write(&directory).expect("it is writable");
}

fn runs(root: &Path) {
    let lost = Verdict::of("lost", "1 of 2 writes is lost", vec![Anomaly::new("3 was lost", [1])]);
    run(root, "one/a", Verdict::valid("lost", "2 writes are there"), |_| {});
    run(root, "one/b", lost, |_| {});
    run(root, "etcd #1", Verdict::valid("lost", "2 writes are there"), |history| {
        (history.header.server, history.header.api) = ("etcd 3.6.1".into(), Api::Etcd);
        history.faults[0].effect = 5.into();
        let mut attempt = fault(crate::history::SKIPPED, 5, 9);
        attempt.what = serde_json::json!({"fault": "move", "why": "nobody leads"});
        history.faults.push(attempt);
    });
    std::fs::create_dir_all(root.join("cut")).expect("it is writable");
    std::fs::write(root.join("cut").join(HISTORY), "").expect("it is writable");
}

#[test]
fn runs_of_a_kind_are_one_line_and_servers_stand_beside_each_other() {
    let root = tempfile::tempdir().expect("a temporary directory");
    runs(root.path());
    let summary = summarise(root.path()).expect("it is readable");
    assert_eq!(summary.overall(), Judgement::Invalid);
    let expected = "\
3 runs, 9 s, 6 operations: INVALID

| workload | nemesis | server        | runs | verdict            |  ok | fail | info | faults | longest without a write |
| -------- | ------- | ------------- | ---: | ------------------ | --: | ---: | ---: | ------ | ----------------------: |
| register | kill    | etcd 3.6.1    |    1 | valid              |   2 |    0 |    0 | kill 1 |                     2 s |
| register | kill    | oarlock 0.1.0 |    2 | 1 INVALID, 1 valid |   4 |    0 |    0 | kill 2 |                     2 s |

| fault | server        | times | in all | longest without a write | effect |
| ----- | ------------- | ----: | -----: | ----------------------: | ------ |
| kill  | etcd 3.6.1    |     1 |    1 s |                     2 s | 5      |
| kill  | oarlock 0.1.0 |     2 |    2 s |                     2 s |        |

Could not be made:

- move: nobody leads (1)

one/b: INVALID (`oarlock-jepsen run --seed 7`)

- INVALID: lost: 1 of 2 writes is lost
  - 3 was lost

- cut: it was not judged, or stopped before its end
";
    assert_eq!(summary.to_string(), expected);
}

#[test]
fn the_index_leads_to_every_run() {
    let root = tempfile::tempdir().expect("a temporary directory");
    runs(root.path());
    let page = std::fs::read_to_string(write_index(root.path()).expect("it is writable")).expect("as above");
    for link in ["./one/a/report.html", "./one/b/report.html", "./etcd %231/report.html"] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link} in {page}");
    }
    let (broken, valid) = (page.find("one/b").expect("a run"), page.find("one/a").expect("a run"));
    assert!(broken < valid, "the broken ones come first");
}

#[test]
fn nothing_run_is_nothing_known() {
    let root = tempfile::tempdir().expect("a temporary directory");
    assert_eq!(summarise(root.path()).expect("it is readable").overall(), Judgement::Unknown);
    assert!(summarise(&root.path().join("no")).is_err());
    run(root.path(), "a", Verdict::valid("lost", "fine"), |_| {});
    assert_eq!(summarise(root.path()).expect("it is readable").overall(), Judgement::Valid);
    std::fs::write(root.path().join("a").join(judged::FILE), "{}").expect("it is writable");
    let summary = summarise(root.path()).expect("it is readable");
    assert!(summary.unjudged[0].1.contains("holds no verdicts"), "{:?}", summary.unjudged);
    assert_eq!(summary.overall(), Judgement::Unknown);
}
