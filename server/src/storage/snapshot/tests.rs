//! From one store to another, over every kind of trouble on the way.

use super::*;
use crate::storage::rocks::{RocksBase, RocksOptions};
use crate::storage::state::{StateOptions, StateStore};
use crate::storage::stream::StreamError;
use bytes::Bytes;
use oarlock_state::{Mutation, View};
use tempfile::TempDir;

const CLUSTER: u64 = 5;

/// A directory with a state and its snapshots.
struct Member {
    root: TempDir,
    snapshots: SnapshotStore,
}

impl Member {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let snapshots =
            SnapshotStore::open(&root.path().join("snapshot"), &root.path().join("state"), CLUSTER)
                .expect("open");
        Self { root, snapshots }
    }

    fn reopened(self) -> Self {
        let snapshots = SnapshotStore::open(&self.snapshots.dir, &self.state_dir(), CLUSTER).expect("open");
        Self { root: self.root, snapshots }
    }

    fn state_dir(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// A state of many records that stands at `index`.
    fn with_state(index: u64) -> Self {
        let member = Self::new();
        let base =
            Arc::new(RocksBase::create(&member.state_dir(), &RocksOptions::default()).expect("create"));
        advance(&base, index, 4000);
        member
    }

    fn base(&self) -> Arc<RocksBase> {
        Arc::new(RocksBase::open(&self.state_dir(), &RocksOptions::default()).expect("open"))
    }

    fn take(&self, index: u64) -> Manifest {
        self.snapshots.create(&*self.base(), &meta(index)).expect("create")
    }
}

fn meta(index: u64) -> StateMeta {
    StateMeta { index, term: 2, conf_state: vec![1, 2, 3], cluster_id: CLUSTER }
}

fn advance(base: &Arc<RocksBase>, index: u64, records: u64) {
    let mut store = StateStore::open(base.clone(), StateOptions::default()).expect("open");
    let mut noise = crate::storage::fault_disk::Chance(index);
    let mutations = (0..records).map(|number| {
        Mutation::new(
            format!("key {number}").into(),
            Some((0..700).map(|_| noise.below(256) as u8).collect::<Vec<u8>>().into()),
        )
    });
    let mutations = mutations.chain([Mutation::new("at".into(), Some(index.to_string().into()))]);
    store.write(mutations.collect(), index);
    let job = store.freeze_now().expect("a flush");
    store.flushed(job.run().expect("flush"));
}

/// Where the state in a member's directory stands.
fn stands_at(member: &Member) -> (u64, Option<Bytes>) {
    let store = StateStore::open(member.base(), StateOptions::default()).expect("open");
    (store.applied(), store.get(b"at"))
}

/// Sends up to `chunks` chunks.
fn send(reader: &SnapshotReader, receiver: &mut Receiver, chunks: usize) {
    for _ in 0..chunks {
        let Some(position) = receiver.position() else {
            return;
        };
        let chunk = reader.chunk(position, 100_000).expect("read");
        receiver.write_chunk(position, &chunk.data, chunk.crc).expect("write");
    }
}

/// A member whose old state stands at 3 and that has received the snapshot at 9.
fn received() -> Member {
    let (sender, target) = (Member::with_state(9), Member::with_state(3));
    let manifest = sender.take(9);
    let mut receiver = target.snapshots.begin(manifest).expect("begin");
    send(&sender.snapshots.reader(9).expect("reader"), &mut receiver, usize::MAX);
    receiver.finish().expect("finish");
    target
}

#[test]
fn a_snapshot_is_taken_sent_and_installed() {
    let target = received();
    assert_eq!(target.snapshots.install(9, 2).expect("install"), meta(9));
    assert_eq!(stands_at(&target), (9, Some("9".into())));
    target.snapshots.install_done().expect("done");
    assert_eq!(target.snapshots.names().expect("names"), Vec::<String>::new(), "nothing is left behind");
    let target = target.reopened();
    assert_eq!(target.snapshots.recover_install().expect("recover"), None);
    assert_eq!(stands_at(&target).0, 9);
}

#[test]
fn an_install_is_completed_after_a_crash_at_any_step() {
    for steps in 0..=3 {
        let target = received();
        let complete = target.snapshots.dir.join(format!("complete-{:016x}-{:016x}", 9, 2));
        if steps >= 1 {
            checked_file::write(&target.snapshots.dir.join("install.json"), &meta(9)).expect("write");
        }
        if steps >= 2 {
            rename(&target.state_dir(), &target.snapshots.dir.join("old-state")).expect("rename");
        }
        if steps >= 3 {
            rename(&complete.join(STATE), &target.state_dir()).expect("rename");
        }
        for _ in 0..2 {
            // Twice: the node may crash again before it says that the install is done.
            let target =
                SnapshotStore::open(&target.snapshots.dir, &target.state_dir(), CLUSTER).expect("open");
            let expected = (steps > 0).then(|| meta(9));
            assert_eq!(target.recover_install().expect("recover"), expected, "after {steps} steps");
        }
        assert_eq!(stands_at(&target).0, if steps > 0 { 9 } else { 3 }, "after {steps} steps");
        target.snapshots.install_done().expect("done");
        assert_eq!(target.snapshots.recover_install().expect("recover"), None);
    }
}

#[test]
fn an_install_whose_files_are_gone_is_damage() {
    let target = received();
    checked_file::write(&target.snapshots.dir.join("install.json"), &meta(9)).expect("write");
    fs::remove_dir_all(target.state_dir()).expect("remove");
    target.snapshots.remove_all(|name| name.starts_with("complete-")).expect("remove");
    let error = target.snapshots.recover_install().expect_err("damage").to_string();
    assert!(error.contains("neither the state nor the snapshot at entry 9"), "{error}");
}

#[test]
fn a_transfer_is_resumed_where_it_stopped() {
    let (sender, mut target) = (Member::with_state(9), Member::new());
    let manifest = sender.take(9);
    assert!(manifest.size_bytes() > 2_000_000, "the test is about many chunks");
    let reader = sender.snapshots.reader(9).expect("reader");
    let mut before = Position::default();
    loop {
        let mut receiver = target.snapshots.begin(manifest.clone()).expect("begin");
        let Some(position) = receiver.position() else {
            receiver.finish().expect("finish");
            break;
        };
        assert!((position.file, position.offset) >= (before.file, before.offset), "it began anew");
        before = position;
        send(&reader, &mut receiver, 3);
        target = target.reopened();
    }
    let again = target.snapshots.begin(manifest).expect("begin");
    assert_eq!(again.position(), None, "a complete snapshot is not sent again");
    again.finish().expect("finish");
    target.snapshots.install(9, 2).expect("install");
    assert_eq!(stands_at(&target).0, 9);
}

#[test]
fn a_part_that_changed_between_two_runs_is_fetched_again() {
    let (sender, target) = (Member::with_state(9), Member::new());
    let manifest = sender.take(9);
    let reader = sender.snapshots.reader(9).expect("reader");
    let mut receiver = target.snapshots.begin(manifest.clone()).expect("begin");
    send(&reader, &mut receiver, 12);
    let arrived = target.snapshots.dir.join(format!("in-{:016x}-{:016x}", 9, 2)).join(STATE);
    let first = arrived.join(&manifest.files[0].name);
    drop(receiver);
    let mut bytes = fs::read(&first).expect("read");
    bytes[0] ^= 1;
    fs::write(&first, bytes).expect("write");
    let mut receiver = target.snapshots.begin(manifest.clone()).expect("begin");
    send(&reader, &mut receiver, usize::MAX);
    let error = receiver.finish().expect_err("refused").to_string();
    assert!(error.contains("other content than announced"), "{error}");
    let mut receiver = target.snapshots.begin(manifest).expect("begin");
    assert_eq!(receiver.position(), Some(Position::default()));
    send(&reader, &mut receiver, usize::MAX);
    receiver.finish().expect("finish");
}

#[test]
fn a_peer_that_sends_nonsense_is_refused() {
    let (sender, target) = (Member::with_state(9), Member::new());
    let manifest = sender.take(9);
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut changed = manifest.clone();
        change(&mut changed);
        matches!(target.snapshots.begin(changed), Err(TransferError::Refused(_)))
    };
    assert!(refused(&|manifest| manifest.files[0].name = "../state/CURRENT".into()));
    assert!(refused(&|manifest| manifest.files[0].name = String::new()));
    assert!(refused(&|manifest| manifest.files[0].name = "..".into()));
    assert!(refused(&|manifest| manifest.files.swap(0, 1)));
    assert!(refused(&|manifest| manifest.files.clear()));
    assert!(refused(&|manifest| manifest.meta.cluster_id = 6));

    let mut receiver = target.snapshots.begin(manifest.clone()).expect("begin");
    let start = receiver.position().expect("the start");
    let chunk = sender.snapshots.reader(9).expect("reader").chunk(start, 10).expect("read");
    assert!(receiver.write_chunk(start, &chunk.data, chunk.crc ^ 1).is_err(), "a wrong checksum");
    assert!(receiver.write_chunk(Position { offset: 1, ..start }, &chunk.data, chunk.crc).is_err(), "a gap");
    assert!(receiver.write_chunk(start, &[], 0).is_err(), "nothing");
    let long = vec![0; manifest.files[0].size as usize + 1];
    assert!(receiver.write_chunk(start, &long, crc32fast::hash(&long)).is_err(), "more than the file has");
    receiver.write_chunk(start, &chunk.data, chunk.crc).expect("after refusals it goes on");
    assert!(matches!(receiver.finish(), Err(TransferError::Refused(_))), "not all has arrived");
}

#[test]
fn the_newest_snapshots_and_those_being_read_are_kept() {
    let sender = Member::with_state(1);
    sender.take(1);
    let reader = sender.snapshots.reader(1).expect("reader");
    for index in 2..6 {
        advance(&sender.base(), index, 10);
        sender.take(index);
    }
    assert_eq!(sender.snapshots.out_indexes().expect("list"), [1, 4, 5]);
    assert!(!reader.chunk(Position::default(), 10).expect("still there").data.is_empty());
    drop(reader);
    advance(&sender.base(), 6, 10);
    sender.take(6);
    assert_eq!(sender.snapshots.out_indexes().expect("list"), [5, 6]);
    assert!(matches!(sender.snapshots.reader(1), Err(TransferError::Gone(1))));
    assert_eq!(sender.snapshots.latest().expect("latest").map(|manifest| manifest.meta), Some(meta(6)));
    let error = sender.snapshots.create(&*sender.base(), &meta(7)).expect_err("not there yet").to_string();
    assert!(error.contains("stands at entry 6"), "{error}");
}

#[test]
fn a_saved_snapshot_restores_and_damage_is_refused() {
    let sender = Member::with_state(9);
    sender.take(9);
    let mut saved = Vec::new();
    sender.snapshots.reader(9).expect("reader").export(&mut saved).expect("export");
    let root = tempfile::tempdir().expect("a temporary directory");
    let into = root.path().join("restored");
    for length in [0, 4, 11, 12, 300, 70_000, saved.len() - 1] {
        let error = import(&mut &saved[..length], &into).expect_err("a part only");
        let named = matches!(error, StreamError::Truncated { .. } | StreamError::Foreign { .. });
        assert!(named && !into.exists(), "{length}: {error}");
    }
    for position in (0..saved.len()).step_by(saved.len() / 97) {
        let mut changed = saved.clone();
        changed[position] ^= 1;
        import(&mut &changed[..], &into).expect_err("a changed byte");
    }
    assert_eq!(fs::read_dir(root.path()).expect("list").count(), 0, "nothing is left after an error");
    let manifest = import(&mut &saved[..], &into).expect("import");
    assert_eq!(manifest.meta, meta(9));
    let base = RocksBase::open(&into.join(STATE), &RocksOptions::default()).expect("open");
    assert_eq!(base.get(b"at").expect("get"), Some(Bytes::from("9")));
    let error = import(&mut &saved[..], &into).expect_err("there is something").to_string();
    assert!(error.contains("exists already"), "{error}");
}
