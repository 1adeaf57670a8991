//! Conversions of pools: what is asked, what is answered, what happens.

use super::super::{pool, pool_event, pool_reply};
use super::message;
use crate::node::request::{Request, Response, Write};
use bytes::Bytes;
use oarlock_proto::v1::{self, pool_op::Op};
use oarlock_state::command::{Answer, ReplyBody};
use oarlock_state::pool::{
    Join, MemberState, Owner, Policy, PoolError, PoolEvent, PoolFault, PoolOp, PoolQuery, PoolReply, Primary,
    ShardInfo, ShardLoss, ShardSet, ShardToken, Spread,
};
use oarlock_state::{Cause, Command, Event, EventKind, Index, Query, Reply, Revision, SessionId};

fn name(name: &'static str) -> Bytes {
    Bytes::from(name)
}

fn number(shard: &'static str, number: u32) -> v1::ShardNumber {
    v1::ShardNumber { shard: name(shard), number }
}

fn wire_policy() -> v1::PoolPolicy {
    v1::PoolPolicy {
        secondaries: 1,
        spread: v1::pool_policy::Spread::Require.into(),
        lock_delay_ms: 2,
        reassign_delay_ms: 3,
        handoff_ms: 4,
        moves_max: 5,
        moves_per_minute: 6,
        tolerance_percent: 7,
        sticky: true,
    }
}

fn policy() -> Policy {
    Policy {
        secondaries: 1,
        spread: Spread::Require,
        lock_delay_ms: 2,
        reassign_delay_ms: 3,
        handoff_ms: 4,
        moves_max: 5,
        moves_per_minute: 6,
        tolerance_percent: 7,
        sticky: true,
    }
}

fn of_pools() -> Vec<(Op, PoolOp)> {
    let (p, shards) = (|| name("p"), Some(v1::ShardSet { kind: Some(v1::shard_set::Kind::Slots(9)) }));
    let options = None;
    vec![
        (
            Op::Create(v1::CreatePoolRequest { pool: p(), shards, policy: Some(wire_policy()), options }),
            PoolOp::Create { pool: p(), shards: ShardSet::Slots(9), policy: policy() },
        ),
        (
            Op::SetPolicy(v1::SetPoolPolicyRequest { pool: p(), policy: Some(wire_policy()), options: None }),
            PoolOp::SetPolicy { pool: p(), policy: policy() },
        ),
        (
            Op::Delete(v1::DeletePoolRequest { pool: p(), force: true, options: None }),
            PoolOp::Delete { pool: p(), force: true },
        ),
        (
            Op::AddShards(v1::AddShardsRequest {
                pool: p(),
                shards: vec![number("a", 0), number("b", 7)],
                options: None,
            }),
            PoolOp::AddShards { pool: p(), shards: vec![(name("a"), 1), (name("b"), 7)] },
        ),
        (
            Op::RemoveShards(v1::RemoveShardsRequest { pool: p(), shards: vec![name("a")], options: None }),
            PoolOp::RemoveShards { pool: p(), shards: vec![name("a")] },
        ),
        (
            Op::SetMemberState(v1::SetPoolMemberStateRequest {
                pool: p(),
                instance: name("i"),
                state: v1::PoolMemberState::Draining.into(),
                options: None,
            }),
            PoolOp::SetMemberState { pool: p(), instance: name("i"), state: MemberState::Draining },
        ),
        (
            Op::Pin(v1::PinShardRequest { pool: p(), shard: name("a"), to: name("i"), options: None }),
            PoolOp::Pin { pool: p(), shard: name("a"), to: Some(name("i")) },
        ),
        (
            Op::Pin(v1::PinShardRequest { pool: p(), shard: name("a"), to: Bytes::new(), options: None }),
            PoolOp::Pin { pool: p(), shard: name("a"), to: None },
        ),
        (
            Op::SetWeights(v1::SetShardWeightsRequest {
                pool: p(),
                weights: vec![number("a", 3)],
                options: None,
            }),
            PoolOp::SetWeights { pool: p(), weights: vec![(name("a"), 3)] },
        ),
        (
            Op::Pause(v1::PausePoolRequest { pool: p(), for_ms: 5, reason: "why".into(), options: None }),
            PoolOp::Pause { pool: p(), for_ms: 5, reason: "why".into() },
        ),
        (
            Op::Move(v1::MoveShardRequest { pool: p(), shard: name("a"), to: name("i"), options: None }),
            PoolOp::Move { pool: p(), shard: name("a"), to: name("i") },
        ),
        (
            Op::Force(v1::ForceShardRequest { pool: p(), shard: name("a"), options: None }),
            PoolOp::Force { pool: p(), shard: name("a") },
        ),
    ]
}

fn of_members() -> Vec<(Op, PoolOp)> {
    let (p, i) = (|| name("p"), || name("i"));
    let session = SessionId(7);
    let shards = vec![ShardToken { shard: name("a"), epoch: Revision(9) }];
    let owned = vec![v1::OwnedShard { shard: name("a"), epoch: 9 }];
    vec![
        (
            Op::Join(v1::JoinPoolRequest {
                pool: p(),
                instance: i(),
                session: 7,
                zone: "z".into(),
                capacity: 0,
                address: "x:1".into(),
                metadata: name("m"),
                options: None,
            }),
            PoolOp::Join {
                pool: p(),
                join: Join {
                    instance: i(),
                    session,
                    zone: "z".into(),
                    capacity: 1,
                    address: "x:1".into(),
                    metadata: name("m"),
                },
            },
        ),
        (
            Op::Leave(v1::LeavePoolRequest { pool: p(), instance: i(), session: 7, options: None }),
            PoolOp::Leave { pool: p(), instance: i(), session },
        ),
        (
            Op::Ready(v1::ShardsReadyRequest {
                pool: p(),
                instance: i(),
                session: 7,
                shards: vec![name("a")],
                options: None,
            }),
            PoolOp::Ready { pool: p(), instance: i(), session, shards: vec![name("a")] },
        ),
        (
            Op::Release(v1::ReleaseShardsRequest {
                pool: p(),
                instance: i(),
                session: 7,
                shards: owned,
                options: None,
            }),
            PoolOp::Release { pool: p(), instance: i(), session, shards },
        ),
        (
            Op::Report(v1::ReportLoadRequest {
                pool: p(),
                instance: i(),
                session: 7,
                loads: vec![number("a", 0)],
                options: None,
            }),
            PoolOp::Report { pool: p(), instance: i(), session, loads: vec![(name("a"), 0)] },
        ),
    ]
}

#[test]
fn operations_arrive_as_sent() {
    for (sent, expected) in of_pools().into_iter().chain(of_members()) {
        let arrived = pool::op(v1::PoolOp { op: Some(sent) }).expect("well formed");
        assert_eq!(arrived, Write::of(Command::Pool(expected)));
    }
}

#[test]
fn malformed_operations_say_what_is_wrong() {
    let refused = |op: Op| message(pool::op(v1::PoolOp { op: Some(op) }).expect_err("malformed"));
    assert!(message(pool::op(v1::PoolOp { op: None }).expect_err("empty")).contains("empty"));
    assert!(
        refused(Op::Create(v1::CreatePoolRequest { pool: name("p"), ..Default::default() }))
            .contains("shards")
    );
    let unset = v1::SetPoolPolicyRequest { pool: name("p"), ..Default::default() };
    assert!(refused(Op::SetPolicy(unset)).contains("policy"));
    let nobody = v1::LeavePoolRequest { pool: name("p"), instance: name("i"), ..Default::default() };
    assert!(refused(Op::Leave(nobody)).contains("session"));
    let shards = vec![v1::OwnedShard { shard: name("a"), epoch: 0 }];
    let release =
        v1::ReleaseShardsRequest { pool: name("p"), instance: name("i"), session: 1, shards, options: None };
    assert!(refused(Op::Release(release)).contains("epoch"));
    let state =
        v1::SetPoolMemberStateRequest { state: 77, pool: name("p"), instance: name("i"), options: None };
    assert!(refused(Op::SetMemberState(state)).contains("77"));
}

#[test]
fn questions_arrive_as_sent() {
    let list = v1::ListPoolsRequest { prefix: name("p"), after: name("q"), limit: 0, options: None };
    let query = v1::PoolQuery { query: Some(v1::pool_query::Query::List(list)) };
    let Ok(Request::Read { query, .. }) = pool::query(query) else { panic!("a read") };
    let expected = PoolQuery::List { prefix: name("p"), after: name("q"), limit: u64::MAX };
    assert_eq!(query, Query::Pool(expected));
}

#[test]
fn a_join_answers_with_what_is_owned() {
    let body = ReplyBody::Pool(PoolReply::Joined { owned: vec![(name("a"), Revision(4))] });
    let reply = Reply { revision: Revision(8), index: Index(9), repeated: false, body };
    let answer = pool_reply::written(Response::Written(reply)).expect("an operation's answer");
    assert_eq!(answer.header.map(|header| header.revision), Some(8));
    let owned = answer.result.expect("there").owned;
    assert_eq!(owned, [v1::OwnedShard { shard: name("a"), epoch: 4 }]);
}

#[test]
fn a_shard_goes_out_with_its_owner() {
    let owner = Owner { instance: name("i"), session: SessionId(7), epoch: Revision(5), granted_ms: 6 };
    let info = ShardInfo {
        shard: name("a"),
        weight: 2,
        load: 3,
        pin: None,
        retired: false,
        primary: Primary::Owned(owner),
        secondaries: Vec::new(),
    };
    let answer = Answer::Pool(PoolReply::Shard(info));
    let response = Response::Answer { answer, revision: Revision(8), index: 9 };
    let Some(v1::pool_answer::Answer::Shard(shard)) =
        pool_reply::answered(response).expect("an answer").answer
    else {
        panic!("a shard")
    };
    let owner = v1::ShardOwner { instance: name("i"), session: 7, epoch: 5, granted_unix_ms: 6 };
    assert_eq!(shard.primary.and_then(|primary| primary.state), Some(v1::shard_primary::State::Owned(owner)));
    assert_eq!((shard.weight, shard.load, shard.pin.as_ref()), (2, 3, b"".as_slice()));
}

#[test]
fn refusals_carry_their_reason_and_names() {
    let error = PoolError::InstanceInUse { pool: name("p"), instance: name("i"), session: SessionId(7) };
    let refusal = pool_reply::refusal(&error);
    assert_eq!(refusal.reason(), v1::pool_refusal::Reason::InstanceInUse);
    assert_eq!((refusal.pool, refusal.instance, refusal.session), (name("p"), name("i"), 7));
    let bad = pool_reply::refusal(&PoolError::BadRequest { fault: PoolFault::Slots });
    assert_eq!(bad.reason(), v1::pool_refusal::Reason::BadRequest);
}

#[test]
fn an_event_goes_out_with_what_is_around_it() {
    let lost = PoolEvent::Lost {
        shard: name("a"),
        instance: name("i"),
        epoch: Revision(4),
        loss: ShardLoss::Forced,
        withheld_until_ms: 9,
    };
    let around = Event {
        keyspace: oarlock_state::event::Keyspace::Pool,
        key: name("p"),
        revision: Revision(12),
        sub: 0,
        kind: EventKind::Delete,
        cause: Cause::Request,
        session: SessionId(3),
        previous: None,
    };
    let event = pool_event::event(around, lost);
    assert_eq!((event.pool, event.revision, event.session), (name("p"), 12, 3));
    let expected = v1::pool_event::Lost {
        shard: name("a"),
        instance: name("i"),
        epoch: 4,
        loss: v1::pool_event::Loss::Forced.into(),
        withheld_until_unix_ms: 9,
    };
    assert_eq!(event.event, Some(v1::pool_event::Event::Lost(expected)));
}
