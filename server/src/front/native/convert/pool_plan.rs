//! What placement says of shard pools, outwards.

use super::pool_reply::shard;
use bytes::Bytes;
use oarlock_proto::v1::{self, explain_shard_response as explained, plan_pool_response as planned};
use oarlock_state::pool::placement::{Candidate, Exclusion, Explanation, Load, Obstacle, Plan, Transfer};
use oarlock_state::pool::{ShardInfo, Step};

/// What would be done next.
pub fn plan(plan: Plan) -> v1::PlanPoolResponse {
    v1::PlanPoolResponse {
        header: None,
        steps: plan.steps.into_iter().map(step).collect(),
        transfers: plan.transfers.into_iter().map(transfer).collect(),
        waiting: plan.waiting,
        cut: plan.cut,
        before: plan.before.into_iter().map(load).collect(),
        after: plan.after.into_iter().map(load).collect(),
    }
}

/// Why a shard is where it is.
pub fn explanation(of: ShardInfo, explanation: Explanation) -> v1::ExplainShardResponse {
    v1::ExplainShardResponse {
        header: None,
        shard: Some(shard(of)),
        work: explanation.work,
        home: explanation.home.unwrap_or_default(),
        next: explanation.next.into_iter().map(step).collect(),
        obstacles: explanation.obstacles.into_iter().map(obstacle).collect(),
        candidates: explanation.candidates.into_iter().map(candidate).collect(),
    }
}

fn step(step: Step) -> v1::PlanStep {
    use v1::plan_step::Kind;
    let (kind, shard, instance) = match step {
        Step::Grant { shard, to } => (Kind::Grant, shard, to),
        Step::Move { shard, to } => (Kind::Move, shard, to),
        Step::CancelMove { shard } => (Kind::CancelMove, shard, Bytes::new()),
        Step::AddSecondary { shard, to } => (Kind::AddSecondary, shard, to),
        Step::DropSecondary { shard, from } => (Kind::DropSecondary, shard, from),
    };
    v1::PlanStep { kind: kind.into(), shard, instance }
}

fn transfer(transfer: Transfer) -> planned::Transfer {
    let Transfer { shard, from, to } = transfer;
    planned::Transfer { shard, from: from.unwrap_or_default(), to }
}

fn load(load: Load) -> planned::Load {
    let Load { instance, capacity, fair, work, primaries, copies } = load;
    planned::Load { instance, capacity, fair, work, primaries, copies }
}

fn obstacle(obstacle: Obstacle) -> explained::Obstacle {
    use explained::obstacle::Kind;
    let (kind, until_unix_ms) = match obstacle {
        Obstacle::Paused => (Kind::Paused, 0),
        Obstacle::Retired => (Kind::Retired, 0),
        Obstacle::Withheld { until_ms } => (Kind::Withheld, until_ms),
        Obstacle::Moving => (Kind::Moving, 0),
        Obstacle::PinUnavailable => (Kind::PinUnavailable, 0),
        Obstacle::NoMember => (Kind::NoMember, 0),
        Obstacle::NoBudget => (Kind::NoBudget, 0),
    };
    explained::Obstacle { kind: kind.into(), until_unix_ms }
}

fn candidate(candidate: Candidate) -> explained::Candidate {
    use explained::candidate::Exclusion as Wire;
    let exclusion = |exclusion| match exclusion {
        Exclusion::Away => Wire::Away.into(),
        Exclusion::Cordoned => Wire::Cordoned.into(),
        Exclusion::Draining => Wire::Draining.into(),
        Exclusion::PinnedElsewhere => Wire::PinnedElsewhere.into(),
    };
    explained::Candidate {
        instance: candidate.instance,
        excluded_by: candidate.excluded_by.into_iter().map(exclusion).collect(),
        has_copy: candidate.secondary.is_some(),
        copy_ready: candidate.secondary.unwrap_or_default(),
        shares_zone: candidate.shares_zone,
        capacity: candidate.capacity,
        fair: candidate.fair,
        without: candidate.without,
        with: candidate.with,
        over: candidate.over,
        score: candidate.score,
    }
}
