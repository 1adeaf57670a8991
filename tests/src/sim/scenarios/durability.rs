//! Power cuts, kills and failing disks at the moments that others have lost data by.

use super::stage::{Stage, Step, newest_leader};
use super::{ALONE, Cast, LOADED, Scenario, short_log};
use crate::history::{Fate, put};
use crate::sim::disk::Trouble;
use oarlock_server::node::request::{Consistency, Response};
use oarlock_state::Command;

/// The scenarios of this file.
pub(super) const ALL: [Scenario; 9] = [
    Scenario {
        name: "kill_between_apply_and_index",
        source: "etcd #13766",
        recreates: "members die in the middle of writing state and applied index, under load",
        judged_by: "state_agreement",
        cast: Cast { tune: |tuning| tuning.freeze_records = 20, ..LOADED },
        script: kill_between_apply_and_index,
    },
    Scenario {
        name: "single_voter_power_cut",
        source: "etcd #14370",
        recreates: "the only voter loses power at the moment at which a write is acknowledged",
        judged_by: "log_survives, revision_order",
        cast: Cast { members: 1, ..ALONE },
        script: single_voter_power_cut,
    },
    Scenario {
        name: "compaction_of_newest_tombstone_then_crash",
        source: "etcd #17780, #14685",
        recreates: "the newest change is a deletion, it is compacted and reclaimed, and all lose power",
        judged_by: "revision_monotone, revision_order",
        cast: Cast { tune: |tuning| tuning.freeze_records = 20, ..ALONE },
        script: compaction_of_newest_tombstone_then_crash,
    },
    Scenario {
        name: "blackouts_with_unsynced_writes",
        source: "etcd #14140, #14143; TiKV #994, #7353, #10078",
        recreates: "all lose what was not synced, again and again, right after acknowledging",
        judged_by: "log_survives, starts_again, linearizable",
        cast: LOADED,
        script: blackouts_with_unsynced_writes,
    },
    Scenario {
        name: "failed_sync_then_power_cut",
        source: "fsyncgate (PostgreSQL, 2018)",
        recreates: "a sync fails once, its pages count as clean, and later the power goes",
        judged_by: "log_survives",
        cast: LOADED,
        script: failed_sync_then_power_cut,
    },
    Scenario {
        name: "crash_between_term_and_entries",
        source: "ZOOKEEPER-4643, -4646, -3911, -4785",
        recreates: "a follower loses power in the write that brings a new leader's term and entries",
        judged_by: "committed_never_changes, starts_again",
        cast: ALONE,
        script: crash_between_term_and_entries,
    },
    Scenario {
        name: "restarts_give_the_same_state",
        source: "ZOOKEEPER-3144, -3145, -3249, -3125, -3127",
        recreates: "state from the log alone, from disk and log, and from a received snapshot",
        judged_by: "state_agreement, state_invariants",
        cast: Cast { tune: short_log, ..LOADED },
        script: restarts_give_the_same_state,
    },
    Scenario {
        name: "disk_full_then_space",
        source: "ZOOKEEPER-3082, -3231; ArcadeDB #5345",
        recreates: "a member's disk is full until somebody frees space",
        judged_by: "liveness",
        cast: Cast { tune: |tuning| tuning.segment_bytes = 4096, ..LOADED },
        script: disk_full_then_space,
    },
    Scenario {
        name: "leader_dies_before_telling_commit",
        source: "Raft paper, figure 8",
        recreates: "entries of an old term on a majority, and leaders that die before they commit their own",
        judged_by: "committed_never_changes",
        cast: Cast { members: 5, ..ALONE },
        script: leader_dies_before_telling_commit,
    },
];

fn kill_between_apply_and_index(stage: &mut Stage) -> Step {
    let mut struck = 0;
    for _ in 0..6 {
        let leader = stage.leader()?;
        let victim = *stage.chance.pick(&[1, 2, 3]);
        let flushed = stage.world.stats.get("storage: flushes");
        let operations = stage.chance.below(3);
        let before = stage.applied(victim);
        stage.world.nodes[&victim].base.arm(operations);
        for number in 0..40 {
            stage.put(leader, &format!("k/{}", number % 5));
            stage.pass(20)?;
        }
        stage.pass(600)?;
        let died = stage.world.stats.get("storage: stopped by power cut of the state");
        struck += u64::from(died > 0);
        let flushes = stage.world.stats.get("storage: flushes") > flushed;
        stage.happened("state was written", flushes)?;
        stage.until("the victim caught up", |world| {
            world.applied.get(&victim).is_some_and(|at| *at > before)
        })?;
    }
    stage.happened("a member died while it wrote its state", struck > 0)
}

fn single_voter_power_cut(stage: &mut Stage) -> Step {
    for round in 0..8 {
        let only = stage.leader()?;
        let asked: Vec<usize> = (0..5).map(|number| stage.put(only, &format!("k/{number}"))).collect();
        let last = asked[stage.chance.below(5) as usize];
        stage.until("a write was acknowledged", |world| matches!(world.history[last].fate, Fate::Done(_)))?;
        stage.cut_power(only)?;
        stage.start(only)?;
        let only = stage.leader()?;
        let key = format!("k/{}", asked.iter().position(|one| *one == last).unwrap_or(0));
        let read = stage.get(only, &key, Consistency::Linearizable);
        let found = matches!(stage.done(read)?, Response::Answer { .. });
        stage.happened(&format!("the key was read in round {round}"), found)?;
    }
    Ok(())
}

fn compaction_of_newest_tombstone_then_crash(stage: &mut Stage) -> Step {
    for _ in 0..3 {
        let leader = stage.leader()?;
        stage.burst(leader, 10)?;
        let asked = stage.put(leader, "gone");
        stage.written(asked)?;
        let asked = stage.delete(leader, "gone");
        let newest = stage.written(asked)?.revision.get();
        let fate = stage.compact(leader, newest)?;
        stage.happened("the newest revision was compacted", matches!(fate, Fate::Done(_)))?;
        // Somewhere between before and after reclaiming and flushing it.
        let wait = stage.chance.below(800);
        stage.pass(wait)?;
        let victim = *stage.chance.pick(&[1, 2, 3]);
        let operations = stage.chance.below(3);
        stage.world.nodes[&victim].base.arm(operations);
        stage.pass(300)?;
        stage.happened("nothing was written after the deletion", stage.world.ledger.revision == newest)?;
        stage.blackout()?;
        stage.start_all()?;
        stage.until("somebody leads again", |world| newest_leader(world).is_some())?;
        for member in [1, 2, 3] {
            let read = stage.get(member, "gone", Consistency::Linearizable);
            if let Fate::Done(Response::Answer { revision, .. }) = stage.answered(read)? {
                let kept = revision.get() >= newest;
                stage.promised("revision_monotone", "the revision did not go back over a restart", kept)?;
            }
        }
        let leader = stage.leader()?;
        let asked = stage.put(leader, "after");
        let next = stage.written(asked)?.revision.get();
        stage.promised("revision_monotone", "the next revision is a new one", next > newest)?;
    }
    Ok(())
}

fn blackouts_with_unsynced_writes(stage: &mut Stage) -> Step {
    for _ in 0..5 {
        let leader = stage.leader()?;
        let asked: Vec<usize> = (0..20).map(|number| stage.put(leader, &format!("k/{number}"))).collect();
        let nth = stage.chance.below(20) as usize;
        stage.until("a write was acknowledged", |world| {
            matches!(world.history[asked[nth]].fate, Fate::Done(_))
        })?;
        stage.blackout()?;
        stage.start_all()?;
    }
    stage.leader()?;
    Ok(())
}

fn failed_sync_then_power_cut(stage: &mut Stage) -> Step {
    for _ in 0..4 {
        let leader = stage.leader()?;
        let victim = if stage.chance.one_in(2) { leader } else { *stage.chance.pick(&stage.others(leader)) };
        let life = stage.world.nodes[&victim].life;
        stage.world.nodes[&victim].disk.arm(Trouble::SyncFails);
        for number in 0..10 {
            stage.put(leader, &format!("k/{number}"));
        }
        stage.pass(700)?;
        let node = &stage.world.nodes[&victim];
        let goes_on = !node.disk.is_armed() && node.life == life && node.process.is_some();
        stage.promised("log_survives", "a member whose sync failed stops", !goes_on)?;
        let leader = stage.leader()?;
        stage.burst(leader, 3)?;
        stage.blackout()?;
        stage.start_all()?;
    }
    stage.leader()?;
    let stopped = stage.world.stats.get("storage: stopped by sync failure");
    stage.happened("syncs failed", stopped > 0)
}

fn crash_between_term_and_entries(stage: &mut Stage) -> Step {
    let mut struck = 0;
    for _ in 0..6 {
        let leader = stage.leader()?;
        stage.burst(leader, 3)?;
        let victim = *stage.chance.pick(&stage.others(leader));
        let before = stage.world.stats.get("storage: stopped by power cut");
        // The first write after this is the one that brings the next term, or its first entry.
        stage.kill(leader)?;
        let operations = stage.chance.below(8);
        stage.world.nodes[&victim].disk.arm(Trouble::PowerCut { operations });
        stage.start(leader)?;
        stage.pass(4_000)?;
        struck += u64::from(stage.world.stats.get("storage: stopped by power cut") > before);
        stage.world.nodes[&victim].disk.disarm();
        stage.start_all()?;
    }
    stage.leader()?;
    stage.happened("a member lost power in a write of a new term", struck > 0)
}

fn restarts_give_the_same_state(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let session = stage.open_session(leader, 6_000)?;
    stage.happened("there is a session", session.get() > 0)?;
    stage.pass(2_000)?;
    let leader = stage.leader()?;
    let behind = *stage.chance.pick(&stage.others(leader));
    stage.leave_behind(behind)?;
    let leader = stage.leader()?;
    let third = stage.others(leader).into_iter().find(|id| *id != behind);
    let third = third.unwrap_or(leader);
    stage.cut_power(third)?;
    stage.start(third)?;
    stage.mend();
    stage.until("a snapshot was installed", |world| world.stats.get("snapshot: installed") > 0)?;
    stage.kill(behind)?;
    stage.start(behind)?;
    let leader = stage.leader()?;
    stage.burst(leader, 20)?;
    stage.blackout()?;
    stage.start_all()?;
    stage.leader()?;
    Ok(())
}

fn disk_full_then_space(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let victim = if stage.chance.one_in(2) { leader } else { *stage.chance.pick(&stage.others(leader)) };
    let bytes = stage.chance.below(2_000);
    stage.world.nodes[&victim].disk.arm(Trouble::Full { bytes });
    for number in 0..3_000 {
        if stage.world.stats.get("storage: stopped by disk full") > 0 {
            break;
        }
        let through = newest_leader(&stage.world).unwrap_or(leader);
        let key = format!("k/{}", number % 9).into();
        stage.write(through, Command::Txn(put(&key, vec![b'x'; 500].into())));
        stage.pass(20)?;
    }
    // Its crash takes the trouble away, as an operator does who frees space.
    stage.until("the disk was full", |world| world.stats.get("storage: stopped by disk full") > 0)?;
    let leader = stage.leader()?;
    stage.burst(leader, 5)?;
    let at = stage.world.ledger.last_applied();
    stage.must("liveness", "the member whose disk was full caught up", 20_000, |world| {
        world.applied.get(&victim).is_some_and(|applied| *applied >= at)
    })
}

fn leader_dies_before_telling_commit(stage: &mut Stage) -> Step {
    let mut deposed = 0;
    for _ in 0..5 {
        let leader = stage.leader()?;
        // Its entries reach one other member; that one is the next leader, or is outvoted.
        let others = stage.others(leader);
        stage.part(&[leader], &others[1..]);
        for number in 0..5 {
            stage.put(leader, &format!("k/{number}"));
        }
        stage.pass(30)?;
        stage.isolate(leader);
        stage.leader_after(leader)?;
        deposed += 1;
        let wait = stage.chance.below(60);
        stage.pass(wait)?;
        stage.mend();
        if let Some(next) = newest_leader(&stage.world) {
            stage.cut_power(next)?;
            stage.pass(50)?;
            stage.start(next)?;
        }
    }
    stage.leader()?;
    stage.happened("leaders were deposed with entries of theirs on a minority", deposed == 5)
}
