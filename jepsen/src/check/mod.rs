//! What must be true of a history: one promise per file, each with a history that breaks it.

use crate::history::History;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub mod activity;
pub mod agreement;
pub mod append;
pub mod availability;
pub mod bank;
pub mod counter;
pub mod errors;
pub mod exits;
pub mod ids;
pub mod linearizable;
pub mod lock;
pub mod model;
pub mod once;
pub mod order;
pub mod owners;
pub mod porcupine;
pub mod queue;
pub mod restore;
pub mod revision_order;
pub mod session;
pub mod set;
#[cfg(test)]
mod story;
pub mod watch;
pub mod wgl;

/// A promise that can be judged.
pub trait Check: Send + Sync {
    /// Its name: that of its file.
    fn name(&self) -> &'static str;

    /// Judges a history.
    fn judge(&self, history: &History) -> Verdict;
}

/// All checks.
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(linearizable::Linearizable),
        Box::new(set::Set),
        Box::new(counter::Counter),
        Box::new(ids::Ids),
        Box::new(bank::Bank),
        Box::new(errors::Errors),
        Box::new(agreement::Agreement),
        Box::new(availability::Availability::default()),
        Box::new(activity::Activity::default()),
        Box::new(lock::Lock),
        Box::new(owners::Owners),
        Box::new(queue::Queue),
        Box::new(once::Once),
        Box::new(append::Append),
        Box::new(exits::Exits),
        Box::new(revision_order::RevisionOrder),
        Box::new(watch::Watch),
        Box::new(session::Session::default()),
        Box::new(restore::Restore),
    ]
}

/// The check of this name.
pub fn by_name(name: &str) -> Option<Box<dyn Check>> {
    all().into_iter().find(|check| check.name() == name)
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// The promise was kept.
    Valid,
    /// It cannot be said: the search was too long, or too little happened.
    Unknown,
    /// The promise was broken.
    Invalid,
}

/// What a check has to say about a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The check.
    pub check: String,
    /// Whether the promise was kept.
    pub judgement: Judgement,
    /// In one sentence, with figures.
    pub summary: String,
    /// Evidence of what is wrong; a few are enough.
    pub anomalies: Vec<Anomaly>,
    /// What was counted on the way.
    pub counts: BTreeMap<String, u64>,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// What was seen.
    pub what: String,
    /// The operations that show it, by their index in the history.
    pub operations: Vec<usize>,
}

impl Verdict {
    /// The promise was kept.
    pub fn valid(check: &str, summary: impl Into<String>) -> Self {
        Self::new(check, Judgement::Valid, summary, Vec::new())
    }

    /// It cannot be said.
    pub fn unknown(check: &str, summary: impl Into<String>) -> Self {
        Self::new(check, Judgement::Unknown, summary, Vec::new())
    }

    /// Broken if there are anomalies, else kept.
    pub fn of(check: &str, summary: impl Into<String>, anomalies: Vec<Anomaly>) -> Self {
        let judgement = if anomalies.is_empty() { Judgement::Valid } else { Judgement::Invalid };
        Self::new(check, judgement, summary, anomalies)
    }

    fn new(check: &str, judgement: Judgement, summary: impl Into<String>, anomalies: Vec<Anomaly>) -> Self {
        let (check, summary) = (check.to_owned(), summary.into());
        Self { check, judgement, summary, anomalies, counts: BTreeMap::new() }
    }

    /// Not kept as far as is known if there was anything that could not be judged.
    pub fn unless_unread(mut self, unread: u64) -> Self {
        if unread > 0 && self.judgement == Judgement::Valid {
            self.judgement = Judgement::Unknown;
        }
        self
    }

    /// With a figure.
    pub fn count(mut self, what: &str, number: u64) -> Self {
        self.counts.insert(what.to_owned(), number);
        self
    }
}

impl Anomaly {
    /// Evidence from these operations.
    pub fn new(what: impl Into<String>, operations: impl IntoIterator<Item = usize>) -> Self {
        Self { what: what.into(), operations: operations.into_iter().collect() }
    }
}
