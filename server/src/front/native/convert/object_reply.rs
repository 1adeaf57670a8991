//! Locks and elections, outwards: answers, refusals and events.

use super::outcome::{Out, answer, unexpected, written_header};
use crate::front::native::errors;
use crate::node::request::Response;
use bytes::Bytes;
use oarlock_proto::v1;
use oarlock_state::command::{Answer, ReplyBody};
use oarlock_state::event::Event;
use oarlock_state::object::reply::{ObjectInfo, PlaceInfo, PlaceState, Summary, Wait, WaitGraph};
use oarlock_state::object::{Claim, Loss, Mode, ObjectError, ObjectEvent, ObjectKind, ObjectReply};

/// The answer to a write of objects.
pub fn written(response: Response) -> Out<v1::ObjectResponse> {
    match response {
        Response::Written(reply) => {
            let header = Some(written_header(&reply));
            match reply.body {
                ReplyBody::Object(reply) => Ok(v1::ObjectResponse { header, result: Some(result(reply)?) }),
                _ => Err(errors::internal("an operation of an object was answered with something else")),
            }
        }
        other => Err(unexpected("an operation of an object", &other)),
    }
}

/// What an operation came to.
pub fn result(reply: ObjectReply) -> Out<v1::ObjectResult> {
    use v1::object_result::{Ahead, Granted, Queued, Result};
    let result = match reply {
        ObjectReply::Done => None,
        ObjectReply::Granted { token } => Some(Result::Granted(Granted { token: token.get() })),
        ObjectReply::Queued { ticket, ahead } => {
            let one = |(name, waiters)| Ahead { name, waiters };
            let ahead = ahead.into_iter().map(one).collect();
            Some(Result::Queued(Queued { ticket: ticket.get(), ahead }))
        }
        ObjectReply::Described(_)
        | ObjectReply::Listed { .. }
        | ObjectReply::OfSession { .. }
        | ObjectReply::Why(_)
        | ObjectReply::NextDue(_) => {
            return Err(errors::internal("an operation of an object was answered like a question"));
        }
    };
    Ok(v1::ObjectResult { result })
}

/// The answer to a question about objects.
pub fn answered(response: Response) -> Out<v1::ObjectAnswer> {
    use v1::object_answer::{Answer as Kind, Objects, Places};
    let (header, reply) = match answer(response, "a question about objects")? {
        (header, Answer::Object(reply)) => (header, reply),
        _ => return Err(errors::internal("a question about objects was answered with something else")),
    };
    let answer = match reply {
        ObjectReply::Described(object) => Kind::Described(info(object)),
        ObjectReply::Listed { objects, more } => {
            Kind::Listed(Objects { objects: objects.into_iter().map(summary).collect(), more })
        }
        ObjectReply::OfSession { places, more } => {
            Kind::OfSession(Places { places: places.into_iter().map(named).collect(), more })
        }
        ObjectReply::Why(graph) => Kind::Why(waits(graph)),
        ObjectReply::Done
        | ObjectReply::Granted { .. }
        | ObjectReply::Queued { .. }
        | ObjectReply::NextDue(_) => {
            return Err(errors::internal("a question about objects was answered like an operation"));
        }
    };
    Ok(v1::ObjectAnswer { header: Some(header), answer: Some(answer) })
}

/// Why an object said no.
pub fn refusal(error: &ObjectError) -> v1::ObjectRefusal {
    use v1::object_refusal::Reason;
    let of = |reason: Reason, name: &Bytes| v1::ObjectRefusal {
        reason: reason.into(),
        name: name.clone(),
        ..v1::ObjectRefusal::default()
    };
    let by = |reason, name, one: &Claim| v1::ObjectRefusal { claim: Some(claim(*one)), ..of(reason, name) };
    match error {
        ObjectError::BadRequest { .. } => of(Reason::BadRequest, &Bytes::new()),
        ObjectError::Mismatch { name, exists, .. } => {
            v1::ObjectRefusal { exists: Some(kind(*exists)), ..of(Reason::Mismatch, name) }
        }
        ObjectError::Busy { name } => of(Reason::Taken, name),
        ObjectError::QueueFull { name } => of(Reason::QueueFull, name),
        ObjectError::ClaimInUse { name, claim } => by(Reason::ClaimInUse, name, claim),
        ObjectError::NotHeld { name, claim, token } => {
            v1::ObjectRefusal { token: token.get(), ..by(Reason::NotHeld, name, claim) }
        }
        ObjectError::NotWaiting { name, claim } => by(Reason::NotWaiting, name, claim),
        ObjectError::AlreadyGranted { name, claim, token } => {
            v1::ObjectRefusal { token: token.get(), ..by(Reason::AlreadyGranted, name, claim) }
        }
        ObjectError::NotFound { name } => of(Reason::NobodyHolds, name),
        ObjectError::Shared { name } => of(Reason::NotAlone, name),
        ObjectError::WrongKind { name, kind: exists } => {
            v1::ObjectRefusal { exists: Some(kind(*exists)), ..of(Reason::WrongKind, name) }
        }
        ObjectError::NotCandidate { name, claim } => by(Reason::NotCandidate, name, claim),
    }
}

/// Something that happened to an object. `around` is the event that says it.
pub fn event(around: Event, what: ObjectEvent) -> v1::ObjectEvent {
    use v1::object_event::{
        Changed, Elapsed, Event as Kind, Granted, Left, Lost, Proclaimed, Queued, RevocationRequested,
    };
    let kind = match what {
        ObjectEvent::Queued { claim: one, ticket, priority } => {
            Kind::Queued(Queued { claim: Some(claim(one)), ticket: ticket.get(), priority })
        }
        ObjectEvent::Granted { claim: one, ticket, priority, mode: how, metadata } => {
            let (claim, ticket, mode) = (Some(claim(one)), ticket.get(), Some(mode(how)));
            Kind::Granted(Granted { claim, ticket, priority, mode, metadata })
        }
        ObjectEvent::Left { claim: one, ticket, priority } => {
            Kind::Left(Left { claim: Some(claim(one)), ticket: ticket.get(), priority })
        }
        ObjectEvent::Lost { claim: one, token, loss: why, withheld_until_ms } => Kind::Lost(Lost {
            claim: Some(claim(one)),
            token: token.get(),
            loss: loss(why).into(),
            withheld_until_unix_ms: withheld_until_ms,
        }),
        ObjectEvent::Changed { claim: one, token, mode: how } => {
            Kind::Changed(Changed { claim: Some(claim(one)), token: token.get(), mode: Some(mode(how)) })
        }
        ObjectEvent::Proclaimed { claim: one, token, metadata } => {
            Kind::Proclaimed(Proclaimed { claim: Some(claim(one)), token: token.get(), metadata })
        }
        ObjectEvent::RevocationRequested { by, reason } => {
            Kind::RevocationRequested(RevocationRequested { by, reason })
        }
        ObjectEvent::Elapsed { claim: one, ticket } => {
            Kind::Elapsed(Elapsed { claim: Some(claim(one)), ticket: ticket.get() })
        }
        ObjectEvent::Vacant => Kind::Vacant(true),
    };
    v1::ObjectEvent {
        name: around.key,
        revision: around.revision.get(),
        cause: super::watch::cause(around.cause).into(),
        session: around.session.get(),
        event: Some(kind),
    }
}

fn loss(loss: Loss) -> v1::object_event::Loss {
    match loss {
        Loss::Released => v1::object_event::Loss::Released,
        Loss::Expired => v1::object_event::Loss::Expired,
        Loss::Closed => v1::object_event::Loss::Closed,
        Loss::Revoked => v1::object_event::Loss::Revoked,
        Loss::Preempted => v1::object_event::Loss::Preempted,
        Loss::HandedOff => v1::object_event::Loss::HandedOff,
    }
}

fn claim(claim: Claim) -> v1::Claim {
    v1::Claim { session: claim.session.get(), request: claim.request }
}

fn kind(kind: ObjectKind) -> v1::ObjectKind {
    use v1::object_kind::Kind;
    let (kind, capacity) = match kind {
        ObjectKind::Mutex => (Kind::Mutex, 0),
        ObjectKind::ReadWrite => (Kind::ReadWrite, 0),
        ObjectKind::Semaphore { capacity } => (Kind::Semaphore, capacity),
        ObjectKind::Election => (Kind::Election, 0),
    };
    v1::ObjectKind { kind: kind.into(), capacity }
}

fn mode(mode: Mode) -> v1::HoldMode {
    use v1::hold_mode::Mode as Kind;
    let (mode, weight) = match mode {
        Mode::Exclusive => (Kind::Exclusive, 0),
        Mode::Shared => (Kind::Shared, 0),
        Mode::Weight(weight) => (Kind::Weight, weight),
    };
    v1::HoldMode { mode: mode.into(), weight }
}

fn summary(summary: Summary) -> v1::ObjectSummary {
    v1::ObjectSummary {
        name: summary.name,
        kind: Some(kind(summary.kind)),
        created: summary.created.get(),
        used: summary.used,
        holders: summary.holders,
        withheld: summary.withheld,
        waiters: summary.waiters,
    }
}

fn info(info: ObjectInfo) -> v1::ObjectInfo {
    let places = |places: Vec<PlaceInfo>| places.into_iter().map(place).collect();
    v1::ObjectInfo {
        summary: Some(summary(info.summary)),
        holders: places(info.holders),
        withheld: places(info.withheld),
        queue: places(info.queue),
        more: info.more,
    }
}

fn named((name, info): (Bytes, PlaceInfo)) -> v1::NamedPlace {
    v1::NamedPlace { name, place: Some(place(info)) }
}

fn place(place: PlaceInfo) -> v1::ObjectPlace {
    v1::ObjectPlace {
        claim: Some(claim(place.claim)),
        mode: Some(mode(place.mode)),
        ticket: place.ticket.get(),
        since_unix_ms: place.since_ms,
        priority: place.priority,
        metadata: place.metadata,
        lock_delay_ms: place.lock_delay_ms,
        together_with: place.together_with,
        state: Some(state(place.state)),
    }
}

fn state(state: PlaceState) -> v1::PlaceState {
    use v1::place_state::{Holding, State, Waiting, Withheld};
    let state = match state {
        PlaceState::Waiting { position } => State::Waiting(Waiting { position }),
        PlaceState::Holding { token, granted_ms } => {
            State::Holding(Holding { token: token.get(), granted_unix_ms: granted_ms })
        }
        PlaceState::Withheld { until_ms } => State::Withheld(Withheld { until_unix_ms: until_ms }),
    };
    v1::PlaceState { state: Some(state) }
}

fn waits(graph: WaitGraph) -> v1::WaitGraph {
    use v1::wait_graph::{Circle, Wait as Edge};
    let edge = |wait: Wait| Edge {
        name: wait.name,
        waiter: Some(claim(wait.waiter)),
        blocker: Some(claim(wait.blocker)),
        state: Some(state(wait.state)),
    };
    let circle = |sessions: Vec<oarlock_state::SessionId>| Circle {
        sessions: sessions.into_iter().map(oarlock_state::SessionId::get).collect(),
    };
    v1::WaitGraph {
        edges: graph.edges.into_iter().map(edge).collect(),
        circles: graph.circles.into_iter().map(circle).collect(),
        more: graph.more,
    }
}
