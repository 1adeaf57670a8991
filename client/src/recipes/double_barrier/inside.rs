//! A participant's place, and how it leaves.

use super::{MEMBERS, OPEN, members};
use crate::error::Result;
use crate::recipes::informer::{Informer, Snapshot};
use crate::recipes::place::{Place, afterwards, patiently, within};
use crate::session::Session;
use crate::txn::{compare, op};
use crate::types::key;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A participant's entry. Dropping it takes it back.
pub(super) struct Entry {
    session: Session,
    place: Arc<Place>,
    pub(super) me: Bytes,
    is_there: bool,
}

impl Entry {
    pub(super) fn new(session: Session, place: Arc<Place>, me: Bytes) -> Self {
        Self { session, place, me, is_there: true }
    }

    /// Nothing is to be taken back.
    pub(super) fn forget(mut self) {
        self.is_there = false;
    }

    /// Removes the entry, and the mark with the last entry.
    async fn remove(session: Session, place: Arc<Place>, me: Bytes) -> Result<()> {
        let outcome = session
            .txn()
            .when(compare::count(place.range(MEMBERS)).eq(1_u64))
            .when(compare::version(me.clone()).gt(0_u64))
            .then(op::delete(key(me.clone())))
            .then(op::delete(key(place.key(OPEN))))
            .otherwise(op::delete(key(me)));
        outcome.await.map(|_| ())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_there {
            let removal = Self::remove(self.session.clone(), self.place.clone(), self.me.clone());
            // If it fails, the session's end removes it.
            afterwards(async { removal.await.unwrap_or_default() });
        }
    }
}

/// A place inside. Dropping it leaves without waiting.
pub struct Inside {
    entry: Option<Entry>,
    view: Informer<Bytes>,
    generation: u64,
}

impl Inside {
    pub(super) fn new(entry: Entry, view: Informer<Bytes>, generation: u64) -> Self {
        Self { entry: Some(entry), view, generation }
    }

    /// Names the group of participants that began together; grows from group to group.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Leaves, and waits until all have left or died.
    ///
    /// # Errors
    /// Those of leaving: the session's loss means that this participant has left in any case.
    /// Waiting for the others fails only for what waiting cannot mend.
    pub async fn leave(mut self) -> Result<()> {
        let place = self.depart().await?;
        self.wait_left(&place).await
    }

    /// As [`leave`](Self::leave), for at most so long. Returns whether all have left by then; this
    /// participant has.
    ///
    /// # Errors
    /// As [`leave`](Self::leave).
    pub async fn leave_for(mut self, patience: Duration) -> Result<bool> {
        let place = self.depart().await?;
        Ok(within(patience, self.wait_left(&place)).await?.is_some())
    }

    /// Leaves without waiting.
    ///
    /// # Errors
    /// As [`leave`](Self::leave).
    pub async fn leave_now(mut self) -> Result<()> {
        self.depart().await.map(|_| ())
    }

    /// Completes when the place is gone: somebody [removed](super::Participants::remove) it, or the session
    /// is lost.
    pub async fn gone(&self) {
        let me = self.entry.as_ref().map(|entry| entry.me.clone()).unwrap_or_default();
        let gone = |all: &Snapshot<Bytes>| {
            (all.revision() >= self.generation && all.get(&me).is_none()).then_some(())
        };
        self.view.until(gone).await;
    }

    async fn depart(&mut self) -> Result<Arc<Place>> {
        let entry = self.entry.take().expect("it departs once, as leaving consumes it");
        let place = entry.place.clone();
        Entry::remove(entry.session.clone(), place.clone(), entry.me.clone()).await?;
        entry.forget();
        Ok(place)
    }

    async fn wait_left(&self, place: &Place) -> Result<()> {
        let open = place.key(OPEN);
        let left = |all: &Snapshot<Bytes>| match all.get(&open) {
            Some(mark) if mark.mod_revision == self.generation => (members(place, all) == 0).then_some(true),
            Some(mark) => (mark.mod_revision > self.generation).then_some(false),
            None => (all.revision() >= self.generation).then_some(false),
        };
        if self.view.until(left).await {
            // The last ones died inside and could not close. Whoever comes next would do it, too.
            let client = self.view.client().clone();
            patiently(|| async {
                client
                    .txn()
                    .when(compare::mod_revision(open.clone()).eq(self.generation))
                    .when(compare::count(place.range(MEMBERS)).eq(0_u64))
                    .then(op::delete(key(open.clone())))
                    .await
            })
            .await?;
        }
        Ok(())
    }
}
