package dev.pgfox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.common.util.concurrent.ListenableFuture;
import dev.pgfox.v1.CreateCollectionRequest;
import dev.pgfox.v1.DeleteCollectionRequest;
import dev.pgfox.v1.DropIndexRequest;
import dev.pgfox.v1.IngestRequest;
import dev.pgfox.v1.SearchRequest;
import dev.pgfox.v1.SearchResponse;
import io.grpc.Context;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

@Timeout(20)
class RetryTest {
    private static final SearchRequest SEARCH =
            SearchRequest.newBuilder().setCollection("films").setText("a heist").build();

    private final StandIn server = new StandIn();
    private final PgfoxClient client =
            PgfoxClient.builder(server.endpoint()).apiKey("s3cret").connect();

    @AfterEach
    void close() {
        client.close();
        server.close();
    }

    private PgfoxException failing(Executable call) {
        return PgfoxException.of(assertThrows(StatusRuntimeException.class, call));
    }

    private static Duration time(Executable call) throws Throwable {
        long start = System.nanoTime();
        call.execute();
        return Duration.ofNanos(System.nanoTime() - start);
    }

    private static void assertTook(Duration time, long minMillis, long maxMillis) {
        assertTrue(time.toMillis() >= minMillis && time.toMillis() <= maxMillis, "took " + time);
    }

    @Test
    void unavailableIsRepeatedWithTheSameHeaders() throws Exception {
        server.failures.add(StandIn.unavailable());
        server.failures.add(StandIn.unavailable());
        client.blocking().search(SEARCH);
        assertEquals(3, server.calls.size());
        Metadata.Key<String> authorization = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
        for (Metadata headers : server.calls) {
            var values = headers.getAll(authorization).iterator();
            assertEquals("Bearer s3cret", values.next());
            assertTrue(!values.hasNext(), "sent twice");
        }
        server.failures.add(StandIn.unavailable());
        client.future().search(SEARCH).get();
        assertEquals(5, server.calls.size());
    }

    @Test
    void theServerSaysWhenToComeBack() throws Throwable {
        server.failures.add(StandIn.busy(Duration.ofMillis(700)));
        assertTook(time(() -> client.blocking().search(SEARCH)), 700, 5_000);
        assertEquals(2, server.calls.size());
    }

    @Test
    void theLastErrorTellsAttemptsAndTimeFromTheBeginning() {
        server.time = Duration.ofMillis(600);
        server.failures.add(StandIn.unavailable());
        server.failures.add(StandIn.error(Status.Code.NOT_FOUND, "COLLECTION_NOT_FOUND", "there is no films", null));
        PgfoxException error = failing(() -> client.blocking().search(SEARCH));
        assertEquals(Status.Code.NOT_FOUND, error.code());
        assertTrue(error.getMessage().matches("there is no films \\(2 attempts in 1\\.[2-9] s\\)"), error.getMessage());
    }

    @Test
    void aTimeBeyondTheClockEndsTheCall() {
        server.failures.add(StandIn.busy(Duration.ofSeconds(Long.MAX_VALUE)));
        PgfoxException error = failing(() -> client.blocking().search(SEARCH));
        assertEquals("every connection is busy", error.getMessage());
        assertEquals(Duration.ofDays(365), error.retryDelay().orElseThrow());
    }

    @Test
    void exhaustedWithoutATimeIsNotRepeated() {
        server.failures.add(StandIn.busy(null));
        PgfoxException error = failing(() -> client.blocking().search(SEARCH));
        assertEquals(Status.Code.RESOURCE_EXHAUSTED, error.code());
        assertEquals("every connection is busy", error.getMessage());
        assertEquals(1, server.calls.size());
    }

    @Test
    void aPauseBeyondTheDeadlineIsNotBegun() throws Throwable {
        server.failures.add(StandIn.unavailable());
        server.failures.add(StandIn.busy(Duration.ofSeconds(10)));
        Duration time = time(() -> {
            PgfoxException error = failing(() ->
                    client.blocking().withDeadlineAfter(4, TimeUnit.SECONDS).search(SEARCH));
            assertEquals(Status.Code.RESOURCE_EXHAUSTED, error.code());
            assertTrue(
                    error.getMessage().matches("every connection is busy \\(2 attempts in 0\\.\\d s\\)"),
                    error.getMessage());
            assertEquals(Duration.ofSeconds(10), error.retryDelay().orElseThrow());
        });
        assertTook(time, 0, 3_000);
    }

    @Test
    void whatCouldFailBecauseItSucceededIsNotRepeated() {
        var blocking = client.blocking();
        for (int i = 0; i < 4; i++) {
            server.failures.add(StandIn.unavailable());
        }
        failing(() -> blocking.createCollection(CreateCollectionRequest.getDefaultInstance()));
        failing(() -> blocking.deleteCollection(DeleteCollectionRequest.getDefaultInstance()));
        failing(() -> blocking.dropIndex(DropIndexRequest.getDefaultInstance()));
        failing(() ->
                blocking.ingest(IngestRequest.newBuilder().putIfVersion("1", 0).build()));
        assertEquals(4, server.calls.size());
        server.failures.add(StandIn.unavailable());
        blocking.ingest(IngestRequest.getDefaultInstance());
        assertEquals(6, server.calls.size());
    }

    @Test
    void retriesCanBeSwitchedOff() {
        server.failures.add(StandIn.unavailable());
        try (PgfoxClient once =
                PgfoxClient.builder(server.endpoint()).retry(false).connect()) {
            PgfoxException error = failing(() -> once.blocking().search(SEARCH));
            assertEquals("the server is shutting down", error.getMessage());
        }
        assertEquals(1, server.calls.size());
    }

    @Test
    void anInterruptEndsAPause() throws Throwable {
        server.failures.add(StandIn.busy(Duration.ofSeconds(15)));
        Thread caller = Thread.currentThread();
        CompletableFuture.delayedExecutor(300, TimeUnit.MILLISECONDS).execute(caller::interrupt);
        Duration time = time(() -> {
            PgfoxException error = failing(() -> client.blocking().search(SEARCH));
            assertEquals(Status.Code.CANCELLED, error.code());
        });
        assertTrue(Thread.interrupted());
        assertTook(time, 200, 3_000);
    }

    @Test
    void cancellingTheContextEndsAPause() throws Throwable {
        server.failures.add(StandIn.busy(Duration.ofSeconds(15)));
        Context.CancellableContext context = Context.current().withCancellation();
        CompletableFuture.delayedExecutor(300, TimeUnit.MILLISECONDS).execute(() -> context.cancel(null));
        Duration time = time(() -> context.run(() -> {
            PgfoxException error = failing(() -> client.blocking().search(SEARCH));
            assertEquals(Status.Code.CANCELLED, error.code());
        }));
        assertTook(time, 200, 3_000);
    }

    /** A call that pauses because the server asked for it. */
    private ListenableFuture<SearchResponse> pausing(Duration pause) throws InterruptedException {
        server.failures.add(StandIn.busy(pause));
        var pausing = client.future().search(SEARCH);
        while (server.calls.isEmpty()) {
            Thread.sleep(5);
        }
        Thread.sleep(100);
        return pausing;
    }

    @Test
    void closingTheClientEndsAPause() throws Throwable {
        var pausing = pausing(Duration.ofSeconds(15));
        assertTook(time(client::close), 0, 2_000);
        var error = assertThrows(ExecutionException.class, () -> pausing.get(2, TimeUnit.SECONDS));
        assertEquals("the client was closed", PgfoxException.of(error).getMessage());
    }

    @Test
    void cancellingAFutureEndsAPause() throws Throwable {
        pausing(Duration.ofMillis(500)).cancel(true);
        Thread.sleep(1_000);
        assertEquals(1, server.calls.size(), "repeated though cancelled");
    }

    @Test
    void aDeadServerIsToldAfterTheDeadlineAndFoundWhenItIsBack() throws Throwable {
        int port = server.server.getPort();
        server.close();
        Duration time = time(() -> {
            PgfoxException error = failing(() ->
                    client.blocking().withDeadlineAfter(2, TimeUnit.SECONDS).search(SEARCH));
            assertEquals(Status.Code.UNAVAILABLE, error.code());
            assertTrue(
                    error.getMessage().contains("no answer from http://127.0.0.1:" + port + ": "), error.getMessage());
            assertTrue(error.getMessage().matches(".* \\(\\d attempts in [0-2]\\.\\d s\\)"), error.getMessage());
        });
        assertTook(time, 500, 2_500);

        var found = client.future().withDeadlineAfter(15, TimeUnit.SECONDS).search(SEARCH);
        Thread.sleep(1_000);
        try (StandIn back = new StandIn(port, InsecureServerCredentials.create())) {
            found.get();
            assertEquals(1, back.calls.size());
        }
    }

    @Test
    void everyAttemptTriesToConnect() throws Exception {
        AtomicInteger connections = new AtomicInteger();
        try (ServerSocket dying = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
                PgfoxClient unlucky = PgfoxClient.connect("127.0.0.1:" + dying.getLocalPort())) {
            CompletableFuture.runAsync(() -> {
                while (!dying.isClosed()) {
                    try (Socket connection = dying.accept()) {
                        connections.incrementAndGet();
                    } catch (IOException e) {
                        // Closed.
                    }
                }
            });
            failing(() ->
                    unlucky.blocking().withDeadlineAfter(3, TimeUnit.SECONDS).search(SEARCH));
        }
        // By itself gRPC would try after 1 s, and again after 1.6 s.
        assertTrue(connections.get() > 3, connections + " connections");
    }
}
