//! Watches at the edges: behind, overtaken, ahead of time, and on members that change their state.

use super::stage::{Stage, Step, is_cancelled, newest_leader, seconds, spec};
use super::{ALONE, Cast, LOADED, Scenario, short_log};
use crate::history::{put, value_of};
use crate::sim::world::World;
use bytes::Bytes;
use oarlock_server::node::request::{Request, WatchFrame};
use oarlock_state::Command;
use oarlock_state::command::{KeyRange, KvOp, Txn};
use oarlock_state::event::EventKind;

/// The scenarios of this file.
pub(super) const ALL: [Scenario; 8] = [
    Scenario {
        name: "watch_on_member_that_installs_snapshot",
        source: "etcd #15271",
        recreates: "a watch on a member whose state is replaced by a snapshot",
        judged_by: "watch_ordered, watch_no_gap",
        cast: Cast { tune: short_log, ..ALONE },
        script: watch_on_member_that_installs_snapshot,
    },
    Scenario {
        name: "slow_watch_overtaken_by_compaction",
        source: "etcd #17529, #15402",
        recreates: "a watcher takes nothing while history is compacted beyond where it is",
        judged_by: "watch_no_gap, watch_resumable",
        cast: Cast { tune: |tuning| tuning.watch_recent_bytes = 500, ..ALONE },
        script: slow_watch_overtaken_by_compaction,
    },
    Scenario {
        name: "progress_asked_of_slow_watch",
        source: "etcd #15220",
        recreates: "progress is asked for while events wait for the watcher's credit",
        judged_by: "watch_bookmarkable, watch_no_gap",
        cast: Cast { tune: |tuning| tuning.watch_recent_bytes = 500, ..ALONE },
        script: progress_asked_of_slow_watch,
    },
    Scenario {
        name: "watch_at_compaction",
        source: "etcd #18089, #19179",
        recreates: "a watch from exactly the compacted revision, which was a deletion",
        judged_by: "watch_no_gap, watch_resumable",
        cast: Cast { tune: |tuning| (tuning.watch_recent_bytes, tuning.reclaim_events) = (0, 10), ..ALONE },
        script: watch_at_compaction,
    },
    Scenario {
        name: "watch_from_the_future",
        source: "etcd #20221",
        recreates: "a watch from a revision that is not there yet, with progress asked for",
        judged_by: "watch_ordered, watch_bookmarkable",
        cast: ALONE,
        script: watch_from_the_future,
    },
    Scenario {
        name: "watch_of_large_transactions",
        source: "etcd #17247",
        recreates: "transactions of many keys, watched whole and in part, live and from history",
        judged_by: "watch_no_duplicate, watch_atomic",
        cast: Cast {
            tune: |tuning| (tuning.watch_recent_bytes, tuning.watch_page_bytes) = (500, 200),
            ..ALONE
        },
        script: watch_of_large_transactions,
    },
    Scenario {
        name: "many_watches_move_at_once",
        source: "ZOOKEEPER-1412, -706",
        recreates: "a member with hundreds of watches on one connection dies, and all resume elsewhere at once",
        judged_by: "watch_no_gap",
        cast: ALONE,
        script: many_watches_move_at_once,
    },
    Scenario {
        name: "watch_over_restarts_and_elections",
        source: "etcd #15402; Jepsen etcd 3.4.3",
        recreates: "a watch is resumed after its last revision on whichever member is there, under load",
        judged_by: "watch_no_gap, watch_no_duplicate",
        cast: LOADED,
        script: watch_over_restarts_and_elections,
    },
];

/// Whether a watch has everything up to a revision, or was told that it cannot have it.
fn settled(world: &World, watch: usize, revision: u64) -> bool {
    let watched = &world.watched[watch];
    is_cancelled(watched) || watched.through().is_some_and(|through| through >= revision)
}

fn must_settle(stage: &mut Stage, watch: usize) -> Step {
    let revision = stage.world.ledger.revision;
    stage.must("watch_resumable", "a watch gets the rest, or is told that it cannot", seconds(15), |world| {
        settled(world, watch, revision)
    })
}

fn watch_on_member_that_installs_snapshot(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    stage.burst(leader, 10)?;
    let behind = *stage.chance.pick(&stage.others(leader));
    let (watch, _) = stage.watch(behind, "b/", 1);
    stage.until("the watch has events", |world| world.watched[watch].events().next().is_some())?;
    let installed = stage.world.stats.get("snapshot: installed");
    stage.leave_behind(behind)?;
    let leader = stage.leader()?;
    if stage.chance.one_in(2) {
        let revision = stage.world.ledger.revision - stage.chance.below(10);
        stage.compact(leader, revision)?;
    }
    stage.happened("the watch was in place", !is_cancelled(stage.watched(watch)))?;
    stage.mend();
    stage.until("a snapshot was installed", |world| world.stats.get("snapshot: installed") > installed)?;
    let (after, _) = stage.watch(behind, "b/", 1);
    stage.burst(leader, 5)?;
    stage.pass(500)?;
    if stage.world.alive(behind).is_some() && stage.world.applied.contains_key(&behind) {
        let lives = stage.world.nodes[&behind].life;
        if lives == 1 {
            must_settle(stage, watch)?;
        }
    }
    stage.happened(
        "another watch began on the new state",
        !stage.watched(after).frames.is_empty() || stage.world.nodes[&behind].life > 1,
    )
}

/// A write whose event takes a good part of a watcher's credit.
fn put_large(stage: &mut Stage, node: u64, number: u64) -> Step {
    let key: Bytes = format!("w/{}", number % 5).into();
    let asked = stage.write(node, Command::Txn(put(&key, Bytes::from(vec![b'x'; 60_000]))));
    stage.written(asked)?;
    Ok(())
}

fn slow_watch_overtaken_by_compaction(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let node = *stage.chance.pick(&[1, 2, 3]);
    let (watch, conn) = stage.watch(node, "w/", 1);
    stage.world.be_lazy(conn, true);
    for number in 0..40 {
        put_large(stage, leader, number)?;
    }
    let newest = stage.world.ledger.revision;
    stage.happened("the watcher is behind", stage.watched(watch).through().unwrap_or(0) < newest)?;
    let mark = newest - stage.chance.below(3);
    stage.compact(leader, mark)?;
    stage.pass(1_000)?;
    put_large(stage, leader, 41)?;
    stage.happened("it is behind what was compacted", stage.watched(watch).through().unwrap_or(0) < mark)?;
    stage.world.be_lazy(conn, false);
    must_settle(stage, watch)?;
    let told = is_cancelled(stage.watched(watch));
    stage.promised("watch_no_gap", "a watch that was overtaken by a compaction is told so", told)
}

fn progress_asked_of_slow_watch(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let node = *stage.chance.pick(&[1, 2, 3]);
    let (watch, conn) = stage.watch(node, "w/", 1);
    let (small, _) = (stage.world.watch_by_hand(conn, spec("b/", 1)), ());
    stage.world.be_lazy(conn, true);
    for number in 0..30 {
        put_large(stage, leader, number)?;
        stage.ask(conn, Request::WatchProgress);
        stage.ask(conn, Request::ConnProgress);
        if number % 5 == 0 {
            stage.burst(leader, 1)?;
        }
    }
    let newest = stage.world.ledger.revision;
    stage.happened("the watcher is behind", stage.watched(watch).through().unwrap_or(0) < newest)?;
    // It takes what is there, a little at a time, and asks again and again.
    for _ in 0..30 {
        stage.world.be_lazy(conn, false);
        stage.world.be_lazy(conn, true);
        stage.ask(conn, Request::WatchProgress);
        stage.pass(20)?;
    }
    stage.world.be_lazy(conn, false);
    must_settle(stage, watch)?;
    must_settle(stage, small)?;
    let asked = stage.watched(watch).frames.iter().any(|frame| matches!(frame, WatchFrame::Progress { .. }));
    stage.happened("progress was told", asked)
}

fn watch_at_compaction(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    for _ in 0..3 {
        let asked = stage.put(leader, "w/1");
        stage.written(asked)?;
    }
    let asked = stage.delete(leader, "w/1");
    let deleted = stage.written(asked)?.revision.get();
    let asked = stage.put(leader, "w/1");
    stage.written(asked)?;
    stage.compact(leader, deleted)?;
    let wait = stage.chance.below(2_000);
    stage.pass(wait)?;
    if stage.chance.one_in(2) {
        stage.blackout()?;
        stage.start_all()?;
        stage.leader()?;
    }
    for node in [1, 2, 3] {
        let (at, _) = stage.watch(node, "w/", deleted);
        let (below, _) = stage.watch(node, "w/", deleted - 1);
        stage.pass(1_500)?;
        must_settle(stage, below)?;
        stage.promised(
            "watch_resumable",
            "a watch from below the compacted revision is ended",
            is_cancelled(stage.watched(below)),
        )?;
        let is_deletion =
            |event: &oarlock_state::Event| event.kind == EventKind::Delete && event.revision.get() == deleted;
        let seen = stage.watched(at).events().any(is_deletion);
        stage.promised(
            "watch_no_gap",
            "a watch from the compacted revision sees the deletion there",
            seen,
        )?;
    }
    Ok(())
}

fn watch_from_the_future(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    stage.burst(leader, 5)?;
    let ahead = stage.chance.between(2, 40);
    let start = stage.world.ledger.revision + ahead;
    let mut watches = Vec::new();
    for node in [1, 2, 3] {
        watches.push(stage.watch(node, "b/", start));
    }
    stage.pass(100)?;
    while stage.world.ledger.revision + 1 < start {
        stage.burst(leader, 1)?;
        for (_, conn) in &watches {
            stage.ask(*conn, Request::WatchProgress);
        }
    }
    stage.pass(100)?;
    let early = watches.iter().any(|(watch, _)| stage.watched(*watch).events().next().is_some());
    stage.promised("watch_ordered", "nothing from before the start is delivered", !early)?;
    stage.burst(leader, 5)?;
    for (watch, _) in watches {
        must_settle(stage, watch)?;
        let first = stage.watched(watch).events().next().map(|event| event.revision.get());
        stage.happened("events came once they were there", first.is_some_and(|first| first >= start))?;
    }
    Ok(())
}

/// Changes many keys in one revision.
fn large(stage: &mut Stage, node: u64, keys: u64) -> Step {
    let number = stage.world.history.len() as u64 + 1;
    let mut txn = Txn::default();
    for key in 0..keys {
        txn.then.extend(put(&format!("w/{key:03}").into(), value_of(number)).then);
    }
    let range = KeyRange::prefix(b"x/");
    txn.then.push(KvOp::Delete { range, want_previous: false });
    txn.then.extend(put(&"y/1".into(), value_of(number)).then);
    let asked = stage.write(node, Command::Txn(txn));
    stage.written(asked)?;
    Ok(())
}

fn watch_of_large_transactions(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let mut watches = Vec::new();
    for node in [1, 2, 3] {
        for prefix in ["w/", "w/00", "y/"] {
            watches.push(stage.watch(node, prefix, 1).0);
        }
    }
    for round in 0..8 {
        large(stage, leader, 5 + 7 * round)?;
        let asked = stage.put(leader, "x/1");
        stage.written(asked)?;
        if round % 3 == 0 {
            let node = *stage.chance.pick(&[1, 2, 3]);
            watches.push(stage.watch(node, "w/", 1).0);
        }
    }
    for watch in &watches {
        must_settle(stage, *watch)?;
    }
    let whole = |watch: &usize| stage.watched(*watch).events().count() > 100;
    stage.happened("watches saw many events of one revision", watches.iter().any(whole))
}

fn many_watches_move_at_once(stage: &mut Stage) -> Step {
    const WATCHES: u64 = 300;
    let leader = stage.leader()?;
    let mut at = stage.others(leader)[0];
    let mut conn = stage.connect(at);
    let mut watches: Vec<usize> = Vec::new();
    for number in 0..WATCHES {
        watches.push(stage.world.watch_by_hand(conn, spec(&format!("b/{}", number % 7), 1)));
    }
    stage.burst(leader, 20)?;
    for _ in 0..3 {
        let victim = at;
        stage.kill(victim)?;
        stage.until("the connection broke", |world| world.is_lost(conn))?;
        at = stage.others(victim)[0];
        let through = newest_leader(&stage.world).unwrap_or(at);
        stage.leader()?;
        stage.burst(through, 5).or_else(|_| stage.leader().and_then(|next| stage.burst(next, 5)))?;
        conn = stage.connect(at);
        for (number, watch) in watches.iter_mut().enumerate() {
            let start = stage.world.watched[*watch].through().unwrap_or(0) + 1;
            *watch = stage.world.watch_by_hand(conn, spec(&format!("b/{}", number % 7), start));
        }
        stage.start(victim)?;
        let leader = stage.leader()?;
        stage.burst(leader, 7)?;
        let revision = stage.world.ledger.revision;
        stage.ask(conn, Request::WatchProgress);
        stage.must("watch_resumable", "hundreds of watches go on elsewhere", seconds(15), |world| {
            watches.iter().all(|watch| settled(world, *watch, revision))
        })?;
    }
    Ok(())
}

fn watch_over_restarts_and_elections(stage: &mut Stage) -> Step {
    let mut through = 0;
    let mut lives = 0;
    for _ in 0..6 {
        let leader = stage.leader()?;
        let node = *stage.chance.pick(&[1, 2, 3]);
        let (watch, _) = stage.watch(node, "b/", through + 1);
        stage.burst(leader, 10)?;
        let wait = stage.chance.below(300);
        stage.pass(wait)?;
        let victim = if stage.chance.one_in(2) { leader } else { node };
        stage.kill(victim)?;
        stage.pass(500)?;
        stage.start_all()?;
        through = stage.watched(watch).through().unwrap_or(through);
        lives += u64::from(!stage.watched(watch).frames.is_empty());
    }
    stage.happened("the watch was resumed several times", lives >= 4)
}
