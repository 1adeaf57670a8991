//! The stream of changes of an informer.

use super::Shared;
use super::state::{Item, Items, Snapshot};
use futures::Stream;
use oarlock_proto::v1::watch_event::Cause;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use tokio::sync::broadcast;

/// One change of what an informer holds.
#[derive(Debug)]
pub enum Delta<T> {
    /// A record is new or has changed.
    Upsert {
        /// As it is.
        item: Arc<Item<T>>,
        /// As it was.
        previous: Option<Arc<Item<T>>>,
    },
    /// A record is gone.
    Remove {
        /// As it was.
        previous: Arc<Item<T>>,
        /// When: the revision of its removal, or the one at which it was found missing.
        revision: u64,
        /// Why, if the removal itself was seen.
        cause: Option<Cause>,
        /// The session that removed it, or whose end did; 0 if unknown or none.
        session: u64,
    },
}

impl<T> Delta<T> {
    /// The key concerned.
    pub fn key(&self) -> &bytes::Bytes {
        match self {
            Self::Upsert { item, .. } => &item.key,
            Self::Remove { previous, .. } => &previous.key,
        }
    }
}

impl<T> Clone for Delta<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Upsert { item, previous } => {
                Self::Upsert { item: item.clone(), previous: previous.clone() }
            }
            Self::Remove { previous, revision, cause, session } => Self::Remove {
                previous: previous.clone(),
                revision: *revision,
                cause: *cause,
                session: *session,
            },
        }
    }
}

/// A stream of [`Delta`]s. Ends when the informer is dropped.
pub struct Deltas<T> {
    pending: Pin<Box<dyn Stream<Item = Delta<T>> + Send>>,
}

impl<T> Stream for Deltas<T> {
    type Item = Delta<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pending.as_mut().poll_next(context)
    }
}

impl<T: Send + Sync + 'static> Deltas<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        let reader = Reader::new(&shared);
        let pending = futures::stream::unfold(reader, |mut reader| async move {
            let delta = reader.next().await?;
            Some((delta, reader))
        });
        Self { pending: Box::pin(pending) }
    }
}

/// One reader: what it was told so far, and what comes.
struct Reader<T> {
    /// Weak, so that a forgotten reader does not keep the sender's end.
    shared: Weak<Shared<T>>,
    told: Items<T>,
    waiting: VecDeque<Delta<T>>,
    deltas: broadcast::Receiver<Delta<T>>,
}

impl<T> Reader<T> {
    fn new(shared: &Arc<Shared<T>>) -> Self {
        let (snapshot, deltas) = subscribe(shared);
        let waiting = difference(&Items::new(), &snapshot);
        Self { shared: Arc::downgrade(shared), told: Items::new(), waiting, deltas }
    }

    async fn next(&mut self) -> Option<Delta<T>> {
        loop {
            if let Some(delta) = self.waiting.pop_front() {
                self.note(&delta);
                return Some(delta);
            }
            match self.deltas.recv().await {
                Ok(delta) => self.waiting.push_back(delta),
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let shared = self.shared.upgrade()?;
                    let (snapshot, deltas) = subscribe(&shared);
                    self.waiting = difference(&self.told, &snapshot);
                    self.deltas = deltas;
                }
            }
        }
    }

    fn note(&mut self, delta: &Delta<T>) {
        match delta {
            Delta::Upsert { item, .. } => self.told.insert(item.key.clone(), item.clone()),
            Delta::Remove { previous, .. } => self.told.remove(&previous.key),
        };
    }
}

/// What is there, and a receiver of exactly what follows: deltas are sent under the same lock.
fn subscribe<T>(shared: &Shared<T>) -> (Snapshot<T>, broadcast::Receiver<Delta<T>>) {
    let state = shared.state();
    (state.snapshot(), shared.deltas.subscribe())
}

/// What leads from `told` to the snapshot.
fn difference<T>(told: &Items<T>, now: &Snapshot<T>) -> VecDeque<Delta<T>> {
    let gone = told.values().filter(|item| now.get(&item.key).is_none()).map(|previous| Delta::Remove {
        previous: previous.clone(),
        revision: now.revision(),
        cause: None,
        session: 0,
    });
    let changed = now.iter().filter_map(|item| {
        let previous = told.get(&item.key);
        let is_new = previous.is_none_or(|previous| !Arc::ptr_eq(previous, item));
        is_new.then(|| Delta::Upsert { item: item.clone(), previous: previous.cloned() })
    });
    gone.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{DELTAS_MAX, State};
    use super::*;
    use crate::types::KeyValue;
    use std::sync::Mutex;

    fn record(number: usize, revision: u64) -> KeyValue {
        KeyValue { key: format!("{number:04}").into(), mod_revision: revision, ..KeyValue::default() }
    }

    fn set(shared: &Shared<()>, revision: u64, records: &[KeyValue]) {
        let mut state = shared.state();
        for delta in state.replace(revision, records, &|_| Ok(())) {
            let _ = shared.deltas.send(delta);
        }
    }

    #[tokio::test]
    async fn a_reader_that_fell_behind_is_told_the_differences() {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            ticks: tokio::sync::watch::Sender::new(0),
            deltas: broadcast::Sender::new(DELTAS_MAX),
        });
        set(&shared, 1, &[record(1, 1), record(2, 1)]);
        let mut reader = Reader::new(&shared);
        for key in ["0001", "0002"] {
            assert_eq!(reader.next().await.expect("what is there").key(), key);
        }
        // Far more steps than are kept: one record changes all the time, one goes, one comes.
        for revision in 2..DELTAS_MAX as u64 * 3 {
            set(&shared, revision, &[record(2, revision), record(3, 2)]);
        }
        let told: Vec<_> = [reader.next().await, reader.next().await, reader.next().await]
            .into_iter()
            .map(|delta| delta.expect("a difference"))
            .collect();
        assert!(matches!(&told[0], Delta::Remove { previous, .. } if previous.key == "0001"));
        assert!(matches!(&told[1], Delta::Upsert { item, previous: Some(previous) }
            if item.mod_revision == DELTAS_MAX as u64 * 3 - 1 && previous.mod_revision == 1));
        assert!(matches!(&told[2], Delta::Upsert { item, previous: None } if item.key == "0003"));
        drop(shared);
        assert!(reader.next().await.is_none(), "it ends with the informer");
    }
}
