package bench;

import java.util.Arrays;
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
 * <p>Arguments: connect string, contenders, locks, seconds, seconds of warm-up. Contender i takes lock
 * i modulo locks, with a client and a session of its own.
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
      if (!over) failure.printStackTrace();
    }
  }

  public static void main(String[] args) throws Exception {
    int contenders = Integer.parseInt(args[1]), locks = Integer.parseInt(args[2]);
    long seconds = Long.parseLong(args[3]), warmUp = Long.parseLong(args[4]);
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
    Thread.sleep(warmUp * 1_000);
    bench.measuring = true;
    Thread.sleep(seconds * 1_000);
    bench.measuring = false;
    bench.over = true;
    System.out.printf(
        "{\"per_second\":%.1f,\"acquire_p50_us\":%d,\"acquire_p99_us\":%d,\"handover_p50_us\":%d,\"handover_p99_us\":%d}%n",
        (double) bench.done.get() / seconds,
        bench.acquired.quantile(0.5), bench.acquired.quantile(0.99),
        bench.handedOver.quantile(0.5), bench.handedOver.quantile(0.99));
    System.exit(0); // the sessions go with the process
  }
}
