//! Looking at a queue without taking part.

use super::{ATTEMPTS, CLAIMS, DEAD, DELAYED, ITEMS, Queue, REASONS};
use crate::error::{Error, Result};
use crate::kv::Page;
use crate::recipes::counter::number;
use crate::txn::{compare, op};
use crate::types::key;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Numbers of a queue, all of one revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The revision.
    pub revision: u64,
    /// Items that wait for a worker, or for the end of a pause.
    pub waiting: u64,
    /// Items that are worked on.
    pub claimed: u64,
    /// Items that are not due yet.
    pub delayed: u64,
    /// Items that were set aside.
    pub dead: u64,
}

/// An item that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingItem {
    /// Its id.
    pub id: String,
    /// What it is.
    pub payload: Bytes,
    /// How often it was claimed.
    pub attempts: u64,
    /// Who works on it: the session and the worker's name.
    pub claimed: Option<(u64, String)>,
    /// Why the last attempt failed.
    pub reason: Option<String>,
}

/// An item that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadItem {
    /// Its id.
    pub id: String,
    /// What it is.
    pub payload: Bytes,
    /// How often it was claimed.
    pub attempts: u64,
    /// Why.
    pub reason: String,
}

impl Queue {
    /// Numbers of this queue.
    pub async fn stats(&self) -> Result<Stats> {
        let client = self.via.client();
        let revision = client.range(self.place.range(ITEMS)).keys_only().limit(1).await?.revision;
        let count = |part| client.range(self.place.range(part)).at(revision).count();
        let (items, claimed) = (count(ITEMS).await?, count(CLAIMS).await?);
        let (delayed, dead) = (count(DELAYED).await?, count(DEAD).await?);
        Ok(Stats { revision, waiting: items.saturating_sub(claimed), claimed, delayed, dead })
    }

    /// The first items in the order in which they are claimed, claimed ones included; delayed ones
    /// are not.
    pub async fn peek(&self, most: u64) -> Result<Vec<PendingItem>> {
        let client = self.via.client();
        let items = client.range(self.place.range(ITEMS)).limit(most).all().await?;
        let at = |part| client.range(self.place.range(part)).at(items.revision).all();
        let (claims, attempts, reasons) = (at(CLAIMS).await?, at(ATTEMPTS).await?, at(REASONS).await?);
        let claims: BTreeMap<&str, _> =
            (claims.records.iter()).filter_map(|r| Some((self.place.rest(CLAIMS, &r.key)?, r))).collect();
        let (attempts, reasons) = (self.texts(ATTEMPTS, &attempts), self.texts(REASONS, &reasons));
        let pending = |record: &crate::types::KeyValue| {
            let id = self.place.rest(ITEMS, &record.key)?;
            Some(PendingItem {
                id: id.to_owned(),
                payload: record.value.clone(),
                attempts: attempts.get(id).and_then(|text| text.parse().ok()).unwrap_or(0),
                claimed: claims.get(id).map(|claim| (claim.owner, worker(&claim.text()))),
                reason: reasons.get(id).cloned(),
            })
        };
        Ok(items.records.iter().filter_map(pending).collect())
    }

    /// Items that were set aside, at most so many.
    pub async fn dead(&self, most: u64) -> Result<Vec<DeadItem>> {
        let client = self.via.client();
        let dead = client.range(self.place.range(DEAD)).limit(most).all().await?;
        let at = |part| client.range(self.place.range(part)).at(dead.revision).all();
        let (attempts, reasons) = (at(ATTEMPTS).await?, at(REASONS).await?);
        let (attempts, reasons) = (self.texts(ATTEMPTS, &attempts), self.texts(REASONS, &reasons));
        let item = |record: &crate::types::KeyValue| {
            let id = self.place.rest(DEAD, &record.key)?;
            Some(DeadItem {
                id: id.to_owned(),
                payload: record.value.clone(),
                attempts: attempts.get(id).and_then(|text| text.parse().ok()).unwrap_or(0),
                reason: reasons.get(id).cloned().unwrap_or_default(),
            })
        };
        Ok(dead.records.iter().filter_map(item).collect())
    }

    /// Puts an item that was set aside back in its place, with all its attempts. Returns whether it
    /// was there.
    pub async fn revive(&self, id: &str) -> Result<bool> {
        let dead = self.key(DEAD, id);
        let Some(record) = self.via.get(dead.clone()).await? else { return Ok(false) };
        let txn = self.via.txn().when(compare::mod_revision(dead.clone()).eq(record.mod_revision));
        let gone = [dead, self.key(ATTEMPTS, id), self.key(REASONS, id)].map(|gone| op::delete(key(gone)));
        let txn = gone.into_iter().fold(txn, crate::txn::Txn::then);
        Ok(txn.then(op::put(self.key(ITEMS, id), record.value)).await?.succeeded)
    }

    /// Removes an item that was set aside. Returns whether it was there.
    pub async fn discard(&self, id: &str) -> Result<bool> {
        let dead = self.key(DEAD, id);
        let txn = self.via.txn().when(compare::version(dead.clone()).gt(0_u64));
        let gone = [dead, self.key(ATTEMPTS, id), self.key(REASONS, id)].map(|gone| op::delete(key(gone)));
        Ok(gone.into_iter().fold(txn, crate::txn::Txn::then).await?.succeeded)
    }

    /// How often an item was claimed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if somebody put something else there.
    pub async fn attempts_of(&self, id: &str) -> Result<u64> {
        let counted = number(self.via.get(self.key(ATTEMPTS, id)).await?.as_ref())?;
        u64::try_from(counted)
            .map_err(|_| Error::Invalid { message: format!("{id} was claimed {counted} times") })
    }

    fn texts<'p>(&self, part: &str, page: &'p Page) -> BTreeMap<&'p str, String> {
        let pair = |record: &'p crate::types::KeyValue| {
            Some((self.place.rest(part, &record.key)?, record.text().into_owned()))
        };
        page.records.iter().filter_map(pair).collect()
    }
}

/// The worker's name in a claim's value, which ends with a mark.
fn worker(value: &str) -> String {
    value.rsplit_once(' ').map_or(value, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_may_have_spaces_in_its_name() {
        assert_eq!(worker("a b 0011"), "a b");
        assert_eq!(worker("odd"), "odd");
    }
}
