//! A worker: finds something to do and claims it.

use super::bell::Bell;
use super::claim::Claim;
use super::{ATTEMPTS, CLAIMS, DELAYED, HOLDS, ITEMS, Queue, id};
use crate::error::Result;
use crate::kv::Page;
use crate::recipes::place::while_alive;
use crate::session::Session;
use crate::txn::{compare, op};
use crate::types::{KeyValue, between, key};
use bytes::Bytes;
use oarlock_proto::v1::{OpResult, op_result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Keys that are looked at in one request.
const LOOK: u64 = 128;
/// Free items among which a worker chooses after another was faster at the first, so that they do
/// not all meet at the second.
const CHOICE: usize = 8;
/// Pause after a failure that may pass.
const PAUSE: Duration = Duration::from_millis(200);
/// Delayed items that are made claimable at once.
const DUE: u64 = 64;

/// A worker of a queue. One task uses it; make one for each.
pub struct Worker {
    queue: Queue,
    session: Session,
    name: String,
    bell: Option<Bell>,
}

/// What a look at the queue found.
struct Look {
    /// The state at this revision, or a newer one, was looked at.
    revision: u64,
    /// Items that nobody has claimed.
    free: Vec<KeyValue>,
    /// When the next delayed item is due, in milliseconds since 1970.
    next_due: Option<u64>,
}

impl Worker {
    pub(super) fn new(queue: Queue, session: Session, name: String) -> Self {
        Self { queue, session, name, bell: None }
    }

    /// Waits for an item and claims it, also over times without a leader. May be dropped at any time:
    /// a claim that was made and not handed out is released.
    ///
    /// # Errors
    /// The session's loss, and what the cluster refuses.
    pub async fn claim(&mut self) -> Result<Claim> {
        let session = self.session.clone();
        while_alive(&session, async {
            loop {
                match self.claim_or_wait().await {
                    Ok(Some(claim)) => return Ok(claim),
                    Ok(None) => {}
                    Err(error) if error.is_passing() => tokio::time::sleep(PAUSE).await,
                    Err(error) => return Err(error),
                }
            }
        })
        .await
    }

    /// Claims an item if there is a free one.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub async fn try_claim(&mut self) -> Result<Option<Claim>> {
        let session = self.session.clone();
        while_alive(&session, async {
            let look = self.look().await?;
            self.claim_one(look).await
        })
        .await
    }

    async fn claim_or_wait(&mut self) -> Result<Option<Claim>> {
        let look = self.look().await?;
        let (revision, next_due) = (look.revision, look.next_due);
        let claim = self.claim_one(look).await?;
        if claim.is_none() {
            self.wait(revision, next_due).await?;
        }
        Ok(claim)
    }

    /// Until something may have become claimable behind `revision`.
    async fn wait(&mut self, revision: u64, next_due: Option<u64>) -> Result<()> {
        let bell = self.bell.get_or_insert_with(|| Bell::new(&self.queue, revision));
        let due = async {
            match next_due {
                Some(due) => {
                    tokio::time::sleep(Duration::from_millis(due.saturating_sub(id::now_ms()))).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            rung = bell.wait(revision) => {
                if rung.is_err() {
                    self.bell = None;
                }
                rung
            }
            () = due => Ok(()),
        }
    }

    /// Makes due items claimable and reads which items are free: claims and holds first, then items
    /// until enough are free. A claim that ends in between is noticed by the bell.
    async fn look(&self) -> Result<Look> {
        let next_delayed = self.promote().await?;
        let (client, place) = (self.session.client(), &self.queue.place);
        let claims = client.range(place.range(CLAIMS)).keys_only().all().await?;
        let claimed: BTreeSet<&str> =
            claims.records.iter().filter_map(|record| place.rest(CLAIMS, &record.key)).collect();
        let holds = client.range(place.range(HOLDS)).all().await?;
        let due = |hold: &KeyValue| hold.text().parse().unwrap_or(0_u64);
        let held: BTreeMap<&str, u64> = (holds.records.iter())
            .filter_map(|hold| Some((place.rest(HOLDS, &hold.key)?, due(hold))))
            .filter(|(_, due)| *due > id::now_ms())
            .collect();
        let mut free = Vec::new();
        let mut after = Bytes::from(self.queue.key(ITEMS, ""));
        loop {
            let page = self.page(&after).await?;
            let is_free = |record: &&KeyValue| {
                let id = place.rest(ITEMS, &record.key);
                id.is_some_and(|id| !claimed.contains(id) && !held.contains_key(id))
            };
            free.extend(page.records.iter().filter(is_free).cloned());
            let Some(last) = page.records.last().filter(|_| page.more && free.len() < CHOICE) else { break };
            after = last.key.clone();
        }
        let next_due = held.values().copied().chain(next_delayed).min();
        Ok(Look { revision: claims.revision, free, next_due })
    }

    /// Keys of items behind `after`.
    async fn page(&self, after: &Bytes) -> Result<Page> {
        use std::ops::Bound::Excluded;
        let end = self.queue.place.key("items0"); // the first key behind those of items
        let range = between((Excluded(after.as_ref()), Excluded(end.as_bytes())));
        self.session.client().range(range).keys_only().limit(LOOK).await
    }

    /// Turns delayed items that are due into items. Returns when the next one is due.
    async fn promote(&self) -> Result<Option<u64>> {
        let delayed = self.queue.place.range(DELAYED);
        loop {
            let page = self.session.client().range(delayed.clone()).keys_only().limit(DUE).await?;
            let now = id::now_ms();
            for record in &page.records {
                let parsed = self.queue.place.rest(DELAYED, &record.key).and_then(id::parse_delayed);
                let Some((due, priority)) = parsed else { continue };
                if due > now {
                    return Ok(Some(due));
                }
                self.promote_one(record, priority).await?;
            }
            if !page.more {
                return Ok(None);
            }
        }
    }

    /// Exactly one of those who try at the same time does it.
    async fn promote_one(&self, record: &KeyValue, priority: u8) -> Result<()> {
        let Some(whole) = self.session.client().get(record.key.clone()).await? else { return Ok(()) };
        let prefix = self.queue.key(ITEMS, &id::prefix(priority));
        self.session
            .txn()
            .when(compare::mod_revision(record.key.clone()).eq(whole.mod_revision))
            .then(op::delete(key(record.key.clone())))
            .then(op::put_sequential(prefix, whole.value))
            .await?;
        Ok(())
    }

    /// Claims the first free item, or one of the next if others were faster; `None` if they were
    /// each time.
    async fn claim_one(&self, look: Look) -> Result<Option<Claim>> {
        let mut free = look.free;
        let mut choice = 1;
        while !free.is_empty() {
            let chosen = free.remove(rand::random_range(0..free.len().min(choice)));
            choice = CHOICE;
            let Some(id) = self.queue.place.rest(ITEMS, &chosen.key).map(str::to_owned) else { continue };
            if let Some(claim) = self.take(&chosen, id).await? {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    }

    /// Claims this item, unless somebody else was faster or its attempts are used up.
    async fn take(&self, item: &KeyValue, id: String) -> Result<Option<Claim>> {
        let queue = &self.queue;
        let claim_key = queue.key(CLAIMS, &id);
        // From here on the claim may be there, and dropping it releases it.
        let mut claim = Claim::new(queue.clone(), self.session.clone(), id, &self.name);
        let outcome = self
            .session
            .txn()
            .when(compare::create_revision(item.key.clone()).eq(item.create_revision))
            .when(compare::version(claim_key.clone()).eq(0_u64))
            .then(op::add(queue.key(ATTEMPTS, claim.id()), 1))
            .then(op::put_owned(claim_key, claim.mark().to_owned(), self.session.id()))
            .then(op::delete(key(queue.key(HOLDS, claim.id()))))
            .await?;
        if !outcome.succeeded {
            claim.disarm();
            return Ok(None);
        }
        let attempt = attempt_of(outcome.results.first());
        claim.granted(outcome.revision, attempt);
        if attempt > u64::from(queue.attempts) {
            // Its last worker died instead of saying that it failed.
            claim.bury(attempt - 1).await?;
            return Ok(None);
        }
        let payload = self.session.client().get(item.key.clone()).await?;
        match payload {
            Some(record) => {
                claim.loaded(record.value);
                Ok(Some(claim))
            }
            // Somebody removed the item by hand.
            None => {
                claim.complete().await?;
                Ok(None)
            }
        }
    }
}

fn attempt_of(result: Option<&OpResult>) -> u64 {
    match result.and_then(|result| result.result.as_ref()) {
        Some(op_result::Result::UpdatedValue(value)) => {
            std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
        }
        _ => 1,
    }
}
