/**
 * The client of pgfox: a connection with sensible defaults around the generated stubs and messages of
 * {@code dev.pgfox.v1}, and a helper that streams documents. Begin with {@link dev.pgfox.PgfoxClient}.
 */
package dev.pgfox;
