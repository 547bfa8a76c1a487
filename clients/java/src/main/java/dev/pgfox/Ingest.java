package dev.pgfox;

import dev.pgfox.v1.DocumentError;
import dev.pgfox.v1.IngestRequest;
import dev.pgfox.v1.IngestResponse;
import dev.pgfox.v1.PgfoxServiceGrpc.PgfoxServiceStub;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * Streams documents on one thread. It sends requests while the window has room, and otherwise waits for
 * acknowledgements. After a broken connection it sends everything again that was not acknowledged. Ids make that safe:
 * nothing is lost and nothing is stored twice.
 */
final class Ingest {
    /** How long to wait for the end of the stream once everything is acknowledged. */
    private static final long CLOSE_WAIT_NANOS = Duration.ofSeconds(2).toNanos();

    private final ManagedChannel channel;
    private final PgfoxServiceStub stub;
    private final IngestOptions options;
    private final Requests requests;
    private final Deque<IngestRequest> unacknowledged = new ArrayDeque<>();
    private final Backoff backoff = new Backoff();
    private IngestTotals totals = IngestTotals.NONE;

    Ingest(ManagedChannel channel, PgfoxServiceStub stub, IngestOptions options, Requests requests) {
        this.channel = channel;
        this.stub = stub;
        this.options = options;
        this.requests = requests;
    }

    IngestTotals run() {
        try {
            // Without documents there is no reason to call.
            readRequest();
            PgfoxException broken = unacknowledged.isEmpty() ? null : callOnce();
            while (broken != null) {
                pause(broken);
                broken = callOnce();
            }
            return totals;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IngestException(e, totals);
        } catch (RuntimeException e) {
            throw new IngestException(e, totals);
        }
    }

    /**
     * Sends everything over one call, beginning with requests that an earlier call left unacknowledged. Returns what
     * broke the call; null if everything is stored.
     */
    private PgfoxException callOnce() throws InterruptedException {
        Call call = new Call();
        stub.ingestStream(call);
        try {
            unacknowledged.forEach(call.requests::onNext);
            long waitingSince = System.nanoTime();
            while (true) {
                if (requests.isDone() && unacknowledged.isEmpty()) {
                    call.requests.onCompleted();
                    // Everything is stored. Ending the stream properly is only polite.
                    call.answers.poll(CLOSE_WAIT_NANOS, TimeUnit.NANOSECONDS);
                    return null;
                }
                boolean hasRoom = !requests.isDone() && unacknowledged.size() < options.requestsInFlight;
                long wait = hasRoom ? 0 : waitingSince + options.acknowledgeTimeout.toNanos() - System.nanoTime();
                // Acknowledgements first: they make room, and keep the totals correct if the connection breaks.
                Answer answer = call.answers.poll(wait, TimeUnit.NANOSECONDS);
                if (answer != null && answer.broken != null) {
                    return answer.broken;
                } else if (answer != null) {
                    acknowledge(answer.response);
                    call.requests.request(1);
                    waitingSince = System.nanoTime();
                } else if (hasRoom) {
                    boolean isOldest = unacknowledged.isEmpty();
                    if (readRequest()) {
                        call.requests.onNext(unacknowledged.getLast());
                        waitingSince = isOldest ? System.nanoTime() : waitingSince;
                    }
                } else {
                    throw new PgfoxException(
                            Status.Code.DEADLINE_EXCEEDED,
                            "the server acknowledged nothing for " + options.acknowledgeTimeout.toSeconds() + " s");
                }
            }
        } finally {
            call.requests.cancel("the ingest has ended", null);
        }
    }

    /** Reads the next request. False if there is none. */
    private boolean readRequest() {
        IngestRequest request = requests.next();
        if (request != null) {
            unacknowledged.add(request);
        }
        return request != null;
    }

    private void acknowledge(IngestResponse response) {
        IngestRequest oldest = unacknowledged.poll();
        if (oldest == null || oldest.getSequence() != response.getSequence()) {
            throw new IllegalStateException("the server acknowledged request " + response.getSequence() + " instead of "
                    + (oldest == null ? "none" : oldest.getSequence()));
        }
        backoff.reset();
        long first = totals.documents();
        totals = totals.plus(oldest.getDocumentsCount(), response);
        List<SkippedDocument> skipped = response.getErrorsList().stream()
                .map((DocumentError e) ->
                        new SkippedDocument(first + e.getIndex(), e.getId(), e.getReason(), e.getMessage()))
                .toList();
        options.onAcknowledged.accept(totals, skipped);
    }

    /** Waits before the next call, or gives up. */
    private void pause(PgfoxException broken) throws InterruptedException {
        Duration pause = backoff.next(broken);
        if (!broken.isInterruption()
                || channel.isShutdown()
                || Context.current().isCancelled()) {
            throw broken;
        }
        if (backoff.failingFor().plus(pause).compareTo(options.retryTimeout) > 0) {
            throw backoff.failures() == 1 ? broken : broken.after(backoff.failures(), backoff.failingFor());
        }
        options.onInterrupted.accept(broken, pause);
        // A sleep that ends if the client is closed.
        channel.awaitTermination(pause.toNanos(), TimeUnit.NANOSECONDS);
        // Otherwise the channel waits up to two minutes before it checks whether the server is back.
        channel.resetConnectBackoff();
    }

    /** An acknowledgement, or what broke the call. */
    private record Answer(IngestResponse response, PgfoxException broken) {}

    /** A call, whose answers wait for the ingesting thread. */
    private final class Call implements ClientResponseObserver<IngestRequest, IngestResponse> {
        /** Bounded by the number of requested messages and the end of the call. */
        final BlockingQueue<Answer> answers = new LinkedBlockingQueue<>();

        ClientCallStreamObserver<IngestRequest> requests;

        @Override
        public void beforeStart(ClientCallStreamObserver<IngestRequest> requests) {
            this.requests = requests;
            requests.disableAutoRequestWithInitial(options.requestsInFlight);
        }

        @Override
        public void onNext(IngestResponse response) {
            answers.add(new Answer(response, null));
        }

        @Override
        public void onError(Throwable error) {
            answers.add(new Answer(null, PgfoxException.of(error)));
        }

        @Override
        public void onCompleted() {
            answers.add(
                    new Answer(null, new PgfoxException(Status.Code.UNAVAILABLE, "the server ended the stream early")));
        }
    }
}
