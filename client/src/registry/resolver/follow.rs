//! Carries what the cluster says into a resolver, and from there into its file.

use super::file::Remembered;
use super::{Endpoint, FADING, Inner, Moving};
use crate::recipes::informer::{Delta, Informer, Item};
use futures::StreamExt;
use oarlock_proto::registry::{Instance, parse_key};
use oarlock_proto::v1::watch_event::Cause;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Changes that come together are saved together.
const SAVE_DELAY: Duration = Duration::from_millis(500);
/// A table that does not change is saved again this often, so that its age is right.
const SAVE_AGAIN: Duration = Duration::from_secs(60);

/// Pause before the cluster's refusal is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows until the resolver is dropped, which aborts this.
pub(super) async fn run(resolver: Weak<Inner>, informer: Informer<Instance>, file: Option<PathBuf>) {
    let mut deltas = informer.deltas();
    let mut save_at = Instant::now() + SAVE_DELAY;
    // A service without instances has no deltas, and may be remembered with some.
    let mut first = Box::pin(async {
        while informer.synced().await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    });
    let mut is_first = true;
    loop {
        tokio::select! {
            () = &mut first, if is_first => {
                is_first = false;
                let Some(inner) = resolver.upgrade() else { return };
                inner.adopt(None);
                save_at = Instant::now();
            }
            delta = deltas.next() => {
                let (Some(delta), Some(inner)) = (delta, resolver.upgrade()) else { return };
                inner.adopt(Some(&delta));
                save_at = save_at.min(Instant::now() + SAVE_DELAY);
            }
            () = tokio::time::sleep_until(save_at) => {
                let Some(inner) = resolver.upgrade() else { return };
                if let Some(path) = &file {
                    inner.save(path.clone()).await;
                }
                save_at = Instant::now() + SAVE_AGAIN;
            }
        }
    }
}

impl Inner {
    /// Takes over what the cluster lists now, after a change or the first answer.
    pub(super) fn adopt(&self, delta: Option<&Delta<Instance>>) {
        let snapshot = self.informer.snapshot();
        let named = |item: &Arc<Item<Instance>>| {
            let (_, id) = parse_key(&item.key)?;
            Some((id.to_owned(), item.value.clone()))
        };
        let listed: BTreeMap<String, Instance> = snapshot.iter().filter_map(named).collect();
        self.change(|moving| {
            if let Some(Delta::Remove { previous, cause, .. }) = delta
                && let Some((id, record)) = named(previous)
            {
                moving.note_removal(&id, record, *cause);
            }
            moving.list(listed);
        });
    }

    /// Writes the table, if the cluster has confirmed it.
    async fn save(&self, path: PathBuf) {
        let Some(age) = self.informer.age() else { return };
        let current = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut table = Remembered::new(&self.service, self.informer.revision(), current);
        for (id, endpoint) in &self.moving().endpoints {
            table.instances.insert(id.clone(), endpoint.record.clone());
        }
        let written = tokio::task::spawn_blocking(move || table.save(&path)).await;
        let failure = match written {
            Ok(written) => written.err().map(|error| error.to_string()),
            Err(panic) => Some(panic.to_string()),
        };
        *self.unsaved.lock().expect("nobody panics while holding it") = failure;
    }
}

impl Moving {
    fn note_removal(&mut self, id: &str, record: Instance, cause: Option<Cause>) {
        match cause {
            // Nobody said that it should go.
            Some(Cause::Expired | Cause::TimedOut) | None => {
                let endpoint = self.endpoints.remove(id).unwrap_or_else(|| Endpoint::new(id, record).into());
                self.fading.insert(id.to_owned(), (endpoint, Instant::now() + FADING));
            }
            Some(Cause::Request | Cause::Closed | Cause::Admin) => self.ejections.forget(id),
        }
    }

    fn list(&mut self, listed: BTreeMap<String, Instance>) {
        let mut before = std::mem::take(&mut self.endpoints);
        for (id, record) in listed {
            self.fading.remove(&id);
            let known = before.remove(&id);
            if known.as_ref().is_some_and(|known| known.record.authority() != record.authority()) {
                self.ejections.forget(&id);
            }
            let endpoint = known
                .filter(|known| known.record == record)
                .unwrap_or_else(|| Arc::new(Endpoint::new(&id, record)));
            self.endpoints.insert(id, endpoint);
        }
    }
}
