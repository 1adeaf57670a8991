//! Locks and elections, inwards: what is asked of them.

use super::{Form, invalid, key, known, read, write};
use crate::node::request::{Request, Write};
use oarlock_proto::v1;
use oarlock_state::object::{Acquire, Claim, Held, Mode, ObjectKind, ObjectOp, ObjectQuery, Part};
use oarlock_state::{Command, Query, Revision, SessionId};

/// A write of objects, with its options taken out of it.
pub fn op(request: v1::ObjectOp) -> Form<Write> {
    use v1::object_op::Op;
    match request.op {
        Some(Op::Acquire(request)) => acquire(request),
        Some(Op::Release(request)) => release(request),
        Some(Op::Cancel(request)) => cancel(request),
        Some(Op::Downgrade(request)) => downgrade(request),
        Some(Op::Upgrade(request)) => upgrade(request),
        Some(Op::RequestRevocation(request)) => request_revocation(request),
        Some(Op::Revoke(request)) => revoke(request),
        Some(Op::SetLockDelay(request)) => set_lock_delay(request),
        Some(Op::Proclaim(request)) => proclaim(request),
        Some(Op::Handoff(request)) => handoff(request),
        None => Err(invalid("the object operation is empty, or of a later version")),
    }
}

/// A question about objects.
pub fn query(request: v1::ObjectQuery) -> Form<Request> {
    use v1::object_query::Query;
    match request.query {
        Some(Query::Describe(request)) => describe(request),
        Some(Query::List(request)) => list(request),
        Some(Query::OfSession(request)) => of_session(request),
        Some(Query::Why(request)) => why(request),
        None => Err(invalid("the question about objects is empty, or of a later version")),
    }
}

/// Ask for objects.
pub fn acquire(request: v1::AcquireRequest) -> Form<Write> {
    let op = ObjectOp::Acquire(Acquire {
        parts: request.parts.into_iter().map(part).collect::<Form<_>>()?,
        claim: claim(request.claim, "claim")?,
        wait: request.wait,
        metadata: request.metadata,
        priority: request.priority,
        preempt: request.preempt,
        lock_delay_ms: request.lock_delay_ms,
    });
    write::write(Command::Object(op), request.options)
}

/// Give holds up.
pub fn release(request: v1::ReleaseRequest) -> Form<Write> {
    let holds = request.holds.into_iter().map(|hold| held(Some(hold))).collect::<Form<_>>()?;
    write::write(Command::Object(ObjectOp::Release { holds }), request.options)
}

/// Leave the queue.
pub fn cancel(request: v1::CancelRequest) -> Form<Write> {
    let op = ObjectOp::Cancel { name: key::key(request.name)?, claim: claim(request.claim, "claim")? };
    write::write(Command::Object(op), request.options)
}

/// Share what was exclusive.
pub fn downgrade(request: v1::DowngradeRequest) -> Form<Write> {
    write::write(Command::Object(ObjectOp::Downgrade(held(request.held)?)), request.options)
}

/// Have alone what was shared.
pub fn upgrade(request: v1::UpgradeRequest) -> Form<Write> {
    write::write(Command::Object(ObjectOp::Upgrade(held(request.held)?)), request.options)
}

/// Ask the holders to let go.
pub fn request_revocation(request: v1::RequestRevocationRequest) -> Form<Write> {
    let v1::RequestRevocationRequest { name, by, reason, options } = request;
    let op = ObjectOp::RequestRevocation { name: key::key(name)?, by, reason };
    write::write(Command::Object(op), options)
}

/// Take a place away.
pub fn revoke(request: v1::RevokeRequest) -> Form<Write> {
    let op = ObjectOp::Revoke { name: key::key(request.name)?, claim: claim(request.claim, "claim")? };
    write::write(Command::Object(op), request.options)
}

/// Change a hold's lock-delay.
pub fn set_lock_delay(request: v1::SetLockDelayRequest) -> Form<Write> {
    let v1::SetLockDelayRequest { held: hold, lock_delay_ms, options } = request;
    write::write(Command::Object(ObjectOp::SetLockDelay { held: held(hold)?, lock_delay_ms }), options)
}

/// Change a hold's metadata.
pub fn proclaim(request: v1::ProclaimRequest) -> Form<Write> {
    let v1::ProclaimRequest { held: hold, metadata, options } = request;
    write::write(Command::Object(ObjectOp::Proclaim { held: held(hold)?, metadata }), options)
}

/// Give the lead to a candidate.
pub fn handoff(request: v1::HandoffRequest) -> Form<Write> {
    let op = ObjectOp::Handoff { held: held(request.held)?, to: claim(request.to, "to")? };
    write::write(Command::Object(op), request.options)
}

/// Everything about one object.
pub fn describe(request: v1::DescribeObjectRequest) -> Form<Request> {
    let v1::DescribeObjectRequest { name, skip, limit, options } = request;
    ask(ObjectQuery::Describe { name: key::key(name)?, skip, limit }, options.as_ref())
}

/// The objects under a prefix.
pub fn list(request: v1::ListObjectsRequest) -> Form<Request> {
    let v1::ListObjectsRequest { prefix, after, limit, options } = request;
    let limit = if limit == 0 { u64::MAX } else { limit };
    let query = ObjectQuery::List { prefix: key::prefix(prefix)?, after: key::prefix(after)?, limit };
    ask(query, options.as_ref())
}

/// What a session has.
pub fn of_session(request: v1::ObjectsOfSessionRequest) -> Form<Request> {
    let v1::ObjectsOfSessionRequest { session, request, options } = request;
    ask(ObjectQuery::OfSession { session: super::session::id(session)?, request }, options.as_ref())
}

/// Who waits for whom.
pub fn why(request: v1::WhyRequest) -> Form<Request> {
    ask(ObjectQuery::Why { name: key::key(request.name)? }, request.options.as_ref())
}

fn ask(query: ObjectQuery, options: Option<&v1::ReadOptions>) -> Form<Request> {
    read::read(Query::Object(query), options)
}

fn part(part: v1::ObjectPart) -> Form<Part> {
    Ok(Part { name: key::key(part.name)?, kind: kind(part.kind.as_ref())?, mode: mode(part.mode.as_ref())? })
}

fn kind(kind: Option<&v1::ObjectKind>) -> Form<ObjectKind> {
    use v1::object_kind::Kind;
    let Some(v1::ObjectKind { kind, capacity }) = kind else {
        return Err(invalid("a part has no kind; say whether it is a mutex, a semaphore, or what else"));
    };
    let kind = match known(*kind, "the kind of an object")? {
        Kind::Semaphore => return Ok(ObjectKind::Semaphore { capacity: *capacity }),
        Kind::Mutex => ObjectKind::Mutex,
        Kind::ReadWrite => ObjectKind::ReadWrite,
        Kind::Election => ObjectKind::Election,
    };
    if *capacity != 0 {
        return Err(invalid("a capacity comes with a kind other than a semaphore; leave it out"));
    }
    Ok(kind)
}

/// Without one: exclusive.
fn mode(mode: Option<&v1::HoldMode>) -> Form<Mode> {
    use v1::hold_mode::Mode as Kind;
    let Some(v1::HoldMode { mode, weight }) = mode else { return Ok(Mode::Exclusive) };
    let mode = match known(*mode, "the mode of a hold")? {
        Kind::Weight => return Ok(Mode::Weight(*weight)),
        Kind::Exclusive => Mode::Exclusive,
        Kind::Shared => Mode::Shared,
    };
    if *weight != 0 {
        return Err(invalid("a weight comes with a mode other than WEIGHT; leave it out"));
    }
    Ok(mode)
}

fn claim(claim: Option<v1::Claim>, field: &str) -> Form<Claim> {
    match claim {
        Some(v1::Claim { session, request }) if session != 0 => {
            Ok(Claim { session: SessionId(session), request })
        }
        Some(_) => Err(invalid(format!("the session of `{field}` is 0, which names none"))),
        None => Err(invalid(format!("`{field}` is missing; name a session and a request of it"))),
    }
}

fn held(held: Option<v1::Held>) -> Form<Held> {
    let Some(held) = held else {
        return Err(invalid("the hold is missing; name the object, the claim and its token"));
    };
    if held.token == 0 {
        return Err(invalid("a hold's token is 0; a token is the revision that a grant returned"));
    }
    Ok(Held { name: key::key(held.name)?, claim: claim(held.claim, "claim")?, token: Revision(held.token) })
}
