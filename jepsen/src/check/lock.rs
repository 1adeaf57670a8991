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
use crate::history::{History, Operation};
use serde_json::Value;
use std::collections::BTreeMap;

/// Judges locks, elections and semaphores, each by its key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lock;

const NAME: &str = "lock";

/// What clients did with one lock.
#[derive(Default)]
struct Dealings<'h> {
    /// Those who got it: the lock, the leadership, or a share.
    grants: Vec<(&'h Operation, u64)>,
    /// By token: when its holder stopped relying on it.
    ends: BTreeMap<u64, u64>,
    guarded: Vec<(&'h Operation, u64)>,
    unguarded: Vec<(&'h Operation, u64)>,
    observed: Vec<(&'h Operation, u64)>,
    capacity: u64,
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
        let (mut grants, mut guarded, mut hazards, mut untimed) = (0, 0, 0, 0);
        for (key, lock) in &locks {
            let named = |anomaly: Anomaly| Anomaly { what: format!("{key}: {}", anomaly.what), ..anomaly };
            anomalies.extend(lock.tokens_rise().into_iter().map(named));
            anomalies.extend(lock.leaders_are_one_for_a_token().into_iter().map(named));
            if lock.capacity <= 1 {
                anomalies.extend(late_writes(&lock.guarded, &lock.guarded).into_iter().map(named));
            }
            anomalies.extend(lock.holders_are_no_more_than_may().into_iter().map(named));
            let all: Vec<_> = lock.guarded.iter().chain(&lock.unguarded).copied().collect();
            hazards += late_writes(&all, &lock.unguarded).len() as u64;
            grants += lock.grants.len() as u64;
            guarded += lock.guarded.len() as u64;
            untimed += lock.grants.iter().filter(|(grant, _)| valid_for(grant).is_none()).count() as u64;
        }
        let summary = format!(
            "{grants} grants of {} locks, {guarded} guarded writes, {} promises broken; {hazards} unguarded \
             writes came after one of a later holder",
            locks.values().filter(|lock| !lock.grants.is_empty()).count(),
            anomalies.len()
        );
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(unreadable + u64::from(grants == 0))
            .count("grants", grants)
            .count("grants without a term", untimed)
            .count("guarded writes", guarded)
            .count("unguarded writes after a later holder's", hazards)
            .count("unreadable", unreadable)
    }
}

/// The term for which a grant may be relied on, in microseconds.
fn valid_for(grant: &Operation) -> Option<u64> {
    grant.output["valid_for_ms"].as_u64().map(|valid| valid.saturating_mul(1000))
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
                if operation.is_ok() {
                    self.grants.extend(got.map(|token| (operation, token)));
                }
                return got.is_some() || !operation.is_ok();
            }
            // Whoever gives it up stops relying on it when he asks to, whatever comes of that.
            "release" | "resign" => {
                if let Some(token) = asked {
                    self.end(token, operation.invoked);
                }
                return asked.is_some() || operation.f == "resign";
            }
            "held" => {
                if let (Some(token), Some(ended)) = (asked, operation.ended) {
                    self.end(token, ended);
                }
                return true;
            }
            "observe" if operation.is_ok() => {
                let is_led = operation.output["leader"] != Value::Null;
                self.observed.extend(got.filter(|_| is_led).map(|token| (operation, token)));
                return true;
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

    fn end(&mut self, token: u64, at: u64) {
        let end = self.ends.entry(token).or_insert(at);
        *end = at.min(*end);
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
        let mut holders: BTreeMap<u64, usize> = BTreeMap::new();
        for (grant, token) in &self.grants {
            if let Some(other) = holders.insert(*token, grant.index) {
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

    /// From the answer to the grant until the holder gives it up, learns of its loss, or its term is over.
    ///
    /// Grants without a term are left out: nobody said how long they may be relied on.
    fn holders_are_no_more_than_may(&self) -> Vec<Anomaly> {
        let mut moments: Vec<(u64, bool, u64, usize)> = Vec::new(); // time, begins, weight, operation
        for (grant, token) in &self.grants {
            let (Some(began), Some(term)) = (grant.ended, valid_for(grant)) else { continue };
            let end = began.saturating_add(term).min(self.ends.get(token).copied().unwrap_or(u64::MAX));
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

/// Writes of `late` that were accepted after one of `all` with a later token: by their revisions where
/// both have one, else by real time.
fn late_writes(all: &[(&Operation, u64)], late: &[(&Operation, u64)]) -> Vec<Anomaly> {
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
    let judged: std::collections::BTreeSet<usize> = late.iter().map(|(write, _)| write.index).collect();
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
        let output = json!({"token": token, "valid_for_ms": valid_for_ms});
        story.ok("acquire", "l", json!({"session": token}), output);
        story.during(answered_ms * 1000 - 1, answered_ms * 1000);
    }

    fn good() -> Story {
        let mut story = Story::of("lock");
        acquire(&mut story, 5, 10, 1000);
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
        story.at(6).output = json!({"revision": 7});
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
