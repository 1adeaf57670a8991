//! Once its end was acknowledged, a session is gone for ever: no keep-alive of it succeeds, and no
//! write in its name is executed.
//!
//! Sources: `reliability.md` 1.5, item 5 ("after revoke or expire no keepalive may succeed"); etcd
//! issue 20616 (a keep-alive succeeded after a revocation); ZOOKEEPER-2355.

use super::{Checked, Violation};
use crate::history::{Fate, Operation, Time};
use oarlock_server::node::request::{Request, Response};
use oarlock_state::Command;
use std::collections::BTreeMap;

/// Judges what was asked after a session's end was acknowledged.
///
/// # Errors
/// A keep-alive, or a write of the session, that was begun after the end and succeeded.
pub fn check(history: &[Operation]) -> Checked {
    let mut ended: BTreeMap<u64, Time> = BTreeMap::new();
    for operation in history {
        if let (Some(Command::CloseSession { session }), Fate::Done(_), Some(returned)) =
            (operation.write().map(|write| &write.command), &operation.fate, operation.returned)
        {
            let first = ended.entry(session.get()).or_insert(returned);
            *first = returned.min(*first);
        }
    }
    let is_late =
        |session: u64, operation: &Operation| ended.get(&session).is_some_and(|at| operation.invoked > *at);
    for operation in history {
        let wrong = match (&operation.request, &operation.fate) {
            (Request::KeepAlive { session }, Fate::Done(Response::Alive { .. })) => {
                is_late(session.get(), operation)
            }
            (Request::Write(write), Fate::Done(Response::Written(reply))) if !reply.repeated => {
                write.request.is_some_and(|name| is_late(name.session.get(), operation))
            }
            _ => false,
        };
        if wrong {
            let what =
                format!("after the end of its session was acknowledged, this succeeded: {operation:?}");
            return Err(Violation::new("session_stays_gone", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_server::node::request::Write;
    use oarlock_state::command::ReplyBody;
    use oarlock_state::{Index, Reply, RequestId, Revision, SessionId};

    fn operation(invoked: Time, returned: Time, request: Request, response: Response) -> Operation {
        let fate = Fate::Done(response);
        Operation {
            number: 1,
            client: 1,
            node: 1,
            invoked,
            returned: Some(returned),
            request,
            attempts: 1,
            fate,
        }
    }

    fn written(repeated: bool) -> Response {
        let (revision, index) = (Revision(2), Index(2));
        Response::Written(Reply { revision, index, repeated, body: ReplyBody::Done })
    }

    #[test]
    fn life_after_the_end_is_found() {
        let session = SessionId(5);
        let close = Request::Write(Write::of(Command::CloseSession { session }));
        let closed = operation(10, 20, close, written(false));
        let alive = |at| {
            let response = Response::Alive { valid_for_ms: 1 };
            operation(at, at + 50, Request::KeepAlive { session }, response)
        };
        assert!(check(&[closed.clone(), alive(20)]).is_ok(), "it overlapped the end");
        assert!(check(&[closed.clone(), alive(21)]).is_err());
        let name = RequestId { session, sequence: 1, acked_up_to: 0 };
        let write = |repeated| {
            let write = Write { request: Some(name), ..Write::of(Command::Txn(Default::default())) };
            operation(30, 40, Request::Write(write), written(repeated))
        };
        assert!(check(&[closed.clone(), write(true)]).is_ok(), "the outcome of before the end");
        assert!(check(&[closed, write(false)]).is_err());
    }
}
