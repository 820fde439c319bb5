import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;

/** An event as Java peers decode it, with Jackson. */
public final class Event {
  static final long MINUTE_MS = 60_000;
  private static final ObjectReader JSON =
      new ObjectMapper()
          .configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false)
          .readerFor(Event.class);

  public String event_id;
  public String tenant_id;
  public String model_id;
  public String metric;
  public long ts;
  public double value;

  static Event decode(byte[] body) {
    try {
      return JSON.readValue(body);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  long minuteMs() {
    return ts - ts % MINUTE_MS;
  }
}
