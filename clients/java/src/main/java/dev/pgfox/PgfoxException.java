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
 * Why a call failed, with all that the server says about it.
 *
 * <p>The stubs throw {@link io.grpc.StatusRuntimeException}, as all of gRPC for Java does. With a {@link PgfoxClient}
 * its message is complete, and its cause is a PgfoxException. {@link #of} finds that one in whatever was caught:
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
    /** What is added to a clock in nanoseconds must not overflow. */
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
        // Without a stack trace: it would show the inside of gRPC. That of the StatusRuntimeException shows the caller.
        super(message, cause, false, false);
        this.code = code;
        this.info = info;
        this.violations = violations;
        this.retryDelay = retryDelay;
        this.requestId = requestId;
    }

    /** An error of this client's own. */
    PgfoxException(Status.Code code, String message) {
        this(code, message, ErrorInfo.getDefaultInstance(), List.of(), null, null, null);
    }

    /**
     * The PgfoxException in a chain of causes. When there is none, as with stubs over a channel of one's own, it is
     * read from the status in the chain; what has no status either is {@code UNKNOWN}.
     */
    public static PgfoxException of(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof PgfoxException found) {
                return found;
            }
        }
        return read(Status.fromThrowable(error), Status.trailersFromThrowable(error), null);
    }

    /** Reads how a call to {@code endpoint} ended. The headers are those of the answer, null when there were none. */
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
                // Not from pgfox; the code and the message still tell something.
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

    /** The violations, unless the message tells the only one already. */
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

    /** A call that was cancelled for a reason of its own, such as a message that is too large, has that below. */
    private static Status reasonOfCancel(Status status) {
        Status reason = status;
        while (reason.getCode() == Status.Code.CANCELLED && reason.getCause() instanceof StatusRuntimeException below) {
            reason = below.getStatus();
        }
        return reason;
    }

    /** What the system says about a broken connection. */
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
     * Why the call failed, for programs. {@code ERROR_REASON_UNSPECIFIED} when the answer is not from pgfox, as for a
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

    /** What goes with the reason, as {@link ErrorReason} says, such as "expected" and "actual". */
    public Map<String, String> metadata() {
        return info.getMetadataMap();
    }

    /** Every field that breaks a rule, with the rule; empty when the error is not about fields. */
    public List<BadRequest.FieldViolation> violations() {
        return violations;
    }

    /** How long to wait before the call is worth repeating, where the server says so; at most 365 days. */
    public Optional<Duration> retryDelay() {
        return Optional.ofNullable(retryDelay);
    }

    /** The id of the call, which the log of the server has too. */
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

    /** Whether a stream that ended so is worth taking up again. */
    boolean isInterruption() {
        return switch (code) {
            case CANCELLED -> true;
            case UNKNOWN, INTERNAL -> isConnectionLost();
            default -> isRetryable();
        };
    }

    /** The same, with what was tried. */
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

    /** Whether an unclear end is that of the connection, and not an answer. */
    private boolean isConnectionLost() {
        if (isFromServer()) {
            return false;
        }
        // What the server says has no cause here, nor has the end of a stream or connection by HTTP/2. An answer that
        // cannot be read has one, and would be no better the next time.
        return getCause() == null
                ? getMessage().contains("RST_STREAM") || getMessage().contains("GOAWAY")
                : causes().noneMatch(InvalidProtocolBufferException.class::isInstance);
    }

    private boolean isDistrusted() {
        return causes().anyMatch(CertificateException.class::isInstance);
    }

    private boolean isPlaintext() {
        // By its name: the package is that of the Netty inside gRPC.
        return causes().anyMatch(cause -> cause.getClass().getSimpleName().equals("NotSslRecordException"));
    }

    private Stream<Throwable> causes() {
        return Stream.iterate(getCause(), Objects::nonNull, Throwable::getCause);
    }
}
