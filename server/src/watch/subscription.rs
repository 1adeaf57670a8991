//! One watch: where it stands, what concerns it, and its frames.

use super::matcher::holds;
use crate::node::request::{Origin, WatchFrame, WatchSpec};
use bytes::Bytes;
use oarlock_state::command::KeyValue;
use oarlock_state::object::ObjectEvent;
use oarlock_state::pool::PoolEvent;
use oarlock_state::{Event, EventKind, Revision};

/// Bytes that an event or record counts beside its key and value.
const OVERHEAD: usize = 64;

/// One watch.
#[derive(Debug)]
pub struct Subscription {
    /// Its name outside.
    pub origin: Origin,
    /// What it wants.
    pub spec: WatchSpec,
    /// Where it stands.
    pub position: Position,
    /// Nothing older than this is ever delivered.
    pub start: Revision,
    /// A progress frame was asked for and is owed once it is synced.
    pub owes_progress: bool,
    /// Microseconds at which it was last sent something, on the monotonic clock.
    pub sent_us: u64,
}

/// Where a watch stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// It has everything, and is in the matcher.
    Synced,
    /// It has everything below this revision.
    Behind(Revision),
    /// It is being sent the records of a revision.
    Resync {
        /// Which revision.
        revision: Revision,
        /// Keys below this one were sent.
        from: Option<Bytes>,
    },
}

impl Subscription {
    /// Whether an event of the right key is wanted.
    pub fn wants(&self, event: &Event) -> bool {
        let wanted_kind = match event.kind {
            EventKind::Put { .. } => !self.spec.no_put,
            EventKind::Delete => !self.spec.no_delete,
            EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => true,
        };
        wanted_kind && event.revision >= self.start
    }

    /// Whether an event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        event.keyspace == self.spec.keyspace && holds(&self.spec.range, &event.key) && self.wants(event)
    }
}

/// What an event of a pool carries beside the pool's name; names of shards are short.
fn pool_event_bytes(event: &PoolEvent) -> usize {
    match event {
        PoolEvent::Joined { instance, zone, address, metadata, .. } => {
            instance.len() + zone.len() + address.len() + metadata.len()
        }
        PoolEvent::Paused { reason, .. } => reason.len(),
        PoolEvent::Away { instance, .. }
        | PoolEvent::Left { instance }
        | PoolEvent::MemberStateSet { instance, .. }
        | PoolEvent::Granted { instance, .. }
        | PoolEvent::Lost { instance, .. }
        | PoolEvent::SecondaryAdded { instance, .. }
        | PoolEvent::SecondaryReady { instance, .. }
        | PoolEvent::SecondaryDropped { instance, .. } => instance.len(),
        PoolEvent::Preparing { from, to, .. } | PoolEvent::Draining { from, to, .. } => from.len() + to.len(),
        PoolEvent::MoveCancelled { to, .. } => to.len(),
        PoolEvent::ShardTuned { pin, .. } => pin.as_ref().map_or(0, Bytes::len),
        PoolEvent::Created { .. }
        | PoolEvent::PolicySet(_)
        | PoolEvent::Deleted
        | PoolEvent::ShardAdded { .. }
        | PoolEvent::ShardRetired { .. }
        | PoolEvent::ShardRemoved { .. }
        | PoolEvent::Available { .. } => 0,
    }
}

/// Bytes that an event counts.
pub fn event_bytes(event: &Event) -> usize {
    let value = match &event.kind {
        EventKind::Put { value, .. } => value.len(),
        EventKind::Object(
            ObjectEvent::Granted { metadata, .. } | ObjectEvent::Proclaimed { metadata, .. },
        ) => metadata.len(),
        EventKind::Object(ObjectEvent::RevocationRequested { by, reason }) => by.len() + reason.len(),
        EventKind::Pool(event) => pool_event_bytes(event),
        EventKind::Delete | EventKind::Children | EventKind::Object(_) => 0,
    };
    OVERHEAD + event.key.len() + value
}

fn record_bytes(record: &KeyValue) -> usize {
    OVERHEAD + record.key.len() + record.value.len()
}

/// Bytes of credit that a frame uses up.
pub fn frame_bytes(frame: &WatchFrame) -> usize {
    match frame {
        WatchFrame::Events { events, previous, .. } => {
            events.iter().map(event_bytes).sum::<usize>()
                + previous.iter().flatten().map(record_bytes).sum::<usize>()
        }
        WatchFrame::Resync { records, .. } => OVERHEAD + records.iter().map(record_bytes).sum::<usize>(),
        WatchFrame::Created { .. } | WatchFrame::Progress { .. } | WatchFrame::Cancelled(_) => OVERHEAD,
    }
}
