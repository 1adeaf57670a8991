//! Watches and what they deliver.

use super::{Form, invalid, key, object_reply, pool_event};
use crate::node::request::{WatchFrame, WatchSpec};
use oarlock_proto::v1;
use oarlock_state::command::{KeyRange, KeyValue};
use oarlock_state::event::Keyspace;
use oarlock_state::{Cause, Event, EventKind, Revision, SessionId};
use v1::watch_frame::{Cancelled, Created, Events, Kind, Progress, ResyncFrame};

/// What a watcher wants to know.
pub fn spec(request: v1::WatchCreate) -> Form<WatchSpec> {
    if request.no_put && request.no_delete {
        return Err(invalid("no_put and no_delete together leave nothing to watch"));
    }
    match (request.object.is_empty(), request.pool.is_empty()) {
        (true, true) => {}
        (false, true) => return named_spec(Keyspace::Object, request.object.clone(), request),
        (true, false) => return named_spec(Keyspace::Pool, request.pool.clone(), request),
        (false, false) => return Err(invalid("a watch is of an object or of a pool; use two watches")),
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

/// A watch of a lock, an election or a pool.
fn named_spec(keyspace: Keyspace, name: bytes::Bytes, request: v1::WatchCreate) -> Form<WatchSpec> {
    let v1::WatchCreate { range, want_previous, no_put, no_delete, resync, .. } = request;
    if range.is_some() || want_previous || no_put || no_delete || resync {
        return Err(invalid(
            "a watch of an object or a pool has no range, previous records, kinds of change or resync; leave them out",
        ));
    }
    Ok(WatchSpec {
        keyspace,
        range: KeyRange::Key(key::key(name)?),
        start: Revision(request.start_revision),
        want_previous: false,
        no_put: false,
        no_delete: false,
        want_progress: request.want_progress,
        resync: false,
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
            let mut sent = events(list, previous);
            sent.through_revision = through.get();
            Kind::Events(sent)
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

/// Events, outwards, without what only the tree has.
fn events(events: Vec<Event>, previous: Vec<Option<KeyValue>>) -> Events {
    // `previous` is parallel to `events`, or empty when it was not asked for.
    let mut previous = previous.into_iter();
    let mut sent = Events::default();
    for mut event in events {
        let before = previous.next().flatten();
        match std::mem::replace(&mut event.kind, EventKind::Delete) {
            EventKind::Object(what) => sent.objects.push(object_reply::event(event, what)),
            EventKind::Pool(what) => sent.pools.push(pool_event::event(event, what)),
            kind => sent.events.extend(change(Event { kind, ..event }, before)),
        }
    }
    sent
}

/// A change of a key, outwards; `None` for what is none.
fn change(event: Event, previous: Option<KeyValue>) -> Option<v1::WatchEvent> {
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
        EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => return None,
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

/// Why a change happened, outwards.
pub fn cause(cause: Cause) -> v1::watch_event::Cause {
    match cause {
        Cause::Request => v1::watch_event::Cause::Request,
        Cause::Expired => v1::watch_event::Cause::Expired,
        Cause::Closed => v1::watch_event::Cause::Closed,
        Cause::TimedOut => v1::watch_event::Cause::TimedOut,
        Cause::Admin => v1::watch_event::Cause::Admin,
    }
}
