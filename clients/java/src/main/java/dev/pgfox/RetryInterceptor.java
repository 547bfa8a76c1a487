package dev.pgfox;

import dev.pgfox.v1.IngestRequest;
import dev.pgfox.v1.PgfoxServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/**
 * Retries unary calls that may succeed later, if the pause fits into their deadline. gRPC's own retries are not used,
 * since they do not read google.rpc.RetryInfo.
 */
final class RetryInterceptor implements ClientInterceptor {
    /**
     * Calls that would report an error although the first attempt succeeded. The same is true of {@code Ingest} with
     * versions.
     */
    private static final Set<MethodDescriptor<?, ?>> NEVER_REPEATED = Set.of(
            PgfoxServiceGrpc.getCreateCollectionMethod(),
            PgfoxServiceGrpc.getDeleteCollectionMethod(),
            PgfoxServiceGrpc.getDropIndexMethod());

    private final ManagedChannel channel;
    private final Set<CompletableFuture<Void>> pauses = ConcurrentHashMap.newKeySet();

    RetryInterceptor(ManagedChannel channel) {
        this.channel = channel;
    }

    /** Ends all pauses. Call it when the channel is shut down, so that the calls end at once. */
    void endPauses() {
        pauses.forEach(pause -> pause.complete(null));
    }

    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
        if (method.getType() != MethodType.UNARY || NEVER_REPEATED.contains(method)) {
            return next.newCall(method, options);
        }
        return new RetryingCall<>(method, options, next);
    }

    /** A unary call that keeps its request, and holds back every answer until it is known to be the last. */
    private final class RetryingCall<Q, R> extends ClientCall<Q, R> {
        private final MethodDescriptor<Q, R> method;
        private final CallOptions options;
        private final Channel next;
        /** Attempts begin on a timer's thread, which has no context. */
        private final Context context = Context.current();

        private final Backoff backoff = new Backoff();
        private final long began = System.nanoTime();

        private Listener<R> listener;
        private Metadata headers;
        private Q request;
        private int messagesWanted;
        /** The running call; null before the first one and during a pause. */
        private ClientCall<Q, R> attempt;

        private CompletableFuture<Void> pause;
        private boolean isCancelled;
        private String cancelMessage;
        private Throwable cancelCause;

        RetryingCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
            this.method = method;
            this.options = options;
            this.next = next;
        }

        @Override
        public synchronized void start(Listener<R> listener, Metadata headers) {
            this.listener = listener;
            this.headers = headers;
        }

        @Override
        public synchronized void request(int messages) {
            messagesWanted += messages;
            if (attempt != null) {
                attempt.request(messages);
            }
        }

        @Override
        public synchronized void sendMessage(Q message) {
            request = message;
        }

        @Override
        public void halfClose() {
            context.run(this::begin);
        }

        @Override
        public synchronized void cancel(String message, Throwable cause) {
            if (isCancelled || listener == null) {
                return;
            }
            isCancelled = true;
            cancelMessage = message;
            cancelCause = cause;
            if (attempt != null) {
                attempt.cancel(message, cause);
            } else if (pause != null) {
                pause.complete(null);
            } else {
                context.run(this::begin);
            }
        }

        /** Begins an attempt. */
        private synchronized void begin() {
            if (isCancelled) {
                // Only a call of the channel can end on the right thread. In a cancelled context it goes no further.
                Context.CancellableContext ended = context.withCancellation();
                ended.cancel(Status.CANCELLED
                        .withDescription(cancelMessage)
                        .withCause(cancelCause)
                        .asRuntimeException());
                ended.run(this::startAttempt);
                return;
            }
            startAttempt();
            attempt.request(messagesWanted);
            attempt.sendMessage(request);
            attempt.halfClose();
        }

        private void startAttempt() {
            attempt = next.newCall(method, options);
            Metadata own = new Metadata();
            own.merge(headers);
            attempt.start(new Attempt(), own);
        }

        /** Whether another attempt will follow. */
        private synchronized boolean repeat(PgfoxException error) {
            Duration time = backoff.next(error);
            if (isCancelled
                    || !error.isRetryable()
                    || !isRepeatable()
                    || channel.isShutdown()
                    || !isBeforeDeadline(time)) {
                return false;
            }
            attempt = null;
            pause = new CompletableFuture<Void>().completeOnTimeout(null, time.toNanos(), TimeUnit.NANOSECONDS);
            CompletableFuture<Void> pausing = pause;
            Context.CancellationListener wake = cancelled -> pausing.complete(null);
            pauses.add(pausing);
            context.addListener(wake, Runnable::run);
            pausing.thenRun(() -> {
                        pauses.remove(pausing);
                        context.removeListener(wake);
                        // Otherwise the channel waits up to two minutes before it checks whether the server is back.
                        channel.resetConnectBackoff();
                        context.run(this::begin);
                    })
                    .exceptionally(failure -> {
                        listener.onClose(Status.fromThrowable(failure), new Metadata());
                        return null;
                    });
            if (channel.isShutdown()) {
                pausing.complete(null);
            }
            return true;
        }

        private boolean isRepeatable() {
            return !(request instanceof IngestRequest ingest) || ingest.getIfVersionCount() == 0;
        }

        private boolean isBeforeDeadline(Duration time) {
            return isBefore(options.getDeadline(), time) && isBefore(context.getDeadline(), time);
        }

        private boolean isBefore(Deadline deadline, Duration time) {
            return deadline == null || deadline.timeRemaining(TimeUnit.NANOSECONDS) > time.toNanos();
        }

        private final class Attempt extends Listener<R> {
            private final List<R> messages = new ArrayList<>(1);
            private Metadata headers;

            @Override
            public void onHeaders(Metadata headers) {
                this.headers = headers;
            }

            @Override
            public void onMessage(R message) {
                messages.add(message);
            }

            @Override
            public void onClose(Status status, Metadata trailers) {
                Status last = status;
                if (!status.isOk()) {
                    PgfoxException error = PgfoxException.of(status.asRuntimeException());
                    if (repeat(error)) {
                        return;
                    }
                    // If the caller ended the call, there is nothing to add.
                    if (backoff.failures() > 1 && error.code() != Status.Code.CANCELLED) {
                        last = error.after(backoff.failures(), Duration.ofNanos(System.nanoTime() - began))
                                .toStatus();
                    }
                }
                if (headers != null) {
                    listener.onHeaders(headers);
                }
                messages.forEach(listener::onMessage);
                listener.onClose(last, trailers);
            }
        }
    }
}
