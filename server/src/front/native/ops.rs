//! One operation of a session stream, checked and turned into what the node is asked.

use super::convert::{Form, invalid, key, object, pool, read, watch, write};
use super::tags::{ID_END, Kind};
use crate::node::request::{Request, WatchSpec, Write};
use oarlock_proto::v1::{self, client_op::Op};
use oarlock_state::command::KeyRange;
use oarlock_state::{Command, Query, RequestId, SessionId};

/// What an operation comes to.
pub enum Asked {
    /// A question for the node.
    Node(Kind, Box<Request>),
    /// A new watch under this number.
    Watch(u64, WatchSpec),
    /// The end of the watch with this number.
    CancelWatch(u64),
    /// A sign of life, answered by the door.
    Ping,
}

/// On whose behalf a stream's operations are.
#[derive(Clone, Copy, Default)]
pub struct Caller {
    /// The stream's session, if it has one.
    pub session: Option<SessionId>,
    /// The client has the outcomes of all its writes up to this one.
    pub acked_up_to: u64,
}

/// What this operation asks for.
pub fn asked(op: v1::ClientOp, caller: Caller) -> Form<Asked> {
    if op.id >= ID_END {
        return Err(invalid("the operation's id is 2^60 or above; count from 1"));
    }
    let Some(body) = op.op else {
        return Err(invalid("the operation is empty, or of a later version"));
    };
    let around = Around { id: op.id, guards: op.guards, exactly_once: op.exactly_once, caller };
    match body {
        Op::Put(request) => around.write(Kind::Put, write::put(request)?),
        Op::Delete(request) => around.write(Kind::Delete, write::delete(request)?),
        Op::Txn(request) => around.txn(request),
        Op::Range(request) => {
            let ask = read::range(&request)?;
            around.read(range_kind(&ask), ask)
        }
        Op::CheckToken(request) => around.read(Kind::CheckToken, read::check_token(request)?),
        Op::GetOutcome(request) => around.read(Kind::GetOutcome, read::outcome(request)?),
        Op::Object(request) => around.write(Kind::Object, object::op(request)?),
        Op::ObjectQuery(request) => around.read(Kind::ObjectQuery, object::query(request)?),
        Op::Pool(request) => around.write(Kind::Pool, pool::op(request)?),
        Op::PoolQuery(request) => around.read(Kind::PoolQuery, pool::query(request)?),
        Op::Watch(request) => {
            around.plain("watch")?;
            Ok(Asked::Watch(watch_id(request.watch_id)?, watch::spec(request)?))
        }
        Op::CancelWatch(request) => {
            around.plain("cancel_watch")?;
            Ok(Asked::CancelWatch(watch_id(request.watch_id)?))
        }
        Op::CloseSession(_) => around.close_session(),
        Op::Ping(_) => {
            around.plain("ping")?;
            Ok(Asked::Ping)
        }
    }
}

/// A watch's number, as its client chose it.
pub fn watch_id(id: u64) -> Form<u64> {
    match id {
        1..ID_END => Ok(id),
        _ => Err(invalid("the watch_id is 0, or 2^60 or above; count from 1")),
    }
}

/// A read of one key, or of several.
fn range_kind(ask: &Request) -> Kind {
    match ask {
        Request::Read { query: Query::Range(query), .. } if matches!(query.range, KeyRange::Key(_)) => {
            Kind::Point
        }
        _ => Kind::Span,
    }
}

/// What stands around an operation's body.
struct Around {
    id: u64,
    guards: Vec<v1::Guard>,
    exactly_once: bool,
    caller: Caller,
}

impl Around {
    fn write(self, kind: Kind, mut write: Write) -> Form<Asked> {
        if !self.guards.is_empty() {
            write.guards.extend(key::guards(self.guards)?);
        }
        if self.exactly_once {
            let named = write.request.is_some() || write.idempotency.is_some();
            if named {
                return Err(invalid(
                    "exactly_once names the write by its id; leave out the names in its options",
                ));
            }
            write.request = Some(name(self.id, self.caller)?);
        }
        Ok(Asked::Node(kind, Box::new(Request::Write(write))))
    }

    /// A transaction that reads only goes through the log too if it has a name or guards.
    fn txn(self, request: v1::TxnRequest) -> Form<Asked> {
        match write::txn(request)? {
            Request::Write(write) => self.write(Kind::Txn, write),
            Request::Read { query: Query::ReadTxn(body), .. }
                if self.exactly_once || !self.guards.is_empty() =>
            {
                self.write(Kind::Txn, Write::of(Command::Txn(body)))
            }
            ask => Ok(Asked::Node(Kind::Txn, Box::new(ask))),
        }
    }

    fn read(self, kind: Kind, ask: Request) -> Form<Asked> {
        self.plain("a read")?;
        Ok(Asked::Node(kind, Box::new(ask)))
    }

    fn close_session(self) -> Form<Asked> {
        self.plain("close_session")?;
        let Some(session) = self.caller.session else {
            return Err(invalid("this stream has no session to close"));
        };
        let close = Write::of(Command::CloseSession { session });
        Ok(Asked::Node(Kind::Close, Box::new(Request::Write(close))))
    }

    /// Neither guards nor a place in the session's window mean anything on this operation.
    fn plain(&self, what: &str) -> Form<()> {
        if self.exactly_once || !self.guards.is_empty() {
            return Err(invalid(format!(
                "{what} has no use for guards or exactly_once; they go with writes"
            )));
        }
        Ok(())
    }
}

/// The name of a session's write.
fn name(id: u64, caller: Caller) -> Form<RequestId> {
    let Some(session) = caller.session else {
        return Err(invalid("exactly_once needs a session; open or attach to one with the first frame"));
    };
    if id == 0 {
        return Err(invalid("the id of an exactly_once write is its sequence, and sequences count from 1"));
    }
    Ok(RequestId { session, sequence: id, acked_up_to: caller.acked_up_to.min(id - 1) })
}
