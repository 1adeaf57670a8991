//! Shard pools in words.
//!
//! ```text
//! pool create NAME (slots=N | named) [POLICY…]   pool policy NAME [POLICY…]   pool delete NAME [force]
//! POLICY: copies=N spread=ignore|prefer|require delay=MS reassign=MS handoff=MS moves=N rate=N
//!         tolerance=N sticky
//! pool add NAME SHARD:WEIGHT…     pool remove NAME SHARD…
//! pool join NAME INSTANCE with=SESSION [zone=TEXT] [capacity=N] [address=TEXT] [meta=TEXT]
//! pool leave NAME INSTANCE with=SESSION           pool ready NAME INSTANCE with=SESSION SHARD…
//! pool release NAME INSTANCE with=SESSION SHARD@EPOCH…
//! pool report NAME INSTANCE with=SESSION SHARD:LOAD…
//! pool set NAME INSTANCE active|cordoned|draining
//! pool pin NAME SHARD [INSTANCE]  pool weigh NAME SHARD:WEIGHT…  pool pause NAME MS [REASON]
//! pool move NAME SHARD INSTANCE   pool force NAME SHARD          pool elapse
//! pool assign NAME BASIS STEP…    with BASIS a revision, or `now` for the pool as it is
//! STEP: grant:SHARD>INSTANCE | move:SHARD>INSTANCE | cancel:SHARD | copy:SHARD>INSTANCE
//!       | drop:SHARD>INSTANCE
//! pool show NAME    pool shard NAME SHARD    pool list PREFIX [after=NAME] [limit=N]    pool due
//! ```

use super::show::bytes;
use super::words::{Fault, Words};
use bytes::Bytes;
use oarlock_state::pool::{
    Join, MemberInfo, MemberState, Owner, Policy, PoolEvent, PoolOp, PoolQuery, PoolReply, PoolState,
    PoolSummary, Primary, ShardInfo, ShardSet, ShardToken, Spread, Step,
};
use oarlock_state::{Revision, SessionId};
use std::str::FromStr;

/// An operation of pools, if the verb begins one.
pub fn op(verb: &str, words: &mut Words) -> Result<Option<PoolOp>, Fault> {
    let Some(verb) = verb.strip_prefix("pool ") else { return Ok(None) };
    Ok(Some(match verb {
        "create" => create(words)?,
        "policy" => {
            let policy = policy(words)?;
            PoolOp::SetPolicy { pool: words.take()?, policy }
        }
        "delete" => PoolOp::Delete { force: words.flag("force"), pool: words.take()? },
        "add" => PoolOp::AddShards { pool: words.take()?, shards: weights(words)? },
        "remove" => PoolOp::RemoveShards { pool: words.take()?, shards: rest(words) },
        "join" => PoolOp::Join { pool: words.take()?, join: join(words)? },
        "leave" | "ready" | "release" | "report" => of_instance(verb, words)?,
        "set" => PoolOp::SetMemberState {
            pool: words.take()?,
            instance: words.take()?,
            state: member_state(&words.text()?)?,
        },
        "pin" => PoolOp::Pin { pool: words.take()?, shard: words.take()?, to: words.next() },
        "weigh" => PoolOp::SetWeights { pool: words.take()?, weights: weights(words)? },
        "pause" => PoolOp::Pause {
            pool: words.take()?,
            for_ms: words.value()?,
            reason: words.next().map_or_else(String::new, |reason| text(&reason)),
        },
        "move" => PoolOp::Move { pool: words.take()?, shard: words.take()?, to: words.take()? },
        "force" => PoolOp::Force { pool: words.take()?, shard: words.take()? },
        "assign" => {
            let pool = words.take()?;
            // Revision 0 stands for the pool as it is: whoever runs the script knows that.
            let basis = Revision(if words.is("now") { 0 } else { words.value()? });
            let steps = rest(words).iter().map(step).collect::<Result<_, Fault>>()?;
            PoolOp::Assign { pool, basis, steps }
        }
        "elapse" => PoolOp::Elapse,
        _ => return Ok(None),
    }))
}

/// A question about pools, if the verb begins one.
pub fn question(verb: &str, words: &mut Words) -> Result<Option<PoolQuery>, Fault> {
    Ok(Some(match verb {
        "pool show" => PoolQuery::State { pool: words.take()? },
        "pool shard" => PoolQuery::Shard { pool: words.take()?, shard: words.take()? },
        "pool list" => PoolQuery::List {
            after: words.option("after").unwrap_or_default(),
            limit: words.option_value("limit")?.unwrap_or(100),
            prefix: words.next().unwrap_or_default(),
        },
        "pool due" => PoolQuery::NextDue,
        _ => return Ok(None),
    }))
}

fn create(words: &mut Words) -> Result<PoolOp, Fault> {
    let shards = match words.option_value("slots")? {
        Some(count) => ShardSet::Slots(count),
        None => {
            if !words.flag("named") {
                return Err("a pool has slots=N or is named".into());
            }
            ShardSet::Named
        }
    };
    let policy = policy(words)?;
    let long: Option<usize> = words.option_value("long")?;
    let pool = long.map_or_else(|| words.take(), |length| Ok(vec![b'n'; length].into()))?;
    Ok(PoolOp::Create { pool, shards, policy })
}

fn policy(words: &mut Words) -> Result<Policy, Fault> {
    let usual = Policy::default();
    let spread = match words.option("spread").as_deref() {
        None | Some(b"ignore") => Spread::Ignore,
        Some(b"prefer") => Spread::Prefer,
        Some(b"require") => Spread::Require,
        Some(other) => return Err(format!("{:?} is no spread", text(other)).into()),
    };
    Ok(Policy {
        secondaries: words.option_value("copies")?.unwrap_or(usual.secondaries),
        spread,
        lock_delay_ms: words.option_value("delay")?.unwrap_or(usual.lock_delay_ms),
        reassign_delay_ms: words.option_value("reassign")?.unwrap_or(usual.reassign_delay_ms),
        handoff_ms: words.option_value("handoff")?.unwrap_or(usual.handoff_ms),
        moves_max: words.option_value("moves")?.unwrap_or(usual.moves_max),
        moves_per_minute: words.option_value("rate")?.unwrap_or(usual.moves_per_minute),
        tolerance_percent: words.option_value("tolerance")?.unwrap_or(usual.tolerance_percent),
        sticky: words.flag("sticky"),
    })
}

fn join(words: &mut Words) -> Result<Join, Fault> {
    let session = SessionId(words.option_value("with")?.ok_or("with=SESSION is missing")?);
    let zone = words.option("zone").map_or_else(String::new, |zone| text(&zone));
    let capacity = words.option_value("capacity")?.unwrap_or(1);
    let address = words.option("address").map_or_else(String::new, |address| text(&address));
    let fill: Option<usize> = words.option_value("fill")?;
    let metadata = match fill {
        Some(length) => vec![b'x'; length].into(),
        None => words.option("meta").unwrap_or_default(),
    };
    let instance = words.take()?;
    Ok(Join { instance, session, zone, capacity, address, metadata })
}

fn of_instance(verb: &str, words: &mut Words) -> Result<PoolOp, Fault> {
    let session = SessionId(words.option_value("with")?.ok_or("with=SESSION is missing")?);
    let (pool, instance) = (words.take()?, words.take()?);
    Ok(match verb {
        "leave" => PoolOp::Leave { pool, instance, session },
        "ready" => PoolOp::Ready { pool, instance, session, shards: rest(words) },
        "report" => PoolOp::Report { pool, instance, session, loads: weights(words)? },
        _ => {
            let token = |word: &Bytes| {
                let (shard, epoch) = pair(word, b'@')?;
                Ok(ShardToken { shard, epoch: Revision(epoch) })
            };
            let shards = rest(words).iter().map(token).collect::<Result<_, Fault>>()?;
            PoolOp::Release { pool, instance, session, shards }
        }
    })
}

fn rest(words: &mut Words) -> Vec<Bytes> {
    std::iter::from_fn(|| words.next()).collect()
}

fn weights(words: &mut Words) -> Result<Vec<(Bytes, u32)>, Fault> {
    rest(words).iter().map(|word| pair(word, b':')).collect()
}

/// A name and a number behind it.
fn pair<T: FromStr<Err: std::fmt::Display>>(word: &Bytes, between: u8) -> Result<(Bytes, T), Fault> {
    let at = word.iter().rposition(|byte| *byte == between).ok_or("a name and a number are wanted")?;
    let number = text(&word[at + 1..]);
    let number = number.parse().map_err(|error| format!("{number:?}: {error}"))?;
    Ok((word.slice(..at), number))
}

fn step(word: &Bytes) -> Result<Step, Fault> {
    let colon = word.iter().position(|byte| *byte == b':').ok_or("a step is KIND:SHARD")?;
    let rest = word.slice(colon + 1..);
    let arrow = rest.iter().rposition(|byte| *byte == b'>').unwrap_or(rest.len());
    let (shard, to) = (rest.slice(..arrow), rest.slice((arrow + 1).min(rest.len())..));
    Ok(match &word[..colon] {
        b"grant" => Step::Grant { shard, to },
        b"move" => Step::Move { shard, to },
        b"cancel" => Step::CancelMove { shard },
        b"copy" => Step::AddSecondary { shard, to },
        b"drop" => Step::DropSecondary { shard, from: to },
        other => return Err(format!("{:?} is no step", text(other)).into()),
    })
}

fn member_state(word: &str) -> Result<MemberState, Fault> {
    Ok(match word {
        "active" => MemberState::Active,
        "cordoned" => MemberState::Cordoned,
        "draining" => MemberState::Draining,
        other => return Err(format!("{other:?} is no state of a member").into()),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What happened to a pool.
pub fn event(name: &str, event: &PoolEvent) -> String {
    let what = match event {
        PoolEvent::Created { shards, policy } => format!("created, {}, {}", kind(*shards), rules(policy)),
        PoolEvent::PolicySet(policy) => format!("policy {}", rules(policy)),
        PoolEvent::Deleted => "deleted".to_owned(),
        PoolEvent::Paused { until_ms: 0, .. } => "goes on".to_owned(),
        PoolEvent::Paused { until_ms, reason } => format!("paused until {until_ms}ms: {reason:?}"),
        PoolEvent::Joined { instance, session, zone, capacity, address, metadata } => {
            format!("{} joined as {session}{}", bytes(instance), about(zone, *capacity, address, metadata))
        }
        PoolEvent::Away { instance, until_ms: u64::MAX } => format!("{} away", bytes(instance)),
        PoolEvent::Away { instance, until_ms } => format!("{} away until {until_ms}ms", bytes(instance)),
        PoolEvent::Left { instance } => format!("{} left", bytes(instance)),
        PoolEvent::MemberStateSet { instance, state } => format!("{} {state:?}", bytes(instance)),
        PoolEvent::ShardAdded { shard, weight } => format!("{} added weight={weight}", bytes(shard)),
        PoolEvent::ShardRetired { shard } => format!("{} retired", bytes(shard)),
        PoolEvent::ShardRemoved { shard } => format!("{} removed", bytes(shard)),
        PoolEvent::ShardTuned { shard, weight, load, pin } => {
            format!("{} weight={weight} load={load}{}", bytes(shard), pinned(pin.as_ref()))
        }
        PoolEvent::Granted { .. }
        | PoolEvent::Preparing { .. }
        | PoolEvent::Draining { .. }
        | PoolEvent::MoveCancelled { .. }
        | PoolEvent::Lost { .. }
        | PoolEvent::Available { .. }
        | PoolEvent::SecondaryAdded { .. }
        | PoolEvent::SecondaryReady { .. }
        | PoolEvent::SecondaryDropped { .. } => transfer(event),
    };
    format!("{name}: {what}")
}

fn transfer(event: &PoolEvent) -> String {
    match event {
        PoolEvent::Granted { shard, instance, session, epoch } => {
            format!("{} granted to {} as {session} epoch={epoch}", bytes(shard), bytes(instance))
        }
        PoolEvent::Preparing { shard, from, to, deadline_ms } => {
            format!("{} of {} preparing at {} until {deadline_ms}ms", bytes(shard), bytes(from), bytes(to))
        }
        PoolEvent::Draining { shard, from, to, deadline_ms } => {
            format!("{} draining at {} for {} until {deadline_ms}ms", bytes(shard), bytes(from), bytes(to))
        }
        PoolEvent::MoveCancelled { shard, to } => format!("{} moves to {} no more", bytes(shard), bytes(to)),
        PoolEvent::Lost { shard, instance, epoch, loss, withheld_until_ms } => {
            let withheld = match withheld_until_ms {
                0 => String::new(),
                &u64::MAX => ", withheld".to_owned(),
                until_ms => format!(", withheld until {until_ms}ms"),
            };
            format!("{} lost by {} epoch={epoch} {loss:?}{withheld}", bytes(shard), bytes(instance))
        }
        PoolEvent::Available { shard } => format!("{} available", bytes(shard)),
        PoolEvent::SecondaryAdded { shard, instance, session, epoch } => {
            format!("{} copied to {} as {session} epoch={epoch}", bytes(shard), bytes(instance))
        }
        PoolEvent::SecondaryReady { shard, instance } => {
            format!("{} copy at {} ready", bytes(shard), bytes(instance))
        }
        PoolEvent::SecondaryDropped { shard, instance } => {
            format!("{} copy at {} dropped", bytes(shard), bytes(instance))
        }
        other => format!("{other:?}"),
    }
}

fn kind(shards: ShardSet) -> String {
    match shards {
        ShardSet::Slots(count) => format!("{count} slots"),
        ShardSet::Named => "named shards".to_owned(),
    }
}

fn rules(policy: &Policy) -> String {
    let sticky = if policy.sticky { " sticky" } else { "" };
    format!(
        "copies={} {:?} delay={}ms reassign={}ms handoff={}ms moves={}/{} tolerance={}%{sticky}",
        policy.secondaries,
        policy.spread,
        policy.lock_delay_ms,
        policy.reassign_delay_ms,
        policy.handoff_ms,
        policy.moves_max,
        policy.moves_per_minute,
        policy.tolerance_percent,
    )
}

fn about(zone: &str, capacity: u32, address: &str, metadata: &Bytes) -> String {
    let mut text = String::new();
    let named = [("zone", zone.to_owned()), ("address", address.to_owned()), ("meta", bytes(metadata))];
    for (name, value) in named {
        if !value.is_empty() && value != "''" {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    if capacity != 1 {
        text.push_str(&format!(" capacity={capacity}"));
    }
    text
}

fn pinned(pin: Option<&Bytes>) -> String {
    pin.map_or_else(String::new, |instance| format!(" pin={}", bytes(instance)))
}

/// What pools answer.
pub fn reply(reply: &PoolReply) -> String {
    match reply {
        PoolReply::Done => "done".to_owned(),
        PoolReply::Joined { owned } => {
            let owned: Vec<_> =
                owned.iter().map(|(shard, epoch)| format!("{}@{epoch}", bytes(shard))).collect();
            format!("joined owned=[{}]", owned.join(" "))
        }
        PoolReply::Listed { pools, more } => {
            let pools: String = pools.iter().map(|one| format!("\n  {}", summary(one))).collect();
            format!("more={more}{pools}")
        }
        PoolReply::State(state) => self::state(state),
        PoolReply::Shard(info) => shard(info),
        PoolReply::NextDue(due) => format!("{due:?}"),
    }
}

fn summary(summary: &PoolSummary) -> String {
    format!(
        "{}: {} shards={} members={} owned={} moving={} changed={}",
        bytes(&summary.pool),
        kind(summary.shards),
        summary.shard_count,
        summary.member_count,
        summary.owned,
        summary.moving,
        summary.changed
    )
}

/// A pool at length.
pub fn state(state: &PoolState) -> String {
    let mut lines = vec![format!(
        "{}: {} created={} changed={} moves left={}",
        bytes(&state.pool),
        kind(state.shards_of),
        state.created,
        state.changed,
        state.moves_left
    )];
    if state.paused_until_ms > 0 {
        lines.push(format!("  paused until {}ms: {:?}", state.paused_until_ms, state.pause_reason));
    }
    lines.extend(state.members.iter().map(|one| format!("  {}", member(one))));
    lines.extend(state.shards.iter().map(|one| format!("  {}", shard(one))));
    lines.join("\n")
}

fn member(member: &MemberInfo) -> String {
    let place = match (member.session.get(), member.away_until_ms) {
        (0, u64::MAX) => "away".to_owned(),
        (0, until_ms) => format!("away until {until_ms}ms"),
        (session, _) => format!("as {session}"),
    };
    let about = about(&member.zone, member.capacity, &member.address, &member.metadata);
    format!("{} {place} {:?} joined={}{about}", bytes(&member.instance), member.state, member.joined)
}

fn shard(info: &ShardInfo) -> String {
    let owned = |owner: &Owner| {
        format!(
            "owned by {} as {} epoch={} since {}ms",
            bytes(&owner.instance),
            owner.session,
            owner.epoch,
            owner.granted_ms
        )
    };
    let primary = match &info.primary {
        Primary::Unassigned { since_ms } => format!("unassigned since {since_ms}ms"),
        Primary::Owned(owner) => owned(owner),
        Primary::Moving { from, to, session, draining, deadline_ms } => format!(
            "{}, {} for {} as {session} until {deadline_ms}ms",
            owned(from),
            if *draining { "draining" } else { "preparing" },
            bytes(to)
        ),
        Primary::Withheld { instance, epoch, until_ms: 0 } => {
            format!("withheld for {} epoch={epoch}", bytes(instance))
        }
        Primary::Withheld { instance, epoch, until_ms } => {
            format!("withheld for {} until {until_ms}ms epoch={epoch}", bytes(instance))
        }
    };
    let load = if info.load == 0 { String::new() } else { format!(" load={}", info.load) };
    let retired = if info.retired { " retired" } else { "" };
    let copies: Vec<_> = info
        .secondaries
        .iter()
        .map(|copy| {
            let ready = if copy.ready { "!" } else { "" };
            format!("{}/{}@{}{ready}", bytes(&copy.instance), copy.session, copy.epoch)
        })
        .collect();
    let copies = if copies.is_empty() { String::new() } else { format!(" copies=[{}]", copies.join(" ")) };
    format!(
        "{} weight={}{load}{}{retired} {primary}{copies}",
        bytes(&info.shard),
        info.weight,
        pinned(info.pin.as_ref())
    )
}
