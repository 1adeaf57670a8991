//! Which path leads to which call. The paths are those of etcd's schemas.

use super::json::Call;

/// Path behind the prefix, service, method.
pub(super) const PATHS: &[(&str, &str, &str)] = &[
    ("/kv/range", KV, "Range"),
    ("/kv/put", KV, "Put"),
    ("/kv/deleterange", KV, "DeleteRange"),
    ("/kv/txn", KV, "Txn"),
    ("/kv/compaction", KV, "Compact"),
    ("/watch", "etcdserverpb.Watch", "Watch"),
    ("/lease/grant", LEASE, "LeaseGrant"),
    ("/lease/revoke", LEASE, "LeaseRevoke"),
    ("/kv/lease/revoke", LEASE, "LeaseRevoke"),
    (KEEP_ALIVE, LEASE, "LeaseKeepAlive"),
    ("/lease/timetolive", LEASE, "LeaseTimeToLive"),
    ("/kv/lease/timetolive", LEASE, "LeaseTimeToLive"),
    ("/lease/leases", LEASE, "LeaseLeases"),
    ("/kv/lease/leases", LEASE, "LeaseLeases"),
    ("/cluster/member/add", CLUSTER, "MemberAdd"),
    ("/cluster/member/remove", CLUSTER, "MemberRemove"),
    ("/cluster/member/update", CLUSTER, "MemberUpdate"),
    ("/cluster/member/list", CLUSTER, "MemberList"),
    ("/cluster/member/promote", CLUSTER, "MemberPromote"),
    ("/maintenance/alarm", MAINTENANCE, "Alarm"),
    ("/maintenance/status", MAINTENANCE, "Status"),
    ("/maintenance/defragment", MAINTENANCE, "Defragment"),
    ("/maintenance/hash", MAINTENANCE, "Hash"),
    ("/maintenance/hashkv", MAINTENANCE, "HashKV"),
    ("/maintenance/snapshot", MAINTENANCE, "Snapshot"),
    ("/maintenance/transfer-leadership", MAINTENANCE, "MoveLeader"),
    ("/maintenance/downgrade", MAINTENANCE, "Downgrade"),
    ("/auth/enable", AUTH, "AuthEnable"),
    ("/auth/disable", AUTH, "AuthDisable"),
    ("/auth/status", AUTH, "AuthStatus"),
    ("/auth/authenticate", AUTH, "Authenticate"),
    ("/auth/user/add", AUTH, "UserAdd"),
    ("/auth/user/get", AUTH, "UserGet"),
    ("/auth/user/list", AUTH, "UserList"),
    ("/auth/user/delete", AUTH, "UserDelete"),
    ("/auth/user/changepw", AUTH, "UserChangePassword"),
    ("/auth/user/grant", AUTH, "UserGrantRole"),
    ("/auth/user/revoke", AUTH, "UserRevokeRole"),
    ("/auth/role/add", AUTH, "RoleAdd"),
    ("/auth/role/get", AUTH, "RoleGet"),
    ("/auth/role/list", AUTH, "RoleList"),
    ("/auth/role/delete", AUTH, "RoleDelete"),
    ("/auth/role/grant", AUTH, "RoleGrantPermission"),
    ("/auth/role/revoke", AUTH, "RoleRevokePermission"),
    ("/lock/lock", LOCK, "Lock"),
    ("/lock/unlock", LOCK, "Unlock"),
    ("/election/campaign", ELECTION, "Campaign"),
    ("/election/proclaim", ELECTION, "Proclaim"),
    ("/election/leader", ELECTION, "Leader"),
    ("/election/observe", ELECTION, "Observe"),
    ("/election/resign", ELECTION, "Resign"),
];

const KV: &str = "etcdserverpb.KV";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
const LOCK: &str = "v3lockpb.Lock";
const ELECTION: &str = "v3electionpb.Election";
const KEEP_ALIVE: &str = "/lease/keepalive";

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A message, a reply.
    Unary,
    /// A message, many replies.
    ServerStream,
    /// Many of both.
    BothStreams {
        /// The call goes on when the body of the request has ended.
        outlives_body: bool,
    },
}

/// The shape of the call that a path leads to.
pub(super) fn shape(call: &Call, path: &str) -> Shape {
    match (call.is_client_streaming(), call.is_server_streaming()) {
        (false, false) => Shape::Unary,
        (false, true) => Shape::ServerStream,
        // A watch that was asked for in one body goes on; the last keep-alive is the end.
        (true, _) => Shape::BothStreams { outlives_body: path != KEEP_ALIVE },
    }
}
