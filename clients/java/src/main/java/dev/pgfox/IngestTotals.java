package dev.pgfox;

import dev.pgfox.v1.IngestResponse;
import java.io.Serializable;

/**
 * Counts everything that is acknowledged, which means committed.
 *
 * @param documents documents, including skipped ones
 * @param upserted documents that were inserted or changed
 * @param updated documents among {@code upserted} that existed before
 * @param unchanged documents that were already stored unchanged; after an interruption also documents that were sent
 *     twice
 * @param skipped documents that the server refused, with {@code skipInvalid}
 * @param existing documents whose id existed, with {@code onlyIfAbsent}; after an interruption also documents that were
 *     sent twice
 * @param embedded embedded texts: documents or their chunks
 * @param truncated documents whose text is longer than the model reads
 * @param unembedded documents stored without a vector because they have no text
 * @param fullTextCut documents whose text is so long that full-text search does not know all of it
 * @param tokens tokens that the model read
 */
public record IngestTotals(
        long documents,
        long upserted,
        long updated,
        long unchanged,
        long skipped,
        long existing,
        long embedded,
        long truncated,
        long unembedded,
        long fullTextCut,
        long tokens)
        implements Serializable {
    static final IngestTotals NONE = new IngestTotals(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

    IngestTotals plus(int documentsOfRequest, IngestResponse response) {
        return new IngestTotals(
                documents + documentsOfRequest,
                upserted + response.getUpsertedCount(),
                updated + response.getUpdatedCount(),
                unchanged + response.getUnchangedCount(),
                skipped + response.getErrorsCount(),
                existing + response.getSkippedCount(),
                embedded + response.getEmbeddedCount(),
                truncated + response.getTruncatedCount(),
                unembedded + response.getUnembeddedCount(),
                fullTextCut + response.getFullTextCutCount(),
                tokens + response.getUsage().getTokens());
    }
}
