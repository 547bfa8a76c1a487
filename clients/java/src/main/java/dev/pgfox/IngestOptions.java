package dev.pgfox;

import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.function.BiConsumer;

/** How to ingest a stream of documents: {@code IngestOptions.builder().skipInvalid(true).build()}. */
public final class IngestOptions {
    /** Most documents that the server takes in one request. */
    public static final int MAX_DOCUMENTS_PER_REQUEST = 1_000;
    /** Most bytes of documents in one request: the 16 MiB of the server less room for the rest of the message. */
    public static final int MAX_BYTES_PER_REQUEST = (16 << 20) - (64 << 10);

    /** Most requests that may be sent and not acknowledged yet. */
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

    /** The defaults, to be changed. */
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
         * Store the good documents and report the bad ones, instead of ending with the first bad request. Default
         * false.
         */
        public Builder skipInvalid(boolean skipInvalid) {
            this.skipInvalid = skipInvalid;
            return this;
        }

        /** Store only documents whose id does not exist, and leave the others as they are. Default false. */
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
         * Bytes of documents at which a request is sent, 1 to {@link #MAX_BYTES_PER_REQUEST}. A larger document goes
         * alone. Default 2 MiB.
         */
        public Builder bytesPerRequest(int bytes) {
            bytesPerRequest = inRange("bytesPerRequest", bytes, MAX_BYTES_PER_REQUEST);
            return this;
        }

        /**
         * Requests sent and not acknowledged yet, 1 to {@link #MAX_REQUESTS_IN_FLIGHT}. They are kept for sending
         * again. Default 4.
         */
        public Builder requestsInFlight(int requests) {
            requestsInFlight = inRange("requestsInFlight", requests, MAX_REQUESTS_IN_FLIGHT);
            return this;
        }

        /**
         * Longest wait for an acknowledgement over a connection that stands, above 0 and at most
         * {@link PgfoxClient#MAX_TIMEOUT}. Default 600 s: embedding 1,000 long texts on a busy machine takes minutes.
         */
        public Builder acknowledgeTimeout(Duration timeout) {
            acknowledgeTimeout = PgfoxClient.positive("acknowledgeTimeout", timeout);
            return this;
        }

        /**
         * How long to try again after an interruption when nothing is acknowledged meanwhile, at most
         * {@link PgfoxClient#MAX_TIMEOUT}; zero: not at all. Default 60 s.
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
         * Told after every request that was committed: everything acknowledged so far, and what was skipped of this
         * request. Called on the ingesting thread, so it should be quick.
         */
        public Builder onAcknowledged(BiConsumer<IngestTotals, List<SkippedDocument>> callback) {
            onAcknowledged = Objects.requireNonNull(callback);
            return this;
        }

        /**
         * Told when the stream broke, with the error and the pause after which it is taken up again. Called on the
         * ingesting thread.
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
