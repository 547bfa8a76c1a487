package pgfox

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// MaxMetadataDepth is the maximum nesting of objects and lists, including the metadata itself.
const MaxMetadataDepth = 32

// MaxInteger is the largest integer of metadata, 2^53, and -MaxInteger the smallest. Numbers are doubles, which cannot
// represent every integer beyond that: send those as strings.
const MaxInteger = 1 << 53

// NewMetadata makes metadata of a map with string keys, or of a struct by its json tags:
//
//	metadata, err := pgfox.NewMetadata(map[string]any{"year": 1999, "added": time.Now(), "genres": []string{"Crime"}})
//
// Values are those that encoding/json accepts. Integers, floats, strings and booleans of every kind, nil, pointers,
// slices and maps become what they are in JSON. A [time.Time], a UUID or a decimal becomes a string, as it does there.
// Values that would come back changed are refused: an integer beyond [MaxInteger], NaN and infinities, a
// [time.Duration], a []byte, and a string that is not UTF-8. The error is an [*Error] whose violation has the path,
// such as "metadata.crew[3].born". If from is nil, there is no metadata.
func NewMetadata(from any) (*structpb.Struct, error) {
	value, err := toValue("metadata", 0, from)
	if err != nil {
		return nil, err
	}
	switch kind := value.GetKind().(type) {
	case *structpb.Value_StructValue:
		return kind.StructValue, nil
	case *structpb.Value_NullValue:
		return nil, nil
	}
	return nil, invalidArgument("metadata", fmt.Sprintf("must be a map with string keys or a struct, not %T", from))
}

// MetadataMap returns metadata as plain values: integers up to [MaxInteger] as int64, other numbers as float64, and
// string, bool, nil, map[string]any and []any. The map is never nil.
func MetadataMap(metadata *structpb.Struct) map[string]any {
	plain := make(map[string]any, len(metadata.GetFields()))
	for key, value := range metadata.GetFields() {
		plain[key] = fromValue(value)
	}
	return plain
}

// ReadMetadata stores metadata in what into points to, such as a struct with json tags, as [json.Unmarshal] does.
func ReadMetadata(metadata *structpb.Struct, into any) error {
	text, err := json.Marshal(MetadataMap(metadata))
	if err != nil {
		return fmt.Errorf("pgfox: reading metadata: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("pgfox: reading metadata: %w", err)
	}
	return nil
}

// FacetValue returns the value of a facet as [MetadataMap] would.
func FacetValue(facet *pgfoxv1.FacetValue) any {
	return fromValue(facet.GetValue())
}

func fromValue(value *structpb.Value) any {
	switch kind := value.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue
	case *structpb.Value_BoolValue:
		return kind.BoolValue
	case *structpb.Value_NumberValue:
		if number := kind.NumberValue; number == math.Trunc(number) && math.Abs(number) <= MaxInteger {
			return int64(number)
		}
		return kind.NumberValue
	case *structpb.Value_StructValue:
		return MetadataMap(kind.StructValue)
	case *structpb.Value_ListValue:
		plain := make([]any, len(kind.ListValue.GetValues()))
		for i, element := range kind.ListValue.GetValues() {
			plain[i] = fromValue(element)
		}
		return plain
	}
	return nil
}

// toValue converts a value, or refuses it with an error that names its path. depth counts the objects and lists around
// it.
func toValue(path string, depth int, from any) (*structpb.Value, error) {
	if isNil(reflect.ValueOf(from)) {
		return structpb.NewNullValue(), nil
	}
	switch from := from.(type) {
	case string:
		return stringValue(path, from)
	case bool:
		return structpb.NewBoolValue(from), nil
	case int:
		return integerValue(path, int64(from))
	case float64:
		return floatValue(path, from)
	case map[string]any:
		return objectValue(path, depth, reflect.ValueOf(from))
	case time.Time:
		return textValue(path, from)
	case *timestamppb.Timestamp:
		return textValue(path, from.AsTime())
	case time.Duration:
		return nil, invalidArgument(path, fmt.Sprintf("must not be a time.Duration: send %s.Seconds() or .String()", from))
	case json.Number:
		return jsonNumber(path, from)
	case json.Marshaler:
		return jsonValue(path, depth, from)
	case encoding.TextMarshaler:
		return textValue(path, from)
	}
	return reflectedValue(path, depth, reflect.ValueOf(from))
}

// isNil reports whether a value is null in JSON.
func isNil(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Map, reflect.Slice:
		return value.IsNil()
	}
	return false
}

func reflectedValue(path string, depth int, from reflect.Value) (*structpb.Value, error) {
	switch from.Kind() {
	case reflect.String:
		return stringValue(path, from.String())
	case reflect.Bool:
		return structpb.NewBoolValue(from.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integerValue(path, from.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if number := from.Uint(); number > MaxInteger {
			return nil, tooLarge(path, strconv.FormatUint(number, 10))
		}
		return structpb.NewNumberValue(float64(from.Uint())), nil
	case reflect.Float32:
		// 0.1 as a float32 means 0.1, not the nearest double, 0.10000000149011612.
		number, err := strconv.ParseFloat(strconv.FormatFloat(from.Float(), 'g', -1, 32), 64)
		if err != nil {
			number = from.Float()
		}
		return floatValue(path, number)
	case reflect.Float64:
		return floatValue(path, from.Float())
	case reflect.Map:
		return objectValue(path, depth, from)
	case reflect.Slice, reflect.Array:
		return listValue(path, depth, from)
	case reflect.Struct:
		return jsonValue(path, depth, from.Interface())
	case reflect.Pointer:
		if depth >= MaxMetadataDepth {
			return nil, tooDeep(path)
		}
		// Count it as a level, so that a pointer to itself ends.
		return toValue(path, depth+1, from.Elem().Interface())
	}
	return nil, invalidArgument(path, fmt.Sprintf("must be a JSON value, not %s", from.Type()))
}

func stringValue(path, from string) (*structpb.Value, error) {
	if !utf8.ValidString(from) {
		return nil, invalidArgument(path, "must be UTF-8")
	}
	return structpb.NewStringValue(from), nil
}

func integerValue(path string, from int64) (*structpb.Value, error) {
	if from > MaxInteger || from < -MaxInteger {
		return nil, tooLarge(path, strconv.FormatInt(from, 10))
	}
	return structpb.NewNumberValue(float64(from)), nil
}

func floatValue(path string, from float64) (*structpb.Value, error) {
	if math.IsNaN(from) || math.IsInf(from, 0) {
		return nil, invalidArgument(path, fmt.Sprintf("must be a finite number, not %v", from))
	}
	return structpb.NewNumberValue(from), nil
}

func textValue(path string, from encoding.TextMarshaler) (*structpb.Value, error) {
	text, err := from.MarshalText()
	if err != nil {
		return nil, invalidArgument(path, "cannot be written as text: "+err.Error())
	}
	return stringValue(path, string(text))
}

// jsonNumber is a JSON number of any length.
func jsonNumber(path string, from json.Number) (*structpb.Value, error) {
	digits := strings.TrimPrefix(from.String(), "-")
	if digits != "" && strings.Trim(digits, "0123456789") == "" {
		number, err := from.Int64()
		if err != nil {
			return nil, tooLarge(path, from.String())
		}
		return integerValue(path, number)
	}
	number, err := from.Float64()
	if err != nil {
		return nil, invalidArgument(path, fmt.Sprintf("must be a number that a double can hold, not %q", from.String()))
	}
	return floatValue(path, number)
}

// jsonValue converts a struct, or a type that marshals itself, as encoding/json does.
func jsonValue(path string, depth int, from any) (*structpb.Value, error) {
	text, err := json.Marshal(from)
	if err != nil {
		return nil, invalidArgument(path, "cannot be written as JSON: "+err.Error())
	}
	var plain any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&plain); err != nil {
		return nil, invalidArgument(path, "cannot be written as JSON: "+err.Error())
	}
	return toValue(path, depth, plain)
}

func objectValue(path string, depth int, from reflect.Value) (*structpb.Value, error) {
	if from.Type().Key().Kind() != reflect.String {
		return nil, invalidArgument(path, fmt.Sprintf("must have strings as keys, not %s", from.Type().Key()))
	}
	if depth >= MaxMetadataDepth {
		return nil, tooDeep(path)
	}
	fields := make(map[string]*structpb.Value, from.Len())
	for entries := from.MapRange(); entries.Next(); {
		key := entries.Key().String()
		if !utf8.ValidString(key) {
			return nil, invalidArgument(path, fmt.Sprintf("has a key that is not UTF-8: %q", key))
		}
		value, err := toValue(path+"."+keyText(key), depth+1, entries.Value().Interface())
		if err != nil {
			return nil, err
		}
		fields[key] = value
	}
	return structpb.NewStructValue(&structpb.Struct{Fields: fields}), nil
}

func listValue(path string, depth int, from reflect.Value) (*structpb.Value, error) {
	if from.Type().Elem().Kind() == reflect.Uint8 {
		return nil, invalidArgument(path, "must not be bytes, which JSON does not have: send a string, such as base64")
	}
	if depth >= MaxMetadataDepth {
		return nil, tooDeep(path)
	}
	values := make([]*structpb.Value, from.Len())
	for i := range values {
		value, err := toValue(fmt.Sprintf("%s[%d]", path, i), depth+1, from.Index(i).Interface())
		if err != nil {
			return nil, err
		}
		values[i] = value
	}
	return structpb.NewListValue(&structpb.ListValue{Values: values}), nil
}

func tooLarge(path, number string) *Error {
	return invalidArgument(path, "must be an integer from -2^53 to 2^53, not "+number+": send it as a string")
}

func tooDeep(path string) *Error {
	return invalidArgument(path, fmt.Sprintf("is nested deeper than %d objects and lists", MaxMetadataDepth))
}
