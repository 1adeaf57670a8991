//! Sessions that end, move and outlive their leaders, and what hangs off them.

use super::stage::{Asked, Stage, Step, newest_leader, seconds};
use super::{ALONE, Cast, LOADED, Scenario};
use crate::checks::connection_order;
use crate::history::{Fate, put, value_of};
use crate::sim::client::Kind;
use crate::sim::network::Place;
use crate::sim::workload;
use crate::sim::world::World;
use bytes::Bytes;
use oarlock_server::node::request::{Admin, Consistency, Request, Response};
use oarlock_state::command::{Answer, KeyRange, KvOp, Put, RangeQuery, Txn};
use oarlock_state::{Command, NodeId, Query, Rejection, SessionId};

/// The scenarios of this file.
pub(super) const ALL: [Scenario; 8] = [
    Scenario {
        name: "stalled_leader_expires_nobody",
        source: "etcd #15247, #12528, #7029",
        recreates: "a leader stalls in a sync until it is deposed, and wakes up among sessions that live elsewhere",
        judged_by: "session_not_early",
        cast: Cast { load: &[(Kind::Session, 5)], ..ALONE },
        script: stalled_leader_expires_nobody,
    },
    Scenario {
        name: "stalled_time_is_credited",
        source: "etcd #15247, #12528",
        recreates: "the only member stands still for longer than a session's timeout, and nobody could reach it",
        judged_by: "session_not_early",
        cast: Cast { members: 1, ..ALONE },
        script: stalled_time_is_credited,
    },
    Scenario {
        name: "time_left_survives_leader_change",
        source: "etcd #7029, #15247",
        recreates: "the leader changes again and again while sessions are kept alive at the last moment",
        judged_by: "session_not_early, session_eventually",
        cast: ALONE,
        script: time_left_survives_leader_change,
    },
    Scenario {
        name: "keep_alive_after_close",
        source: "etcd #20616, #10686",
        recreates: "keep-alives on every member during and after the end of a session, one of them behind",
        judged_by: "session_stays_gone, ephemeral_with_session",
        cast: ALONE,
        script: keep_alive_after_close,
    },
    Scenario {
        name: "ephemeral_create_races_close",
        source: "ZOOKEEPER-2355, -1208, -3471, -1367",
        recreates: "ephemeral keys are created through one member while the session is closed through another",
        judged_by: "ephemeral_with_session, state_invariants",
        cast: ALONE,
        script: ephemeral_create_races_close,
    },
    Scenario {
        name: "session_moved",
        source: "ZOOKEEPER-710, -2886",
        recreates: "a request lies on a slow link while its session repeats it, and goes on, elsewhere",
        judged_by: "exactly_once",
        cast: ALONE,
        script: session_moved,
    },
    Scenario {
        name: "pipelined_writes_keep_their_order",
        source: "ZOOKEEPER-1863, -4537",
        recreates: "one connection writes on without waiting while the leader changes",
        judged_by: "connection_order",
        cast: ALONE,
        script: pipelined_writes_keep_their_order,
    },
    Scenario {
        name: "sessions_through_blackouts",
        source: "ZOOKEEPER-1367, -3144",
        recreates: "sessions with ephemeral keys live, end and begin while all members lose power",
        judged_by: "ephemeral_with_session, session_not_early",
        cast: Cast { load: &[(Kind::Session, 4), (Kind::Claimant, 2)], ..LOADED },
        script: sessions_through_blackouts,
    },
];

fn keep_alive(stage: &mut Stage, node: u64, session: SessionId) -> Asked {
    stage.ask_of(node, Request::KeepAlive { session })
}

fn close(stage: &mut Stage, node: u64, session: SessionId) -> Asked {
    stage.write(node, Command::CloseSession { session })
}

fn stalled_leader_expires_nobody(stage: &mut Stage) -> Step {
    for _ in 0..3 {
        let old = stage.leader()?;
        let session = stage.open_session(old, 2_000)?;
        let asked = keep_alive(stage, old, session);
        stage.done(asked)?;
        stage.freeze(old, 6_000);
        stage.leader_after(old)?;
        let others: Vec<u64> = stage.others(old);
        // Alive elsewhere, all the time; until after the old leader is back.
        for number in 0..40 {
            keep_alive(stage, others[number % others.len()], session);
            stage.pass(250)?;
        }
        let asked = keep_alive(stage, others[0], session);
        let alive = matches!(stage.answered(asked)?, Fate::Done(Response::Alive { .. }));
        stage.promised(
            "session_not_early",
            "a session that is kept alive lives through a stalled leader",
            alive,
        )?;
        stage.happened("the stalled leader runs again", stage.applied(old) > 0)?;
        stage.leader()?;
    }
    Ok(())
}

fn stalled_time_is_credited(stage: &mut Stage) -> Step {
    for _ in 0..4 {
        let only = stage.leader()?;
        let session = stage.open_session(only, 2_000)?;
        let asked = keep_alive(stage, only, session);
        stage.done(asked)?;
        let stall = stage.chance.between(3_000, 6_000);
        stage.freeze(only, stall);
        stage.pass(stall + 150)?;
        stage.happened("it stood still for longer than the timeout", stall > 2_000)?;
        let asked = keep_alive(stage, only, session);
        let alive = matches!(stage.answered(asked)?, Fate::Done(Response::Alive { .. }));
        stage.promised("session_not_early", "time in which the server stood still is credited", alive)?;
    }
    Ok(())
}

fn time_left_survives_leader_change(stage: &mut Stage) -> Step {
    let mut leader = stage.leader()?;
    let session = stage.open_session(leader, 3_000)?;
    let mut changes = 0;
    for round in 0..6 {
        let asked = keep_alive(stage, leader, session);
        let alive = matches!(stage.answered(asked)?, Fate::Done(Response::Alive { .. }));
        stage.promised("session_not_early", "a session that is kept alive in time lives on", alive)?;
        let next = if round % 2 == 0 {
            stage.kill(leader)?;
            let next = stage.leader_after(leader)?;
            stage.start(leader)?;
            next
        } else {
            stage.move_lead(leader)?
        };
        changes += u64::from(next != leader);
        let wait = stage.chance.below(300);
        stage.pass(wait)?;
        leader = stage.leader()?;
    }
    stage.happened("the leader changed several times", changes >= 3)?;
    let gone = |world: &World| world.ledger.expiries.iter().any(|e| e.session == session.get());
    stage.must("session_eventually", "a silent session ends", seconds(12), gone)
}

fn keep_alive_after_close(stage: &mut Stage) -> Step {
    for _ in 0..4 {
        let leader = stage.leader()?;
        let others = stage.others(leader);
        let session = stage.open_session(leader, 6_000)?;
        let put = Put { key: "e/1".into(), value: stage.value(), owner: session, ..Put::default() };
        let asked = stage.write(leader, Command::Txn(Txn { then: vec![KvOp::Put(put)], ..Txn::default() }));
        stage.written(asked)?;
        let behind = others[0];
        stage.hold_back(leader, behind, 400);
        let asked = close(stage, leader, session);
        for _ in 0..5 {
            for node in [leader, behind, others[1]] {
                keep_alive(stage, node, session);
            }
            stage.pass(1)?;
        }
        stage.done(asked)?;
        let late: Vec<Asked> =
            [leader, behind, others[1]].iter().map(|node| keep_alive(stage, *node, session)).collect();
        let local = stage.applied(behind) < stage.world.ledger.last_applied();
        stage.happened("one member had not heard of the end", local)?;
        for asked in late {
            let alive = matches!(stage.answered(asked)?, Fate::Done(Response::Alive { .. }));
            stage.promised("session_stays_gone", "a keep-alive after the end is refused", !alive)?;
        }
        let read = stage.get(behind, "e/1", Consistency::Linearizable);
        if let Response::Answer { answer: Answer::Range(range), .. } = stage.done(read)? {
            let gone = range.records.is_empty();
            stage.promised("ephemeral_with_session", "a key goes with its session", gone)?;
        }
        if stage.chance.one_in(2) {
            stage.move_lead(leader)?;
            let next = stage.leader()?;
            let asked = keep_alive(stage, next, session);
            let alive = matches!(stage.answered(asked)?, Fate::Done(Response::Alive { .. }));
            stage.promised("session_stays_gone", "nor does the next leader know it", !alive)?;
        }
    }
    Ok(())
}

fn ephemeral_create_races_close(stage: &mut Stage) -> Step {
    let (mut before, mut after) = (0, 0);
    for round in 0..12 {
        let leader = stage.leader()?;
        let others = stage.others(leader);
        let session = stage.open_session(leader, 5_000)?;
        let create = |stage: &mut Stage, node: u64, number: u64| {
            let key: Bytes = format!("e/{round}/{number}").into();
            let put = Put { key, value: stage.value(), owner: session, ..Put::default() };
            stage.write(node, Command::Txn(Txn { then: vec![KvOp::Put(put)], ..Txn::default() }))
        };
        let mut created = Vec::new();
        let cut = stage.chance.below(8);
        let mut closing = None;
        for number in 0..8 {
            if number == cut {
                closing = Some(close(stage, others[1], session));
            }
            created.push(create(stage, others[0], number));
            created.push(create(stage, leader, 100 + number));
            let pause = stage.chance.below(3) * 300;
            let end = stage.now() + pause;
            stage.world.run_until(end)?;
        }
        if let Some(closing) = closing {
            stage.answered(closing)?;
        }
        for asked in created {
            match stage.answered(asked)? {
                Fate::Done(_) => before += 1,
                Fate::Rejected(Rejection::SessionNotFound { .. }) => after += 1,
                _ => {}
            }
        }
        let range = KeyRange::prefix(format!("e/{round}/").as_bytes());
        for node in [1, 2, 3] {
            let read =
                stage.read(node, Query::Range(RangeQuery::of(range.clone())), Consistency::Linearizable);
            if let Response::Answer { answer: Answer::Range(found), .. } = stage.done(read)? {
                let none = found.records.is_empty();
                stage.promised(
                    "ephemeral_with_session",
                    "no key is left of a session that was closed",
                    none,
                )?;
            }
        }
    }
    stage.happened("some keys were created before the end, and some too late", before > 0 && after > 0)
}

fn session_moved(stage: &mut Stage) -> Step {
    for round in 0..5 {
        let leader = stage.leader()?;
        let others = stage.others(leader);
        let session = stage.open_session(leader, 6_000)?;
        let key: Bytes = "l/moved".into();
        let old = stage.connect(others[0]);
        let number = stage.world.history.len() as u64 + 1;
        let request = Stage::named(session, 1, 0, workload::append(&key, number));
        // The first link is slow: what was sent over it arrives when nobody waits for it any more.
        let place = stage.world.conns[&old].client as u64;
        let until = stage.now() + 900_000;
        stage.world.network.clog(Place::Client(place), Place::Node(others[0]), until);
        let asked = stage.ask(old, request);
        stage.pass(50)?;
        let new = stage.connect(others[1]);
        stage.world.ask_again_by_hand(new, asked);
        stage.written(asked)?;
        let acked = if stage.chance.one_in(2) { 1 } else { 0 };
        let number = stage.world.history.len() as u64 + 1;
        let next = stage.ask(new, Stage::named(session, 2, acked, workload::append(&key, number)));
        stage.written(next)?;
        stage.happened("the first copy was still on its way", stage.world.copies_under_way(asked) == 1)?;
        stage.until("the first copy was answered", |world| world.answers_to(asked).len() == 2)?;
        let executed = stage.world.ledger.executions.iter().filter(|one| {
            one.proposal.request.is_some_and(|name| name.session == session && name.sequence == 1)
        });
        let copies = executed.count();
        stage.happened(&format!("the late copy reached the log in round {round}"), copies >= 1)?;
        let asked = close(stage, leader, session);
        stage.answered(asked)?;
    }
    Ok(())
}

fn pipelined_writes_keep_their_order(stage: &mut Stage) -> Step {
    let mut interrupted = 0;
    for _ in 0..4 {
        let leader = stage.leader()?;
        let through = *stage.chance.pick(&stage.others(leader));
        let session = stage.open_session(leader, 6_000)?;
        let conn = stage.connect(through);
        let mut asked = Vec::new();
        for sequence in 1..=40 {
            let txn =
                put(&format!("p/{}", sequence % 3).into(), value_of(stage.world.history.len() as u64 + 1));
            asked.push(stage.ask(conn, Stage::named(session, sequence, 0, txn)));
            if sequence == 15 {
                match stage.chance.below(3) {
                    0 => stage.kill(leader)?,
                    1 => stage.isolate(leader),
                    _ => {
                        stage.admin(leader, Admin::MoveLeader(NodeId(0)));
                    }
                }
            }
            let pause = stage.chance.below(4_000);
            let end = stage.now() + pause;
            stage.world.run_until(end)?;
        }
        stage.pass(5_000)?;
        stage.mend();
        stage.start_all()?;
        stage.leader()?;
        stage.pass(1_000)?;
        let done = asked.iter().filter(|one| matches!(stage.fate(**one), Fate::Done(_))).count();
        interrupted += usize::from(done > 0 && newest_leader(&stage.world) != Some(leader));
        connection_order::check(session.get(), &stage.world.ledger.executions)?;
    }
    stage.happened("the leader changed under writes that went on", interrupted > 0)
}

fn sessions_through_blackouts(stage: &mut Stage) -> Step {
    for _ in 0..4 {
        let leader = stage.leader()?;
        let session = stage.open_session(leader, 4_000)?;
        let put = Put { key: "e/9".into(), value: stage.value(), owner: session, ..Put::default() };
        let asked = stage.write(leader, Command::Txn(Txn { then: vec![KvOp::Put(put)], ..Txn::default() }));
        stage.answered(asked)?;
        let wait = stage.chance.below(1_500);
        stage.pass(wait)?;
        stage.blackout()?;
        let wait = stage.chance.below(3_000);
        stage.pass(wait)?;
        stage.start_all()?;
        let leader = stage.leader()?;
        keep_alive(stage, leader, session);
        stage.pass(500)?;
    }
    let ended = stage.world.ledger.ends.len();
    stage.pass(8_000)?;
    stage.happened("sessions ended", stage.world.ledger.ends.len() > ended.min(1))
}
