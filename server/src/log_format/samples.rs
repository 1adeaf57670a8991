//! One of each command, with every field in use: what the tests of the format pin.

use bytes::Bytes;
use oarlock_state::auth::{AuthOp, Password, Permission, PermissionKind, Secret};
use oarlock_state::command::{
    Alarm, AlarmKind, Compare, CompareOp, CompareTarget, Guard, IdempotencyKey, KeyRange, KvOp, OpenSession,
    Put, RangeQuery, TokenScope, Txn, Update,
};
use oarlock_state::object::{Acquire, Claim, Held, Mode, ObjectKind, ObjectOp, Part};
use oarlock_state::pool::{Join, MemberState, Policy, PoolOp, ShardSet, ShardToken, Spread, Step};
use oarlock_state::tree::{Create, NodeKind, TreeOp};
use oarlock_state::{Caller, Command, Index, NodeId, Proposal, ProposalId, RequestId, Revision, SessionId};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// The command under a plain name.
pub(super) fn proposal(command: Command) -> Proposal {
    Proposal {
        id: ProposalId { node: NodeId(1), boot: 2, count: 3 },
        request: None,
        idempotency: None,
        guards: Vec::new(),
        caller: Caller::Anonymous,
        command,
    }
}

/// A put with everything around it.
pub(super) fn guarded_put() -> Proposal {
    Proposal {
        request: Some(RequestId { session: SessionId(4), sequence: 5, acked_up_to: 6 }),
        idempotency: Some(IdempotencyKey { key: bytes("once"), retain_ms: 7 }),
        guards: vec![
            Guard { scope: TokenScope::Key(bytes("lock")), token: Revision(8) },
            Guard { scope: TokenScope::Node(bytes("/lock")), token: Revision(9) },
        ],
        ..proposal(Command::Txn(Txn { then: vec![KvOp::Put(put())], ..Txn::default() }))
    }
}

/// One of each command.
pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let session = SessionId(4);
    vec![
        ("txn", Command::Txn(txn())),
        ("tree", Command::Tree(TreeOp::Multi(tree_ops()))),
        ("compact", Command::Compact { revision: Revision(300) }),
        ("open", Command::OpenSession(open())),
        ("close", Command::CloseSession { session }),
        ("touch", Command::TouchSessions { sessions: vec![session, SessionId(500)] }),
        (
            "expire",
            Command::ExpireSessions { sessions: vec![(session, Index(1)), (SessionId(500), Index(2))] },
        ),
        (
            "publish",
            Command::PublishMember {
                node: NodeId(3),
                name: "n3".to_owned(),
                client_urls: vec!["http://c".to_owned()],
                version: "0.1.0".to_owned(),
            },
        ),
        ("update", Command::UpdateMember { node: NodeId(3), peer_urls: vec!["http://p".to_owned()] }),
        (
            "alarm",
            Command::SetAlarm { alarm: Alarm { node: NodeId(3), kind: AlarmKind::Corrupt }, raised: true },
        ),
        ("downgrade", Command::SetDowngrade { target: "3.5.0".to_owned() }),
        (
            "digest",
            Command::CheckDigest { index: Index(1024), digest: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10 },
        ),
    ]
}

/// One of each change of users and roles.
pub(super) fn auth_ops() -> Vec<(&'static str, AuthOp)> {
    let (user, role, hash) = (|| "u".to_owned(), || "r".to_owned(), || Secret(bytes("hash")));
    let range = KeyRange::Span { start: bytes("a"), end: Some(bytes("b")) };
    let permission = Permission { kind: PermissionKind::ReadWrite, range: range.clone() };
    vec![
        ("auth enable", AuthOp::Enable { secret: hash() }),
        ("auth disable", AuthOp::Disable),
        ("auth add user", AuthOp::AddUser { name: user(), password: Password::Hash(hash()) }),
        ("auth add user without password", AuthOp::AddUser { name: user(), password: Password::None }),
        ("auth delete user", AuthOp::DeleteUser { name: user() }),
        ("auth change password", AuthOp::ChangePassword { name: user(), hash: hash() }),
        ("auth grant role", AuthOp::GrantRole { user: user(), role: role() }),
        ("auth revoke role", AuthOp::RevokeRole { user: user(), role: role() }),
        ("auth add role", AuthOp::AddRole { name: role() }),
        ("auth delete role", AuthOp::DeleteRole { name: role() }),
        ("auth grant permission", AuthOp::GrantPermission { role: role(), permission }),
        ("auth revoke permission", AuthOp::RevokePermission { role: role(), range }),
    ]
}

fn open() -> OpenSession {
    OpenSession {
        id: SessionId(4),
        secret: *b"0123456789abcdef",
        timeout_ms: 5000,
        principal: "p".to_owned(),
    }
}

fn put() -> Put {
    Put {
        key: bytes("k"),
        value: bytes("v"),
        owner: SessionId(4),
        want_previous: true,
        keep_value: true,
        keep_owner: true,
        if_absent: true,
    }
}

fn txn() -> Txn {
    let key = KeyRange::Key(bytes("k"));
    let span = KeyRange::Span { start: bytes("a"), end: Some(bytes("b")) };
    let to_last = KeyRange::Span { start: bytes("a"), end: None };
    let compare = [
        (key, CompareTarget::Version(1), CompareOp::Equal),
        (span.clone(), CompareTarget::CreateRevision(Revision(2)), CompareOp::NotEqual),
        (to_last, CompareTarget::ModRevision(Revision(3)), CompareOp::Greater),
        (span.clone(), CompareTarget::Value(bytes("v")), CompareOp::Less),
        (span.clone(), CompareTarget::Owner(SessionId(0)), CompareOp::Equal),
        (span.clone(), CompareTarget::Count(0), CompareOp::Equal),
    ];
    let inner = Txn { otherwise: vec![KvOp::Put(put())], ..Txn::default() };
    let update = |update| KvOp::Update { key: bytes("n"), update };
    let sequential = KvOp::PutSequential { prefix: bytes("q/"), value: bytes("v"), owner: SessionId(4) };
    Txn {
        compare: compare.into_iter().map(|(range, target, op)| Compare { range, target, op }).collect(),
        then: vec![
            KvOp::Range(query(span.clone())),
            KvOp::Put(put()),
            KvOp::Delete { range: span, want_previous: true },
            KvOp::Txn(inner),
            sequential,
        ],
        otherwise: vec![
            update(Update::Add(-1)),
            update(Update::Max(i64::MAX)),
            update(Update::Min(i64::MIN)),
            update(Update::Append(bytes("x"))),
        ],
    }
}

fn query(range: KeyRange) -> RangeQuery {
    RangeQuery {
        range,
        revision: Revision(1),
        limit: 2,
        byte_budget: 3,
        whole: false,
        reverse: true,
        keys_only: true,
        count_only: true,
        want_count: true,
        min_mod_revision: Revision(4),
        max_mod_revision: Revision(5),
        min_create_revision: Revision(6),
        max_create_revision: Revision(7),
    }
}

/// A read that is refused rather than cut.
pub fn whole_read() -> Command {
    let query = RangeQuery { whole: true, ..RangeQuery::of(KeyRange::Key(bytes("k"))) };
    Command::Txn(Txn { then: vec![KvOp::Range(query)], ..Txn::default() })
}

fn tree_ops() -> Vec<TreeOp> {
    let create = |kind, sequential| {
        TreeOp::Create(Create {
            path: bytes("/a"),
            data: bytes("d"),
            acl: bytes("l"),
            kind,
            sequential,
            want_stat: sequential,
        })
    };
    vec![
        create(NodeKind::Persistent, true),
        create(NodeKind::Ephemeral(SessionId(4)), true),
        create(NodeKind::Container, false),
        create(NodeKind::Ttl(1000), false),
        TreeOp::Delete { path: bytes("/a"), version: -1 },
        TreeOp::SetData { path: bytes("/a"), data: bytes("d"), version: i32::MAX },
        TreeOp::SetAcl { path: bytes("/a"), acl: bytes("l"), version: i32::MIN },
        TreeOp::Check { path: bytes("/a"), version: 0 },
        TreeOp::DeleteIdle { path: bytes("/a"), cversion: 1, mzxid: Revision(2) },
    ]
}

/// One of each operation of locks and elections.
pub(super) fn object_ops() -> Vec<(&'static str, ObjectOp)> {
    let claim = Claim { session: SessionId(4), request: 5 };
    let to = Claim { session: SessionId(6), request: 7 };
    let held = || Held { name: bytes("a"), claim, token: Revision(300) };
    let part = |name, kind, mode| Part { name: bytes(name), kind, mode };
    let parts = vec![
        part("m", ObjectKind::Mutex, Mode::Exclusive),
        part("r", ObjectKind::ReadWrite, Mode::Shared),
        part("s", ObjectKind::Semaphore { capacity: 9 }, Mode::Weight(2)),
        part("e", ObjectKind::Election, Mode::Exclusive),
    ];
    let acquire = Acquire {
        parts,
        claim,
        wait: true,
        metadata: bytes("x"),
        priority: 1,
        preempt: true,
        lock_delay_ms: 1000,
    };
    let (by, reason) = ("b".to_owned(), "r".to_owned());
    vec![
        ("acquire", ObjectOp::Acquire(acquire)),
        ("release", ObjectOp::Release { holds: vec![held(), Held { name: bytes("b"), ..held() }] }),
        ("cancel", ObjectOp::Cancel { name: bytes("a"), claim }),
        ("downgrade", ObjectOp::Downgrade(held())),
        ("upgrade", ObjectOp::Upgrade(held())),
        ("request revocation", ObjectOp::RequestRevocation { name: bytes("a"), by, reason }),
        ("revoke", ObjectOp::Revoke { name: bytes("a"), claim }),
        ("set lock-delay", ObjectOp::SetLockDelay { held: held(), lock_delay_ms: 1000 }),
        ("proclaim", ObjectOp::Proclaim { held: held(), metadata: bytes("x") }),
        ("handoff", ObjectOp::Handoff { held: held(), to }),
        ("elapse", ObjectOp::Elapse),
    ]
}

/// A command guarded by tokens of a lock and an election.
pub(super) fn guarded_by_objects() -> Proposal {
    let guards = vec![
        Guard { scope: TokenScope::Lock(bytes("lock")), token: Revision(8) },
        Guard { scope: TokenScope::Election(bytes("lead")), token: Revision(9) },
    ];
    Proposal { guards, ..proposal(Command::Compact { revision: Revision(300) }) }
}

/// One of each operation of shard pools.
pub(super) fn pool_ops() -> Vec<(&'static str, PoolOp)> {
    let (pool, instance, session) = (|| bytes("p"), || bytes("x"), SessionId(4));
    let weights = || vec![(bytes("1"), 2), (bytes("2"), 300)];
    let shards = || vec![bytes("1"), bytes("2")];
    let token = ShardToken { shard: bytes("1"), epoch: Revision(300) };
    let join = Join {
        instance: instance(),
        session,
        zone: "z".to_owned(),
        capacity: 2,
        address: "a".to_owned(),
        metadata: bytes("m"),
    };
    let state = MemberState::Draining;
    let reason = "r".to_owned();
    vec![
        (
            "create slots",
            PoolOp::Create { pool: pool(), shards: ShardSet::Slots(300), policy: pool_policy() },
        ),
        ("create named", PoolOp::Create { pool: pool(), shards: ShardSet::Named, policy: Policy::default() }),
        ("set policy", PoolOp::SetPolicy { pool: pool(), policy: pool_policy() }),
        ("delete pool", PoolOp::Delete { pool: pool(), force: true }),
        ("add shards", PoolOp::AddShards { pool: pool(), shards: weights() }),
        ("remove shards", PoolOp::RemoveShards { pool: pool(), shards: shards() }),
        ("join", PoolOp::Join { pool: pool(), join }),
        ("leave", PoolOp::Leave { pool: pool(), instance: instance(), session }),
        ("ready", PoolOp::Ready { pool: pool(), instance: instance(), session, shards: shards() }),
        (
            "release shards",
            PoolOp::Release { pool: pool(), instance: instance(), session, shards: vec![token] },
        ),
        ("report", PoolOp::Report { pool: pool(), instance: instance(), session, loads: weights() }),
        ("set member state", PoolOp::SetMemberState { pool: pool(), instance: instance(), state }),
        ("pin", PoolOp::Pin { pool: pool(), shard: bytes("1"), to: Some(instance()) }),
        ("unpin", PoolOp::Pin { pool: pool(), shard: bytes("1"), to: None }),
        ("set weights", PoolOp::SetWeights { pool: pool(), weights: weights() }),
        ("pause", PoolOp::Pause { pool: pool(), for_ms: 1000, reason }),
        ("move", PoolOp::Move { pool: pool(), shard: bytes("1"), to: instance() }),
        ("force", PoolOp::Force { pool: pool(), shard: bytes("1") }),
        ("assign", PoolOp::Assign { pool: pool(), basis: Revision(300), steps: steps() }),
        ("elapse pools", PoolOp::Elapse),
    ]
}

fn pool_policy() -> Policy {
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

fn steps() -> Vec<Step> {
    let (shard, to) = (|| bytes("1"), || bytes("x"));
    vec![
        Step::Grant { shard: shard(), to: to() },
        Step::Move { shard: shard(), to: to() },
        Step::CancelMove { shard: shard() },
        Step::AddSecondary { shard: shard(), to: to() },
        Step::DropSecondary { shard: shard(), from: to() },
    ]
}

/// A command guarded by the epoch of a shard.
pub(super) fn guarded_by_a_shard() -> Proposal {
    let scope = TokenScope::Shard { pool: bytes("p"), shard: bytes("1") };
    let guards = vec![Guard { scope, token: Revision(300) }];
    Proposal { guards, ..proposal(Command::Compact { revision: Revision(300) }) }
}
