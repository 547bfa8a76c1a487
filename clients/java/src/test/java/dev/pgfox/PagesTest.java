package dev.pgfox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.pgfox.v1.Collection;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.FacetDocumentsRequest;
import dev.pgfox.v1.ListDocumentsRequest;
import dev.pgfox.v1.SearchRequest;
import dev.pgfox.v1.SearchResponse;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class PagesTest {
    private static final ListDocumentsRequest FILMS =
            ListDocumentsRequest.newBuilder().setCollection("film-").build();
    private static final List<String> IDS = List.of("film-0", "film-1", "film-2", "film-3", "film-4");

    private final StandIn server = new StandIn();
    private final PgfoxClient client =
            PgfoxClient.builder(server.endpoint()).retry(true).connect();

    @AfterEach
    void close() {
        client.close();
        server.close();
    }

    @Test
    void allDocumentsOfEveryPage() {
        Pages<Document> films = client.allDocuments(FILMS);
        List<String> ids = new ArrayList<>();
        for (Document document : films) {
            ids.add(document.getId());
        }
        assertEquals(IDS, ids);
        assertEquals(IDS, films.stream().map(Document::getId).toList());
        assertEquals(6, server.calls.size());
        assertEquals(
                List.of("0", "1", "2", "3", "4"),
                client.allCollections().stream().map(Collection::getName).toList());
    }

    @Test
    void aPageIsAskedForWhenItIsNeeded() {
        Pages<Document> films = client.allDocuments(FILMS);
        assertEquals(0, server.calls.size());
        assertEquals(3, films.stream().limit(3).count());
        assertEquals(2, server.calls.size());
    }

    @Test
    void anErrorIsThatOfTheCall() {
        Iterator<Document> films = client.allDocuments(FILMS).iterator();
        films.next();
        films.next();
        server.failures.add(StandIn.error(Status.Code.NOT_FOUND, "COLLECTION_NOT_FOUND", "no films", null));
        StatusRuntimeException error = assertThrows(StatusRuntimeException.class, films::hasNext);
        assertEquals("films", PgfoxException.of(error).metadata().get("collection"));
        assertEquals("film-2", films.next().getId());
        films.forEachRemaining(document -> {});
        assertThrows(NoSuchElementException.class, films::next);
    }

    @Test
    void askingForFacetsIsRepeated() {
        server.failures.add(StandIn.unavailable());
        client.blocking().facetDocuments(FacetDocumentsRequest.getDefaultInstance());
        assertEquals(2, server.calls.size());
    }

    @Test
    void callsAsCompletableFutures() throws Exception {
        SearchRequest search = SearchRequest.getDefaultInstance();
        CompletableFuture<SearchResponse> found =
                PgfoxClient.completable(client.future().search(search));
        assertEquals(SearchResponse.getDefaultInstance(), found.get());

        server.failures.add(StandIn.error(Status.Code.NOT_FOUND, "COLLECTION_NOT_FOUND", "no films", null));
        CompletableFuture<SearchResponse> failed =
                PgfoxClient.completable(client.future().search(search));
        ExecutionException error = assertThrows(ExecutionException.class, failed::get);
        assertInstanceOf(StatusRuntimeException.class, error.getCause());
        assertEquals(Status.Code.NOT_FOUND, PgfoxException.of(error).code());

        server.time = Duration.ofSeconds(15);
        var call = client.future().search(search);
        CompletableFuture<SearchResponse> cancelled = PgfoxClient.completable(call);
        assertFalse(call.isDone());
        cancelled.cancel(true);
        assertTrue(call.isCancelled());

        var other = client.future().search(search);
        CompletableFuture<SearchResponse> withIt = PgfoxClient.completable(other);
        other.cancel(true);
        assertThrows(java.util.concurrent.CancellationException.class, () -> withIt.get(5, TimeUnit.SECONDS));
    }
}
