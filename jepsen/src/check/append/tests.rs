//! One history for each anomaly, and long ones that are right by construction.

use super::*;
use crate::check::Judgement;
use crate::check::story::Story;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::time::{Duration, Instant};

/// Transactions that overlap all, each by a process of its own.
fn concurrent(transactions: &[Value]) -> Story {
    let mut story = Story::of("append");
    for transaction in transactions {
        story.ok("txn", "", transaction.clone(), transaction.clone());
        story.during(1, 100);
    }
    story
}

fn judged(story: &Story) -> Verdict {
    Append.judge(&story.history())
}

/// Whether exactly these anomalies are found, and no others.
fn shows(story: &Story, kinds: &[&str]) {
    let verdict = judged(story);
    assert_eq!(verdict.judgement, Judgement::Invalid, "{verdict:?}");
    let figures = ["transactions", "unreadable"];
    let found: Vec<&str> =
        verdict.counts.keys().map(String::as_str).filter(|kind| !figures.contains(kind)).collect();
    assert_eq!(found, kinds, "{verdict:?}");
}

#[test]
fn an_order_that_explains_everything_passes() {
    let mut story = Story::of("append");
    story.ok("txn", "", json!([["append", "x", 1]]), json!([["append", "x", 1]]));
    story.info("txn", "", json!([["append", "x", 2], ["r", "y", null]]));
    story.fail("txn", "", json!([["append", "x", 9]]));
    let output = json!([["r", "x", [1, 2]], ["append", "x", 3], ["r", "x", [1, 2, 3]], ["r", "y", []]]);
    story.ok("txn", "", json!([]), output);
    let verdict = judged(&story);
    assert_eq!((verdict.judgement, verdict.counts["transactions"]), (Judgement::Valid, 2), "{verdict:?}");
    assert_eq!(judged(&Story::of("append")).judgement, Judgement::Unknown);
}

#[test]
fn g0_writes_in_a_circle() {
    let story = concurrent(&[
        json!([["append", "x", 1], ["append", "y", 1]]),
        json!([["append", "x", 2], ["append", "y", 2]]),
        json!([["r", "x", [1, 2]]]),
        json!([["r", "y", [2, 1]]]),
    ]);
    shows(&story, &["G0"]);
}

#[test]
fn g1a_a_read_of_what_did_not_happen() {
    let mut story = concurrent(&[json!([["r", "x", [1]]])]);
    story.fail("txn", "", json!([["append", "x", 1]]));
    shows(&story, &["G1a"]);
    let mut story = concurrent(&[json!([["append", "x", 2]]), json!([["r", "x", [1, 2]]])]);
    story.fail("txn", "", json!([["append", "x", 1]]));
    shows(&story, &["G1a", "dirty update"]);
}

#[test]
fn g1b_a_read_in_the_middle() {
    let twice = json!([["append", "x", 1], ["append", "x", 2]]);
    let story = concurrent(&[twice.clone(), json!([["r", "x", [1]]]), json!([["r", "x", [1, 2]]])]);
    let verdict = judged(&story);
    assert!(verdict.counts.contains_key("G1b"), "{verdict:?}");
    let verdict = judged(&concurrent(&[twice, json!([["r", "x", [1]]])]));
    assert!(verdict.counts.contains_key("G1b"), "{verdict:?}");
}

#[test]
fn g1c_reads_in_a_circle() {
    let story = concurrent(&[
        json!([["append", "x", 1], ["r", "y", [1]]]),
        json!([["append", "y", 1], ["r", "x", [1]]]),
    ]);
    shows(&story, &["G1c"]);
}

#[test]
fn g_single_half_of_a_transaction_was_seen() {
    let story = concurrent(&[
        json!([["append", "x", 1], ["append", "y", 1]]),
        json!([["r", "x", [1]], ["r", "y", []]]),
        json!([["r", "y", [1]]]),
    ]);
    shows(&story, &["G-single"]);
}

#[test]
fn g2_item_two_that_missed_each_other() {
    let story = concurrent(&[
        json!([["r", "x", []], ["append", "y", 1]]),
        json!([["r", "y", []], ["append", "x", 1]]),
        json!([["r", "x", [1]], ["r", "y", [1]]]),
    ]);
    shows(&story, &["G2-item"]);
}

#[test]
fn stale_reads_contradict_real_time_or_their_process() {
    let mut story = Story::of("append");
    story.ok("txn", "", json!([]), json!([["append", "x", 1]]));
    story.ok("txn", "", json!([]), json!([["r", "x", []]]));
    shows(&story, &["G-single-realtime"]);
    story.at(1).process = 0;
    shows(&story, &["G-single-process"]);
    story.at(1).process = 1;
    story.at(0).ended = Some(15);
    assert_eq!(judged(&story).judgement, Judgement::Valid, "they were concurrent");
}

#[test]
fn writes_and_reads_against_real_time_are_found() {
    let mut story = Story::of("append");
    story.ok("txn", "", json!([]), json!([["append", "x", 1]]));
    story.ok("txn", "", json!([]), json!([["append", "x", 2]]));
    story.ok("txn", "", json!([]), json!([["r", "x", [2, 1]]]));
    shows(&story, &["G0-realtime"]);
    let mut story = Story::of("append");
    story.ok("txn", "", json!([]), json!([["r", "x", [1]]]));
    story.ok("txn", "", json!([]), json!([["append", "x", 1]]));
    shows(&story, &["G1c-realtime"]);
    let mut story = Story::of("append"); // a long fork
    for (read, at) in [(json!([["append", "x", 1]]), 1), (json!([["append", "y", 1]]), 2)] {
        story.ok("txn", "", json!([]), read);
        story.during(at, 50);
    }
    story.ok("txn", "", json!([]), json!([["r", "x", [1]], ["r", "y", []]]));
    story.during(1, 50);
    story.ok("txn", "", json!([]), json!([["r", "x", []], ["r", "y", [1]]]));
    story.during(1, 50);
    shows(&story, &["G2-item"]);
}

#[test]
fn lists_that_tell_different_orders_are_found() {
    let story = concurrent(&[
        json!([["append", "x", 1]]),
        json!([["append", "x", 2]]),
        json!([["r", "x", [1, 2]]]),
        json!([["r", "x", [2]]]),
    ]);
    shows(&story, &["incompatible order"]);
}

#[test]
fn elements_that_are_twice_or_from_nowhere_are_found() {
    let verdict = judged(&concurrent(&[json!([["append", "x", 1]]), json!([["r", "x", [1, 1]]])]));
    assert!(verdict.counts.contains_key("duplicate elements"), "{verdict:?}");
    shows(&concurrent(&[json!([["r", "x", [7]]])]), &["from nowhere"]);
    let verdict = judged(&concurrent(&[json!([["append", "x", 1]]), json!([["append", "x", 1]])]));
    assert!(verdict.counts.contains_key("not unique"), "{verdict:?}");
}

#[test]
fn two_updates_of_one_state_are_found() {
    let story = concurrent(&[
        json!([["r", "x", []], ["append", "x", 1]]),
        json!([["r", "x", []], ["append", "x", 2]]),
        json!([["r", "x", [1, 2]]]),
    ]);
    let verdict = judged(&story);
    assert!(verdict.counts.contains_key("lost update"), "{verdict:?}");
}

#[test]
fn a_transaction_that_contradicts_itself_is_found() {
    shows(&concurrent(&[json!([["append", "x", 1], ["r", "x", []]])]), &["internal"]);
    let twice = json!([["r", "x", []], ["r", "x", [1]]]);
    let verdict = judged(&concurrent(&[twice, json!([["append", "x", 1]])]));
    assert!(verdict.counts.contains_key("internal"), "{verdict:?}");
}

#[test]
fn what_cannot_be_read_is_no_pass() {
    let mut story = concurrent(&[json!([["append", "x", 1]])]);
    story.ok("txn", "", json!([]), json!([["r", "x", "1"]]));
    assert_eq!(judged(&story).judgement, Judgement::Unknown);
}

/// Transactions that run one after the other at a random moment of their times.
fn serial(length: usize, seed: u64) -> Story {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut story = Story::of("append");
    let mut lists: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for number in 0..length {
        let mut output = Vec::new();
        for step in 0..rng.random_range(1..4) {
            let key = format!("k{}", number / 200 * 4 + rng.random_range(0..4));
            let list = lists.entry(key.clone()).or_default();
            if rng.random_bool(0.5) {
                let element = (number * 4 + step) as i64;
                list.push(element);
                output.push(json!(["append", key, element]));
            } else {
                output.push(json!(["r", key, list]));
            }
        }
        story.ok("txn", "", json!(output), json!(output));
        let moment = 10 + 10 * number as u64;
        story.during(moment - rng.random_range(0..9), moment + rng.random_range(0..40));
    }
    story
}

#[test]
fn what_is_right_by_construction_passes_and_a_shortened_read_does_not() {
    for seed in 0..20 {
        let mut story = serial(400, seed);
        assert_eq!(judged(&story).judgement, Judgement::Valid, "seed {seed}: {:?}", judged(&story));
        let last = (300..400).find_map(|number| {
            let output = story.at(number).output.as_array_mut()?;
            let list =
                output.iter_mut().find(|step| step[2].as_array().is_some_and(|list| list.len() > 5))?;
            list[2].as_array_mut()?.truncate(1);
            Some(number)
        });
        assert!(last.is_some());
        assert_eq!(judged(&story).judgement, Judgement::Invalid, "seed {seed}");
    }
}

#[test]
fn a_long_history_takes_seconds() {
    let history = serial(200_000, 1).history();
    let began = Instant::now();
    let verdict = Append.judge(&history);
    assert_eq!(verdict.judgement, Judgement::Valid, "{verdict:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
