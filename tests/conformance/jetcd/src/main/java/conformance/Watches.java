package conformance;

import static conformance.Suite.bytes;
import static conformance.Suite.equal;
import static conformance.Suite.get;

import conformance.Suite.Check;
import conformance.Suite.Env;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.watch.WatchEvent;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Watches. */
final class Watches {
    private Watches() {}

    static void add(Map<String, Check> checks) {
        checks.put("watch_from_a_revision", env -> {
            KV kv = env.client().getKVClient();
            long first = get(kv.put(env.key("a"), bytes("1"))).getHeader().getRevision();
            get(kv.put(env.key("a"), bytes("2")));
            BlockingQueue<String> seen = new LinkedBlockingQueue<>();
            WatchOption option = WatchOption.builder().withRevision(first).withPrevKV(true).build();
            try (Watch.Watcher watcher = watch(env, "a", option, seen)) {
                get(kv.delete(env.key("a")));
                equal("event", next(seen), "PUT a=1 after ");
                equal("event", next(seen), "PUT a=2 after 1");
                equal("event", next(seen), "DELETE a= after 2");
            }
        });
        checks.put("watch_a_prefix_without_deletes", env -> {
            KV kv = env.client().getKVClient();
            long now = get(kv.get(env.key("a"))).getHeader().getRevision();
            BlockingQueue<String> seen = new LinkedBlockingQueue<>();
            WatchOption option =
                    WatchOption.builder().isPrefix(true).withNoDelete(true).withRevision(now + 1).build();
            try (Watch.Watcher watcher = watch(env, "", option, seen)) {
                get(kv.put(env.key("a"), bytes("1")));
                get(kv.delete(env.key("a")));
                get(kv.put(env.key("b"), bytes("2")));
                equal("event", next(seen), "PUT a=1 after ");
                equal("event", next(seen), "PUT b=2 after ");
            }
        });
        checks.put("watch_of_a_compacted_revision_is_told", env -> {
            KV kv = env.client().getKVClient();
            long first = get(kv.put(env.key("a"), bytes("1"))).getHeader().getRevision();
            long last = get(kv.put(env.key("a"), bytes("2"))).getHeader().getRevision();
            get(kv.compact(last));
            BlockingQueue<String> seen = new LinkedBlockingQueue<>();
            WatchOption option = WatchOption.builder().withRevision(first).build();
            try (Watch.Watcher watcher = watch(env, "a", option, seen)) {
                String told = next(seen);
                equal(told, told.contains("required revision has been compacted"), true);
            }
        });
    }

    private static Watch.Watcher watch(Env env, String name, WatchOption option, BlockingQueue<String> seen) {
        Watch.Listener listener = Watch.listener(
                response -> response.getEvents().forEach(event -> seen.add(text(env, event))),
                error -> seen.add(String.valueOf(error)));
        return env.client().getWatchClient().watch(env.key(name), option, listener);
    }

    private static String text(Env env, WatchEvent event) {
        String key = event.getKeyValue().getKey().toString().substring(env.prefix().length());
        return event.getEventType() + " " + key + "=" + event.getKeyValue().getValue() + " after "
                + event.getPrevKV().getValue();
    }

    private static String next(BlockingQueue<String> seen) throws InterruptedException {
        return String.valueOf(seen.poll(10, TimeUnit.SECONDS));
    }
}
