//! A shard has at most one owner at a time, by what each owner was promised, and its epochs rise.
//!
//! Sources: Gray and Cheriton, "Leases" (1989); Adya and others, "Slicer: auto-sharding for datacenter
//! applications" (2016), section 4.4, exclusive assignments under leases.

use super::lock::{is_refused, late_writes};
use super::{Anomaly, Check, Verdict};
use crate::history::{History, Operation};
use serde_json::Value;
use std::collections::BTreeMap;

/// Judges the times in which members of a pool owned shards: keys are shards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners;

const NAME: &str = "owners";

/// One time in which a member owned a shard.
#[derive(Clone, Copy)]
struct Tenure<'h> {
    grant: &'h Operation,
    epoch: u64,
    /// When the owner stopped relying on it.
    end: u64,
}

impl Tenure<'_> {
    fn member(&self) -> &serde_json::Value {
        &self.grant.input["member"]
    }
}

impl Check for Owners {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut shards: BTreeMap<&str, Vec<Tenure<'_>>> = BTreeMap::new();
        let (mut unreadable, mut open) = (0, 0);
        for grant in history.operations.iter().filter(|one| one.f == "grant" && one.is_possible()) {
            let epoch = grant.output["epoch"].as_u64().or_else(|| grant.input["epoch"].as_u64());
            let Some(epoch) = epoch else {
                *(if grant.is_ok() { &mut unreadable } else { &mut open }) += 1;
                continue;
            };
            let valid = [&grant.output, &grant.input].map(|told| told["valid_until"].as_u64());
            let valid = valid[0].or(valid[1]).unwrap_or(u64::MAX);
            // Of one that never ended, or whose owner died, only its term says how long it was relied on.
            let died = grant.output["died"] == Value::Bool(true);
            let ended = if grant.is_ok() && !died { grant.ended.unwrap_or(u64::MAX) } else { u64::MAX };
            let end = if valid.min(ended) == u64::MAX { grant.invoked } else { valid.min(ended) };
            let shard = grant.key.as_deref().unwrap_or_default();
            shards.entry(shard).or_default().push(Tenure { grant, epoch, end });
        }
        let writes = writes_by_shard(history);
        let mut anomalies = Vec::new();
        for (shard, tenures) in &mut shards {
            tenures.sort_by_key(|tenure| tenure.grant.invoked);
            anomalies.extend(faults_of(shard, tenures));
            let Some(writes) = writes.get(shard) else { continue };
            let accepted: Vec<_> = writes.iter().filter(|(write, _)| write.is_ok()).copied().collect();
            anomalies.extend(late_writes(&accepted, &accepted));
            anomalies.extend(refusals_within_the_term(shard, tenures, writes));
        }
        anomalies.extend(left_over(history));
        let guarded = writes.values().flatten().filter(|(write, _)| write.is_ok()).count();
        let tenures: usize = shards.values().map(Vec::len).sum();
        let summary = format!(
            "{tenures} grants of {} shards, {guarded} guarded writes, {} promises broken",
            shards.len(),
            anomalies.len()
        );
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(unreadable + u64::from(tenures == 0))
            .count("grants", tenures as u64)
            .count("grants without an end", open)
            .count("guarded writes", guarded as u64)
            .count("unreadable", unreadable)
    }
}

/// Writes under a shard's epoch, with it.
fn writes_by_shard(history: &History) -> BTreeMap<&str, Vec<(&Operation, u64)>> {
    let mut writes: BTreeMap<&str, Vec<(&Operation, u64)>> = BTreeMap::new();
    for write in history.operations.iter().filter(|one| one.f == "guarded") {
        let shard = write.key.as_deref().unwrap_or_default();
        let epoch = write.input["token"].as_u64();
        writes.entry(shard).or_default().extend(epoch.map(|epoch| (write, epoch)));
    }
    writes
}

/// An owner is not refused while it may rely on its shard.
fn refusals_within_the_term(
    shard: &str,
    tenures: &[Tenure<'_>],
    writes: &[(&Operation, u64)],
) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    for (write, epoch) in writes.iter().filter(|(write, _)| is_refused(write)) {
        let (asked, answered) = (write.invoked, write.ended.unwrap_or(u64::MAX));
        let owns = |tenure: &&Tenure<'_>| {
            tenure.epoch == *epoch && tenure.grant.invoked <= asked && answered < tenure.end
        };
        if let Some(tenure) = tenures.iter().find(owns) {
            let what = format!(
                "shard {shard}: epoch {epoch} was refused at {} ms, and its owner was promised {} ms",
                answered / 1000,
                tenure.end / 1000
            );
            anomalies.push(Anomaly::new(what, [tenure.grant.index, write.index]));
        }
    }
    anomalies
}

/// Whoever is alone in the end owns everything.
fn left_over(history: &History) -> Vec<Anomaly> {
    let last =
        history.operations.iter().filter(|one| one.f == "own" && one.input["final"] == Value::Bool(true));
    let short = last.filter(|one| one.is_ok() && one.output["owned"] != one.output["of"]);
    let tell = |one: &Operation| {
        let what = format!("{} of {} shards were owned in the end", one.output["owned"], one.output["of"]);
        Anomaly::new(what, [one.index])
    };
    short.map(tell).collect()
}

/// What is wrong with one shard's tenures, in the order of their beginnings.
fn faults_of(shard: &str, tenures: &[Tenure<'_>]) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let mut longest: Option<Tenure<'_>> = None;
    let mut highest: Option<Tenure<'_>> = None;
    for tenure in tenures {
        let tell = |what: String, other: &Tenure<'_>| {
            Anomaly::new(format!("shard {shard}: {what}"), [other.grant.index, tenure.grant.index])
        };
        let is_other =
            |other: &Tenure<'_>| other.end > tenure.grant.invoked && other.member() != tenure.member();
        if let Some(other) = longest.filter(is_other) {
            let what = format!(
                "{} owned it from {} ms on, and {} until {} ms",
                tenure.member(),
                tenure.grant.invoked / 1000,
                other.member(),
                other.end / 1000
            );
            anomalies.push(tell(what, &other));
        }
        if let Some(other) = highest {
            let is_same = other.epoch == tenure.epoch && other.member() == tenure.member();
            if other.epoch >= tenure.epoch && !is_same {
                anomalies.push(tell(format!("epoch {} came after {}", tenure.epoch, other.epoch), &other));
            }
        }
        longest = longest.filter(|other| other.end >= tenure.end).or(Some(*tenure));
        highest = highest.filter(|other| other.epoch > tenure.epoch).or(Some(*tenure));
    }
    anomalies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judged(grants: &[(&str, u64, u64, u64, u64)]) -> Verdict {
        let mut story = Story::of("pool");
        for (member, epoch, invoked, ended, valid_until) in grants {
            let output = json!({"epoch": epoch, "valid_until": valid_until});
            story.ok("grant", "s1", json!({"member": member}), output);
            story.during(*invoked, *ended);
        }
        Owners.judge(&story.history())
    }

    #[test]
    fn one_owner_after_another_passes() {
        let grants = [("a", 1, 10, 20, 90), ("b", 2, 20, 99, 50), ("c", 3, 60, 80, 70), ("c", 3, 65, 90, 80)];
        assert_eq!(judged(&grants).judgement, Judgement::Valid, "{:?}", judged(&grants));
        assert_eq!(judged(&[]).judgement, Judgement::Unknown);
    }

    #[test]
    fn two_owners_at_a_time_are_found() {
        let verdict = judged(&[("a", 1, 10, 30, 90), ("b", 2, 20, 40, 50)]);
        assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
        assert_eq!(verdict.anomalies[0].operations, [0, 1]);
    }

    #[test]
    fn an_owner_that_died_is_believed_to_own_until_its_term_is_over() {
        let mut story = Story::of("pool");
        story.ok("grant", "s1", json!({"member": "a"}), json!({"epoch": 1, "valid_until": 90, "died": true}));
        story.during(10, 20);
        story.ok("grant", "s1", json!({"member": "b"}), json!({"epoch": 2, "valid_until": 190}));
        story.during(80, 120);
        assert_eq!(Owners.judge(&story.history()).judgement, Judgement::Invalid);
        story.at(0).output["died"] = json!(false);
        assert_eq!(Owners.judge(&story.history()).judgement, Judgement::Valid);
    }

    #[test]
    fn writes_go_with_the_owner_and_shards_with_the_last_member() {
        let mut story = Story::of("pool");
        story.ok("grant", "s1", json!({"member": "a"}), json!({"epoch": 1, "valid_until": 900}));
        story.during(10, 500);
        story.fail("guarded", "s1", json!({"token": 1}));
        story.during(490, 510);
        for (token, revision) in [(1, 3), (2, 4)] {
            story.ok("guarded", "s1", json!({"token": token}), json!({"revision": revision}));
        }
        story.ok("own", "", json!({"final": true}), json!({"owned": 12, "of": 12}));
        assert_eq!(Owners.judge(&story.history()).judgement, Judgement::Valid);
        let broken = |change: &dyn Fn(&mut Story), words: &str| {
            let mut story = story.clone();
            change(&mut story);
            let verdict = Owners.judge(&story.history());
            assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
            assert!(verdict.anomalies[0].what.contains(words), "{verdict:?}");
        };
        broken(&|story| story.at(1).ended = Some(495), "was refused");
        broken(&|story| story.at(2).output = json!({"revision": 5}), "after one with token 2");
        broken(&|story| story.at(4).output["owned"] = json!(11), "11 of 12 shards");
    }

    #[test]
    fn epochs_that_fall_or_repeat_are_found() {
        for epoch in [2, 1] {
            let verdict = judged(&[("a", 2, 10, 20, 20), ("b", epoch, 20, 40, 50)]);
            assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
        }
    }
}
