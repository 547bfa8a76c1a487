package dev.pgfox;

import dev.pgfox.v1.ErrorReason;

/**
 * A document that the server refused, with {@link IngestOptions.Builder#skipInvalid}.
 *
 * @param position position in the whole stream, from 0
 * @param id id of the document, cut to 512 bytes
 * @param reason the reason for programs
 * @param message the reason for people
 */
public record SkippedDocument(long position, String id, ErrorReason reason, String message) {}
