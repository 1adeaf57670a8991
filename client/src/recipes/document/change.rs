//! Changes of a document. Each is one transaction that compares the head.

use super::head::{Stored, version};
use super::{Document, DocumentError, HEAD, Head, Rollout, Version};
use crate::error::Error;
use crate::recipes::place::Place;
use crate::txn::{Txn, compare, op};
use crate::types::{KeyRange, between};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{SystemTime, UNIX_EPOCH};

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Document<T> {
    /// Makes a new version and makes it current.
    ///
    /// # Errors
    /// [`DocumentError::Refused`] by the validation, [`DocumentError::Staged`] during a rollout,
    /// [`DocumentError::Conflict`] when somebody else was faster, and those of the cluster.
    pub async fn put(&self, value: T, author: &str, note: &str) -> Result<Version<T>, DocumentError> {
        let head = self.head_or_none().await?;
        self.put_over(head, value, author, note).await
    }

    /// As [`put`](Self::put), only while version `expected` is current (0: only as the first one).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_if(
        &self,
        expected: u64,
        value: T,
        author: &str,
        note: &str,
    ) -> Result<Version<T>, DocumentError> {
        let head = self.head_or_none().await?;
        let current = head.map_or(0, |head| head.current);
        if current != expected {
            return Err(DocumentError::Conflict { path: self.place.path().to_owned(), current });
        }
        self.put_over(head, value, author, note).await
    }

    /// Makes a kept version current again, at once.
    ///
    /// # Errors
    /// [`DocumentError::NotKept`], and those of [`put`](Self::put).
    pub async fn roll_back(&self, number: u64) -> Result<Version<T>, DocumentError> {
        let (head, at) = self.head(0).await?;
        self.not_staged(&head)?;
        let target = self.version(number, at).await?;
        self.check(&target.value)?;
        let next = Head { current: number, before: head.current, ..head };
        // The version must still be there when the head begins to name it.
        let exists = compare::version(self.place.key(version(number))).gt(0_u64);
        self.change(Some(head), next, |txn| txn.when(exists)).await?;
        Ok(target)
    }

    /// Makes a new version the candidate and gives it to this share of the instances, from 0 to 100.
    ///
    /// # Errors
    /// [`DocumentError::Missing`] without a current version, and those of [`put`](Self::put).
    pub async fn stage(
        &self,
        value: T,
        percent: f64,
        author: &str,
        note: &str,
    ) -> Result<Version<T>, DocumentError> {
        check_percent(percent)?;
        let (head, _) = self.head(0).await?;
        self.not_staged(&head)?;
        let number = head.newest + 1;
        let next = Head { newest: number, rollout: Some(Rollout { candidate: number, percent }), ..head };
        self.write(Some(head), next, number, value, author, note).await
    }

    /// Changes the share of a rollout. A larger one only adds instances.
    ///
    /// # Errors
    /// [`DocumentError::NotStaged`], [`DocumentError::Conflict`], and those of the cluster.
    pub async fn widen(&self, percent: f64) -> Result<Head, DocumentError> {
        check_percent(percent)?;
        let (head, rollout) = self.staged().await?;
        let next = Head { rollout: Some(Rollout { percent, ..rollout }), ..head };
        self.change(Some(head), next, |txn| txn).await
    }

    /// Makes the candidate the current version for all.
    ///
    /// # Errors
    /// As [`widen`](Self::widen).
    pub async fn promote(&self) -> Result<Head, DocumentError> {
        let (head, Rollout { candidate, .. }) = self.staged().await?;
        let next = Head { current: candidate, before: head.current, rollout: None, ..head };
        self.change(Some(head), next, |txn| txn).await
    }

    /// Gives the candidate up: all instances are back at the current version. The candidate stays
    /// readable as long as other versions do.
    ///
    /// # Errors
    /// As [`widen`](Self::widen).
    pub async fn abort(&self) -> Result<Head, DocumentError> {
        let (head, _) = self.staged().await?;
        self.change(Some(head), Head { rollout: None, ..head }, |txn| txn).await
    }

    async fn head_or_none(&self) -> Result<Option<Head>, DocumentError> {
        match self.head(0).await {
            Ok((head, _)) => Ok(Some(head)),
            Err(DocumentError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn staged(&self) -> Result<(Head, Rollout), DocumentError> {
        let (head, _) = self.head(0).await?;
        let not_staged = || DocumentError::NotStaged { path: self.place.path().to_owned() };
        Ok((head, head.rollout.ok_or_else(not_staged)?))
    }

    fn not_staged(&self, head: &Head) -> Result<(), DocumentError> {
        match head.rollout {
            None => Ok(()),
            Some(Rollout { candidate, percent }) => {
                Err(DocumentError::Staged { path: self.place.path().to_owned(), candidate, percent })
            }
        }
    }

    fn check(&self, value: &T) -> Result<(), DocumentError> {
        (self.validate)(value).map_err(|reason| DocumentError::Refused { reason })
    }

    async fn put_over(
        &self,
        head: Option<Head>,
        value: T,
        author: &str,
        note: &str,
    ) -> Result<Version<T>, DocumentError> {
        if let Some(head) = &head {
            self.not_staged(head)?;
        }
        let number = head.map_or(0, |head| head.newest) + 1;
        let before = head.map_or(0, |head| head.current);
        let next = Head { current: number, newest: number, before, rollout: None, revision: 0 };
        self.write(head, next, number, value, author, note).await
    }

    /// Writes a new version with the head that names it, and forgets the oldest ones.
    async fn write(
        &self,
        head: Option<Head>,
        next: Head,
        number: u64,
        value: T,
        author: &str,
        note: &str,
    ) -> Result<Version<T>, DocumentError> {
        self.check(&value)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let written_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let stored = Stored { author: author.to_owned(), note: note.to_owned(), written_ms, value };
        let bytes = serde_json::to_vec(&stored).map_err(|error| DocumentError::Refused {
            reason: format!("it does not become JSON: {error}"),
        })?;
        let put = op::put(self.place.key(version(number)), bytes);
        let forgotten = forgotten(&self.place, &next, self.keep);
        let written = self
            .change(head, next, |txn| forgotten.into_iter().map(op::delete).fold(txn.then(put), Txn::then))
            .await?;
        let Stored { author, note, written_ms, value } = stored;
        Ok(Version { number, revision: written.revision, author, note, written_ms, value })
    }

    /// Puts the next head over the one that was seen, with what else belongs to the change.
    async fn change(
        &self,
        seen: Option<Head>,
        next: Head,
        more: impl FnOnce(Txn) -> Txn,
    ) -> Result<Head, DocumentError> {
        let head = self.place.key(HEAD);
        let revision = seen.map_or(0, |head| head.revision);
        let txn = self.via.txn().when(compare::mod_revision(head.clone()).eq(revision));
        let outcome = more(txn.then(op::put(head.clone(), next.bytes()))).otherwise(op::get(head)).await?;
        if outcome.succeeded {
            return Ok(Head { revision: outcome.revision, ..next });
        }
        let current = match outcome.first_record() {
            Some(record) => Head::parse(&self.place, &record)?.current,
            None => 0,
        };
        Err(DocumentError::Conflict { path: self.place.path().to_owned(), current })
    }
}

/// Ranges of versions that are not kept beside the newest `keep`: neither the current one nor the one
/// before it, to which a rollback may be wanted soon.
fn forgotten(place: &Place, next: &Head, keep: u64) -> Vec<KeyRange> {
    let end = next.newest.saturating_sub(keep) + 1;
    let mut kept = [next.current, next.before];
    kept.sort_unstable();
    let mut from = 1;
    let mut ranges = Vec::new();
    for stop in kept.into_iter().filter(|number| *number < end).chain([end]) {
        if from < stop {
            let (first, last) = (place.key(version(from)), place.key(version(stop)));
            ranges.push(between(first.as_bytes()..last.as_bytes()));
        }
        from = from.max(stop + 1);
    }
    ranges
}

fn check_percent(percent: f64) -> Result<(), DocumentError> {
    if (0.0..=100.0).contains(&percent) {
        return Ok(());
    }
    let message = format!("{percent} is no share of the instances: from 0 to 100 %");
    Err(Error::Invalid { message }.into())
}

#[cfg(test)]
mod tests {
    use super::super::VERSIONS;
    use super::*;

    fn ranges(current: u64, before: u64, newest: u64, keep: u64) -> Vec<KeyRange> {
        let head = Head { current, newest, before, rollout: None, revision: 0 };
        forgotten(&Place::new("/d"), &head, keep)
    }

    fn range(from: u64, end: u64) -> KeyRange {
        let key = |number| format!("/d/{VERSIONS}{number:020}");
        between(key(from).as_bytes()..key(end).as_bytes())
    }

    #[test]
    fn the_current_version_is_never_forgotten() {
        assert_eq!(ranges(3, 2, 3, 10), []);
        assert_eq!(ranges(12, 11, 12, 10), [range(1, 3)]);
        assert_eq!(ranges(1, 0, 12, 5), [range(2, 8)], "a rollout from an old version");
        assert_eq!(ranges(2, 5, 12, 5), [range(1, 2), range(3, 5), range(6, 8)]);
        assert_eq!(ranges(12, 11, 12, 1), [range(1, 11)], "nor the one before it");
    }

    #[test]
    fn shares_are_from_nothing_to_all() {
        for bad in [-0.1, 100.1, f64::NAN] {
            assert!(check_percent(bad).is_err(), "{bad}");
        }
        assert!(check_percent(0.0).and_then(|()| check_percent(100.0)).is_ok());
    }
}
