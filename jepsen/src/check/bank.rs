//! Transfers move money and neither make nor destroy any: whoever looks at all accounts at once sees
//! the total that there was at first, no account below zero, and what others see at the same revision.
//!
//! Source: Jepsen's `jepsen.tests.bank`.

use super::{Anomaly, Check, Verdict};
use crate::history::{History, Operation};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Judges reads of all accounts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bank;

const NAME: &str = "bank";

/// What the accounts held at first.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Init {
    accounts: usize,
    total: i64,
}

/// What a read saw.
#[derive(Clone, Debug, Deserialize)]
struct Look {
    balances: BTreeMap<String, i64>,
    at: Option<u64>,
}

impl Check for Bank {
    fn name(&self) -> &'static str {
        NAME
    }

    fn judge(&self, history: &History) -> Verdict {
        let init = history.operations.iter().find(|operation| operation.f == "init" && operation.is_ok());
        let Some(init) = init.and_then(Operation::input::<Init>) else {
            return Verdict::unknown(NAME, "nothing says how much there was: no init succeeded");
        };
        let mut at: BTreeMap<u64, (usize, Look)> = BTreeMap::new();
        let (mut anomalies, mut reads, mut unreadable) = (Vec::new(), 0, 0);
        for operation in history.operations.iter().filter(|one| one.f == "read" && one.is_ok()) {
            let Some(look) = operation.output::<Look>() else {
                unreadable += 1;
                continue;
            };
            reads += 1;
            let wrong = |what: String| Anomaly::new(what, [operation.index]);
            anomalies.extend(faults_of(&look, init).into_iter().map(wrong));
            let Some(revision) = look.at else { continue };
            let (first, seen) = at.entry(revision).or_insert((operation.index, look.clone()));
            if seen.balances != look.balances {
                let what = format!("two reads at revision {revision} differ");
                anomalies.push(Anomaly::new(what, [*first, operation.index]));
            }
        }
        let summary = format!("{reads} looks at {} accounts, {} wrong", init.accounts, anomalies.len());
        Verdict::of(NAME, summary, anomalies)
            .unless_unread(unreadable + u64::from(reads == 0))
            .count("reads", reads)
            .count("unreadable", unreadable)
    }
}

fn faults_of(look: &Look, init: Init) -> Vec<String> {
    let mut faults = Vec::new();
    if look.balances.len() != init.accounts {
        faults.push(format!("{} of {} accounts are there", look.balances.len(), init.accounts));
    }
    let total: i64 = look.balances.values().sum();
    if total != init.total {
        faults.push(format!("the total is {total} and was {}", init.total));
    }
    let below = look.balances.iter().filter(|(_, balance)| **balance < 0);
    faults.extend(below.map(|(account, balance)| format!("account {account} has {balance}")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Judgement;
    use crate::check::story::Story;
    use serde_json::{Value, json};

    fn judged(looks: &[(Value, u64)]) -> Verdict {
        let mut story = Story::of("bank");
        story.ok("init", "", json!({"accounts": 2, "total": 10}), json!({}));
        for (balances, at) in looks {
            story.ok("read", "", json!({}), json!({"balances": balances, "at": at}));
        }
        Bank.judge(&story.history())
    }

    fn wrong(looks: &[(Value, u64)], words: &str) {
        let verdict = judged(looks);
        assert_eq!(verdict.judgement, Judgement::Invalid);
        assert!(verdict.anomalies.iter().any(|anomaly| anomaly.what.contains(words)), "{verdict:?}");
    }

    #[test]
    fn a_constant_total_passes() {
        let verdict = judged(&[(json!({"a": 5, "b": 5}), 1), (json!({"a": 0, "b": 10}), 2)]);
        assert_eq!(verdict.judgement, Judgement::Valid);
    }

    #[test]
    fn each_wrong_look_is_found() {
        wrong(&[(json!({"a": 5, "b": 6}), 1)], "total is 11");
        wrong(&[(json!({"a": -1, "b": 11}), 1)], "has -1");
        wrong(&[(json!({"a": 10}), 1)], "1 of 2 accounts");
        wrong(&[(json!({"a": 5, "b": 5}), 1), (json!({"a": 4, "b": 6}), 1)], "revision 1 differ");
    }

    #[test]
    fn without_a_beginning_or_a_look_nothing_can_be_said() {
        assert_eq!(Bank.judge(&Story::of("bank").history()).judgement, Judgement::Unknown);
        assert_eq!(judged(&[]).judgement, Judgement::Unknown);
    }
}
