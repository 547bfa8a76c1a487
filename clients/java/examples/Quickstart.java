import dev.pgfox.PgfoxClient;
import dev.pgfox.PgfoxException;
import dev.pgfox.v1.BuildIndexRequest;
import dev.pgfox.v1.Collection;
import dev.pgfox.v1.CreateCollectionRequest;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.ErrorReason;
import dev.pgfox.v1.SearchRequest;
import io.grpc.StatusRuntimeException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Stores four sentences about foxes, builds an index and asks a question. */
public class Quickstart {
    public static void main(String[] arguments) throws Exception {
        String server = System.getenv().getOrDefault("PGFOX_SERVER", "");
        PgfoxClient.Builder options = PgfoxClient.builder(server.isEmpty() ? PgfoxClient.DEFAULT_ENDPOINT : server)
                .apiKey(System.getenv("PGFOX_API_KEY"));
        String ca = System.getenv().getOrDefault("PGFOX_CA", "");
        if (!ca.isEmpty()) {
            options.ca(Files.readAllBytes(Path.of(ca)));
        }

        try (PgfoxClient pgfox = options.connect()) {
            try {
                pgfox.blocking()
                        .createCollection(CreateCollectionRequest.newBuilder()
                                .setCollection(Collection.newBuilder().setName("foxes"))
                                .build());
            } catch (StatusRuntimeException e) {
                if (PgfoxException.of(e).reason() != ErrorReason.ERROR_REASON_COLLECTION_EXISTS) {
                    throw e;
                }
            }

            var totals = pgfox.ingest(
                    "foxes",
                    List.of(
                            document("diet", "Foxes are omnivores: predators of small animals that also eat fruit"),
                            document("sounds", "Foxes can make over 40 different sounds"),
                            document("hunting", "Foxes use the magnetic field of the Earth when they hunt"),
                            document("kits", "Baby foxes are called kits")));
            System.out.printf("%d stored, %d unchanged%n", totals.upserted(), totals.unchanged());

            pgfox.blocking()
                    .buildIndex(BuildIndexRequest.newBuilder()
                            .setCollection("foxes")
                            .build())
                    .forEachRemaining(p -> System.out.printf("%s %.0f %%%n", p.getPhase(), 100 * p.getFractionDone()));

            var found = pgfox.blocking()
                    .search(SearchRequest.newBuilder()
                            .setCollection("foxes")
                            .setText("I was wondering, how many sounds can foxes make?")
                            .setLimit(1)
                            .build());
            for (var result : found.getResultsList()) {
                System.out.printf(
                        "Distance: %s, Content: %s%n",
                        result.getDistance(), result.getDocument().getText());
            }
        }
    }

    private static Document document(String id, String text) {
        return Document.newBuilder().setId(id).setText(text).build();
    }
}
