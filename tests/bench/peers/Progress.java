import java.util.Locale;
import java.util.concurrent.CountDownLatch;

/** The lines of progress.py. One thread counts. */
public final class Progress {
  private static final long EVENTS = Long.parseLong(System.getenv("BENCH_EVENTS"));
  private static final long STEP = Math.max(1, EVENTS / 200);
  private static final CountDownLatch DONE = new CountDownLatch(1);
  private static long applied;
  private static long duplicates;
  private static long read;
  private static long next = STEP;

  private Progress() {}

  static void applied() {
    applied++;
    add();
  }

  static void duplicate() {
    duplicates++;
    add();
  }

  static void awaitLast() throws InterruptedException {
    DONE.await();
  }

  private static void add() {
    if (read == 0) tell(0);
    if (++read < next) return;
    tell(read);
    next = Math.min(EVENTS, read + STEP);
    if (read >= EVENTS) {
      next = Long.MAX_VALUE;
      write("@@ done " + applied + " " + duplicates);
      DONE.countDown();
    }
  }

  private static void tell(long count) {
    write(String.format(Locale.ROOT, "@@ %d %.4f", count, System.currentTimeMillis() / 1000.0));
  }

  private static void write(String line) {
    System.out.println(line);
    System.out.flush();
  }
}
