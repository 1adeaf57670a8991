//! Changes of the members in the middle of elections, and members that come and go.

use super::stage::{Asked, End, Stage, Step, newest_leader, seconds};
use super::{ALONE, Cast, LOADED, Scenario, short_log};
use crate::checks::membership_agreement;
use crate::history::Fate;
use crate::sim::node::peer_url;
use crate::sim::world::World;
use oarlock_server::consensus::conf;
use oarlock_server::node::request::{Admin, Consistency, Response};
use oarlock_state::command::{Answer, Member};
use oarlock_state::{NodeId, Query};

/// The scenarios of this file.
pub(super) const ALL: [Scenario; 10] = [
    Scenario {
        name: "change_by_two_leaders",
        source: "raft-dev t4xj6dJTP6E; copycat #23; braft #182",
        recreates: "a leader is deposed with a change of the members in its log, and its successor makes another one",
        judged_by: "election_safety, committed_never_changes",
        cast: Cast { members: 4, ..ALONE },
        script: change_by_two_leaders,
    },
    Scenario {
        name: "changes_in_a_row",
        source: "raft-dev t4xj6dJTP6E; etcd #12359",
        recreates: "three removals are asked for at once, and who took them is cut off from who did not",
        judged_by: "election_safety, committed_never_changes",
        cast: Cast { members: 5, ..ALONE },
        script: changes_in_a_row,
    },
    Scenario {
        name: "wiped_member_finds_out",
        source: "TiKV #9859; etcd #10166; raft-rs trap 8",
        recreates: "a member's disk is empty and it is started again under its old id",
        judged_by: "committed_never_changes, log_survives",
        cast: ALONE,
        script: wiped_member_finds_out,
    },
    Scenario {
        name: "leader_dies_during_change",
        source: "etcd #12359, #12136",
        recreates: "the leader dies at some point of a change among an even number of voters",
        judged_by: "liveness",
        cast: Cast { members: 4, ..ALONE },
        script: leader_dies_during_change,
    },
    Scenario {
        name: "promoted_learner_restarts",
        source: "etcd #19557, #20793, #21694",
        recreates: "a learner is promoted, all members restart, and each is asked who votes",
        judged_by: "membership_agreement",
        cast: Cast { tune: |tuning| tuning.freeze_records = 20, ..LOADED },
        script: promoted_learner_restarts,
    },
    Scenario {
        name: "two_become_one",
        source: "TiKV #10595",
        recreates: "one of two members is removed, the leader or the other",
        judged_by: "liveness",
        cast: Cast { members: 2, ..ALONE },
        script: two_become_one,
    },
    Scenario {
        name: "lead_to_a_learner",
        source: "TiKV #4045",
        recreates: "the lead is to be handed to a learner, and to a member that is not there",
        judged_by: "election_safety, liveness",
        cast: ALONE,
        script: lead_to_a_learner,
    },
    Scenario {
        name: "lost_disk_comes_back_under_a_new_id",
        source: "TiKV #9859; raft-rs #472; etcd #10166",
        recreates: "a member's disk is lost; it is removed, and its machine joins anew",
        judged_by: "committed_never_changes, liveness",
        cast: Cast { tune: short_log, ..LOADED },
        script: lost_disk_comes_back_under_a_new_id,
    },
    Scenario {
        name: "removed_member_disturbs_nobody",
        source: "Raft paper, section 6; etcd #8501",
        recreates: "a member that does not know of its removal comes back and wants to be elected",
        judged_by: "election_safety, liveness",
        cast: Cast { members: 4, ..ALONE },
        script: removed_member_disturbs_nobody,
    },
    Scenario {
        name: "all_but_one_replaced",
        source: "Redpanda chaos, reconfigure_313",
        recreates: "every founder but one is replaced, one after the other, under load",
        judged_by: "committed_never_changes, liveness",
        cast: Cast { tune: short_log, ..LOADED },
        script: all_but_one_replaced,
    },
];

fn add(stage: &mut Stage, through: u64, stay_learner: bool) -> Asked {
    stage.world.machines += 1;
    let peer_urls = vec![peer_url(stage.world.machines)];
    stage.admin(through, Admin::AddMember { peer_urls, name: String::new(), stay_learner })
}

/// Adds a member, however often it has to be asked for. Returns its id.
fn added(stage: &mut Stage, stay_learner: bool) -> Step<u64> {
    for _ in 0..30 {
        let leader = stage.leader()?;
        let asked = add(stage, leader, stay_learner);
        if let Fate::Done(Response::Members { added, .. }) = stage.answered(asked)? {
            return Ok(added.get());
        }
        stage.pass(300)?;
    }
    Err(End::Invalid("a member was not added".to_owned()))
}

/// Removes a member, however often it has to be asked for.
fn removed(stage: &mut Stage, gone: u64) -> Step {
    for _ in 0..30 {
        let leader = stage.leader()?;
        let asked = stage.admin(leader, Admin::RemoveMember(NodeId(gone)));
        stage.answered(asked)?;
        stage.pass(500)?;
        if !is_member(&stage.world, gone) {
            return Ok(());
        }
    }
    stage.promised("liveness", "a member can be removed", false)
}

fn is_member(world: &World, id: u64) -> bool {
    world.members.iter().any(|member| member.node.get() == id)
}

fn votes(world: &World, id: u64) -> bool {
    world.members.iter().any(|member| member.node.get() == id && !member.learner)
}

fn change_by_two_leaders(stage: &mut Stage) -> Step {
    let mut seconds_made = 0;
    for _ in 0..4 {
        let old = stage.leader()?;
        let others = stage.others(old);
        let members = stage.world.members.len();
        // Alone, or with one that takes its entries: never a majority.
        let with = usize::from(stage.chance.one_in(2));
        stage.part(&[old], &others[with..]);
        let first = add(stage, old, true);
        stage.pass(30)?;
        stage.isolate(old);
        let next = stage.leader_after(old)?;
        let gone = others.iter().copied().find(|id| *id != next).unwrap_or(next);
        let second = removal(stage, next, gone)?;
        let early = stage.now();
        let wait = stage.chance.below(400);
        stage.pass(wait)?;
        stage.mend();
        stage.pass(3_000)?;
        stage.happened(
            "the first change was asked of a leader before it was deposed",
            stage.operation(first).invoked < early,
        )?;
        let made = matches!(stage.fate(second), Fate::Done(_)) || stage.world.members.len() != members;
        seconds_made += u64::from(made);
        let leader = stage.leader()?;
        stage.burst(leader, 3)?;
        back_to_four(stage)?;
    }
    stage.happened("successors changed the members", seconds_made > 0)
}

/// Asks a new leader for a removal until it does not say "not now".
fn removal(stage: &mut Stage, leader: u64, gone: u64) -> Step<Asked> {
    let mut asked = stage.admin(leader, Admin::RemoveMember(NodeId(gone)));
    for _ in 0..20 {
        stage.pass(15)?;
        if !matches!(stage.fate(asked), Fate::NotDone(_) | Fate::Rejected(_)) {
            break;
        }
        asked = stage.admin(leader, Admin::RemoveMember(NodeId(gone)));
    }
    Ok(asked)
}

fn changes_in_a_row(stage: &mut Stage) -> Step {
    let mut cut = 0;
    for _ in 0..3 {
        let leader = stage.leader()?;
        let others = stage.others(leader);
        let gone = [others[1], others[2], others[3]];
        // The last two hear nothing any more, the one before them has what is decided now.
        stage.part(&[leader, others[0], others[1]], &others[2..]);
        let asked: Vec<Asked> =
            gone.iter().map(|id| stage.admin(leader, Admin::RemoveMember(NodeId(*id)))).collect();
        let (before, end) = (stage.world.ledger.configurations.len(), stage.now() + 300_000);
        let all = stage.world.run_till(end, |world| world.ledger.configurations.len() == before + 3)?;
        stage.mend();
        stage.part(&[leader, others[0]], &others[1..]);
        cut += u64::from(all || asked.iter().any(|one| stage.fate(*one) != Fate::Pending));
        for _ in 0..20 {
            for node in [leader, others[1], others[2], others[3]] {
                stage.put(node, "alive");
            }
            stage.pass(150)?;
        }
        stage.mend();
        stage.pass(2_000)?;
        while stage.world.members.iter().filter(|member| !member.learner).count() < 5 {
            let id = added(stage, false)?;
            stage.until("the new member votes", |world| votes(world, id))?;
        }
    }
    stage.happened("changes were decided or refused before the cut", cut > 0)
}

fn wiped_member_finds_out(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    stage.burst(leader, 20)?;
    let victim = *stage.chance.pick(&stage.others(leader));
    let lost = stage.world.stats.get("storage: stopped by damage");
    let mut found_out = false;
    for _ in 0..8 {
        if found_out {
            break;
        }
        stage.cut_power(victim)?;
        stage.lose_disk(victim);
        stage.start(victim)?;
        // A heartbeat tells it what it once acknowledged, unless an entry comes first and it is given
        // everything again.
        stage.pass(2_000)?;
        found_out = stage.world.stats.get("storage: stopped by damage") > lost;
    }
    stage.promised(
        "log_survives",
        "a member that is told of entries it should have, and lost, stops",
        found_out,
    )?;
    stage.kill(victim)?;
    if let Some(node) = stage.world.nodes.get_mut(&victim) {
        node.retired = true;
    }
    removed(stage, victim)
}

/// Four voters and no learners, so that the next round begins as the one before did.
fn back_to_four(stage: &mut Stage) -> Step {
    while stage.world.members.iter().filter(|member| !member.learner).count() < 4 {
        let id = added(stage, false)?;
        stage.until("the new member votes", |world| votes(world, id))?;
    }
    let learners = stage.world.members.iter().filter(|member| member.learner);
    let learners: Vec<u64> = learners.map(|member| member.node.get()).collect();
    learners.into_iter().try_for_each(|learner| removed(stage, learner))
}

fn leader_dies_during_change(stage: &mut Stage) -> Step {
    let mut died = 0;
    for round in 0..4 {
        let leader = stage.leader()?;
        let before = stage.world.ledger.configurations.len();
        let asked = if round % 2 == 0 {
            add(stage, leader, true)
        } else {
            let gone =
                stage.world.members.iter().rev().map(|member| member.node.get()).find(|id| *id != leader);
            stage.admin(leader, Admin::RemoveMember(NodeId(gone.unwrap_or(leader))))
        };
        let at = stage.chance.below(12);
        for _ in 0..at {
            stage.pass(1)?;
        }
        died +=
            u64::from(stage.fate(asked) == Fate::Pending || stage.world.ledger.configurations.len() > before);
        stage.kill(leader)?;
        // A member that is removed stops; those that did not hear of it may need the old leader then.
        let wait = stage.now() + seconds(5) * 1_000;
        stage.world.run_till(wait, |world| newest_leader(world).is_some())?;
        stage.start(leader)?;
        // Whatever became of it: it is over, and the next one can be made.
        let now = stage.now();
        let id = added(stage, true)?;
        removed(stage, id)?;
        let took = stage.now() - now;
        stage.promised(
            "liveness",
            "a change is possible soon after its leader died",
            took < seconds(20) * 1_000,
        )?;
        back_to_four(stage)?;
    }
    stage.happened("the leader died in the middle of a change", died > 0)
}

/// What a member says about who belongs and who votes.
fn members_at(stage: &mut Stage, node: u64) -> Step<Vec<Member>> {
    let asked = stage.read(node, Query::Members, Consistency::Linearizable);
    match stage.done(asked)? {
        Response::Answer { answer: Answer::Members(members), .. } => Ok(members),
        other => Err(End::Invalid(format!("the members were answered by {other:?}"))),
    }
}

fn promoted_learner_restarts(stage: &mut Stage) -> Step {
    stage.leader()?;
    let id = added(stage, false)?;
    stage.until("consensus made the learner a voter", |world| {
        let last = world.ledger.configurations.last();
        last.is_some_and(|(_, conf)| conf::voters(conf).is_ok_and(|ids| ids.contains(&NodeId(id))))
    })?;
    stage.pass(200)?;
    stage.blackout()?;
    stage.start_all()?;
    stage.leader()?;
    stage.pass(2_000)?;
    let last = stage.world.ledger.configurations.last().map(|(_, conf)| conf.clone()).unwrap_or_default();
    let voters = conf::voters(&last).unwrap_or_default();
    stage.happened("consensus counts the promoted one as a voter", voters.contains(&NodeId(id)))?;
    for node in [1, 2, 3, id] {
        let listed = members_at(stage, node)?;
        membership_agreement::check(node, &listed, &voters)?;
    }
    // Its vote counts: with it, two of the founders are dispensable.
    let leader = stage.leader()?;
    let gone = stage.others(leader).into_iter().find(|other| *other != id).unwrap_or(leader);
    stage.kill(gone)?;
    let leader = stage.leader()?;
    stage.burst(leader, 3)
}

fn two_become_one(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let other = stage.others(leader)[0];
    let gone = if stage.chance.one_in(2) { leader } else { other };
    let asked = stage.admin(leader, Admin::RemoveMember(NodeId(gone)));
    stage.pass(10)?;
    stage.must("liveness", "one of two can be removed", seconds(15), |world| !is_member(world, gone))?;
    let stays = if gone == leader { other } else { leader };
    stage.must("liveness", "the one that stays leads", seconds(15), |world| {
        newest_leader(world) == Some(stays)
    })?;
    stage.happened("the removal was asked for", stage.operation(asked).attempts == 1)?;
    stage.leader()?;
    stage.burst(stays, 5)
}

fn lead_to_a_learner(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let id = added(stage, true)?;
    stage.until("the learner runs", |world| world.alive(id).is_some())?;
    stage.pass(1_000)?;
    let leader = if newest_leader(&stage.world) == Some(leader) { leader } else { stage.leader()? };
    stage.happened("it is a learner", !votes(&stage.world, id))?;
    let asked = stage.admin(leader, Admin::MoveLeader(NodeId(id)));
    let refused = !matches!(stage.answered(asked)?, Fate::Done(_));
    stage.promised("election_safety", "the lead is not handed to a learner", refused)?;
    let down = stage.others(leader).into_iter().find(|other| *other != id).unwrap_or(id);
    stage.kill(down)?;
    stage.admin(leader, Admin::MoveLeader(NodeId(down)));
    stage.must("liveness", "writes go on after the lead was to go to a dead member", seconds(10), {
        let mut wait = 0;
        move |world| {
            wait += 1;
            wait > 1 && newest_leader(world).is_some()
        }
    })?;
    let leader = stage.leader()?;
    stage.happened("a voter leads", leader != id)?;
    stage.burst(leader, 3)
}

fn lost_disk_comes_back_under_a_new_id(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    stage.burst(leader, 40)?;
    let victim = *stage.chance.pick(&stage.others(leader));
    stage.cut_power(victim)?;
    if let Some(node) = stage.world.nodes.get_mut(&victim) {
        node.disk.wipe();
        node.retired = true;
    }
    removed(stage, victim)?;
    let installed = stage.world.stats.get("snapshot: installed");
    let id = added(stage, false)?;
    stage.happened("it has an id of its own", id != victim)?;
    stage.must("liveness", "a new member in place of a lost one becomes a voter", seconds(20), |world| {
        votes(world, id)
    })?;
    let installed = stage.world.stats.get("snapshot: installed") > installed;
    stage.happened("it was given a snapshot", installed)
}

fn removed_member_disturbs_nobody(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let gone = *stage.chance.pick(&stage.others(leader));
    stage.isolate(gone);
    removed(stage, gone)?;
    let leader = stage.leader()?;
    stage.pass(3_000)?;
    stage.mend();
    stage.happened("the removed member runs and does not know", stage.world.alive(gone).is_some())?;
    let elections = stage.world.stats.get("consensus: elections");
    stage.pass(6_000)?;
    let quiet = stage.world.stats.get("consensus: elections") == elections;
    stage.promised(
        "liveness",
        "a removed member deposes nobody",
        quiet && newest_leader(&stage.world) == Some(leader),
    )?;
    stage.burst(leader, 3)
}

fn all_but_one_replaced(stage: &mut Stage) -> Step {
    let leader = stage.leader()?;
    let stays = *stage.chance.pick(&[1, 2, 3]);
    stage.burst(leader, 30)?;
    for founder in [1, 2, 3].into_iter().filter(|id| *id != stays) {
        let id = added(stage, false)?;
        stage.until("the new member votes", |world| votes(world, id))?;
        removed(stage, founder)?;
        let leader = stage.leader()?;
        stage.burst(leader, 5)?;
    }
    let founders = stage.world.members.iter().filter(|member| member.node.get() <= 3).count();
    stage.happened("one founder is left", founders == 1)?;
    let leader = stage.leader()?;
    if leader != stays {
        stage.admin(leader, Admin::MoveLeader(NodeId(stays)));
        stage.pass(1_000)?;
    }
    let leader = stage.leader()?;
    stage.burst(leader, 5)
}
