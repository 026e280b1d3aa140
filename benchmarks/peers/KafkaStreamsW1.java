// W1 on Kafka Streams: what a careful Java team would write instead of tidecast, without its scoring and calibration.
// Run by benchmarks/kafka_streams.py; the arguments are named in main().

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** The last 96 readings and running moments of each series as durable state; every 12th tick a forecast. */
public class KafkaStreamsW1 {
    static final int CONTEXT = 96;
    static final int MIN_READINGS = 48;
    static final int FORECAST_EVERY = 12;
    static final int OUTPUTS = 12 * 3; // horizon × quantile levels
    static final int STEP_S = 600;
    static final String STORE = "series";

    static final ObjectMapper JSON = new ObjectMapper();
    static final ObjectReader READINGS = JSON.readerFor(Reading.class);
    static final ObjectWriter FORECASTS = JSON.writerFor(Forecast.class);
    static final float[][] WEIGHTS = randomWeights();
    static final AtomicLong processed = new AtomicLong();
    static final AtomicLong forecasts = new AtomicLong();
    static final CountDownLatch done = new CountDownLatch(1);

    public static class Reading {
        public String series_id;
        public long timestamp;
        public double value;
    }

    public static class Forecast {
        public String series_id;
        public long timestamp;
        public double[] quantiles;
    }

    /** One value of the store: count, mean and sum of squares (Welford), then a ring of 96 doubles. */
    static final class SeriesState {
        static final int RING = 3 * Double.BYTES;
        final ByteBuffer bytes;

        SeriesState(byte[] stored) {
            bytes = stored == null ? ByteBuffer.allocate(RING + CONTEXT * Double.BYTES) : ByteBuffer.wrap(stored);
        }

        long count() {
            return bytes.getLong(0);
        }

        void add(double value) {
            long before = count();
            double mean = bytes.getDouble(Double.BYTES);
            double delta = value - mean;
            double newMean = mean + delta / (before + 1);
            bytes.putLong(0, before + 1);
            bytes.putDouble(Double.BYTES, newMean);
            bytes.putDouble(2 * Double.BYTES, bytes.getDouble(2 * Double.BYTES) + delta * (value - newMean));
            bytes.putDouble(ringPlace(before), value);
        }

        /** The newest readings, oldest first. */
        double[] window() {
            long count = count();
            double[] window = new double[(int) Math.min(count, CONTEXT)];
            for (int i = 0; i < window.length; i++) {
                window[i] = bytes.getDouble(ringPlace(count - window.length + i));
            }
            return window;
        }

        private static int ringPlace(long position) {
            return RING + (int) (position % CONTEXT) * Double.BYTES;
        }
    }

    static final class Forecaster implements Processor<byte[], byte[], byte[], byte[]> {
        private final long goal;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> store;

        Forecaster(long goal) {
            this.goal = goal;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            this.store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                Reading reading = READINGS.readValue(record.value());
                SeriesState state = new SeriesState(store.get(record.key()));
                state.add(reading.value);
                store.put(record.key(), state.bytes.array());
                if (reading.timestamp / STEP_S % FORECAST_EVERY == 0 && state.count() >= MIN_READINGS) {
                    context.forward(record.withValue(FORECASTS.writeValueAsBytes(forecast(reading, state.window()))));
                    forecasts.incrementAndGet();
                }
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            long count = processed.incrementAndGet();
            if (count == 1) {
                System.out.println("first " + System.currentTimeMillis());
            } else if (count == goal) {
                context.commit();
                done.countDown();
            }
        }
    }

    /** The window centred and scaled by itself, one linear map, and back. */
    static Forecast forecast(Reading reading, double[] window) {
        double sum = 0;
        for (double value : window) {
            sum += value;
        }
        double mean = sum / window.length;
        double squares = 0;
        for (double value : window) {
            squares += (value - mean) * (value - mean);
        }
        double spread = Math.sqrt(squares / window.length) + 1e-6;
        Forecast forecast = new Forecast();
        forecast.series_id = reading.series_id;
        forecast.timestamp = reading.timestamp;
        forecast.quantiles = new double[OUTPUTS];
        for (int i = 0; i < window.length; i++) {
            double scaled = (window[i] - mean) / spread;
            float[] weights = WEIGHTS[CONTEXT - window.length + i];
            for (int output = 0; output < OUTPUTS; output++) {
                forecast.quantiles[output] += scaled * weights[output];
            }
        }
        for (int output = 0; output < OUTPUTS; output++) {
            forecast.quantiles[output] = (float) (forecast.quantiles[output] * spread + mean);
        }
        return forecast;
    }

    static float[][] randomWeights() {
        Random random = new Random(7);
        float[][] weights = new float[CONTEXT][OUTPUTS];
        for (float[] row : weights) {
            for (int output = 0; output < OUTPUTS; output++) {
                row[output] = (float) (random.nextGaussian() * 0.1);
            }
        }
        return weights;
    }

    static Topology topology(String input, String output, long goal) {
        Serde<byte[]> bytes = Serdes.ByteArray();
        Topology topology = new Topology();
        topology.addSource("readings", bytes.deserializer(), bytes.deserializer(), input);
        topology.addProcessor("forecaster", () -> new Forecaster(goal), "readings");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), bytes, bytes)
                        .withCachingEnabled()
                        .withLoggingEnabled(Map.of()),
                "forecaster");
        topology.addSink("forecasts", output, bytes.serializer(), bytes.serializer(), "forecaster");
        return topology;
    }

    /** bootstrap applicationId input output guarantee threads cacheMiB commitMs readings stateFolder */
    public static void main(String[] arguments) throws InterruptedException {
        long goal = Long.parseLong(arguments[8]);
        Properties properties = new Properties();
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, arguments[4]);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments[5]);
        properties.put(
                StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, String.valueOf(Long.parseLong(arguments[6]) << 20));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments[7]);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[9]);
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
        properties.put("auto.offset.reset", "earliest");
        properties.put("max.poll.records", "10000");
        KafkaStreams streams = new KafkaStreams(topology(arguments[2], arguments[3], goal), properties);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    System.exit(1);
                    return null;
                });
        streams.start();
        done.await();
        System.out.println("processed " + System.currentTimeMillis() + " forecasts " + forecasts.get());
        System.out.flush();
        // The measuring program waits for the last commit and then closes our input.
        try {
            while (System.in.read() >= 0) {}
        } catch (IOException error) {
            System.exit(1);
        }
        streams.close(Duration.ofSeconds(30));
    }
}
