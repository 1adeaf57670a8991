//! Locks and elections in words.
//!
//! ```text
//! acquire who=SESSION/REQUEST PART… [wait] [delay=MS] [meta=TEXT] [priority=N] [preempt]
//! PART: mutex:NAME | read:NAME | write:NAME | CAPACITY/WEIGHT:NAME | elect:NAME
//! release who=S/R NAME@TOKEN…      cancel who=S/R NAME      revoke who=S/R NAME
//! downgrade who=S/R NAME@TOKEN     upgrade who=S/R NAME@TOKEN
//! proclaim who=S/R NAME@TOKEN VALUE   delay who=S/R NAME@TOKEN MS   handoff who=S/R NAME@TOKEN to=S/R
//! wanted NAME WHO WHY             elapse
//! describe NAME [skip=N] [limit=N]   objects PREFIX [after=NAME] [limit=N]
//! places SESSION                  why NAME                due
//! ```

use super::show::bytes;
use super::words::{Fault, Words};
use bytes::Bytes;
use oarlock_state::object::reply::{PlaceInfo, PlaceState, Summary, Wait, WaitGraph};
use oarlock_state::object::{
    Acquire, Claim, Held, Mode, ObjectEvent, ObjectKind, ObjectOp, ObjectQuery, ObjectReply, Part,
};
use oarlock_state::{Revision, SessionId};

/// An operation of objects, if the verb begins one.
pub fn op(verb: &str, words: &mut Words) -> Result<Option<ObjectOp>, Fault> {
    Ok(Some(match verb {
        "acquire" => ObjectOp::Acquire(acquire(words)?),
        "release" => {
            let claim = claim(words, "who")?;
            let mut holds = Vec::new();
            while let Some(word) = words.next() {
                holds.push(held(&word, claim)?);
            }
            ObjectOp::Release { holds }
        }
        "cancel" => ObjectOp::Cancel { claim: claim(words, "who")?, name: name(words)? },
        "revoke" => ObjectOp::Revoke { claim: claim(words, "who")?, name: name(words)? },
        "downgrade" => ObjectOp::Downgrade(own(words)?),
        "upgrade" => ObjectOp::Upgrade(own(words)?),
        "proclaim" => {
            let held = own(words)?;
            let fill: Option<usize> = words.option_value("fill")?;
            let metadata = fill.map_or_else(|| words.take(), |length| Ok(vec![b'x'; length].into()))?;
            ObjectOp::Proclaim { held, metadata }
        }
        "delay" => ObjectOp::SetLockDelay { held: own(words)?, lock_delay_ms: words.value()? },
        "handoff" => {
            let to = claim(words, "to")?;
            ObjectOp::Handoff { held: own(words)?, to }
        }
        "wanted" => {
            ObjectOp::RequestRevocation { name: words.take()?, by: words.text()?, reason: words.text()? }
        }
        "elapse" => ObjectOp::Elapse,
        _ => return Ok(None),
    }))
}

/// A question about objects, if the verb begins one.
pub fn question(verb: &str, words: &mut Words) -> Result<Option<ObjectQuery>, Fault> {
    Ok(Some(match verb {
        "describe" => ObjectQuery::Describe {
            skip: words.option_value("skip")?.unwrap_or(0),
            limit: words.option_value("limit")?.unwrap_or(100),
            name: words.take()?,
        },
        "objects" => ObjectQuery::List {
            after: words.option("after").unwrap_or_default(),
            limit: words.option_value("limit")?.unwrap_or(100),
            prefix: words.next().unwrap_or_default(),
        },
        "places" => ObjectQuery::OfSession {
            request: words.option_value("request")?,
            session: SessionId(words.value()?),
        },
        "why" => ObjectQuery::Why { name: words.take()? },
        "due" => ObjectQuery::NextDue,
        _ => return Ok(None),
    }))
}

fn acquire(words: &mut Words) -> Result<Acquire, Fault> {
    let claim = claim(words, "who")?;
    let (wait, preempt) = (words.flag("wait"), words.flag("preempt"));
    let lock_delay_ms = words.option_value("delay")?.unwrap_or(0);
    let priority = words.option_value("priority")?.unwrap_or(0);
    let fill: Option<usize> = words.option_value("fill")?;
    let metadata = match fill {
        Some(length) => vec![b'x'; length].into(),
        None => words.option("meta").unwrap_or_default(),
    };
    let long: Option<usize> = words.option_value("long")?;
    let mut parts = Vec::new();
    parts.extend(long.map(|length| Part {
        name: vec![b'n'; length].into(),
        kind: ObjectKind::Mutex,
        mode: Mode::Exclusive,
    }));
    while let Some(word) = words.next() {
        parts.push(part(&word)?);
    }
    Ok(Acquire { parts, claim, wait, metadata, priority, preempt, lock_delay_ms })
}

/// A part of an acquire.
pub fn part(word: &Bytes) -> Result<Part, Fault> {
    let colon = word.iter().position(|byte| *byte == b':').ok_or("a part is KIND:NAME")?;
    let (how, name) = (std::str::from_utf8(&word[..colon])?, word.slice(colon + 1..));
    let (kind, mode) = match how {
        "mutex" => (ObjectKind::Mutex, Mode::Exclusive),
        "read" => (ObjectKind::ReadWrite, Mode::Shared),
        "write" => (ObjectKind::ReadWrite, Mode::Exclusive),
        "elect" => (ObjectKind::Election, Mode::Exclusive),
        "odd" => (ObjectKind::Mutex, Mode::Shared),
        semaphore => {
            let (capacity, weight) = semaphore.split_once('/').ok_or("a semaphore is CAPACITY/WEIGHT")?;
            (ObjectKind::Semaphore { capacity: capacity.parse()? }, Mode::Weight(weight.parse()?))
        }
    };
    Ok(Part { name, kind, mode })
}

fn name(words: &mut Words) -> Result<Bytes, Fault> {
    words.take()
}

fn claim(words: &mut Words, option: &str) -> Result<Claim, Fault> {
    let word = words.option(option).ok_or_else(|| format!("{option}=SESSION/REQUEST is missing"))?;
    let (session, request) =
        std::str::from_utf8(&word)?.split_once('/').ok_or("a claim is SESSION/REQUEST")?;
    Ok(Claim { session: SessionId(session.parse()?), request: request.parse()? })
}

fn own(words: &mut Words) -> Result<Held, Fault> {
    let claim = claim(words, "who")?;
    held(&words.take()?, claim)
}

fn held(word: &Bytes, claim: Claim) -> Result<Held, Fault> {
    let at = word.iter().rposition(|byte| *byte == b'@').ok_or("a hold is NAME@TOKEN")?;
    let token = Revision(std::str::from_utf8(&word[at + 1..])?.parse()?);
    Ok(Held { name: word.slice(..at), claim, token })
}

fn who(claim: Claim) -> String {
    format!("{}/{}", claim.session, claim.request)
}

fn mode(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "exclusive".to_owned(),
        Mode::Shared => "shared".to_owned(),
        Mode::Weight(weight) => format!("weight {weight}"),
    }
}

fn rank(priority: u32) -> String {
    if priority == 0 { String::new() } else { format!(" priority={priority}") }
}

fn with(metadata: &Bytes) -> String {
    if metadata.is_empty() { String::new() } else { format!(" meta={}", bytes(metadata)) }
}

/// What happened to an object.
pub fn event(name: &str, event: &ObjectEvent) -> String {
    match event {
        ObjectEvent::Queued { claim, ticket, priority } => {
            format!("{name}: {} queued ticket={ticket}{}", who(*claim), rank(*priority))
        }
        ObjectEvent::Granted { claim, ticket, priority, mode, metadata } => format!(
            "{name}: {} granted {} ticket={ticket}{}{}",
            who(*claim),
            self::mode(*mode),
            rank(*priority),
            with(metadata)
        ),
        ObjectEvent::Left { claim, ticket, priority } => {
            format!("{name}: {} left the queue ticket={ticket}{}", who(*claim), rank(*priority))
        }
        ObjectEvent::Lost { claim, token, loss, withheld_until_ms: 0 } => {
            format!("{name}: {} lost token={token} {loss:?}", who(*claim))
        }
        ObjectEvent::Lost { claim, token, loss, withheld_until_ms } => {
            format!(
                "{name}: {} lost token={token} {loss:?}, withheld until {withheld_until_ms}ms",
                who(*claim)
            )
        }
        ObjectEvent::Changed { claim, token, mode } => {
            format!("{name}: {} changed to {} token={token}", who(*claim), self::mode(*mode))
        }
        ObjectEvent::Proclaimed { claim, token, metadata } => {
            format!("{name}: {} proclaimed token={token}{}", who(*claim), with(metadata))
        }
        ObjectEvent::RevocationRequested { by, reason } => format!("{name}: wanted by {by:?}: {reason:?}"),
        ObjectEvent::Elapsed { claim, ticket } => {
            format!("{name}: hold of {} withheld no longer ticket={ticket}", who(*claim))
        }
        ObjectEvent::Vacant => format!("{name}: vacant"),
    }
}

/// What objects answer.
pub fn reply(reply: &ObjectReply) -> String {
    match reply {
        ObjectReply::Done => "done".to_owned(),
        ObjectReply::Granted { token } => format!("granted token={token}"),
        ObjectReply::Queued { ticket, ahead } => {
            let ahead: Vec<_> =
                ahead.iter().map(|(name, ahead)| format!("{}:{ahead}", bytes(name))).collect();
            format!("queued ticket={ticket} ahead=[{}]", ahead.join(" "))
        }
        ObjectReply::Described(info) => {
            let mut lines = vec![summary(&info.summary)];
            let places = info.holders.iter().chain(&info.withheld).chain(&info.queue);
            lines.extend(places.map(|place| format!("  {}", self::place(place))));
            if info.more {
                lines.push("  more".to_owned());
            }
            lines.join("\n")
        }
        ObjectReply::Listed { objects, more } => {
            let objects: String = objects.iter().map(|one| format!("\n  {}", summary(one))).collect();
            format!("more={more}{objects}")
        }
        ObjectReply::OfSession { places, more } => {
            let one = |(name, info): &(Bytes, PlaceInfo)| format!("\n  {}: {}", bytes(name), place(info));
            let places: String = places.iter().map(one).collect();
            format!("more={more}{places}")
        }
        ObjectReply::Why(graph) => why(graph),
        ObjectReply::NextDue(due) => format!("{due:?}"),
    }
}

fn summary(summary: &Summary) -> String {
    let Summary { name, kind, created, used, holders, withheld, waiters } = summary;
    format!(
        "{}: {kind} created={created} used={used} holders={holders} withheld={withheld} waiters={waiters}",
        bytes(name)
    )
}

fn place(place: &PlaceInfo) -> String {
    let state = match place.state {
        PlaceState::Waiting { position } => format!("waits at {position}"),
        PlaceState::Holding { token, granted_ms } => format!("holds token={token} since {granted_ms}ms"),
        PlaceState::Withheld { until_ms } => format!("withheld until {until_ms}ms"),
    };
    let delay =
        if place.lock_delay_ms == 0 { String::new() } else { format!(" delay={}ms", place.lock_delay_ms) };
    let names: Vec<String> = place.together_with.iter().map(bytes).collect();
    let together = if names.is_empty() { String::new() } else { format!(" together=[{}]", names.join(" ")) };
    format!(
        "{} {} {state} ticket={} arrived {}ms{}{}{delay}{together}",
        who(place.claim),
        mode(place.mode),
        place.ticket,
        place.since_ms,
        rank(place.priority),
        with(&place.metadata),
    )
}

fn why(graph: &WaitGraph) -> String {
    let mut lines = vec![format!("{} waits", graph.edges.len())];
    for Wait { name, waiter, blocker, state } in &graph.edges {
        let state = match state {
            PlaceState::Waiting { position } => format!("waits at {position}"),
            PlaceState::Holding { token, .. } => format!("holds token={token}"),
            PlaceState::Withheld { until_ms } => format!("withheld until {until_ms}ms"),
        };
        lines.push(format!("  {}: {} waits for {}, which {state}", bytes(name), who(*waiter), who(*blocker)));
    }
    for circle in &graph.circles {
        let sessions: Vec<String> = circle.iter().map(ToString::to_string).collect();
        lines.push(format!("  circle of sessions {}", sessions.join(" ")));
    }
    lines.join("\n")
}
