import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowBytesStoreSupplier;
import org.apache.kafka.streams.state.WindowStore;
import org.apache.kafka.streams.state.WindowStoreIterator;

/**
 * Kafka Streams' processor API with exactly_once_v2: two window stores, in RocksDB or in memory, no
 * re-keying. It commits each second, as dia does.
 */
public final class Peer {
  static final Duration MINUTE = Duration.ofMinutes(1);
  static final Duration DEDUPE_TTL = Duration.ofMinutes(15);
  static final Duration WINDOW_RETENTION = Duration.ofMinutes(5);
  static final boolean IN_MEMORY = "memory".equals(System.getenv("BENCH_VARIANT"));

  record Window(long count, double sum) {
    static final Window EMPTY = new Window(0, 0);

    Window add(double value) {
      return new Window(count + 1, sum + value);
    }

    static byte[] encode(String topic, Window window) {
      return window == null
          ? null
          : ByteBuffer.allocate(16).putLong(window.count).putDouble(window.sum).array();
    }

    static Window decode(String topic, byte[] bytes) {
      if (bytes == null) return null;
      ByteBuffer buffer = ByteBuffer.wrap(bytes);
      return new Window(buffer.getLong(), buffer.getDouble());
    }
  }

  static final class Fold implements Processor<String, byte[], Void, Void> {
    private WindowStore<String, byte[]> seen;
    private WindowStore<String, Window> windows;

    @Override
    public void init(ProcessorContext<Void, Void> context) {
      seen = context.getStateStore("seen");
      windows = context.getStateStore("windows");
    }

    @Override
    public void process(Record<String, byte[]> record) {
      Event event = Event.decode(record.value());
      if (repeated(event)) {
        Progress.duplicate();
      } else {
        seen.put(event.event_id, new byte[] {1}, event.ts);
        String series = event.tenant_id + "|" + event.model_id + "|" + event.metric;
        long start = event.minuteMs();
        Window window = windows.fetch(series, start);
        windows.put(series, (window == null ? Window.EMPTY : window).add(event.value), start);
        Progress.applied();
      }
    }

    /** A repeated event bears the event time of the first. */
    private boolean repeated(Event event) {
      try (WindowStoreIterator<byte[]> found = seen.fetch(event.event_id, event.ts, event.ts)) {
        return found.hasNext();
      }
    }
  }

  private static <V> StoreBuilder<WindowStore<String, V>> store(
      String name, Duration retention, Duration window, Serde<V> values) {
    WindowBytesStoreSupplier stores =
        IN_MEMORY
            ? Stores.inMemoryWindowStore(name, retention, window, false)
            : Stores.persistentWindowStore(name, retention, window, false);
    return Stores.windowStoreBuilder(stores, Serdes.String(), values);
  }

  public static void main(String[] arguments) throws InterruptedException {
    Properties settings = new Properties();
    settings.putAll(
        Map.of(
            "application.id", System.getenv("BENCH_GROUP"),
            "bootstrap.servers", System.getenv("BENCH_BOOTSTRAP"),
            "state.dir", System.getenv("BENCH_STATE"),
            "processing.guarantee", "exactly_once_v2",
            "commit.interval.ms", "1000",
            "auto.offset.reset", "earliest",
            "replication.factor", "1",
            "num.stream.threads", "1",
            "enable.metrics.push", "false"));
    Topology topology = new Topology();
    topology.addSource(
        "in",
        Serdes.String().deserializer(),
        Serdes.ByteArray().deserializer(),
        System.getenv("BENCH_TOPIC"));
    topology.addProcessor("fold", Fold::new, "in");
    topology.addStateStore(store("seen", DEDUPE_TTL, DEDUPE_TTL, Serdes.ByteArray()), "fold");
    topology.addStateStore(
        store("windows", WINDOW_RETENTION, MINUTE, Serdes.serdeFrom(Window::encode, Window::decode)),
        "fold");
    KafkaStreams streams = new KafkaStreams(topology, settings);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          System.exit(1);
          return null;
        });
    streams.start();
    Progress.awaitLast();
    streams.close(Duration.ofSeconds(30));
  }
}
