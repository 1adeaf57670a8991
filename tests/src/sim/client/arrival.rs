//! What comes to a client over its connections: taken in order, and later if it gets no processor.

use super::{Client, Desk, Kind};
use oarlock_server::node::request::{Result as Answered, WatchFrame};

/// Something that comes over a connection.
pub(super) enum Arrival {
    Answer(u64, u64, Answered),
    Frame(u64, u64, WatchFrame),
    Lost(u64),
}

impl Client {
    /// An answer came.
    pub fn answered(&mut self, desk: &mut Desk<'_>, conn: u64, tag: u64, result: Answered) {
        self.take(desk, Arrival::Answer(conn, tag, result));
    }

    /// A frame of a watch came.
    pub fn frame(&mut self, desk: &mut Desk<'_>, conn: u64, tag: u64, frame: WatchFrame) {
        self.take(desk, Arrival::Frame(conn, tag, frame));
    }

    /// A connection broke.
    pub fn lost(&mut self, desk: &mut Desk<'_>, conn: u64) {
        self.take(desk, Arrival::Lost(conn));
    }

    /// Takes what came, in order, unless it is frozen.
    fn take(&mut self, desk: &mut Desk<'_>, arrival: Arrival) {
        if desk.now < self.frozen_until || !self.backlog.is_empty() {
            self.backlog.push(arrival);
        } else {
            self.arrive(desk, arrival);
        }
    }

    pub(super) fn arrive(&mut self, desk: &mut Desk<'_>, arrival: Arrival) {
        match arrival {
            Arrival::Answer(conn, tag, result) if self.kind == Kind::Watcher => {
                self.watch.answered(conn, tag, result);
            }
            Arrival::Answer(conn, tag, result) => match self.listens_on(conn) {
                Some(request) if result.is_err() => self.claim_unheard(request),
                Some(_) => {}
                None if self.calls.get(&tag).is_some_and(|c| c.conn == conn && c.again_at.is_none()) => {
                    self.conclude(desk, tag, result);
                }
                None => {}
            },
            Arrival::Frame(conn, tag, frame) => match self.listens_on(conn) {
                Some(request) => self.claim_frame(desk, request, &frame),
                None => self.watch.frame(desk, conn, tag, frame),
            },
            Arrival::Lost(conn) if self.kind == Kind::Watcher => self.watch.lost(conn),
            Arrival::Lost(conn) => match self.listens_on(conn) {
                Some(request) => self.claim_unheard(request),
                None if self.link.is_some_and(|link| link.conn == conn) => self.hang_up(desk),
                None => {}
            },
        }
    }
}
