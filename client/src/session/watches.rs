//! The watches of locks, elections and pools on a session's stream.
//!
//! A watch goes on over reconnections from where it was. What is asked for together is told on one
//! bounded channel. A consumer that lets it fill up is cut off: the channel ends, and it has to read
//! the objects anew. So no consumer holds up a session's keep-alives, and none misses anything
//! without knowing.

use crate::error::Error;
use bytes::Bytes;
use oarlock_proto::v1::{self, client_op::Op, watch_frame::Kind};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Frames that may wait for a consumer.
pub(super) const TOLD_MAX: usize = 256;

/// What a watch of objects is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// What happened to an object: whole revisions, in order.
    Events(Vec<v1::ObjectEvent>),
    /// What happened to a pool: whole revisions, in order.
    Pools(Vec<v1::PoolEvent>),
    /// The service ended the watch, and all that were asked for with it are over.
    Over(Error),
}

/// What a watch is of, by name.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// A lock or an election.
    Object(Bytes),
    /// A pool.
    Pool(Bytes),
}

/// Watches that are asked for together.
pub(super) struct Watching {
    /// The number of the first; the others follow it.
    pub(super) first: u64,
    pub(super) subjects: Vec<Subject>,
    /// The first revision of interest.
    pub(super) start: u64,
    pub(super) told: mpsc::Sender<Told>,
}

/// All of a session's watches, by number.
#[derive(Default)]
pub(super) struct Watches {
    open: BTreeMap<u64, Open>,
}

struct Open {
    /// The number of the first of those asked for together.
    group: u64,
    /// What to ask the next stream for; its start moves with what was delivered.
    create: v1::WatchCreate,
    told: mpsc::Sender<Told>,
}

impl Watches {
    /// Begins watches, and returns what to send.
    pub(super) fn begin(&mut self, watching: Watching) -> Vec<v1::ClientOp> {
        let Watching { first, subjects, start, told } = watching;
        let numbered = (first..).zip(subjects);
        numbered
            .map(|(watch_id, subject)| {
                let mut create = v1::WatchCreate { watch_id, start_revision: start, ..Default::default() };
                match subject {
                    Subject::Object(name) => create.object = name,
                    Subject::Pool(name) => create.pool = name,
                }
                self.open.insert(watch_id, Open { group: first, create: create.clone(), told: told.clone() });
                op(watch_id, Op::Watch(create))
            })
            .collect()
    }

    /// All of them, for a new stream.
    pub(super) fn all(&self) -> Vec<v1::ClientOp> {
        self.open.iter().map(|(id, open)| op(*id, Op::Watch(open.create.clone()))).collect()
    }

    /// Ends those that were asked for together, and returns what to send.
    pub(super) fn end(&mut self, group: u64) -> Vec<v1::ClientOp> {
        let ended: Vec<u64> =
            self.open.iter().filter(|(_, open)| open.group == group).map(|(id, _)| *id).collect();
        ended
            .into_iter()
            .map(|watch_id| {
                self.open.remove(&watch_id);
                op(watch_id, Op::CancelWatch(v1::WatchCancel { watch_id }))
            })
            .collect()
    }

    /// Tells what a frame says, and returns what to send.
    pub(super) fn frame(&mut self, frame: v1::WatchFrame) -> Vec<v1::ClientOp> {
        let id = frame.watch_id;
        let Some(open) = self.open.get_mut(&id) else { return Vec::new() };
        let group = open.group;
        let is_heard = match frame.kind {
            Some(Kind::Events(events)) => {
                open.create.start_revision = events.through_revision + 1;
                let told = match events.pools.is_empty() {
                    true => Told::Events(events.objects),
                    false => Told::Pools(events.pools),
                };
                open.told.try_send(told).is_ok()
            }
            Some(Kind::Progress(progress)) => {
                let start = &mut open.create.start_revision;
                *start = (*start).max(progress.through_revision + 1);
                true
            }
            Some(Kind::Created(_) | Kind::Resync(_)) | None => true,
            Some(Kind::Cancelled(cancelled)) => {
                return self.over(id, cancelled.error.unwrap_or_default());
            }
        };
        if is_heard { Vec::new() } else { self.end(group) }
    }

    /// Whether this is the number of a watch.
    pub(super) fn has(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// The service ended a watch, or did not begin it. Returns what to send.
    pub(super) fn over(&mut self, id: u64, error: v1::Error) -> Vec<v1::ClientOp> {
        let Some(ended) = self.open.remove(&id) else { return Vec::new() };
        // If there is no room the consumer learns from the channel's end that it is over.
        let _ = ended.told.try_send(Told::Over(Error::from_wire(error)));
        self.end(ended.group)
    }
}

fn op(id: u64, op: Op) -> v1::ClientOp {
    v1::ClientOp { id, op: Some(op), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::watch_frame::{Cancelled, Events};

    fn begun(watches: &mut Watches, first: u64, names: &[&'static str]) -> mpsc::Receiver<Told> {
        let (told, receiver) = mpsc::channel(2);
        let subjects = names.iter().map(|name| Subject::Object(Bytes::from(*name))).collect();
        watches.begin(Watching { first, subjects, start: 5, told });
        receiver
    }

    fn events(watch_id: u64, through_revision: u64) -> v1::WatchFrame {
        let events = Events { through_revision, ..Events::default() };
        v1::WatchFrame { watch_id, kind: Some(Kind::Events(events)) }
    }

    fn starts(watches: &Watches) -> Vec<u64> {
        let start = |op: v1::ClientOp| match op.op {
            Some(Op::Watch(create)) => create.start_revision,
            other => panic!("{other:?} is no watch"),
        };
        watches.all().into_iter().map(start).collect()
    }

    #[test]
    fn a_new_stream_goes_on_behind_what_was_delivered() {
        let mut watches = Watches::default();
        let mut told = begun(&mut watches, 10, &["a", "b"]);
        assert!(watches.frame(events(11, 8)).is_empty());
        assert_eq!(starts(&watches), [5, 9]);
        assert!(matches!(told.try_recv(), Ok(Told::Events(_))));
    }

    #[test]
    fn whoever_does_not_listen_is_cut_off_from_all_that_was_asked_for_together() {
        let mut watches = Watches::default();
        let (mut slow, _other) = (begun(&mut watches, 10, &["a", "b"]), begun(&mut watches, 20, &["a"]));
        let sent: Vec<usize> = (6..9).map(|revision| watches.frame(events(10, revision)).len()).collect();
        assert_eq!(sent, [0, 0, 2], "both watches are ended when the third frame finds no room");
        assert!(!watches.has(11) && watches.has(20));
        assert!(slow.try_recv().is_ok() && slow.try_recv().is_ok());
        assert_eq!(slow.try_recv().err(), Some(mpsc::error::TryRecvError::Disconnected));
    }

    #[test]
    fn the_services_reason_is_told() {
        let mut watches = Watches::default();
        let mut told = begun(&mut watches, 10, &["a"]);
        let error = v1::Error {
            code: v1::ErrorCode::Compacted.into(),
            certainty: v1::Certainty::Rejected.into(),
            ..v1::Error::default()
        };
        let cancelled = Kind::Cancelled(Cancelled { error: Some(error) });
        watches.frame(v1::WatchFrame { watch_id: 10, kind: Some(cancelled) });
        let Ok(Told::Over(error)) = told.try_recv() else { panic!("the end is told") };
        assert_eq!(error.code(), Some(v1::ErrorCode::Compacted));
        assert!(!watches.has(10));
    }
}
