//! One life of a watcher, and what must hold in it whatever others saw.

use super::Findings;
use crate::history::Operation;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a watcher asked for.
#[derive(Clone, Debug, Deserialize)]
struct Asked {
    /// The revision to begin at; 0 for whatever comes next.
    #[serde(default)]
    start: u64,
    #[serde(default)]
    prefix: String,
}

/// What it was told.
#[derive(Clone, Debug, Deserialize)]
struct Told {
    /// The first revision of which it would be told.
    #[serde(default)]
    created: Option<u64>,
    #[serde(default)]
    batches: Vec<Batch>,
    /// After how many batches there was progress, and up to which revision.
    #[serde(default)]
    progress: Vec<(usize, u64)>,
    #[serde(default)]
    end: String,
    #[serde(default)]
    compact_revision: Option<u64>,
}

/// Events that came together.
#[derive(Clone, Debug, Deserialize)]
struct Batch {
    /// All changes up to this revision have been told.
    through: u64,
    events: Vec<Event>,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Event {
    pub(super) revision: u64,
    pub(super) key: String,
    /// What was written; `None` if the key was deleted.
    pub(super) value: Option<i64>,
    /// The revision in which the key came into being.
    #[serde(default)]
    pub(super) create: Option<u64>,
    /// What was there before, if that is told.
    #[serde(default)]
    pub(super) previous: Option<i64>,
}

/// One life.
pub(super) struct Life {
    pub(super) operation: usize,
    asked: Asked,
    told: Told,
}

impl Life {
    /// The life that an operation was.
    pub(super) fn of(operation: &Operation) -> Option<Self> {
        Some(Self { operation: operation.index, asked: operation.input()?, told: operation.output()? })
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.told.batches.iter().flat_map(|batch| &batch.events)
    }

    pub(super) fn is_compacted(&self) -> bool {
        self.told.end == "compacted"
    }

    pub(super) fn is_of_interest(&self, key: &str) -> bool {
        key.starts_with(&self.asked.prefix)
    }

    /// The first revision whose changes it should be told of, if that is known.
    fn first(&self) -> Option<u64> {
        if self.asked.start > 0 { Some(self.asked.start) } else { self.told.created }
    }

    /// The revisions whose changes it has all been told of, if it has been told anything.
    pub(super) fn covered(&self) -> Option<(u64, u64)> {
        let through = self.told.batches.iter().map(|batch| batch.through);
        let seen = self.events().map(|event| event.revision);
        let progress = self.told.progress.iter().map(|(_, revision)| *revision);
        let last = through.chain(seen).chain(progress).max()?;
        let first = self.first().or_else(|| self.events().next().map(|event| event.revision))?;
        (first <= last).then_some((first, last))
    }

    /// Judges what one life must keep by itself.
    pub(super) fn judge(&self, findings: &mut Findings) {
        self.order(findings);
        self.bookmarks(findings);
        self.keys(findings);
        let (start, compacted) = (self.asked.start, self.told.compact_revision);
        if let Some(compacted) = compacted.filter(|compacted| self.is_compacted() && start > *compacted) {
            let what =
                format!("revision {start} was refused as compacted, and {compacted} was the last such");
            findings.add("compaction", what, [self.operation]);
        }
    }

    fn order(&self, findings: &mut Findings) {
        let at = [self.operation];
        let mut last = 0;
        let mut seen = BTreeSet::new();
        let mut batch_of: BTreeMap<u64, usize> = BTreeMap::new();
        for (number, batch) in self.told.batches.iter().enumerate() {
            for event in &batch.events {
                let Event { revision, key, .. } = event;
                if *revision < last {
                    findings.add("ordered", format!("revision {revision} came after {last}"), at);
                }
                last = last.max(*revision);
                if !seen.insert((*revision, key)) {
                    findings.add("unique", format!("revision {revision} of {key} came twice"), at);
                } else if *batch_of.entry(*revision).or_insert(number) != number {
                    findings.add("atomic", format!("revision {revision} came in several batches"), at);
                }
                if !self.is_of_interest(key) {
                    findings.add("filter", format!("{key} is not below {}", self.asked.prefix), at);
                }
                if let Some(first) = self.first().filter(|first| revision < first) {
                    findings.add("start", format!("revision {revision} came, and {first} was the first"), at);
                }
            }
        }
    }

    /// After a bookmark at a revision nothing up to it comes.
    fn bookmarks(&self, findings: &mut Findings) {
        let mut told = self.told.progress.iter().peekable();
        let mut complete = 0;
        for (number, batch) in self.told.batches.iter().enumerate() {
            while let Some((_, revision)) = told.next_if(|(batches, _)| *batches <= number) {
                complete = complete.max(*revision);
            }
            if let Some(late) = batch.events.iter().find(|event| event.revision <= complete) {
                let what = format!("revision {} came after progress up to {complete}", late.revision);
                findings.add("bookmarkable", what, [self.operation]);
            }
            complete = complete.max(batch.through);
        }
    }

    /// What each event tells of the time before it, against the event of its key before it.
    fn keys(&self, findings: &mut Findings) {
        let tells_previous = self.events().any(|event| event.previous.is_some());
        let mut last: BTreeMap<&str, &Event> = BTreeMap::new();
        for event in self.events() {
            let Event { revision, key, create, .. } = event;
            if create.is_some_and(|create| create > *revision) {
                findings.add("is-create", format!("{key} at {revision} was created later"), [self.operation]);
            }
            let Some(before) = last.insert(key, event).filter(|before| before.revision < *revision) else {
                continue;
            };
            let expected = if before.value.is_none() { Some(*revision) } else { before.create };
            let is_told = event.value.is_some() && create.is_some() && expected.is_some();
            if is_told && *create != expected {
                let what = format!("{key} at {revision} was created at {create:?}, and not at {expected:?}");
                findings.add("is-create", what, [self.operation]);
            }
            if tells_previous && event.previous != before.value {
                let (told, was) = (event.previous, before.value);
                let what = format!("{key} at {revision} replaced {told:?}, and {was:?} was there");
                findings.add("previous", what, [self.operation]);
            }
        }
    }
}
