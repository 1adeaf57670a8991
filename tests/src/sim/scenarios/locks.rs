//! Locks whose holders and waiters end, or stand still.

use super::stage::{Asked, End, Stage, Step};
use super::{ALONE, Scenario};
use crate::checks::lock_exclusive::Tenure;
use crate::history::{Fate, put};
use crate::sim::workload;
use crate::sim::world::World;
use bytes::Bytes;
use oarlock_server::node::request::{Request, Write};
use oarlock_state::command::{Guard, ReplyBody, TokenScope};
use oarlock_state::object::{Acquire, Claim, Held, Mode, ObjectKind, ObjectOp, ObjectReply, Part};
use oarlock_state::{Command, Rejection, RequestId, Revision, SessionId};

/// The scenarios of this file.
pub(super) const ALL: [Scenario; 2] = [
    Scenario {
        name: "lock_of_ended_session",
        source: "etcd #11456; Consul #912",
        recreates: "a session ends while it waits for a lock, and the holder lets go right then",
        judged_by: "lock_exclusive, lock_no_lost_wakeup",
        cast: ALONE,
        script: lock_of_ended_session,
    },
    Scenario {
        name: "paused_holder_is_fenced",
        source: "etcd #11457; Consul #18271, #6793",
        recreates: "a holder stands still beyond its timeout, another one takes the lock, and both write",
        judged_by: "token_exclusive",
        cast: ALONE,
        script: paused_holder_is_fenced,
    },
];

const LOCK: &str = "o/m";

fn acquire(stage: &mut Stage, node: u64, session: SessionId, sequence: u64) -> Asked {
    let name = Bytes::from_static(LOCK.as_bytes());
    let part = Part { name, kind: ObjectKind::Mutex, mode: Mode::Exclusive };
    let acquire = Acquire {
        parts: vec![part],
        claim: claim(session),
        wait: true,
        metadata: Bytes::from_static(b"who"),
        priority: 0,
        preempt: false,
        lock_delay_ms: 0,
    };
    object(stage, node, session, sequence, ObjectOp::Acquire(acquire))
}

fn claim(session: SessionId) -> Claim {
    Claim { session, request: 1 }
}

fn release(stage: &mut Stage, node: u64, session: SessionId, sequence: u64, token: Revision) -> Asked {
    let held = Held { name: Bytes::from_static(LOCK.as_bytes()), claim: claim(session), token };
    object(stage, node, session, sequence, ObjectOp::Release { holds: vec![held] })
}

fn object(stage: &mut Stage, node: u64, session: SessionId, sequence: u64, op: ObjectOp) -> Asked {
    let name = RequestId { session, sequence, acked_up_to: 0 };
    stage.ask_of(node, Request::Write(Write { request: Some(name), ..Write::of(Command::Object(op)) }))
}

/// The token of a lock that was granted at once, which its holder holds from now on.
fn granted(stage: &mut Stage, asked: Asked, session: SessionId) -> Step<Revision> {
    match stage.written(asked)?.body {
        ReplyBody::Object(ObjectReply::Granted { token }) => {
            stage.world.tenures.push(Tenure {
                name: Bytes::from_static(LOCK.as_bytes()),
                kind: ObjectKind::Mutex,
                claim: claim(session),
                mode: Mode::Exclusive,
                token: token.get(),
                from: stage.now(),
                until: None,
            });
            Ok(token)
        }
        other => Err(End::Invalid(format!("the lock was not granted at once: {other:?}"))),
    }
}

fn let_go(stage: &mut Stage) {
    let now = stage.now();
    if let Some(tenure) = stage.world.tenures.last_mut() {
        tenure.until.get_or_insert(now);
    }
}

fn lock_of_ended_session(stage: &mut Stage) -> Step {
    for _ in 0..6 {
        let leader = stage.leader()?;
        let others = stage.others(leader);
        let holder = stage.open_session(leader, 6_000)?;
        let dead = stage.open_session(leader, 6_000)?;
        let third = stage.open_session(leader, 6_000)?;
        let asked = acquire(stage, leader, holder, 1);
        let token = granted(stage, asked, holder)?;
        let waits = acquire(stage, others[0], dead, 1);
        stage.written(waits)?;
        let waits = acquire(stage, others[1], third, 1);
        stage.written(waits)?;
        let_go(stage);
        // At the same time, through two members: who waits ends, and who holds lets go.
        let (ended, released) = if stage.chance.one_in(2) {
            (close(stage, others[0], dead), release(stage, others[1], holder, 2, token))
        } else {
            let released = release(stage, others[1], holder, 2, token);
            (close(stage, others[0], dead), released)
        };
        stage.done(ended)?;
        stage.done(released)?;
        let gone = !stage.world.ledger.holders.keys().any(|(_, claim)| claim.session == dead);
        stage.promised("lock_exclusive", "a session that is gone holds no lock", gone)?;
        let passed_on = stage.world.ledger.holders.keys().any(|(_, claim)| claim.session == third);
        stage.promised("lock_no_lost_wakeup", "whoever waited behind it holds the lock", passed_on)?;
        for session in [holder, third] {
            let asked = close(stage, leader, session);
            stage.done(asked)?;
        }
    }
    Ok(())
}

fn paused_holder_is_fenced(stage: &mut Stage) -> Step {
    for _ in 0..3 {
        let leader = stage.leader()?;
        let paused = stage.open_session(leader, 1_500)?;
        let asked = acquire(stage, leader, paused, 1);
        let old = granted(stage, asked, paused)?;
        let next = stage.open_session(leader, 6_000)?;
        let asked = acquire(stage, leader, next, 1);
        stage.written(asked)?;
        if stage.chance.one_in(2) {
            // Not even a change of leader in the middle makes it come back.
            stage.kill(leader)?;
            stage.leader_after(leader)?;
            stage.start(leader)?;
        }
        let holds = |world: &World| world.ledger.holders.keys().any(|(_, claim)| claim.session == next);
        stage.until("the lock went to the next one", holds)?;
        let_go(stage);
        let token =
            stage.world.ledger.holders.iter().find(|((_, claim), _)| claim.session == next).map(|(_, t)| *t);
        let leader = stage.leader()?;
        let ghost = guarded(stage, leader, old);
        let rightful = guarded(stage, leader, Revision(token.unwrap_or(0)));
        let refused = matches!(stage.answered(ghost)?, Fate::Rejected(Rejection::Fenced { .. }));
        stage.promised("token_exclusive", "a write under a token that was passed on is refused", refused)?;
        stage.written(rightful)?;
        let asked = close(stage, leader, next);
        stage.done(asked)?;
    }
    Ok(())
}

fn guarded(stage: &mut Stage, node: u64, token: Revision) -> Asked {
    let guard = Guard { scope: TokenScope::Lock(Bytes::from_static(LOCK.as_bytes())), token };
    let key = workload::protected(&Bytes::from(guard.scope.to_string()));
    let command = Command::Txn(put(&key, stage.value()));
    stage.ask_of(node, Request::Write(Write { guards: vec![guard], ..Write::of(command) }))
}

fn close(stage: &mut Stage, node: u64, session: SessionId) -> Asked {
    stage.write(node, Command::CloseSession { session })
}
