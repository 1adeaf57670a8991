//! Tables of what requests become, without a node.

use super::exactly_once::Name;
use super::gather::{Memory, following};
use super::plan::{Plan, Rest};
use super::{check, txn};
use crate::front::etcd::errors::{self, EtcdError};
use crate::node::request::Write;
use bytes::Bytes;
use oarlock_proto::etcd::etcdserverpb::{
    self as pb, compare, compare::CompareResult, compare::CompareTarget as Left, compare::TargetUnion as To,
    range_request::SortOrder, range_request::SortTarget, request_op,
};
use oarlock_state::command::{
    CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, RangeQuery, RangeReply, Txn,
};
use oarlock_state::{Command, Revision, SessionId};
use tonic::Code;
use tonic::metadata::MetadataMap;

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: "a".into(), range_end: "b".into(), ..Default::default() }
}

fn ordered(target: SortTarget, order: SortOrder, limit: i64) -> pb::RangeRequest {
    pb::RangeRequest { sort_target: target.into(), sort_order: order.into(), limit, ..all() }
}

#[test]
fn the_state_sorts_and_cuts_what_it_can() {
    use SortOrder::{Ascend, Descend, None};
    use SortTarget::{Key, Mod};
    let filtered = pb::RangeRequest { min_mod_revision: 5, ..ordered(Mod, None, 3) };
    for (request, limit, reverse, keep, sorts) in [
        (ordered(Key, None, 3), 3, false, 0, false),
        (ordered(Key, Ascend, 3), 3, false, 0, false),
        (ordered(Key, Descend, 3), 3, true, 0, false),
        (ordered(Mod, Descend, 3), 0, false, 3, true),
        (ordered(Mod, Ascend, 0), 0, false, 0, true),
        (ordered(Mod, None, 3), 4, false, 3, true),
        (ordered(Mod, None, i64::MAX), 1 << 63, false, usize::try_from(i64::MAX).expect("64 bits"), true),
        (filtered, 0, false, 3, true),
        (ordered(Key, None, -3), 0, false, 0, false),
    ] {
        let plan = Plan::of(request.clone());
        let found = (plan.query.limit, plan.query.reverse, plan.rest.keep, plan.rest.sort.is_some());
        assert_eq!(found, (limit, reverse, keep, sorts), "{request:?}");
    }
}

#[test]
fn filters_and_values_reach_the_state() {
    let none = Plan::of(pb::RangeRequest { max_create_revision: -1, ..all() }).query;
    assert_eq!(none.min_mod_revision, Revision(u64::MAX), "no record is below a negative revision");
    let some = Plan::of(pb::RangeRequest { min_mod_revision: -1, max_mod_revision: 9, ..all() }).query;
    assert_eq!((some.min_mod_revision, some.max_mod_revision), (Revision(0), Revision(9)));
    assert!(some.want_count, "a filter hides what must be counted");
    assert!(!Plan::of(all()).query.want_count, "reading all of it counts it");
    let keys = pb::RangeRequest { keys_only: true, ..all() };
    assert!(Plan::of(keys.clone()).query.keys_only);
    let by_value = Plan::of(pb::RangeRequest { sort_target: SortTarget::Value.into(), ..keys });
    assert!(!by_value.query.keys_only && by_value.rest.strip_values, "the values sort first");
}

fn record(key: &'static str, version: u64) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Bytes::new(),
        create_revision: Revision(1),
        mod_revision: Revision(1),
        version,
        owner: SessionId(0),
    }
}

#[test]
fn equals_keep_the_order_of_their_keys_however_often_it_is_sorted() {
    let rest = Plan::of(ordered(SortTarget::Version, SortOrder::Descend, 3)).rest;
    let mut records = vec![record("a", 1), record("b", 2), record("c", 1), record("d", 2), record("e", 2)];
    let mut at_once = records.clone();
    assert!(rest.apply(&mut at_once));
    let later = records.split_off(4);
    assert!(rest.apply(&mut records));
    records.extend(later);
    assert!(rest.apply(&mut records));
    assert_eq!(records, at_once);
    assert_eq!(records, [record("b", 2), record("d", 2), record("e", 2)]);
    assert!(!Rest::default().apply(&mut records), "nothing is cut without a limit");
}

#[test]
fn the_next_page_is_of_the_same_revision_and_begins_right_after_the_last_key() {
    let span = |start: &'static str, end: Option<&'static str>| KeyRange::Span {
        start: start.into(),
        end: end.map(Bytes::from),
    };
    let page = RangeReply { records: vec![record("b", 1), record("c", 1)], more: true, count: 2 };
    let query = RangeQuery { limit: 5, want_count: true, ..RangeQuery::of(span("a", Some("z"))) };
    let next = following(&query, &page, Revision(7)).expect("there is more");
    let expected = RangeQuery { limit: 3, revision: Revision(7), ..RangeQuery::of(span("c\0", Some("z"))) };
    assert_eq!(next, expected);
    let reverse = RangeQuery { reverse: true, revision: Revision(4), ..RangeQuery::of(span("a", None)) };
    let next = following(&reverse, &page, Revision(7)).expect("there is more");
    assert_eq!((next.range, next.revision), (span("a", Some("c")), Revision(4)));
    assert_eq!(following(&RangeQuery { limit: 2, ..query.clone() }, &page, Revision(7)), None);
    assert_eq!(following(&query, &RangeReply { more: false, ..page }, Revision(7)), None);
}

#[test]
fn memory_is_bounded_for_one_and_given_back() {
    let memory = Memory::default();
    let big = vec![KeyValue { value: vec![0; 64 << 20].into(), ..record("k", 1) }];
    let mut one = memory.share();
    for _ in 0..7 {
        one.take(&big).expect("below the bound");
    }
    assert_eq!(one.take(&big).expect_err("above it").code(), Code::ResourceExhausted);
    let mut other = memory.share();
    for _ in 0..7 {
        other.take(&big).expect("below the bound of both");
    }
    let mut third = memory.share();
    let together = (0..7).find_map(|_| third.take(&big).err()).expect("all together are bounded");
    assert!(together.message().contains("too many large reads"), "{together:?}");
    drop((one, third));
    other.take(&big).expect_err("its own bound still holds");
    other.clear();
    other.take(&big).expect("all is given back");
}

fn compared(target: i32, right: Option<To>, result: i32) -> (CompareTarget, CompareOp) {
    let compare = pb::Compare { key: "k".into(), target, result, target_union: right, ..Default::default() };
    let (txn, _) = txn::txn(pb::TxnRequest { compare: vec![compare], ..Default::default() }, true);
    let [compare] = txn.compare.try_into().expect("one comparison");
    (compare.target, compare.op)
}

#[test]
fn comparisons_the_state_cannot_express_hold_always_or_never() {
    let always = (CompareTarget::Version(u64::MAX), CompareOp::Less);
    let never = (CompareTarget::Version(u64::MAX), CompareOp::Greater);
    let (equal, greater) = (CompareResult::Equal as i32, CompareResult::Greater as i32);
    let (less, not_equal) = (CompareResult::Less as i32, CompareResult::NotEqual as i32);
    let owner = |id| CompareTarget::Owner(SessionId(id));
    for (target, right, result, expected) in [
        (Left::Version as i32, Some(To::Version(3)), equal, (CompareTarget::Version(3), CompareOp::Equal)),
        (Left::Version as i32, Some(To::Version(-1)), greater, always.clone()),
        (Left::Mod as i32, Some(To::ModRevision(-1)), not_equal, always.clone()),
        (Left::Create as i32, Some(To::CreateRevision(-1)), less, never.clone()),
        (Left::Mod as i32, Some(To::ModRevision(-1)), equal, never.clone()),
        (Left::Mod as i32, None, less, (CompareTarget::ModRevision(Revision(0)), CompareOp::Less)),
        (
            Left::Value as i32,
            Some(To::Lease(4)),
            equal,
            (CompareTarget::Value(Bytes::new()), CompareOp::Equal),
        ),
        (Left::Lease as i32, Some(To::Lease(-1)), equal, (owner(u64::MAX), CompareOp::Equal)),
        (Left::Lease as i32, Some(To::Lease(-1)), greater, always.clone()),
        (Left::Lease as i32, Some(To::Lease(4)), greater, (owner(4), CompareOp::Greater)),
        (99, Some(To::Lease(4)), equal, always.clone()),
        (99, Some(To::Lease(4)), less, never),
        (Left::Version as i32, Some(To::Version(3)), 99, always),
        (Left::Value as i32, None, 99, (CompareTarget::Count(0), CompareOp::Greater)),
    ] {
        assert_eq!(compared(target, right.clone(), result), expected, "{target} {right:?} {result}");
    }
    assert_eq!(compare::CompareTarget::try_from(99).ok(), None);
}

fn range_op(request: pb::RangeRequest) -> pb::RequestOp {
    pb::RequestOp { request: Some(request_op::Request::RequestRange(request)) }
}

fn nest(depth: usize) -> pb::TxnRequest {
    (1..depth).fold(pb::TxnRequest::default(), |inner, _| pb::TxnRequest {
        success: vec![pb::RequestOp { request: Some(request_op::Request::RequestTxn(inner)) }],
        ..Default::default()
    })
}

#[test]
fn transactions_are_bounded_in_every_direction() {
    let ops = |count| vec![range_op(all()); count];
    let compare = |count| vec![pb::Compare { key: "k".into(), ..Default::default() }; count];
    let wide = pb::TxnRequest { success: ops(4), ..Default::default() };
    let many_inside = pb::TxnRequest {
        success: vec![pb::RequestOp { request: Some(request_op::Request::RequestTxn(wide.clone())) }; 250],
        ..Default::default()
    };
    for (request, ops_max, expected) in [
        (pb::TxnRequest::default(), 1, Ok(())),
        (wide.clone(), 4, Ok(())),
        (wide.clone(), 3, Err(errors::TOO_MANY_OPS)),
        (pb::TxnRequest { failure: ops(4), ..Default::default() }, 3, Err(errors::TOO_MANY_OPS)),
        (pb::TxnRequest { compare: compare(4), ..Default::default() }, 3, Err(errors::TOO_MANY_OPS)),
        (pb::TxnRequest { compare: compare(3), failure: ops(3), success: ops(3) }, 3, Ok(())),
        (nest(3), 2, Ok(())),
        (nest(4), 2, Err(errors::TOO_MANY_OPS)),
        (nest(8), 128, Ok(())),
        (nest(9), 128, Err(errors::TOO_MANY_OPS)),
        (many_inside, 1024, Err(errors::TOO_MANY_OPS)),
    ] {
        let checked: Result<(), EtcdError> = check::txn(&request, ops_max);
        assert_eq!(checked, expected, "{ops_max} of {}", request.success.len());
    }
}

#[test]
fn a_transaction_reads_only_if_all_of_it_does() {
    let stale = pb::RangeRequest { serializable: true, ..all() };
    let put = pb::RequestOp { request: Some(request_op::Request::RequestPut(pb::PutRequest::default())) };
    let of = |success, failure| txn::kind(&pb::TxnRequest { success, failure, ..Default::default() });
    let kind = of(vec![range_op(stale.clone())], vec![range_op(stale.clone())]);
    assert!(kind.reads_only && kind.serializable);
    let kind = of(vec![range_op(stale.clone())], vec![range_op(all())]);
    assert!(kind.reads_only && !kind.serializable, "one of them must be linearizable");
    let kind = of(vec![], vec![]);
    assert!(kind.reads_only && !kind.serializable, "comparisons alone are linearizable");
    assert!(!of(vec![range_op(stale)], vec![put]).reads_only);
}

#[test]
fn reads_beside_writes_must_be_whole() {
    let request = pb::TxnRequest { success: vec![range_op(all())], ..Default::default() };
    for whole in [true, false] {
        let (Txn { then, .. }, _) = txn::txn(request.clone(), whole);
        let [KvOp::Range(query)] = then.as_slice() else { panic!("{then:?}") };
        assert_eq!(query.whole, whole);
    }
}

#[test]
fn a_session_is_named_as_a_lease_is_shown() {
    let named = |session: &str| {
        let mut metadata = MetadataMap::new();
        metadata.insert("oarlock-session", session.parse().expect("printable"));
        metadata.insert("oarlock-sequence", "7".parse().expect("printable"));
        let name = Name::of(&metadata).ok()?;
        let write = name.on(Write::of(Command::Txn(Txn::default())));
        write.request.map(|request| (request.session.get(), request.sequence, request.acked_up_to))
    };
    assert_eq!(named("12"), Some((12, 7, 0)));
    assert_eq!(named("0x694d77aa9e38260f"), Some((0x694d_77aa_9e38_260f, 7, 0)));
    assert_eq!(named("-1"), Some((u64::MAX, 7, 0)));
    for wrong in ["0", "0x", "0x0", "694d77aa9e38260f", "", "1.5"] {
        assert_eq!(named(wrong), None, "{wrong:?}");
    }
    let none = Name::of(&MetadataMap::new()).expect("most writes have no name");
    assert!(none.is_none());
}
