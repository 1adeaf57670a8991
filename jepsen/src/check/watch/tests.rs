//! A history that keeps all guarantees, and one change to it for each that is broken.

use super::*;
use crate::check::Judgement;
use crate::check::story::Story;
use serde_json::{Value, json};

fn event(revision: u64, key: &str, value: Value, create: u64, previous: Value) -> Value {
    json!({"revision": revision, "key": key, "value": value, "create": create, "previous": previous})
}

/// Four changes, a watcher of them all in two lives, and what is there at the end.
fn told() -> [Value; 2] {
    let first = json!({
        "created": 2,
        "batches": [
            {"through": 2, "events": [event(2, "w/a", json!(1), 2, json!(null))]},
            {"through": 3, "events": [event(3, "w/a", json!(2), 2, json!(1))]},
        ],
        "progress": [[2, 3]],
        "end": "broken", "compact_revision": null,
    });
    let second = json!({
        "created": 4,
        "batches": [{"through": 5, "events": [
            event(4, "w/a", json!(null), 0, json!(2)),
            event(5, "w/a", json!(3), 5, json!(null)),
        ]}],
        "progress": [], "end": "stopped", "compact_revision": null,
    });
    [first, second]
}

fn story(told: [Value; 2]) -> Story {
    let mut story = Story::of("watch");
    story.ok("put", "w/a", json!({"value": 1}), json!({"revision": 2}));
    story.ok("put", "w/a", json!({"value": 2}), json!({"revision": 3}));
    story.ok("delete", "w/a", json!({}), json!({"revision": 4, "existed": true}));
    story.info("put", "w/a", json!({"value": 3}));
    let [first, second] = told;
    story.ok("watch", "", json!({"watcher": 1, "start": 0, "prefix": "w/"}), first);
    story.ok("watch", "", json!({"watcher": 1, "start": 4, "prefix": "w/"}), second);
    story.ok("read", "", json!({"final": true}), json!({"records": {"w/a": [3, 5]}, "at": 5}));
    story
}

fn judged(story: &Story) -> Verdict {
    Watch.judge(&story.history())
}

/// Changes what was told, and looks for the guarantee that this breaks.
fn breaks(guarantee: &str, change: impl FnOnce(&mut [Value; 2])) {
    let mut told = told();
    change(&mut told);
    let verdict = judged(&story(told));
    assert_eq!(verdict.judgement, Judgement::Invalid, "{verdict:?}");
    assert!(verdict.counts.contains_key(guarantee), "{guarantee}: {verdict:?}");
}

#[test]
fn all_guarantees_kept_pass() {
    let verdict = judged(&story(told()));
    assert_eq!(verdict.judgement, Judgement::Valid, "{verdict:?}");
    assert_eq!(verdict.counts["events that had to come"], 4);
    assert_eq!(judged(&Story::of("watch")).judgement, Judgement::Unknown);
}

#[test]
fn disorder_is_found() {
    breaks("ordered", |told| {
        let events = told[1]["batches"][0]["events"].as_array_mut().expect("a list");
        events.swap(0, 1);
    });
}

#[test]
fn repetition_is_found() {
    breaks("unique", |told| {
        let again = event(3, "w/a", json!(2), 2, json!(1));
        told[0]["batches"][1]["events"].as_array_mut().expect("a list").push(again);
    });
}

#[test]
fn a_revision_in_two_batches_is_found() {
    breaks("atomic", |told| {
        let other = json!({"through": 3, "events": [event(3, "w/b", json!(2), 3, json!(null))]});
        told[0]["batches"].as_array_mut().expect("a list").push(other);
    });
}

#[test]
fn events_of_other_keys_or_from_before_the_start_are_found() {
    breaks("filter", |told| told[1]["batches"][0]["events"][1]["key"] = json!("v/a"));
    breaks("start", |told| {
        let old = event(3, "w/a", json!(2), 2, json!(1));
        told[1]["batches"][0]["events"].as_array_mut().expect("a list").insert(0, old);
    });
    let mut story = story(told());
    story.at(5).input["start"] = json!(9);
    let verdict = judged(&story);
    assert_eq!(verdict.counts["start"], 2, "it was to begin in the future: {verdict:?}");
}

#[test]
fn events_that_come_after_a_bookmark_are_found() {
    breaks("bookmarkable", |told| told[0]["progress"] = json!([[1, 3]]));
    breaks("bookmarkable", |told| told[0]["batches"][0]["through"] = json!(3));
}

#[test]
fn gaps_are_found_by_writes_bookmarks_and_other_watchers() {
    breaks("reliable", |told| drop(told[0]["batches"].as_array_mut().map(|batches| batches.remove(0))));
    breaks("reliable", |told| told[0]["progress"] = json!([[2, 4]]));
    let mut story = story(told());
    let silent = json!({"created": 4, "batches": [], "progress": [[0, 5]], "end": "stopped"});
    story.ok("watch", "", json!({"watcher": 2, "start": 5, "prefix": "w/"}), silent.clone());
    assert_eq!(judged(&story).counts["reliable"], 1, "another watcher knows of revision 5");
    story.ok("watch", "", json!({"watcher": 3, "start": 5, "prefix": "other/"}), silent);
    assert_eq!(judged(&story).counts["reliable"], 1, "it did not ask for it");
}

#[test]
fn events_that_are_not_what_was_written_are_found() {
    breaks("truthful", |told| told[0]["batches"][1]["events"][0]["value"] = json!(9));
    breaks("truthful", |told| told[1]["batches"][0]["events"][1]["value"] = json!(9));
    let mut story = story(told());
    story.at(6).output = json!({"records": {}, "at": 5});
    assert_eq!(judged(&story).counts["truthful"], 1);
}

#[test]
fn wrong_words_about_what_was_before_are_found() {
    breaks("is-create", |told| told[0]["batches"][1]["events"][0]["create"] = json!(3));
    breaks("is-create", |told| told[1]["batches"][0]["events"][1]["create"] = json!(2));
    breaks("previous", |told| told[0]["batches"][1]["events"][0]["previous"] = json!(7));
}

#[test]
fn compaction_is_told_only_where_it_is_true() {
    let mut story = story(told());
    let compacted = json!({"created": null, "batches": [], "end": "compacted", "compact_revision": 4});
    let life = story.ok("watch", "", json!({"watcher": 2, "start": 3, "prefix": "w/"}), compacted);
    let verdict = judged(&story);
    assert_eq!(verdict.judgement, Judgement::Valid, "{verdict:?}");
    assert_eq!(verdict.counts["lives that ended for compaction"], 1);
    story.at(life).input["start"] = json!(5);
    assert_eq!(judged(&story).counts["compaction"], 1);
    story.at(life).input["start"] = json!(3);
    story.at(life).output = json!({"created": 3, "batches": [], "progress": [[0, 5]], "end": "stopped"});
    assert_eq!(judged(&story).counts["reliable"], 3, "compaction passed over in silence is a gap");
}
