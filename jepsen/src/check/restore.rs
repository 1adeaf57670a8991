//! A cluster that is restored from a backup has the backup's state, and nothing of before is current in
//! it: revisions and tokens go on above all that were seen, sessions are gone, tokens are refused, and
//! watches from before are told that they cannot go on.
//!
//! Source: etcd's handbook on disaster recovery, on `etcdutl snapshot restore --bump-revision
//! --mark-compacted`: without them, watchers and caches go on after a restore as if nothing had happened.

use super::{Anomaly, Check, Verdict};
use crate::history::{FailureKind, History, Operation, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Judges a run whose cluster was restored in the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restore;

const NAME: &str = "restore";

/// What is known of one key before the restore.
#[derive(Default)]
struct Past {
    /// Acknowledged changes up to the backup: by revision, the value then.
    changes: BTreeMap<u64, Value>,
    /// Values that may have been written; null for a removal.
    possible: BTreeSet<String>,
}

impl Check for Restore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut restores = history.operations.iter().filter(|one| one.f == "restore");
        let Some(restore) = restores.next_back() else {
            return Verdict::unknown(NAME, "the cluster was not restored");
        };
        if !restore.is_ok() {
            let why = restore.failure.as_ref().map_or_else(String::new, ToString::to_string);
            let anomaly = Anomaly::new(format!("it could not be restored: {why}"), [restore.index]);
            return Verdict::of(NAME, "the cluster could not be restored", vec![anomaly]);
        }
        let (before, after): (Vec<_>, Vec<_>) =
            history.operations.iter().partition(|one| one.invoked < restore.invoked);
        let at = restore.input["revision"].as_u64().unwrap_or(0);
        let highest = before.iter().filter_map(|one| revision_of(one)).max().unwrap_or(0);
        let past = past(&before, at);
        let mut anomalies = backups_in_order(&before);
        let mut reads = 0;
        for one in after.into_iter().filter(|one| one.invoked > restore.invoked) {
            reads += u64::from(one.f == "read" && one.is_ok());
            let wrong = wrong_after(one, &past, at, highest);
            anomalies.extend(wrong.map(|what| Anomaly::new(what, [one.index])));
        }
        let backups = before.iter().filter(|one| one.f == "backup" && one.is_ok()).count();
        let summary = format!(
            "restored from revision {at} of {highest}, one of {backups} backups; {reads} reads then, {} wrong",
            anomalies.len()
        );
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(u64::from(reads == 0))
            .count("backups", backups as u64)
    }
}

/// The highest revision that an operation's results name.
fn revision_of(one: &Operation) -> Option<u64> {
    let names = ["revision", "at", "mod", "token"];
    names.iter().filter_map(|name| one.output[name].as_u64()).max()
}

fn past<'h>(before: &[&'h Operation], at: u64) -> BTreeMap<&'h str, Past> {
    let mut past: BTreeMap<&str, Past> = BTreeMap::new();
    for one in before.iter().filter(|one| one.is_possible()) {
        let value = match one.f.as_str() {
            "write" => &one.input["value"],
            "cas" if one.output["swapped"] == Value::Bool(false) => continue,
            "cas" => &one.input["new"],
            "delete" if one.output["existed"] == Value::Bool(false) => continue,
            "delete" => &Value::Null,
            _ => continue,
        };
        let key = past.entry(one.key.as_deref().unwrap_or_default()).or_default();
        match one.output["revision"].as_u64() {
            Some(revision) if revision <= at => drop(key.changes.insert(revision, value.clone())),
            Some(_) => {}
            None => drop(key.possible.insert(value.to_string())),
        }
    }
    past
}

/// A backup has nothing of what was asked for after it was had.
fn backups_in_order(before: &[&Operation]) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let mut highest: Option<(u64, usize)> = None;
    let mut backups: Vec<_> = before.iter().filter(|one| one.f == "backup" && one.is_ok()).collect();
    backups.sort_by_key(|backup| backup.ended);
    let mut backups = backups.into_iter().peekable();
    for one in before.iter().filter(|one| one.is_ok() && matches!(one.f.as_str(), "write" | "cas")) {
        while let Some(backup) = backups.next_if(|backup| backup.ended < Some(one.invoked)) {
            highest =
                highest.max(backup.output["revision"].as_u64().map(|revision| (revision, backup.index)));
        }
        let changed = one.f == "write" || one.output["swapped"] == Value::Bool(true);
        let revision = one.output["revision"].as_u64().filter(|_| changed);
        if let Some((revision, (had, backup))) = revision.zip(highest)
            && revision <= had
        {
            let what = format!("a backup of revision {had} was had before revision {revision} was written");
            anomalies.push(Anomaly::new(what, [backup, one.index]));
        }
    }
    anomalies
}

/// What is wrong with an operation on the restored cluster.
fn wrong_after(one: &Operation, past: &BTreeMap<&str, Past>, at: u64, highest: u64) -> Option<String> {
    let forward = |what: &str, name: &str| {
        let number = one.output[name].as_u64().filter(|number| *number <= highest)?;
        Some(format!("{what} {number} came after {highest} was seen"))
    };
    let is_rejected = one.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Rejected);
    match one.f.as_str() {
        "read" if one.is_ok() => {
            let empty = Past::default();
            let past = past.get(one.key.as_deref().unwrap_or_default()).unwrap_or(&empty);
            wrong_read(one, past, at).or_else(|| forward("revision", "at"))
        }
        "write" if one.is_ok() => forward("revision", "revision"),
        "acquire" if one.is_ok() => forward("token", "token"),
        "keepalive" if !is_rejected => Some("a session of before was not refused".into()),
        "guarded" if !is_rejected => Some("a token of before was not refused".into()),
        "watch" if one.outcome != Outcome::Ok || one.output["compacted"] != Value::Bool(true) => {
            Some("a watch from before was not told that it cannot go on".into())
        }
        _ => None,
    }
}

fn wrong_read(read: &Operation, past: &Past, at: u64) -> Option<String> {
    let key = read.key.as_deref().unwrap_or_default();
    let value = &read.output["value"];
    let modified = read.output["mod"].as_u64().unwrap_or(0);
    let last = past.changes.last_key_value();
    let is_possible = past.possible.contains(&value.to_string());
    if value.is_null() {
        let is_due = last.is_none_or(|(_, value)| value.is_null()) || is_possible;
        return (!is_due).then(|| {
            format!(
                "{key} is gone, and was {} at revision {at}",
                last.map_or(&Value::Null, |(_, value)| value)
            )
        });
    }
    if modified > at {
        return Some(format!("{key} was changed at {modified}, after the backup of revision {at}"));
    }
    match (past.changes.get(&modified), last) {
        (Some(written), _) if written != value => {
            Some(format!("{key} is {value}, and {written} was written at its revision {modified}"))
        }
        (None, _) if !is_possible => {
            Some(format!("{key} is {value}, which nobody wrote at revision {modified}"))
        }
        (_, Some((revision, written))) if *revision > modified => {
            Some(format!("{key} is {value} of revision {modified}, and {written} was written at {revision}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn story() -> Story {
        let mut story = Story::of("snapshot");
        story.ok("write", "a", json!({"value": 1}), json!({"revision": 5}));
        story.info("write", "b", json!({"value": 2}));
        story.ok("backup", "", json!({}), json!({"revision": 7}));
        story.ok("write", "a", json!({"value": 3}), json!({"revision": 8}));
        story.ok("restore", "", json!({"revision": 7}), json!({}));
        story.ok("read", "a", json!({}), json!({"value": 1, "mod": 5, "at": 1000})); // 5
        story.ok("read", "b", json!({}), json!({"value": 2, "mod": 6, "at": 1000})); // 6
        story.fail("keepalive", "", json!({"session": 3}));
        story.fail("guarded", "", json!({"token": 4}));
        story.ok("watch", "", json!({"start": 9}), json!({"compacted": true})); // 9
        story.ok("write", "a", json!({"value": 9}), json!({"revision": 1001}));
        story.ok("acquire", "", json!({}), json!({"token": 1002})); // 11
        story
    }

    fn broken(change: impl FnOnce(&mut Story), words: &str) {
        let mut story = story();
        change(&mut story);
        let verdict = Restore.judge(&story.history());
        assert_eq!((verdict.judgement, verdict.anomalies.len()), (Judgement::Invalid, 1), "{verdict:?}");
        assert!(verdict.anomalies[0].what.contains(words), "{verdict:?}");
    }

    #[test]
    fn the_state_of_the_backup_and_nothing_of_before_passes() {
        let verdict = Restore.judge(&story().history());
        assert_eq!(verdict.judgement, Judgement::Valid, "{verdict:?}");
        assert_eq!(Restore.judge(&Story::of("snapshot").history()).judgement, Judgement::Unknown);
        let mut without = story();
        without.at(6).output = json!({"value": null, "mod": 0, "at": 1000});
        assert_eq!(Restore.judge(&without.history()).judgement, Judgement::Valid, "it may not have happened");
    }

    #[test]
    fn another_state_is_found() {
        broken(|story| story.at(5).output["value"] = json!(4), "1 was written at its revision 5");
        broken(|story| story.at(5).output = json!({"value": null, "at": 1000}), "is gone");
        broken(|story| story.at(5).output["mod"] = json!(8), "after the backup");
        broken(|story| story.at(6).output["value"] = json!(7), "nobody wrote");
        let early = |story: &mut Story| {
            story.at(3).key = Some("c".into());
            story.at(3).output["revision"] = json!(6);
        };
        broken(early, "had before");
    }

    #[test]
    fn what_goes_on_from_before_is_found() {
        broken(|story| story.at(5).output["at"] = json!(8), "revision 8 came after 8");
        broken(|story| story.at(11).output["token"] = json!(8), "token 8 came after 8");
        broken(|story| story.at(7).outcome_ok(), "a session of before");
        broken(|story| story.at(8).outcome_ok(), "a token of before");
        broken(|story| story.at(9).output["compacted"] = json!(false), "a watch from before");
        broken(|story| story.at(4).outcome = Outcome::Info, "could not be restored");
    }

    impl Operation {
        fn outcome_ok(&mut self) {
            (self.outcome, self.failure) = (Outcome::Ok, None);
        }
    }
}
