//! Reads around changes of leader: fresh or refused, never stale, never for ever.

use super::stage::{Stage, Step, newest_leader, seconds};
use super::{ALONE, Cast, LOADED, Scenario};
use crate::history::Fate;
use crate::sim::network::Place;
use crate::sim::world::World;
use oarlock_server::node::request::Consistency::{Linearizable, Serializable};
use oarlock_server::node::request::{Admin, Consistency, Request, Response};
use oarlock_state::command::{KeyRange, RangeQuery};
use oarlock_state::{NodeId, Query};

/// The scenarios of this file.
pub(super) const ALL: [Scenario; 9] = [
    Scenario {
        name: "late_answers_to_an_earlier_round",
        source: "etcd #20418",
        recreates: "answers to a read round of before arrive at a deposed leader while a later read waits there",
        judged_by: "linearizable",
        cast: ALONE,
        script: late_answers_to_an_earlier_round,
    },
    Scenario {
        name: "read_right_after_election",
        source: "etcd #7331",
        recreates: "a new leader that does not know of the last commit is read from before it commits its own entry",
        judged_by: "linearizable",
        cast: ALONE,
        script: read_right_after_election,
    },
    Scenario {
        name: "reads_finish_after_election",
        source: "etcd #12680, #12762, #9566",
        recreates: "reads are under way on every member when the leader dies",
        judged_by: "liveness",
        cast: LOADED,
        script: reads_finish_after_election,
    },
    Scenario {
        name: "read_at_deposed_leader",
        source: "etcd #741, #3879; Consul #54, #2644; TiKV #6340",
        recreates: "a leader that cannot notice it is alone is read from after its successor took writes",
        judged_by: "linearizable",
        cast: ALONE,
        script: read_at_deposed_leader,
    },
    Scenario {
        name: "read_at_frozen_leader",
        source: "TiKV #9208; Consul #2644",
        recreates: "a leader freezes with reads in its mailbox and wakes up after it was replaced",
        judged_by: "linearizable",
        cast: ALONE,
        script: read_at_frozen_leader,
    },
    Scenario {
        name: "read_at_leader_that_hands_over",
        source: "TiKV #9208",
        recreates: "reads at a leader while it hands the lead over",
        judged_by: "linearizable",
        cast: ALONE,
        script: read_at_leader_that_hands_over,
    },
    Scenario {
        name: "sync_then_read_at_deposed_leader",
        source: "ZOOKEEPER-2136",
        recreates: "a client of a deposed leader asks for the latest, then reads what is there",
        judged_by: "linearizable, revision_order",
        cast: ALONE,
        script: sync_then_read_at_deposed_leader,
    },
    Scenario {
        name: "bridged_old_leader",
        source: "openraft #2080, #1796",
        recreates: "an old leader without a quorum reaches one member of a connected majority",
        judged_by: "liveness",
        cast: Cast { members: 5, ..ALONE },
        script: bridged_old_leader,
    },
    Scenario {
        name: "leader_that_is_not_heard",
        source: "etcd #8243, #8501",
        recreates: "a leader hears everybody and is heard by nobody, or the reverse; or members form a ring",
        judged_by: "liveness",
        cast: Cast { members: 5, ..ALONE },
        script: leader_that_is_not_heard,
    },
];

/// The current leader cannot notice that it is alone: its successor is elected, and both believe
/// that they lead.
fn two_leaders(stage: &mut Stage, old: u64) -> Step<u64> {
    stage.stop_clock(old, 30_000);
    let next = stage.leader_after(old)?;
    let both = |world: &World| world.leaders.len() >= 2;
    stage.happened("two members believed that they lead", both(&stage.world))?;
    Ok(next)
}

/// A write through a new leader, which is there as soon as it has committed.
fn write_through(stage: &mut Stage, leader: u64, key: &str) -> Step {
    for _ in 0..30 {
        let asked = stage.put(leader, key);
        if matches!(stage.answered(asked)?, Fate::Done(_)) {
            return Ok(());
        }
        stage.pass(100)?;
    }
    stage.happened("the new leader took a write", false)
}

fn late_answers_to_an_earlier_round(stage: &mut Stage) -> Step {
    const LATE_MS: u64 = 12_000;
    let old = stage.leader()?;
    let asked = stage.put(old, "r/0");
    stage.written(asked)?;
    let begun = stage.now();
    // The question reaches the others; their answers are on their way for long.
    for other in stage.others(old) {
        stage.hold_back(other, old, LATE_MS);
    }
    stage.stop_clock(old, LATE_MS - 250);
    stage.get(old, "r/0", Linearizable);
    stage.pass(50)?;
    for other in stage.others(old) {
        // Whatever they say after that comes later still.
        stage.hold_back(other, old, LATE_MS + 4_000);
        stage.world.network.block(Place::Node(old), Place::Node(other));
    }
    let next = stage.leader_after(old)?;
    write_through(stage, next, "r/0")?;
    let ms = |time: u64| time / 1_000;
    stage
        .happened("the successor wrote before the answers came", ms(stage.now() - begun) < LATE_MS - 2_000)?;
    let wait = LATE_MS - 1_000 - ms(stage.now() - begun);
    stage.pass(wait)?;
    let later = stage.get(old, "r/0", Linearizable);
    // It has time to give the first round up and begin another, and none to notice that it is alone.
    stage.pass(950)?;
    stage.happened("a later read waits at the deposed leader", stage.fate(later) == Fate::Pending)?;
    stage.happened("it believes that it leads", stage.world.leaders.contains_key(&old))?;
    stage.pass(3_000)?;
    stage.happened("the late answers came", stage.fate(later) != Fate::Pending)
}

fn read_right_after_election(stage: &mut Stage) -> Step {
    let mut early = 0;
    for _ in 0..5 {
        let old = stage.leader()?;
        let others = stage.others(old);
        // One follower is behind; the other has everything, and does not know that it is committed.
        let (ahead, behind) = (others[0], others[1]);
        stage.part(&[old], &[behind]);
        stage.part(&[ahead], &[behind]);
        for number in 0..10 {
            let asked = stage.put(old, &format!("r/{}", number % 3));
            stage.written(asked)?;
        }
        let at = stage.applied(old);
        let last = stage.put(old, "r/0");
        stage.until("the leader applied the last write", |world| {
            world.applied.get(&old).is_some_and(|applied| *applied > at)
        })?;
        // What it sends from here on reaches its client alone.
        stage.world.network.block(Place::Node(old), Place::Node(ahead));
        stage.until("the last write was acknowledged", |world| {
            matches!(world.history[last].fate, Fate::Done(_))
        })?;
        let known = stage.applied(ahead);
        stage.kill(old)?;
        stage.mend();
        let next = stage.leader_after(old)?;
        stage.happened("the member that is ahead leads", next == ahead)?;
        let before = stage.applied(next);
        for _ in 0..40 {
            stage.get(next, "r/0", Linearizable);
            stage.get(behind, "r/0", Linearizable);
            stage.pass(1)?;
        }
        early += u64::from(before <= known);
        stage.start(old)?;
    }
    stage.happened("a new leader was read from before it had applied what was acknowledged", early > 0)
}

fn reads_finish_after_election(stage: &mut Stage) -> Step {
    for _ in 0..3 {
        let leader = stage.leader()?;
        let others = stage.others(leader);
        let mut asked = Vec::new();
        for number in 0..10 {
            let through = others[number % others.len()];
            asked.push(stage.get(through, "r/0", Linearizable));
        }
        stage.kill(leader)?;
        for number in 0..10 {
            let through = others[number % others.len()];
            asked.push(stage.get(through, "r/0", Linearizable));
            stage.pass(30)?;
        }
        let open = asked.iter().filter(|one| stage.fate(**one) == Fate::Pending).count();
        stage.happened("reads were under way when the leader died", open > 0)?;
        let next = stage.leader_after(leader)?;
        stage.must(
            "liveness",
            "reads of before are answered within 5 s of an election",
            seconds(5),
            |world| asked.iter().all(|one| world.history[*one].fate != Fate::Pending),
        )?;
        stage.leader()?;
        let read = stage.get(next, "r/0", Linearizable);
        let answered = matches!(stage.answered(read)?, Fate::Done(Response::Answer { .. }));
        stage.promised("liveness", "a read after the election is answered", answered)?;
        stage.start(leader)?;
    }
    Ok(())
}

fn read_at_deposed_leader(stage: &mut Stage) -> Step {
    let old = stage.leader()?;
    let asked = stage.put(old, "r/1");
    stage.written(asked)?;
    stage.isolate(old);
    let next = two_leaders(stage, old)?;
    write_through(stage, next, "r/1")?;
    let mut reads = Vec::new();
    for _ in 0..10 {
        reads.push(stage.get(old, "r/1", Linearizable));
        stage.pass(40)?;
    }
    stage.happened("it believed that it leads", stage.world.leaders.contains_key(&old))?;
    let stale = reads.iter().any(|read| matches!(stage.fate(*read), Fate::Done(_)));
    stage.promised("linearizable", "a deposed leader that is alone answers no read", !stale)?;
    stage.mend();
    stage.pass(2_000)
}

fn read_at_frozen_leader(stage: &mut Stage) -> Step {
    for _ in 0..3 {
        let old = stage.leader()?;
        let asked = stage.put(old, "r/2");
        stage.written(asked)?;
        for _ in 0..5 {
            stage.get(old, "r/2", Linearizable);
        }
        stage.freeze(old, 5_000);
        let next = stage.leader_after(old)?;
        write_through(stage, next, "r/2")?;
        let waits = stage.get(old, "r/2", Linearizable);
        stage.pass(100)?;
        stage.happened("a read waited at the frozen leader", stage.fate(waits) == Fate::Pending)?;
        stage.pass(6_000)?;
    }
    Ok(())
}

fn read_at_leader_that_hands_over(stage: &mut Stage) -> Step {
    let mut moved = 0;
    for _ in 0..6 {
        let old = stage.leader()?;
        let to = *stage.chance.pick(&stage.others(old));
        stage.admin(old, Admin::MoveLeader(NodeId(to)));
        for number in 0..40 {
            let node = [old, to][number % 2];
            if number % 4 == 0 {
                stage.put(node, "r/3");
            }
            stage.get(node, "r/3", Linearizable);
            stage.pass(2)?;
        }
        stage.pass(500)?;
        moved += u64::from(newest_leader(&stage.world) == Some(to));
    }
    stage.happened("the lead was handed over under reads", moved > 0)
}

fn sync_then_read_at_deposed_leader(stage: &mut Stage) -> Step {
    let old = stage.leader()?;
    let asked = stage.put(old, "r/4");
    stage.written(asked)?;
    stage.isolate(old);
    let next = two_leaders(stage, old)?;
    write_through(stage, next, "r/4")?;
    let conn = stage.connect(old);
    let sync = stage.ask(conn, read_request("r/4", Linearizable));
    let read = stage.ask(conn, read_request("r/4", Serializable));
    stage.pass(1_000)?;
    let local = matches!(stage.fate(read), Fate::Done(_));
    stage.happened("the deposed leader showed what it has to who did not ask for the latest", local)?;
    let synced = matches!(stage.fate(sync), Fate::Done(_));
    stage.promised("linearizable", "the latest is not confirmed by a deposed leader", !synced)?;
    stage.mend();
    stage.pass(3_000)?;
    // Once it was confirmed, what is there is the latest.
    let sync = stage.get(old, "r/4", Linearizable);
    stage.done(sync)?;
    let read = stage.get(old, "r/4", Serializable);
    let (Response::Answer { revision: latest, .. }, Response::Answer { revision, .. }) =
        (stage.done(sync)?, stage.done(read)?)
    else {
        return stage.happened("both reads were answered", false);
    };
    stage.promised(
        "revision_order",
        "what is read after a sync is no older than the sync",
        revision >= latest,
    )
}

fn read_request(key: &str, consistency: Consistency) -> Request {
    let query = Query::Range(RangeQuery::of(KeyRange::Key(key.to_owned().into())));
    Request::Read { query, consistency, timeout_ms: 0 }
}

/// Within a time, a write through one of these members is done although the partition lasts.
fn must_take_writes(stage: &mut Stage, members: &[u64], ms: u64) -> Step {
    let end = stage.now() + ms * 1_000;
    while stage.now() < end {
        for member in members {
            let asked = stage.put(*member, "alive");
            stage.pass(100)?;
            if matches!(stage.fate(asked), Fate::Done(_)) {
                return Ok(());
            }
        }
    }
    stage.promised("liveness", "a connected majority takes writes while others are cut off", false)
}

fn bridged_old_leader(stage: &mut Stage) -> Step {
    for _ in 0..3 {
        let old = stage.leader()?;
        let others = stage.others(old);
        let asked = stage.put(old, "before");
        stage.written(asked)?;
        // It reaches the first, and the first reaches all.
        stage.part(&[old], &others[1..]);
        stage.pass(300)?;
        stage.happened(
            "the old leader led when it lost its majority",
            stage.world.leaders.contains_key(&old),
        )?;
        must_take_writes(stage, &others[1..], seconds(12))?;
        stage.mend();
        stage.pass(1_000)?;
    }
    Ok(())
}

fn leader_that_is_not_heard(stage: &mut Stage) -> Step {
    for shape in 0..3 {
        let old = stage.leader()?;
        let others = stage.others(old);
        for other in &others {
            let (one, other) = (Place::Node(old), Place::Node(*other));
            match shape {
                0 => stage.world.network.block(one, other),
                1 => stage.world.network.block(other, one),
                _ => {}
            }
        }
        let mut able = others.clone();
        if shape == 2 {
            // Each reaches its two neighbours only.
            let ring: Vec<u64> = [old].into_iter().chain(others.iter().copied()).collect();
            for one in 0..5 {
                stage.part(&[ring[one]], &[ring[(one + 2) % 5]]);
            }
            able = ring;
        }
        stage.pass(200)?;
        let cut = stage.world.network.blocked_links().count();
        stage.happened("links were cut", cut >= 4)?;
        must_take_writes(stage, &able, seconds(15))?;
        stage.mend();
        stage.pass(1_000)?;
    }
    Ok(())
}
