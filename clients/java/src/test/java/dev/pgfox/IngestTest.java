package dev.pgfox;

import static java.util.Map.entry;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.pgfox.v1.Document;
import dev.pgfox.v1.DocumentError;
import dev.pgfox.v1.ErrorReason;
import dev.pgfox.v1.IngestRequest;
import dev.pgfox.v1.IngestResponse;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.DataInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class IngestTest {
    private final StandIn server = new StandIn();
    private PgfoxClient client = PgfoxClient.connect(server.endpoint());

    @AfterEach
    void close() {
        client.close();
        server.close();
    }

    private static Document document(int id) {
        return Document.newBuilder()
                .setId(Integer.toString(id))
                .setText("text " + id)
                .build();
    }

    private static Iterable<Document> documents(int count) {
        return IntStream.range(0, count).mapToObj(IngestTest::document)::iterator;
    }

    private static IngestOptions.Builder tens() {
        return IngestOptions.builder().documentsPerRequest(10);
    }

    private List<Long> sequences() {
        return server.ingested.stream().map(IngestRequest::getSequence).toList();
    }

    private static List<Long> upTo(int last) {
        return LongStream.rangeClosed(1, last).boxed().toList();
    }

    private IngestException failing(Iterable<Document> documents, IngestOptions options) {
        return assertThrows(IngestException.class, () -> client.ingest("films", documents, options));
    }

    @Test
    void everythingIsSentInOrderAndCounted() {
        List<Long> acknowledged = new ArrayList<>();
        IngestOptions options = tens().onlyIfAbsent(true)
                .onAcknowledged((totals, skipped) -> acknowledged.add(totals.documents()))
                .build();
        IngestTotals totals = client.ingest("films", documents(25), options);
        assertEquals(25, totals.documents());
        assertEquals(25, totals.upserted());
        assertEquals(List.of(10L, 20L, 25L), acknowledged);
        assertEquals(upTo(3), sequences());
        assertTrue(server.ingested.stream()
                .allMatch(r -> r.getOnlyIfAbsent() && r.getCollection().equals("films")));
        assertEquals(Duration.ZERO, server.deadlines.get(0), "a stream has no deadline");
    }

    @Test
    void nothingToSayIsNoCall() {
        assertEquals(IngestTotals.NONE, client.ingest("films", List.of()));
        assertEquals(0, server.calls.size());
    }

    @Test
    void requestsAreBoundedByBytes() {
        Stream<Document> documents = Stream.of(10, 2_000, 10, 600, 600, 10)
                .map(bytes -> Document.newBuilder()
                        .setId("x")
                        .setText("x".repeat(bytes))
                        .build());
        client.ingest(
                "films",
                documents::iterator,
                IngestOptions.builder().bytesPerRequest(1_000).build());
        assertEquals(
                List.of(1, 1, 2, 2),
                server.ingested.stream().map(IngestRequest::getDocumentsCount).toList());
    }

    /** Only what was not acknowledged comes again, in order. */
    private void resumesAfter(StatusRuntimeException error) {
        server.streams.add(StandIn.endAfter(3, error));
        server.streams.add(StandIn.endAfter(0, error));
        List<String> interruptions = new ArrayList<>();
        IngestOptions options = tens().onInterrupted((e, pause) -> interruptions.add(e.getMessage()))
                .build();
        assertEquals(100, client.ingest("films", documents(100), options).documents());
        assertEquals(2, interruptions.size(), interruptions.toString());
        List<Long> sent = sequences();
        int second = sent.lastIndexOf(4L);
        assertEquals(LongStream.rangeClosed(4, 10).boxed().toList(), sent.subList(second, sent.size()));
        assertEquals(List.of(1L, 2L, 3L), sent.subList(0, 3));
        assertEquals(3, sent.stream().filter(sequence -> sequence == 4L).count());
    }

    @Test
    void aBrokenStreamIsTakenUpAgain() {
        resumesAfter(Status.UNAVAILABLE.asRuntimeException());
    }

    @Test
    void aCancelledStreamIsTakenUpAgain() {
        resumesAfter(Status.CANCELLED.asRuntimeException());
    }

    @Test
    void aStreamThatEndsEarlyIsTakenUpAgain() {
        resumesAfter(null);
    }

    /** Speaks just enough HTTP/2 to reset every stream. */
    private static void resetStreams(Socket connection) throws IOException {
        final byte headers = 1;
        final byte settings = 4;
        var in = new DataInputStream(connection.getInputStream());
        var out = connection.getOutputStream();
        in.skipNBytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".length());
        out.write(new byte[] {0, 0, 0, settings, 0, 0, 0, 0, 0});
        while (true) {
            byte[] frame = in.readNBytes(9);
            in.skipNBytes((frame[0] & 255) << 16 | (frame[1] & 255) << 8 | frame[2] & 255);
            if (frame[3] == settings && frame[4] == 0) {
                out.write(new byte[] {0, 0, 0, settings, 1, 0, 0, 0, 0});
            } else if (frame[3] == headers) {
                // RST_STREAM with INTERNAL_ERROR.
                out.write(new byte[] {0, 0, 4, 3, 0, frame[5], frame[6], frame[7], frame[8], 0, 0, 0, 2});
            }
        }
    }

    @Test
    void aStreamThatIsResetIsTakenUpAgain() throws Exception {
        client.close();
        try (ServerSocket resetting = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            CompletableFuture.runAsync(() -> {
                try (Socket connection = resetting.accept()) {
                    resetStreams(connection);
                } catch (IOException e) {
                    // Closed.
                }
            });
            client = PgfoxClient.connect("127.0.0.1:" + resetting.getLocalPort());
            String error = failing(
                            documents(5),
                            tens().retryTimeout(Duration.ofSeconds(1)).build())
                    .getMessage();
            assertTrue(
                    error.matches("the connection to http://127\\.0\\.0\\.1:\\d+ failed: RST_STREAM closed stream.*"
                            + " \\(\\d attempts in [01]\\.\\d s\\)"),
                    error);
        }
    }

    @Test
    void anErrorOfTheServerIsFinal() {
        for (Status.Code code : List.of(Status.Code.INTERNAL, Status.Code.UNKNOWN)) {
            server.calls.clear();
            server.streams.add(StandIn.endAfter(
                    1, code.toStatus().withDescription("the disk is full").asRuntimeException()));
            IngestException error = failing(documents(100), tens().build());
            assertEquals("the disk is full", error.getMessage());
            assertEquals(10, error.acknowledged().documents());
            assertEquals(1, server.calls.size());
        }
    }

    @Test
    void aTimeBeyondTheClockEndsIt() {
        server.streams.add(StandIn.endAfter(0, StandIn.busy(Duration.ofSeconds(Long.MAX_VALUE))));
        assertEquals(
                "every connection is busy",
                failing(documents(5), tens().build()).getMessage());
    }

    @Test
    void aBusyServerIsAskedAgainWhenItSays() {
        server.streams.add(StandIn.endAfter(0, StandIn.busy(Duration.ofMillis(600))));
        List<Duration> pauses = new ArrayList<>();
        long start = System.nanoTime();
        client.ingest(
                "films",
                documents(5),
                tens().onInterrupted((e, pause) -> pauses.add(pause)).build());
        assertEquals(List.of(Duration.ofMillis(600)), pauses);
        assertTrue(System.nanoTime() - start >= Duration.ofMillis(600).toNanos());
    }

    @Test
    void aRefusalEndsItAndSaysWhatIsStored() {
        var refusal = StandIn.error(
                Status.Code.INVALID_ARGUMENT, "INVALID_FIELD", "no", null, "documents[3].id", "must be 1 to 512 bytes");
        server.streams.add(StandIn.endAfter(2, refusal));
        IngestException error = failing(documents(100), tens().build());
        assertEquals(20, error.acknowledged().documents());
        assertEquals(
                ErrorReason.ERROR_REASON_INVALID_FIELD, PgfoxException.of(error).reason());
        assertTrue(error.getMessage().contains("documents[3].id: must be 1 to 512 bytes"), error.getMessage());
        assertEquals(1, server.calls.size());
    }

    @Test
    void anAcknowledgementOutOfOrderIsAnError() {
        server.streams.add(() -> (request, answer) ->
                StandIn.acknowledge(request.toBuilder().setSequence(7).build(), answer));
        IngestException error = failing(documents(5), tens().build());
        assertInstanceOf(IllegalStateException.class, error.getCause());
        assertEquals("the server acknowledged request 7 instead of 1", error.getMessage());
        assertEquals(IngestTotals.NONE, error.acknowledged());
    }

    @Test
    void skippedDocumentsHaveTheirPositionInTheStream() {
        server.streams.add(() -> (request, answer) -> answer.onNext(IngestResponse.newBuilder()
                .setSequence(request.getSequence())
                .addErrors(DocumentError.newBuilder()
                        .setIndex(2)
                        .setId(request.getDocuments(2).getId())
                        .setReason(ErrorReason.ERROR_REASON_INVALID_FIELD)
                        .setMessage("no"))
                .build()));
        List<SkippedDocument> skipped = new ArrayList<>();
        IngestOptions options = tens().skipInvalid(true)
                .onAcknowledged((totals, more) -> skipped.addAll(more))
                .build();
        assertEquals(2, client.ingest("films", documents(20), options).skipped());
        assertEquals(new SkippedDocument(12, "12", ErrorReason.ERROR_REASON_INVALID_FIELD, "no"), skipped.get(1));
    }

    @Test
    void aSilentServerHoldsTheSourceBackAndIsGivenUp() {
        server.streams.add(() -> (request, answer) -> {});
        AtomicInteger taken = new AtomicInteger();
        Iterable<Document> endless = Stream.generate(() -> document(taken.getAndIncrement()))::iterator;
        IngestException error = failing(
                endless,
                tens().requestsInFlight(2)
                        .acknowledgeTimeout(Duration.ofSeconds(1))
                        .build());
        assertEquals(Status.Code.DEADLINE_EXCEEDED, PgfoxException.of(error).code());
        assertEquals("the server acknowledged nothing for 1 s", error.getMessage());
        assertEquals(20, taken.get());
    }

    @Test
    void itGivesUpWhenTheServerStaysAway() {
        server.close();
        long start = System.nanoTime();
        IngestException error =
                failing(documents(5), tens().retryTimeout(Duration.ofSeconds(1)).build());
        assertTrue(System.nanoTime() - start < Duration.ofSeconds(3).toNanos());
        assertEquals(Status.Code.UNAVAILABLE, PgfoxException.of(error).code());
        assertTrue(error.getMessage().contains("no answer from http://127.0.0.1:"), error.getMessage());
        assertTrue(error.getMessage().matches(".* \\(\\d attempts in [01]\\.\\d s\\)"), error.getMessage());
    }

    @Test
    void aFailingSourceEndsItWithItsOwnError() {
        RuntimeException own = new RuntimeException("the disk is gone");
        Iterable<Document> failing = IntStream.range(0, 100).mapToObj(id -> {
            if (id == 55) {
                throw own;
            }
            return document(id);
        })::iterator;
        IngestException error = failing(failing, tens().build());
        assertSame(own, error.getCause());
        assertTrue(error.acknowledged().documents() <= 50);
    }

    @Test
    void aDocumentAboveTheLimitIsNamed() {
        Document large =
                Document.newBuilder().setId("big").setText("x".repeat(17 << 20)).build();
        IngestException error = failing(List.of(document(0), large), tens().build());
        assertInstanceOf(IllegalArgumentException.class, error.getCause());
        assertTrue(error.getMessage().startsWith("document 1 (\"big\") has 178"), error.getMessage());
    }

    @Test
    void halfOfASurrogatePairIsNamed() {
        Document id = Document.newBuilder().setId("a\ud800").setText("x").build();
        Document text = Document.newBuilder().setId("b").setText("\udc00").build();
        for (Document bad : List.of(id, text)) {
            IngestException error = failing(List.of(document(0), bad), tens().build());
            assertInstanceOf(IllegalArgumentException.class, error.getCause());
            assertTrue(
                    error.getMessage().startsWith("document 1 (\"" + bad.getId() + "\") has half of a surrogate pair"),
                    error.getMessage());
        }
        assertEquals(0, server.ingested.size());
        Document whole = Document.newBuilder()
                .setId("\ud83e\udd8a")
                .setText("\ud83e\udd8a")
                .build();
        assertEquals(1, client.ingest("films", List.of(whole)).documents());
    }

    /** Starts an ingest and waits until the server has seen it. */
    private CompletableFuture<IngestTotals> running(Supplier<StandIn.StreamScript> script) throws InterruptedException {
        server.streams.add(script);
        CompletableFuture<IngestTotals> running = client.ingestAsync("films", documents(100), tens().build());
        while (server.ingested.isEmpty()) {
            Thread.sleep(5);
        }
        Thread.sleep(100);
        return running;
    }

    @Test
    void cancellingTheFutureEndsIt() throws Exception {
        AtomicReference<StreamObserver<IngestResponse>> stream = new AtomicReference<>();
        running(() -> (request, answer) -> stream.set(answer)).cancel(true);
        // The server sees the call end, so the thread has left it.
        var call = (ServerCallStreamObserver<IngestResponse>) stream.get();
        for (int i = 0; i < 400 && !call.isCancelled(); i++) {
            Thread.sleep(5);
        }
        assertTrue(call.isCancelled());
    }

    @Test
    void closingTheClientEndsIt() throws Exception {
        // Both while it waits for an acknowledgement and while it pauses.
        for (var script : List.<Supplier<StandIn.StreamScript>>of(
                () -> (request, answer) -> {}, StandIn.endAfter(0, StandIn.busy(Duration.ofSeconds(15))))) {
            server.ingested.clear();
            var running = running(script);
            client.close();
            ExecutionException error = assertThrows(ExecutionException.class, () -> running.get(2, TimeUnit.SECONDS));
            assertInstanceOf(IngestException.class, error.getCause());
            assertEquals("the client was closed", error.getCause().getMessage());
            client = PgfoxClient.connect(server.endpoint());
        }
    }

    @Test
    void anInterruptEndsIt() {
        server.streams.add(() -> (request, answer) -> {});
        Thread caller = Thread.currentThread();
        CompletableFuture.delayedExecutor(300, TimeUnit.MILLISECONDS).execute(caller::interrupt);
        IngestException error = failing(documents(100), tens().build());
        assertInstanceOf(InterruptedException.class, error.getCause());
        assertTrue(Thread.interrupted());
    }

    /** The options are checked when they are built, so that nothing can be sent with wrong ones. */
    @Test
    void optionsOutsideTheirRangeAreRefused() {
        Map<String, UnaryOperator<IngestOptions.Builder>> refused = Map.ofEntries(
                entry("documentsPerRequest must be 1 to 1000, not 0", o -> o.documentsPerRequest(0)),
                entry("documentsPerRequest must be 1 to 1000, not 1001", o -> o.documentsPerRequest(1_001)),
                entry("bytesPerRequest must be 1 to 16711680, not 0", o -> o.bytesPerRequest(0)),
                entry("bytesPerRequest must be 1 to 16711680, not 16777216", o -> o.bytesPerRequest(16 << 20)),
                entry("requestsInFlight must be 1 to 100, not 0", o -> o.requestsInFlight(0)),
                entry("requestsInFlight must be 1 to 100, not 101", o -> o.requestsInFlight(101)),
                entry(
                        "acknowledgeTimeout must be above 0 and at most 86400 s, not 0 s",
                        o -> o.acknowledgeTimeout(Duration.ZERO)),
                entry(
                        "acknowledgeTimeout must be above 0 and at most 86400 s, not 86400.5 s",
                        o -> o.acknowledgeTimeout(Duration.ofMillis(86_400_500))),
                entry(
                        "acknowledgeTimeout must be above 0 and at most 86400 s, not 9223372036854775807 s",
                        o -> o.acknowledgeTimeout(Duration.ofSeconds(Long.MAX_VALUE))),
                entry("retryTimeout must be 0 to 86400 s, not -1 s", o -> o.retryTimeout(Duration.ofSeconds(-1))),
                entry(
                        "retryTimeout must be 0 to 86400 s, not 86401 s",
                        o -> o.retryTimeout(Duration.ofSeconds(86_401))));
        refused.forEach((message, change) -> {
            var error =
                    assertThrows(IllegalArgumentException.class, () -> change.apply(IngestOptions.builder()), message);
            assertEquals(message, error.getMessage());
        });
    }

    @Test
    void optionsAtTheEndsOfTheirRange() {
        IngestOptions outermost = IngestOptions.builder()
                .documentsPerRequest(1_000)
                .bytesPerRequest((16 << 20) - (64 << 10))
                .requestsInFlight(100)
                .acknowledgeTimeout(Duration.ofDays(1))
                .retryTimeout(Duration.ZERO)
                .build();
        assertEquals(1, client.ingest("c", documents(1), outermost).documents());
    }
}
