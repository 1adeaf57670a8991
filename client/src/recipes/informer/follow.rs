//! The task that keeps an informer current.

use super::{Decode, Delta, Shared};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::types::{KeyRange, KeyValue};
use crate::watch::{Watch, WatchItem};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the cluster's revision is found out.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How long a watch may take to arrive at a revision that the cluster is known to have.
const LAG_MAX: Duration = Duration::from_secs(6);
/// Pauses after failures grow from the first to the last.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

pub(super) struct Follower<T> {
    client: Client,
    range: KeyRange,
    decode: Box<Decode<T>>,
    shared: Arc<Shared<T>>,
}

/// A revision that the cluster had when asked, which the watch must arrive at.
#[derive(Clone, Copy)]
struct Milestone {
    revision: u64,
    asked: Instant,
}

impl<T: Send + Sync + 'static> Follower<T> {
    pub(super) fn new(
        client: Client,
        range: KeyRange,
        decode: Box<Decode<T>>,
        shared: Arc<Shared<T>>,
    ) -> Self {
        Self { client, range, decode, shared }
    }

    /// Follows for ever: from what is there after the first time, and from a listing before.
    pub(super) async fn run(self) {
        let mut pause = PAUSE;
        loop {
            let begun = Instant::now();
            let Err(error) = self.follow().await;
            self.note(|state| state.failure = Some(error));
            if begun.elapsed() > PAUSE_MAX {
                pause = PAUSE;
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Lists, then watches, until something fails that the watch itself does not mend.
    async fn follow(&self) -> Result<std::convert::Infallible> {
        let asked = Instant::now();
        let page = self.client.range(self.range.clone()).all().await?;
        self.list(page.revision, &page.records);
        self.note(|state| (state.confirmed, state.failure) = (Some(asked), None));
        loop {
            self.watch().await?;
        }
    }

    /// Watches from behind what is there until the watch's member turns out to be cut off.
    async fn watch(&self) -> Result<()> {
        let from = self.shared.state().revision + 1;
        let watch = self.client.watch(self.range.clone()).from(from).resync().progress_every(CHECK_EVERY);
        let mut items: Watch = watch.start();
        let mut pages = Pages::default();
        let mut checks = Box::pin(futures::stream::unfold((), |()| async {
            tokio::time::sleep(CHECK_EVERY).await;
            Some((self.milestone().await, ()))
        }));
        let mut awaited: Option<Milestone> = None;
        loop {
            tokio::select! {
                item = items.next() => {
                    let ended = || Error::Unknown { message: "the watch ended".into() };
                    self.take(item.ok_or_else(ended)??, &mut pages);
                }
                milestone = checks.next() => {
                    let milestone = milestone.transpose()?.flatten();
                    awaited = awaited.or(milestone);
                }
            }
            let revision = self.shared.state().revision;
            match awaited {
                Some(milestone) if milestone.revision <= revision => {
                    self.note(|state| (state.confirmed, state.failure) = (Some(milestone.asked), None));
                    awaited = None;
                }
                // The read came through and the watch did not: another member serves by now.
                Some(milestone) if milestone.asked.elapsed() > LAG_MAX => return Ok(()),
                Some(_) | None => {}
            }
        }
    }

    /// The cluster's revision now, read linearizably; `None` while it is away.
    ///
    /// # Errors
    /// When the cluster is behind what was seen of it before: it is another one.
    async fn milestone(&self) -> Result<Option<Milestone>> {
        let asked = Instant::now();
        let seen = self.shared.state().revision;
        match self.client.range(self.range.clone()).limit(1).keys_only().await {
            Ok(page) if page.revision < seen => {
                let now = page.revision;
                let message = format!("the cluster is at revision {now} and was at {seen}; reading it anew");
                Err(Error::Unknown { message })
            }
            Ok(page) => Ok(Some(Milestone { revision: page.revision, asked })),
            Err(error) => {
                self.note(|state| state.failure = Some(error));
                Ok(None)
            }
        }
    }

    fn take(&self, item: WatchItem, pages: &mut Pages) {
        match item {
            WatchItem::Created { .. } => {}
            WatchItem::Progress { revision } => {
                self.note(|state| state.revision = state.revision.max(revision))
            }
            WatchItem::Events(events) => {
                let mut state = self.shared.state();
                for event in &events {
                    let delta = state.apply(event, &*self.decode);
                    self.tell(delta);
                }
                drop(state);
                self.shared.tick();
            }
            WatchItem::Resync { revision, records, last } => {
                if let Some(all) = pages.add(revision, records, last) {
                    self.list(revision, &all);
                }
            }
        }
    }

    fn list(&self, revision: u64, records: &[KeyValue]) {
        let mut state = self.shared.state();
        let deltas = state.replace(revision, records, &*self.decode);
        self.tell(deltas);
        drop(state);
        self.shared.tick();
    }

    /// To be called under the lock, so that a new reader sees each change once.
    fn tell(&self, deltas: impl IntoIterator<Item = Delta<T>>) {
        for delta in deltas {
            // Without readers nobody needs to know.
            let _ = self.shared.deltas.send(delta);
        }
    }

    fn note(&self, change: impl FnOnce(&mut super::State<T>)) {
        change(&mut self.shared.state());
        self.shared.tick();
    }
}

/// Pages of a resync, until they are complete.
#[derive(Default)]
struct Pages {
    revision: u64,
    records: Vec<KeyValue>,
}

impl Pages {
    /// Adds a page; returns all records with the last one. A page of another revision begins anew.
    fn add(&mut self, revision: u64, page: Vec<KeyValue>, last: bool) -> Option<Vec<KeyValue>> {
        if self.revision != revision {
            *self = Self { revision, records: Vec::new() };
        }
        self.records.extend(page);
        last.then(|| std::mem::take(self).records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_another_revision_begin_anew() {
        let record = |key: &'static str| KeyValue { key: key.into(), ..KeyValue::default() };
        let mut pages = Pages::default();
        assert_eq!(pages.add(7, vec![record("a")], false), None);
        assert_eq!(pages.add(9, vec![record("b")], false), None);
        assert_eq!(pages.add(9, vec![record("c")], true), Some(vec![record("b"), record("c")]));
        assert_eq!(pages.add(9, vec![record("d")], true), Some(vec![record("d")]));
    }
}
