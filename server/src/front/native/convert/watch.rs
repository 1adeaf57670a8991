//! Watches and what they deliver.

use super::{Form, invalid, key};
use crate::node::request::{WatchFrame, WatchSpec};
use oarlock_proto::v1;
use oarlock_state::command::KeyValue;
use oarlock_state::event::Keyspace;
use oarlock_state::{Cause, Event, EventKind, Revision, SessionId};
use v1::watch_frame::{Cancelled, Created, Events, Kind, Progress, ResyncFrame};

/// What a watcher wants to know.
pub fn spec(request: v1::WatchCreate) -> Form<WatchSpec> {
    if request.no_put && request.no_delete {
        return Err(invalid("no_put and no_delete together leave nothing to watch"));
    }
    Ok(WatchSpec {
        keyspace: Keyspace::Kv,
        range: key::range(request.range)?,
        start: Revision(request.start_revision),
        want_previous: request.want_previous,
        no_put: request.no_put,
        no_delete: request.no_delete,
        want_progress: request.want_progress,
        resync: request.resync,
    })
}

/// A frame, outwards. `refused` turns the reason of an end into its error.
pub fn frame(
    watch_id: u64,
    frame: WatchFrame,
    refused: impl FnOnce(crate::node::request::Refusal) -> v1::Error,
) -> v1::WatchFrame {
    let kind = match frame {
        WatchFrame::Created { next, .. } => Kind::Created(Created { next_revision: next.get() }),
        WatchFrame::Events { events: list, previous, through } => {
            Kind::Events(Events { events: events(list, previous), through_revision: through.get() })
        }
        WatchFrame::Progress { through } => Kind::Progress(Progress { through_revision: through.get() }),
        WatchFrame::Resync { revision, records, last } => {
            Kind::Resync(ResyncFrame { revision: revision.get(), records: key::records(records), last })
        }
        WatchFrame::Cancelled(reason) => Kind::Cancelled(Cancelled { error: Some(refused(reason)) }),
    };
    v1::WatchFrame { watch_id, kind: Some(kind) }
}

/// The end of a watch that its client wished.
pub fn cancelled(watch_id: u64, error: Option<v1::Error>) -> v1::WatchFrame {
    v1::WatchFrame { watch_id, kind: Some(Kind::Cancelled(Cancelled { error })) }
}

fn events(events: Vec<Event>, previous: Vec<Option<KeyValue>>) -> Vec<v1::WatchEvent> {
    // `previous` is parallel to `events`, or empty when it was not asked for.
    let mut previous = previous.into_iter();
    events.into_iter().filter_map(|one| event(one, previous.next().flatten())).collect()
}

/// An event, outwards; `None` for what only the tree has.
pub fn event(event: Event, previous: Option<KeyValue>) -> Option<v1::WatchEvent> {
    let (kind, record) = match event.kind {
        EventKind::Put { value, create_revision, version, owner } => {
            let record = KeyValue {
                key: event.key,
                value,
                create_revision,
                mod_revision: event.revision,
                version,
                owner,
            };
            (v1::watch_event::Kind::Put, record)
        }
        EventKind::Delete => (v1::watch_event::Kind::Delete, removed(event.key, event.revision)),
        EventKind::Children | EventKind::Object(_) => return None,
    };
    Some(v1::WatchEvent {
        kind: kind.into(),
        record: Some(key::record(record)),
        previous: previous.map(key::record),
        cause: cause(event.cause).into(),
        session: event.session.get(),
    })
}

fn removed(key: bytes::Bytes, revision: Revision) -> KeyValue {
    KeyValue {
        key,
        value: bytes::Bytes::new(),
        create_revision: Revision(0),
        mod_revision: revision,
        version: 0,
        owner: SessionId(0),
    }
}

fn cause(cause: Cause) -> v1::watch_event::Cause {
    match cause {
        Cause::Request => v1::watch_event::Cause::Request,
        Cause::Expired => v1::watch_event::Cause::Expired,
        Cause::Closed => v1::watch_event::Cause::Closed,
        Cause::TimedOut => v1::watch_event::Cause::TimedOut,
        Cause::Admin => v1::watch_event::Cause::Admin,
    }
}
