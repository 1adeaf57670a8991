//! A session lives as long as it was promised, ends soon after nobody keeps it alive, and takes its keys
//! with it.
//!
//! Sources: Gray and Cheriton, "Leases" (1989), for what both sides may rely on; Burrows, "The Chubby lock
//! service" (2006), section 2.8, for sessions whose server changes; ZooKeeper's "Programmer's Guide",
//! sessions and ephemeral nodes. Times are those of the clients, so that each promise is taken at its
//! least: a renewal counts from its invocation, and an end from the last return. What is judged:
//!
//! 1. no key of a session is gone, and no renewal refused, before the invocation of the last successful
//!    renewal plus what that promised, unless the session was closed;
//! 2. no key is there after its session was closed, nor after a quiet time, without faults or signs of
//!    life, of the timeout, an eighth of it for clocks that differ, and a bound;
//! 3. nothing succeeds in a session after it was closed or seen to be gone, and no key comes back;
//! 4. the owner of a key is a session that was open and put it there.

use super::{Anomaly, Check, Verdict};
use crate::history::{FailureKind, History, Operation, SKIPPED};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Judges sessions and the keys that go with them.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Beyond its timeout and an eighth of it, a forgotten session may last so long, in microseconds.
    pub bound: u64,
}

impl Default for Session {
    fn default() -> Self {
        Self { bound: 3_000_000 }
    }
}

const NAME: &str = "session";

/// Anomalies that are shown of one promise.
const SHOWN: usize = 5;

/// What is known of one session.
#[derive(Default)]
struct Life {
    timeout: u64,
    /// It must last so long, and by which renewal.
    promised: Option<(u64, usize)>,
    /// The last sign of life that may have reached the servers.
    last_sign: u64,
    /// When somebody first asked for its end.
    closing: Option<u64>,
    /// When its end was known, and by which operation.
    gone: Option<(u64, usize)>,
    closed: Option<(u64, usize)>,
    refused: Vec<usize>,
    used: Vec<usize>,
}

/// What is known of one key.
#[derive(Default)]
struct Key {
    owners: BTreeSet<String>,
    /// When its creation was acknowledged, and which it was.
    created: Option<(u64, usize)>,
    looks: Vec<usize>,
}

/// Whether the earlier of the two is this one.
fn earliest(known: &mut Option<(u64, usize)>, time: u64, operation: usize) {
    if known.is_none_or(|(before, _)| time < before) {
        *known = Some((time, operation));
    }
}

struct Judging<'h> {
    history: &'h History,
    bound: u64,
    sessions: BTreeMap<String, Life>,
    keys: BTreeMap<&'h str, Key>,
    anomalies: Vec<Anomaly>,
    counts: BTreeMap<&'static str, u64>,
}

impl Check for Session {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut judging = Judging {
            history,
            bound: self.bound,
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            anomalies: Vec::new(),
            counts: BTreeMap::new(),
        };
        history.operations.iter().for_each(|operation| judging.take(operation));
        judging.looks();
        judging.refusals();
        judging.uses();
        let Judging { sessions, anomalies, counts, .. } = judging;
        let count = |what| counts.get(what).copied().unwrap_or(0);
        let wrong: u64 = ["early", "late", "after the end", "owner"].into_iter().map(count).sum();
        let summary = format!(
            "{} sessions, {} looks at their keys: {wrong} promises broken",
            sessions.len(),
            count("looks")
        );
        let mut verdict = Verdict::of(NAME, summary, anomalies)
            .unless_unread(count("unreadable") + u64::from(count("looks") == 0))
            .count("sessions", sessions.len() as u64);
        for (what, number) in &counts {
            verdict = verdict.count(what, *number);
        }
        verdict
    }
}

fn end_of(operation: &Operation, history: &History) -> u64 {
    operation.ended.unwrap_or(history.end)
}

impl<'h> Judging<'h> {
    fn add(&mut self, kind: &'static str, what: String, operations: impl IntoIterator<Item = usize>) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= SHOWN as u64 {
            self.anomalies.push(Anomaly::new(format!("{kind}: {what}"), operations));
        }
    }

    fn operation(&self, index: usize) -> &'h Operation {
        &self.history.operations[index]
    }

    fn take(&mut self, operation: &'h Operation) {
        if operation.f == "look" {
            if operation.is_ok() {
                *self.counts.entry("looks").or_default() += 1;
                self.keys
                    .entry(operation.key.as_deref().unwrap_or_default())
                    .or_default()
                    .looks
                    .push(operation.index);
            }
            return;
        }
        let id =
            if operation.f == "open" { &operation.output["session"] } else { &operation.input["session"] };
        let is_of_session = matches!(operation.f.as_str(), "open" | "keepalive" | "create" | "close");
        if id.is_null() || !is_of_session {
            let is_unreadable = is_of_session && operation.is_ok();
            *self.counts.entry("unreadable").or_default() += u64::from(is_unreadable);
            return;
        }
        let (index, ended) = (operation.index, end_of(operation, self.history));
        let id = id.to_string();
        let life = self.sessions.entry(id.clone()).or_default();
        if operation.is_possible() {
            life.last_sign = life.last_sign.max(ended);
        }
        match (operation.f.as_str(), operation.is_ok()) {
            ("open", true) => {
                life.timeout = operation.output["timeout_ms"].as_u64().unwrap_or(0) * 1000;
                life.promised = life.promised.max(Some((operation.invoked + life.timeout, index)));
            }
            ("keepalive", true) => {
                life.used.push(index);
                let valid =
                    operation.output["valid_for_ms"].as_u64().map_or(life.timeout, |valid| valid * 1000);
                life.promised = life.promised.max(Some((operation.invoked + valid, index)));
            }
            ("keepalive", false) => {
                let kind = operation.failure.as_ref().map(|failure| failure.kind);
                if kind == Some(FailureKind::Rejected) {
                    life.refused.push(index);
                    earliest(&mut life.gone, ended, index);
                }
            }
            ("create", is_ok) => {
                let key = self.keys.entry(operation.key.as_deref().unwrap_or_default()).or_default();
                if operation.is_possible() {
                    key.owners.insert(id);
                }
                if is_ok {
                    life.used.push(index);
                    earliest(&mut key.created, ended, index);
                }
            }
            ("close", is_ok) if operation.is_possible() => {
                life.closing = Some(life.closing.unwrap_or(u64::MAX).min(operation.invoked));
                if is_ok {
                    earliest(&mut life.closed, ended, index);
                    earliest(&mut life.gone, ended, index);
                }
            }
            _ => {}
        }
    }

    /// Until when a session must last, and who promised that.
    fn must_last(&self, session: &str) -> Option<(u64, usize)> {
        let life = self.sessions.get(session)?;
        let (promised, by) = life.promised?;
        Some((promised.min(life.closing.unwrap_or(u64::MAX)), by))
    }

    /// Whether nothing was wrong with the servers in this time.
    fn is_quiet(&self, from: u64, to: u64) -> bool {
        let real = self.history.faults.iter().filter(|fault| fault.fault != SKIPPED);
        !real.into_iter().any(|fault| fault.began <= to && fault.ended.is_none_or(|ended| ended >= from))
    }

    fn looks(&mut self) {
        for (name, key) in std::mem::take(&mut self.keys) {
            let mut missing: Option<(u64, usize)> = None;
            let mut looks = key.looks.clone();
            looks.sort_by_key(|look| self.operation(*look).invoked);
            for index in looks {
                let look = self.operation(index);
                let owner = &look.output["owner"];
                if *owner == Value::Null {
                    self.absent(name, &key, look, &mut missing);
                } else {
                    self.present(name, &key, look, &owner.to_string(), missing);
                }
            }
        }
    }

    /// A look that found nothing.
    fn absent(&mut self, name: &str, key: &Key, look: &Operation, missing: &mut Option<(u64, usize)>) {
        let Some((created, by)) = key.created.filter(|(created, _)| *created < look.invoked) else { return };
        let ended = end_of(look, self.history);
        earliest(missing, ended, look.index);
        let session = self.operation(by).input["session"].to_string();
        if let Some(life) = self.sessions.get_mut(&session) {
            earliest(&mut life.gone, ended, look.index);
        }
        if let Some((until, renewal)) = self.must_last(&session).filter(|(until, _)| ended < *until) {
            let what = format!(
                "{name}, created at {} ms, was gone {} ms before its session's time was over",
                created / 1000,
                (until - ended) / 1000
            );
            self.add("early", what, [by, renewal, look.index]);
        }
    }

    /// A look that found the key.
    fn present(
        &mut self,
        name: &str,
        key: &Key,
        look: &Operation,
        owner: &str,
        missing: Option<(u64, usize)>,
    ) {
        if !key.owners.contains(owner) {
            self.add("owner", format!("{name} is {owner}'s, who did not put it there"), [look.index]);
            return;
        }
        if let Some((_, before)) = missing.filter(|(at, _)| *at < look.invoked) {
            self.add("after the end", format!("{name} was gone and is back"), [before, look.index]);
        }
        let Some(life) = self.sessions.get(owner) else { return };
        let (timeout, last_sign) = (life.timeout, life.last_sign);
        if let Some((_, close)) = life.closed.filter(|(closed, _)| *closed < look.invoked) {
            self.add("late", format!("{name} is there, and its session was closed"), [close, look.index]);
            return;
        }
        let wait = timeout + timeout / 8 + self.bound;
        let since = look.invoked.saturating_sub(wait);
        if last_sign < since && self.is_quiet(since, look.invoked) {
            let what = format!(
                "{name} is there {} ms after the last sign of life of its session, whose timeout is {} ms",
                (look.invoked - last_sign) / 1000,
                timeout / 1000
            );
            self.add("late", what, key.created.map(|(_, by)| by).into_iter().chain([look.index]));
        }
    }

    /// Renewals that were refused while the session had to last.
    fn refusals(&mut self) {
        let refused: Vec<(String, usize)> = self
            .sessions
            .iter()
            .flat_map(|(id, life)| life.refused.iter().map(|at| (id.clone(), *at)))
            .collect();
        for (session, index) in refused {
            let ended = end_of(self.operation(index), self.history);
            if let Some((until, renewal)) = self.must_last(&session).filter(|(until, _)| ended < *until) {
                let early = (until - ended) / 1000;
                let what = format!("session {session} was refused {early} ms before its time was over");
                self.add("early", what, [renewal, index]);
            }
        }
    }

    /// What succeeded in sessions that were known to be gone.
    fn uses(&mut self) {
        let mut found = Vec::new();
        for (session, life) in &self.sessions {
            let Some((gone, by)) = life.gone else { continue };
            for index in life.used.iter().filter(|index| self.operation(**index).invoked > gone) {
                let f = &self.operation(*index).f;
                found.push((format!("{f} succeeded in session {session}, which was gone"), [by, *index]));
            }
        }
        found.into_iter().for_each(|(what, operations)| self.add("after the end", what, operations));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judged(story: &Story) -> Verdict {
        Session::default().judge(&story.history())
    }

    fn broken(story: &Story, kind: &str) {
        let verdict = judged(story);
        assert_eq!(
            (verdict.judgement, verdict.counts.get(kind)),
            (Judgement::Invalid, Some(&1)),
            "{verdict:?}"
        );
        assert_eq!(verdict.anomalies.len(), 1, "{verdict:?}");
    }

    const MS: u64 = 1000;

    fn look(story: &mut Story, at_ms: u64, owner: Value) -> usize {
        let look = story.ok("look", "k", json!({}), json!({"owner": owner, "at": 9}));
        story.during(at_ms * MS, at_ms * MS + 500);
        look
    }

    fn renew(story: &mut Story, at_ms: u64) -> usize {
        let renewal = story.ok("keepalive", "", json!({"session": 7}), json!({"valid_for_ms": 1000}));
        story.during(at_ms * MS, at_ms * MS + 500);
        renewal
    }

    /// A session of one second, opened at the beginning, with a key; kept alive once, at 500 ms.
    fn story() -> Story {
        let mut story = Story::of("session");
        story.ok("open", "", json!({"timeout_ms": 1000}), json!({"session": 7, "timeout_ms": 1000}));
        story.during(MS, 2 * MS);
        story.ok("create", "k", json!({"session": 7, "value": 1}), json!({"revision": 3}));
        story.during(3 * MS, 4 * MS);
        renew(&mut story, 500);
        story
    }

    #[test]
    fn a_session_that_lasts_and_ends_in_time_passes() {
        let mut story = story();
        look(&mut story, 1400, json!(7));
        look(&mut story, 4500, json!(7));
        look(&mut story, 4700, json!(null));
        story.fail("keepalive", "", json!({"session": 7}));
        story.during(4800 * MS, 4801 * MS);
        let verdict = judged(&story);
        assert_eq!((verdict.judgement, verdict.counts["sessions"]), (Judgement::Valid, 1), "{verdict:?}");
        assert_eq!(judged(&Story::of("session")).judgement, Judgement::Unknown);
    }

    #[test]
    fn a_key_that_is_gone_early_is_found() {
        let mut story = story();
        look(&mut story, 1400, json!(null));
        broken(&story, "early");
        story.info("close", "", json!({"session": 7}));
        story.during(1300 * MS, 9000 * MS);
        assert_eq!(judged(&story).judgement, Judgement::Valid, "it may have been closed");
    }

    #[test]
    fn a_renewal_that_is_refused_early_is_found() {
        let mut story = story();
        story.fail("keepalive", "", json!({"session": 7}));
        story.during(1300 * MS, 1301 * MS);
        look(&mut story, 5000, json!(null));
        broken(&story, "early");
    }

    #[test]
    fn a_key_that_outlives_its_session_is_found_unless_there_was_a_fault() {
        let mut story = story();
        look(&mut story, 4700, json!(7));
        broken(&story, "late");
        let mut faulty = story.clone();
        faulty.fault("kill", 2000 * MS, Some(2001 * MS));
        assert_eq!(judged(&faulty).judgement, Judgement::Valid, "a new leader begins anew");
        story.info("keepalive", "", json!({"session": 7}));
        story.during(900 * MS, 2000 * MS);
        assert_eq!(judged(&story).judgement, Judgement::Valid, "it may have been kept alive");
    }

    #[test]
    fn a_key_of_a_closed_session_is_found() {
        let mut story = story();
        story.ok("close", "", json!({"session": 7}), json!({}));
        story.during(600 * MS, 601 * MS);
        look(&mut story, 700, json!(7));
        broken(&story, "late");
        story.at(4).output = json!({"owner": null});
        assert_eq!(judged(&story).judgement, Judgement::Valid);
        renew(&mut story, 800);
        broken(&story, "after the end");
    }

    #[test]
    fn nothing_comes_back() {
        let mut story = story();
        look(&mut story, 2000, json!(null));
        look(&mut story, 2100, json!(7));
        broken(&story, "after the end");
        story.at(4).output = json!({"owner": null});
        renew(&mut story, 2200);
        let verdict = judged(&story);
        assert_eq!(verdict.counts["after the end"], 1, "{verdict:?}");
    }

    #[test]
    fn an_owner_who_did_not_put_it_there_is_found() {
        let mut story = story();
        look(&mut story, 700, json!(8));
        broken(&story, "owner");
        story.at(3).output = json!({"owner": 0});
        broken(&story, "owner");
    }
}
