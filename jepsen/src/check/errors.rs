//! Every failure says whether the operation happened: it was not proposed, it was rejected, or nobody
//! knows. Oarlock's own protocol promises that; others have no such promise, and are counted only.

use super::{Anomaly, Check, Verdict};
use crate::history::{Api, FailureKind, History};

/// Judges the failures of all operations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors;

const NAME: &str = "errors";

/// Anomalies that are shown.
const SHOWN: usize = 10;

impl Check for Errors {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let count = |kind: FailureKind| {
            let failures = history.operations.iter().filter_map(|operation| operation.failure.as_ref());
            failures.filter(|failure| failure.kind == kind).count() as u64
        };
        let untyped = history.operations.iter().filter_map(|operation| {
            let failure = operation.failure.as_ref().filter(|one| one.kind == FailureKind::Untyped)?;
            let what = format!("{} failed without saying whether it happened: {failure}", operation.f);
            Some(Anomaly::new(what, [operation.index]))
        });
        let is_promised = history.header.api == Api::Native;
        let anomalies = if is_promised { untyped.take(SHOWN).collect() } else { Vec::new() };
        let number = count(FailureKind::Untyped);
        let summary = format!("{number} failures did not say whether the operation happened");
        Verdict::of(NAME, summary, anomalies)
            .count("not proposed", count(FailureKind::NotProposed))
            .count("rejected", count(FailureKind::Rejected))
            .count("unknown", count(FailureKind::Unknown))
            .count("untyped", number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use crate::history::Failure;
    use serde_json::json;

    #[test]
    fn a_failure_of_no_kind_is_found_where_kinds_are_promised() {
        let mut story = Story::of("register");
        story.fail("write", "a", json!({"value": 1}));
        story.info("write", "a", json!({"value": 1}));
        assert_eq!(Errors.judge(&story.history()).judgement, Judgement::Valid);
        story.at(1).failure = Some(Failure::new(FailureKind::Untyped, "oops"));
        let verdict = Errors.judge(&story.history());
        assert_eq!((verdict.judgement, verdict.counts["rejected"]), (Judgement::Invalid, 1));
        assert_eq!(verdict.anomalies[0].operations, [1]);
        story.header().api = Api::Etcd;
        let verdict = Errors.judge(&story.history());
        assert_eq!((verdict.judgement, verdict.counts["untyped"]), (Judgement::Valid, 1));
    }
}
