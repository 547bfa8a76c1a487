import static dev.pgfox.Filters.and;
import static dev.pgfox.Filters.field;

import com.google.protobuf.Struct;
import com.google.rpc.BadRequest;
import dev.pgfox.DocumentMetadata;
import dev.pgfox.IngestOptions;
import dev.pgfox.IngestTotals;
import dev.pgfox.PgfoxClient;
import dev.pgfox.PgfoxException;
import dev.pgfox.v1.BuildIndexRequest;
import dev.pgfox.v1.BuildIndexResponse;
import dev.pgfox.v1.Collection;
import dev.pgfox.v1.Completeness;
import dev.pgfox.v1.CountDocumentsRequest;
import dev.pgfox.v1.CreateCollectionRequest;
import dev.pgfox.v1.DeleteCollectionRequest;
import dev.pgfox.v1.DeleteDocumentsRequest;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.Embedding;
import dev.pgfox.v1.ErrorReason;
import dev.pgfox.v1.Filter;
import dev.pgfox.v1.GetCollectionRequest;
import dev.pgfox.v1.GetDocumentsRequest;
import dev.pgfox.v1.Hnsw;
import dev.pgfox.v1.IndexPhase;
import dev.pgfox.v1.IndexSpec;
import dev.pgfox.v1.IngestRequest;
import dev.pgfox.v1.IngestResponse;
import dev.pgfox.v1.ListDocumentsRequest;
import dev.pgfox.v1.PgfoxServiceGrpc.PgfoxServiceBlockingStub;
import dev.pgfox.v1.SearchMode;
import dev.pgfox.v1.SearchParams;
import dev.pgfox.v1.SearchRequest;
import dev.pgfox.v1.SearchResponse;
import dev.pgfox.v1.SearchResult;
import dev.pgfox.v1.Source;
import dev.pgfox.v1.Vector;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The story of tests/clients/README.md: prints {@code ok <step>} for each step, or {@code FAILED <step>: <why>} and ends
 * with 1.
 */
public class Story {
    private static final String QUESTION = "I was wondering, how many sounds can foxes make?";
    private static final List<Document> FOXES = List.of(
            fox("diet", "Foxes are omnivores: predators of small animals that also eat fruit", 2001),
            fox("sounds", "Foxes can make over 40 different sounds", 2002),
            fox("hunting", "Foxes use the magnetic field of the Earth when they hunt", 2003),
            fox("kits", "Baby foxes are called kits", 2004));

    private final String collection = environment("STORY_COLLECTION");
    private final String vectors = collection + "_vectors";
    private final String attached = collection + "_attached";
    private final PgfoxClient client = PgfoxClient.connect(environment("PGFOX_SERVER"));
    private final PgfoxServiceBlockingStub pgfox = client.blocking();

    private interface Step {
        void run() throws Exception;
    }

    public static void main(String[] arguments) {
        Story story = new Story();
        boolean isOk = story.step("create", story::create)
                && story.step("ingest", story::ingest)
                && story.step("ingest-stream", story::ingestStream)
                && story.step("build-index", story::buildIndex)
                && story.step("search-text", story::searchText)
                && story.step("search-vector", story::searchVector)
                && story.step("search-id", story::searchId)
                && story.step("filter", story::filter)
                && story.step("bad-request", story::badRequest)
                && story.step("deadline", story::deadline)
                && story.step("tls-and-key", story::tlsAndKey)
                && story.step("dead-server", story::deadServer)
                && story.step("resume", story::resume)
                && story.step("attached", story::attached)
                && story.step("delete", story::delete);
        if (!isOk) {
            story.cleanUp();
        }
        story.client.close();
        System.exit(isOk ? 0 : 1);
    }

    private boolean step(String name, Step step) {
        try {
            step.run();
            System.out.println("ok " + name);
            return true;
        } catch (Exception | AssertionError e) {
            System.out.println("FAILED " + name + ": " + e);
            return false;
        }
    }

    private void create() {
        pgfox.createCollection(CreateCollectionRequest.newBuilder()
                .setCollection(Collection.newBuilder().setName(collection))
                .build());
        Embedding embedding = pgfox.getCollection(
                        GetCollectionRequest.newBuilder().setName(collection).build())
                .getCollection()
                .getEmbedding();
        equal("model", "local/all-MiniLM-L6-v2", embedding.getModel());
        equal("dimensions", 384, embedding.getDimensions());
    }

    private void ingest() {
        IngestRequest request = IngestRequest.newBuilder()
                .setCollection(collection)
                .addAllDocuments(FOXES)
                .build();
        IngestResponse first = pgfox.ingest(request);
        equal("upserted", 4, first.getUpsertedCount());
        equal("updated", 0, first.getUpdatedCount());
        equal("embedded", 4, first.getEmbeddedCount());
        IngestResponse again = pgfox.ingest(request);
        equal("unchanged", 4, again.getUnchangedCount());
        equal("upserted again", 0, again.getUpsertedCount());
    }

    private void ingestStream() {
        Iterable<Document> documents = IntStream.range(0, 300)
                .mapToObj(i -> document("note-" + i)
                        .setText("Note number " + i + " about trains")
                        .build())::iterator;
        IngestTotals totals = client.ingest(
                collection,
                documents,
                IngestOptions.builder().documentsPerRequest(50).build());
        equal("documents", 300L, totals.documents());
        equal("upserted", 300L, totals.upserted());
        equal("embedded", 300L, totals.embedded());
        equal("skipped", 0L, totals.skipped());
        equal("count", 304L, count(collection, null));
    }

    private void buildIndex() {
        Iterator<BuildIndexResponse> progress = pgfox.buildIndex(BuildIndexRequest.newBuilder()
                .setCollection(collection)
                .setSpec(IndexSpec.newBuilder().setHnsw(Hnsw.getDefaultInstance()))
                .build());
        double fraction = 0;
        IndexPhase phase = IndexPhase.INDEX_PHASE_UNSPECIFIED;
        while (progress.hasNext()) {
            BuildIndexResponse response = progress.next();
            check(
                    response.getFractionDone() >= fraction,
                    "the fraction fell from " + fraction + " to " + response.getFractionDone());
            fraction = response.getFractionDone();
            phase = response.getPhase();
        }
        equal("last phase", IndexPhase.INDEX_PHASE_READY, phase);
    }

    private void searchText() {
        SearchResponse found = pgfox.search(search().setText(QUESTION).setLimit(3).build());
        SearchResult best = found.getResults(0);
        equal("text", "Foxes can make over 40 different sounds", best.getDocument().getText());
        check(best.hasDistance(), "no distance");
        check(found.getCompleteness() != Completeness.COMPLETENESS_UNSPECIFIED, "no completeness");
    }

    private void searchVector() {
        Vector vector = pgfox.getDocuments(GetDocumentsRequest.newBuilder()
                        .setCollection(collection)
                        .addIds("kits")
                        .setIncludeVector(true)
                        .build())
                .getDocuments(0)
                .getVector();
        equal("dimensions", 384, vector.getValuesCount());
        SearchResult nearest = pgfox.search(search().setVector(vector).build()).getResults(0);
        equal("nearest", "kits", nearest.getDocument().getId());
        check(Math.abs(nearest.getDistance()) < 1e-3, "distance " + nearest.getDistance());
    }

    private void searchId() {
        List<String> found = ids(pgfox.search(search().setDocumentId("sounds").setLimit(5).build()));
        equal("results", 5, found.size());
        check(!found.contains("sounds"), "it found itself: " + found);
    }

    private void filter() {
        Filter recent = and(field("year").atLeast(2003), field("topic").exists());
        Set<String> expected = Set.of("hunting", "kits");
        SearchResponse found = pgfox.search(search().setText(QUESTION).setFilter(recent).build());
        equal("found", expected, Set.copyOf(ids(found)));
        var listed = pgfox.listDocuments(ListDocumentsRequest.newBuilder()
                .setCollection(collection)
                .setFilter(recent)
                .build());
        equal(
                "listed",
                expected,
                listed.getDocumentsList().stream().map(Document::getId).collect(Collectors.toSet()));
        equal("count", 2L, count(collection, recent));
    }

    private void badRequest() {
        PgfoxException invalid = failing(() -> pgfox.search(search().setText(QUESTION)
                .setLimit(-1)
                .setParams(SearchParams.newBuilder().setEfSearch(-1))
                .build()));
        equal("code", Status.Code.INVALID_ARGUMENT, invalid.code());
        equal("reason", ErrorReason.ERROR_REASON_INVALID_FIELD, invalid.reason());
        equal(
                "fields",
                List.of("limit", "params.ef_search"),
                invalid.violations().stream()
                        .map(BadRequest.FieldViolation::getField)
                        .toList());
        for (BadRequest.FieldViolation violation : invalid.violations()) {
            check(!violation.getDescription().isEmpty(), "no rule for " + violation.getField());
            String line = violation.getField() + ": " + violation.getDescription();
            check(invalid.getMessage().contains(line), invalid.getMessage());
        }
        Vector two = Vector.newBuilder().addValues(1).addValues(2).build();
        PgfoxException mismatch = failing(() -> pgfox.search(search().setVector(two).build()));
        equal("reason", ErrorReason.ERROR_REASON_DIMENSION_MISMATCH, mismatch.reason());
        equal("expected", "384", mismatch.metadata().get("expected"));
        PgfoxException unknown = failing(() -> pgfox.search(
                search().setCollection(collection + "_none").setText("x").build()));
        equal("code", Status.Code.NOT_FOUND, unknown.code());
        equal("reason", ErrorReason.ERROR_REASON_COLLECTION_NOT_FOUND, unknown.reason());
    }

    private void deadline() {
        long start = System.nanoTime();
        PgfoxException error = failing(() -> pgfox.withDeadlineAfter(1, TimeUnit.MILLISECONDS)
                .search(search().setText("a question not asked before").build()));
        equal("code", Status.Code.DEADLINE_EXCEEDED, error.code());
        check(secondsSince(start) < 2, "it took " + secondsSince(start) + " s");
    }

    private void tlsAndKey() throws Exception {
        String server = environment("PGFOX_TLS_SERVER");
        byte[] ca = Files.readAllBytes(Path.of(environment("PGFOX_CA")));
        SearchRequest question = search().setText(QUESTION).build();
        String key = environment("PGFOX_API_KEY");
        try (PgfoxClient secure = PgfoxClient.builder(server).ca(ca).apiKey(key).connect()) {
            equal("found", "sounds", ids(secure.blocking().search(question)).get(0));
            check(!secure.toString().contains(key), "the key is shown");
        }
        try (PgfoxClient keyless = PgfoxClient.builder(server).ca(ca).connect()) {
            PgfoxException error = failing(() -> keyless.blocking().search(question));
            equal("code", Status.Code.UNAUTHENTICATED, error.code());
            equal("reason", ErrorReason.ERROR_REASON_UNAUTHENTICATED, error.reason());
        }
        String address = server.replaceFirst("^https://", "");
        try (PgfoxClient distrusting =
                PgfoxClient.builder("https://" + address).apiKey(key).connect()) {
            PgfoxException error = failing(() -> distrusting.blocking().search(question));
            check(error.getMessage().contains("is not trusted"), error.getMessage());
        }
    }

    private void deadServer() {
        String server = environment("PGFOX_DEAD_SERVER");
        long start = System.nanoTime();
        try (PgfoxClient dead =
                PgfoxClient.builder(server).timeout(Duration.ofSeconds(2)).connect()) {
            PgfoxException error = failing(
                    () -> dead.blocking().search(search().setText(QUESTION).build()));
            equal("code", Status.Code.UNAVAILABLE, error.code());
            check(error.getMessage().contains(server.replaceFirst("^https?://", "")), error.getMessage());
            check(error.getMessage().contains(" attempts in "), "not repeated: " + error.getMessage());
        }
        check(secondsSince(start) < 3, "it took " + secondsSince(start) + " s");
    }

    private void resume() {
        pgfox.createCollection(CreateCollectionRequest.newBuilder()
                .setCollection(Collection.newBuilder()
                        .setName(vectors)
                        .setEmbedding(Embedding.newBuilder().setDimensions(384)))
                .build());
        Random random = new Random(1);
        Iterable<Document> documents = IntStream.range(0, 2_000).mapToObj(i -> {
            Vector.Builder vector = Vector.newBuilder();
            random.doubles(384, -1, 1).forEach(value -> vector.addValues((float) value));
            return document("vector-" + i).setVector(vector).build();
        })::iterator;
        List<String> interruptions = new ArrayList<>();
        IngestOptions options = IngestOptions.builder()
                .documentsPerRequest(50)
                .onInterrupted((error, pause) -> interruptions.add(error.getMessage()))
                .build();
        try (PgfoxClient cut = PgfoxClient.connect(environment("PGFOX_CUT_SERVER"))) {
            IngestTotals totals = cut.ingest(vectors, documents, options);
            equal("documents", 2_000L, totals.documents());
            // The second connection loses the acknowledgements, not the documents.
            check(totals.unchanged() > 0, "nothing was sent twice");
        }
        equal("interruptions " + interruptions, 3, interruptions.size());
        equal("count", 2_000L, count(vectors, null));
        Set<String> ids = new HashSet<>();
        ListDocumentsRequest all = ListDocumentsRequest.newBuilder()
                .setCollection(vectors)
                .setPageSize(1_000)
                .build();
        for (Document document : client.allDocuments(all)) {
            check(ids.add(document.getId()), document.getId() + " is there twice");
            equal("version of " + document.getId(), 1L, document.getVersion());
        }
        equal("ids", IntStream.range(0, 2_000).mapToObj(i -> "vector-" + i).collect(Collectors.toSet()), ids);
    }

    private void attached() {
        String table = environment("STORY_TABLE");
        Collection created = pgfox.createCollection(CreateCollectionRequest.newBuilder()
                        .setCollection(Collection.newBuilder()
                                .setName(attached)
                                // Empty: callers send vectors.
                                .setEmbedding(Embedding.getDefaultInstance())
                                .setSource(Source.newBuilder().setTable(table).addTextColumns("content")))
                        .build())
                .getCollection();
        equal("columns of the id", List.of("id", "lang"), created.getSource().getIdColumnsList());
        equal("rows", 4L, created.getDocumentCount());

        // A key of several columns is an id that is a JSON array.
        SearchRequest.Builder search = SearchRequest.newBuilder().setCollection(attached);
        SearchResponse recent = pgfox.search(search.clone()
                .setVector(vector(0, 1, 0))
                .setFilter(field("year").atLeast(2005))
                .build());
        equal("found", List.of("[4, \"en\"]", "[3, \"en\"]"), ids(recent));
        Document sounds = pgfox.getDocuments(GetDocumentsRequest.newBuilder()
                        .setCollection(attached)
                        .addIds("[2, \"en\"]")
                        .build())
                .getDocuments(0);
        equal("text", "Foxes can make over 40 different sounds", sounds.getText());
        equal("metadata", Map.of("year", 2000L), DocumentMetadata.toMap(sounds.getMetadata()));

        IngestResponse stored = pgfox.ingest(IngestRequest.newBuilder()
                .setCollection(attached)
                .addDocuments(document("[5, \"en\"]")
                        .setText("Foxes climb trees")
                        .setVector(vector(1, 1, 1))
                        .setMetadata(DocumentMetadata.of(Map.of("year", 2024))))
                .build());
        equal("upserted", 1, stored.getUpsertedCount());
        SearchResponse climbing = pgfox.search(search.clone().setVector(vector(1, 1, 1)).build());
        equal("nearest", "[5, \"en\"]", ids(climbing).get(0));

        PgfoxException refused = failing(() -> pgfox.search(search.clone()
                .setText("trees")
                .setMode(SearchMode.SEARCH_MODE_FULL_TEXT)
                .build()));
        equal("code", Status.Code.FAILED_PRECONDITION, refused.code());
        equal("reason", ErrorReason.ERROR_REASON_COLLECTION_ATTACHED, refused.reason());
        check(refused.getMessage().contains(table), refused.getMessage());

        // The table stays, which tests/clients/run.sh checks.
        pgfox.deleteCollection(
                DeleteCollectionRequest.newBuilder().setName(attached).build());
        PgfoxException gone = failing(() -> pgfox.getCollection(
                GetCollectionRequest.newBuilder().setName(attached).build()));
        equal("code", Status.Code.NOT_FOUND, gone.code());
    }

    private void delete() {
        Filter old = field("year").lessThan(2003);
        var deleted = pgfox.deleteDocuments(DeleteDocumentsRequest.newBuilder()
                .setCollection(collection)
                .setFilter(old)
                .build());
        equal("deleted", 2L, deleted.getDeletedCount());
        equal("count", 302L, count(collection, null));
        for (String name : List.of(collection, vectors)) {
            pgfox.deleteCollection(DeleteCollectionRequest.newBuilder().setName(name).build());
            PgfoxException gone = failing(() -> pgfox.getCollection(
                    GetCollectionRequest.newBuilder().setName(name).build()));
            equal("code", Status.Code.NOT_FOUND, gone.code());
        }
    }

    /** After a failure: leaves no collection behind. */
    private void cleanUp() {
        for (String name : List.of(collection, vectors, attached)) {
            try {
                pgfox.deleteCollection(DeleteCollectionRequest.newBuilder().setName(name).build());
            } catch (StatusRuntimeException e) {
                // It does not exist, or nobody answers. The failure was reported already.
            }
        }
    }

    private SearchRequest.Builder search() {
        return SearchRequest.newBuilder().setCollection(collection);
    }

    private long count(String name, Filter filter) {
        CountDocumentsRequest.Builder request = CountDocumentsRequest.newBuilder().setCollection(name);
        if (filter != null) {
            request.setFilter(filter);
        }
        return pgfox.countDocuments(request.build()).getCount();
    }

    private static List<String> ids(SearchResponse found) {
        return found.getResultsList().stream()
                .map(result -> result.getDocument().getId())
                .toList();
    }

    private static Vector vector(float... values) {
        Vector.Builder vector = Vector.newBuilder();
        for (float value : values) {
            vector.addValues(value);
        }
        return vector.build();
    }

    private static Document.Builder document(String id) {
        return Document.newBuilder().setId(id);
    }

    private static Document fox(String topic, String text, int year) {
        Struct metadata = DocumentMetadata.of(Map.of("topic", topic, "year", year));
        return document(topic).setText(text).setMetadata(metadata).build();
    }

    private static PgfoxException failing(Step call) {
        try {
            call.run();
        } catch (Exception e) {
            return PgfoxException.of(e);
        }
        throw new AssertionError("it did not fail");
    }

    private static double secondsSince(long start) {
        return (System.nanoTime() - start) / 1e9;
    }

    private static void equal(String what, Object expected, Object actual) {
        check(expected.equals(actual), what + ": expected " + expected + ", got " + actual);
    }

    private static void check(boolean holds, String why) {
        if (!holds) {
            throw new AssertionError(why);
        }
    }

    private static String environment(String name) {
        String value = System.getenv(name);
        if (value == null) {
            System.out.println("FAILED environment: " + name + " is not set");
            System.exit(1);
        }
        return value;
    }
}
