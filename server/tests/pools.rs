//! The planner of shard pools in a cluster of three: whoever leads gives shards to members, moves them
//! when members come, drain and go, and goes on after the leader has changed.

use bytes::Bytes;
use oarlock_server::config::{Config, Settings};
use oarlock_server::node::handle::Handle;
use oarlock_server::node::request::{Consistency, Refusal, Request, Response, Role, Write};
use oarlock_server::serve::Member;
use oarlock_state::command::{Answer, OpenSession};
use oarlock_state::pool::{
    Join, MemberState, Policy, PoolOp, PoolQuery, PoolReply, PoolState, Primary, ShardSet, ShardToken,
};
use oarlock_state::{Caller, Command, Query, SessionId};
use slog::{Logger, o};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const SHARDS: u32 = 24;

fn settings(dir: &Path, ports: &[u16], place: usize) -> Settings {
    let members = ports.iter().enumerate().map(|(at, port)| format!("n{at}=http://127.0.0.1:{port}"));
    Settings {
        name: Some(format!("n{place}")),
        data_dir: Some(dir.join(format!("n{place}")).display().to_string()),
        listen_client_urls: Some("http://127.0.0.1:0".into()),
        listen_peer_urls: Some(format!("http://127.0.0.1:{}", ports[place])),
        initial_cluster: Some(members.collect::<Vec<_>>().join(",")),
        heartbeat_interval: Some(50),
        election_timeout: Some(500),
        reserve_disk_bytes: Some(1 << 20),
        ..Settings::default()
    }
}

async fn start(dir: &Path) -> Vec<Member> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    let ports: Vec<u16> = listeners.iter().map(port).collect();
    drop(listeners);
    let mut members = Vec::new();
    for place in 0..3 {
        let config = Config::from_settings(settings(dir, &ports, place)).expect("good settings");
        members.push(Member::start(&config, &Logger::root(slog::Discard, o!())).await.expect("started"));
    }
    members
}

/// The pool as a client of all members sees it.
struct Pool {
    handles: Vec<Handle>,
}

impl Pool {
    /// Asks one after the other until one answers.
    async fn ask(&self, request: Request) -> Response {
        let begun = Instant::now();
        loop {
            for handle in &self.handles {
                match handle.call_as(&Caller::Server, request.clone()).await {
                    Ok(response) => return response,
                    Err(Refusal::Rejected(rejection)) => panic!("{request:?}: {rejection}"),
                    Err(refusal) => assert!(begun.elapsed() < PATIENCE, "{request:?}: {refusal}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn act(&self, op: PoolOp) {
        self.ask(Request::Write(Write::of(Command::Pool(op)))).await;
    }

    async fn state(&self) -> PoolState {
        let query = Query::Pool(PoolQuery::State { pool: name() });
        let read = Request::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 };
        match self.ask(read).await {
            Response::Answer { answer: Answer::Pool(PoolReply::State(state)), .. } => *state,
            other => panic!("not a pool: {other:?}"),
        }
    }

    async fn join(&self, number: u64) {
        let session = SessionId(number);
        let open =
            OpenSession { id: session, secret: [0; 16], timeout_ms: 600_000, principal: String::new() };
        self.ask(Request::Write(Write::of(Command::OpenSession(open)))).await;
        let join = Join {
            instance: instance(number),
            session,
            zone: String::new(),
            capacity: 1,
            address: String::new(),
            metadata: Bytes::new(),
        };
        self.act(PoolOp::Join { pool: name(), join }).await;
    }

    /// Does what the members are asked for, and returns how many shards each of them has.
    async fn serve(&self) -> BTreeMap<Bytes, u32> {
        let state = self.state().await;
        let mut counts: BTreeMap<Bytes, u32> = BTreeMap::new();
        for shard in &state.shards {
            if let Some(owner) = shard.primary.owner() {
                *counts.entry(owner.instance.clone()).or_default() += 1;
            }
            let Primary::Moving { from, to, session, draining, .. } = &shard.primary else { continue };
            let shard = shard.shard.clone();
            if *draining {
                let shards = vec![ShardToken { shard, epoch: from.epoch }];
                let (instance, session) = (from.instance.clone(), from.session);
                self.act(PoolOp::Release { pool: name(), instance, session, shards }).await;
            } else {
                let (instance, session, shards) = (to.clone(), *session, vec![shard]);
                self.act(PoolOp::Ready { pool: name(), instance, session, shards }).await;
            }
        }
        counts
    }

    /// Serves until the shards are shared out like this, and nobody's was ever without an owner
    /// if that is not allowed.
    async fn serve_until(&self, wanted: &[(u64, u32)], gaps: bool) {
        let begun = Instant::now();
        let wanted: BTreeMap<Bytes, u32> =
            wanted.iter().map(|(number, count)| (instance(*number), *count)).collect();
        loop {
            let counts = self.serve().await;
            if counts == wanted {
                return;
            }
            assert!(gaps || counts.values().sum::<u32>() == SHARDS, "unowned for a moment: {counts:?}");
            assert!(begun.elapsed() < PATIENCE, "{counts:?} instead of {wanted:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn name() -> Bytes {
    Bytes::from("pool")
}

fn instance(number: u64) -> Bytes {
    Bytes::from(format!("m{number}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_plans_pools_whoever_it_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut members = start(dir.path()).await;
    let mut pool = Pool { handles: members.iter().map(|member| member.node.handle().clone()).collect() };
    let policy = Policy { moves_max: 3, tolerance_percent: 0, ..Policy::default() };
    pool.act(PoolOp::Create { pool: name(), shards: ShardSet::Slots(SHARDS), policy }).await;
    pool.join(1).await;
    pool.serve_until(&[(1, 24)], true).await;
    pool.join(2).await;
    pool.serve_until(&[(1, 12), (2, 12)], false).await;

    let leads = |member: &Member| member.node.handle().status_now().role == Role::Leader;
    let leader = members.iter().position(leads).expect("somebody leads");
    let mut gone = members.swap_remove(leader);
    pool.handles.swap_remove(leader);
    gone.node.shut_down();
    let ending = gone.node.ended().await;
    gone.close(ending).await;

    pool.join(3).await;
    pool.serve_until(&[(1, 8), (2, 8), (3, 8)], false).await;
    let state = MemberState::Draining;
    pool.act(PoolOp::SetMemberState { pool: name(), instance: instance(1), state }).await;
    pool.serve_until(&[(2, 12), (3, 12)], false).await;
    pool.act(PoolOp::Leave { pool: name(), instance: instance(2), session: SessionId(2) }).await;
    pool.serve_until(&[(3, 24)], true).await;

    for mut member in members {
        member.node.shut_down();
        // With one of three gone already, the last one finds nobody to hand over to.
        if let Ok(ending) = tokio::time::timeout(Duration::from_secs(5), member.node.ended()).await {
            member.close(ending).await;
        }
    }
}
