//! Random stories, told to the machine and to a tree so simple that it is right at first sight.

#[path = "tree/model.rs"]
mod model;
#[path = "tree/world.rs"]
mod world;

use bytes::Bytes;
use model::{Happened, Tree};
use oarlock_state::command::{Answer, ReplyBody};
use oarlock_state::event::Keyspace;
use oarlock_state::tree::{Create, NodeKind, TreeOp, TreeQuery, TreeReply};
use oarlock_state::{Applied, Command, EventKind, Query, Rejection, Revision, SessionId};
use proptest::prelude::*;
use world::World;

/// One step of a story.
#[derive(Clone, Debug)]
enum Step {
    Do(TreeOp),
    Open(SessionId),
    Close(SessionId),
    Expire(SessionId),
    Wait(u64),
}

/// The machine beside the model.
struct Pair {
    world: World,
    tree: Tree,
}

impl Pair {
    fn new() -> Self {
        Self { world: World::new(), tree: Tree::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Do(op) => self.execute(op),
            Step::Open(id) => {
                self.world.open(id);
                self.tree.sessions.insert(id);
            }
            Step::Close(session) => self.end(session, Command::CloseSession { session }),
            Step::Expire(session) => {
                let last_touch = self.world.last_touch(session);
                self.end(session, Command::ExpireSessions { sessions: vec![(session, last_touch)] });
            }
            Step::Wait(ms) => self.world.now_ms += ms,
        }
        assert_eq!(self.world.machine.revision(), self.tree.revision);
    }

    fn execute(&mut self, op: TreeOp) {
        let expected = self.tree.apply(&op, self.world.now_ms);
        let applied = self.world.apply(Command::Tree(op));
        let outcome = applied.outcomes[0].1.clone();
        match (expected, outcome) {
            (Ok(expected), Ok(reply)) => {
                assert_eq!(reply.body, ReplyBody::Tree(expected));
                assert_eq!(reply.revision, self.tree.revision);
            }
            (Err(code), Err(Rejection::Tree(error))) => assert_eq!(error.code(), code, "{error}"),
            (expected, outcome) => panic!("expected {expected:?}, got {outcome:?}"),
        }
        self.compare_events(&applied);
    }

    fn end(&mut self, session: SessionId, command: Command) {
        self.tree.end_session(session);
        let applied = self.world.apply(command);
        self.compare_events(&applied);
    }

    fn compare_events(&self, applied: &Applied) {
        let seen: Vec<(Bytes, Happened)> = applied
            .events
            .iter()
            .map(|event| {
                assert_eq!(event.keyspace, Keyspace::Tree);
                assert_eq!(event.revision, self.tree.revision);
                let happened = match &event.kind {
                    EventKind::Put { value, .. } => Happened::Put(value.clone()),
                    EventKind::Delete => Happened::Deleted,
                    EventKind::Children => Happened::Children,
                    EventKind::Object(event) => panic!("{event:?} in the tree"),
                    EventKind::Pool(event) => panic!("{event:?} in the tree"),
                };
                (event.key.clone(), happened)
            })
            .collect();
        assert_eq!(seen, self.tree.events);
    }

    fn read(&self, query: TreeQuery) -> TreeReply {
        match self.world.read(&Query::Tree(query)) {
            Ok(Answer::Tree(reply)) => reply,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Every read of every znode says what the model says.
    fn compare_reads(&self) {
        for (path, znode) in &self.tree.nodes {
            let stat = self.tree.stat(path);
            let path = path.clone();
            assert_eq!(self.read(TreeQuery::Exists { path: path.clone() }), TreeReply::Exists(stat));
            let data = self.read(TreeQuery::GetData { path: path.clone() });
            assert_eq!(data, TreeReply::Data { data: znode.data.clone(), stat });
            let acl = self.read(TreeQuery::GetAcl { path: path.clone() });
            assert_eq!(acl, TreeReply::Acl { acl: znode.acl.clone(), stat });
            assert_eq!(self.paged_children(&path), self.tree.children(&path));
            let slash = if path == "/" { Vec::new() } else { path.to_vec() };
            let prefix = [&slash[..], b"/"].concat();
            let below = self.tree.nodes.keys().filter(|other| other.starts_with(&prefix) && **other != "/");
            let count = TreeReply::Count(below.count() as u64);
            assert_eq!(self.read(TreeQuery::GetAllChildrenNumber { path }), count);
        }
        for session in (1..=3).map(SessionId) {
            let (prefix, after) = (Bytes::new(), Bytes::new());
            let reply = self.read(TreeQuery::GetEphemerals { session, prefix, after, limit: 0 });
            let owned =
                self.tree.nodes.iter().filter(|(_, znode)| znode.kind == NodeKind::Ephemeral(session));
            let paths = owned.map(|(path, _)| path.clone()).collect();
            assert_eq!(reply, TreeReply::Ephemerals { paths, more: false });
        }
        self.compare_idle();
    }

    /// Pages of two names, put together.
    fn paged_children(&self, path: &Bytes) -> Vec<Bytes> {
        let mut all: Vec<Bytes> = Vec::new();
        loop {
            let after = all.last().cloned().unwrap_or_default();
            let path = path.clone();
            let page = self.read(TreeQuery::GetChildren { path, after, limit: 2, byte_budget: 0 });
            let TreeReply::Children { names, more, .. } = page else {
                panic!("unexpected {page:?}");
            };
            all.extend(names);
            if !more {
                return all;
            }
        }
    }

    fn compare_idle(&self) {
        let reply =
            self.read(TreeQuery::Idle { after: Bytes::new(), now_ms: self.world.now_ms, limit: 1000 });
        let idle = |(path, znode): (&Bytes, &model::Znode)| {
            let stat = self.tree.stat(path);
            let due = match znode.kind {
                NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
                NodeKind::Container => znode.creates > 0,
                NodeKind::Ttl(ttl_ms) => self.world.now_ms >= znode.mtime_ms + ttl_ms,
            };
            (due && stat.num_children == 0).then(|| (path.clone(), stat.cversion, stat.mzxid))
        };
        let nodes = self.tree.nodes.iter().filter_map(idle).collect();
        assert_eq!(reply, TreeReply::Idle { nodes, resume_after: None });
    }
}

fn path() -> impl Strategy<Value = Bytes> {
    let name = prop_oneof![6 => Just("a"), 2 => Just("b"), 1 => Just("b "), 1 => Just("zookeeper")];
    let good =
        prop::collection::vec(name, 1..4).prop_map(|names| Bytes::from(format!("/{}", names.join("/"))));
    let odd = prop::sample::select(vec!["/", "", "a", "/a/", "//a", "/a/..", "/zookeeper/quota"]);
    prop_oneof![12 => good, 1 => odd.prop_map(Bytes::from)]
}

fn kind() -> impl Strategy<Value = NodeKind> {
    prop_oneof![
        4 => Just(NodeKind::Persistent),
        3 => (0..4_u64).prop_map(|session| NodeKind::Ephemeral(SessionId(session))),
        2 => Just(NodeKind::Container),
        2 => prop::sample::select(vec![0, 1, 50, 1 << 40]).prop_map(NodeKind::Ttl),
    ]
}

fn text(words: &'static [&'static str]) -> impl Strategy<Value = Bytes> {
    prop::sample::select(words).prop_map(Bytes::from)
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![3 => Just(-1), 1 => 0..3_i32]
}

fn create() -> impl Strategy<Value = TreeOp> {
    let acl = text(&["all", "all", "all", "all", "me", ""]);
    let sequential = prop::bool::weighted(0.2);
    (path(), text(&["", "x", "long data"]), acl, kind(), sequential, any::<bool>()).prop_map(
        |(path, data, acl, kind, sequential, want_stat)| {
            TreeOp::Create(Create { path, data, acl, kind, sequential, want_stat })
        },
    )
}

fn single() -> impl Strategy<Value = TreeOp> {
    let idle = (path(), -2..6_i32, 0..20_u64).prop_map(|(path, cversion, mzxid)| TreeOp::DeleteIdle {
        path,
        cversion,
        mzxid: Revision(mzxid),
    });
    prop_oneof![
        8 => create(),
        4 => (path(), version()).prop_map(|(path, version)| TreeOp::Delete { path, version }),
        3 => (path(), text(&["", "y"]), version())
            .prop_map(|(path, data, version)| TreeOp::SetData { path, data, version }),
        1 => (path(), text(&["", "me"]), version())
            .prop_map(|(path, acl, version)| TreeOp::SetAcl { path, acl, version }),
        1 => (path(), version()).prop_map(|(path, version)| TreeOp::Check { path, version }),
        1 => idle,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        6 => single(),
        1 => prop::collection::vec(single(), 0..4).prop_map(TreeOp::Multi),
        1 => single().prop_map(|op| TreeOp::Multi(vec![op.clone(), TreeOp::Multi(vec![op])])),
    ];
    let session = || (1..4_u64).prop_map(SessionId);
    prop_oneof![
        20 => op.prop_map(Step::Do),
        3 => session().prop_map(Step::Open),
        1 => session().prop_map(Step::Close),
        1 => session().prop_map(Step::Expire),
        1 => (1..100_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_machine_and_the_model_agree(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step);
        }
        pair.compare_reads();
    }

    /// What the idle query finds can be removed by the command that it is for.
    #[test]
    fn whatever_is_idle_can_be_removed(steps in prop::collection::vec(step(), 1..40)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step);
        }
        let query = TreeQuery::Idle { after: Bytes::new(), now_ms: pair.world.now_ms, limit: 1000 };
        let TreeReply::Idle { nodes, .. } = pair.read(query) else { panic!("not an idle reply") };
        for (path, cversion, mzxid) in nodes {
            pair.step(Step::Do(TreeOp::DeleteIdle { path: path.clone(), cversion, mzxid }));
            prop_assert!(!pair.tree.nodes.contains_key(&path));
        }
    }
}
