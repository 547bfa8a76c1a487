package dev.pgfox;

import com.google.common.util.concurrent.ListenableFuture;
import dev.pgfox.v1.Collection;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.ListCollectionsRequest;
import dev.pgfox.v1.ListCollectionsResponse;
import dev.pgfox.v1.ListDocumentsRequest;
import dev.pgfox.v1.ListDocumentsResponse;
import dev.pgfox.v1.PgfoxServiceGrpc;
import dev.pgfox.v1.PgfoxServiceGrpc.PgfoxServiceBlockingStub;
import dev.pgfox.v1.PgfoxServiceGrpc.PgfoxServiceFutureStub;
import dev.pgfox.v1.PgfoxServiceGrpc.PgfoxServiceStub;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * A connection to a pgfox server, and the generated stubs over it. Safe for any number of threads; one is enough for a
 * program.
 *
 * <pre>{@code
 * try (PgfoxClient pgfox = PgfoxClient.connect("127.0.0.1:50051")) {
 *     SearchResponse found = pgfox.blocking().search(SearchRequest.newBuilder()
 *             .setCollection("notes")
 *             .setText("ice on the sea")
 *             .build());
 * }
 * }</pre>
 *
 * <p>Calls that fail with {@code UNAVAILABLE}, or with {@code RESOURCE_EXHAUSTED} and a time to come back, are retried
 * within their deadline. Calls that are not safe to repeat are made once: {@code CreateCollection},
 * {@code DeleteCollection}, {@code DropIndex}, and {@code Ingest} with versions. {@link PgfoxException} has the details
 * of an error.
 */
public final class PgfoxClient implements AutoCloseable {
    /** The address of a server with default settings. */
    public static final String DEFAULT_ENDPOINT = "127.0.0.1:50051";
    /** Maximum size of a message in bytes, both ways: the server's limit of 16 MiB and a little for its frame. */
    public static final int MAX_MESSAGE_BYTES = (16 << 20) + (64 << 10);

    /** Maximum value of every timeout option, here and in {@link IngestOptions}: one day. */
    public static final Duration MAX_TIMEOUT = Duration.ofDays(1);

    private static final String VERSION = "0.1.0";
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private static final Duration CLOSE_WAIT = Duration.ofSeconds(5);

    private final Endpoint endpoint;
    private final ManagedChannel connection;
    private final RetryInterceptor retry;
    private final Channel channel;

    private PgfoxClient(Builder options, Endpoint endpoint) {
        this.endpoint = endpoint;
        connection = Grpc.newChannelBuilder(endpoint.target(), options.credentials(endpoint))
                .defaultLoadBalancingPolicy("round_robin")
                .maxInboundMessageSize(MAX_MESSAGE_BYTES)
                // Detects a server that vanished without closing the connection.
                .keepAliveTime(20, TimeUnit.SECONDS)
                .keepAliveTimeout(10, TimeUnit.SECONDS)
                .keepAliveWithoutCalls(true)
                .userAgent("pgfox-java/" + VERSION)
                .build();
        Metadata headers = new Metadata();
        if (options.apiKey != null) {
            headers.put(AUTHORIZATION, "Bearer " + options.apiKey);
        }
        // The last interceptor is the first to see a call.
        Channel intercepted = ClientInterceptors.intercept(
                connection,
                new ErrorInterceptor(endpoint, connection),
                MetadataUtils.newAttachHeadersInterceptor(headers));
        retry = new RetryInterceptor(connection);
        if (options.isRetrying) {
            intercepted = ClientInterceptors.intercept(intercepted, retry);
        }
        channel = ClientInterceptors.intercept(intercepted, new DefaultsInterceptor(options.timeout));
    }

    /** A client with the defaults; see {@link Builder}. */
    public static PgfoxClient connect(String endpoint) {
        return builder(endpoint).connect();
    }

    /**
     * Begins the settings of a client.
     *
     * @param endpoint {@code host:port}, {@code http://host:port} or {@code https://host:port}. Without a scheme: https
     *     with a CA, else http. If a name has several addresses, all are used in turn.
     */
    public static Builder builder(String endpoint) {
        return new Builder(endpoint);
    }

    /** The generated stub whose calls return when they are done. */
    public PgfoxServiceBlockingStub blocking() {
        return PgfoxServiceGrpc.newBlockingStub(channel);
    }

    /** The generated stub whose calls report to a {@code StreamObserver}. */
    public PgfoxServiceStub async() {
        return PgfoxServiceGrpc.newStub(channel);
    }

    /** The generated stub whose calls return a {@code ListenableFuture}; it has no streams. */
    public PgfoxServiceFutureStub future() {
        return PgfoxServiceGrpc.newFutureStub(channel);
    }

    /** The channel for other stubs, such as that of {@code grpc.health.v1}. */
    public Channel channel() {
        return channel;
    }

    /**
     * A call of {@link #future} as a {@link CompletableFuture}: {@code completable(pgfox.future().search(request))}. It
     * fails with the error of the call, and cancelling it cancels the call.
     */
    public static <T> CompletableFuture<T> completable(ListenableFuture<T> call) {
        CompletableFuture<T> completable = new CompletableFuture<>();
        call.addListener(
                () -> {
                    try {
                        completable.complete(call.get());
                    } catch (ExecutionException e) {
                        completable.completeExceptionally(e.getCause());
                    } catch (CancellationException e) {
                        completable.cancel(false);
                    } catch (InterruptedException e) {
                        // Impossible, since the call is done.
                        completable.completeExceptionally(e);
                    }
                },
                Runnable::run);
        completable.whenComplete((done, error) -> {
            if (completable.isCancelled()) {
                call.cancel(true);
            }
        });
        return completable;
    }

    /**
     * Every document that the request selects, beginning at its {@code page_token}, page by page: {@code for (Document
     * document : pgfox.allDocuments(request))}, or {@code pgfox.allDocuments(request).stream()}.
     */
    public Pages<Document> allDocuments(ListDocumentsRequest request) {
        return new Pages<>(request.getPageToken(), token -> {
            ListDocumentsResponse page = blocking()
                    .listDocuments(request.toBuilder().setPageToken(token).build());
            return new Pages.Page<>(page.getDocumentsList(), page.getNextPageToken());
        });
    }

    /** Every collection, page by page. */
    public Pages<Collection> allCollections() {
        return new Pages<>("", token -> {
            ListCollectionsResponse page = blocking()
                    .listCollections(ListCollectionsRequest.newBuilder()
                            .setPageToken(token)
                            .build());
            return new Pages.Page<>(page.getCollectionsList(), page.getNextPageToken());
        });
    }

    /** {@link #ingest(String, Iterable, IngestOptions)} with the defaults. */
    public IngestTotals ingest(String collection, Iterable<Document> documents) {
        return ingest(collection, documents, IngestOptions.builder().build());
    }

    /**
     * Streams any number of documents into a collection and returns when all are committed. For a {@code Stream} pass
     * {@code stream::iterator}.
     *
     * <p>Reads the documents as fast as the server stores them. At most {@link IngestOptions.Builder#requestsInFlight}
     * requests, and one that is being filled, are in memory. After a broken connection it sends everything again that
     * was not acknowledged. Ids make that safe. The source and the callbacks run on the calling thread, so a slow
     * source also delays the callbacks.
     *
     * @throws IngestException if it ends early. It says why, and what is stored
     */
    public IngestTotals ingest(String collection, Iterable<Document> documents, IngestOptions options) {
        return new Ingest(connection, async(), options, new Requests(documents.iterator(), collection, options)).run();
    }

    /**
     * The same on its own thread, which reads the documents and runs the callbacks. The future fails with an
     * {@link IngestException}. Cancelling or completing the future stops the ingest.
     */
    public CompletableFuture<IngestTotals> ingestAsync(
            String collection, Iterable<Document> documents, IngestOptions options) {
        CompletableFuture<IngestTotals> totals = new CompletableFuture<>();
        Thread thread = new Thread(
                () -> {
                    try {
                        totals.complete(ingest(collection, documents, options));
                    } catch (Throwable error) {
                        totals.completeExceptionally(error);
                    }
                },
                "pgfox-ingest");
        thread.setDaemon(true);
        totals.whenComplete((done, error) -> {
            if (error != null) {
                thread.interrupt();
            }
        });
        thread.start();
        return totals;
    }

    /** Ends every running call, and the connection. */
    @Override
    public void close() {
        connection.shutdownNow();
        retry.endPauses();
        try {
            connection.awaitTermination(CLOSE_WAIT.toNanos(), TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public String toString() {
        return "PgfoxClient[" + endpoint + "]";
    }

    /** Seconds as people write them. */
    static String seconds(Duration value) {
        BigDecimal seconds = BigDecimal.valueOf(value.getSeconds()).add(BigDecimal.valueOf(value.getNano(), 9));
        return seconds.stripTrailingZeros().toPlainString() + " s";
    }

    static Duration positive(String name, Duration value) {
        if (value.isZero() || value.isNegative() || value.compareTo(MAX_TIMEOUT) > 0) {
            throw new IllegalArgumentException(
                    name + " must be above 0 and at most " + MAX_TIMEOUT.toSeconds() + " s, not " + seconds(value));
        }
        return value;
    }

    /** How to reach the server. */
    public static final class Builder {
        private final String endpoint;
        private String apiKey;
        private byte[] ca;
        private Duration timeout = Duration.ofSeconds(30);
        private boolean isRetrying = true;

        private Builder(String endpoint) {
            this.endpoint = endpoint;
        }

        /**
         * Sent as {@code authorization: Bearer <key>} with every call, and never printed. Null (the default) or empty:
         * no key is sent.
         */
        public Builder apiKey(String key) {
            apiKey = key == null || key.isBlank() ? null : key.strip();
            return this;
        }

        /**
         * Trusted CA certificates in PEM. Null (the default): those that Java trusts, which the system property
         * {@code javax.net.ssl.trustStore} can change.
         */
        public Builder ca(byte[] pem) {
            ca = pem == null ? null : pem.clone();
            return this;
        }

        /**
         * Deadline of every call except {@code IngestStream} and {@code BuildIndex}, for all attempts together, unless
         * the stub sets its own by {@code withDeadlineAfter}. Above 0 and at most {@link #MAX_TIMEOUT}. Default 30 s.
         *
         * @throws IllegalArgumentException if it is outside its range
         */
        public Builder timeout(Duration timeout) {
            this.timeout = positive("timeout", timeout);
            return this;
        }

        /** Whether to retry calls that may succeed later. Default true. */
        public Builder retry(boolean retry) {
            isRetrying = retry;
            return this;
        }

        /**
         * Makes the client. It connects with the first call, and reconnects when necessary.
         *
         * @throws IllegalArgumentException if the endpoint, the key or the CA cannot be used. The message says why
         */
        public PgfoxClient connect() {
            // gRPC for Java would send other characters as `?`.
            if (apiKey != null && !apiKey.chars().allMatch(letter -> letter > ' ' && letter <= '~')) {
                throw new IllegalArgumentException(
                        "the API key may contain only visible ASCII characters, and no spaces");
            }
            return new PgfoxClient(this, Endpoint.parse(endpoint, ca != null));
        }

        private ChannelCredentials credentials(Endpoint address) {
            if (!address.tls()) {
                return InsecureChannelCredentials.create();
            }
            TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
            if (ca != null) {
                try {
                    if (CertificateFactory.getInstance("X.509")
                            .generateCertificates(new ByteArrayInputStream(ca))
                            .isEmpty()) {
                        throw new CertificateException("there is none");
                    }
                    tls.trustManager(new ByteArrayInputStream(ca));
                } catch (CertificateException e) {
                    throw new IllegalArgumentException("the CA must be certificates in PEM: " + e.getMessage(), e);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
            return tls.build();
        }

        /** Without the API key. */
        @Override
        public String toString() {
            return "PgfoxClient.Builder[" + endpoint + "]";
        }
    }
}
