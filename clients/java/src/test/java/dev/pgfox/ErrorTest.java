package dev.pgfox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.InvalidProtocolBufferException;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.ErrorReason;
import dev.pgfox.v1.IngestRequest;
import dev.pgfox.v1.PgfoxServiceGrpc;
import dev.pgfox.v1.SearchRequest;
import dev.pgfox.v1.SearchResponse;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

@Timeout(20)
class ErrorTest {
    private static final SearchRequest SEARCH =
            SearchRequest.newBuilder().setCollection("films").setText("a heist").build();

    private final StandIn server = new StandIn();
    private final PgfoxClient client = PgfoxClient.connect(server.endpoint());

    @AfterEach
    void close() {
        client.close();
        server.close();
    }

    private static StatusRuntimeException badRequest() {
        return StandIn.error(
                Status.Code.INVALID_ARGUMENT,
                "INVALID_FIELD",
                "limit must be 0 to 1000, not -1 (and 1 more; the details name them)",
                null,
                "limit",
                "must be 0 to 1000, not -1",
                "params.ef_search",
                "must be 1 to 1000, not -2");
    }

    private static void assertBadRequest(Throwable thrown) {
        PgfoxException error = PgfoxException.of(thrown);
        assertEquals(Status.Code.INVALID_ARGUMENT, error.code());
        assertEquals(ErrorReason.ERROR_REASON_INVALID_FIELD, error.reason());
        assertEquals(Map.of("collection", "films"), error.metadata());
        assertEquals("params.ef_search", error.violations().get(1).getField());
        assertEquals("must be 1 to 1000, not -2", error.violations().get(1).getDescription());
        assertEquals("abc123", error.requestId().orElseThrow());
        assertTrue(error.retryDelay().isEmpty());
        assertTrue(
                error.getMessage()
                        .endsWith(
                                "\n  limit: must be 0 to 1000, not -1\n  params.ef_search: must be 1 to 1000, not -2"),
                error.getMessage());
    }

    @Test
    void everyStubTellsAll() throws Exception {
        for (int i = 0; i < 3; i++) {
            server.failures.add(badRequest());
        }
        var blocking = assertThrows(
                StatusRuntimeException.class, () -> client.blocking().search(SEARCH));
        assertBadRequest(blocking);
        assertSame(blocking.getCause(), PgfoxException.of(blocking));
        assertTrue(blocking.getMessage().contains("params.ef_search: must be 1"), blocking.getMessage());

        assertBadRequest(assertThrows(
                ExecutionException.class, () -> client.future().search(SEARCH).get()));

        CompletableFuture<Throwable> async = new CompletableFuture<>();
        client.async().search(SEARCH, new StreamObserver<>() {
            @Override
            public void onNext(SearchResponse response) {}

            @Override
            public void onError(Throwable error) {
                async.complete(error);
            }

            @Override
            public void onCompleted() {}
        });
        assertBadRequest(async.get());
    }

    @Test
    void stubsOverOtherChannelsCanBeReadToo() {
        server.failures.add(badRequest());
        ManagedChannel channel = Grpc.newChannelBuilder(server.endpoint(), InsecureChannelCredentials.create())
                .build();
        try {
            var stub = PgfoxServiceGrpc.newBlockingStub(channel);
            assertBadRequest(assertThrows(StatusRuntimeException.class, () -> stub.search(SEARCH)));
        } finally {
            channel.shutdownNow();
        }
    }

    @Test
    void unknownReasonsAndUnreadableDetailsAreNoReason() {
        server.failures.add(StandIn.error(Status.Code.INTERNAL, "FROM_THE_FUTURE", "hm", null));
        Metadata garbage = new Metadata();
        garbage.put(Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER), new byte[] {1, 2, 3});
        server.failures.add(Status.FAILED_PRECONDITION.withDescription("no").asRuntimeException(garbage));
        PgfoxException newer = PgfoxException.of(assertThrows(
                StatusRuntimeException.class, () -> client.blocking().search(SEARCH)));
        assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, newer.reason());
        assertEquals("hm", newer.getMessage());
        PgfoxException foreign = PgfoxException.of(assertThrows(
                StatusRuntimeException.class, () -> client.blocking().search(SEARCH)));
        assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, foreign.reason());
        assertEquals("no", foreign.getMessage());
        assertEquals(
                Status.Code.UNKNOWN,
                PgfoxException.of(new IllegalStateException("mine")).code());
    }

    @Test
    void aRuleThatTheMessageTellsIsNotToldTwice() {
        server.failures.add(StandIn.error(
                Status.Code.INVALID_ARGUMENT,
                "INVALID_FIELD",
                "limit must be 0 to 1000, not -1",
                null,
                "limit",
                "must be 0 to 1000, not -1"));
        PgfoxException error = PgfoxException.of(assertThrows(
                StatusRuntimeException.class, () -> client.blocking().search(SEARCH)));
        assertEquals("limit must be 0 to 1000, not -1", error.getMessage());
        assertEquals("limit", error.violations().get(0).getField());
    }

    @Test
    void anAnswerThatCannotBeReadIsNoLostConnection() {
        Status unreadable = Status.INTERNAL
                .withDescription("Invalid protobuf byte sequence")
                .withCause(new InvalidProtocolBufferException("truncated"));
        PgfoxException error =
                PgfoxException.of(unreadable, new Metadata(), null, Endpoint.parse(server.endpoint(), false));
        assertEquals("Invalid protobuf byte sequence", error.getMessage());
        assertFalse(error.isInterruption());
    }

    @Test
    void aMessageAboveTheLimitIsNamed() {
        IngestRequest large = IngestRequest.newBuilder()
                .addDocuments(Document.newBuilder().setText("x".repeat(PgfoxClient.MAX_MESSAGE_BYTES)))
                .build();
        // Before and after there is a connection, and from every stub.
        for (int i = 0; i < 2; i++) {
            for (Executable call : List.<Executable>of(
                    () -> client.blocking().ingest(large),
                    () -> client.future().ingest(large).get())) {
                PgfoxException error = PgfoxException.of(assertThrows(Exception.class, call));
                assertEquals(Status.Code.RESOURCE_EXHAUSTED, error.code());
                assertTrue(error.getMessage().endsWith(" bytes, above the limit of 16842752"), error.getMessage());
            }
            client.blocking().search(SEARCH);
        }
        assertEquals(2, server.calls.size());
    }
}
