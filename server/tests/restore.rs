//! What is restored is the same everywhere, and what is damaged is refused without a trace.

use oarlock_server::config;
use oarlock_server::node::founding::Founding;
use oarlock_server::restore::{Restore, check, restore};
use oarlock_server::storage::LogStore;
use oarlock_server::storage::data_dir::{DataDir, Identity};
use oarlock_server::storage::disk::RealDisk;
use oarlock_server::storage::log::{LogOptions, SegmentedLog};
use oarlock_server::storage::records::StateMeta;
use oarlock_server::storage::rocks::{RocksBase, RocksOptions};
use oarlock_server::storage::snapshot::SnapshotStore;
use oarlock_server::storage::state::{StateOptions, StateStore};
use oarlock_state::command::{KvOp, OpenSession, Put, Txn};
use oarlock_state::{
    Command, Entry, EntryBody, Index, Machine, Proposal, ProposalId, RequestId, SessionId, Term, View, keys,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const INDEX: u64 = 4;
const TERM: u64 = 3;
const MEMBERS: &str = "x=http://127.0.0.1:1,y=http://127.0.0.1:2,z=http://127.0.0.1:3";

fn proposal(command: Command) -> Proposal {
    Proposal {
        id: ProposalId::default(),
        request: None,
        idempotency: None,
        guards: Vec::new(),
        caller: oarlock_state::Caller::Server,
        command,
    }
}

fn put(key: &'static str, owner: u64) -> Command {
    let put = Put { key: key.into(), value: "v".into(), owner: SessionId(owner), ..Put::default() };
    Command::Txn(Txn { then: vec![KvOp::Put(put)], ..Txn::default() })
}

/// Entries 2 to [`INDEX`]: a session, an ephemeral key, and one that stays.
fn entries() -> Vec<Entry> {
    let open =
        OpenSession { id: SessionId(7), secret: [0; 16], timeout_ms: 10_000, principal: String::new() };
    let request = Some(RequestId { session: SessionId(7), sequence: 1, acked_up_to: 0 });
    let commands = [
        proposal(Command::OpenSession(open)),
        proposal(put("mine", 7)),
        Proposal { request, ..proposal(put("stays", 0)) },
    ];
    let entry = |(place, proposal): (usize, Proposal)| Entry {
        index: Index(2 + place as u64),
        term: Term(TERM),
        body: EntryBody::Proposals { stamp_ms: 1_000, proposals: vec![proposal] },
    };
    commands.into_iter().enumerate().map(entry).collect()
}

/// A saved snapshot of a small cluster's state.
fn saved(dir: &Path) -> Vec<u8> {
    let founding = Founding::new("old", &config::founders("a=http://127.0.0.1:9").expect("well-formed"));
    let base = Arc::new(RocksBase::create(&dir.join("state"), &RocksOptions::default()).expect("create"));
    let mut store = StateStore::open(base.clone(), StateOptions::default()).expect("open");
    let records = Machine::bootstrap(&founding.members, founding.conf_state.clone(), founding.cluster_id);
    store.write(records, 1);
    let mut machine = Machine::load(&store).expect("whole");
    for entry in entries() {
        let applied = machine.apply(&store, &entry);
        assert!(applied.outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{applied:?}");
        store.write(applied.mutations, entry.index.get());
    }
    let flush = store.freeze_now().expect("there is something to flush");
    store.flushed(flush.run().expect("flushed"));
    let snapshots = SnapshotStore::open(&dir.join("snapshot"), &dir.join("state"), founding.cluster_id);
    let snapshots = snapshots.expect("open");
    let meta = StateMeta {
        index: INDEX,
        term: TERM,
        conf_state: founding.conf_state.to_vec(),
        cluster_id: founding.cluster_id,
    };
    snapshots.create(&*base, &meta).expect("create");
    let mut file = Vec::new();
    snapshots.reader(INDEX).expect("there").export(&mut file).expect("written");
    file
}

fn plan(data_dir: PathBuf, name: &str) -> Restore {
    let (initial_cluster, initial_cluster_token) = (MEMBERS.to_owned(), "new".to_owned());
    Restore { data_dir, name: name.to_owned(), initial_cluster, initial_cluster_token }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn all_members_begin_with_the_same_state_and_without_sessions() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let file = saved(root.path());
    let checked = check(&mut &file[..]).expect("sound");
    assert_eq!((checked.revision, checked.index), (3, INDEX));
    let mut digests = Vec::new();
    for name in ["x", "y", "z"] {
        let path = root.path().join(format!("data-{name}"));
        let summary = restore(&mut &file[..], &plan(path.clone(), name)).expect("restored");
        assert_eq!((summary.revision, summary.index), (1_000_000_004, INDEX));
        let marker = DataDir::peek(&path).expect("read").expect("set up");
        let identity =
            Identity { cluster_id: marker.cluster_id, member_id: marker.member_id, name: name.to_owned() };
        let dir = DataDir::open(&path, &identity).expect("its own");
        let (log, torn) =
            SegmentedLog::open(Box::new(RealDisk), &dir.log(), LogOptions::default()).expect("open");
        assert_eq!((log.base(), log.last_index(), torn), ((INDEX, TERM), INDEX, None));
        assert_eq!((log.hard_state().term, log.hard_state().commit), (TERM, INDEX));
        let base = RocksBase::open(&dir.state(), &RocksOptions::default()).expect("open");
        let store = StateStore::open(Arc::new(base), StateOptions::default()).expect("open");
        let machine = Machine::load(&store).expect("whole");
        machine.check(&store).expect("the invariants hold");
        assert_eq!((store.applied(), machine.cluster_id()), (INDEX, marker.cluster_id));
        assert!(store.get(&keys::kv(b"stays")).is_some() && store.get(&keys::kv(b"mine")).is_none());
        assert!(store.get(&keys::session(SessionId(7))).is_none());
        digests.push((machine.digest(), marker.cluster_id));
    }
    assert!(digests.iter().all(|other| *other == digests[0]), "{digests:?}");
    let left = ["data-x", "data-y", "data-z", "snapshot", "state"];
    assert_eq!(names(root.path()), left, "nothing else is left behind");
}

#[test]
fn what_is_cut_or_changed_is_refused_and_leaves_nothing() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let file = saved(root.path());
    let target = root.path().join("data");
    let before = names(root.path());
    for place in (0..file.len()).step_by(file.len() / 40) {
        let mut changed = file.clone();
        changed[place] ^= 0x10;
        assert!(check(&mut &changed[..]).is_err(), "byte {place}");
        assert!(restore(&mut &changed[..], &plan(target.clone(), "x")).is_err(), "byte {place}");
        assert!(restore(&mut &file[..place], &plan(target.clone(), "x")).is_err(), "{place} bytes");
    }
    assert_eq!(names(root.path()), before);
}

#[test]
fn wrong_settings_are_refused_before_anything_is_read() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let refusal = |plan: Restore| {
        let refused = restore(&mut &b"never read"[..], &plan).expect_err("refused");
        refused.to_string()
    };
    let stranger = refusal(plan(root.path().join("d"), "stranger"));
    assert!(stranger.contains("no member \"stranger\"; it has x, y, z"), "{stranger}");
    let malformed = Restore { initial_cluster: "x".into(), ..plan(root.path().join("d"), "x") };
    assert!(refusal(malformed).contains("NAME=http://HOST:PORT"));
    let occupied = refusal(plan(root.path().to_path_buf(), "x"));
    assert!(occupied.contains("exists already"), "{occupied}");
    assert!(names(root.path()).is_empty());
}
