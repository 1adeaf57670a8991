//! What must come out the same on every member, and once.

use super::stage::{Stage, Step, newest_leader};
use super::{ALONE, Cast, LOADED, Scenario, short_log};
use crate::checks::exactly_once;
use crate::history::{Fate, number_in, put, value_of};
use crate::sim::node::Numbers;
use crate::sim::workload;
use bytes::Bytes;
use oarlock_server::node::request::{Admin, Consistency, Request, Response, Write};
use oarlock_state::auth::{AuthAnswer, AuthOp, AuthQuery, Password, Permission, PermissionKind};
use oarlock_state::command::{Answer, IdempotencyKey, KeyRange, KvOp, RangeQuery, Txn};
use oarlock_state::{Command, NodeId, Query, Rejection, Revision};

/// The scenarios of this file.
pub(super) const ALL: [Scenario; 5] = [
    Scenario {
        name: "transaction_reads_what_is_compacted",
        source: "etcd #18667",
        recreates: "transactions that read at compacted revisions, on members that reclaimed differently far",
        judged_by: "state_agreement",
        cast: Cast { tune: |tuning| (tuning.reclaim_events, tuning.freeze_records) = (1, 20), ..ALONE },
        script: transaction_reads_what_is_compacted,
    },
    Scenario {
        name: "users_travel_in_snapshots",
        source: "etcd #14571",
        recreates: "a member learns of users, roles and permissions by a snapshot",
        judged_by: "state_agreement",
        cast: Cast { tune: short_log, ..ALONE },
        script: users_travel_in_snapshots,
    },
    Scenario {
        name: "repeated_until_answered",
        source: "etcd #14890; Jepsen jetcd 0.8.2",
        recreates: "named writes are repeated through every member while members die, and answers get lost",
        judged_by: "exactly_once",
        cast: ALONE,
        script: repeated_until_answered,
    },
    Scenario {
        name: "repeated_over_snapshots",
        source: "Ongaro (2014), section 6.3; ZOOKEEPER-3144",
        recreates: "a named write is repeated at a member that learned of it by a snapshot, and leads",
        judged_by: "exactly_once",
        cast: Cast { tune: short_log, ..ALONE },
        script: repeated_over_snapshots,
    },
    Scenario {
        name: "numbers_beyond_32_bits",
        source: "ZOOKEEPER-1277, -2789",
        recreates: "index, term, revision and session ids pass 2^31, 2^32, 2^53 or 2^63",
        judged_by: "revision_monotone, revision_order, state_agreement",
        cast: LOADED,
        script: numbers_beyond_32_bits,
    },
];

fn transaction_reads_what_is_compacted(stage: &mut Stage) -> Step {
    let (mut refused, mut read) = (0, 0);
    for _ in 0..3 {
        let leader = stage.leader()?;
        stage.burst(leader, 30)?;
        let away = *stage.chance.pick(&stage.others(leader));
        stage.kill(away)?;
        let mark = stage.world.ledger.revision - stage.chance.below(4);
        stage.compact(leader, mark)?;
        let wait = stage.chance.below(600);
        stage.pass(wait)?;
        stage.start(away)?;
        for number in 0..12 {
            let at = mark + 3 - number.min(mark + 2);
            let range = RangeQuery { revision: Revision(at), ..RangeQuery::of(KeyRange::prefix(b"b/")) };
            let mut txn = Txn { then: vec![KvOp::Range(range)], ..Txn::default() };
            txn.then.extend(put(&format!("t/{number}").into(), stage.value()).then);
            let asked = stage.write(leader, Command::Txn(txn));
            match stage.answered(asked)? {
                Fate::Rejected(Rejection::Compacted { .. }) => refused += 1,
                Fate::Done(_) => read += 1,
                _ => {}
            }
        }
        stage.pass(500)?;
    }
    stage
        .happened("some transactions read what was compacted, and some what was not", refused > 0 && read > 0)
}

fn users_travel_in_snapshots(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let behind = *stage.chance.pick(&stage.others(leader));
    stage.isolate(behind);
    let permission = Permission { kind: PermissionKind::Read, range: KeyRange::prefix(b"b/") };
    let (user, role) = ("eve".to_owned(), "reader".to_owned());
    for op in [
        AuthOp::AddUser { name: user.clone(), password: Password::None },
        AuthOp::AddRole { name: role.clone() },
        AuthOp::GrantPermission { role: role.clone(), permission },
        AuthOp::GrantRole { user, role },
    ] {
        let asked = stage.write(leader, Command::Auth(op));
        stage.written(asked)?;
    }
    let installed = stage.world.stats.get("snapshot: installed");
    stage.leave_behind(behind)?;
    stage.mend();
    stage.until("a snapshot was installed", |world| world.stats.get("snapshot: installed") > installed)?;
    stage.must_catch_up(behind)?;
    let names = |stage: &mut Stage, query: AuthQuery| -> Step<bool> {
        let asked = stage.read(behind, Query::Auth(query), Consistency::Serializable);
        let answer = stage.done(asked)?;
        Ok(
            matches!(answer, Response::Answer { answer: Answer::Auth(AuthAnswer::Names(names)), .. } if names.len() == 1),
        )
    };
    let known = names(stage, AuthQuery::Users)? && names(stage, AuthQuery::Roles)?;
    stage.promised("state_agreement", "users and roles are there after a snapshot", known)?;
    // It applies further changes of them as the others do.
    let leader = stage.leader()?;
    let asked = stage.write(leader, Command::Auth(AuthOp::DeleteRole { name: "reader".to_owned() }));
    stage.written(asked)?;
    Ok(())
}

fn repeated_until_answered(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let session = stage.open_session(leader, 6_000)?;
    let list: Bytes = workload::list(0);
    let mut acknowledged = Vec::new();
    let mut repeated = 0;
    for sequence in 1..=12 {
        let leader = stage.leader()?;
        stage.ask_of(leader, Request::KeepAlive { session });
        let number = stage.world.history.len() as u64 + 1;
        let request = Stage::named(session, sequence, sequence - 1, workload::append(&list, number));
        let asked = stage.ask_of(leader, request);
        let pause = stage.chance.below(4_000);
        let end = stage.now() + pause;
        stage.world.run_until(end)?;
        if sequence % 3 == 0 {
            stage.kill(leader)?;
            stage.leader_after(leader)?;
            stage.start(leader)?;
        }
        for node in [1, 2, 3] {
            stage.ask_again(node, asked);
        }
        let remembered = stage.remembered(asked)?;
        let done = stage.world.answers_to(asked).iter().filter(|answer| answer.is_ok()).count() as u64;
        let once = done <= remembered + 1;
        stage.promised("exactly_once", "of several answers, all but one are of what was remembered", once)?;
        repeated += remembered;
        if let Fate::Done(Response::Written(_)) = stage.fate(asked) {
            acknowledged.push(number);
        }
    }
    stage.happened("writes were answered with what was remembered", repeated > 0)?;
    let leader = stage.leader()?;
    let read = stage.get(leader, "l/0", Consistency::Linearizable);
    if let Response::Answer { answer: Answer::Range(range), .. } = stage.done(read)? {
        let value = range.records.first().map(|record| record.value.clone()).unwrap_or_default();
        let text = String::from_utf8_lossy(&value).into_owned();
        let found: Vec<u64> = text.split(',').filter_map(|item| number_in(item.as_bytes())).collect();
        exactly_once::check_appended(&acknowledged, &found)?;
    }
    Ok(())
}

fn repeated_over_snapshots(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let behind = *stage.chance.pick(&stage.others(leader));
    let session = stage.open_session(leader, 6_000)?;
    stage.isolate(behind);
    let leader = stage.leader()?;
    let number = stage.world.history.len() as u64 + 1;
    let request = Stage::named(session, 1, 0, workload::append(&workload::list(1), number));
    let named = stage.ask_of(leader, request);
    stage.written(named)?;
    let own = stage.value();
    let idempotency = Some(IdempotencyKey { key: "own".into(), retain_ms: 600_000 });
    let command = Command::Txn(put(&"r/0".into(), own));
    let unnamed = Request::Write(Write { idempotency, ..Write::of(command) });
    let unnamed = stage.ask_of(leader, unnamed);
    stage.written(unnamed)?;
    let installed = stage.world.stats.get("snapshot: installed");
    stage.leave_behind(behind)?;
    stage.mend();
    stage.until("a snapshot was installed", |world| world.stats.get("snapshot: installed") > installed)?;
    stage.must_catch_up(behind)?;
    for _ in 0..20 {
        let leader = stage.leader()?;
        if leader == behind {
            break;
        }
        let to = NodeId(behind);
        let asked = stage.admin(leader, Admin::MoveLeader(to));
        stage.answered(asked)?;
        stage.pass(500)?;
    }
    let leads = newest_leader(&stage.world) == Some(behind);
    stage.happened("the member that was given a snapshot leads", leads)?;
    for asked in [named, unnamed] {
        stage.ask_again(behind, asked);
        let told = stage.remembered(asked)? == 1;
        stage.promised("exactly_once", "a repeated write is answered with what was remembered", told)?;
    }
    Ok(())
}

fn numbers_beyond_32_bits(stage: &mut Stage) -> Step {
    let bits = *stage.chance.pick(&[31, 32, 53, 63]);
    let edge = 1_u64 << bits;
    let before = |stage: &mut Stage, most: u64| edge - stage.chance.between(1, most);
    let (index, revision, session) = (before(stage, 40), before(stage, 30), before(stage, 3));
    // Raft's term is compared as a number alone; two elections take it over the edge.
    stage.count_from(Numbers { index, term: edge - 2, revision, session });
    let leader = stage.leader()?;
    let first = stage.open_session(leader, 6_000)?;
    for _ in 0..4 {
        stage.open_session(leader, 6_000)?;
    }
    let number = stage.world.history.len() as u64 + 1;
    let request = Stage::named(first, u64::MAX / 2, 0, put(&"r/0".into(), value_of(number)));
    let asked = stage.ask_of(leader, request);
    stage.answered(asked)?;
    stage.burst(leader, 60)?;
    for _ in 0..3 {
        let leader = stage.leader()?;
        stage.kill(leader)?;
        stage.leader_after(leader)?;
        stage.start(leader)?;
    }
    let leader = stage.leader()?;
    stage.burst(leader, 10)?;
    stage.blackout()?;
    stage.start_all()?;
    stage.leader()?;
    let passed = stage.world.ledger.revision > edge && stage.world.ledger.last_applied() > edge;
    let term = stage.world.leaders.values().max().copied().unwrap_or(0);
    stage.happened("revision, index and term passed the edge", passed && term > edge)
}
