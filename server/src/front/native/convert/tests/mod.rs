//! Conversions, checked on many random values: what the node is asked is exactly what was sent.

mod object;
mod pools;
mod random;
mod reverse;

use super::{key, member, outcome, range, read, session, txn, watch, write};
use crate::node::request::{Consistency, Refusal, Request, Response, WatchFrame};
use bytes::Bytes;
use oarlock_proto::v1;
use oarlock_state::command::{Answer, Guard, KeyRange, KvOp, Put, RangeReply, ReplyBody, TokenScope};
use oarlock_state::event::Keyspace;
use oarlock_state::limits::{KEY_BYTES_MAX, TXN_DEPTH_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX};
use oarlock_state::{Cause, Command, Event, EventKind, Index, Reply, Revision, SessionId};
use rand::SeedableRng;
use rand::rngs::StdRng;

const ROUNDS: u64 = 2000;

fn each(mut check: impl FnMut(&mut StdRng)) {
    for seed in 0..ROUNDS {
        check(&mut StdRng::seed_from_u64(seed));
    }
}

fn message(refusal: Refusal) -> String {
    assert!(matches!(refusal, Refusal::Invalid { .. }), "malformed messages are `Invalid`: {refusal:?}");
    refusal.to_string()
}

#[test]
fn transactions_arrive_as_sent() {
    each(|rng| {
        let sent = random::txn(rng, 1);
        let arrived = txn::txn(reverse::txn(&sent)).expect("well formed");
        assert_eq!(arrived, sent);
    });
}

#[test]
fn ranges_arrive_as_sent() {
    each(|rng| {
        let sent = random::range_query(rng);
        assert_eq!(range::query(&reverse::range_query(&sent)), Ok(sent));
    });
}

#[test]
fn guards_arrive_as_sent() {
    let name = Bytes::from("n");
    for scope in [TokenScope::Key, TokenScope::Node, TokenScope::Lock, TokenScope::Election] {
        let scope = scope(name.clone());
        let sent = Guard { scope, token: Revision(7) };
        assert_eq!(key::guards(vec![reverse::guard(&sent)]), Ok(vec![sent]));
    }
}

#[test]
fn a_single_put_is_a_transaction_of_one_operation() {
    let request = v1::PutRequest {
        key: Bytes::from("a"),
        value: Bytes::from("b"),
        options: Some(v1::WriteOptions {
            request: Some(v1::RequestId { session: 9, sequence: 3, acked_up_to: 2 }),
            timeout_ms: 50,
            ..v1::WriteOptions::default()
        }),
        ..v1::PutRequest::default()
    };
    let write = write::put(request).expect("well formed");
    assert_eq!(write.timeout_ms, 50);
    assert_eq!(write.request.map(|id| (id.session, id.sequence, id.acked_up_to)), Some((SessionId(9), 3, 2)));
    let put = Put { key: Bytes::from("a"), value: Bytes::from("b"), ..Put::default() };
    let Command::Txn(body) = write.command else { panic!("a put is a transaction") };
    assert_eq!(body.then, vec![KvOp::Put(put)]);
}

#[test]
fn bounds_are_named() {
    let long = Bytes::from(vec![b'k'; KEY_BYTES_MAX + 1]);
    assert!(message(key::key(long).expect_err("too long")).contains("16384"));
    assert!(message(key::key(Bytes::new()).expect_err("empty")).contains("empty"));
    let large = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    assert!(message(key::value(large).expect_err("too large")).contains("1572864"));
    assert!(message(key::range(None).expect_err("missing")).contains("missing"));

    let many = v1::Txn { then: vec![reverse::op(&random::a_put()); TXN_OPS_MAX + 1], ..v1::Txn::default() };
    assert!(message(txn::txn(many).expect_err("too many")).contains("1024"));
    let mut deep = v1::Txn::default();
    for _ in 0..TXN_DEPTH_MAX {
        deep = v1::Txn { then: vec![v1::Op { op: Some(v1::op::Op::Txn(deep)) }], ..v1::Txn::default() };
    }
    assert!(message(txn::txn(deep).expect_err("too deep")).contains("deep"));
}

#[test]
fn what_is_missing_or_unknown_is_said() {
    let no_op = v1::Txn { then: vec![v1::Op { op: None }], ..v1::Txn::default() };
    assert!(message(txn::txn(no_op).expect_err("empty operation")).contains("empty"));
    let odd = v1::ReadOptions { consistency: 77, ..v1::ReadOptions::default() };
    assert!(message(read::consistency(Some(&odd)).expect_err("unknown")).contains("77"));
    let itself = v1::RequestId { session: 1, sequence: 4, acked_up_to: 4 };
    let options = v1::WriteOptions { request: Some(itself), ..v1::WriteOptions::default() };
    let refused = write::write(Command::Compact { revision: Revision(1) }, Some(options));
    assert!(message(refused.expect_err("acknowledges itself")).contains("itself"));
    assert!(message(session::secret(b"short").expect_err("short")).contains("16"));
    assert!(message(member::peer_urls(vec!["nonsense".into()]).expect_err("no URL")).contains("http://"));
}

#[test]
fn a_transaction_that_only_reads_is_a_read_unless_it_has_a_name() {
    let get = KvOp::Range(oarlock_state::command::RangeQuery::of(KeyRange::Key(Bytes::from("a"))));
    let body = v1::Txn { then: vec![reverse::op(&get)], ..v1::Txn::default() };
    let request = v1::TxnRequest { txn: Some(body), ..v1::TxnRequest::default() };
    assert!(matches!(
        write::txn(request.clone()),
        Ok(Request::Read { consistency: Consistency::Linearizable, .. })
    ));
    let name = v1::RequestId { session: 1, sequence: 1, acked_up_to: 0 };
    let options = v1::WriteOptions { request: Some(name), ..v1::WriteOptions::default() };
    let named = v1::TxnRequest { options: Some(options), ..request };
    assert!(matches!(write::txn(named), Ok(Request::Write(_))));
}

#[test]
fn records_and_results_leave_as_they_are() {
    each(|rng| {
        let record = random::record(rng);
        assert_eq!(reverse::record(key::record(record.clone())), record);
        let reply = random::txn_reply(rng, 1);
        assert_eq!(reverse::txn_reply(txn::reply(reply.clone())), reply);
    });
}

#[test]
fn events_leave_with_their_cause_and_session() {
    for (cause, expected) in [
        (Cause::Request, v1::watch_event::Cause::Request),
        (Cause::Expired, v1::watch_event::Cause::Expired),
        (Cause::Closed, v1::watch_event::Cause::Closed),
        (Cause::TimedOut, v1::watch_event::Cause::TimedOut),
        (Cause::Admin, v1::watch_event::Cause::Admin),
    ] {
        let event = Event {
            keyspace: Keyspace::Kv,
            revision: Revision(5),
            sub: 0,
            key: Bytes::from("k"),
            kind: EventKind::Delete,
            cause,
            session: SessionId(8),
            previous: None,
        };
        let frame = WatchFrame::Events { events: vec![event], previous: Vec::new(), through: Revision(5) };
        let sent = watch::frame(3, frame, |_| panic!("nothing was refused"));
        let Some(v1::watch_frame::Kind::Events(events)) = sent.kind else { panic!("events") };
        let one = &events.events[0];
        assert_eq!((one.cause(), one.session, one.kind()), (expected, 8, v1::watch_event::Kind::Delete));
        assert_eq!(one.record.as_ref().map(|record| record.mod_revision), Some(5));
    }
}

#[test]
fn an_answer_of_another_kind_is_a_fault_and_not_a_guess() {
    let reply = Reply { revision: Revision(1), index: Index(1), repeated: false, body: ReplyBody::Done };
    let error = outcome::put(Response::Written(reply)).expect_err("not a put's answer");
    assert_eq!(error.code(), v1::ErrorCode::Internal);
    assert_eq!(error.certainty(), v1::Certainty::Unknown);
    let answer =
        Response::Answer { answer: Answer::Range(RangeReply::default()), revision: Revision(2), index: 3 };
    assert!(outcome::check_token(answer.clone()).is_err());
    let header = outcome::range(answer).expect("a range's answer").header.expect("always there");
    assert_eq!((header.revision, header.index), (2, 3));
}

#[test]
fn a_repeated_reply_without_results_keeps_its_header() {
    let body = ReplyBody::Txn(oarlock_state::command::TxnReply { succeeded: true, results: Vec::new() });
    let reply = Reply { revision: Revision(4), index: Index(6), repeated: true, body };
    let put = outcome::put(Response::Written(reply)).expect("a put's answer");
    let header = put.header.expect("always there");
    assert!(header.repeated && header.revision == 4 && put.previous.is_none());
}
