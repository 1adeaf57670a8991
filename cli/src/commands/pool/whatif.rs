//! pool plan, explain: what placement would do, and why a shard is where it is.

use super::{number, text, told};
use crate::args::{Common, PlanArgs};
use crate::failure::Failure;
use crate::output::{self, say};
use oarlock_client::wire::explain_shard_response::{Candidate, Obstacle, candidate::Exclusion, obstacle};
use oarlock_client::wire::what_if::{Add, Change, SetState};
use oarlock_client::wire::{
    ExplainShardResponse, PlanPoolResponse, PlanStep, PoolMemberState, ShardNumber, WhatIf,
    plan_pool_response::Load, plan_step,
};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Shows what would be done.
pub async fn plan(common: &Common, args: PlanArgs) -> Result<ExitCode, Failure> {
    let changes = changes(&args)?;
    let client = common.connect().await?;
    let plan = client.pools().plan(args.pool, changes).await.map_err(|error| told(error.into()))?;
    if common.is_json() {
        output::line(&plan_json(&plan));
        return Ok(ExitCode::SUCCESS);
    }
    if plan.steps.is_empty() {
        say!("nothing to do");
    }
    let mut table = output::table(&["step", "shard", "member"]);
    for step in &plan.steps {
        table.add_row([kind(step), &text(&step.shard), &text(&step.instance)]);
    }
    if !plan.steps.is_empty() {
        say!("{table}");
    }
    let mut table = output::table(&["member", "shards", "then", "load", "then", "fair"]);
    for after in &plan.after {
        let before =
            plan.before.iter().find(|load| load.instance == after.instance).cloned().unwrap_or_default();
        let numbers =
            [u64::from(before.primaries), u64::from(after.primaries), before.work, after.work, after.fair];
        table.add_row([text(&after.instance)].into_iter().chain(numbers.map(|number| number.to_string())));
    }
    say!("{table}");
    say!("{} shards change hands", plan.transfers.len());
    if plan.waiting {
        say!("more moves are wanted, and wait for the budget of the pool's policy");
    }
    if plan.cut {
        say!("there is more to do than one plan may say");
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows why a shard is where it is.
pub async fn explain(common: &Common, pool: String, shard: String) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    let answer = client.pools().explain(pool, shard).await.map_err(|error| told(error.into()))?;
    if common.is_json() {
        output::line(&explain_json(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let shard = answer.shard.clone().unwrap_or_default();
    let at = match answer.home.is_empty() {
        true => "at nobody".to_owned(),
        false => format!("at {}", text(&answer.home)),
    };
    say!("shard {}, work {}, {at}", text(&shard.shard), answer.work);
    for step in &answer.next {
        say!("next: {} {}", kind(step), text(&step.instance));
    }
    for obstacle in &answer.obstacles {
        say!("but: {}", obstacle_words(obstacle));
    }
    let mut table = output::table(&["member", "fair", "load without", "load with", "against it"]);
    for candidate in &answer.candidates {
        let numbers = [candidate.fair, candidate.without, candidate.with].map(|number| number.to_string());
        let words = [against(candidate).join(", ")];
        table.add_row([text(&candidate.instance)].into_iter().chain(numbers).chain(words));
    }
    say!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn changes(args: &PlanArgs) -> Result<Vec<WhatIf>, Failure> {
    let mut changes = Vec::new();
    for word in &args.join {
        changes.push(Change::Add(joining(word)?));
    }
    changes.extend(args.leave.iter().map(|instance| Change::Remove(instance.clone().into())));
    let draining = |instance: &String| {
        let state = PoolMemberState::Draining.into();
        Change::SetState(SetState { instance: instance.clone().into(), state })
    };
    changes.extend(args.drain.iter().map(draining));
    for word in &args.weight {
        let (shard, number) = number(word, None)?;
        changes.push(Change::SetWeight(ShardNumber { shard, number }));
    }
    Ok(changes.into_iter().map(|change| WhatIf { change: Some(change) }).collect())
}

/// `NAME`, `NAME:CAPACITY` or `NAME:CAPACITY:ZONE`.
fn joining(word: &str) -> Result<Add, Failure> {
    let bad = || Failure::Usage(format!("{word:?} is not of the form INSTANCE[:CAPACITY[:ZONE]]"));
    let mut parts = word.splitn(3, ':');
    let instance = parts.next().filter(|instance| !instance.is_empty()).ok_or_else(bad)?;
    let capacity = parts.next().map(|capacity| capacity.parse().map_err(|_| bad())).transpose()?;
    let zone = parts.next().unwrap_or_default().to_owned();
    Ok(Add { instance: instance.to_owned().into(), zone, capacity: capacity.unwrap_or(1) })
}

fn kind(step: &PlanStep) -> &'static str {
    match step.kind() {
        plan_step::Kind::Grant => "grant to",
        plan_step::Kind::Move => "move to",
        plan_step::Kind::CancelMove => "cancel the move",
        plan_step::Kind::AddSecondary => "copy to",
        plan_step::Kind::DropSecondary => "drop the copy of",
        plan_step::Kind::Unspecified => "unknown to this version",
    }
}

fn obstacle_words(obstacle: &Obstacle) -> String {
    match obstacle.kind() {
        obstacle::Kind::Paused => "the pool is paused".into(),
        obstacle::Kind::Retired => "it is to be removed".into(),
        obstacle::Kind::Withheld if obstacle.until_unix_ms == 0 => {
            "its owner's session expired, and the pool is sticky: it waits until the owner comes back or it is forced".into()
        }
        obstacle::Kind::Withheld => "its owner's session expired, and its delay is not over".into(),
        obstacle::Kind::Moving => "it is moving already".into(),
        obstacle::Kind::PinUnavailable => "it is pinned to an instance that cannot have it".into(),
        obstacle::Kind::NoMember => "no member can be given anything".into(),
        obstacle::Kind::NoBudget => "as many moves as the policy allows are under way or were begun".into(),
        obstacle::Kind::Unspecified => "a reason that this version does not know".into(),
    }
}

fn against(candidate: &Candidate) -> Vec<&'static str> {
    let mut against: Vec<&'static str> = candidate.excluded_by().map(exclusion).collect();
    if candidate.over {
        against.push("above its share");
    }
    if candidate.shares_zone {
        against.push("a copy in its zone");
    }
    against
}

fn exclusion(exclusion: Exclusion) -> &'static str {
    match exclusion {
        Exclusion::Away => "away",
        Exclusion::Cordoned => "cordoned",
        Exclusion::Draining => "draining",
        Exclusion::PinnedElsewhere => "pinned elsewhere",
        Exclusion::Unspecified => "unknown to this version",
    }
}

fn plan_json(plan: &PlanPoolResponse) -> Value {
    let load = |load: &Load| {
        json!({
            "instance": text(&load.instance),
            "capacity": load.capacity,
            "shards": load.primaries,
            "copies": load.copies,
            "load": load.work,
            "fair": load.fair,
        })
    };
    json!({
        "revision": plan.header.unwrap_or_default().revision,
        "steps": plan.steps.iter().map(step_json).collect::<Vec<_>>(),
        "moved": plan.transfers.len(),
        "waiting": plan.waiting,
        "cut": plan.cut,
        "before": plan.before.iter().map(load).collect::<Vec<_>>(),
        "after": plan.after.iter().map(load).collect::<Vec<_>>(),
    })
}

fn step_json(step: &PlanStep) -> Value {
    json!({ "step": kind(step), "shard": text(&step.shard), "member": text(&step.instance) })
}

fn explain_json(answer: &ExplainShardResponse) -> Value {
    let candidate = |candidate: &Candidate| {
        json!({
            "instance": text(&candidate.instance),
            "fair": candidate.fair,
            "without": candidate.without,
            "with": candidate.with,
            "against": against(candidate),
        })
    };
    json!({
        "shard": text(&answer.shard.clone().unwrap_or_default().shard),
        "work": answer.work,
        "home": Some(text(&answer.home)).filter(|home| !home.is_empty()),
        "next": answer.next.iter().map(step_json).collect::<Vec<_>>(),
        "obstacles": answer.obstacles.iter().map(obstacle_words).collect::<Vec<_>>(),
        "candidates": answer.candidates.iter().map(candidate).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supposed_member_may_have_a_capacity_and_a_zone() {
        assert_eq!(joining("w").expect("a name").capacity, 1);
        let full = joining("w:3:rack:7").expect("all of it");
        assert_eq!((full.capacity, full.zone.as_str()), (3, "rack:7"));
        assert!(matches!(joining(":3"), Err(Failure::Usage(_))));
        assert!(matches!(joining("w:many"), Err(Failure::Usage(_))));
    }
}
