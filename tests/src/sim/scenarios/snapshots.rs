//! Snapshots: installed, interrupted, sent twice, and continued by the log.

use super::stage::{Stage, Step};
use super::{ALONE, Cast, LOADED, Scenario, short_log};
use crate::sim::disk::Trouble;

/// The scenarios of this file.
pub(super) const ALL: [Scenario; 6] = [
    Scenario {
        name: "power_cut_at_each_point_of_install",
        source: "etcd #13933, #11888",
        recreates: "a member loses power before, between and after the steps that put a snapshot in place",
        judged_by: "starts_again, state_agreement",
        cast: Cast { tune: short_log, ..ALONE },
        script: power_cut_at_each_point_of_install,
    },
    Scenario {
        name: "log_goes_on_where_snapshot_ends",
        source: "ZOOKEEPER-4925, -3642, -2418; zeebe #3573, #4451",
        recreates: "entries follow a snapshot at once, and the member restarts between them",
        judged_by: "log_matching, state_agreement",
        cast: Cast { tune: short_log, ..LOADED },
        script: log_goes_on_where_snapshot_ends,
    },
    Scenario {
        name: "two_snapshots_in_short_order",
        source: "etcd #20653, #20271, #18055",
        recreates: "a member needs the next snapshot right after one, while history is compacted",
        judged_by: "snapshot, state_agreement",
        cast: Cast { tune: short_log, ..LOADED },
        script: two_snapshots_in_short_order,
    },
    Scenario {
        name: "snapshot_receiver_dies",
        source: "etcd #10225, #10166; hashicorp/raft #212",
        recreates: "the receiver dies while a snapshot is on its way to it",
        judged_by: "liveness",
        cast: Cast { tune: short_log, ..ALONE },
        script: |stage| somebody_dies(stage, Victim::Receiver),
    },
    Scenario {
        name: "snapshot_sender_dies",
        source: "TiKV #16435, #9859; dgraph #2707",
        recreates: "the sender dies while its snapshot is on its way",
        judged_by: "liveness",
        cast: Cast { tune: short_log, ..ALONE },
        script: |stage| somebody_dies(stage, Victim::Sender),
    },
    Scenario {
        name: "snapshot_link_cut",
        source: "etcd #10225; TiKV #16435",
        recreates: "the link is cut while a snapshot is on its way, and opens again",
        judged_by: "liveness",
        cast: Cast { tune: short_log, ..ALONE },
        script: |stage| somebody_dies(stage, Victim::Link),
    },
];

/// A member that is so far behind that it needs a snapshot, and the leader.
fn behind(stage: &mut Stage) -> Step<(u64, u64)> {
    let leader = stage.leader()?;
    let behind = *stage.chance.pick(&stage.others(leader));
    stage.leave_behind(behind)?;
    Ok((behind, stage.leader()?))
}

fn power_cut_at_each_point_of_install(stage: &mut Stage) -> Step {
    for _ in 0..4 {
        let (behind, _) = behind(stage)?;
        let (received, installed) =
            (stage.world.stats.get("snapshot: received"), stage.world.stats.get("snapshot: installed"));
        let point = stage.chance.below(12);
        stage.mend();
        stage.until("a snapshot was received", |world| world.stats.get("snapshot: received") > received)?;
        if point > 0 {
            stage.until("it was installed", |world| world.stats.get("snapshot: installed") > installed)?;
        }
        if point > 1 && stage.world.alive(behind).is_some() {
            // Between two operations on the log's disk, as the log begins anew.
            stage.world.nodes[&behind].disk.arm(Trouble::PowerCut { operations: point - 2 });
            stage.pass(400)?;
            stage.world.nodes[&behind].disk.disarm();
        }
        stage.cut_power(behind)?;
        stage.pass(100)?;
        stage.start_all()?;
        stage.must_catch_up(behind)?;
    }
    Ok(())
}

fn log_goes_on_where_snapshot_ends(stage: &mut Stage) -> Step {
    for _ in 0..3 {
        let (behind, leader) = behind(stage)?;
        let installed = stage.world.stats.get("snapshot: installed");
        stage.mend();
        for number in 0..30 {
            stage.put(leader, &format!("k/{}", number % 5));
            stage.pass(5)?;
        }
        stage
            .until("a snapshot was installed", |world| world.stats.get("snapshot: installed") > installed)?;
        let base = stage.applied(behind);
        let more = stage.chance.below(20);
        stage.until("entries followed it", |world| {
            world.alive(behind).is_none()
                || world.applied.get(&behind).is_some_and(|at| *at > base + more.min(2))
        })?;
        if stage.chance.one_in(2) {
            stage.kill(behind)?
        } else {
            stage.cut_power(behind)?
        }
        stage.pass(50)?;
        stage.start_all()?;
        let leader = stage.leader()?;
        stage.burst(leader, 5)?;
    }
    Ok(())
}

fn two_snapshots_in_short_order(stage: &mut Stage) -> Step {
    let first = stage.leader()?;
    let behind = *stage.chance.pick(&stage.others(first));
    let mut last = 0;
    for _ in 0..3 {
        stage.leave_behind(behind)?;
        let leader = stage.leader()?;
        let revision = stage.world.ledger.revision - stage.chance.below(5);
        stage.compact(leader, revision)?;
        let installed = stage.world.stats.get("snapshot: installed");
        stage.mend();
        stage
            .until("a snapshot was installed", |world| world.stats.get("snapshot: installed") > installed)?;
        stage.happened("it was another one", stage.now() > last)?;
        last = stage.now();
        stage.isolate(behind);
        // The state is swapped while it falls behind again.
        let leader = stage.leader()?;
        stage.burst(leader, 5)?;
    }
    stage.mend();
    let installs = stage.world.stats.get("snapshot: installed");
    stage.happened("several snapshots were installed", installs >= 3)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Receiver,
    Sender,
    Link,
}

fn somebody_dies(stage: &mut Stage, victim: Victim) -> Step {
    for _ in 0..3 {
        let (behind, leader) = behind(stage)?;
        let (received, sent) =
            (stage.world.stats.get("snapshot: received"), stage.world.stats.get("snapshot: sent"));
        stage.mend();
        stage.until("a snapshot is on its way", |world| world.stats.get("snapshot: sent") > sent)?;
        stage.happened("it has not arrived", stage.world.stats.get("snapshot: received") == received)?;
        match victim {
            Victim::Receiver => stage.kill(behind)?,
            Victim::Sender => stage.kill(leader)?,
            Victim::Link => stage.isolate(behind),
        }
        let wait = stage.chance.between(100, 3_000);
        stage.pass(wait)?;
        let arrived = stage.world.stats.get("snapshot: received") > received;
        // Of a dead leader's place another one takes hold, and sends its own.
        stage.happened("it did not arrive", victim == Victim::Sender || !arrived)?;
        stage.mend();
        stage.start_all()?;
        stage.must_catch_up(behind)?;
    }
    Ok(())
}
