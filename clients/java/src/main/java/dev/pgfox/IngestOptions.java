package dev.pgfox;

import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.function.BiConsumer;

/** The options of an ingest: {@code IngestOptions.builder().skipInvalid(true).build()}. */
public final class IngestOptions {
    /** Maximum number of documents in one request, the server's limit. */
    public static final int MAX_DOCUMENTS_PER_REQUEST = 1_000;
    /**
     * Maximum number of bytes of documents in one request: the server's 16 MiB less room for the rest of the message.
     */
    public static final int MAX_BYTES_PER_REQUEST = (16 << 20) - (64 << 10);

    /** Maximum number of requests that are sent but not acknowledged. */
    public static final int MAX_REQUESTS_IN_FLIGHT = 100;

    final boolean skipInvalid;
    final boolean onlyIfAbsent;
    final int documentsPerRequest;
    final int bytesPerRequest;
    final int requestsInFlight;
    final Duration acknowledgeTimeout;
    final Duration retryTimeout;
    final BiConsumer<IngestTotals, List<SkippedDocument>> onAcknowledged;
    final BiConsumer<PgfoxException, Duration> onInterrupted;

    private IngestOptions(Builder builder) {
        skipInvalid = builder.skipInvalid;
        onlyIfAbsent = builder.onlyIfAbsent;
        documentsPerRequest = builder.documentsPerRequest;
        bytesPerRequest = builder.bytesPerRequest;
        requestsInFlight = builder.requestsInFlight;
        acknowledgeTimeout = builder.acknowledgeTimeout;
        retryTimeout = builder.retryTimeout;
        onAcknowledged = builder.onAcknowledged;
        onInterrupted = builder.onInterrupted;
    }

    /** A builder with the defaults. */
    public static Builder builder() {
        return new Builder();
    }

    /** Every method throws {@link IllegalArgumentException} for a value outside its range. */
    public static final class Builder {
        private boolean skipInvalid;
        private boolean onlyIfAbsent;
        private int documentsPerRequest = 500;
        private int bytesPerRequest = 2 << 20;
        private int requestsInFlight = 4;
        private Duration acknowledgeTimeout = Duration.ofSeconds(600);
        private Duration retryTimeout = Duration.ofSeconds(60);
        private BiConsumer<IngestTotals, List<SkippedDocument>> onAcknowledged = (totals, skipped) -> {};
        private BiConsumer<PgfoxException, Duration> onInterrupted = (error, pause) -> {};

        private Builder() {}

        /**
         * Store the valid documents and report the invalid ones, instead of ending at the first invalid request.
         * Default false.
         */
        public Builder skipInvalid(boolean skipInvalid) {
            this.skipInvalid = skipInvalid;
            return this;
        }

        /** Store only documents whose id does not exist yet, and leave the others as they are. Default false. */
        public Builder onlyIfAbsent(boolean onlyIfAbsent) {
            this.onlyIfAbsent = onlyIfAbsent;
            return this;
        }

        /** Documents per request, 1 to {@link #MAX_DOCUMENTS_PER_REQUEST}. Default 500. */
        public Builder documentsPerRequest(int documents) {
            documentsPerRequest = inRange("documentsPerRequest", documents, MAX_DOCUMENTS_PER_REQUEST);
            return this;
        }

        /**
         * Number of bytes of documents at which a request is sent, 1 to {@link #MAX_BYTES_PER_REQUEST}. A larger
         * document is sent alone. Default 2 MiB.
         */
        public Builder bytesPerRequest(int bytes) {
            bytesPerRequest = inRange("bytesPerRequest", bytes, MAX_BYTES_PER_REQUEST);
            return this;
        }

        /**
         * Maximum number of requests that are sent but not acknowledged, 1 to {@link #MAX_REQUESTS_IN_FLIGHT}. They are
         * kept to be sent again. Default 4.
         */
        public Builder requestsInFlight(int requests) {
            requestsInFlight = inRange("requestsInFlight", requests, MAX_REQUESTS_IN_FLIGHT);
            return this;
        }

        /**
         * Maximum wait for an acknowledgement over an open connection, above 0 and at most
         * {@link PgfoxClient#MAX_TIMEOUT}. Default 600 s: embedding 1,000 long texts on a busy machine takes minutes.
         */
        public Builder acknowledgeTimeout(Duration timeout) {
            acknowledgeTimeout = PgfoxClient.positive("acknowledgeTimeout", timeout);
            return this;
        }

        /**
         * How long to retry after an interruption without an acknowledgement, at most {@link PgfoxClient#MAX_TIMEOUT};
         * zero means no retries. Default 60 s.
         */
        public Builder retryTimeout(Duration timeout) {
            if (timeout.isNegative() || timeout.compareTo(PgfoxClient.MAX_TIMEOUT) > 0) {
                throw new IllegalArgumentException("retryTimeout must be 0 to " + PgfoxClient.MAX_TIMEOUT.toSeconds()
                        + " s, not " + PgfoxClient.seconds(timeout));
            }
            retryTimeout = timeout;
            return this;
        }

        /**
         * Called for every committed request, with everything acknowledged so far and the skipped documents of this
         * request. It runs on the ingesting thread, so it should be quick.
         */
        public Builder onAcknowledged(BiConsumer<IngestTotals, List<SkippedDocument>> callback) {
            onAcknowledged = Objects.requireNonNull(callback);
            return this;
        }

        /**
         * Called when the stream broke, with the error and the pause before it resumes. It runs on the ingesting
         * thread.
         */
        public Builder onInterrupted(BiConsumer<PgfoxException, Duration> callback) {
            onInterrupted = Objects.requireNonNull(callback);
            return this;
        }

        /** The options. */
        public IngestOptions build() {
            return new IngestOptions(this);
        }

        private static int inRange(String name, int value, int max) {
            if (value < 1 || value > max) {
                throw new IllegalArgumentException(name + " must be 1 to " + max + ", not " + value);
            }
            return value;
        }
    }
}
