package dev.pgfox;

/**
 * Says why an ingest ended early, and what is stored. The cause has the details:
 *
 * <ul>
 *   <li>{@link PgfoxException}: the server refused, or an interruption lasted longer than
 *       {@link IngestOptions.Builder#retryTimeout}; {@link PgfoxException#of} finds it;
 *   <li>{@link IllegalArgumentException}: a document is larger than a request can be, or its id or text is not Unicode;
 *   <li>{@link IllegalStateException}: the server acknowledged another request than the one that was sent;
 *   <li>{@link InterruptedException}: the thread was interrupted, and still is;
 *   <li>anything else: what the source of the documents or a callback threw.
 * </ul>
 */
public final class IngestException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final IngestTotals acknowledged;

    IngestException(Exception cause, IngestTotals acknowledged) {
        super(cause.getMessage() == null ? cause.toString() : cause.getMessage(), cause);
        this.acknowledged = acknowledged;
    }

    /** What was acknowledged before: the first {@code acknowledged().documents()} documents of the stream. */
    public IngestTotals acknowledged() {
        return acknowledged;
    }
}
