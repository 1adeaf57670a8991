package bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

/**
 * Curator's InterProcessMutex in a closed loop: acquire, release, again. Prints one line of JSON with
 * the names that {@code oarlock bench locks --output json} uses.
 *
 * <p>Arguments: connect string, contenders, locks, seconds, seconds of warm-up, process ids of the servers
 * joined by commas. Contender i takes lock i modulo locks, with a client and a session of its own.
 */
public final class Locks {
  private static final int SAMPLES_MAX = 4_000_000;

  /** Times in microseconds, without a bound on the value. */
  private static final class Samples {
    private final long[] values = new long[SAMPLES_MAX];
    private int count;

    synchronized void add(long nanos) {
      if (count < SAMPLES_MAX) values[count++] = nanos / 1_000;
    }

    synchronized long quantile(double part) {
      if (count == 0) return 0;
      Arrays.sort(values, 0, count);
      return values[Math.min(count - 1, (int) (count * part))];
    }
  }

  private final Samples acquired = new Samples();
  private final Samples handedOver = new Samples();
  private final AtomicLong done = new AtomicLong();
  private volatile boolean measuring;
  private final AtomicLong errors = new AtomicLong();
  private volatile boolean over;

  private void contend(CuratorFramework client, String path, AtomicLong releasedAt, boolean alone) {
    InterProcessMutex mutex = new InterProcessMutex(client, path);
    try {
      while (!over) {
        long asked = System.nanoTime();
        mutex.acquire();
        long granted = System.nanoTime();
        if (measuring) {
          acquired.add(granted - asked);
          done.incrementAndGet();
          long released = releasedAt.get();
          if (!alone && released > asked) handedOver.add(granted - released);
        }
        releasedAt.set(System.nanoTime());
        mutex.release();
      }
    } catch (Exception failure) {
      if (over) return;
      errors.incrementAndGet();
      failure.printStackTrace();
    }
  }

  /** Seconds of CPU that the servers used so far, from proc(5): fields 14 and 15 in ticks of 10 ms. */
  private static double cpuSeconds(String pids) throws IOException {
    long ticks = 0;
    for (String pid : pids.split(",")) {
      String stat = Files.readString(Path.of("/proc", pid, "stat"));
      String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
      ticks += Long.parseLong(fields[11]) + Long.parseLong(fields[12]);
    }
    return ticks / 100.0;
  }

  /**
   * Ends the sessions. Those of a process that only ends live on until they expire, with the nodes by which
   * they hold and await locks, and whoever measures next waits for them.
   */
  private static void close(CuratorFramework[] clients) throws InterruptedException {
    Thread[] closing = new Thread[clients.length];
    for (int i = 0; i < clients.length; i++) {
      closing[i] = new Thread(clients[i]::close);
      closing[i].start();
    }
    for (Thread thread : closing) thread.join(5_000);
  }

  public static void main(String[] args) throws Exception {
    int contenders = Integer.parseInt(args[1]), locks = Integer.parseInt(args[2]);
    double seconds = Double.parseDouble(args[3]), warmUp = Double.parseDouble(args[4]);
    Locks bench = new Locks();
    AtomicLong[] released = new AtomicLong[locks];
    Arrays.setAll(released, i -> new AtomicLong());
    CountDownLatch ready = new CountDownLatch(contenders);
    Thread[] threads = new Thread[contenders];
    CuratorFramework[] clients = new CuratorFramework[contenders];
    for (int i = 0; i < contenders; i++) {
      CuratorFramework client = CuratorFrameworkFactory.newClient(args[0], 30_000, 15_000, new RetryOneTime(100));
      clients[i] = client;
      client.start();
      client.blockUntilConnected();
      String path = "/locks/" + i % locks;
      AtomicLong releasedAt = released[i % locks];
      threads[i] = new Thread(() -> {
        ready.countDown();
        bench.contend(client, path, releasedAt, contenders <= locks);
      });
      threads[i].start();
    }
    ready.await();
    Thread.sleep((long) (warmUp * 1_000));
    double before = cpuSeconds(args[5]);
    bench.measuring = true;
    Thread.sleep((long) (seconds * 1_000));
    bench.measuring = false;
    double cpu = cpuSeconds(args[5]) - before;
    bench.over = true;
    close(clients);
    long done = bench.done.get();
    System.out.printf(
        Locale.ROOT,
        "{\"kind\":\"locks\",\"operations\":%d,\"errors\":%d,\"seconds\":%.1f,\"per_second\":%.1f,"
            + "\"latency_us\":{\"p50\":%d,\"p90\":%d,\"p99\":%d,\"p999\":%d,\"max\":%d},"
            + "\"server_cpu_us_per_operation\":%.1f,"
            + "\"notes\":[[\"handover_p50_us\",\"%d\"],[\"handover_p99_us\",\"%d\"]]}%n",
        done, bench.errors.get(), seconds, done / seconds,
        bench.acquired.quantile(0.5), bench.acquired.quantile(0.9), bench.acquired.quantile(0.99),
        bench.acquired.quantile(0.999), bench.acquired.quantile(1.0),
        done > 0 ? cpu * 1e6 / done : 0.0,
        bench.handedOver.quantile(0.5), bench.handedOver.quantile(0.99));
    System.exit(0); // contenders may still wait
  }
}
