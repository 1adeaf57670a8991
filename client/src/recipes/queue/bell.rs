//! Wakes a worker that found nothing: something was put or has become free since.

use super::{CLAIMS, DELAYED, ITEMS, Queue};
use crate::error::{Error, Result};
use crate::watch::{Watch, WatchItem};
use futures::StreamExt;

/// Watches of what can make an item claimable. They stay between waits, so that an idle worker costs
/// nothing but what it is told.
pub(super) struct Bell {
    put: Watch,
    delayed: Watch,
    freed: Watch,
    /// Everything up to it was taken note of.
    rung: u64,
}

impl Bell {
    /// Listens from behind `revision`.
    pub(super) fn new(queue: &Queue, revision: u64) -> Self {
        let client = queue.via.client();
        let watch = |part| client.watch(queue.place.range(part)).from(revision + 1).resync();
        Self {
            put: watch(ITEMS).puts_only().start(),
            delayed: watch(DELAYED).puts_only().start(),
            freed: watch(CLAIMS).deletes_only().start(),
            rung: revision,
        }
    }

    /// Waits for something that happened behind `revision`.
    pub(super) async fn wait(&mut self, revision: u64) -> Result<()> {
        while self.rung <= revision {
            let item = tokio::select! {
                item = self.put.next() => item,
                item = self.delayed.next() => item,
                item = self.freed.next() => item,
            };
            let ended = || Error::Unknown { message: "the watch of the queue ended".into() };
            self.rung = self.rung.max(heard(&item.ok_or_else(ended)??));
        }
        // Whatever else has come by now is behind the next look, too.
        Ok(())
    }
}

/// The revision up to which something may have become claimable; 0 if nothing has.
fn heard(item: &WatchItem) -> u64 {
    match item {
        WatchItem::Events(events) => events.last().map_or(0, |event| event.record.mod_revision),
        WatchItem::Resync { revision, .. } => *revision,
        WatchItem::Created { .. } | WatchItem::Progress { .. } => 0,
    }
}
