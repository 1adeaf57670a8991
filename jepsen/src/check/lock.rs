//! Locks, elections and semaphores: tokens are unique and rise, guarded writes follow the order of
//! their tokens, and those who hold at the same time, by what they were promised, are no more than may.
//!
//! Sources: Kleppmann, "How to do distributed locking" (2016), fencing tokens; Gray and Cheriton,
//! "Leases" (1989), a holder may rely on a lease for the term it was told; Burrows, "The Chubby lock
//! service" (2006), section 2.4, sequencers. Jepsen's report on etcd 3.4.3 (2020) shows that without
//! tokens a lock excludes nobody in a system of processes that may stop: what unguarded writers do is
//! measured here, and no promise.

use super::order::{Numbered, against_earlier, falling};
use super::{Anomaly, Check, Verdict};
use crate::history::{Api, FailureKind, History, Operation};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Judges locks, elections and semaphores, each by its key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lock;

const NAME: &str = "lock";

/// What clients did with one lock.
#[derive(Default)]
struct Dealings<'h> {
    /// Those who got it: the lock, the leadership, or a share.
    grants: Vec<(&'h Operation, u64)>,
    /// Until when its holder was told that it may rely on it, where that was told.
    promised: BTreeMap<Hold, u64>,
    /// When its holder stopped relying on it.
    ends: BTreeMap<Hold, u64>,
    guarded: Vec<(&'h Operation, u64)>,
    refused: Vec<&'h Operation>,
    unguarded: Vec<(&'h Operation, u64)>,
    observed: Vec<(&'h Operation, u64)>,
    /// Attempts of the end, when nobody else wanted it, and whether one succeeded.
    last: Vec<usize>,
    had_at_last: bool,
    capacity: u64,
}

/// A token, and whose: shares of a semaphore that were granted at the same time have the same one.
type Hold = (u64, String);

/// The hold that is meant by an operation's arguments or results.
fn hold(told: &Value) -> Option<Hold> {
    Some((told["token"].as_u64()?, told["claim"].as_str().unwrap_or_default().to_owned()))
}

impl Check for Lock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut locks: BTreeMap<&str, Dealings<'_>> = BTreeMap::new();
        let mut unreadable = 0;
        for operation in &history.operations {
            let lock = locks.entry(operation.key.as_deref().unwrap_or_default()).or_default();
            unreadable += u64::from(!lock.take(operation));
        }
        let mut anomalies = Vec::new();
        let (mut grants, mut guarded, mut refused, mut hazards, mut untimed) = (0, 0, 0, 0, 0);
        for (key, lock) in &locks {
            let named = |anomaly: Anomaly| Anomaly { what: format!("{key}: {}", anomaly.what), ..anomaly };
            anomalies.extend(lock.faults(history.header.api).into_iter().map(named));
            let all: Vec<_> = lock.guarded.iter().chain(&lock.unguarded).copied().collect();
            hazards += late_writes(&all, &lock.unguarded).len() as u64;
            grants += lock.grants.len() as u64;
            guarded += lock.guarded.len() as u64;
            refused += lock.refused.len() as u64;
            untimed += lock.grants.iter().filter(|(grant, _)| lock.term(grant).is_none()).count() as u64;
        }
        let summary = format!(
            "{grants} grants of {} locks, {guarded} guarded writes and {refused} refused, {} promises broken; \
             {hazards} unguarded writes came after one of a later holder",
            locks.values().filter(|lock| !lock.grants.is_empty()).count(),
            anomalies.len()
        );
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(unreadable + u64::from(grants == 0))
            .count("grants", grants)
            .count("grants without a term", untimed)
            .count("guarded writes", guarded)
            .count("guarded writes refused", refused)
            .count("unguarded writes after a later holder's", hazards)
            .count("unreadable", unreadable)
    }
}

fn weight(grant: &Operation) -> u64 {
    grant.input["weight"].as_u64().unwrap_or(1)
}

impl<'h> Dealings<'h> {
    /// Whether the operation could be read.
    fn take(&mut self, operation: &'h Operation) -> bool {
        let asked = operation.input["token"].as_u64();
        let got = operation.output["token"].as_u64();
        let list = match operation.f.as_str() {
            "acquire" | "campaign" => {
                self.capacity = self.capacity.max(operation.input["capacity"].as_u64().unwrap_or(1));
                if operation.input["final"] == Value::Bool(true) {
                    self.last.push(operation.index);
                    self.had_at_last |= operation.is_ok();
                }
                if operation.is_ok() {
                    self.grants.extend(got.map(|token| (operation, token)));
                    self.promise(&operation.output);
                }
                return got.is_some() || !operation.is_ok();
            }
            "confirm" if operation.is_ok() => {
                self.promise(&operation.output);
                return true;
            }
            // Whoever gives it up stops relying on it when he asks to, whatever comes of that.
            "release" | "resign" | "handoff" => {
                self.end(&operation.input, operation.invoked);
                return asked.is_some() || operation.f == "resign";
            }
            "held" => {
                self.end(&operation.input, operation.ended.unwrap_or(u64::MAX));
                return true;
            }
            "observe" if operation.is_ok() => {
                let is_led = operation.output["leader"] != Value::Null;
                self.observed.extend(got.filter(|_| is_led).map(|token| (operation, token)));
                return true;
            }
            "guarded" if is_refused(operation) => {
                self.refused.push(operation);
                return asked.is_some();
            }
            "guarded" => &mut self.guarded,
            "unguarded" => &mut self.unguarded,
            _ => return true,
        };
        if operation.is_ok() {
            list.extend(asked.map(|token| (operation, token)));
        }
        asked.is_some()
    }

    fn promise(&mut self, told: &Value) {
        let until = told["valid_until"].as_u64();
        if let Some((hold, until)) = hold(told).zip(until) {
            let promised = self.promised.entry(hold).or_insert(until);
            *promised = until.max(*promised);
        }
    }

    fn end(&mut self, told: &Value, at: u64) {
        if let Some(hold) = hold(told) {
            let end = self.ends.entry(hold).or_insert(at);
            *end = at.min(*end);
        }
    }

    /// When the holder of this grant stopped relying on it, by what it was told; `None` if it was told
    /// nothing.
    fn term(&self, grant: &Operation) -> Option<u64> {
        let hold = hold(&grant.output)?;
        let promised = *self.promised.get(&hold)?;
        Some(self.ends.get(&hold).map_or(promised, |end| promised.min(*end)))
    }

    fn faults(&self, api: Api) -> Vec<Anomaly> {
        let mut anomalies = self.tokens_rise();
        anomalies.extend(self.leaders_are_one_for_a_token());
        anomalies.extend(self.observers_see_terms_rise());
        anomalies.extend(self.looks_are_fresh());
        if self.capacity <= 1 {
            let late = late_writes(&self.guarded, &self.guarded);
            let told: BTreeSet<usize> = late.iter().flat_map(|one| one.operations.clone()).collect();
            anomalies.extend(late);
            // Oarlock's tokens are the revisions of their grants; etcd's were given when the queue was joined.
            if api == Api::Native {
                anomalies.extend(self.writes_after_the_next_grant(&told));
            }
        }
        anomalies.extend(self.refusals_within_the_term());
        anomalies.extend(self.holders_are_no_more_than_may());
        if !self.last.is_empty() && !self.had_at_last {
            anomalies.push(Anomaly::new("nobody could get it in the end", self.last.iter().copied()));
        }
        anomalies
    }

    /// A token is current no longer once another one was granted. Those that are `told` already are left
    /// out.
    fn writes_after_the_next_grant(&self, told: &BTreeSet<usize>) -> Vec<Anomaly> {
        let grants: BTreeMap<u64, usize> =
            self.grants.iter().map(|(grant, token)| (*token, grant.index)).collect();
        let others = self.guarded.iter().filter(|(write, _)| !told.contains(&write.index));
        let late = others.filter_map(|(write, token)| {
            let revision = write.output["revision"].as_u64()?;
            let (next, grant) = grants.range(token + 1..).next()?;
            let what =
                format!("a write with token {token} was accepted at {revision}, after {next} was granted");
            (*next <= revision).then(|| Anomaly::new(what, [*grant, write.index]))
        });
        late.collect()
    }

    /// Who may still rely on a hold is not refused.
    fn refusals_within_the_term(&self) -> Vec<Anomaly> {
        let early = self.refused.iter().filter_map(|write| {
            let hold = hold(&write.input)?;
            let promised = *self.promised.get(&hold)?;
            let given_up = self.ends.get(&hold).is_some_and(|end| *end <= write.invoked);
            let ended = write.ended.filter(|ended| !given_up && *ended < promised)?;
            let what = format!(
                "token {} was refused at {} ms, and its holder was promised {} ms",
                hold.0,
                ended / 1000,
                promised / 1000
            );
            Some(Anomaly::new(what, [write.index]))
        });
        early.collect()
    }

    /// Whoever looks, rather than watches, sees every term that had begun before.
    fn looks_are_fresh(&self) -> Vec<Anomaly> {
        let numbered = |all: &[(&Operation, u64)]| -> Vec<_> {
            all.iter().map(|(operation, token)| Numbered::of(operation, *token)).collect()
        };
        let looks: Vec<_> =
            self.observed.iter().filter(|(look, _)| look.input["observer"].is_null()).copied().collect();
        let stale =
            against_earlier(&numbered(&self.grants), &numbered(&looks), |earlier, later| earlier > later);
        let told = stale.into_iter().map(|(grant, look)| {
            let what = format!("token {} was seen after {} was granted", look.number, grant.number);
            Anomaly::new(what, [grant.operation, look.operation])
        });
        told.collect()
    }

    /// Whoever watches sees one leader after the other.
    fn observers_see_terms_rise(&self) -> Vec<Anomaly> {
        let mut seen: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        let mut anomalies = Vec::new();
        for (look, token) in &self.observed {
            let Some(observer) = look.input["observer"].as_u64() else { continue };
            match seen.insert(observer, (*token, look.index)) {
                Some((before, at)) if before > *token => {
                    let what = format!("observer {observer} saw token {token} after {before}");
                    anomalies.push(Anomaly::new(what, [at, look.index]));
                }
                Some(_) | None => {}
            }
        }
        anomalies
    }

    fn tokens_rise(&self) -> Vec<Anomaly> {
        let numbered: Vec<_> = self.grants.iter().map(|(grant, token)| Numbered::of(grant, *token)).collect();
        let mut anomalies: Vec<Anomaly> = falling(&numbered)
            .into_iter()
            .filter(|(earlier, later)| earlier.number != later.number)
            .map(|(earlier, later)| {
                let what = format!("token {} was given after {}", later.number, earlier.number);
                Anomaly::new(what, [earlier.operation, later.operation])
            })
            .collect();
        let mut holders: BTreeMap<Hold, usize> = BTreeMap::new();
        for (grant, token) in &self.grants {
            let whose = hold(&grant.output).filter(|_| self.capacity > 1).unwrap_or((*token, String::new()));
            if let Some(other) = holders.insert(whose, grant.index) {
                anomalies.push(Anomaly::new(format!("token {token} was given twice"), [other, grant.index]));
            }
        }
        anomalies
    }

    /// A token stands for one leader, whoever looks.
    fn leaders_are_one_for_a_token(&self) -> Vec<Anomaly> {
        let mut leaders: BTreeMap<u64, (&Value, usize)> = BTreeMap::new();
        let won = self.grants.iter().map(|(grant, token)| (*token, &grant.input["candidate"], grant.index));
        let seen = self.observed.iter().map(|(look, token)| (*token, &look.output["leader"], look.index));
        let mut anomalies = Vec::new();
        for (token, leader, operation) in won.filter(|(_, leader, _)| !leader.is_null()).chain(seen) {
            let (first, at) = *leaders.entry(token).or_insert((leader, operation));
            if first != leader {
                let what = format!("token {token} is {first}'s and {leader}'s");
                anomalies.push(Anomaly::new(what, [at, operation]));
            }
        }
        anomalies
    }

    /// From the answer to the grant until the holder gives it up, learns of its loss, or the term is over
    /// that it was told last.
    ///
    /// Grants without a term are left out: nobody said how long they may be relied on.
    fn holders_are_no_more_than_may(&self) -> Vec<Anomaly> {
        let mut moments: Vec<(u64, bool, u64, usize)> = Vec::new(); // time, begins, weight, operation
        for (grant, _) in &self.grants {
            let (Some(began), Some(end)) = (grant.ended, self.term(grant)) else { continue };
            if end > began {
                moments.push((began, true, weight(grant), grant.index));
                moments.push((end, false, weight(grant), grant.index));
            }
        }
        moments.sort_unstable(); // at the same time, ends come before beginnings
        let (mut held, mut holders, mut anomalies) = (0, Vec::new(), Vec::new());
        for (time, begins, weight, operation) in moments {
            if !begins {
                held -= weight;
                holders.retain(|holder| *holder != operation);
                continue;
            }
            held += weight;
            holders.push(operation);
            if held > self.capacity.max(1) {
                let what = format!(
                    "at {} ms {held} of {} were held, by what each holder was promised",
                    time / 1000,
                    self.capacity.max(1)
                );
                anomalies.push(Anomaly::new(what, holders.iter().copied()));
            }
        }
        anomalies
    }
}

/// Whether the servers said no.
pub(super) fn is_refused(write: &Operation) -> bool {
    write.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Rejected)
}

/// Writes of `late` that were accepted after one of `all` with a later token: by their revisions where
/// both have one, else by real time.
pub(super) fn late_writes(all: &[(&Operation, u64)], late: &[(&Operation, u64)]) -> Vec<Anomaly> {
    let tell = |(earlier, later): (usize, u64), (operation, token): (usize, u64)| {
        let what = format!("a write with token {token} was accepted after one with token {later}");
        Anomaly::new(what, [earlier, operation])
    };
    let revision = |write: &Operation| write.output["revision"].as_u64();
    if all.iter().chain(late).any(|(write, _)| revision(write).is_none()) {
        let numbered = |writes: &[(&Operation, u64)]| -> Vec<_> {
            writes.iter().map(|(write, token)| Numbered::of(write, *token)).collect()
        };
        let wrong = against_earlier(&numbered(all), &numbered(late), |earlier, later| earlier > later);
        let pairs = wrong.into_iter();
        return pairs.map(|(a, b)| tell((a.operation, a.number), (b.operation, b.number))).collect();
    }
    let mut in_order: Vec<_> =
        all.iter().map(|(write, token)| (revision(write), *token, write.index)).collect();
    in_order.sort_unstable();
    let judged: BTreeSet<usize> = late.iter().map(|(write, _)| write.index).collect();
    let mut highest: Option<(u64, usize)> = None;
    let mut anomalies = Vec::new();
    for (_, token, operation) in in_order {
        match highest.filter(|(high, _)| *high > token) {
            Some((high, by)) if judged.contains(&operation) => {
                anomalies.push(tell((by, high), (operation, token)));
            }
            Some(_) => {}
            None => highest = Some((token, operation)),
        }
    }
    anomalies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judged(story: &Story) -> Verdict {
        Lock.judge(&story.history())
    }

    fn broken(story: &Story, words: &str) {
        let verdict = judged(story);
        assert_eq!(verdict.judgement, Judgement::Invalid, "{verdict:?}");
        assert!(verdict.anomalies.iter().any(|anomaly| anomaly.what.contains(words)), "{verdict:?}");
    }

    fn acquire(story: &mut Story, token: u64, answered_ms: u64, valid_for_ms: u64) {
        let output = json!({"token": token, "valid_until": (answered_ms + valid_for_ms) * 1000});
        story.ok("acquire", "l", json!({"session": token}), output);
        story.during(answered_ms * 1000 - 1, answered_ms * 1000);
    }

    fn good() -> Story {
        let mut story = Story::of("lock");
        acquire(&mut story, 5, 10, 5);
        story.ok("guarded", "l", json!({"token": 5, "value": 1}), json!({"revision": 6}));
        story.info("release", "l", json!({"token": 5}));
        story.during(20_000, 90_000);
        acquire(&mut story, 7, 30, 1000);
        story.ok("guarded", "l", json!({"token": 7, "value": 2}), json!({"revision": 8}));
        story.fail("guarded", "l", json!({"token": 5, "value": 3}));
        story
    }

    #[test]
    fn one_holder_after_another_passes() {
        let verdict = judged(&good());
        assert_eq!((verdict.judgement, verdict.counts["grants"]), (Judgement::Valid, 2), "{verdict:?}");
        assert_eq!(judged(&Story::of("lock")).judgement, Judgement::Unknown);
    }

    #[test]
    fn tokens_that_repeat_or_fall_are_found() {
        let mut story = good();
        story.at(3).output["token"] = json!(5);
        broken(&story, "given twice");
        story.at(3).output["token"] = json!(4);
        broken(&story, "given after 5");
    }

    #[test]
    fn an_accepted_write_of_an_earlier_holder_is_found() {
        let mut story = good();
        story.ok("guarded", "l", json!({"token": 5, "value": 3}), json!({"revision": 9}));
        broken(&story, "accepted after one with token 7");
        story.at(6).output = json!({}); // no revision: by real time
        broken(&story, "accepted after one with token 7");
        story.at(6).output = json!({"revision": 6});
        assert_eq!(judged(&story).judgement, Judgement::Valid, "its answer was late");
    }

    #[test]
    fn two_holders_at_a_time_are_found_unless_one_has_lost_it() {
        let mut story = Story::of("lock");
        acquire(&mut story, 5, 10, 1000);
        acquire(&mut story, 7, 500, 1000);
        broken(&story, "2 of 1 were held");
        story.ok("held", "l", json!({"token": 5}), json!({"lost": "expired"}));
        story.during(400_000, 450_000);
        assert_eq!(judged(&story).judgement, Judgement::Valid);
        let mut story = Story::of("lock");
        acquire(&mut story, 5, 10, 400);
        acquire(&mut story, 7, 500, 1000);
        assert_eq!(judged(&story).judgement, Judgement::Valid, "its term was over");
    }

    #[test]
    fn a_term_that_was_confirmed_is_longer() {
        let mut story = Story::of("lock");
        acquire(&mut story, 5, 10, 400);
        story.ok("confirm", "l", json!({"token": 5}), json!({"token": 5, "valid_until": 700_000}));
        acquire(&mut story, 7, 500, 1000);
        broken(&story, "2 of 1 were held");
        story.at(1).output["valid_until"] = json!(450_000);
        assert_eq!(judged(&story).judgement, Judgement::Valid);
    }

    #[test]
    fn a_write_is_refused_only_when_the_term_is_over() {
        let mut story = Story::of("lock");
        acquire(&mut story, 5, 10, 400);
        story.fail("guarded", "l", json!({"token": 5, "value": 3}));
        story.during(390_000, 420_000);
        assert_eq!(judged(&story).judgement, Judgement::Valid);
        story.during(390_000, 400_000);
        broken(&story, "its holder was promised 410 ms");
        story.ok("release", "l", json!({"token": 5}), json!({}));
        story.during(380_000, 480_000);
        assert_eq!(judged(&story).judgement, Judgement::Valid, "it was given up");
    }

    #[test]
    fn a_write_after_the_next_grant_is_found_before_the_next_holder_writes() {
        let mut story = Story::of("lock");
        acquire(&mut story, 5, 10, 5);
        acquire(&mut story, 7, 30, 1000);
        story.ok("guarded", "l", json!({"token": 5, "value": 3}), json!({"revision": 8}));
        broken(&story, "after 7 was granted");
        story.at(2).output = json!({"revision": 6});
        assert_eq!(judged(&story).judgement, Judgement::Valid);
        story.at(2).output = json!({"revision": 8});
        story.header().api = Api::Etcd;
        assert_eq!(judged(&story).judgement, Judgement::Valid, "its tokens are places in the queue");
    }

    #[test]
    fn a_lock_that_nobody_gets_in_the_end_is_found() {
        let mut story = good();
        let last = story.info("acquire", "l", json!({"session": 9, "final": true}));
        broken(&story, "in the end");
        story.at(last).outcome = crate::history::Outcome::Ok;
        story.at(last).output = json!({"token": 11});
        assert_eq!(judged(&story).judgement, Judgement::Valid);
    }

    #[test]
    fn shares_that_were_granted_together_have_one_token() {
        let mut story = Story::of("semaphore");
        for claim in ["1/1", "2/1"] {
            let output = json!({"token": 5, "claim": claim, "valid_until": 100_000});
            story.ok("acquire", "s", json!({"weight": 1, "capacity": 2}), output);
        }
        assert_eq!(judged(&story).judgement, Judgement::Valid);
        story.at(1).output["claim"] = json!("1/1");
        broken(&story, "given twice");
    }

    #[test]
    fn an_observer_does_not_see_an_earlier_leader_again() {
        let mut story = Story::of("election");
        story.ok("campaign", "e", json!({"candidate": 1}), json!({"token": 3}));
        for (observer, token) in [(1, 3), (2, 7), (1, 7), (1, 3)] {
            story.ok("observe", "e", json!({"observer": observer}), json!({"leader": token, "token": token}));
        }
        story.at(0).input["candidate"] = json!(3);
        broken(&story, "saw token 3 after 7");
        story.at(4).input["observer"] = json!(3);
        assert_eq!(judged(&story).judgement, Judgement::Valid);
        story.ok("campaign", "e", json!({"candidate": 7}), json!({"token": 7}));
        story.ok("observe", "e", json!({}), json!({"leader": 3, "token": 3}));
        broken(&story, "token 3 was seen after 7");
    }

    #[test]
    fn a_semaphore_may_have_several_holders_but_not_more() {
        let mut story = Story::of("semaphore");
        for (token, at) in [(5, 10), (6, 20), (7, 30)] {
            acquire(&mut story, token, at, 1000);
            story.at(token as usize - 5).input = json!({"weight": 1, "capacity": 2});
        }
        broken(&story, "3 of 2 were held");
        story.at(2).ended = Some(2_000_000);
        assert_eq!(judged(&story).judgement, Judgement::Valid);
        story.at(1).input = json!({"weight": 2, "capacity": 2});
        broken(&story, "3 of 2 were held");
    }

    #[test]
    fn a_token_has_one_leader() {
        let mut story = Story::of("election");
        story.ok("campaign", "e", json!({"candidate": "a"}), json!({"token": 3}));
        story.ok("observe", "e", json!({}), json!({"leader": "a", "token": 3}));
        story.ok("observe", "e", json!({}), json!({"leader": null, "token": null}));
        assert_eq!(judged(&story).judgement, Judgement::Valid);
        story.at(1).output = json!({"leader": "b", "token": 3});
        broken(&story, "token 3 is");
    }

    #[test]
    fn what_unguarded_writers_do_is_counted() {
        let mut story = good();
        story.ok("unguarded", "l", json!({"token": 5, "value": 4}), json!({"revision": 10}));
        let verdict = judged(&story);
        assert_eq!(verdict.judgement, Judgement::Valid);
        assert_eq!(verdict.counts["unguarded writes after a later holder's"], 1);
    }
}
