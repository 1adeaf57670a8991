//! Pins the format's bytes, and proves that what is written is read back.

use super::samples::{
    auth_ops, commands, guarded_by_a_shard, guarded_by_objects, guarded_put, object_ops, pool_ops, proposal,
    whole_read,
};
use super::*;
use oarlock_state::command::{CompareOp, KeyRange, KvOp, Member, Put, Txn, Update};
use oarlock_state::tree::{Create, NodeKind, TreeOp};
use oarlock_state::{Caller, Command, Index, NodeId, ProposalId, RequestId, Revision, SessionId};
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Write as _;

const PINNED: &str = include_str!("pinned.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

fn membership() -> Membership {
    let member = Member {
        node: NodeId(3),
        name: "n3".to_owned(),
        peer_urls: vec!["http://p".to_owned()],
        client_urls: vec!["http://c".to_owned()],
        learner: true,
        stay_learner: false,
        version: "0.1.0".to_owned(),
    };
    Membership {
        put: vec![member],
        remove: vec![NodeId(4)],
        id: ProposalId { node: NodeId(1), boot: 2, count: 3 },
    }
}

/// The whole page that `pinned.txt` must be.
fn page() -> String {
    let mut lines = vec![("guarded put", encode_batch(1000, &[guarded_put()]))];
    for (name, command) in commands() {
        lines.push((name, encode_batch(1000, &[proposal(command)])));
    }
    lines.push(("membership", encode_membership(&membership())));
    for (name, op) in auth_ops() {
        lines.push((name, encode_batch(1000, &[proposal(Command::Auth(op))])));
    }
    for (name, caller) in [("by a user", Caller::user("u", 300)), ("by the server", Caller::Server)] {
        let compact = proposal(Command::Compact { revision: Revision(300) });
        lines.push((name, encode_batch(1000, &[Proposal { caller, ..compact }])));
    }
    lines.push(("whole read", encode_batch(1000, &[proposal(whole_read())])));
    for (name, op) in object_ops() {
        lines.push((name, encode_batch(1000, &[proposal(Command::Object(op))])));
    }
    lines.push(("guarded by a lock and a lead", encode_batch(1000, &[guarded_by_objects()])));
    for (name, op) in pool_ops() {
        lines.push((name, encode_batch(1000, &[proposal(Command::Pool(op))])));
    }
    lines.push(("guarded by a shard", encode_batch(1000, &[guarded_by_a_shard()])));
    lines.iter().map(|(name, bytes)| format!("{name}: {}\n", hex(bytes))).collect()
}

/// Old logs must stay readable. If this fails, the change of the code is wrong, not the page: fields
/// are only ever added, and a new sample goes to the end.
#[test]
fn bytes_are_pinned() {
    assert_eq!(page(), PINNED, "the page would be:\n{}", page());
}

#[test]
fn every_command_is_read_back() {
    let mut proposals: Vec<_> = commands().into_iter().map(|(_, command)| proposal(command)).collect();
    proposals.push(guarded_put());
    proposals.extend(auth_ops().into_iter().map(|(_, op)| proposal(Command::Auth(op))));
    proposals.extend(object_ops().into_iter().map(|(_, op)| proposal(Command::Object(op))));
    proposals.push(guarded_by_objects());
    proposals.extend(pool_ops().into_iter().map(|(_, op)| proposal(Command::Pool(op))));
    proposals.push(guarded_by_a_shard());
    proposals.push(Proposal { caller: Caller::user("u", 300), ..guarded_put() });
    proposals.push(Proposal { caller: Caller::Server, ..guarded_put() });
    let payload = encode_batch(1000, &proposals);
    assert_eq!(decode_batch(payload), Ok((1000, proposals)));
    assert_eq!(decode_membership(encode_membership(&membership())), Ok(membership()));
}

#[test]
fn a_lone_put_is_written_short() {
    let short = encode_batch(0, &[guarded_put()]);
    let Command::Txn(txn) = guarded_put().command else { unreachable!("the sample is a put") };
    let nested = Txn { then: vec![KvOp::Txn(txn)], ..Txn::default() };
    let long = encode_batch(0, &[Proposal { command: Command::Txn(nested), ..guarded_put() }]);
    assert!(short.len() < long.len());
    assert_eq!(decode_batch(short), Ok((0, vec![guarded_put()])));
}

#[test]
fn values_are_not_copied() {
    let payload = encode_batch(0, &[guarded_put()]);
    let range = payload.as_ptr_range();
    let (_, proposals) = decode_batch(payload.clone()).expect("it was just written");
    let name = proposals[0].idempotency.as_ref().expect("the sample has a name");
    assert!(range.contains(&name.key.as_ptr()));
}

#[test]
fn what_is_unknown_is_refused() {
    let decode = |change: &dyn Fn(&mut pb::Proposal)| {
        let mut proposal = proposal_to_proto(&guarded_put());
        change(&mut proposal);
        proposal_from_proto(proposal)
    };
    let missing = |what| Err(FormatError::Missing { what });
    assert_eq!(decode(&|proposal| proposal.command = None), missing("a proposal's command"));
    assert_eq!(decode(&|proposal| proposal.id = None), missing("a proposal's id"));
    assert_eq!(decode(&|proposal| proposal.guards[0].scope = None), missing("a guard's scope"));
    let tree = |kind, mode, version| {
        let op = pb::Tree { kind, mode, version, ..pb::Tree::default() };
        decode(&move |proposal| proposal.command = Some(pb::proposal::Command::Tree(op.clone())))
    };
    for (kind, mode, version) in [(0, 0, 0), (8, 0, 0), (1, 4, 0), (1, 32, 0), (2, 0, 1 << 40)] {
        let refusal = tree(kind, mode, version);
        assert!(matches!(refusal, Err(FormatError::Unknown { .. })), "{kind} {mode} {version}: {refusal:?}");
    }
    let part = pb::ObjectPart::default();
    let objects = [
        pb::Object { kind: 12, ..pb::Object::default() },
        pb::Object {
            kind: 1,
            parts: vec![pb::ObjectPart { kind: 4, ..part.clone() }],
            ..pb::Object::default()
        },
        pb::Object { kind: 1, parts: vec![pb::ObjectPart { mode: 3, ..part }], ..pb::Object::default() },
    ];
    for op in objects {
        let refusal = decode(&|proposal| {
            proposal.command = Some(pb::proposal::Command::Object(op.clone()));
        });
        assert!(matches!(refusal, Err(FormatError::Unknown { .. })), "{op:?}: {refusal:?}");
    }
    let policy = Some(pb::PoolPolicy { spread: 3, ..pb::PoolPolicy::default() });
    let pools = [
        pb::Pool { kind: 19, ..pb::Pool::default() },
        pb::Pool { kind: 2, policy, ..pb::Pool::default() },
        pb::Pool { kind: 11, state: 3, ..pb::Pool::default() },
        pb::Pool { kind: 17, steps: vec![pb::PoolStep::default()], ..pb::Pool::default() },
    ];
    for op in pools {
        let refusal = decode(&|proposal| {
            proposal.command = Some(pb::proposal::Command::Pool(op.clone()));
        });
        assert!(matches!(refusal, Err(FormatError::Unknown { .. })), "{op:?}: {refusal:?}");
    }
    let lawless = pb::Pool { kind: 1, ..pb::Pool::default() };
    let refusal = decode(&|proposal| proposal.command = Some(pb::proposal::Command::Pool(lawless.clone())));
    assert_eq!(refusal, missing("a pool's policy"));
    let unclaimed = pb::Object { kind: 3, ..pb::Object::default() };
    let refusal =
        decode(&|proposal| proposal.command = Some(pb::proposal::Command::Object(unclaimed.clone())));
    assert_eq!(refusal, missing("a claim"));
    let short = pb::CheckDigest { index: 1, digest: Bytes::from_static(b"short") };
    let refusal =
        decode(&|proposal| proposal.command = Some(pb::proposal::Command::CheckDigest(short.clone())));
    assert!(matches!(refusal, Err(FormatError::WrongLength { length: 5, expected: 16, .. })));
    assert!(matches!(decode_batch(Bytes::from_static(b"\xff\xff")), Err(FormatError::Malformed(_))));
}

fn any_bytes() -> impl Strategy<Value = Bytes> + Clone {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        any_bytes().prop_map(KeyRange::Key),
        (any_bytes(), proptest::option::of(any_bytes()))
            .prop_map(|(start, end)| KeyRange::Span { start, end }),
    ]
}

fn any_put() -> impl Strategy<Value = Put> {
    (any_bytes(), any_bytes(), any::<u64>(), any::<[bool; 4]>()).prop_map(|(key, value, owner, flags)| Put {
        key,
        value,
        owner: SessionId(owner),
        want_previous: flags[0],
        keep_value: flags[1],
        keep_owner: flags[2],
        if_absent: flags[3],
    })
}

fn any_op() -> impl Strategy<Value = KvOp> {
    let update = prop_oneof![
        any::<i64>().prop_map(Update::Add),
        any::<i64>().prop_map(Update::Max),
        any::<i64>().prop_map(Update::Min),
        any_bytes().prop_map(Update::Append),
    ];
    let leaf = prop_oneof![
        any_range().prop_map(|range| KvOp::Range(oarlock_state::command::RangeQuery::of(range))),
        any_put().prop_map(KvOp::Put),
        (any_range(), any::<bool>()).prop_map(|(range, want_previous)| KvOp::Delete { range, want_previous }),
        (any_bytes(), update).prop_map(|(key, update)| KvOp::Update { key, update }),
        (any_bytes(), any_bytes(), any::<u64>()).prop_map(|(prefix, value, owner)| KvOp::PutSequential {
            prefix,
            value,
            owner: SessionId(owner)
        }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        (vec(inner.clone(), 0..4), vec(inner, 0..4))
            .prop_map(|(then, otherwise)| KvOp::Txn(Txn { compare: Vec::new(), then, otherwise }))
    })
}

fn any_compare() -> impl Strategy<Value = oarlock_state::command::Compare> {
    use oarlock_state::command::{Compare, CompareTarget};
    let target = prop_oneof![
        any::<u64>().prop_map(CompareTarget::Version),
        any::<u64>().prop_map(|number| CompareTarget::CreateRevision(Revision(number))),
        any::<u64>().prop_map(|number| CompareTarget::ModRevision(Revision(number))),
        any_bytes().prop_map(CompareTarget::Value),
        any::<u64>().prop_map(|number| CompareTarget::Owner(SessionId(number))),
        any::<u64>().prop_map(CompareTarget::Count),
    ];
    let op = prop_oneof![
        Just(CompareOp::Equal),
        Just(CompareOp::NotEqual),
        Just(CompareOp::Greater),
        Just(CompareOp::Less)
    ];
    (any_range(), target, op).prop_map(|(range, target, op)| Compare { range, target, op })
}

fn any_tree_op() -> impl Strategy<Value = TreeOp> {
    let kind = prop_oneof![
        Just(NodeKind::Persistent),
        any::<u64>().prop_map(|session| NodeKind::Ephemeral(SessionId(session))),
        Just(NodeKind::Container),
        any::<u64>().prop_map(NodeKind::Ttl),
    ];
    let create = (any_bytes(), any_bytes(), any_bytes(), kind, any::<[bool; 2]>()).prop_map(
        |(path, data, acl, kind, [sequential, want_stat])| {
            TreeOp::Create(Create { path, data, acl, kind, sequential, want_stat })
        },
    );
    let named = (any_bytes(), any::<i32>());
    let leaf = prop_oneof![
        create,
        named.clone().prop_map(|(path, version)| TreeOp::Delete { path, version }),
        (any_bytes(), named.clone()).prop_map(|(data, (path, version))| TreeOp::SetData {
            path,
            data,
            version
        }),
        (any_bytes(), named.clone()).prop_map(|(acl, (path, version))| TreeOp::SetAcl { path, acl, version }),
        named.clone().prop_map(|(path, version)| TreeOp::Check { path, version }),
        (named, any::<u64>()).prop_map(|((path, cversion), mzxid)| TreeOp::DeleteIdle {
            path,
            cversion,
            mzxid: Revision(mzxid)
        }),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| vec(inner, 0..4).prop_map(TreeOp::Multi))
}

fn any_command() -> impl Strategy<Value = Command> {
    let txn = (vec(any_compare(), 0..3), vec(any_op(), 0..3), vec(any_op(), 0..3))
        .prop_map(|(compare, then, otherwise)| Command::Txn(Txn { compare, then, otherwise }));
    let expire = vec((any::<u64>().prop_map(SessionId), any::<u64>().prop_map(Index)), 0..5)
        .prop_map(|sessions| Command::ExpireSessions { sessions });
    prop_oneof![txn, any_tree_op().prop_map(Command::Tree), expire]
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        stamp_ms in any::<u64>(),
        commands in vec((any_command(), proptest::option::of(any::<[u64; 3]>())), 0..4),
    ) {
        let proposals: Vec<Proposal> = commands
            .into_iter()
            .map(|(command, request)| Proposal {
                request: request.map(|[session, sequence, acked_up_to]| RequestId {
                    session: SessionId(session),
                    sequence,
                    acked_up_to,
                }),
                ..proposal(command)
            })
            .collect();
        prop_assert_eq!(decode_batch(encode_batch(stamp_ms, &proposals)), Ok((stamp_ms, proposals)));
    }

    #[test]
    fn damage_never_panics(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_batch(Bytes::from(bytes.clone()));
        let _ = decode_membership(Bytes::from(bytes));
    }
}
