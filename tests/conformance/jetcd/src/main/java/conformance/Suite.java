package conformance;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** What Java programs expect of etcd through jetcd: prints one line for each check, ok or FAIL. */
public final class Suite {
    /** One thing that must hold. */
    interface Check {
        void run(Env env) throws Exception;
    }

    /** What a check works with; it may use any key below the prefix. */
    record Env(Client client, String prefix, String[] endpoints) {
        ByteSequence key(String name) {
            return bytes(prefix + name);
        }
    }

    static ByteSequence bytes(String text) {
        return ByteSequence.from(text, StandardCharsets.UTF_8);
    }

    static void equal(String what, Object got, Object want) {
        if (!Objects.equals(got, want)) {
            throw new AssertionError(what + ": got " + got + ", want " + want);
        }
    }

    /** Fails unless the call is refused with this text. */
    static void refused(Future<?> call, String text) throws Exception {
        try {
            call.get(10, TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            if (String.valueOf(error.getCause()).contains(text)) {
                return;
            }
            throw new AssertionError("refused with " + error.getCause() + ", want " + text);
        }
        throw new AssertionError("not refused, want " + text);
    }

    static <T> T get(Future<T> call) throws Exception {
        return call.get(15, TimeUnit.SECONDS);
    }

    public static void main(String[] arguments) {
        String[] endpoints = arguments[0].split(",");
        Map<String, Check> checks = new LinkedHashMap<>();
        Keys.add(checks);
        Watches.add(checks);
        Coordination.add(checks);
        Rights.add(checks); // the last: it turns authentication on for a while
        int failed = 0;
        ExecutorService runner = Executors.newCachedThreadPool();
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            String problem = run(runner, check, endpoints);
            failed += problem == null ? 0 : 1;
            System.out.println(problem == null ? "ok " + check.getKey() : "FAIL " + check.getKey() + ": " + problem);
        }
        System.exit(failed > 0 ? 1 : 0);
    }

    private static String run(ExecutorService runner, Map.Entry<String, Check> check, String[] endpoints) {
        try (Client client = Client.builder().endpoints(endpoints).build()) {
            Env env = new Env(client, "jetcd/" + check.getKey() + "/", endpoints);
            Callable<Void> call = () -> {
                try {
                    check.getValue().run(env);
                } catch (AssertionError error) {
                    throw new Exception(error.getMessage());
                }
                return null;
            };
            runner.submit(call).get(30, TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException error) {
            return String.valueOf(error.getCause()).replace('\n', ' ');
        } catch (Exception error) {
            return error.toString().replace('\n', ' ');
        }
    }
}
