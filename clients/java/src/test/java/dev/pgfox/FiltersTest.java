package dev.pgfox;

import static dev.pgfox.Filters.and;
import static dev.pgfox.Filters.everything;
import static dev.pgfox.Filters.field;
import static dev.pgfox.Filters.ids;
import static dev.pgfox.Filters.key;
import static dev.pgfox.Filters.not;
import static dev.pgfox.Filters.or;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.TextFormat;
import dev.pgfox.v1.Filter;
import java.time.Instant;
import java.time.LocalDate;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class FiltersTest {
    private static final Instant TIME = Instant.parse("2024-05-01T10:00:00.000005Z");

    static Stream<Arguments> messages() {
        Filters.Field a = field("a");
        return Stream.of(
                condition("equals { number_value: 7 }", a.equalTo(7)),
                condition("equals { null_value: NULL_VALUE }", a.equalTo(null)),
                condition("equals { string_value: '2024-05-01T10:00:00.000005Z' }", a.equalTo(TIME)),
                condition("equals { list_value { values { bool_value: true } } }", a.equalTo(List.of(true))),
                condition("not_equals { string_value: 'x' }", a.notEqualTo("x")),
                condition("less_than { number_value: 1.5 }", a.lessThan(1.5)),
                condition("at_most { number_value: 2 }", a.atMost((short) 2)),
                condition("greater_than { string_value: 'x' }", a.greaterThan("x")),
                condition("at_least { number_value: 9007199254740992 }", a.atLeast(DocumentMetadata.MAX_INTEGER)),
                condition("one_of { values { number_value: 1 } values { string_value: 'x' } }", a.oneOf(1, "x")),
                condition("one_of { values { number_value: 1 } }", a.oneOf(Set.of(1))),
                condition("none_of { values { string_value: 'x' } }", a.noneOf("x")),
                condition("contains_any { values { string_value: 'x' } }", a.containsAny("x")),
                condition("contains_all { values { number_value: 2 } }", a.containsAll(2)),
                condition("starts_with: 'x'", a.startsWith("x")),
                condition("contains_text: 'x' ignore_case: true", a.ignoreCase().containsText("x")),
                condition("exists: true", a.exists()),
                condition("exists: false", a.isNull()),
                condition("before { seconds: 1714557600 nanos: 5000 }", a.before(TIME)),
                condition("since { seconds: 1714557600 nanos: 5000 }", a.since(TIME)),
                filter(
                        "condition { field: 'b[].c' exists: true }",
                        field("b[].c").exists()),
                filter(
                        "condition { field: 'a.\"first.name\".\"\\\\\"\"' exists: true }",
                        key("a", "first.name", "\"").exists()),
                filter("ids { ids: 'x' ids: 'y' }", ids("x", "y")),
                filter("everything: true", everything()),
                filter("ids { ids: 'z' }", and(or(ids("z")))),
                filter(
                        "none_of { filters { ids { ids: 'x' } } filters { ids { ids: 'y' } } }",
                        not(or(ids("x"), ids("y")))),
                filter(
                        "any_of { filters { ids { ids: 'x' } } filters { all_of { filters { everything: true } "
                                + "filters { none_of { filters { ids { ids: 'y' } } } } } } }",
                        or(ids("x"), and(everything(), not(ids("y"))))));
    }

    private static Arguments condition(String test, Filter filter) {
        return filter("condition { field: 'a' " + test + " }", filter);
    }

    private static Arguments filter(String expected, Filter filter) {
        return Arguments.of(expected, filter);
    }

    @ParameterizedTest
    @MethodSource
    void messages(String expected, Filter filter) throws TextFormat.ParseException {
        assertEquals(TextFormat.parse(expected, Filter.class), filter);
    }

    @Test
    void whatGrowsInALoopStaysFlat() {
        Filter all = field("n").atLeast(0);
        Filter either = ids("0");
        for (int i = 0; i < 20; i++) {
            all = and(all, field("n").notEqualTo(i));
            either = or(either, ids("i" + i));
        }
        assertEquals(21, all.getAllOf().getFiltersCount());
        assertEquals(21, either.getAnyOf().getFiltersCount());
    }

    @Test
    void whatCannotBeSaidIsRefused() {
        Filters.Field field = field("a.b");
        Map<String, Executable> refused = Map.of(
                "a.b equalTo must be an integer from -2^53 to 2^53, not 9007199254740993: send it as a string",
                () -> field.equalTo(DocumentMetadata.MAX_INTEGER + 1),
                "a.b oneOf[1] must be a finite number, not NaN",
                () -> field.oneOf(1, Double.NaN),
                "a.b atLeast must be a number or a string: use before or since for a time",
                () -> field.atLeast(LocalDate.EPOCH),
                "a.b containsAny[0] must not be bytes",
                () -> field.containsAny(List.of(new byte[1])),
                "and() must have at least one filter",
                () -> or(and()),
                "or() must have at least one filter",
                () -> and(everything(), or(List.of())));
        refused.forEach((message, filter) -> {
            String actual = assertThrows(IllegalArgumentException.class, filter).getMessage();
            assertTrue(actual.startsWith(message), actual);
        });
    }
}
