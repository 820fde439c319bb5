import com.hazelcast.config.Config;
import com.hazelcast.config.JoinConfig;
import com.hazelcast.config.NetworkConfig;
import com.hazelcast.core.Hazelcast;
import com.hazelcast.jet.config.JobConfig;
import com.hazelcast.jet.config.ProcessingGuarantee;
import com.hazelcast.jet.kafka.KafkaSources;
import com.hazelcast.jet.pipeline.Pipeline;
import com.hazelcast.jet.pipeline.Sinks;
import com.hazelcast.nio.ObjectDataInput;
import com.hazelcast.nio.ObjectDataOutput;
import com.hazelcast.nio.serialization.DataSerializable;
import java.io.IOException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * Hazelcast Jet on one embedded member, exactly-once snapshots each ten seconds, its default: each
 * holds the whole state. Ids and windows are the state of a tenant; Jet's own windows would drop what
 * comes behind the watermark. Nothing expires: its TTL counts from the last event of a tenant.
 */
public final class Peer {
  static final class Window {
    long count;
    double sum;
  }

  /** Public, with a constructor of no arguments, for its serializer. */
  public static final class Tenant implements DataSerializable {
    private Set<String> seen = new HashSet<>();
    private Map<String, Window> windows = new HashMap<>();

    /** Returns nothing for the next stage: the result is the state. */
    Void fold(Event event) {
      if (!seen.add(event.event_id)) {
        Progress.duplicate();
        return null;
      }
      String key = event.minuteMs() + "|" + event.model_id + "|" + event.metric;
      Window window = windows.computeIfAbsent(key, unused -> new Window());
      window.count++;
      window.sum += event.value;
      Progress.applied();
      return null;
    }

    @Override
    public void writeData(ObjectDataOutput out) throws IOException {
      out.writeInt(seen.size());
      for (String id : seen) out.writeString(id);
      out.writeInt(windows.size());
      for (Map.Entry<String, Window> one : windows.entrySet()) {
        out.writeString(one.getKey());
        out.writeLong(one.getValue().count);
        out.writeDouble(one.getValue().sum);
      }
    }

    @Override
    public void readData(ObjectDataInput in) throws IOException {
      for (int left = in.readInt(); left > 0; left--) seen.add(in.readString());
      for (int left = in.readInt(); left > 0; left--) {
        Window window = new Window();
        windows.put(in.readString(), window);
        window.count = in.readLong();
        window.sum = in.readDouble();
      }
    }
  }

  /** A member that listens on the loopback interface, looks for no other and reports to no one. */
  private static Config member() {
    Config config = new Config();
    config.setProperty("hazelcast.phone.home.enabled", "false");
    config.setProperty("hazelcast.socket.bind.any", "false");
    config.getJetConfig().setEnabled(true).setCooperativeThreadCount(1);
    NetworkConfig network = config.getNetworkConfig();
    network.getInterfaces().setEnabled(true).addInterface("127.0.0.1");
    JoinConfig join = network.getJoin();
    join.getAutoDetectionConfig().setEnabled(false);
    join.getMulticastConfig().setEnabled(false);
    return config;
  }

  private static Properties consumer() {
    Properties settings = new Properties();
    settings.putAll(
        Map.of(
            "bootstrap.servers", System.getenv("BENCH_BOOTSTRAP"),
            "group.id", System.getenv("BENCH_GROUP"),
            "auto.offset.reset", "earliest",
            "key.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer",
            "value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer"));
    return settings;
  }

  public static void main(String[] arguments) {
    Pipeline pipeline = Pipeline.create();
    pipeline
        .readFrom(
            KafkaSources.kafka(
                consumer(),
                (ConsumerRecord<byte[], byte[]> record) -> Event.decode(record.value()),
                System.getenv("BENCH_TOPIC")))
        .withoutTimestamps()
        .setLocalParallelism(1)
        .groupingKey(event -> event.tenant_id)
        .mapStateful(Tenant::new, (tenant, id, event) -> tenant.fold(event))
        .setLocalParallelism(1)
        .writeTo(Sinks.noop());
    JobConfig job = new JobConfig().setProcessingGuarantee(ProcessingGuarantee.EXACTLY_ONCE);
    Hazelcast.newHazelcastInstance(member()).getJet().newJob(pipeline, job).join();
  }
}
