package dev.pgfox;

import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Queue;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * A whole list, page by page. The next page is requested when it is needed. Each iterator and each stream starts from
 * the beginning. A call that fails throws out of {@code hasNext}, {@code next} or the end of the stream.
 */
public final class Pages<T> implements Iterable<T> {
    private final String firstToken;
    private final Function<String, Page<T>> fetch;

    /** The entries of a page, and the token of the next page; empty if there is none. */
    record Page<T>(List<T> items, String nextToken) {}

    Pages(String firstToken, Function<String, Page<T>> fetch) {
        this.firstToken = firstToken;
        this.fetch = fetch;
    }

    /** All entries, as they arrive. */
    public Stream<T> stream() {
        return StreamSupport.stream(
                () -> Spliterators.spliteratorUnknownSize(iterator(), Spliterator.ORDERED | Spliterator.NONNULL),
                Spliterator.ORDERED | Spliterator.NONNULL,
                false);
    }

    @Override
    public Iterator<T> iterator() {
        return new Iterator<>() {
            private final Queue<T> waiting = new ArrayDeque<>();
            /** The token of the next page; null if there is none. */
            private String token = firstToken;

            @Override
            public boolean hasNext() {
                while (waiting.isEmpty() && token != null) {
                    Page<T> page = fetch.apply(token);
                    waiting.addAll(page.items());
                    token = page.nextToken().isEmpty() ? null : page.nextToken();
                }
                return !waiting.isEmpty();
            }

            @Override
            public T next() {
                if (!hasNext()) {
                    throw new NoSuchElementException();
                }
                return waiting.remove();
            }
        };
    }
}
