//! The log on a disk that misbehaves.

mod crash;
mod damage;

use super::*;
use crate::storage::fault_disk::{Chance, FaultDisk};

const DIR: &str = "/log";

fn small() -> LogOptions {
    LogOptions { segment_bytes: 1024, window_bytes: 300, salt: 7 }
}

fn open(disk: &FaultDisk) -> SegmentedLog {
    let (log, torn) = SegmentedLog::open(Box::new(disk.clone()), Path::new(DIR), small()).expect("open");
    assert_eq!(torn, None);
    log
}

fn entry(index: u64, term: u64) -> Entry {
    let data = format!("entry {index} of term {term} ").repeat((index % 5) as usize);
    Entry { index, term, data: data.into(), context: vec![7; (index % 3) as usize], ..Entry::default() }
}

fn run(indexes: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    indexes.map(|index| entry(index, term)).collect()
}

fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

fn all(log: &SegmentedLog) -> Vec<Entry> {
    log.entries(log.first_index(), log.last_index() + 1, u64::MAX).expect("readable")
}

/// Writes one entry per append, so that there are witnesses for each.
fn fill(log: &mut SegmentedLog, indexes: std::ops::RangeInclusive<u64>, term: u64) {
    for index in indexes {
        log.append(&[entry(index, term)], None, true).expect("append");
    }
}

#[test]
fn a_new_log_is_empty_and_a_bootstrapped_one_has_its_base() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    assert_eq!((log.base(), log.last_index()), ((0, 0), 0));
    log.reset(1, 1, &state(1, 0, 1)).expect("bootstrap");
    let log = open(&disk);
    assert_eq!((log.base(), log.first_index(), log.last_index()), ((1, 1), 2, 1));
    assert_eq!(log.hard_state(), state(1, 0, 1));
    assert_eq!((log.term(1).unwrap(), log.term(2).unwrap(), log.term(0).unwrap()), (Some(1), None, None));
}

#[test]
fn entries_survive_reopening_over_many_segments() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    log.append(&run(1..=60, 1), Some(&state(1, 3, 40)), true).expect("append");
    log.append(&[], Some(&state(2, 1, 50)), false).expect("append");
    for log in [log, open(&disk)] {
        assert!(log.segments.len() > 3, "the test is about several segments");
        assert_eq!(all(&log), run(1..=60, 1));
        assert_eq!(log.hard_state(), state(2, 1, 50));
        assert_eq!(log.term(17).unwrap(), Some(1));
    }
}

#[test]
fn reads_stop_at_the_budget_but_give_one_entry() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    log.append(&run(1..=30, 1), None, true).expect("append");
    assert_eq!(log.entries(4, 31, 0).unwrap(), run(4..=4, 1));
    let budget = (4..8).map(|index| entry_bytes(&entry(index, 1)) as u64).sum();
    assert_eq!(log.entries(4, 31, budget).unwrap(), run(4..=7, 1));
    assert_eq!(log.entries(4, 4, budget).unwrap(), []);
}

#[test]
fn a_conflict_replaces_the_rest() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    log.append(&run(1..=40, 1), None, true).expect("append");
    log.append(&run(12..=14, 2), Some(&state(2, 0, 13)), true).expect("append");
    let expected = [run(1..=11, 1), run(12..=14, 2)].concat();
    assert_eq!(all(&log), expected);
    let mut log = open(&disk);
    assert_eq!(all(&log), expected);
    log.append(&run(15..=20, 3), None, true).expect("append");
    assert_eq!(all(&open(&disk)), [expected, run(15..=20, 3)].concat());
}

#[test]
fn the_front_goes_by_whole_segments_and_files_are_recycled() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    fill(&mut log, 1..=100, 1);
    let bytes = log.size_bytes();
    log.truncate_front(70).expect("truncate");
    assert!((30..=70).contains(&log.base().0), "{:?}", log.base());
    assert_eq!(log.base().1, 1);
    assert!(log.size_bytes() < bytes);
    fill(&mut log, 101..=200, 2);
    log.truncate_front(200).expect("truncate");
    fill(&mut log, 201..=230, 2);
    let base = log.base().0;
    let reopened = open(&disk);
    assert_eq!(reopened.base(), log.base());
    assert_eq!(all(&reopened), run(base + 1..=230, 2));
    assert_eq!(reopened.term(base).unwrap(), Some(2));
}

#[test]
fn a_front_overwritten_by_a_conflict_keeps_its_true_base() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    fill(&mut log, 1..=40, 1);
    fill(&mut log, 20..=45, 2);
    log.truncate_front(30).expect("truncate");
    let base = log.base();
    assert_eq!(base.1, if base.0 < 20 { 1 } else { 2 });
    let reopened = open(&disk);
    assert_eq!(reopened.base(), base);
    assert_eq!(all(&reopened), all(&log));
}

#[test]
fn a_reset_voids_everything_before() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    fill(&mut log, 1..=50, 1);
    log.reset(500, 4, &state(4, 2, 500)).expect("reset");
    assert_eq!((log.base(), log.last_index()), ((500, 4), 500));
    fill(&mut log, 501..=520, 5);
    let log = open(&disk);
    assert_eq!(all(&log), run(501..=520, 5));
    assert_eq!((log.base(), log.hard_state()), ((500, 4), state(4, 2, 500)));
}

#[test]
fn a_record_larger_than_a_segment_gets_a_larger_one() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    let large = Entry { index: 2, term: 1, data: vec![5; 5000], ..Entry::default() };
    let entries = [entry(1, 1), large, entry(3, 1)];
    log.append(&entries, None, true).expect("append");
    assert_eq!(all(&open(&disk)), entries);
}

#[test]
fn spare_files_are_prepared_and_kept_few() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    fill(&mut log, 1..=200, 1);
    log.truncate_front(200).expect("truncate");
    let spares = |disk: &FaultDisk| {
        let names = disk.list(Path::new(DIR)).unwrap();
        names.iter().filter(|name| name.to_string_lossy().starts_with("spare-")).count()
    };
    assert_eq!(spares(&disk), 2);
    drop(log);
    let other = LogOptions { segment_bytes: 2048, ..small() };
    SegmentedLog::open(Box::new(disk.clone()), Path::new(DIR), other).expect("another size");
    assert_eq!(spares(&disk), 0, "spares of the wrong size go");
}

#[test]
fn a_full_disk_closes_the_log_and_loses_nothing_acknowledged() {
    for space in (0..6000).step_by(97) {
        let disk = FaultDisk::default();
        let mut log = open(&disk);
        disk.limit_space(space);
        let mut acknowledged = 0;
        let refused = loop {
            match log.append(&run(acknowledged + 1..=acknowledged + 2, 1), None, true) {
                Ok(()) => acknowledged += 2,
                Err(error) => break error,
            }
        };
        assert!(refused.to_string().contains("/log/"), "{refused}");
        let again = log.append(&run(1..=1, 1), None, true).unwrap_err();
        assert!(again.to_string().contains("has failed before"), "{again}");
        let (log, _) = SegmentedLog::open(Box::new(disk.copy()), Path::new(DIR), small()).expect("open");
        assert!(log.last_index() >= acknowledged);
        assert_eq!(all(&log), run(1..=log.last_index(), 1));
    }
}
