//! What one watcher saw, and what it should have seen.

use oarlock_server::node::request::{WatchFrame, WatchSpec};
use oarlock_state::command::KeyRange;
use oarlock_state::event::{Event, EventKind};

/// One life of one watch: from its request to its end or the loss of its connection.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Who watches.
    pub client: u64,
    /// On which member.
    pub node: u64,
    /// What was asked for.
    pub spec: WatchSpec,
    /// What came, in order.
    pub frames: Vec<WatchFrame>,
}

impl Watched {
    /// All events that came, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.frames.iter().flat_map(|frame| match frame {
            WatchFrame::Events { events, .. } => events.as_slice(),
            WatchFrame::Created { .. }
            | WatchFrame::Progress { .. }
            | WatchFrame::Resync { .. }
            | WatchFrame::Cancelled(_) => &[],
        })
    }

    /// First revision that the server said it would deliver.
    pub fn created(&self) -> Option<u64> {
        self.frames.iter().find_map(|frame| match frame {
            WatchFrame::Created { next, .. } => Some(next.get()),
            _ => None,
        })
    }

    /// Revisions up to which a server said, frame by frame, that everything was delivered.
    pub fn marks(&self) -> impl Iterator<Item = u64> {
        self.frames.iter().filter_map(|frame| match frame {
            WatchFrame::Events { through, .. } | WatchFrame::Progress { through } => Some(through.get()),
            WatchFrame::Resync { revision, last: true, .. } => Some(revision.get()),
            WatchFrame::Created { .. } | WatchFrame::Resync { .. } | WatchFrame::Cancelled(_) => None,
        })
    }

    /// Up to where everything was delivered.
    pub fn through(&self) -> Option<u64> {
        self.marks().max()
    }

    /// The revision of a resync, from after which events follow.
    pub fn resynced(&self) -> Option<u64> {
        self.frames.iter().rev().find_map(|frame| match frame {
            WatchFrame::Resync { revision, .. } => Some(revision.get()),
            _ => None,
        })
    }

    /// Whether an event is one that this watch is to deliver.
    pub fn wants(&self, event: &Event) -> bool {
        let spec = &self.spec;
        event.keyspace == spec.keyspace
            && covers(&spec.range, &event.key)
            && match event.kind {
                EventKind::Put { .. } => !spec.no_put,
                EventKind::Delete => !spec.no_delete,
                EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => true,
            }
    }

    /// A short name for messages.
    pub fn name(&self) -> String {
        format!("watch of client {} on member {} from revision {}", self.client, self.node, self.spec.start)
    }
}

/// Whether a range holds a key.
pub fn covers(range: &KeyRange, key: &[u8]) -> bool {
    match range {
        KeyRange::Key(only) => only == key,
        KeyRange::Span { start, end } => {
            start.as_ref() <= key && end.as_ref().is_none_or(|end| key < end.as_ref())
        }
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Hand-made watches for the checks' tests.

    use super::*;
    use bytes::Bytes;
    use oarlock_state::event::{Cause, Keyspace};
    use oarlock_state::{Revision, SessionId};

    pub(crate) fn event(revision: u64, sub: u32) -> Event {
        Event {
            keyspace: Keyspace::Kv,
            revision: Revision(revision),
            sub,
            key: Bytes::from(format!("k{sub}")),
            kind: EventKind::Delete,
            cause: Cause::Request,
            session: SessionId(0),
            previous: None,
        }
    }

    pub(crate) fn events(of: &[(u64, u32)], through: u64) -> WatchFrame {
        let events = of.iter().map(|(revision, sub)| event(*revision, *sub)).collect();
        WatchFrame::Events { events, previous: Vec::new(), through: Revision(through) }
    }

    pub(crate) fn progress(through: u64) -> WatchFrame {
        WatchFrame::Progress { through: Revision(through) }
    }

    pub(crate) fn watched(start: u64, frames: Vec<WatchFrame>) -> Watched {
        let spec = WatchSpec {
            keyspace: Keyspace::Kv,
            range: KeyRange::Span { start: Bytes::from_static(b"k"), end: None },
            start: Revision(start),
            want_previous: false,
            no_put: false,
            no_delete: false,
            want_progress: true,
            resync: false,
        };
        let mut all = vec![WatchFrame::Created { next: Revision(start), current: Revision(0) }];
        all.extend(frames);
        Watched { client: 1, node: 1, spec, frames: all }
    }
}
