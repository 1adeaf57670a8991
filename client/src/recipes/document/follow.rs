//! A document as one instance sees it, in memory and always current.

use super::head::{Head, Version, is_head, number};
use super::{DocumentError, Validate};
use crate::client::Client;
use crate::error::Result;
use crate::recipes::informer::{Informer, Snapshot};
use crate::recipes::place::Place;
use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What an informer of a document holds.
enum Part<T> {
    Head(Head),
    Version(Arc<Version<T>>),
}

/// A document that is followed by an instance. Cheap to clone; ends with the last clone.
pub struct Following<T> {
    view: Informer<Part<T>>,
    chosen: watch::Receiver<Option<Arc<Version<T>>>>,
    task: Arc<Task>,
}

struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Clone for Following<T> {
    fn clone(&self) -> Self {
        Self { view: self.view.clone(), chosen: self.chosen.clone(), task: self.task.clone() }
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Following<T> {
    pub(super) fn new(client: &Client, place: &Place, validate: Arc<Validate<T>>, instance: String) -> Self {
        let parts = place.clone();
        let view = Informer::with(client, place.range(""), move |record| {
            let unreadable = |error: DocumentError| error.to_string();
            if is_head(&parts, &record.key) {
                return Head::parse(&parts, record).map(Part::Head).map_err(unreadable);
            }
            let version = Version::parse(&parts, record).map_err(unreadable)?;
            validate(&version.value)?;
            Ok(Part::Version(Arc::new(version)))
        });
        let (sender, chosen) = watch::channel(None);
        let task = tokio::spawn(choose(view.clone(), place.clone(), instance, sender));
        Self { view, chosen, task: Arc::new(Task(task)) }
    }

    /// Waits until there is a value for the first time.
    ///
    /// # Errors
    /// What the cluster refuses for good. Otherwise it waits, also for the document to be created.
    pub async fn synced(&self) -> Result<()> {
        self.view.synced().await?;
        let mut chosen = self.chosen.clone();
        // It ends only with the task, which ends only with the last clone.
        let _ = chosen.wait_for(Option::is_some).await;
        Ok(())
    }

    /// The version for this instance, the last good one; `None` before the first.
    pub fn value(&self) -> Option<Arc<Version<T>>> {
        self.chosen.borrow().clone()
    }

    /// Waits until the version for this instance has another number than `number`.
    pub async fn changed_from(&self, number: u64) -> Arc<Version<T>> {
        let mut chosen = self.chosen.clone();
        let is_other = |version: &Option<Arc<Version<T>>>| {
            version.as_ref().is_some_and(|version| version.number != number)
        };
        match chosen.wait_for(is_other).await {
            Ok(version) => version.clone().expect("it was looked at"),
            Err(_) => std::future::pending().await,
        }
    }

    /// Every version from the present one on that this instance is to use. Versions that follow each
    /// other faster than they are taken are skipped.
    pub fn versions(&self) -> impl Stream<Item = Arc<Version<T>>> + Send + Unpin + use<T> {
        use futures::StreamExt;
        let versions = tokio_stream::wrappers::WatchStream::new(self.chosen.clone());
        Box::pin(versions.filter_map(std::future::ready))
    }

    /// How old what is known may be; see [`Informer::age`].
    pub fn age(&self) -> Option<Duration> {
        self.view.age()
    }

    /// Keys whose value cannot be read or is refused by the validation, and why. While this instance
    /// is to use such a version, it keeps the last good one.
    pub fn refused(&self) -> BTreeMap<Bytes, String> {
        self.view.undecodable()
    }
}

/// Tells which version the instance is to use, whenever that changes.
async fn choose<T: Send + Sync + 'static>(
    view: Informer<Part<T>>,
    place: Place,
    instance: String,
    chosen: watch::Sender<Option<Arc<Version<T>>>>,
) {
    loop {
        let known = chosen.borrow().as_ref().map_or(0, |version| version.number);
        let next = view.until(|all| chosen_of(all, &place, &instance).filter(|next| next.number != known));
        let next = next.await;
        chosen.send_replace(Some(next));
    }
}

fn chosen_of<T>(all: &Snapshot<Part<T>>, place: &Place, instance: &str) -> Option<Arc<Version<T>>> {
    let head = all.iter().find_map(|item| match &item.value {
        Part::Head(head) => Some(head),
        Part::Version(_) => None,
    })?;
    let wanted = head.version_for(instance);
    all.iter().find_map(|item| match &item.value {
        Part::Version(version) if number(place, &item.key) == Some(wanted) => Some(version.clone()),
        Part::Version(_) | Part::Head(_) => None,
    })
}
