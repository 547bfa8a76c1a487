package dev.pgfox;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;

/** Gives every failed call a status with a complete message, and a {@link PgfoxException} as its cause. */
record ErrorInterceptor(Endpoint endpoint, ManagedChannel channel) implements ClientInterceptor {
    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
        return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
            @Override
            public void start(Listener<R> listener, Metadata headers) {
                super.start(new ErrorListener<>(listener), headers);
            }
        };
    }

    private final class ErrorListener<R> extends SimpleForwardingClientCallListener<R> {
        private Metadata headers;

        ErrorListener(ClientCall.Listener<R> listener) {
            super(listener);
        }

        @Override
        public void onHeaders(Metadata headers) {
            this.headers = headers;
            super.onHeaders(headers);
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            if (status.isOk()) {
                super.onClose(status, trailers);
            } else if (channel.isShutdown()) {
                super.onClose(new PgfoxException(Status.Code.CANCELLED, "the client was closed").toStatus(), trailers);
            } else {
                super.onClose(
                        PgfoxException.of(status, trailers, headers, endpoint).toStatus(), trailers);
            }
        }
    }
}
