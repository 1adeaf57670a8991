//! Locks and elections: every operation, question, answer, refusal and event.

use super::{each, message};
use crate::front::native::convert::{object, object_reply, outcome, watch};
use crate::node::request::{Request, Response, WatchFrame};
use bytes::Bytes;
use oarlock_proto::v1;
use oarlock_state::command::{Answer, ReplyBody};
use oarlock_state::event::Keyspace;
use oarlock_state::object::reply::{ObjectInfo, PlaceInfo, PlaceState, Summary, Wait, WaitGraph};
use oarlock_state::object::{
    Acquire, Claim, Fault, Held, Loss, Mode, ObjectError, ObjectEvent, ObjectKind, ObjectOp, ObjectQuery,
    ObjectReply, Part,
};
use oarlock_state::{Cause, Command, Event, EventKind, Index, Query, Reply, Revision, SessionId};
use rand::Rng;
use rand::rngs::StdRng;

fn name(rng: &mut StdRng) -> Bytes {
    (0..rng.random_range(1..6)).map(|_| rng.random_range(1..=255_u8)).collect()
}

fn claim(rng: &mut StdRng) -> Claim {
    Claim { session: SessionId(rng.random_range(1..9)), request: rng.random_range(0..9) }
}

fn kind(rng: &mut StdRng) -> ObjectKind {
    match rng.random_range(0..4) {
        0 => ObjectKind::Mutex,
        1 => ObjectKind::ReadWrite,
        2 => ObjectKind::Semaphore { capacity: rng.random_range(0..9) },
        _ => ObjectKind::Election,
    }
}

fn mode(rng: &mut StdRng) -> Mode {
    match rng.random_range(0..3) {
        0 => Mode::Exclusive,
        1 => Mode::Shared,
        _ => Mode::Weight(rng.random_range(0..9)),
    }
}

fn held(rng: &mut StdRng) -> Held {
    Held { name: name(rng), claim: claim(rng), token: Revision(rng.random_range(1..99)) }
}

fn op(rng: &mut StdRng) -> ObjectOp {
    match rng.random_range(0..10) {
        0 => {
            let count = rng.random_range(0..4);
            let parts =
                (0..count).map(|_| Part { name: name(rng), kind: kind(rng), mode: mode(rng) }).collect();
            ObjectOp::Acquire(Acquire {
                parts,
                claim: claim(rng),
                wait: rng.random(),
                metadata: name(rng),
                priority: rng.random_range(0..9),
                preempt: rng.random(),
                lock_delay_ms: rng.random_range(0..9),
            })
        }
        1 => ObjectOp::Release { holds: (0..rng.random_range(0..3)).map(|_| held(rng)).collect() },
        2 => ObjectOp::Cancel { name: name(rng), claim: claim(rng) },
        3 => ObjectOp::Downgrade(held(rng)),
        4 => ObjectOp::Upgrade(held(rng)),
        5 => ObjectOp::RequestRevocation { name: name(rng), by: "ops".into(), reason: "upgrade".into() },
        6 => ObjectOp::Revoke { name: name(rng), claim: claim(rng) },
        7 => ObjectOp::SetLockDelay { held: held(rng), lock_delay_ms: rng.random_range(0..9) },
        8 => ObjectOp::Proclaim { held: held(rng), metadata: name(rng) },
        _ => ObjectOp::Handoff { held: held(rng), to: claim(rng) },
    }
}

/// The conversions that only clients need, in the other direction.
mod back {
    use super::*;

    pub fn claim(claim: Claim) -> Option<v1::Claim> {
        Some(v1::Claim { session: claim.session.get(), request: claim.request })
    }

    pub fn held(held: &Held) -> v1::Held {
        v1::Held { name: held.name.clone(), claim: claim(held.claim), token: held.token.get() }
    }

    fn part(part: &Part) -> v1::ObjectPart {
        let (kind, capacity) = match part.kind {
            ObjectKind::Mutex => (v1::object_kind::Kind::Mutex, 0),
            ObjectKind::ReadWrite => (v1::object_kind::Kind::ReadWrite, 0),
            ObjectKind::Semaphore { capacity } => (v1::object_kind::Kind::Semaphore, capacity),
            ObjectKind::Election => (v1::object_kind::Kind::Election, 0),
        };
        let (mode, weight) = match part.mode {
            Mode::Exclusive => (v1::hold_mode::Mode::Exclusive, 0),
            Mode::Shared => (v1::hold_mode::Mode::Shared, 0),
            Mode::Weight(weight) => (v1::hold_mode::Mode::Weight, weight),
        };
        v1::ObjectPart {
            name: part.name.clone(),
            kind: Some(v1::ObjectKind { kind: kind.into(), capacity }),
            mode: Some(v1::HoldMode { mode: mode.into(), weight }),
        }
    }

    pub fn op(op: &ObjectOp) -> v1::ObjectOp {
        use v1::object_op::Op;
        let options = None;
        let op = match op.clone() {
            ObjectOp::Acquire(acquire) => Op::Acquire(v1::AcquireRequest {
                parts: acquire.parts.iter().map(part).collect(),
                claim: claim(acquire.claim),
                wait: acquire.wait,
                metadata: acquire.metadata,
                priority: acquire.priority,
                preempt: acquire.preempt,
                lock_delay_ms: acquire.lock_delay_ms,
                options,
            }),
            ObjectOp::Release { holds } => {
                Op::Release(v1::ReleaseRequest { holds: holds.iter().map(held).collect(), options })
            }
            ObjectOp::Cancel { name, claim: who } => {
                Op::Cancel(v1::CancelRequest { name, claim: claim(who), options })
            }
            ObjectOp::Downgrade(hold) => {
                Op::Downgrade(v1::DowngradeRequest { held: Some(held(&hold)), options })
            }
            ObjectOp::Upgrade(hold) => Op::Upgrade(v1::UpgradeRequest { held: Some(held(&hold)), options }),
            ObjectOp::RequestRevocation { name, by, reason } => {
                Op::RequestRevocation(v1::RequestRevocationRequest { name, by, reason, options })
            }
            ObjectOp::Revoke { name, claim: who } => {
                Op::Revoke(v1::RevokeRequest { name, claim: claim(who), options })
            }
            ObjectOp::SetLockDelay { held: hold, lock_delay_ms } => {
                Op::SetLockDelay(v1::SetLockDelayRequest { held: Some(held(&hold)), lock_delay_ms, options })
            }
            ObjectOp::Proclaim { held: hold, metadata } => {
                Op::Proclaim(v1::ProclaimRequest { held: Some(held(&hold)), metadata, options })
            }
            ObjectOp::Handoff { held: hold, to } => {
                Op::Handoff(v1::HandoffRequest { held: Some(held(&hold)), to: claim(to), options })
            }
            ObjectOp::Elapse => panic!("only the leader proposes it"),
        };
        v1::ObjectOp { op: Some(op) }
    }
}

#[test]
fn operations_arrive_as_sent() {
    each(|rng| {
        let sent = op(rng);
        let arrived = object::op(back::op(&sent)).expect("well formed");
        assert_eq!(arrived.command, Command::Object(sent));
    });
}

#[test]
fn an_operation_keeps_what_goes_with_every_write() {
    let guard = v1::Guard { scope: Some(v1::guard::Scope::Lock(Bytes::from("a"))), token: 4 };
    let options = v1::WriteOptions { guards: vec![guard], timeout_ms: 9, ..Default::default() };
    let claim = Some(v1::Claim { session: 7, request: 1 });
    let cancel = v1::CancelRequest { name: Bytes::from("b"), claim, options: Some(options) };
    let write = object::cancel(cancel).expect("well formed");
    assert_eq!((write.guards.len(), write.timeout_ms), (1, 9));
}

#[test]
fn questions_arrive_as_sent() {
    let asked = |query: v1::object_query::Query| {
        let query = v1::ObjectQuery { query: Some(query) };
        match object::query(query).expect("well formed") {
            Request::Read { query: Query::Object(query), .. } => query,
            other => panic!("{other:?} is no question about objects"),
        }
    };
    use v1::object_query::Query as Ask;
    let name = Bytes::from("a");
    let describe = v1::DescribeObjectRequest { name: name.clone(), skip: 2, limit: 3, options: None };
    let described = ObjectQuery::Describe { name: name.clone(), skip: 2, limit: 3 };
    assert_eq!(asked(Ask::Describe(describe)), described);
    let list = v1::ListObjectsRequest { after: name.clone(), ..Default::default() };
    let listed = ObjectQuery::List { prefix: Bytes::new(), after: name.clone(), limit: u64::MAX };
    assert_eq!(asked(Ask::List(list)), listed);
    for request in [None, Some(0), Some(4)] {
        let of = v1::ObjectsOfSessionRequest { session: 7, request, options: None };
        assert_eq!(asked(Ask::OfSession(of)), ObjectQuery::OfSession { session: SessionId(7), request });
    }
    let why = v1::WhyRequest { name: name.clone(), options: None };
    assert_eq!(asked(Ask::Why(why)), ObjectQuery::Why { name });
}

#[test]
fn what_is_missing_or_makes_no_sense_is_said() {
    use v1::object_op::Op;
    let refused = |op| message(object::op(v1::ObjectOp { op: Some(op) }).expect_err("malformed"));
    let claim = Some(v1::Claim { session: 7, request: 1 });
    let name = Bytes::from("a");
    let part = |kind, mode| v1::ObjectPart { name: name.clone(), kind, mode };
    let acquire =
        |part| Op::Acquire(v1::AcquireRequest { parts: vec![part], claim, ..v1::AcquireRequest::default() });
    assert!(message(object::op(v1::ObjectOp { op: None }).expect_err("empty")).contains("empty"));
    assert!(refused(acquire(part(None, None))).contains("kind"));
    let odd = Some(v1::ObjectKind { kind: 77, capacity: 0 });
    assert!(refused(acquire(part(odd, None))).contains("77"));
    let wide = Some(v1::ObjectKind { kind: v1::object_kind::Kind::Mutex.into(), capacity: 3 });
    assert!(refused(acquire(part(wide, None))).contains("capacity"));
    let mutex = Some(v1::ObjectKind::default());
    let heavy = Some(v1::HoldMode { weight: 2, ..v1::HoldMode::default() });
    assert!(refused(acquire(part(mutex, heavy))).contains("weight"));
    let nobody = v1::CancelRequest { name: name.clone(), ..Default::default() };
    assert!(refused(Op::Cancel(nobody)).contains("claim"));
    let zero = v1::Held { name, claim, token: 0 };
    assert!(refused(Op::Upgrade(v1::UpgradeRequest { held: Some(zero), options: None })).contains("token"));
    assert!(refused(Op::Downgrade(v1::DowngradeRequest::default())).contains("hold"));
}

fn written(body: ReplyBody) -> Response {
    Response::Written(Reply { revision: Revision(5), index: Index(6), repeated: false, body })
}

#[test]
fn grants_and_tickets_leave_also_when_they_are_remembered() {
    use v1::object_result::Result as Kind;
    let granted = ObjectReply::Granted { token: Revision(5) };
    let response = object_reply::written(written(ReplyBody::Object(granted.clone()))).expect("a grant");
    let Some(Kind::Granted(sent)) = response.result.and_then(|result| result.result) else {
        panic!("a grant")
    };
    assert_eq!((sent.token, response.header.map(|header| header.revision)), (5, Some(5)));
    let queued = ObjectReply::Queued { ticket: Revision(4), ahead: vec![(Bytes::from("a"), 3)] };
    let result = object_reply::result(queued).expect("a place").result;
    let Some(Kind::Queued(sent)) = result else { panic!("a place in the queue") };
    assert_eq!((sent.ticket, sent.ahead[0].waiters), (4, 3));
    assert_eq!(object_reply::result(ObjectReply::Done).expect("done").result, None);

    let body = ReplyBody::Object(granted);
    let remembered = Reply { revision: Revision(5), index: Index(6), repeated: true, body };
    let outcome = outcome::outcome(Ok(remembered));
    let Some(v1::outcome::Result::Object(result)) = outcome.result else { panic!("an object's outcome") };
    assert!(matches!(result.result, Some(Kind::Granted(granted)) if granted.token == 5));
    assert!(object_reply::written(written(ReplyBody::Done)).is_err(), "not an object's answer");
    assert!(object_reply::result(ObjectReply::NextDue(None)).is_err(), "not an operation's answer");
}

#[test]
fn answers_leave_whole() {
    use v1::object_answer::Answer as Sent;
    let who = Claim { session: SessionId(7), request: 1 };
    let place = |state| PlaceInfo {
        claim: who,
        mode: Mode::Weight(2),
        ticket: Revision(3),
        since_ms: 4,
        priority: 5,
        metadata: Bytes::from("m"),
        lock_delay_ms: 6,
        together_with: vec![Bytes::from("a"), Bytes::from("b")],
        state,
    };
    let summary = Summary {
        name: Bytes::from("a"),
        kind: ObjectKind::Semaphore { capacity: 9 },
        created: Revision(1),
        used: 2,
        holders: 3,
        withheld: 4,
        waiters: 5,
    };
    let answered = |reply| {
        let answer = Answer::Object(reply);
        let response = Response::Answer { answer, revision: Revision(8), index: 9 };
        let sent = object_reply::answered(response).expect("an answer");
        assert_eq!(sent.header.map(|header| header.revision), Some(8));
        sent.answer.expect("set")
    };
    let holding = PlaceState::Holding { token: Revision(11), granted_ms: 12 };
    let info = ObjectInfo {
        summary: summary.clone(),
        holders: vec![place(holding)],
        withheld: vec![place(PlaceState::Withheld { until_ms: 13 })],
        queue: vec![place(PlaceState::Waiting { position: 14 })],
        more: true,
    };
    let Sent::Described(sent) = answered(ObjectReply::Described(info)) else { panic!("an object") };
    let state = |places: &[v1::ObjectPlace]| places[0].state.and_then(|state| state.state);
    use v1::place_state::State;
    assert!(matches!(state(&sent.holders), Some(State::Holding(of)) if of.token == 11));
    assert!(matches!(state(&sent.withheld), Some(State::Withheld(of)) if of.until_unix_ms == 13));
    assert!(matches!(state(&sent.queue), Some(State::Waiting(of)) if of.position == 14));
    let first = &sent.holders[0];
    assert_eq!((first.ticket, first.since_unix_ms, first.priority, first.lock_delay_ms), (3, 4, 5, 6));
    assert_eq!((first.together_with.len(), &first.metadata[..]), (2, &b"m"[..]));
    assert!(sent.more);

    let listed = ObjectReply::Listed { objects: vec![summary], more: true };
    let Sent::Listed(sent) = answered(listed) else { panic!("a list") };
    let one = &sent.objects[0];
    assert_eq!((one.created, one.used, one.holders, one.withheld, one.waiters), (1, 2, 3, 4, 5));
    assert_eq!(one.kind.map(|kind| kind.capacity), Some(9));
    let places = vec![(Bytes::from("a"), place(holding))];
    let Sent::OfSession(sent) = answered(ObjectReply::OfSession { places, more: false }) else {
        panic!("places")
    };
    assert_eq!(&sent.places[0].name[..], b"a");
    let edge = Wait { name: Bytes::from("a"), waiter: who, blocker: who, state: holding };
    let graph = WaitGraph { edges: vec![edge], circles: vec![vec![SessionId(7)]], more: true };
    let Sent::Why(sent) = answered(ObjectReply::Why(graph)) else { panic!("a graph") };
    assert_eq!((sent.edges.len(), &sent.circles[0].sessions[..], sent.more), (1, &[7][..], true));
}

#[test]
fn refusals_have_a_reason_for_programs() {
    use v1::object_refusal::Reason;
    let (name, claim) = (Bytes::from("a"), Claim { session: SessionId(7), request: 1 });
    let (token, exists) = (Revision(9), ObjectKind::ReadWrite);
    let cases = [
        (ObjectError::BadRequest { fault: Fault::Mode }, Reason::BadRequest),
        (ObjectError::Mismatch { name: name.clone(), exists, asked: ObjectKind::Mutex }, Reason::Mismatch),
        (ObjectError::Busy { name: name.clone() }, Reason::Taken),
        (ObjectError::QueueFull { name: name.clone() }, Reason::QueueFull),
        (ObjectError::ClaimInUse { name: name.clone(), claim }, Reason::ClaimInUse),
        (ObjectError::NotHeld { name: name.clone(), claim, token }, Reason::NotHeld),
        (ObjectError::NotWaiting { name: name.clone(), claim }, Reason::NotWaiting),
        (ObjectError::AlreadyGranted { name: name.clone(), claim, token }, Reason::AlreadyGranted),
        (ObjectError::NotFound { name: name.clone() }, Reason::NobodyHolds),
        (ObjectError::Shared { name: name.clone() }, Reason::NotAlone),
        (ObjectError::WrongKind { name: name.clone(), kind: exists }, Reason::WrongKind),
        (ObjectError::NotCandidate { name: name.clone(), claim }, Reason::NotCandidate),
    ];
    for (error, reason) in cases {
        let sent = object_reply::refusal(&error);
        assert_eq!(sent.reason(), reason, "{error:?}");
        assert!(reason == Reason::BadRequest || sent.name == name, "{error:?}");
        let has_token = matches!(reason, Reason::NotHeld | Reason::AlreadyGranted);
        assert_eq!(sent.token, if has_token { 9 } else { 0 }, "{error:?}");
    }
}

#[test]
fn a_watch_of_an_object_carries_its_events_and_nothing_of_keys() {
    let create = v1::WatchCreate {
        object: Bytes::from("a"),
        start_revision: 4,
        want_progress: true,
        ..v1::WatchCreate::default()
    };
    let spec = watch::spec(create.clone()).expect("well formed");
    assert_eq!((spec.keyspace, spec.start, spec.want_progress), (Keyspace::Object, Revision(4), true));
    let both = v1::WatchCreate { resync: true, ..create };
    assert!(message(watch::spec(both).expect_err("a resync of an object")).contains("resync"));

    let claim = Claim { session: SessionId(7), request: 1 };
    let (ticket, token, priority) = (Revision(3), Revision(5), 6);
    let (mode, metadata) = (Mode::Shared, Bytes::from("m"));
    let (by, reason) = ("ops".to_owned(), "upgrade".to_owned());
    let lost = ObjectEvent::Lost { claim, token, loss: Loss::Revoked, withheld_until_ms: 8 };
    let what = [
        ObjectEvent::Queued { claim, ticket, priority },
        ObjectEvent::Granted { claim, ticket, priority, mode, metadata: metadata.clone() },
        ObjectEvent::Left { claim, ticket, priority },
        lost,
        ObjectEvent::Changed { claim, token, mode },
        ObjectEvent::Proclaimed { claim, token, metadata },
        ObjectEvent::RevocationRequested { by, reason },
        ObjectEvent::Elapsed { claim, ticket },
        ObjectEvent::Vacant,
    ];
    let events = what.into_iter().zip(0..).map(|(event, sub)| Event {
        keyspace: Keyspace::Object,
        revision: Revision(5),
        sub,
        key: Bytes::from("a"),
        kind: EventKind::Object(event),
        cause: Cause::Admin,
        session: SessionId(8),
        previous: None,
    });
    let frame = WatchFrame::Events { events: events.collect(), previous: Vec::new(), through: Revision(5) };
    let sent = watch::frame(3, frame, |_| panic!("nothing was refused"));
    let Some(v1::watch_frame::Kind::Events(sent)) = sent.kind else { panic!("events") };
    assert!(sent.events.is_empty() && sent.through_revision == 5);
    let kinds: Vec<String> = sent.objects.iter().map(|event| format!("{:?}", event.event)).collect();
    assert_eq!(kinds.len(), 9);
    let first = &sent.objects[0];
    assert_eq!((&first.name[..], first.revision, first.session), (&b"a"[..], 5, 8));
    assert_eq!(first.cause(), v1::watch_event::Cause::Admin);
    let Some(v1::object_event::Event::Lost(lost)) = &sent.objects[3].event else { panic!("a loss") };
    assert_eq!((lost.token, lost.withheld_until_unix_ms), (5, 8));
    assert_eq!(lost.loss(), v1::object_event::Loss::Revoked);
}
