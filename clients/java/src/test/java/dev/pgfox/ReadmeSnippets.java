package dev.pgfox;

import static dev.pgfox.Filters.and;
import static dev.pgfox.Filters.field;
import static dev.pgfox.Filters.not;
import static dev.pgfox.Filters.or;

import com.google.common.util.concurrent.ListenableFuture;
import com.google.protobuf.Struct;
import dev.pgfox.v1.BuildIndexRequest;
import dev.pgfox.v1.BuildIndexResponse;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.Filter;
import dev.pgfox.v1.ListDocumentsRequest;
import dev.pgfox.v1.SearchRequest;
import dev.pgfox.v1.SearchResponse;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

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

    static void completable(PgfoxClient pgfox, SearchRequest request) {
        CompletableFuture<SearchResponse> found =
                PgfoxClient.completable(pgfox.future().search(request));
    }

    static void metadata(List<String> genres) {
        Struct metadata = DocumentMetadata.of(Map.of("year", 1995, "genres", genres, "added", Instant.now()));
        Document film =
                Document.newBuilder().setId("heat").setMetadata(metadata).build();

        Map<String, Object> plain = DocumentMetadata.toMap(film);
        long year = (Long) plain.get("year");
    }

    static void filters(List<String> names) {
        Filter filter = and(
                field("year").atLeast(1990),
                or(
                        field("genres").containsAny("Crime", "Thriller"),
                        field("title").ignoreCase().containsText("heist")),
                not(field("director.name").oneOf(names)));
    }

    static void lists(PgfoxClient pgfox, ListDocumentsRequest films) {
        for (Document document : pgfox.allDocuments(films)) {
            System.out.println(document.getId());
        }
        long recent = pgfox.allDocuments(films).stream()
                .map(DocumentMetadata::toMap)
                .filter(metadata -> (Long) metadata.get("year") > 2020)
                .count();
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
