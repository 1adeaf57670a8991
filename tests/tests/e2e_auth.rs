//! Users, roles and tokens against real processes, through etcd's API and the native one.

use futures::StreamExt;
use oarlock_proto::etcd::authpb::{Permission, permission::Type};
use oarlock_proto::etcd::etcdserverpb::auth_client::AuthClient;
use oarlock_proto::etcd::etcdserverpb::kv_client::KvClient;
use oarlock_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use oarlock_proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use oarlock_proto::etcd::etcdserverpb::request_op::Request as Op;
use oarlock_proto::etcd::etcdserverpb::watch_client::WatchClient;
use oarlock_proto::etcd::etcdserverpb::{self as pb, watch_request::RequestUnion};
use oarlock_proto::v1;
use oarlock_tests::cluster::{Cluster, call};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const PATIENCE: Duration = Duration::from_secs(30);
const NO_TOKEN: &str = "etcdserver: user name is empty";
const DENIED: &str = "etcdserver: permission denied";
const BAD_TOKEN: &str = "etcdserver: invalid auth token";

/// A member, as one user calls it.
#[derive(Clone)]
struct Door {
    channel: Channel,
    token: Option<String>,
}

impl Door {
    async fn to(cluster: &Cluster, position: usize, token: Option<&str>) -> Self {
        let channel = cluster.nodes[position].channel().await.expect("it listens");
        Self { channel, token: token.map(str::to_owned) }
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.parse().expect("a token is ASCII"));
        }
        request
    }

    fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    async fn log_in(&self, name: &str, password: &str) -> Result<String, Status> {
        let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
        Ok(self.auth().authenticate(request).await?.into_inner().token)
    }

    async fn put(&self, key: &str) -> Result<(), Status> {
        call(PATIENCE, || async {
            let request = pb::PutRequest { key: key.to_owned().into(), ..Default::default() };
            KvClient::new(self.channel.clone()).put(self.ask(request)).await
        })
        .await
        .map(drop)
    }

    async fn get(&self, key: &str, end: &str) -> Result<i64, Status> {
        let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
        let request = pb::RangeRequest { key, range_end, ..Default::default() };
        let read = KvClient::new(self.channel.clone()).range(self.ask(request)).await?;
        Ok(read.into_inner().count)
    }

    async fn txn(&self, ops: Vec<Op>) -> Result<(), Status> {
        let request = txn(ops);
        KvClient::new(self.channel.clone()).txn(self.ask(request)).await.map(drop)
    }

    /// The answers to a watch, of which the first says whether it is in place.
    async fn watch(&self, key: &str, end: &str) -> tonic::Streaming<pb::WatchResponse> {
        let create = pb::WatchCreateRequest {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            ..Default::default()
        };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = futures::stream::iter([create]).chain(futures::stream::pending());
        let stream = WatchClient::new(self.channel.clone()).watch(self.ask(requests)).await;
        stream.expect("the stream itself is open to everybody").into_inner()
    }

    async fn add_user(&self, name: &str, password: &str) -> Result<(), Status> {
        let request =
            pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() };
        self.auth().user_add(self.ask(request)).await.map(drop)
    }

    async fn add_role(&self, name: &str) {
        let request = pb::AuthRoleAddRequest { name: name.into() };
        self.auth().role_add(self.ask(request)).await.expect("a role is added");
    }

    async fn grant(&self, role: &str, kind: Type, key: &str, end: &str) {
        let perm = Permission {
            perm_type: kind.into(),
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
        };
        let request = pb::AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(perm) };
        self.auth().role_grant_permission(self.ask(request)).await.expect("a permission is granted");
    }

    async fn give(&self, user: &str, role: &str) {
        let request = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        self.auth().user_grant_role(self.ask(request)).await.expect("a role is granted");
    }

    async fn enable(&self) -> Result<(), Status> {
        self.auth().auth_enable(self.ask(pb::AuthEnableRequest {})).await.map(drop)
    }
}

fn txn(ops: Vec<Op>) -> pb::TxnRequest {
    let success = ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
    pb::TxnRequest { success, ..Default::default() }
}

fn read(key: &str) -> Op {
    Op::RequestRange(pb::RangeRequest { key: key.to_owned().into(), ..Default::default() })
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err("it must be refused");
    assert_eq!((status.code(), status.message()), (code, text));
}

/// A cluster with authentication on: `root`, and `alice`, who may do everything below `/own/` and
/// read `/public`. With a token of each.
async fn guarded(flags: &[&str], count: usize) -> (Cluster, String, String) {
    let cluster = Cluster::start(count, flags).await;
    let anybody = Door::to(&cluster, 0, None).await;
    refused(anybody.enable().await, Code::FailedPrecondition, "etcdserver: root user does not exist");
    anybody.add_user("root", "secret").await.expect("a user is added");
    refused(
        anybody.enable().await,
        Code::FailedPrecondition,
        "etcdserver: root user does not have root role",
    );
    refused(
        anybody.log_in("root", "secret").await,
        Code::FailedPrecondition,
        "etcdserver: authentication is not enabled",
    );
    anybody.give("root", "root").await;
    anybody.add_user("alice", "wonder").await.expect("a user is added");
    anybody.add_role("own").await;
    anybody.grant("own", Type::Readwrite, "/own/", "/own0").await;
    anybody.grant("own", Type::Read, "/public", "").await;
    anybody.give("alice", "own").await;
    anybody.put("/public").await.expect("nobody is asked yet");
    anybody.put("/secret").await.expect("nobody is asked yet");
    anybody.enable().await.expect("root can administer");
    let root = anybody.log_in("root", "secret").await.expect("the right password");
    let alice = anybody.log_in("alice", "wonder").await.expect("the right password");
    (cluster, root, alice)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_may_do_what_their_roles_permit_at_every_member() {
    let (cluster, root, alice) = guarded(&[], 3).await;
    for position in 0..3 {
        let anybody = Door::to(&cluster, position, None).await;
        refused(anybody.put("/own/a").await, Code::InvalidArgument, NO_TOKEN);
        refused(anybody.get("/public", "").await, Code::InvalidArgument, NO_TOKEN);
        let failed = "etcdserver: authentication failed, invalid user ID or password";
        refused(anybody.log_in("alice", "wrong").await, Code::InvalidArgument, failed);
        refused(anybody.log_in("nobody", "").await, Code::InvalidArgument, failed);
        let forged = Door::to(&cluster, position, Some("forged")).await;
        refused(forged.put("/own/a").await, Code::Unauthenticated, BAD_TOKEN);

        let alice = Door::to(&cluster, position, Some(&alice)).await;
        alice.put("/own/a").await.expect("her own");
        assert_eq!(alice.get("/own/", "/own0").await.expect("her own"), 1);
        assert_eq!(alice.get("/public", "").await.expect("permitted"), 1);
        for (key, end) in [("/secret", ""), ("/public", "\0"), ("/public", "/r"), ("/own/", "/own1")] {
            refused(alice.get(key, end).await, Code::PermissionDenied, DENIED);
        }
        refused(alice.put("/public").await, Code::PermissionDenied, DENIED);
        let nested = Op::RequestTxn(txn(vec![read("/own/a"), Op::RequestTxn(txn(vec![read("/secret")]))]));
        refused(alice.txn(vec![nested]).await, Code::PermissionDenied, DENIED);
        alice.txn(vec![Op::RequestTxn(txn(vec![read("/own/a")]))]).await.expect("her own");
        refused(alice.add_user("eve", "x").await, Code::PermissionDenied, DENIED);
        let root = Door::to(&cluster, position, Some(&root)).await;
        assert_eq!(root.get("\0", "\0").await.expect("root may do everything"), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_is_gone_at_once_at_every_member() {
    let (mut cluster, root, alice) = guarded(&[], 3).await;
    let admin = Door::to(&cluster, 0, Some(&root)).await;
    let hers = Door::to(&cluster, 2, Some(&alice)).await;
    let mut watch = hers.watch("/own/", "/own0").await;
    let first = watch.next().await.expect("an answer").expect("no error");
    assert!(first.created && !first.canceled, "{first:?}");
    let denied = hers.watch("/public", "\0").await.next().await.expect("an answer").expect("no error");
    assert!(denied.created && denied.canceled, "{denied:?}");
    assert_eq!(denied.cancel_reason, format!("rpc error: code = PermissionDenied desc = {DENIED}"));

    let revoke = pb::AuthUserRevokeRoleRequest { name: "alice".into(), role: "own".into() };
    admin.auth().user_revoke_role(admin.ask(revoke)).await.expect("root may");
    for position in 0..3 {
        let alice = Door::to(&cluster, position, Some(&alice)).await;
        refused(alice.put("/own/a").await, Code::PermissionDenied, DENIED);
        refused(alice.get("/own/a", "").await, Code::PermissionDenied, DENIED);
    }
    let over = watch.next().await.expect("an answer").expect("no error");
    assert!(over.canceled && over.cancel_reason.ends_with(DENIED), "{over:?}");

    // It outlives a restart of everybody, and so do tokens.
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.wait_ready(PATIENCE).await;
    refused(Door::to(&cluster, 1, None).await.put("/own/a").await, Code::InvalidArgument, NO_TOKEN);
    let hers = Door::to(&cluster, 1, Some(&alice)).await;
    refused(hers.put("/own/a").await, Code::PermissionDenied, DENIED);
    let admin = Door::to(&cluster, 1, Some(&root)).await;
    admin.give("alice", "own").await;
    hers.put("/own/a").await.expect("hers again");

    // A new password ends the tokens that the old one got.
    let change = pb::AuthUserChangePasswordRequest {
        name: "alice".into(),
        password: "land".into(),
        ..Default::default()
    };
    admin.auth().user_change_password(admin.ask(change)).await.expect("root may");
    refused(hers.put("/own/a").await, Code::Unauthenticated, BAD_TOKEN);
    assert!(hers.log_in("alice", "wonder").await.is_err());
    let again = hers.log_in("alice", "land").await.expect("the new password");
    Door::to(&cluster, 2, Some(&again)).await.put("/own/a").await.expect("hers");

    let delete = pb::AuthUserDeleteRequest { name: "root".into() };
    let management = "etcdserver: invalid auth management";
    refused(admin.auth().user_delete(admin.ask(delete)).await, Code::InvalidArgument, management);
    let status = admin.auth().auth_status(pb::AuthStatusRequest {}).await.expect("anybody may ask");
    assert!(status.get_ref().enabled);
    admin.auth().auth_disable(admin.ask(pb::AuthDisableRequest {})).await.expect("root may");
    Door::to(&cluster, 2, None).await.put("/anything").await.expect("nobody is asked any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_way_in_is_guarded_too() {
    let (cluster, root, alice) = guarded(&[], 1).await;
    let anybody = Door::to(&cluster, 0, None).await;
    let alice = Door::to(&cluster, 0, Some(&alice)).await;
    let root = Door::to(&cluster, 0, Some(&root)).await;

    // Leases: to be ended only by whoever may write all that hangs off them.
    let mut leases = LeaseClient::new(root.channel.clone());
    let grant = || pb::LeaseGrantRequest { ttl: 60, id: 0 };
    refused(leases.lease_grant(anybody.ask(grant())).await, Code::InvalidArgument, NO_TOKEN);
    let lease = leases.lease_grant(root.ask(grant())).await.expect("root may").into_inner().id;
    let put = pb::PutRequest { key: "/secret".into(), lease, ..Default::default() };
    KvClient::new(root.channel.clone()).put(root.ask(put)).await.expect("root may");
    let revoke = || pb::LeaseRevokeRequest { id: lease };
    refused(leases.lease_revoke(alice.ask(revoke())).await, Code::PermissionDenied, DENIED);
    refused(leases.lease_revoke(anybody.ask(revoke())).await, Code::InvalidArgument, NO_TOKEN);
    let put = pb::PutRequest { key: "/own/a".into(), lease, ..Default::default() };
    let attached = KvClient::new(alice.channel.clone()).put(alice.ask(put)).await;
    refused(attached, Code::PermissionDenied, DENIED);
    leases.lease_revoke(root.ask(revoke())).await.expect("root may");

    // Operators' calls.
    let mut maintenance = MaintenanceClient::new(root.channel.clone());
    refused(maintenance.status(anybody.ask(pb::StatusRequest {})).await, Code::InvalidArgument, NO_TOKEN);
    maintenance.status(alice.ask(pb::StatusRequest {})).await.expect("any user may");
    let snapshot = maintenance.snapshot(alice.ask(pb::SnapshotRequest {})).await;
    refused(snapshot.map(drop), Code::PermissionDenied, DENIED);
    let compact = || pb::CompactionRequest { revision: 2, physical: false };
    let mut kv = KvClient::new(root.channel.clone());
    refused(kv.compact(alice.ask(compact())).await, Code::PermissionDenied, DENIED);
    kv.compact(root.ask(compact())).await.expect("root may");

    // The native API, with the same tokens.
    let put = || v1::PutRequest { key: "/own/n".into(), ..Default::default() };
    let mut kv = v1::kv_client::KvClient::new(root.channel.clone());
    let native = |result: Result<(), Status>| {
        assert_eq!(result.expect_err("it must be refused").code(), Code::PermissionDenied);
    };
    native(kv.put(anybody.ask(put())).await.map(drop));
    kv.put(alice.ask(put())).await.expect("her own");
    let secret = v1::PutRequest { key: "/secret".into(), ..Default::default() };
    native(kv.put(alice.ask(secret)).await.map(drop));
    let forged = Door { token: Some("forged".into()), ..root.clone() };
    native(kv.put(forged.ask(put())).await.map(drop));
    let mut sessions = v1::sessions_client::SessionsClient::new(root.channel.clone());
    let open = || v1::OpenSessionRequest { timeout_ms: 60_000, ..Default::default() };
    native(sessions.open(anybody.ask(open())).await.map(drop));
    let hers = sessions.open(alice.ask(open())).await.expect("any user may").into_inner();
    let get = v1::GetSessionRequest { session: hers.session, ..Default::default() };
    let session = sessions.get(alice.ask(get)).await.expect("her own").into_inner().session;
    assert_eq!(session.expect("it lives").principal, "alice");
    let keep = v1::KeepAliveRequest { session: hers.session };
    native(sessions.keep_alive(anybody.ask(keep)).await.map(drop));
    let mut maintenance = v1::maintenance_client::MaintenanceClient::new(root.channel.clone());
    native(maintenance.snapshot(alice.ask(v1::SnapshotRequest {})).await.map(drop));
    let mut members = v1::cluster_client::ClusterClient::new(root.channel.clone());
    let add = v1::AddMemberRequest { peer_urls: vec!["http://127.0.0.1:1".into()], ..Default::default() };
    native(members.add_member(alice.ask(add)).await.map(drop));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_tokens_are_signed_with_the_operators_key() {
    let keys = tempfile::tempdir().expect("made");
    let key = keys.path().join("secret");
    std::fs::write(&key, "what the operator chose").expect("written");
    let flag = format!("--auth-token=jwt,sign-method=HS256,priv-key={},ttl=1h", key.display());
    let (cluster, root, alice) = guarded(&[&flag, "--bcrypt-cost=4"], 1).await;
    assert_eq!(root.split('.').count(), 3, "{root:?}");
    let alice = Door::to(&cluster, 0, Some(&alice)).await;
    alice.put("/own/a").await.expect("her own");
    refused(alice.put("/secret").await, Code::PermissionDenied, DENIED);
    let (signed, _) = root.rsplit_once('.').expect("three parts");
    let unsigned = Door::to(&cluster, 0, Some(&format!("{signed}."))).await;
    refused(unsigned.put("/secret").await, Code::Unauthenticated, BAD_TOKEN);
}
