//! pool ls, status: tables of pools, members, moves and shards.

use super::{text, told};
use crate::args::Common;
use crate::failure::Failure;
use crate::output::{self, say};
use oarlock_client::wire::{
    PoolInfo, PoolMember, PoolMemberState, PoolShard, PoolSummary, ShardOwner, ShardPrimary, ShardSet,
    shard_primary::State, shard_set::Kind,
};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Lists pools.
pub async fn ls(common: &Common, prefix: String) -> Result<ExitCode, Failure> {
    let pools = common.connect().await?.pools().list(prefix).await?;
    if common.is_json() {
        pools.iter().map(summary).for_each(|pool| output::line(&pool));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["pool", "shards", "owned", "moving", "members", "changed"]);
    for pool in &pools {
        let shards = format!("{} {}", pool.shard_count, kind(pool.shards.as_ref()));
        let numbers =
            [pool.owned, pool.moving, pool.member_count, pool.changed].map(|number| number.to_string());
        table.add_row([text(&pool.pool), shards].into_iter().chain(numbers));
    }
    say!("{table}");
    Ok(ExitCode::SUCCESS)
}

/// Shows a pool.
pub async fn status(common: &Common, pool: String, shards: bool) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    let (info, revision) = client.pools().describe(pool).await.map_err(|error| told(error.into()))?;
    let members = members(&info);
    if common.is_json() {
        output::line(&status_json(&info, revision, &members, shards));
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", headline(&info));
    if info.paused_until_unix_ms > 0 {
        let left = Duration::from_millis(info.paused_until_unix_ms.saturating_sub(info.stamp_unix_ms));
        say!("paused for another {}: {}", humantime::format_duration(left), info.pause_reason);
    }
    let mut table =
        output::table(&["member", "zone", "state", "shards", "copies", "load", "fair", "of fair", "address"]);
    for line in &members {
        let of_fair = (line.load * 100).checked_div(line.fair);
        let of_fair = of_fair.map_or(String::new(), |percent| format!("{percent}%"));
        let numbers = [line.primaries, line.copies, line.load, line.fair].map(|number| number.to_string());
        let words = [text(&line.member.instance), line.member.zone.clone(), line.state.to_owned()];
        table.add_row(words.into_iter().chain(numbers).chain([of_fair, line.member.address.clone()]));
    }
    say!("{table}");
    let moves = rows(&info, |shard| move_row(&info, shard));
    print_rows("moves", &["shard", "from", "to", "phase", "time left"], moves);
    let waiting = rows(&info, |shard| waiting_row(&info, shard));
    print_rows("without owner", &["shard", "why"], waiting);
    if shards {
        print_rows("shards", &["shard", "work", "owner", "epoch", "copies", "pin"], rows(&info, shard_row));
    }
    Ok(ExitCode::SUCCESS)
}

/// A member with what it has.
struct Line<'a> {
    member: &'a PoolMember,
    state: &'static str,
    primaries: u64,
    copies: u64,
    load: u64,
    /// Its fair share of the load that active members have; 0 if it takes no part.
    fair: u64,
}

fn members(info: &PoolInfo) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = info.members.iter().map(|member| line(info, member)).collect();
    let active = |line: &&Line<'_>| line.state == "active";
    let total: u64 = lines.iter().filter(active).map(|line| line.load).sum();
    let capacity: u64 = lines.iter().filter(active).map(|line| u64::from(line.member.capacity)).sum();
    for line in lines.iter_mut().filter(|line| line.state == "active") {
        line.fair = (total * u64::from(line.member.capacity)).div_ceil(capacity.max(1));
    }
    lines
}

fn line<'a>(info: &PoolInfo, member: &'a PoolMember) -> Line<'a> {
    let owned =
        info.shards.iter().filter(|shard| owner(shard).is_some_and(|one| one.instance == member.instance));
    let (mut primaries, mut load) = (0, 0);
    for shard in owned {
        primaries += 1;
        load += work(shard);
    }
    let copy = |shard: &&PoolShard| shard.secondaries.iter().any(|copy| copy.instance == member.instance);
    let copies = info.shards.iter().filter(copy).count() as u64;
    let state = match (member.session, member.state()) {
        (0, _) => "away",
        (_, PoolMemberState::Active) => "active",
        (_, PoolMemberState::Cordoned) => "cordoned",
        (_, PoolMemberState::Draining) => "draining",
    };
    Line { member, state, primaries, copies, load, fair: 0 }
}

fn headline(info: &PoolInfo) -> String {
    let owned = info.shards.iter().filter(|shard| owner(shard).is_some()).count();
    let (count, kind) = (info.shards.len(), kind(info.shards_of.as_ref()));
    format!("{}: {count} {kind}, {owned} owned, {} members", text(&info.pool), info.members.len())
}

fn rows<const N: usize>(
    info: &PoolInfo,
    row: impl Fn(&PoolShard) -> Option<[String; N]>,
) -> Vec<[String; N]> {
    info.shards.iter().filter_map(row).collect()
}

fn print_rows<const N: usize>(title: &str, header: &[&str; N], rows: Vec<[String; N]>) {
    if rows.is_empty() {
        return;
    }
    let mut table = output::table(header);
    for row in rows {
        table.add_row(row);
    }
    say!("\n{title}\n{table}");
}

fn move_row(info: &PoolInfo, shard: &PoolShard) -> Option<[String; 5]> {
    let Some(State::Moving(moving)) = state(shard.primary.as_ref()) else { return None };
    let from = moving.from.as_ref().map(|owner| text(&owner.instance)).unwrap_or_default();
    let phase = if moving.draining { "draining" } else { "preparing" };
    let left = match moving.deadline_unix_ms.checked_sub(info.stamp_unix_ms) {
        Some(left) => humantime::format_duration(Duration::from_millis(left)).to_string(),
        None => "OVERDUE".to_owned(),
    };
    Some([text(&shard.shard), from, text(&moving.to), phase.to_owned(), left])
}

fn waiting_row(info: &PoolInfo, shard: &PoolShard) -> Option<[String; 2]> {
    let why = match state(shard.primary.as_ref()) {
        Some(State::Owned(_) | State::Moving(_)) => return None,
        Some(State::Withheld(withheld)) => {
            let until = match withheld.until_unix_ms {
                0 => "until it comes back or the shard is forced".to_owned(),
                until => {
                    let left = Duration::from_millis(until.saturating_sub(info.stamp_unix_ms));
                    format!("for another {}", humantime::format_duration(left))
                }
            };
            format!("withheld from others after {} expired, {until}", text(&withheld.instance))
        }
        Some(State::Unassigned(_)) | None => "nobody was given it yet".to_owned(),
    };
    Some([text(&shard.shard), why])
}

fn shard_row(shard: &PoolShard) -> Option<[String; 6]> {
    let (instance, epoch) =
        owner(shard).map(|owner| (text(&owner.instance), owner.epoch.to_string())).unwrap_or_default();
    let copies: Vec<String> = (shard.secondaries.iter())
        .map(|copy| format!("{}{}", text(&copy.instance), if copy.ready { "" } else { " (not warm)" }))
        .collect();
    let name = format!("{}{}", text(&shard.shard), if shard.retired { " (to be removed)" } else { "" });
    Some([name, work(shard).to_string(), instance, epoch, copies.join(", "), text(&shard.pin)])
}

fn state(primary: Option<&ShardPrimary>) -> Option<&State> {
    primary.and_then(|primary| primary.state.as_ref())
}

/// Whoever owns a shard's primary.
pub(super) fn owner(shard: &PoolShard) -> Option<&ShardOwner> {
    match state(shard.primary.as_ref())? {
        State::Owned(owner) => Some(owner),
        State::Moving(moving) => moving.from.as_ref(),
        State::Unassigned(_) | State::Withheld(_) => None,
    }
}

fn work(shard: &PoolShard) -> u64 {
    u64::from(if shard.load > 0 { shard.load } else { shard.weight })
}

fn kind(shards: Option<&ShardSet>) -> &'static str {
    match shards.and_then(|shards| shards.kind.as_ref()) {
        Some(Kind::Slots(_)) => "slots",
        Some(Kind::Named(_)) | None => "named shards",
    }
}

fn summary(pool: &PoolSummary) -> Value {
    json!({
        "pool": text(&pool.pool),
        "kind": kind(pool.shards.as_ref()),
        "shards": pool.shard_count,
        "members": pool.member_count,
        "owned": pool.owned,
        "moving": pool.moving,
        "changed": pool.changed,
    })
}

fn status_json(info: &PoolInfo, revision: u64, members: &[Line<'_>], shards: bool) -> Value {
    let member = |line: &Line<'_>| {
        json!({
            "instance": text(&line.member.instance),
            "session": line.member.session,
            "zone": line.member.zone,
            "capacity": line.member.capacity,
            "address": line.member.address,
            "state": line.state,
            "shards": line.primaries,
            "copies": line.copies,
            "load": line.load,
            "fair": line.fair,
        })
    };
    let moves = rows(info, |shard| move_row(info, shard));
    let overdue = moves.iter().filter(|row| row[4] == "OVERDUE").count();
    let one = |[shard, from, to, phase, left]: &[String; 5]| json!({ "shard": shard, "from": from, "to": to, "phase": phase, "overdue": left == "OVERDUE" });
    let mut document = json!({
        "pool": text(&info.pool),
        "revision": revision,
        "kind": kind(info.shards_of.as_ref()),
        "shard_count": info.shards.len(),
        "owned": info.shards.iter().filter(|shard| owner(shard).is_some()).count(),
        "paused_until_unix_ms": info.paused_until_unix_ms,
        "pause_reason": info.pause_reason,
        "moves_left": info.moves_left,
        "members": members.iter().map(member).collect::<Vec<_>>(),
        "moves": moves.iter().map(one).collect::<Vec<_>>(),
        "overdue": overdue,
    });
    if shards {
        document["shards"] = info.shards.iter().map(shard_json).collect();
    }
    document
}

fn shard_json(shard: &PoolShard) -> Value {
    let owner = owner(shard);
    json!({
        "shard": text(&shard.shard),
        "weight": shard.weight,
        "load": shard.load,
        "owner": owner.map(|owner| text(&owner.instance)),
        "epoch": owner.map(|owner| owner.epoch),
        "copies": shard.secondaries.iter().map(|copy| text(&copy.instance)).collect::<Vec<_>>(),
        "pin": Some(text(&shard.pin)).filter(|pin| !pin.is_empty()),
        "retired": shard.retired,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_client::wire::shard_primary::Moving;

    fn member(instance: &'static str, capacity: u32, session: u64) -> PoolMember {
        PoolMember { instance: instance.into(), capacity, session, ..PoolMember::default() }
    }

    fn shard(name: &'static str, weight: u32, state: State) -> PoolShard {
        let primary = Some(ShardPrimary { state: Some(state) });
        PoolShard { shard: name.into(), weight, primary, ..PoolShard::default() }
    }

    fn owned(instance: &'static str) -> ShardOwner {
        ShardOwner { instance: instance.into(), epoch: 5, ..ShardOwner::default() }
    }

    fn pool() -> PoolInfo {
        let moving = Moving {
            from: Some(owned("a")),
            to: "b".into(),
            draining: true,
            deadline_unix_ms: 900,
            ..Moving::default()
        };
        PoolInfo {
            stamp_unix_ms: 1000,
            members: vec![member("a", 1, 1), member("b", 3, 2), member("c", 9, 0)],
            shards: vec![shard("0", 4, State::Owned(owned("a"))), shard("1", 4, State::Moving(moving))],
            ..PoolInfo::default()
        }
    }

    #[test]
    fn a_fair_share_goes_by_capacity_and_only_active_members_have_one() {
        let info = pool();
        let lines = members(&info);
        let numbers: Vec<_> =
            lines.iter().map(|line| (line.state, line.primaries, line.load, line.fair)).collect();
        assert_eq!(numbers, [("active", 2, 8, 2), ("active", 0, 0, 6), ("away", 0, 0, 0)]);
    }

    #[test]
    fn a_late_owner_shows() {
        let info = pool();
        let document = status_json(&info, 7, &members(&info), true);
        assert_eq!(document["overdue"], 1);
        assert_eq!(document["moves"][0]["phase"], "draining");
        assert_eq!(document["shards"][1]["owner"], "a", "it owns the shard until it lets go");
    }
}
