package conformance;

import static conformance.Suite.bytes;
import static conformance.Suite.equal;
import static conformance.Suite.get;
import static conformance.Suite.refused;

import conformance.Suite.Check;
import conformance.Suite.Env;
import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.Lease;
import io.etcd.jetcd.Lock;
import io.etcd.jetcd.election.LeaderKey;
import io.etcd.jetcd.lock.LockResponse;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** Leases, locks, elections, members and maintenance. */
final class Coordination {
    private Coordination() {}

    static void add(Map<String, Check> checks) {
        checks.put("lease_takes_its_keys_along", env -> {
            Lease leases = env.client().getLeaseClient();
            long lease = get(leases.grant(60)).getID();
            PutOption option = PutOption.builder().withLeaseId(lease).build();
            get(env.client().getKVClient().put(env.key("a"), bytes("1"), option));
            var left = get(leases.timeToLive(lease, LeaseOption.builder().withAttachedKeys().build()));
            equal("granted", left.getGrantedTTL(), 60L);
            equal("keys", left.getKeys().size(), 1);
            get(leases.revoke(lease));
            equal("count", get(env.client().getKVClient().get(env.key("a"))).getCount(), 0L);
        });
        checks.put("lease_kept_alive", env -> {
            Lease leases = env.client().getLeaseClient();
            equal("time to live", get(leases.keepAliveOnce(get(leases.grant(30)).getID())).getTTL(), 30L);
        });
        checks.put("unknown_lease_is_refused", env -> {
            refused(env.client().getLeaseClient().revoke(0x7654321), "requested lease not found");
            PutOption option = PutOption.builder().withLeaseId(0x7654321).build();
            refused(env.client().getKVClient().put(env.key("a"), bytes("1"), option), "requested lease not found");
        });
        checks.put("lock_excludes", Coordination::lock);
        checks.put("election", Coordination::election);
        checks.put("members_and_status", env -> {
            equal("members", get(env.client().getClusterClient().listMember()).getMembers().size(), 3);
            var status = get(env.client().getMaintenanceClient().statusMember(env.endpoints()[0]));
            equal("version", status.getVersion().startsWith("3."), true);
            equal("alarms", get(env.client().getMaintenanceClient().listAlarms()).getAlarms().size(), 0);
            var added = get(env.client().getClusterClient().addMember(
                    java.util.List.of(URI.create("http://127.0.0.1:4")), true));
            get(env.client().getClusterClient().removeMember(added.getMember().getId()));
        });
        checks.put("hash_and_snapshot", env -> {
            try (Client one = Client.builder().endpoints(env.endpoints()[0]).build()) {
                get(one.getKVClient().put(env.key("a"), bytes("1")));
                var maintenance = one.getMaintenanceClient();
                equal("hash", get(maintenance.hashKV(env.endpoints()[0], 0)).getHash(),
                        get(maintenance.hashKV(env.endpoints()[0], 0)).getHash());
                ByteArrayOutputStream copy = new ByteArrayOutputStream();
                get(maintenance.snapshot(copy));
                equal("some bytes", copy.size() > 32, true);
            }
        });
    }

    private static void lock(Env env) throws Exception {
        Lock locks = env.client().getLockClient();
        Lease leases = env.client().getLeaseClient();
        LockResponse first = get(locks.lock(env.key("l"), get(leases.grant(20)).getID()));
        CompletableFuture<LockResponse> second = locks.lock(env.key("l"), get(leases.grant(20)).getID());
        Thread.sleep(500);
        equal("second waits", second.isDone(), false);
        get(locks.unlock(first.getKey()));
        get(locks.unlock(get(second).getKey()));
    }

    private static void election(Env env) throws Exception {
        Election elections = env.client().getElectionClient();
        ByteSequence name = env.key("e");
        refused(elections.leader(name), "NoLeaderException");
        long lease = get(env.client().getLeaseClient().grant(20)).getID();
        LeaderKey leader = get(elections.campaign(name, lease, bytes("one"))).getLeader();
        equal("leader", get(elections.leader(name)).getKv().getValue(), bytes("one"));
        get(elections.proclaim(leader, bytes("two")));
        equal("leader", get(elections.leader(name)).getKv().getValue(), bytes("two"));
        get(elections.resign(leader));
        refused(elections.leader(name), "NoLeaderException");
    }
}
