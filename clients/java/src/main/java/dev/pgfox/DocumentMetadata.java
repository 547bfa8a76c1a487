package dev.pgfox;

import com.google.protobuf.ListValue;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Timestamp;
import com.google.protobuf.Value;
import dev.pgfox.v1.Document;
import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.TemporalAccessor;
import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Pattern;

/**
 * Converts metadata of documents to and from plain maps.
 *
 * <pre>{@code
 * Document film = Document.newBuilder()
 *         .setId("heat")
 *         .setMetadata(DocumentMetadata.of(Map.of("year", 1995, "genres", List.of("Crime"), "added", Instant.now())))
 *         .build();
 * long year = (Long) DocumentMetadata.toMap(film).get("year");
 * }</pre>
 */
public final class DocumentMetadata {
    /** Maximum nesting of objects and lists, including the metadata itself. */
    public static final int MAX_DEPTH = 32;

    /**
     * The largest integer, 2^53; the smallest is its negative. Numbers are sent as doubles, which cannot represent
     * every integer beyond that: send those as strings.
     */
    public static final long MAX_INTEGER = 1L << 53;

    private static final Pattern PLAIN_KEY = Pattern.compile("[A-Za-z0-9_-]+");
    private static final Value NULL =
            Value.newBuilder().setNullValue(NullValue.NULL_VALUE).build();

    private DocumentMetadata() {}

    /**
     * Makes a message of a map. Its values may be
     *
     * <ul>
     *   <li>null, strings, characters, booleans, and every kind of number. A double must be able to represent all
     *       digits of a {@link BigDecimal}, such as 19.99;
     *   <li>{@link Instant}, {@link OffsetDateTime}, {@link ZonedDateTime}, {@link LocalDateTime}, {@link LocalDate}
     *       and {@link Date}, which become strings in ISO 8601 format. Filters read a time without a zone as UTC;
     *   <li>{@link UUID} and {@link URI}, which become strings, and enums, which become their name;
     *   <li>{@link Optional} of these, lists, sets, arrays, maps with strings or enums as keys, and messages of
     *       google.protobuf such as {@link Struct}.
     * </ul>
     *
     * @throws IllegalArgumentException if a value would change, such as an integer beyond {@link #MAX_INTEGER} or NaN,
     *     or if it is of another type. The message has its path, such as {@code metadata.crew[3].born}
     */
    public static Struct of(Map<?, ?> metadata) {
        return struct("metadata", 0, metadata);
    }

    /**
     * The metadata of a document as plain values: {@link Long} for integers up to {@link #MAX_INTEGER}, {@link Double}
     * for other numbers, {@link String}, {@link Boolean}, null, {@link List} and {@link Map}. Both may be changed.
     */
    public static Map<String, Object> toMap(Document document) {
        return toMap(document.getMetadata());
    }

    /** The same for metadata without its document. */
    public static Map<String, Object> toMap(Struct metadata) {
        Map<String, Object> map = new LinkedHashMap<>();
        metadata.getFieldsMap().forEach((key, value) -> map.put(key, toObject(value)));
        return map;
    }

    /** Converts a single value in the same way, such as a facet's value. */
    public static Object toObject(Value value) {
        return switch (value.getKindCase()) {
            case STRING_VALUE -> value.getStringValue();
            case BOOL_VALUE -> value.getBoolValue();
            case NUMBER_VALUE -> number(value.getNumberValue());
            case STRUCT_VALUE -> toMap(value.getStructValue());
            case LIST_VALUE -> {
                List<Object> list = new ArrayList<>(value.getListValue().getValuesCount());
                value.getListValue().getValuesList().forEach(element -> list.add(toObject(element)));
                yield list;
            }
            case NULL_VALUE, KIND_NOT_SET -> null;
        };
    }

    private static Object number(double number) {
        // A conditional expression would turn both into a double.
        if (number == Math.rint(number) && Math.abs(number) <= MAX_INTEGER) {
            return (long) number;
        }
        return number;
    }

    /** A key in the form that paths use: as it is, or in quotes. */
    static String keyText(String key) {
        return PLAIN_KEY.matcher(key).matches()
                ? key
                : "\"" + key.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }

    /**
     * Converts a value, or refuses it with an error that names its path. The depth counts the objects and lists around
     * it.
     */
    static Value value(String path, int depth, Object from) {
        if (from == null) {
            return NULL;
        } else if (from instanceof CharSequence || from instanceof Character) {
            return string(path, from.toString());
        } else if (from instanceof Boolean bool) {
            return Value.newBuilder().setBoolValue(bool).build();
        } else if (from instanceof Number number) {
            return number(path, number);
        } else if (from instanceof Enum<?> constant) {
            return string(path, constant.name());
        } else if (from instanceof UUID || from instanceof URI) {
            return string(path, from.toString());
        } else if (from instanceof TemporalAccessor || from instanceof Date || from instanceof Timestamp) {
            return string(path, time(path, from));
        } else if (from instanceof Duration) {
            throw refused(path, "must not be a Duration: send its toSeconds() or toString()");
        } else if (from instanceof Optional<?> optional) {
            return value(path, depth, optional.orElse(null));
        } else if (from instanceof OptionalInt optional) {
            return value(path, depth, optional.isPresent() ? optional.getAsInt() : null);
        } else if (from instanceof OptionalLong optional) {
            return value(path, depth, optional.isPresent() ? optional.getAsLong() : null);
        } else if (from instanceof OptionalDouble optional) {
            return value(path, depth, optional.isPresent() ? optional.getAsDouble() : null);
        } else if (from instanceof Map<?, ?> map) {
            return Value.newBuilder().setStructValue(struct(path, depth, map)).build();
        } else if (from instanceof Value || from instanceof Struct || from instanceof ListValue) {
            return value(path, depth, plain(from));
        } else if (from instanceof java.util.Collection<?> elements) {
            return list(path, depth, elements);
        } else if (from.getClass().isArray()) {
            return list(path, depth, elements(path, from));
        }
        throw refused(
                path,
                "must be a JSON value, a time, a UUID or an enum, not "
                        + from.getClass().getName());
    }

    private static Object plain(Object message) {
        if (message instanceof Value value) {
            return toObject(value);
        }
        return message instanceof Struct struct
                ? toMap(struct)
                : toObject(Value.newBuilder().setListValue((ListValue) message).build());
    }

    private static Struct struct(String path, int depth, Map<?, ?> map) {
        checkDepth(path, depth);
        Struct.Builder struct = Struct.newBuilder();
        map.forEach((key, value) -> {
            String name = key instanceof Enum<?> constant ? constant.name() : key instanceof String text ? text : null;
            if (name == null) {
                throw refused(
                        path,
                        "must have strings as keys, not "
                                + (key == null ? null : key.getClass().getName()));
            }
            String inner = path + "." + keyText(name);
            checkUnicode(inner, name);
            struct.putFields(name, value(inner, depth + 1, value));
        });
        return struct.build();
    }

    private static Value list(String path, int depth, Iterable<?> elements) {
        checkDepth(path, depth);
        ListValue.Builder list = ListValue.newBuilder();
        for (Object element : elements) {
            list.addValues(value(path + "[" + list.getValuesCount() + "]", depth + 1, element));
        }
        return Value.newBuilder().setListValue(list).build();
    }

    private static List<Object> elements(String path, Object array) {
        if (array instanceof byte[]) {
            throw refused(path, "must not be bytes, which JSON does not have: send a string, such as Base64");
        }
        List<Object> elements = new ArrayList<>(Array.getLength(array));
        for (int i = 0; i < Array.getLength(array); i++) {
            elements.add(Array.get(array, i));
        }
        return elements;
    }

    private static Value string(String path, String from) {
        checkUnicode(path, from);
        return Value.newBuilder().setStringValue(from).build();
    }

    private static Value number(String path, Number from) {
        double number;
        if (from instanceof Double || from instanceof Float) {
            // 0.1f means 0.1, not the nearest double, 0.10000000149011612.
            number = from instanceof Float ? Double.parseDouble(from.toString()) : from.doubleValue();
            if (!Double.isFinite(number)) {
                throw refused(path, "must be a finite number, not " + from);
            }
        } else if (from instanceof BigDecimal decimal) {
            number = decimal.doubleValue();
            if (!Double.isFinite(number) || BigDecimal.valueOf(number).compareTo(decimal) != 0) {
                throw refused(path, "must be a number that a double can hold, not " + from + ": send it as a string");
            }
        } else if (from instanceof BigInteger
                || from instanceof Long
                || from instanceof Integer
                || from instanceof Short
                || from instanceof Byte
                || from instanceof AtomicLong
                || from instanceof AtomicInteger) {
            BigInteger integer = new BigInteger(from.toString());
            if (integer.abs().compareTo(BigInteger.valueOf(MAX_INTEGER)) > 0) {
                throw refused(path, "must be an integer from -2^53 to 2^53, not " + from + ": send it as a string");
            }
            number = integer.doubleValue();
        } else {
            throw refused(
                    path,
                    "must be a number of java.lang or java.math, not "
                            + from.getClass().getName());
        }
        return Value.newBuilder().setNumberValue(number).build();
    }

    private static String time(String path, Object from) {
        try {
            if (from instanceof Instant || from instanceof LocalDate) {
                return from.toString();
            } else if (from instanceof OffsetDateTime time) {
                return DateTimeFormatter.ISO_OFFSET_DATE_TIME.format(time);
            } else if (from instanceof ZonedDateTime time) {
                return DateTimeFormatter.ISO_OFFSET_DATE_TIME.format(time);
            } else if (from instanceof LocalDateTime time) {
                return DateTimeFormatter.ISO_LOCAL_DATE_TIME.format(time);
            } else if (from instanceof Timestamp stamp) {
                return Instant.ofEpochSecond(stamp.getSeconds(), stamp.getNanos())
                        .toString();
            } else if (from instanceof Date date) {
                // A time of java.sql without a time of day, or without a date.
                return date.toInstant().toString();
            }
        } catch (DateTimeException | UnsupportedOperationException e) {
            throw refused(
                    path,
                    "is not a time that can be written, " + from.getClass().getName());
        }
        throw refused(path, "must be a time with a date, not " + from.getClass().getName());
    }

    private static void checkDepth(String path, int depth) {
        if (depth >= MAX_DEPTH) {
            throw refused(path, "is nested deeper than " + MAX_DEPTH + " objects and lists");
        }
    }

    private static void checkUnicode(String path, String text) {
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw refused(path, "has half of a surrogate pair, which UTF-8 cannot hold");
        }
    }

    private static IllegalArgumentException refused(String path, String rule) {
        return new IllegalArgumentException(path + " " + rule);
    }
}
