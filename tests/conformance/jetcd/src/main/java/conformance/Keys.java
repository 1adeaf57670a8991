package conformance;

import static conformance.Suite.bytes;
import static conformance.Suite.equal;
import static conformance.Suite.get;
import static conformance.Suite.refused;

import conformance.Suite.Check;
import conformance.Suite.Env;
import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.kv.PutResponse;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.PutOption;
import java.util.Map;

/** The key space. */
final class Keys {
    private Keys() {}

    static void add(Map<String, Check> checks) {
        checks.put("put_and_get", env -> {
            KV kv = env.client().getKVClient();
            long first = get(kv.put(env.key("a"), bytes("1"))).getHeader().getRevision();
            long second = get(kv.put(env.key("a"), bytes("2"))).getHeader().getRevision();
            KeyValue found = get(kv.get(env.key("a"))).getKvs().get(0);
            equal("value", found.getValue(), bytes("2"));
            equal("create revision", found.getCreateRevision(), first);
            equal("mod revision", found.getModRevision(), second);
            equal("version", found.getVersion(), 2L);
        });
        checks.put("previous_value", env -> {
            KV kv = env.client().getKVClient();
            PutOption option = PutOption.builder().withPrevKV().build();
            equal("before", get(kv.put(env.key("a"), bytes("1"), option)).hasPrevKv(), false);
            PutResponse second = get(kv.put(env.key("a"), bytes("2"), option));
            equal("before", second.getPrevKv().getValue(), bytes("1"));
        });
        checks.put("prefix_limit_count_sort", Keys::ranges);
        checks.put("at_a_revision", env -> {
            KV kv = env.client().getKVClient();
            long first = get(kv.put(env.key("a"), bytes("1"))).getHeader().getRevision();
            get(kv.put(env.key("a"), bytes("2")));
            GetResponse then = get(kv.get(env.key("a"), GetOption.builder().withRevision(first).build()));
            equal("value", then.getKvs().get(0).getValue(), bytes("1"));
            refused(kv.get(env.key("a"), GetOption.builder().withRevision(first + 100000).build()),
                    "required revision is a future revision");
        });
        checks.put("delete_prefix", env -> {
            fill(env, 3);
            DeleteOption option = DeleteOption.builder().isPrefix(true).withPrevKV(true).build();
            var deleted = get(env.client().getKVClient().delete(env.key(""), option));
            equal("deleted", deleted.getDeleted(), 3L);
            equal("previous", deleted.getPrevKvs().size(), 3);
        });
        checks.put("transaction", Keys::transaction);
        checks.put("duplicate_key_is_refused", env -> {
            Op put = Op.put(env.key("a"), bytes("1"), PutOption.DEFAULT);
            refused(env.client().getKVClient().txn().Then(put, put).commit(), "duplicate key given in txn request");
        });
        checks.put("compaction", env -> {
            KV kv = env.client().getKVClient();
            long last = fill(env, 3);
            get(kv.compact(last));
            refused(kv.get(env.key("0"), GetOption.builder().withRevision(last - 1).build()),
                    "required revision has been compacted");
        });
    }

    private static long fill(Env env, int count) throws Exception {
        long last = 0;
        for (int i = 0; i < count; i++) {
            ByteSequence value = bytes("value" + (9 - i));
            last = get(env.client().getKVClient().put(env.key("" + i), value)).getHeader().getRevision();
        }
        return last;
    }

    private static void ranges(Env env) throws Exception {
        KV kv = env.client().getKVClient();
        fill(env, 6);
        GetResponse page = get(kv.get(env.key(""), GetOption.builder().isPrefix(true).withLimit(2).build()));
        equal("kvs", page.getKvs().size(), 2);
        equal("count", page.getCount(), 6L);
        equal("more", page.isMore(), true);
        GetOption sorted = GetOption.builder().isPrefix(true).withSortField(GetOption.SortTarget.VALUE)
                .withSortOrder(GetOption.SortOrder.ASCEND).build();
        equal("smallest value", get(kv.get(env.key(""), sorted)).getKvs().get(0).getKey(), env.key("5"));
        GetOption count = GetOption.builder().isPrefix(true).withCountOnly(true).build();
        equal("count", get(kv.get(env.key(""), count)).getCount(), 6L);
        GetOption keys = GetOption.builder().isPrefix(true).withKeysOnly(true).build();
        equal("no value", get(kv.get(env.key(""), keys)).getKvs().get(0).getValue().isEmpty(), true);
    }

    private static void transaction(Env env) throws Exception {
        KV kv = env.client().getKVClient();
        get(kv.put(env.key("a"), bytes("1")));
        Cmp same = new Cmp(env.key("a"), Cmp.Op.EQUAL, CmpTarget.value(bytes("1")));
        Cmp version = new Cmp(env.key("a"), Cmp.Op.GREATER, CmpTarget.version(0));
        Op put = Op.put(env.key("a"), bytes("2"), PutOption.DEFAULT);
        Op read = Op.get(env.key("a"), GetOption.DEFAULT);
        TxnResponse yes = get(kv.txn().If(same, version).Then(put, read).Else(read).commit());
        equal("succeeded", yes.isSucceeded(), true);
        equal("reads its own write", yes.getGetResponses().get(0).getKvs().get(0).getValue(), bytes("2"));
        equal("succeeded", get(kv.txn().If(same).Then(put).Else(read).commit()).isSucceeded(), false);
    }
}
