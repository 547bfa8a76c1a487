package dev.pgfox;

import com.google.protobuf.CodedOutputStream;
import dev.pgfox.v1.Document;
import dev.pgfox.v1.IngestRequest;
import java.nio.charset.CharsetEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;

/** Groups documents into requests by count and by bytes. */
final class Requests {
    private final Iterator<Document> documents;
    private final String collection;
    private final IngestOptions options;
    private final CharsetEncoder utf8 = StandardCharsets.UTF_8.newEncoder();
    /** A document that no longer fitted. It is the first of the next request. */
    private Document carried;

    private long documentsRead;
    private long sequence;
    private boolean isDone;

    Requests(Iterator<Document> documents, String collection, IngestOptions options) {
        this.documents = documents;
        this.collection = collection;
        this.options = options;
    }

    /** Whether every document is in a request that was handed out. */
    boolean isDone() {
        return isDone;
    }

    /** The next request; null at the end. */
    IngestRequest next() {
        IngestRequest.Builder request = IngestRequest.newBuilder()
                .setCollection(collection)
                .setSkipInvalid(options.skipInvalid)
                .setOnlyIfAbsent(options.onlyIfAbsent);
        int bytes = 0;
        while (request.getDocumentsCount() < options.documentsPerRequest && bytes < options.bytesPerRequest) {
            Document document = read();
            if (document == null) {
                break;
            }
            int size = CodedOutputStream.computeMessageSize(IngestRequest.DOCUMENTS_FIELD_NUMBER, document);
            if (size > IngestOptions.MAX_BYTES_PER_REQUEST) {
                throw new IllegalArgumentException("document %d (\"%s\") has %d bytes; a request may have at most %d"
                        .formatted(documentsRead - 1, document.getId(), size, IngestOptions.MAX_BYTES_PER_REQUEST));
            }
            if (bytes > 0 && bytes + size > options.bytesPerRequest) {
                carried = document;
                break;
            }
            request.addDocuments(document);
            bytes += size;
        }
        if (bytes == 0) {
            isDone = true;
            return null;
        }
        return request.setSequence(++sequence).build();
    }

    private Document read() {
        if (carried != null) {
            Document document = carried;
            carried = null;
            return document;
        }
        if (!documents.hasNext()) {
            return null;
        }
        Document document = documents.next();
        // Protobuf would write half of a surrogate pair as `?`, so that two ids could become the same.
        if (!utf8.canEncode(document.getId()) || !utf8.canEncode(document.getText())) {
            throw new IllegalArgumentException(
                    "document %d (\"%s\") has half of a surrogate pair in its id or text, which UTF-8 cannot hold"
                            .formatted(documentsRead, document.getId()));
        }
        documentsRead++;
        return document;
    }
}
