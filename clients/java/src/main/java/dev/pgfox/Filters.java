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
 * Filters in short. What comes out are the generated messages.
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

    /** A field by its keys as they are, from the outside to the inside, whatever characters they have. */
    public static Field key(String... keys) {
        return field(Arrays.stream(keys).map(DocumentMetadata::keyText).collect(Collectors.joining(".")));
    }

    /**
     * Holds when all of the filters hold.
     *
     * @throws IllegalArgumentException when there is no filter; write {@link #everything} where all documents are meant
     */
    public static Filter and(Filter... filters) {
        return and(List.of(filters));
    }

    /** The same of a list. */
    public static Filter and(Collection<Filter> filters) {
        FilterList list = combine("and()", filters, Filter::getAllOf);
        return list.getFiltersCount() == 1
                ? list.getFilters(0)
                : Filter.newBuilder().setAllOf(list).build();
    }

    /**
     * Holds when at least one of the filters holds.
     *
     * @throws IllegalArgumentException when there is no filter
     */
    public static Filter or(Filter... filters) {
        return or(List.of(filters));
    }

    /** The same of a list. */
    public static Filter or(Collection<Filter> filters) {
        FilterList list = combine("or()", filters, Filter::getAnyOf);
        return list.getFiltersCount() == 1
                ? list.getFilters(0)
                : Filter.newBuilder().setAnyOf(list).build();
    }

    /** Holds when the filter does not hold. */
    public static Filter not(Filter filter) {
        return Filter.newBuilder()
                .setNoneOf(combine("not()", List.of(filter), Filter::getAnyOf))
                .build();
    }

    /** The documents with these ids, 1 to 1,000. */
    public static Filter ids(String... ids) {
        return ids(List.of(ids));
    }

    /** The same of a list. */
    public static Filter ids(Collection<String> ids) {
        return Filter.newBuilder().setIds(IdList.newBuilder().addAllIds(ids)).build();
    }

    /** Every document: for {@code DeleteDocuments}, which refuses a request that does not say which ones. */
    public static Filter everything() {
        return Filter.newBuilder().setEverything(true).build();
    }

    /** Filters of the same kind come in each other's place, so that one that grows in a loop does not grow deeper. */
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
     * A field of the metadata, whose methods are the tests. A test of a value that is not there, or of another type,
     * does not hold; {@code notEqualTo}, {@code noneOf} and {@code isNull} hold then. Values are converted as in
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
         * Compares strings without regard to case: in {@code equalTo}, {@code notEqualTo}, {@code oneOf},
         * {@code noneOf}, {@code containsAny}, {@code containsAll}, {@code startsWith} and {@code containsText}. The
         * server refuses it in other tests.
         */
        public Field ignoreCase() {
            return new Field(path, true);
        }

        /** The value is this one; an object or a list is equal as a whole. Null is the same as {@link #isNull}. */
        public Filter equalTo(Object value) {
            return test(Condition.newBuilder().setEquals(value("equalTo", value)));
        }

        /** The value is not this one, or there is none. Null is the same as {@link #exists}. */
        public Filter notEqualTo(Object value) {
            return test(Condition.newBuilder().setNotEquals(value("notEqualTo", value)));
        }

        /** The value is a number less than this one, or a string before it by code points. */
        public Filter lessThan(Object value) {
            return test(Condition.newBuilder().setLessThan(ordered("lessThan", value)));
        }

        /** The value is less or equal. */
        public Filter atMost(Object value) {
            return test(Condition.newBuilder().setAtMost(ordered("atMost", value)));
        }

        /** The value is a number greater than this one, or a string after it by code points. */
        public Filter greaterThan(Object value) {
            return test(Condition.newBuilder().setGreaterThan(ordered("greaterThan", value)));
        }

        /** The value is greater or equal. */
        public Filter atLeast(Object value) {
            return test(Condition.newBuilder().setAtLeast(ordered("atLeast", value)));
        }

        /** The value is one of these: 1 to 1,000 strings, numbers and booleans. */
        public Filter oneOf(Object... values) {
            return oneOf(Arrays.asList(values));
        }

        /** The same of a list. */
        public Filter oneOf(Collection<?> values) {
            return test(Condition.newBuilder().setOneOf(list("oneOf", values)));
        }

        /** The value is none of these, or there is none. */
        public Filter noneOf(Object... values) {
            return noneOf(Arrays.asList(values));
        }

        /** The same of a list. */
        public Filter noneOf(Collection<?> values) {
            return test(Condition.newBuilder().setNoneOf(list("noneOf", values)));
        }

        /** The value is a list that has at least one of these: 1 to 1,000 strings, numbers and booleans. */
        public Filter containsAny(Object... values) {
            return containsAny(Arrays.asList(values));
        }

        /** The same of a list. */
        public Filter containsAny(Collection<?> values) {
            return test(Condition.newBuilder().setContainsAny(list("containsAny", values)));
        }

        /** The value is a list that has all of these. */
        public Filter containsAll(Object... values) {
            return containsAll(Arrays.asList(values));
        }

        /** The same of a list. */
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

        /** The value is a string that spells a time before this one, as {@link DocumentMetadata#of} spells times. */
        public Filter before(Instant time) {
            return test(Condition.newBuilder().setBefore(timestamp(time)));
        }

        /** The value is a string that spells this time or a later one. */
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

        /** Times have an order, but as strings those of different zones would be in a wrong one. */
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
