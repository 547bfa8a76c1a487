package dev.pgfox;

import com.google.common.util.concurrent.ListenableFuture;
import dev.pgfox.v1.BuildIndexRequest;
import dev.pgfox.v1.BuildIndexResponse;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.SearchRequest;
import dev.pgfox.v1.SearchResponse;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/** The snippets of README.md beside the quick start, compiled so that they stay true. */
final class ReadmeSnippets {
    private ReadmeSnippets() {}

    static PgfoxClient connect() throws IOException {
        PgfoxClient pgfox = PgfoxClient.builder("pgfox.example.com:50051")
                .ca(Files.readAllBytes(Path.of("ca.pem")))
                .apiKey(System.getenv("PGFOX_API_KEY"))
                .timeout(Duration.ofSeconds(10))
                .connect();
        return pgfox;
    }

    static void stubs(PgfoxClient pgfox, SearchRequest request, StreamObserver<BuildIndexResponse> observer) {
        SearchResponse now = pgfox.blocking().search(request);
        ListenableFuture<SearchResponse> later = pgfox.future().search(request);
        pgfox.async()
                .buildIndex(
                        BuildIndexRequest.newBuilder().setCollection("foxes").build(), observer);
    }

    static void errors(PgfoxClient pgfox, SearchRequest request) {
        try {
            pgfox.blocking().search(request);
        } catch (StatusRuntimeException e) {
            PgfoxException error = PgfoxException.of(e);
            switch (error.reason()) {
                case ERROR_REASON_INVALID_FIELD ->
                    error.violations()
                            .forEach(violation ->
                                    System.err.println(violation.getField() + ": " + violation.getDescription()));
                case ERROR_REASON_COLLECTION_NOT_FOUND ->
                    System.err.println("create " + error.metadata().get("collection"));
                default -> throw e;
            }
        }
    }

    static void ingest(PgfoxClient pgfox, Iterable<Document> documents) {
        IngestTotals totals = pgfox.ingest(
                "films",
                documents,
                IngestOptions.builder()
                        .skipInvalid(true)
                        .onAcknowledged((soFar, skipped) -> skipped.forEach(System.err::println))
                        .onInterrupted((error, pause) -> System.err.println(error.getMessage() + ", again in " + pause))
                        .build());
    }
}
