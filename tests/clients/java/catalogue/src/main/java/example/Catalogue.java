package example;

import static dev.pgfox.Filters.and;
import static dev.pgfox.Filters.field;
import static dev.pgfox.Filters.ids;
import static dev.pgfox.Filters.not;
import static dev.pgfox.Filters.or;

import dev.pgfox.DocumentMetadata;
import dev.pgfox.IngestException;
import dev.pgfox.IngestOptions;
import dev.pgfox.IngestTotals;
import dev.pgfox.PgfoxClient;
import dev.pgfox.PgfoxException;
import dev.pgfox.v1.Collection;
import dev.pgfox.v1.CreateCollectionRequest;
import dev.pgfox.v1.DeleteCollectionRequest;
import dev.pgfox.v1.DeleteDocumentsRequest;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.Embedding;
import dev.pgfox.v1.ErrorReason;
import dev.pgfox.v1.Filter;
import dev.pgfox.v1.ListDocumentsRequest;
import dev.pgfox.v1.ListDocumentsResponse;
import dev.pgfox.v1.Vector;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.math.BigDecimal;
import java.time.Duration;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * A program as a caller would write it: it keeps a catalogue of 1,000 articles, and continues when a call fails.
 *
 * <p>archive.sh builds it in a project of its own, with the archive of the client.
 */
public final class Catalogue {
    private static final int ARTICLES = 1_000;
    private static final int DIMENSIONS = 8;
    private static final List<String> COLORS = List.of("red", "green", "blue");

    private final PgfoxClient pgfox;
    private final String name;

    private Catalogue(PgfoxClient pgfox, String name) {
        this.pgfox = pgfox;
        this.name = name;
    }

    public static void main(String[] arguments) throws Exception {
        try (PgfoxClient pgfox = PgfoxClient.connect(System.getenv("PGFOX_SERVER"))) {
            Catalogue catalogue = new Catalogue(pgfox, System.getenv("STORY_COLLECTION") + "_catalogue");
            catalogue.createOnce();
            catalogue.createOnce();
            catalogue.fill();
            catalogue.sellOut();
            catalogue.readBack();
            catalogue.stopHalfway();
            catalogue.cancelACall();
            catalogue.hurry();
            pgfox.blocking()
                    .deleteCollection(DeleteCollectionRequest.newBuilder()
                            .setName(catalogue.name)
                            .build());
        }
        System.out.println("ok archive");
    }

    private void createOnce() {
        Collection collection = Collection.newBuilder()
                .setName(name)
                .setEmbedding(Embedding.newBuilder().setDimensions(DIMENSIONS))
                .build();
        try {
            pgfox.blocking()
                    .createCollection(CreateCollectionRequest.newBuilder()
                            .setCollection(collection)
                            .build());
        } catch (StatusRuntimeException e) {
            if (PgfoxException.of(e).reason() != ErrorReason.ERROR_REASON_COLLECTION_EXISTS) {
                throw e;
            }
        }
    }

    private static Document article(int i) {
        Vector.Builder vector = Vector.newBuilder();
        for (int d = 0; d < DIMENSIONS; d++) {
            vector.addValues((i * 7 + d * 3) % 11 + 1);
        }
        return Document.newBuilder()
                .setId("a%04d".formatted(i))
                .setVector(vector)
                .setMetadata(DocumentMetadata.of(Map.of(
                        "name", "Article " + i,
                        "price", BigDecimal.valueOf(i).add(new BigDecimal("0.50")),
                        "stock", i % 10,
                        "added", LocalDate.of(2024, 1, 1).plusDays(i),
                        "variants", List.of(Map.of("color", COLORS.get(i % 3)), Map.of("color", "black")))))
                .build();
    }

    private static Stream<Document> articles() {
        return IntStream.range(0, ARTICLES).mapToObj(Catalogue::article);
    }

    private void fill() {
        IngestTotals totals = pgfox.ingest(name, articles()::iterator);
        check(totals.upserted() == ARTICLES, "filled: " + totals);
    }

    /** Deletes by a filter what was added early and is not in stock. */
    private void sellOut() {
        Filter filter = and(
                field("stock").equalTo(0),
                not(field("added")
                        .since(LocalDate.of(2024, 1, 31).atStartOfDay(ZoneOffset.UTC).toInstant())),
                field("tags").isNull());
        long deleted = pgfox.blocking()
                .deleteDocuments(DeleteDocumentsRequest.newBuilder()
                        .setCollection(name)
                        .setFilter(filter)
                        .build())
                .getDeletedCount();
        check(deleted == 3, "sold out: " + deleted);
    }

    private void readBack() {
        ListDocumentsRequest request = ListDocumentsRequest.newBuilder()
                .setCollection(name)
                .setFilter(or(field("price").lessThan(100), ids("a0500")))
                .setPageSize(30)
                .build();
        int count = 0;
        for (Document document : pgfox.allDocuments(request)) {
            Map<String, Object> metadata = DocumentMetadata.toMap(document);
            check(metadata.get("stock") instanceof Long && metadata.get("price") instanceof Double, "read: " + metadata);
            count++;
        }
        check(count == 98, "read back: " + count);
        long expensive = pgfox.allDocuments(request).stream()
                .map(DocumentMetadata::toMap)
                .filter(metadata -> (Double) metadata.get("price") > 100)
                .count();
        check(expensive == 1, "expensive: " + expensive);
    }

    /** Cancels an ingest once a part of it is stored. */
    private void stopHalfway() throws InterruptedException, ExecutionException {
        CompletableFuture<IngestTotals> begun = new CompletableFuture<>();
        CompletableFuture<IngestTotals> ingest = pgfox.ingestAsync(
                name,
                articles()::iterator,
                IngestOptions.builder()
                        .documentsPerRequest(10)
                        .onAcknowledged((totals, skipped) -> begun.complete(totals))
                        .build());
        check(begun.get().documents() > 0, "nothing was stored");
        ingest.cancel(true);
        try {
            ingest.get();
            throw new AssertionError("the ingest was not cancelled");
        } catch (CancellationException e) {
            // As it should be.
        }

        try {
            pgfox.ingest(
                    name,
                    articles()::iterator,
                    IngestOptions.builder()
                            .documentsPerRequest(10)
                            .onAcknowledged((totals, skipped) -> Thread.currentThread().interrupt())
                            .build());
            throw new AssertionError("the ingest was not interrupted");
        } catch (IngestException e) {
            check(Thread.interrupted() && e.getCause() instanceof InterruptedException, "stopped: " + e);
            check(e.acknowledged().documents() < ARTICLES, "stopped after " + e.acknowledged());
        }
    }

    private void cancelACall() throws InterruptedException, ExecutionException {
        ListDocumentsRequest request =
                ListDocumentsRequest.newBuilder().setCollection(name).build();
        CompletableFuture<ListDocumentsResponse> listed =
                PgfoxClient.completable(pgfox.future().listDocuments(request));
        check(listed.get().getDocumentsCount() == 100, "listed: " + listed.get().getDocumentsCount());
        PgfoxClient.completable(pgfox.future().listDocuments(request)).cancel(true);
    }

    /** Gives a call less time than it needs. */
    private void hurry() {
        try {
            pgfox.blocking()
                    .withDeadlineAfter(Duration.ofNanos(1_000).toNanos(), TimeUnit.NANOSECONDS)
                    .listDocuments(ListDocumentsRequest.newBuilder()
                            .setCollection(name)
                            .build());
            throw new AssertionError("a call had enough time");
        } catch (StatusRuntimeException e) {
            check(PgfoxException.of(e).code() == Status.Code.DEADLINE_EXCEEDED, "in a hurry: " + e);
        }
    }

    private static void check(boolean isTrue, String message) {
        if (!isTrue) {
            throw new AssertionError(message);
        }
    }
}
