//! A history that breaks each of the promises, one that keeps all, and long ones.

use super::*;
use crate::check::Judgement;
use crate::check::story::Story;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

fn judged(story: &Story) -> Verdict {
    RevisionOrder.judge(&story.history())
}

fn write(story: &mut Story, key: &str, value: i64, revision: u64) -> usize {
    story.ok("write", key, json!({"value": value}), json!({"revision": revision}))
}

fn read(story: &mut Story, key: &str, value: Value, modified: u64, at: u64) -> usize {
    story.ok("read", key, json!({}), json!({"value": value, "mod": modified, "at": at}))
}

fn broken(story: &Story, operations: &[usize], words: &str) {
    let verdict = judged(story);
    assert_eq!(verdict.judgement, Judgement::Invalid, "{verdict:?}");
    let shown = verdict.anomalies.iter().any(|one| one.what.contains(words) && one.operations == operations);
    assert!(shown, "{words}: {verdict:?}");
}

fn good() -> Story {
    let mut story = Story::of("register");
    write(&mut story, "a", 1, 2);
    write(&mut story, "b", 1, 3);
    story.ok("cas", "a", json!({"expected": 1, "new": 2}), json!({"swapped": true, "revision": 4}));
    story.ok("cas", "a", json!({"expected": 1, "new": 3}), json!({"swapped": false, "revision": 4}));
    read(&mut story, "a", json!(2), 4, 4);
    story.ok("delete", "b", json!({}), json!({"existed": true, "revision": 5}));
    story
}

#[test]
fn one_order_that_explains_everything_passes() {
    let mut story = good();
    read(&mut story, "b", json!(null), 0, 5);
    let verdict = judged(&story);
    assert_eq!((verdict.judgement, verdict.counts["writes"]), (Judgement::Valid, 4), "{verdict:?}");
    assert_eq!(judged(&Story::of("register")).judgement, Judgement::Unknown);
}

#[test]
fn a_revision_that_two_writes_have_is_found() {
    let mut story = good();
    let write = write(&mut story, "c", 1, 5);
    broken(&story, &[5, write], "two writes have revision 5");
}

#[test]
fn revisions_against_real_time_are_found() {
    let mut story = good();
    story.at(5).output["revision"] = json!(7);
    let write = write(&mut story, "c", 1, 6);
    broken(&story, &[5, write], "began after");
}

#[test]
fn a_swap_or_a_write_that_found_another_value_is_found() {
    let mut story = good();
    let swap =
        story.ok("cas", "a", json!({"expected": 1, "new": 3}), json!({"swapped": true, "revision": 6}));
    broken(&story, &[swap], "found Some(1)");
    let mut story = good();
    let output = json!({"revision": 6, "previous": 1});
    let write = story.ok("write", "a", json!({"value": 9}), output);
    broken(&story, &[write], "found Some(1)");
    let mut story = good();
    let delete = story.ok("delete", "b", json!({}), json!({"existed": true, "revision": 6}));
    broken(&story, &[delete], "the deletion of revision 6");
}

#[test]
fn a_read_of_something_else_is_found() {
    let mut story = good();
    let look = read(&mut story, "a", json!(1), 2, 5);
    broken(&story, &[look], "was read as Some(1)");
    let mut story = good();
    let look = read(&mut story, "a", json!(2), 3, 5);
    broken(&story, &[look], "was read as Some(2)");
}

#[test]
fn a_write_with_a_lost_answer_explains_what_nothing_else_does() {
    let mut story = good();
    story.info("write", "a", json!({"value": 7}));
    read(&mut story, "a", json!(7), 6, 6);
    story.ok("cas", "a", json!({"expected": 7, "new": 8}), json!({"swapped": true, "revision": 7}));
    let verdict = judged(&story);
    assert_eq!((verdict.judgement, verdict.counts["recovered writes"]), (Judgement::Valid, 1), "{verdict:?}");
    story.at(7).output = json!({"value": 7, "mod": 3, "at": 6});
    broken(&story, &[7], "was read as Some(7)");
    let mut story = good();
    let look = read(&mut story, "a", json!(7), 6, 6);
    story.info("write", "a", json!({"value": 7}));
    broken(&story, &[look], "was read as Some(7)");
}

#[test]
fn a_linearizable_read_at_an_old_or_a_coming_revision_is_found() {
    let mut story = good();
    let look = read(&mut story, "a", json!(2), 4, 4);
    broken(&story, &[5, look], "answered at revision 4 after 5 was known");
    let mut story = good();
    let look = read(&mut story, "a", json!(2), 4, 6);
    let write = write(&mut story, "c", 1, 6);
    broken(&story, &[look, write], "before anybody asked for it");
}

#[test]
fn a_serializable_read_is_of_its_revision_and_goes_forward() {
    let mut story = good();
    let serializable = json!({"consistency": "serializable"});
    let early = json!({"value": 1, "mod": 2, "at": 3});
    let late = json!({"value": 2, "mod": 4, "at": 4});
    let first = story.ok("read", "a", serializable.clone(), early.clone());
    story.by(90);
    let second = story.ok("read", "a", serializable.clone(), late.clone());
    story.by(90);
    assert_eq!(judged(&story).judgement, Judgement::Valid, "{:?}", judged(&story));
    (story.at(first).output, story.at(second).output) = (late, early.clone());
    broken(&story, &[first, second], "at revision 4 and then at 3");
    story.at(second).node = Some("n2".into());
    assert_eq!(judged(&story).judgement, Judgement::Valid, "another member may be behind");
    story.at(second).output = json!({"value": 1, "mod": 2, "at": 4});
    broken(&story, &[second], "was read as Some(1)");
    story.at(second).output = early;
    story.at(second).node = Some("n1".into());
    story.info("write", "z", json!({"value": 1}));
    story.during(story.history().operations[second].invoked, 1_000_000);
    assert_eq!(judged(&story).judgement, Judgement::Valid, "the member may have restarted");
}

#[test]
fn accounts_follow_the_transfers() {
    let mut story = Story::of("bank");
    story.ok("read", "", json!({}), json!({"balances": {"0": 5, "1": 5}, "at": 1}));
    let input = json!({"from": 0, "to": 1, "amount": 2});
    story.ok("transfer", "", input, json!({"done": true, "revision": 2}));
    let input = json!({"from": 0, "to": 1, "amount": 9});
    story.ok("transfer", "", input, json!({"done": false, "revision": 2}));
    let look = story.ok("read", "", json!({}), json!({"balances": {"0": 3, "1": 7}, "at": 2}));
    assert_eq!(judged(&story).judgement, Judgement::Valid, "{:?}", judged(&story));
    story.at(look).output = json!({"balances": {"0": 5, "1": 5}, "at": 2});
    broken(&story, &[look], "account 0 had 5");
}

#[test]
fn acknowledged_writes_without_revisions_are_no_pass() {
    let mut story = good();
    story.ok("write", "c", json!({"value": 1}), json!({}));
    assert_eq!(judged(&story).judgement, Judgement::Unknown);
}

#[test]
fn a_long_history_is_judged_and_one_changed_answer_found() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut story = Story::of("register");
    let mut store: BTreeMap<String, (i64, u64)> = BTreeMap::new();
    for number in 0..100_000_u64 {
        let key = format!("k{}", rng.random_range(0..10));
        if rng.random_bool(0.5) {
            write(&mut story, &key, number as i64, number + 2);
            store.insert(key, (number as i64, number + 2));
        } else {
            let at = store.values().map(|(_, revision)| *revision).max().unwrap_or(1);
            match store.get(&key) {
                Some((value, modified)) => read(&mut story, &key, json!(value), *modified, at),
                None => read(&mut story, &key, json!(null), 0, at),
            };
        }
    }
    let mut history = story.history();
    let verdict = RevisionOrder.judge(&history);
    assert_eq!(verdict.judgement, Judgement::Valid, "{verdict:?}");
    let look = history.operations.iter_mut().rev().find(|one| one.f == "read").expect("there are many");
    look.output["value"] = json!(-1);
    assert_eq!(RevisionOrder.judge(&history).anomalies.len(), 1);
}
