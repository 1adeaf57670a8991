//! A client's session: opened again whenever it is gone, and kept alive.

use super::{Client, Desk, Purpose, RETAIN_MS};
use crate::sim::queue::{MS, Time};
use oarlock_server::node::request::{Request, Write};
use oarlock_state::command::{IdempotencyKey, OpenSession, ReplyBody};
use oarlock_state::{Command, Reply, RequestId, SessionId};
use std::collections::BTreeSet;

/// A session that is open, as far as its client knows.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) principal: String,
    pub(super) timeout: Time,
    pub(super) next_sequence: u64,
    pub(super) finished: BTreeSet<u64>,
    pub(super) acked: u64,
    pub(super) next_sign: Time,
}

impl Session {
    /// The session that a reply tells of, opened now.
    pub(super) fn opened(reply: &Reply, principal: &str, now: Time) -> Option<Self> {
        let ReplyBody::SessionOpened { session, timeout_ms } = reply.body else { return None };
        Some(Self {
            id: session,
            principal: principal.to_owned(),
            timeout: timeout_ms * MS,
            next_sequence: 1,
            finished: BTreeSet::new(),
            acked: 0,
            next_sign: now,
        })
    }

    /// The outcome of a request is known.
    pub(super) fn finish(&mut self, sequence: u64) {
        self.finished.insert(sequence);
        while self.finished.remove(&(self.acked + 1)) {
            self.acked += 1;
        }
    }
}

impl Client {
    /// Opens a session, or shows that it lives.
    pub(super) fn tend_session(&mut self, desk: &mut Desk<'_>) {
        let is_opening = self.calls.values().any(|call| matches!(call.purpose, Purpose::Open { .. }));
        match &mut self.session {
            None if !is_opening && self.active => self.open(desk),
            None => {}
            Some(session) if session.next_sign <= desk.now => {
                session.next_sign = desk.now + session.timeout / 4;
                desk.signs.insert(session.principal.clone(), desk.now);
                let request = Request::KeepAlive { session: session.id };
                self.ask(desk, request, Purpose::KeepAlive);
            }
            Some(_) => {}
        }
    }

    fn open(&mut self, desk: &mut Desk<'_>) {
        self.opens += 1;
        let principal = format!("client {} session {}", self.number, self.opens);
        desk.signs.insert(principal.clone(), desk.now);
        let command = Command::OpenSession(OpenSession {
            id: SessionId(0),
            secret: [self.number as u8; 16],
            timeout_ms: self.chance.between(1_000, 6_000),
            principal: principal.clone(),
        });
        let key = IdempotencyKey { key: principal.clone().into(), retain_ms: RETAIN_MS };
        let write = Write { idempotency: Some(key), ..Write::of(command) };
        self.ask(desk, Request::Write(write), Purpose::Open { principal });
    }

    /// The name of the session's next request.
    pub(super) fn next_name(&mut self) -> Option<RequestId> {
        let session = self.session.as_mut()?;
        let sequence = session.next_sequence;
        session.next_sequence += 1;
        Some(RequestId { session: session.id, sequence, acked_up_to: session.acked })
    }

    /// Whether a request to close the session is under way.
    pub(super) fn is_closing(&self) -> bool {
        self.calls.values().any(|call| call.purpose == Purpose::Close)
    }

    /// Closes the session. From here on it counts as lost.
    pub(super) fn close_session(&mut self, desk: &mut Desk<'_>) {
        let Some(session) = self.session.as_ref().map(|session| session.id) else { return };
        self.abandon_claims(desk);
        self.ask(desk, Request::Write(Write::of(Command::CloseSession { session })), Purpose::Close);
    }
}
