//! What every [`BaseStore`] must do, as tests that run on each.

use super::BaseStore;
use super::fault_disk::Chance;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::ops::ControlFlow;

/// Runs the whole suite, each part on a new store.
pub(super) fn run<B: BaseStore>(empty: &mut dyn FnMut() -> B) {
    reads_see_writes(&empty());
    scans_are_half_open_and_stop(&empty());
    a_batch_out_of_order_is_refused_whole(&empty());
    a_visitor_may_use_the_store(&empty());
    agrees_with_a_map(&empty());
}

fn put(base: &dyn BaseStore, records: &[(&str, Option<&str>)]) {
    let mut batch = records.iter().map(|(key, value)| (key.as_bytes(), value.map(str::as_bytes)));
    base.write(&mut batch).expect("write");
}

/// All records of `[from, to)`, as text.
fn records(base: &dyn BaseStore, from: &str, to: &str, reverse: bool) -> Vec<String> {
    let mut found = Vec::new();
    base.scan(from.as_bytes(), to.as_bytes(), reverse, &mut |key, value| {
        found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        ControlFlow::Continue(())
    })
    .expect("scan");
    found
}

fn reads_see_writes(base: &dyn BaseStore) {
    assert_eq!(base.get(b"a").unwrap(), None);
    put(base, &[("a", Some("1")), ("b", Some("")), ("c", Some("3"))]);
    assert_eq!(base.get(b"a").unwrap(), Some(Bytes::from("1")));
    assert_eq!(base.get(b"b").unwrap(), Some(Bytes::new()), "an empty value is a value");
    put(base, &[("a", None), ("c", Some("4")), ("missing", None)]);
    assert_eq!(base.get(b"a").unwrap(), None);
    assert_eq!(records(base, "", "z", false), ["b=", "c=4"]);
}

fn scans_are_half_open_and_stop(base: &dyn BaseStore) {
    put(base, &[("a", Some("1")), ("b", Some("2")), ("c", Some("3")), ("d", Some("4"))]);
    assert_eq!(records(base, "b", "d", false), ["b=2", "c=3"]);
    assert_eq!(records(base, "b", "d", true), ["c=3", "b=2"]);
    assert_eq!(records(base, "bb", "dd", true), ["d=4", "c=3"]);
    for reverse in [false, true] {
        assert!(records(base, "d", "b", reverse).is_empty(), "an inverted range is empty");
        assert!(records(base, "b", "b", reverse).is_empty());
        assert!(records(base, "x", "z", reverse).is_empty());
    }
    let mut visited = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        visited += 1;
        ControlFlow::Break(())
    };
    base.scan(b"a", b"z", true, &mut visit).expect("scan");
    assert_eq!(visited, 1);
}

fn a_batch_out_of_order_is_refused_whole(base: &dyn BaseStore) {
    put(base, &[("a", Some("1"))]);
    for keys in [["c", "b"], ["b", "b"]] {
        let mut batch = keys.iter().map(|key| (key.as_bytes(), Some(&b"2"[..])));
        assert!(base.write(&mut batch).is_err());
        assert_eq!(records(base, "", "z", false), ["a=1"]);
    }
}

fn a_visitor_may_use_the_store(base: &dyn BaseStore) {
    put(base, &[("a", Some("1")), ("b", Some("2"))]);
    let mut visited = Vec::new();
    base.scan(b"a", b"z", false, &mut |key, _| {
        visited.push(base.get(key).expect("get").expect("held"));
        put(base, &[("c", Some("3"))]);
        ControlFlow::Continue(())
    })
    .expect("scan");
    assert_eq!(visited, ["1", "2"], "a scan sees the store as it was when the scan began");
}

fn agrees_with_a_map(base: &dyn BaseStore) {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    let mut chance = Chance(3);
    for round in 0..300 {
        let mut batch = BTreeMap::new();
        for _ in 0..chance.below(12) {
            let key = format!("{:02x}", chance.below(200));
            let value = (chance.below(3) > 0).then(|| format!("{round}"));
            match &value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(&key),
            };
            batch.insert(key, value);
        }
        let batch: Vec<_> = batch.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        put(base, &batch);
        let (from, to) = (format!("{:02x}", chance.below(200)), format!("{:02x}", chance.below(200)));
        let reverse = chance.below(2) == 0;
        let mut expected: Vec<String> = Vec::new();
        if from < to {
            let range = map.range::<String, _>((Included(&from), Excluded(&to)));
            expected.extend(range.map(|(key, value)| format!("{key}={value}")));
        }
        if reverse {
            expected.reverse();
        }
        assert_eq!(records(base, &from, &to, reverse), expected, "round {round}");
    }
}
