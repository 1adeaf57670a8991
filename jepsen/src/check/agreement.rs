//! Members that applied the same beginning of the log hold the same state.
//!
//! Source: Schneider, "Implementing fault-tolerant services using the state machine approach" (1990);
//! etcd's `HashKV` and its corruption check ask the same question.

use super::{Anomaly, Check, Verdict};
use crate::history::History;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Judges the digests that members tell of their state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agreement;

const NAME: &str = "agreement";

#[derive(Clone, Debug, Deserialize)]
struct Digest {
    applied: u64,
    digest: String,
}

impl Check for Agreement {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let mut by_index: BTreeMap<u64, Vec<(usize, String, String)>> = BTreeMap::new();
        let mut unreadable = 0;
        for operation in history.operations.iter().filter(|one| one.f == "digest" && one.is_ok()) {
            match operation.output::<Digest>() {
                Some(Digest { applied, digest }) => {
                    let node = operation.node.clone().unwrap_or_default();
                    by_index.entry(applied).or_default().push((operation.index, node, digest));
                }
                None => unreadable += 1,
            }
        }
        let mut anomalies = Vec::new();
        let mut compared = BTreeSet::new();
        for (applied, told) in &by_index {
            let (first, node, digest) = &told[0];
            let nodes: BTreeSet<&str> = told.iter().map(|(_, node, _)| node.as_str()).collect();
            if nodes.len() > 1 {
                compared.extend(nodes);
            }
            if let Some((other, elsewhere, different)) = told.iter().find(|(.., other)| other != digest) {
                let what = format!(
                    "after {applied} entries {node} has the state {digest} and {elsewhere} has {different}"
                );
                anomalies.push(Anomaly::new(what, [*first, *other]));
            }
        }
        let summary = format!(
            "{} of {} members compared, {} disagreements",
            compared.len(),
            history.header.nodes,
            anomalies.len()
        );
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(unreadable + u64::from(compared.is_empty()))
            .count("members compared", compared.len() as u64)
            .count("unreadable", unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::json;

    fn judgement(told: &[(&str, u64, &str)]) -> Judgement {
        let mut story = Story::of("register");
        for (node, applied, digest) in told {
            story.ok("digest", "", json!({}), json!({"applied": applied, "digest": digest}));
            story.on(node);
        }
        Agreement.judge(&story.history()).judgement
    }

    #[test]
    fn equal_states_at_equal_places_pass() {
        assert_eq!(judgement(&[("n1", 7, "ab"), ("n2", 7, "ab"), ("n3", 6, "aa")]), Judgement::Valid);
    }

    #[test]
    fn different_states_at_one_place_are_found() {
        assert_eq!(judgement(&[("n1", 7, "ab"), ("n2", 7, "ab"), ("n3", 7, "aa")]), Judgement::Invalid);
        assert_eq!(judgement(&[("n1", 7, "ab"), ("n1", 7, "aa")]), Judgement::Invalid, "after a restart");
    }

    #[test]
    fn members_that_cannot_be_compared_are_no_pass() {
        assert_eq!(judgement(&[("n1", 7, "ab"), ("n2", 8, "ac")]), Judgement::Unknown);
        assert_eq!(judgement(&[]), Judgement::Unknown);
    }
}
