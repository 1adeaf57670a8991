//! Sessions: kept alive from anywhere, never ended early, ended when due.

use super::cluster::{Cluster, TICK_MS};
use crate::node::request::{Refusal, Request, Response};
use bytes::Bytes;
use oarlock_state::command::ReplyBody;
use oarlock_state::object::{Acquire, Claim, Mode, ObjectKind, ObjectOp, ObjectReply, Part};
use oarlock_state::pool::{Join, Policy, PoolOp, PoolReply, ShardSet, Step};
use oarlock_state::{Command, Rejection, Reply, Revision, SessionId};

const TIMEOUT_MS: u64 = 4_000;

fn keep_alive(session: SessionId) -> Request {
    Request::KeepAlive { session }
}

#[test]
fn a_session_ends_after_its_timeout_and_not_before() {
    let mut cluster = Cluster::new(3);
    let session = cluster.open_session(2, TIMEOUT_MS);
    cluster.run_ms(TIMEOUT_MS - TICK_MS);
    assert!(cluster.has_session(1, session));
    cluster.run_ms(4 * TICK_MS);
    for id in 1..=3 {
        assert!(!cluster.has_session(id, session), "at {id}");
    }
}

#[test]
fn a_keep_alive_at_any_node_extends_it() {
    let mut cluster = Cluster::new(3);
    let session = cluster.open_session(1, TIMEOUT_MS);
    for round in 0..6 {
        cluster.run_ms(TIMEOUT_MS / 2);
        let id = 1 + round % 3;
        let reply = cluster.call(id, keep_alive(session));
        assert_eq!(reply, Some(Ok(Response::Alive { valid_for_ms: TIMEOUT_MS })), "at {id}");
    }
    cluster.run_ms(TIMEOUT_MS - 2 * TICK_MS);
    assert!(cluster.has_session(1, session));
    cluster.run_ms(6 * TICK_MS);
    assert!(!cluster.has_session(1, session));
}

#[test]
fn a_keep_alive_of_a_session_that_ended_says_so() {
    let mut cluster = Cluster::new(3);
    for id in 1..=3 {
        let session = SessionId(99);
        let not_found = Refusal::Rejected(Rejection::SessionNotFound { session });
        assert_eq!(cluster.call(id, keep_alive(session)), Some(Err(not_found)), "at {id}");
    }
}

#[test]
fn a_deposed_leader_acknowledges_nothing() {
    let mut cluster = Cluster::new(3);
    let session = cluster.open_session(1, TIMEOUT_MS);
    cluster.call(1, keep_alive(session)).expect("a quorum is there").expect("alive");
    for other in [2, 3] {
        cluster.cut.insert((1, other));
        cluster.cut.insert((other, 1));
    }
    // Its touch is fresh, so nothing but the confirmation is missing.
    assert_eq!(cluster.call(1, keep_alive(session)), None);
}

#[test]
fn a_session_survives_a_change_of_leader() {
    let mut cluster = Cluster::new(3);
    let session = cluster.open_session(1, TIMEOUT_MS);
    cluster.run_ms(TIMEOUT_MS / 2);
    let reply = cluster.call(1, keep_alive(session));
    assert_eq!(reply, Some(Ok(Response::Alive { valid_for_ms: TIMEOUT_MS })));
    cluster.nodes.get_mut(&1).expect("there").paused = true;
    // The promise is good until TIMEOUT_MS from here, whoever leads.
    for _ in 0..TIMEOUT_MS / TICK_MS - 1 {
        cluster.tick();
        assert!(cluster.has_session(2, session));
    }
    // And it does not live for a full timeout more.
    cluster.run_ms(TIMEOUT_MS);
    assert!(!cluster.has_session(2, session));
}

#[test]
fn a_stall_of_the_leader_is_credited() {
    let mut cluster = Cluster::new(1);
    let session = cluster.open_session(1, TIMEOUT_MS);
    cluster.run_ms(TIMEOUT_MS / 2);
    cluster.sleep_us(10 * TIMEOUT_MS * 1_000);
    cluster.tick();
    assert!(cluster.has_session(1, session), "nobody could have been heard meanwhile");
    cluster.run_ms(TIMEOUT_MS / 4);
    assert!(cluster.has_session(1, session));
    cluster.run_ms(TIMEOUT_MS);
    assert!(!cluster.has_session(1, session));
}

#[test]
fn time_without_a_quorum_is_credited() {
    let mut cluster = Cluster::new(3);
    let session = cluster.open_session(1, TIMEOUT_MS);
    for other in [2, 3] {
        cluster.nodes.get_mut(&other).expect("there").paused = true;
    }
    cluster.run_ms(3 * TIMEOUT_MS);
    for other in [2, 3] {
        cluster.nodes.get_mut(&other).expect("there").paused = false;
    }
    for _ in 0..50 {
        cluster.tick();
        if cluster.leader().is_some() {
            break;
        }
    }
    cluster.run_ms(2 * TICK_MS);
    assert!(cluster.has_session(1, session));
    let alive = cluster.call(2, keep_alive(session));
    assert_eq!(alive, Some(Ok(Response::Alive { valid_for_ms: TIMEOUT_MS })));
}

#[test]
fn many_sessions_share_entries() {
    let mut cluster = Cluster::new(1);
    let sessions: Vec<SessionId> = (0..200).map(|_| cluster.open_session(1, TIMEOUT_MS)).collect();
    cluster.run_ms(TIMEOUT_MS / 2);
    let before = cluster.nodes[&1].log.syncs();
    let origins: Vec<_> = sessions.iter().map(|session| cluster.ask(1, 5, keep_alive(*session))).collect();
    cluster.settle();
    assert!(cluster.nodes[&1].log.syncs() <= before + 2);
    for origin in origins {
        assert!(matches!(cluster.reply(1, origin), Some(Ok(Response::Alive { .. }))));
    }
}

/// Whether the claim of this session holds the lock.
fn acquire(cluster: &mut Cluster, session: SessionId) -> bool {
    let acquire = Acquire {
        parts: vec![Part { name: "lock".into(), kind: ObjectKind::Mutex, mode: Mode::Exclusive }],
        claim: Claim { session, request: 1 },
        wait: true,
        metadata: Bytes::new(),
        priority: 0,
        preempt: false,
        lock_delay_ms: 2 * TIMEOUT_MS,
    };
    let leader = cluster.leader().expect("somebody leads");
    let reply = cluster.write(leader, Command::Object(ObjectOp::Acquire(acquire)));
    match reply {
        Some(Ok(Response::Written(Reply { body: ReplyBody::Object(reply), .. }))) => {
            matches!(reply, ObjectReply::Granted { .. })
        }
        other => panic!("unexpected {other:?}"),
    }
}

/// Nobody writes: the leader itself has to end the delay, also one that began under another.
#[test]
fn a_lock_delay_ends_by_itself() {
    let mut cluster = Cluster::new(3);
    let (first, second) = (cluster.open_session(1, TIMEOUT_MS), cluster.open_session(1, 100 * TIMEOUT_MS));
    assert!(acquire(&mut cluster, first));
    assert!(!acquire(&mut cluster, second));
    cluster.run_ms(TIMEOUT_MS + 4 * TICK_MS);
    assert!(!cluster.has_session(1, first), "it expired");
    cluster.elect(2);
    assert!(!acquire(&mut cluster, second), "the lock is withheld");
    let revision = cluster.revision(2);
    cluster.run_ms(2 * TIMEOUT_MS + 4 * TICK_MS);
    assert!(cluster.revision(2) > revision, "it was granted without anybody asking");
    assert!(acquire(&mut cluster, second));
}

fn in_pool(cluster: &mut Cluster, op: PoolOp) -> (Revision, PoolReply) {
    let leader = cluster.leader().expect("somebody leads");
    match cluster.write(leader, Command::Pool(op)) {
        Some(Ok(Response::Written(Reply { revision, body: ReplyBody::Pool(reply), .. }))) => {
            (revision, reply)
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn join(cluster: &mut Cluster, session: SessionId) -> (Revision, PoolReply) {
    let instance = Bytes::from_static(b"a");
    let (zone, address, metadata) = (String::new(), String::new(), Bytes::new());
    let join = Join { instance, session, zone, capacity: 1, address, metadata };
    in_pool(cluster, PoolOp::Join { pool: Bytes::from_static(b"p"), join })
}

/// Nobody writes: the leader itself has to give a shard back to the instance that came back.
#[test]
fn a_shard_is_withheld_until_its_delay_ends_by_itself() {
    let mut cluster = Cluster::new(3);
    let pool = Bytes::from_static(b"p");
    let policy = Policy { lock_delay_ms: 2 * TIMEOUT_MS, ..Policy::default() };
    let first = cluster.open_session(1, TIMEOUT_MS);
    in_pool(&mut cluster, PoolOp::Create { pool: pool.clone(), shards: ShardSet::Slots(1), policy });
    let (basis, _) = join(&mut cluster, first);
    let steps = vec![Step::Grant { shard: Bytes::from_static(b"0"), to: Bytes::from_static(b"a") }];
    in_pool(&mut cluster, PoolOp::Assign { pool, basis, steps });
    cluster.run_ms(TIMEOUT_MS + 4 * TICK_MS);
    assert!(!cluster.has_session(1, first), "it expired");
    let second = cluster.open_session(1, 100 * TIMEOUT_MS);
    assert_eq!(join(&mut cluster, second).1, PoolReply::Joined { owned: Vec::new() });
    cluster.elect(2);
    cluster.run_ms(2 * TIMEOUT_MS + 4 * TICK_MS);
    let PoolReply::Joined { owned } = join(&mut cluster, second).1 else { panic!("it takes part") };
    assert!(matches!(owned.as_slice(), [(_, epoch)] if *epoch > basis), "{owned:?}");
}
