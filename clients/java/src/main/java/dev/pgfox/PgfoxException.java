package dev.pgfox;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.pgfox.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.security.cert.CertificateException;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Says why a call failed, with all details from the server.
 *
 * <p>The stubs throw {@link io.grpc.StatusRuntimeException}, like all of gRPC for Java. With a {@link PgfoxClient} its
 * message is complete, and its cause is a PgfoxException. {@link #of} finds it in any exception:
 *
 * <pre>{@code
 * try {
 *     client.blocking().search(request);
 * } catch (StatusRuntimeException e) {
 *     PgfoxException error = PgfoxException.of(e);
 *     if (error.code() == Status.Code.INVALID_ARGUMENT) {
 *         error.violations().forEach(v -> System.err.println(v.getField() + " " + v.getDescription()));
 *     }
 * }
 * }</pre>
 */
public final class PgfoxException extends RuntimeException {
    private static final Metadata.Key<String> REQUEST_ID =
            Metadata.Key.of("x-request-id", Metadata.ASCII_STRING_MARSHALLER);
    private static final String DOMAIN = "pgfox";
    private static final String DISTRUSTED =
            "the certificate of %s is not trusted: %s; give the CA that it descends from";
    private static final String PLAINTEXT = "%s does not speak TLS: %s; write http:// where that is meant";
    private static final String UNREACHABLE =
            "no answer from %s: %s; check that pgfox-server runs there, and that the address and http or https are right";
    private static final long serialVersionUID = 1;
    /** Limits the delay, so that adding it to a clock in nanoseconds does not overflow. */
    private static final Duration MAX_RETRY_DELAY = Duration.ofDays(365);

    private final Status.Code code;
    private final ErrorInfo info;
    private final List<BadRequest.FieldViolation> violations;
    private final Duration retryDelay;
    private final String requestId;

    private PgfoxException(
            Status.Code code,
            String message,
            ErrorInfo info,
            List<BadRequest.FieldViolation> violations,
            Duration retryDelay,
            String requestId,
            Throwable cause) {
        // Without a stack trace, which would show the internals of gRPC. That of the StatusRuntimeException shows the
        // caller.
        super(message, cause, false, false);
        this.code = code;
        this.info = info;
        this.violations = violations;
        this.retryDelay = retryDelay;
        this.requestId = requestId;
    }

    /** An error that arose in this client. */
    PgfoxException(Status.Code code, String message) {
        this(code, message, ErrorInfo.getDefaultInstance(), List.of(), null, null, null);
    }

    /**
     * The PgfoxException in a chain of causes. If there is none, as with stubs over your own channel, it is read from
     * the status in the chain. Without a status the code is {@code UNKNOWN}.
     */
    public static PgfoxException of(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof PgfoxException found) {
                return found;
            }
        }
        return read(Status.fromThrowable(error), Status.trailersFromThrowable(error), null);
    }

    /** Reads how a call to {@code endpoint} ended. The headers are those of the answer, or null if there were none. */
    static PgfoxException of(Status status, Metadata trailers, Metadata headers, Endpoint endpoint) {
        PgfoxException error = read(reasonOfCancel(status), trailers, headers);
        if (error.isFromServer()) {
            return error;
        }
        String cause = rootCause(status);
        String message = switch (error.code) {
            case UNAVAILABLE -> error.isDistrusted() ? DISTRUSTED : error.isPlaintext() ? PLAINTEXT : UNREACHABLE;
            case DEADLINE_EXCEEDED -> "the deadline is over and %s has not answered: %s";
            case UNKNOWN, INTERNAL -> error.isConnectionLost() ? "the connection to %s failed: %s" : null;
            default -> null;
        };
        return message == null ? error : error.withMessage(message.formatted(endpoint, cause));
    }

    private static PgfoxException read(Status status, Metadata trailers, Metadata headers) {
        ErrorInfo info = ErrorInfo.getDefaultInstance();
        List<BadRequest.FieldViolation> violations = List.of();
        Duration retryDelay = null;
        for (Any detail : details(status, trailers)) {
            try {
                if (detail.is(ErrorInfo.class)) {
                    ErrorInfo found = detail.unpack(ErrorInfo.class);
                    info = found.getDomain().equals(DOMAIN) ? found : info;
                } else if (detail.is(BadRequest.class)) {
                    violations = List.copyOf(detail.unpack(BadRequest.class).getFieldViolationsList());
                } else if (detail.is(RetryInfo.class)) {
                    var delay = detail.unpack(RetryInfo.class).getRetryDelay();
                    Duration asked = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
                    retryDelay = asked.compareTo(MAX_RETRY_DELAY) < 0 ? asked : MAX_RETRY_DELAY;
                }
            } catch (InvalidProtocolBufferException | ArithmeticException unreadable) {
                // Not from pgfox, but the code and the message still help.
            }
        }
        String message = status.getDescription() == null ? status.getCode().name() : status.getDescription();
        String requestId = trailers == null ? null : trailers.get(REQUEST_ID);
        if (requestId == null && headers != null) {
            requestId = headers.get(REQUEST_ID);
        }
        return new PgfoxException(
                status.getCode(),
                message + unsaid(message, violations),
                info,
                violations,
                retryDelay,
                requestId,
                status.getCause());
    }

    /** The violations, unless the message already contains the only one. */
    private static String unsaid(String message, List<BadRequest.FieldViolation> violations) {
        if (violations.size() == 1) {
            BadRequest.FieldViolation only = violations.get(0);
            if (message.contains(only.getField() + " " + only.getDescription())) {
                return "";
            }
        }
        return violations.stream()
                .map(violation -> "\n  " + violation.getField() + ": " + violation.getDescription())
                .collect(Collectors.joining());
    }

    private static List<Any> details(Status status, Metadata trailers) {
        try {
            return StatusProto.fromStatusAndTrailers(status, trailers).getDetailsList();
        } catch (RuntimeException unreadable) {
            return List.of();
        }
    }

    /**
     * A call that was cancelled for a specific reason, such as a message that is too large, has that reason as its
     * cause.
     */
    private static Status reasonOfCancel(Status status) {
        Status reason = status;
        while (reason.getCode() == Status.Code.CANCELLED && reason.getCause() instanceof StatusRuntimeException below) {
            reason = below.getStatus();
        }
        return reason;
    }

    /** The system's error for a broken connection. */
    private static String rootCause(Status status) {
        Throwable root = status.getCause();
        while (root != null && root.getCause() != null) {
            root = root.getCause();
        }
        if (root == null) {
            return status.getDescription();
        }
        return root.getMessage() == null ? root.getClass().getSimpleName() : root.getMessage();
    }

    /** The gRPC code. */
    public Status.Code code() {
        return code;
    }

    /**
     * Why the call failed, for programs. {@code ERROR_REASON_UNSPECIFIED} if the answer is not from pgfox, as for a
     * lost connection.
     */
    public ErrorReason reason() {
        try {
            return ErrorReason.valueOf("ERROR_REASON_" + info.getReason());
        } catch (IllegalArgumentException unknown) {
            // None, or newer than this client.
            return ErrorReason.ERROR_REASON_UNSPECIFIED;
        }
    }

    /** The values that {@link ErrorReason} documents for the reason, such as "expected" and "actual". */
    public Map<String, String> metadata() {
        return info.getMetadataMap();
    }

    /** Every field that breaks a rule, with the rule. Empty if the error is not about fields. */
    public List<BadRequest.FieldViolation> violations() {
        return violations;
    }

    /** How long to wait before retrying the call, if the server says so; at most 365 days. */
    public Optional<Duration> retryDelay() {
        return Optional.ofNullable(retryDelay);
    }

    /** The id of the call, which is also in the server's log. */
    public Optional<String> requestId() {
        return Optional.ofNullable(requestId);
    }

    /** Whether the same call may succeed later. */
    boolean isRetryable() {
        return switch (code) {
            case UNAVAILABLE -> !isDistrusted() && !isPlaintext();
            case RESOURCE_EXHAUSTED -> retryDelay != null;
            default -> false;
        };
    }

    /** Whether a stream that ended in this way can be resumed. */
    boolean isInterruption() {
        return switch (code) {
            case CANCELLED -> true;
            case UNKNOWN, INTERNAL -> isConnectionLost();
            default -> isRetryable();
        };
    }

    /** The same error, with the number and duration of the attempts. */
    PgfoxException after(int attempts, Duration time) {
        return withMessage(String.format(
                Locale.ROOT, "%s (%d attempts in %.1f s)", getMessage(), attempts, time.toMillis() / 1e3));
    }

    /** What the stubs throw. */
    Status toStatus() {
        return Status.fromCode(code).withDescription(getMessage()).withCause(this);
    }

    private PgfoxException withMessage(String message) {
        return new PgfoxException(code, message, info, violations, retryDelay, requestId, getCause());
    }

    private boolean isFromServer() {
        return info.getDomain().equals(DOMAIN);
    }

    /** Whether the connection failed, if the error itself does not say so. */
    private boolean isConnectionLost() {
        if (isFromServer()) {
            return false;
        }
        // An error from the server has no cause here, nor has the end of a stream or connection by HTTP/2. An answer
        // that cannot be read has one, and retrying would not help.
        return getCause() == null
                ? getMessage().contains("RST_STREAM") || getMessage().contains("GOAWAY")
                : causes().noneMatch(InvalidProtocolBufferException.class::isInstance);
    }

    private boolean isDistrusted() {
        return causes().anyMatch(CertificateException.class::isInstance);
    }

    private boolean isPlaintext() {
        // Compared by name: the class is in the package of the Netty inside gRPC.
        return causes().anyMatch(cause -> cause.getClass().getSimpleName().equals("NotSslRecordException"));
    }

    private Stream<Throwable> causes() {
        return Stream.iterate(getCause(), Objects::nonNull, Throwable::getCause);
    }
}
