//! What was read is not what was written.

use super::*;
use crate::storage::log::segment::HEAD_BYTES;

fn reopen(disk: &FaultDisk) -> StorageResult<(SegmentedLog, Option<TornTail>)> {
    SegmentedLog::open(Box::new(disk.copy()), Path::new(DIR), small())
}

fn segment_paths(disk: &FaultDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIR)).unwrap();
    names
        .into_iter()
        .filter(|name| segment::sequence_of(name).is_some())
        .map(|name| Path::new(DIR).join(name))
        .collect()
}

#[test]
fn a_flipped_bit_anywhere_is_damage_a_torn_last_write_or_harmless() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    fill(&mut log, 1..=30, 1);
    log.append(&run(31..=31, 2), Some(&state(2, 1, 20)), true).expect("append");
    let expected = all(&log);
    let (last, end) = (segment_paths(&disk).len() - 1, log.end);
    assert!(last >= 2, "the test is about several segments");
    for (position, path) in segment_paths(&disk).iter().enumerate() {
        for byte in 0..small().segment_bytes as usize {
            let copy = disk.copy();
            copy.tamper(path, |bytes| bytes[byte] ^= 1 << (byte % 8));
            match reopen(&copy) {
                Ok((log, None)) => assert_eq!(all(&log), expected, "byte {byte} of {path:?}"),
                Ok((log, Some(torn))) => {
                    assert_eq!((position, &torn.path), (last, path));
                    assert!(torn.offset <= byte as u64);
                    assert!(log.last_index() >= 30, "byte {byte}: only the last write may be cut off");
                    assert_eq!(all(&log), expected[..log.last_index() as usize]);
                }
                Err(StorageError::Damaged { path: named, advice, .. }) => {
                    assert_eq!(&named, path);
                    assert!(advice.contains("empty data directory"));
                    assert!(position < last || (byte as u64) < end);
                }
                Err(other) => panic!("byte {byte} of {path:?}: {other}"),
            }
        }
    }
}

#[test]
fn a_missing_segment_is_named() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    fill(&mut log, 1..=60, 1);
    let paths = segment_paths(&disk);
    disk.remove(&paths[1]).expect("remove");
    let error = reopen(&disk).err().expect("damage").to_string();
    assert!(error.contains("segment 2 of the log"), "{error}");

    let disk = FaultDisk::default();
    fill(&mut open(&disk), 1..=60, 1);
    disk.remove(&segment_paths(&disk)[0]).expect("remove");
    let error = reopen(&disk).err().expect("damage").to_string();
    assert!(error.contains("do not follow on its base 0"), "{error}");
}

#[test]
fn a_truncated_segment_is_damage() {
    let disk = FaultDisk::default();
    fill(&mut open(&disk), 1..=60, 1);
    for length in [0, 50, 500] {
        let copy = disk.copy();
        copy.tamper(&segment_paths(&disk)[1], |bytes| bytes.truncate(length));
        assert!(matches!(reopen(&copy), Err(StorageError::Damaged { .. })), "length {length}");
    }
}

#[test]
fn a_commit_beyond_the_end_is_damage() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    // A careless caller: the commit index is written before the entries.
    log.append(&[], Some(&state(1, 1, 2)), true).expect("append");
    log.append(&run(1..=2, 1), None, true).expect("append");
    let end = log.end as usize;
    disk.tamper(&segment_paths(&disk)[0], |bytes| bytes[end - 3] ^= 1);
    let error = reopen(&disk).err().expect("damage").to_string();
    assert!(error.contains("known to be committed"), "{error}");
}

#[test]
fn recycled_files_never_bring_old_records_back() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    for round in 0..20 {
        let first = log.last_index() + 1;
        fill(&mut log, first..=first + 12 + round % 7, round + 1);
        log.truncate_front(log.last_index()).expect("truncate");
        let (reopened, torn) = reopen(&disk).expect("open");
        assert_eq!(torn, None, "old bytes are no torn write");
        assert_eq!((reopened.base(), reopened.last_index()), (log.base(), log.last_index()));
        assert_eq!(all(&reopened), all(&log));
    }
}

#[test]
fn a_clients_bytes_never_pass_for_records() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    let other = FaultDisk::default();
    let options = LogOptions { salt: 8, ..small() };
    let (mut twin, _) = SegmentedLog::open(Box::new(other.clone()), Path::new(DIR), options).expect("open");
    fill(&mut twin, 1..=10, 1);
    let mut stolen = Vec::new();
    other.tamper(&segment_paths(&other)[0], |bytes| stolen = bytes.clone());
    let hostile = Entry { index: 1, term: 1, data: stolen[128..600].to_vec(), ..Entry::default() };
    log.append(&[hostile], None, true).expect("append");
    disk.tamper(&segment_paths(&disk)[0], |bytes| bytes[140] ^= 1);
    let (log, torn) = reopen(&disk).expect("a torn tail, not damage");
    assert_eq!((log.last_index(), torn.is_some()), (0, true));
}

#[test]
fn an_entry_damaged_while_running_is_reported_when_read() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    fill(&mut log, 1..=30, 1);
    disk.tamper(&segment_paths(&disk)[0], |bytes| bytes[200] ^= 1);
    let error = log.entries(1, 31, u64::MAX).expect_err("damage").to_string();
    assert!(error.contains("does not match its checksum"), "{error}");
}

#[test]
fn a_torn_tail_is_wiped_so_that_nothing_of_it_returns() {
    let disk = FaultDisk::default();
    let mut log = open(&disk);
    log.append(&run(1..=6, 1), None, true).expect("append");
    let path = segment_paths(&disk)[0].clone();
    disk.tamper(&path, |bytes| bytes[HEAD_BYTES + 8] ^= 1);
    let (log, torn) = SegmentedLog::open(Box::new(disk.clone()), Path::new(DIR), small()).expect("open");
    assert_eq!(torn, Some(TornTail { path: path.clone(), offset: HEAD_BYTES as u64 }));
    assert_eq!(log.last_index(), 0);
    disk.tamper(&path, |bytes| assert!(bytes[HEAD_BYTES..].iter().all(|byte| *byte == 0)));
}
