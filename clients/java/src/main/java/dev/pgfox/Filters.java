package dev.pgfox;

import com.google.protobuf.ListValue;
import com.google.protobuf.Timestamp;
import com.google.protobuf.Value;
import dev.pgfox.v1.Condition;
import dev.pgfox.v1.Filter;
import dev.pgfox.v1.FilterList;
import dev.pgfox.v1.IdList;
import java.time.Instant;
import java.time.temporal.TemporalAccessor;
import java.util.Arrays;
import java.util.Collection;
import java.util.Date;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * A short notation for filters. It produces the generated messages.
 *
 * <pre>{@code
 * import static dev.pgfox.Filters.*;
 *
 * Filter filter = and(
 *         field("year").atLeast(1990),
 *         or(field("genres").containsAny("Crime", "Thriller"), field("rating").isNull()),
 *         not(field("variants[].color").equalTo("red")));
 * }</pre>
 */
public final class Filters {
    private Filters() {}

    /**
     * A field of the metadata, whose methods are the tests.
     *
     * @param path a key, keys separated by dots, such as {@code author.name}, or any element of a list, such as
     *     {@code variants[].color}. {@link #key} names one whose key has a dot or a blank in it
     */
    public static Field field(String path) {
        return new Field(path, false);
    }

    /** A field by its keys, from the outermost to the innermost. They may contain any characters. */
    public static Field key(String... keys) {
        return field(Arrays.stream(keys).map(DocumentMetadata::keyText).collect(Collectors.joining(".")));
    }

    /**
     * True if all of the filters are true.
     *
     * @throws IllegalArgumentException if there is no filter; write {@link #everything} to select all documents
     */
    public static Filter and(Filter... filters) {
        return and(List.of(filters));
    }

    /** The same for a list. */
    public static Filter and(Collection<Filter> filters) {
        FilterList list = combine("and()", filters, Filter::getAllOf);
        return list.getFiltersCount() == 1
                ? list.getFilters(0)
                : Filter.newBuilder().setAllOf(list).build();
    }

    /**
     * True if at least one of the filters is true.
     *
     * @throws IllegalArgumentException if there is no filter
     */
    public static Filter or(Filter... filters) {
        return or(List.of(filters));
    }

    /** The same for a list. */
    public static Filter or(Collection<Filter> filters) {
        FilterList list = combine("or()", filters, Filter::getAnyOf);
        return list.getFiltersCount() == 1
                ? list.getFilters(0)
                : Filter.newBuilder().setAnyOf(list).build();
    }

    /** True if the filter is false. */
    public static Filter not(Filter filter) {
        return Filter.newBuilder()
                .setNoneOf(combine("not()", List.of(filter), Filter::getAnyOf))
                .build();
    }

    /** The documents with these ids, 1 to 1,000. */
    public static Filter ids(String... ids) {
        return ids(List.of(ids));
    }

    /** The same for a list. */
    public static Filter ids(Collection<String> ids) {
        return Filter.newBuilder().setIds(IdList.newBuilder().addAllIds(ids)).build();
    }

    /** Every document, for calls such as {@code DeleteDocuments} that refuse a request without a selection. */
    public static Filter everything() {
        return Filter.newBuilder().setEverything(true).build();
    }

    /** Lists of the same kind are merged, so that a filter that grows in a loop does not become deeper. */
    private static FilterList combine(
            String name, Collection<Filter> filters, Function<Filter, FilterList> partsOfTheSameKind) {
        if (filters.isEmpty()) {
            throw new IllegalArgumentException(
                    name + " must have at least one filter; everything() matches every document");
        }
        return FilterList.newBuilder()
                .addAllFilters(filters.stream()
                        .flatMap(filter -> {
                            FilterList parts = partsOfTheSameKind.apply(filter);
                            return parts.getFiltersCount() > 0 ? parts.getFiltersList().stream() : Stream.of(filter);
                        })
                        .toList())
                .build();
    }

    /**
     * A metadata field. Its methods are the tests. If the value is missing or has another type, a test is false;
     * {@code notEqualTo}, {@code noneOf} and {@code isNull} are then true. Values are converted as in
     * {@link DocumentMetadata#of}, and refused in the same way, with the name of the field and the test.
     */
    public static final class Field {
        private final String path;
        private final boolean ignoreCase;

        private Field(String path, boolean ignoreCase) {
            this.path = path;
            this.ignoreCase = ignoreCase;
        }

        /**
         * Ignores the case of strings in {@code equalTo}, {@code notEqualTo}, {@code oneOf}, {@code noneOf},
         * {@code containsAny}, {@code containsAll}, {@code startsWith} and {@code containsText}. The server refuses it
         * in other tests.
         */
        public Field ignoreCase() {
            return new Field(path, true);
        }

        /** The value equals this one. An object or a list is compared as a whole. Null means {@link #isNull}. */
        public Filter equalTo(Object value) {
            return test(Condition.newBuilder().setEquals(value("equalTo", value)));
        }

        /** The value does not equal this one, or is missing. Null means {@link #exists}. */
        public Filter notEqualTo(Object value) {
            return test(Condition.newBuilder().setNotEquals(value("notEqualTo", value)));
        }

        /** The value is a number less than this one, or a string before it in code point order. */
        public Filter lessThan(Object value) {
            return test(Condition.newBuilder().setLessThan(ordered("lessThan", value)));
        }

        /** The value is less than or equal to this one. */
        public Filter atMost(Object value) {
            return test(Condition.newBuilder().setAtMost(ordered("atMost", value)));
        }

        /** The value is a number greater than this one, or a string after it in code point order. */
        public Filter greaterThan(Object value) {
            return test(Condition.newBuilder().setGreaterThan(ordered("greaterThan", value)));
        }

        /** The value is greater than or equal to this one. */
        public Filter atLeast(Object value) {
            return test(Condition.newBuilder().setAtLeast(ordered("atLeast", value)));
        }

        /** The value is one of these: 1 to 1,000 strings, numbers and booleans. */
        public Filter oneOf(Object... values) {
            return oneOf(Arrays.asList(values));
        }

        /** The same for a list. */
        public Filter oneOf(Collection<?> values) {
            return test(Condition.newBuilder().setOneOf(list("oneOf", values)));
        }

        /** The value is none of these, or is missing. */
        public Filter noneOf(Object... values) {
            return noneOf(Arrays.asList(values));
        }

        /** The same for a list. */
        public Filter noneOf(Collection<?> values) {
            return test(Condition.newBuilder().setNoneOf(list("noneOf", values)));
        }

        /** The value is a list with at least one of these: 1 to 1,000 strings, numbers and booleans. */
        public Filter containsAny(Object... values) {
            return containsAny(Arrays.asList(values));
        }

        /** The same for a list. */
        public Filter containsAny(Collection<?> values) {
            return test(Condition.newBuilder().setContainsAny(list("containsAny", values)));
        }

        /** The value is a list with all of these. */
        public Filter containsAll(Object... values) {
            return containsAll(Arrays.asList(values));
        }

        /** The same for a list. */
        public Filter containsAll(Collection<?> values) {
            return test(Condition.newBuilder().setContainsAll(list("containsAll", values)));
        }

        /** The value is a string that starts with this one. */
        public Filter startsWith(String text) {
            return test(Condition.newBuilder().setStartsWith(text));
        }

        /** The value is a string that contains this one. */
        public Filter containsText(String text) {
            return test(Condition.newBuilder().setContainsText(text));
        }

        /** There is a value. */
        public Filter exists() {
            return test(Condition.newBuilder().setExists(true));
        }

        /** There is no value: the field is absent or null. */
        public Filter isNull() {
            return test(Condition.newBuilder().setExists(false));
        }

        /** The value is a string with a time before this one, in the form that {@link DocumentMetadata#of} writes. */
        public Filter before(Instant time) {
            return test(Condition.newBuilder().setBefore(timestamp(time)));
        }

        /** The value is a string with this time or a later one. */
        public Filter since(Instant time) {
            return test(Condition.newBuilder().setSince(timestamp(time)));
        }

        private Filter test(Condition.Builder condition) {
            return Filter.newBuilder()
                    .setCondition(condition.setField(path).setIgnoreCase(ignoreCase))
                    .build();
        }

        private Value value(String test, Object value) {
            return DocumentMetadata.value(path + " " + test, 0, value);
        }

        /** Times have an order, but as strings times of different zones would be in the wrong order. */
        private Value ordered(String test, Object value) {
            if (value instanceof TemporalAccessor || value instanceof Date || value instanceof Timestamp) {
                throw new IllegalArgumentException(
                        path + " " + test + " must be a number or a string: use before or since for a time");
            }
            return value(test, value);
        }

        private ListValue list(String test, Collection<?> values) {
            return value(test, values).getListValue();
        }

        private static Timestamp timestamp(Instant time) {
            return Timestamp.newBuilder()
                    .setSeconds(time.getEpochSecond())
                    .setNanos(time.getNano())
                    .build();
        }
    }
}
