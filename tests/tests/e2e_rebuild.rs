//! A replica whose state differs from the leader's: it notices, and gets itself a new state.

use oarlock_server::storage::BaseStore;
use oarlock_server::storage::rocks::{RocksBase, RocksOptions};
use oarlock_state::command::{KvOp, Put, Txn};
use oarlock_state::limits::DIGEST_EVERY;
use oarlock_state::{
    Caller, Command, Entry, EntryBody, Index, Machine, MemoryView, Mutation, Proposal, ProposalId, Term, keys,
};
use oarlock_tests::cluster::{Cluster, put, read};
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "/k";

/// The record of the key as a machine writes it that executed a put which the cluster never saw.
fn stray_record() -> Mutation {
    let view = MemoryView::default();
    let mut machine = Machine::load(&view).expect("an empty view is a fresh machine");
    let stray = Put { key: KEY.into(), value: "stray".into(), ..Put::default() };
    let proposal = Proposal {
        id: ProposalId::default(),
        request: None,
        idempotency: None,
        guards: Vec::new(),
        caller: Caller::default(),
        command: Command::Txn(Txn { then: vec![KvOp::Put(stray)], ..Txn::default() }),
    };
    let body = EntryBody::Proposals { stamp_ms: 0, proposals: vec![proposal] };
    let applied = machine.apply(&view, &Entry { index: Index(1), term: Term(1), body });
    let is_record = |mutation: &Mutation| mutation.key == keys::kv(KEY.as_bytes());
    applied.mutations.into_iter().find(is_record).expect("a put writes the key's record")
}

/// As a fault of the program or of the memory would: a record that checks and is wrong.
fn damage(data_dir: &Path) {
    let state = data_dir.join("member").join("state");
    let base = RocksBase::open(&state, &RocksOptions::default()).expect("the member is stopped");
    let record = stray_record();
    let value = record.value.as_deref();
    base.write(&mut std::iter::once((&record.key[..], value))).expect("the state can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_differs_takes_anothers_state_and_serves_again() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let damaged = cluster.follower().await;
    assert!(cluster.nodes[damaged].stop(PATIENCE).await, "it stops when asked to");
    damage(&cluster.nodes[damaged].options.data_dir);
    cluster.nodes[damaged].start();
    cluster.wait_ready(PATIENCE).await;

    // Digests are compared now and then.
    for number in 0..=DIGEST_EVERY + 200 {
        put(&cluster.nodes[leader], KEY, number.to_string().as_bytes(), 0).await.expect("a put succeeds");
    }
    let deadline = Instant::now() + PATIENCE;
    while !cluster.nodes[damaged].log().contains("the state was replaced") {
        assert!(Instant::now() < deadline, "it did not notice: {}", cluster.nodes[damaged].log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(cluster.nodes[damaged].is_running(), "the same process goes on");
    cluster.wait_ready(PATIENCE).await;
    cluster.wait_equal_digests(PATIENCE).await;
    let last = (DIGEST_EVERY + 200).to_string();
    let record = read(&cluster.nodes[damaged], KEY).await.expect("it serves").expect("the key exists");
    assert_eq!(record.value, last);
}
