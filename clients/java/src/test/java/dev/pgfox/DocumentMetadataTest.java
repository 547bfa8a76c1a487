package dev.pgfox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Struct;
import com.google.protobuf.Timestamp;
import com.google.protobuf.Value;
import dev.pgfox.v1.Document;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.Arrays;
import java.util.Collections;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class DocumentMetadataTest {
    private static final LocalDateTime LOCAL = LocalDateTime.of(2024, 5, 1, 12, 0);
    private static final Instant INSTANT = LOCAL.toInstant(ZoneOffset.UTC);
    private static final UUID ID = UUID.fromString("6ba7b810-9dad-11d1-80b4-00c04fd430c8");

    static Stream<Arguments> values() {
        return Stream.of(
                Arguments.of(7, 7L),
                Arguments.of((byte) -8, -8L),
                Arguments.of(DocumentMetadata.MAX_INTEGER, DocumentMetadata.MAX_INTEGER),
                Arguments.of(-DocumentMetadata.MAX_INTEGER, -DocumentMetadata.MAX_INTEGER),
                Arguments.of(3.0, 3L),
                Arguments.of(1.5, 1.5),
                Arguments.of(0.1f, 0.1),
                Arguments.of(1e300, 1e300),
                Arguments.of(new BigDecimal("19.990"), 19.99),
                Arguments.of(BigInteger.TEN, 10L),
                Arguments.of("x", "x"),
                Arguments.of('x', "x"),
                Arguments.of(new StringBuilder("x"), "x"),
                Arguments.of("🦊", "🦊"),
                Arguments.of(true, true),
                Arguments.of(null, null),
                Arguments.of(Optional.empty(), null),
                Arguments.of(Optional.of(ID), "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
                Arguments.of(OptionalInt.of(4), 4L),
                Arguments.of(TimeUnit.DAYS, "DAYS"),
                Arguments.of(URI.create("https://pgfox.example"), "https://pgfox.example"),
                Arguments.of(INSTANT, "2024-05-01T12:00:00Z"),
                Arguments.of(Date.from(INSTANT), "2024-05-01T12:00:00Z"),
                Arguments.of(
                        Timestamp.newBuilder()
                                .setSeconds(INSTANT.getEpochSecond())
                                .build(),
                        "2024-05-01T12:00:00Z"),
                Arguments.of(OffsetDateTime.of(LOCAL, ZoneOffset.ofHours(2)), "2024-05-01T12:00:00+02:00"),
                Arguments.of(ZonedDateTime.of(LOCAL, ZoneId.of("Europe/Berlin")), "2024-05-01T12:00:00+02:00"),
                Arguments.of(LOCAL, "2024-05-01T12:00:00"),
                Arguments.of(LOCAL.toLocalDate(), "2024-05-01"),
                Arguments.of(List.of(1, "a"), List.of(1L, "a")),
                Arguments.of(Set.of(1), List.of(1L)),
                Arguments.of(new int[] {1, 2}, List.of(1L, 2L)),
                Arguments.of(new String[] {"a", null}, Arrays.asList("a", null)),
                Arguments.of(Map.of("a", Map.of("b", List.of())), Map.of("a", Map.of("b", List.of()))),
                Arguments.of(Map.of(TimeUnit.DAYS, 1), Map.of("DAYS", 1L)),
                Arguments.of(Value.newBuilder().setNumberValue(5).build(), 5L),
                Arguments.of(DocumentMetadata.of(Map.of("a", 1)), Map.of("a", 1L)));
    }

    @ParameterizedTest
    @MethodSource
    void values(Object in, Object out) {
        Document document = Document.newBuilder()
                .setMetadata(DocumentMetadata.of(Collections.singletonMap("key", in)))
                .build();
        assertEquals(Collections.singletonMap("key", out), DocumentMetadata.toMap(document));
    }

    @Test
    void mapsThatComeOutMayBeChanged() {
        Map<String, Object> none = DocumentMetadata.toMap(Document.getDefaultInstance());
        none.put("a", 1);
        assertEquals(Struct.getDefaultInstance(), DocumentMetadata.of(Map.of()));
        assertNull(DocumentMetadata.toObject(Value.getDefaultInstance()));
    }

    static Stream<Arguments> refused() {
        Map<String, Object> loop = new HashMap<>();
        loop.put("in", loop);
        return Stream.of(
                Arguments.of(
                        Map.of("a", Map.of("b", List.of(1, 2, 3, DocumentMetadata.MAX_INTEGER + 1))),
                        "metadata.a.b[3] must be an integer from -2^53 to 2^53, not 9007199254740993: send it as a string"),
                Arguments.of(Map.of("a", Long.MIN_VALUE), "metadata.a must be an integer from -2^53 to 2^53"),
                Arguments.of(Map.of("a", BigInteger.TWO.pow(100)), "metadata.a must be an integer from -2^53 to 2^53"),
                Arguments.of(
                        Map.of("a", new BigDecimal("0.12345678901234567890")),
                        "metadata.a must be a number that a double can hold, not 0.12345678901234567890: send it as a string"),
                Arguments.of(
                        Map.of("a", new BigDecimal("1e999")), "metadata.a must be a number that a double can hold"),
                Arguments.of(Map.of("a", Double.NaN), "metadata.a must be a finite number, not NaN"),
                Arguments.of(Map.of("a", Float.NEGATIVE_INFINITY), "metadata.a must be a finite number, not -Infinity"),
                Arguments.of(Map.of("a", Duration.ZERO), "metadata.a must not be a Duration"),
                Arguments.of(Map.of("a", LocalTime.NOON), "metadata.a must be a time with a date"),
                Arguments.of(Map.of("a", new byte[0]), "metadata.a must not be bytes"),
                Arguments.of(Map.of("a", Map.of(1, 2)), "metadata.a must have strings as keys, not java.lang.Integer"),
                Arguments.of(Collections.singletonMap(null, 1), "metadata must have strings as keys, not null"),
                Arguments.of(Map.of("a", new Object()), "metadata.a must be a JSON value"),
                Arguments.of(
                        Map.of("first name", Map.of("a", "\ud83e")),
                        "metadata.\"first name\".a has half of a surrogate pair"),
                Arguments.of(loop, "metadata.in.in"));
    }

    @ParameterizedTest
    @MethodSource
    void refused(Map<?, ?> metadata, String message) {
        String actual = assertThrows(IllegalArgumentException.class, () -> DocumentMetadata.of(metadata))
                .getMessage();
        assertTrue(actual.startsWith(message), actual);
    }

    @Test
    void yearsOfAnyLengthAreWritten() {
        assertEquals(
                Map.of("a", "0044-03-15"),
                DocumentMetadata.toMap(DocumentMetadata.of(Map.of("a", LocalDate.of(44, 3, 15)))));
    }
}
