package dev.pgfox;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.pgfox.v1.CreateCollectionRequest;
import dev.pgfox.v1.CreateCollectionResponse;
import dev.pgfox.v1.DeleteCollectionRequest;
import dev.pgfox.v1.DeleteCollectionResponse;
import dev.pgfox.v1.DropIndexRequest;
import dev.pgfox.v1.DropIndexResponse;
import dev.pgfox.v1.FacetDocumentsRequest;
import dev.pgfox.v1.FacetDocumentsResponse;
import dev.pgfox.v1.IngestRequest;
import dev.pgfox.v1.IngestResponse;
import dev.pgfox.v1.ListCollectionsRequest;
import dev.pgfox.v1.ListCollectionsResponse;
import dev.pgfox.v1.ListDocumentsRequest;
import dev.pgfox.v1.ListDocumentsResponse;
import dev.pgfox.v1.PgfoxServiceGrpc;
import dev.pgfox.v1.SearchRequest;
import dev.pgfox.v1.SearchResponse;
import io.grpc.Context;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerCredentials;
import io.grpc.ServerInterceptor;
import io.grpc.ServerInterceptors;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.IntStream;

/** A server on a port of the loopback interface that fails as the test asks for. */
final class StandIn extends PgfoxServiceGrpc.PgfoxServiceImplBase implements AutoCloseable {
    static final Metadata.Key<String> REQUEST_ID = Metadata.Key.of("x-request-id", Metadata.ASCII_STRING_MARSHALLER);

    /** How the next unary calls end. If the queue is empty, they succeed. */
    final Queue<StatusRuntimeException> failures = new ConcurrentLinkedQueue<>();
    /** How long unary calls take. */
    volatile Duration time = Duration.ZERO;
    /** What the next streams do. If the queue is empty, every request is acknowledged. */
    final Queue<Supplier<StreamScript>> streams = new ConcurrentLinkedQueue<>();
    /** The headers of every call. */
    final List<Metadata> calls = new CopyOnWriteArrayList<>();
    /** The deadlines of every call; null if there is none. */
    final List<Duration> deadlines = new CopyOnWriteArrayList<>();
    /** Requests received by IngestStream, over all streams. */
    final List<IngestRequest> ingested = new CopyOnWriteArrayList<>();

    final Server server;

    StandIn() {
        this(0, InsecureServerCredentials.create());
    }

    StandIn(int port, ServerCredentials credentials) {
        this(new InetSocketAddress("127.0.0.1", port), credentials);
    }

    StandIn(InetSocketAddress address, ServerCredentials credentials) {
        ServerInterceptor recorder = new ServerInterceptor() {
            @Override
            public <Q, R> ServerCall.Listener<Q> interceptCall(
                    ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
                calls.add(headers);
                var deadline = Context.current().getDeadline();
                deadlines.add(
                        deadline == null
                                ? Duration.ZERO
                                : Duration.ofMillis(deadline.timeRemaining(TimeUnit.MILLISECONDS)));
                return next.startCall(call, headers);
            }
        };
        try {
            server = NettyServerBuilder.forAddress(address, credentials)
                    .addService(ServerInterceptors.intercept(this, recorder))
                    .maxInboundMessageSize(PgfoxClient.MAX_MESSAGE_BYTES)
                    .build()
                    .start();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    String endpoint() {
        return "127.0.0.1:" + server.getPort();
    }

    @Override
    public void close() {
        server.shutdownNow();
        try {
            server.awaitTermination(5, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void search(SearchRequest request, StreamObserver<SearchResponse> answer) {
        answer(answer, SearchResponse.getDefaultInstance());
    }

    @Override
    public void ingest(IngestRequest request, StreamObserver<IngestResponse> answer) {
        answer(answer, IngestResponse.getDefaultInstance());
    }

    @Override
    public void createCollection(CreateCollectionRequest request, StreamObserver<CreateCollectionResponse> answer) {
        answer(answer, CreateCollectionResponse.getDefaultInstance());
    }

    @Override
    public void deleteCollection(DeleteCollectionRequest request, StreamObserver<DeleteCollectionResponse> answer) {
        answer(answer, DeleteCollectionResponse.getDefaultInstance());
    }

    @Override
    public void dropIndex(DropIndexRequest request, StreamObserver<DropIndexResponse> answer) {
        answer(answer, DropIndexResponse.getDefaultInstance());
    }

    @Override
    public void facetDocuments(FacetDocumentsRequest request, StreamObserver<FacetDocumentsResponse> answer) {
        answer(answer, FacetDocumentsResponse.getDefaultInstance());
    }

    @Override
    public void listDocuments(ListDocumentsRequest request, StreamObserver<ListDocumentsResponse> answer) {
        ListDocumentsResponse.Builder page =
                ListDocumentsResponse.newBuilder().setNextPageToken(nextToken(request.getPageToken()));
        onPage(request.getPageToken()).forEach(i -> page.addDocumentsBuilder().setId(request.getCollection() + i));
        answer(answer, page.build());
    }

    @Override
    public void listCollections(ListCollectionsRequest request, StreamObserver<ListCollectionsResponse> answer) {
        ListCollectionsResponse.Builder page =
                ListCollectionsResponse.newBuilder().setNextPageToken(nextToken(request.getPageToken()));
        onPage(request.getPageToken()).forEach(i -> page.addCollectionsBuilder().setName("" + i));
        answer(answer, page.build());
    }

    /** Five of each, two per page. The token has a letter for each earlier one. */
    private static IntStream onPage(String token) {
        return IntStream.range(token.length(), Math.min(token.length() + 2, 5));
    }

    private static String nextToken(String token) {
        return token.length() < 4 ? token + "xx" : "";
    }

    private <R> void answer(StreamObserver<R> answer, R response) {
        try {
            Thread.sleep(time.toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        StatusRuntimeException failure = failures.poll();
        if (failure != null) {
            answer.onError(failure);
            return;
        }
        answer.onNext(response);
        answer.onCompleted();
    }

    /** What a stream does with each request. */
    interface StreamScript {
        void onRequest(IngestRequest request, StreamObserver<IngestResponse> answer);
    }

    /** Acknowledges a request whose documents are all new. */
    static void acknowledge(IngestRequest request, StreamObserver<IngestResponse> answer) {
        answer.onNext(IngestResponse.newBuilder()
                .setSequence(request.getSequence())
                .setUpsertedCount(request.getDocumentsCount())
                .build());
    }

    /** Acknowledges some requests, then ends the stream; with null as if it were complete. */
    static Supplier<StreamScript> endAfter(int acknowledged, StatusRuntimeException error) {
        return () -> new StreamScript() {
            private int count;

            @Override
            public void onRequest(IngestRequest request, StreamObserver<IngestResponse> answer) {
                if (count++ < acknowledged) {
                    acknowledge(request, answer);
                } else if (count == acknowledged + 1 && error == null) {
                    answer.onCompleted();
                } else if (count == acknowledged + 1) {
                    answer.onError(error);
                }
            }
        };
    }

    @Override
    public StreamObserver<IngestRequest> ingestStream(StreamObserver<IngestResponse> answer) {
        Supplier<StreamScript> next = streams.poll();
        StreamScript script = next == null ? StandIn::acknowledge : next.get();
        return new StreamObserver<>() {
            @Override
            public void onNext(IngestRequest request) {
                ingested.add(request);
                script.onRequest(request, answer);
            }

            @Override
            public void onError(Throwable error) {}

            @Override
            public void onCompleted() {
                answer.onCompleted();
            }
        };
    }

    /** An error as pgfox sends it. */
    static StatusRuntimeException error(
            Status.Code code, String reason, String message, Duration retryDelay, String... fieldsAndRules) {
        List<Message> details = new ArrayList<>();
        details.add(ErrorInfo.newBuilder()
                .setDomain("pgfox")
                .setReason(reason)
                .putMetadata("collection", "films")
                .build());
        if (retryDelay != null) {
            details.add(RetryInfo.newBuilder()
                    .setRetryDelay(com.google.protobuf.Duration.newBuilder()
                            .setSeconds(retryDelay.toSeconds())
                            .setNanos(retryDelay.toNanosPart()))
                    .build());
        }
        BadRequest.Builder violations = BadRequest.newBuilder();
        for (int i = 0; i < fieldsAndRules.length; i += 2) {
            violations.addFieldViolationsBuilder().setField(fieldsAndRules[i]).setDescription(fieldsAndRules[i + 1]);
        }
        if (fieldsAndRules.length > 0) {
            details.add(violations.build());
        }
        com.google.rpc.Status.Builder status =
                com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage(message);
        details.forEach(detail -> status.addDetails(Any.pack(detail)));
        Metadata trailers = new Metadata();
        trailers.put(REQUEST_ID, "abc123");
        return StatusProto.toStatusRuntimeException(status.build(), trailers);
    }

    static StatusRuntimeException unavailable() {
        return error(Status.Code.UNAVAILABLE, "SHUTTING_DOWN", "the server is shutting down", null);
    }

    static StatusRuntimeException busy(Duration retryDelay) {
        return error(Status.Code.RESOURCE_EXHAUSTED, "DATABASE_BUSY", "every connection is busy", retryDelay);
    }
}
