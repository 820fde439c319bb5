import java.nio.file.Path;
import java.util.Map;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.Collector;

/**
 * Flink's DataStream API in a local environment, exactly-once checkpoints into files: ids and windows
 * in the state of the tenant, which is the key of the topic, so nothing is shuffled. In RocksDB the
 * checkpoints are incremental, one each second, as dia commits. On the heap each holds the whole
 * state: one in ten seconds. Flink's own windows would drop what comes behind the watermark. Nothing
 * expires: its TTL is by the clock of the machine, which says nothing about a backlog.
 */
public final class Peer {
  static final boolean IN_MEMORY = "memory".equals(System.getenv("BENCH_VARIANT"));

  static final class Decode extends AbstractDeserializationSchema<Event> {
    @Override
    public Event deserialize(byte[] body) {
      return Event.decode(body);
    }
  }

  static final class Fold extends KeyedProcessFunction<String, Event, Void> {
    private static final TypeInformation<Tuple2<Long, Double>> WINDOW =
        Types.TUPLE(Types.LONG, Types.DOUBLE);
    private transient MapState<String, Boolean> seen;
    private transient MapState<String, Tuple2<Long, Double>> windows;

    @Override
    public void open(OpenContext context) {
      seen =
          getRuntimeContext()
              .getMapState(new MapStateDescriptor<>("seen", Types.STRING, Types.BOOLEAN));
      windows =
          getRuntimeContext().getMapState(new MapStateDescriptor<>("windows", Types.STRING, WINDOW));
    }

    @Override
    public void processElement(Event event, Context context, Collector<Void> out) throws Exception {
      if (seen.contains(event.event_id)) {
        Progress.duplicate();
        return;
      }
      seen.put(event.event_id, true);
      String key = event.minuteMs() + "|" + event.model_id + "|" + event.metric;
      Tuple2<Long, Double> window = windows.get(key);
      windows.put(
          key,
          window == null
              ? Tuple2.of(1L, event.value)
              : Tuple2.of(window.f0 + 1, window.f1 + event.value));
      Progress.applied();
    }
  }

  private static Configuration settings() {
    Path state = Path.of(System.getenv("BENCH_STATE")).toAbsolutePath();
    Configuration settings =
        Configuration.fromMap(
            Map.of(
                "state.backend.type", IN_MEMORY ? "hashmap" : "rocksdb",
                "state.backend.rocksdb.localdir", state.resolve("rocksdb").toString(),
                "execution.checkpointing.dir", state.resolve("checkpoints").toUri().toString(),
                "execution.checkpointing.mode", "EXACTLY_ONCE",
                "execution.checkpointing.interval", IN_MEMORY ? "10 s" : "1 s",
                "execution.checkpointing.incremental", IN_MEMORY ? "false" : "true",
                "pipeline.object-reuse", "true",
                "restart-strategy.type", "none",
                "taskmanager.memory.managed.size", IN_MEMORY ? "0" : "512 mb"));
    for (String folder : new String[] {"io.tmp.dirs", "web.tmpdir"}) {
      settings.setString(folder, state.toString());
    }
    return settings;
  }

  public static void main(String[] arguments) throws Exception {
    StreamExecutionEnvironment environment =
        StreamExecutionEnvironment.createLocalEnvironment(1, settings());
    KafkaSource<Event> source =
        KafkaSource.<Event>builder()
            .setBootstrapServers(System.getenv("BENCH_BOOTSTRAP"))
            .setTopics(System.getenv("BENCH_TOPIC"))
            .setGroupId(System.getenv("BENCH_GROUP"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new Decode())
            .build();
    DataStream<Event> events =
        environment.fromSource(source, WatermarkStrategy.noWatermarks(), "events");
    DataStreamUtils.reinterpretAsKeyedStream(events, event -> event.tenant_id, Types.STRING)
        .process(new Fold())
        .sinkTo(new DiscardingSink<>());
    environment.execute();
  }
}
