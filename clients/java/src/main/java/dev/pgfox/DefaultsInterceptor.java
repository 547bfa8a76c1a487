package dev.pgfox;

import com.google.protobuf.MessageLite;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * Sets the deadline of calls that have none, and limits the size of messages. Streams have no deadline, because they
 * last as long as they have something to send.
 */
record DefaultsInterceptor(Duration timeout) implements ClientInterceptor {
    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
        boolean isDefault = options.getDeadline() == null && method.getType() == MethodType.UNARY;
        return new BoundedCall<>(next.newCall(
                method, isDefault ? options.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS) : options));
    }

    /**
     * gRPC's own limit is not used: a message above it, on a channel that is not connected yet, leaves the call without
     * an end.
     */
    private static final class BoundedCall<Q, R> extends SimpleForwardingClientCall<Q, R> {
        private boolean isRefused;

        BoundedCall(ClientCall<Q, R> call) {
            super(call);
        }

        @Override
        public void sendMessage(Q message) {
            int bytes = message instanceof MessageLite sized ? sized.getSerializedSize() : 0;
            if (bytes > PgfoxClient.MAX_MESSAGE_BYTES) {
                isRefused = true;
                String reason =
                        "the request has " + bytes + " bytes, above the limit of " + PgfoxClient.MAX_MESSAGE_BYTES;
                // The cause becomes the status of the call.
                cancel(reason, Status.RESOURCE_EXHAUSTED.withDescription(reason).asRuntimeException());
            } else if (!isRefused) {
                super.sendMessage(message);
            }
        }

        @Override
        public void halfClose() {
            if (!isRefused) {
                super.halfClose();
            }
        }
    }
}
