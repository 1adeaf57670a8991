//! Answers in words.

use super::objects;
use super::pools;
use bytes::Bytes;
use oarlock_state::command::{
    Answer, KeyValue, Member, OpResult, Outcome, RangeReply, ReplyBody, SessionInfo, TxnReply,
};
use oarlock_state::event::Keyspace;
use oarlock_state::{Applied, Event, EventKind, Rejection, Revision, SessionChange};

/// Bytes as text; long runs shortened, other bytes escaped.
pub fn bytes(bytes: &Bytes) -> String {
    const BYTES_SHOWN: usize = 40;
    let text = bytes.slice(..bytes.len().min(BYTES_SHOWN)).escape_ascii().to_string();
    if bytes.len() > BYTES_SHOWN { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// Events and results of an answer that are shown; of more, only the number.
const SHOWN: usize = 12;

/// Everything that an entry did, one line each.
pub fn applied(applied: &Applied) -> String {
    let mut lines: Vec<String> = applied.outcomes.iter().map(|(_, outcome)| self::outcome(outcome)).collect();
    lines.extend(applied.sessions.iter().map(|change| format!("  {}", session_change(change))));
    lines.extend(applied.events.iter().take(SHOWN).map(|event| format!("  {}", self::event(event))));
    if let Some(left) = applied.events.len().checked_sub(SHOWN).filter(|left| *left > 0) {
        lines.push(format!("  … and {left} more events"));
    }
    if let Some(auth) = &applied.auth {
        let state = if auth.enabled { "on" } else { "off" };
        lines.push(format!("  authentication {state}, auth revision {}", auth.revision));
    }
    if let Some(check) = &applied.digest_check {
        let verdict = match check.ours {
            None => "not remembered",
            Some(ours) if ours == check.theirs => "equal",
            Some(_) => "DIFFERENT",
        };
        lines.push(format!("  digest at {}: {verdict}", check.index));
    }
    lines.join("\n")
}

/// What the log decided.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Ok(reply) => {
            let repeated = if reply.repeated { ", a repetition" } else { "" };
            format!("rev {} (entry {}{repeated}){}", reply.revision, reply.index, body(&reply.body))
        }
        Err(rejection) => refused(rejection),
    }
}

/// A refusal.
pub fn refused(rejection: &Rejection) -> String {
    let text = rejection.to_string();
    let shown = if text.len() > 160 { format!("{}…", &text[..80]) } else { text };
    format!("refused: {shown}")
}

fn body(body: &ReplyBody) -> String {
    match body {
        ReplyBody::Done => String::new(),
        ReplyBody::Txn(reply) => txn(reply),
        ReplyBody::Tree(reply) => format!(" {reply:?}"),
        ReplyBody::Object(reply) => format!(" {}", objects::reply(reply)),
        ReplyBody::Pool(reply) => format!(" {}", pools::reply(reply)),
        ReplyBody::SessionOpened { session, timeout_ms } => {
            format!(" session {session} timeout={timeout_ms}ms")
        }
        ReplyBody::Expired { ended } => {
            let ended: Vec<_> = ended.iter().map(ToString::to_string).collect();
            format!(" ended [{}]", ended.join(" "))
        }
        ReplyBody::Members(members) => self::members(members),
    }
}

fn txn(reply: &TxnReply) -> String {
    let mut results: Vec<_> = reply.results.iter().take(SHOWN).map(result).collect();
    if let Some(left) = reply.results.len().checked_sub(SHOWN).filter(|left| *left > 0) {
        results.push(format!("… and {left} more"));
    }
    let branch = if reply.succeeded { "then" } else { "else" };
    match results.as_slice() {
        [one] if reply.succeeded => format!(" {one}"),
        _ => format!(" {branch} [{}]", results.join("; ")),
    }
}

fn result(result: &OpResult) -> String {
    match result {
        OpResult::Range(reply) => format!("got {}", range(reply)),
        OpResult::Put { previous: None } => "put".to_owned(),
        OpResult::Put { previous: Some(previous) } => format!("put over {}", key_value(previous)),
        OpResult::Delete { deleted, previous } if previous.is_empty() => format!("deleted {deleted}"),
        OpResult::Delete { deleted, previous } => {
            format!("deleted {deleted}: {}", key_values(previous))
        }
        OpResult::Txn(reply) => format!("({})", txn(reply).trim_start()),
        OpResult::Update { value } => format!("now {}", bytes(value)),
        OpResult::PutSequential { key } => format!("put {}", bytes(key)),
    }
}

/// What was read.
pub fn range(reply: &RangeReply) -> String {
    let more = if reply.more { ", more" } else { "" };
    format!("{}, count={}{more}", key_values(&reply.records), reply.count)
}

fn key_values(records: &[KeyValue]) -> String {
    let records: Vec<_> = records.iter().map(key_value).collect();
    if records.is_empty() { "nothing".to_owned() } else { records.join(", ") }
}

/// `key=value` with revisions, version and owner.
pub fn key_value(record: &KeyValue) -> String {
    let owner = if record.owner.get() == 0 { String::new() } else { format!(" owner={}", record.owner) };
    format!(
        "{}={} (created {} changed {} version {}{owner})",
        bytes(&record.key),
        bytes(&record.value),
        record.create_revision,
        record.mod_revision,
        record.version
    )
}

/// One change.
pub fn event(event: &Event) -> String {
    let key = bytes(&event.key);
    let what = match &event.kind {
        EventKind::Put { value, create_revision, version, owner } => {
            let owner = if owner.get() == 0 { String::new() } else { format!(" owner={owner}") };
            format!("put {key}={} created={create_revision} version={version}{owner}", bytes(value))
        }
        EventKind::Delete => format!("delete {key}"),
        EventKind::Children => format!("children {key}"),
        EventKind::Object(event) => objects::event(&key, event),
        EventKind::Pool(event) => pools::event(&key, event),
    };
    let by = if event.session.get() == 0 { String::new() } else { format!(" by {}", event.session) };
    let over = event.previous.map_or(String::new(), |at| format!(", over {}", position(at)));
    let at = position((event.revision, event.sub));
    format!("event {at} {what} {:?}{by}{over}", event.cause)
}

fn position(at: (Revision, u32)) -> String {
    format!("{}.{}", at.0, at.1)
}

fn session_change(change: &SessionChange) -> String {
    match change {
        SessionChange::Opened { session, timeout_ms, .. } => {
            format!("session {session} opened for {timeout_ms}ms")
        }
        SessionChange::Touched { session, last_touch } => {
            format!("session {session} touched at {last_touch}")
        }
        SessionChange::Ended { session, cause } => format!("session {session} ended {cause:?}"),
    }
}

fn members(members: &[Member]) -> String {
    let one = |member: &Member| {
        let learner = if member.learner { " learner" } else { "" };
        format!(
            "\n  member {} {:?} peers={:?} clients={:?} version={:?}{learner}",
            member.node, member.name, member.peer_urls, member.client_urls, member.version
        )
    };
    members.iter().map(one).collect()
}

fn session(info: &SessionInfo) -> String {
    let attached: Vec<_> = info
        .attached
        .iter()
        .map(|(keyspace, key)| match keyspace {
            Keyspace::Kv => bytes(key),
            Keyspace::Tree => format!("node:{}", bytes(key)),
            Keyspace::Object => format!("object:{}", bytes(key)),
            Keyspace::Pool => format!("pool:{}", bytes(key)),
        })
        .collect();
    format!(
        "session {} of {:?} timeout={}ms touched={} opened={}ms acked={} last={} attached=[{}]",
        info.session,
        info.principal,
        info.timeout_ms,
        info.last_touch,
        info.opened_ms,
        info.acked_up_to,
        info.last_sequence,
        attached.join(" ")
    )
}

/// An answer to a question.
pub fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Range(reply) => range(reply),
        Answer::Txn(reply) => txn(reply).trim_start().to_owned(),
        Answer::Tree(reply) => format!("{reply:?}"),
        Answer::Object(reply) => objects::reply(reply),
        Answer::Pool(reply) => pools::reply(reply),
        Answer::Session(info) => session(info),
        Answer::Sessions { sessions, more } => {
            let sessions: String = sessions.iter().map(|info| format!("\n  {}", session(info))).collect();
            format!("more={more}{sessions}")
        }
        Answer::Outcome(None) => "unknown".to_owned(),
        Answer::Outcome(Some(outcome)) => self::outcome(outcome),
        Answer::TokenCurrent(current) => if *current { "current" } else { "not current" }.to_owned(),
        Answer::Members(members) => self::members(members),
        Answer::Conditions(conditions) => format!("{conditions:?}"),
        Answer::History { events, through } => {
            let events: String = events.iter().map(|one| format!("\n  {}", event(one))).collect();
            format!("through {through}{events}")
        }
        Answer::Previous(None) => "a deletion".to_owned(),
        Answer::Previous(Some(record)) => key_value(record),
        Answer::Auth(answer) => super::auth::show(answer),
    }
}
