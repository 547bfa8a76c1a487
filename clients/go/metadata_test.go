package pgfox_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// level is an enum that writes itself as a text.
type level int

func (l level) MarshalText() ([]byte, error) {
	return []byte([]string{"low", "high"}[l]), nil
}

type film struct {
	Title  string    `json:"title"`
	Year   int64     `json:"year"`
	Rating *float64  `json:"rating,omitempty"`
	Added  time.Time `json:"added"`
	Crew   []person  `json:"crew"`
}

type person struct {
	Born int64 `json:"born"`
}

func TestMetadataComesBackAsItWas(t *testing.T) {
	year, moment := 1999, time.Date(2024, 5, 1, 12, 0, 0, 250_000_000, time.UTC)
	metadata, err := pgfox.NewMetadata(map[string]any{
		"int": 7, "int8": int8(-8), "uint64": uint64(pgfox.MaxInteger), "pointer": &year, "float": 1.5, "float32": float32(0.1),
		"whole": 3.0, "huge": 1e300, "string": "x", "bool": true, "nil": nil, "nothing": (*int)(nil), "named": time.Saturday,
		"time": moment, "stamp": timestamppb.New(moment), "ip": netip.MustParseAddr("::1"), "level": level(1),
		"big": big.NewInt(12), "number": json.Number("41"), "fraction": json.Number("4.25"), "raw": json.RawMessage(`{"n": 1}`),
		"strings": []string{"a", "b"}, "array": [2]int{1, 2}, "map": map[string]int{"a": 1}, "empty": []any{}, "none": []string(nil),
		"value": structpb.NewNumberValue(5), "struct": person{1960},
	})
	if err != nil {
		t.Fatal(err)
	}
	expected := map[string]any{
		"int": int64(7), "int8": int64(-8), "uint64": int64(pgfox.MaxInteger), "pointer": int64(1999), "float": 1.5, "float32": 0.1,
		"whole": int64(3), "huge": 1e300, "string": "x", "bool": true, "nil": nil, "nothing": nil, "named": int64(6),
		"time": "2024-05-01T12:00:00.25Z", "stamp": "2024-05-01T12:00:00.25Z", "ip": "::1", "level": "high",
		"big": int64(12), "number": int64(41), "fraction": 4.25, "raw": map[string]any{"n": int64(1)},
		"strings": []any{"a", "b"}, "array": []any{int64(1), int64(2)}, "map": map[string]any{"a": int64(1)}, "empty": []any{}, "none": nil,
		"value": int64(5), "struct": map[string]any{"born": int64(1960)},
	}
	got := pgfox.MetadataMap(metadata)
	for key := range expected {
		if !reflect.DeepEqual(got[key], expected[key]) {
			t.Errorf("%s: %#v instead of %#v", key, got[key], expected[key])
		}
	}
	if len(got) != len(expected) {
		t.Error(got)
	}
}

func TestMetadataOfAStruct(t *testing.T) {
	rating := 8.5
	wanted := film{"Heat", 1995, &rating, time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC), []person{{1940}, {1943}}}
	metadata, err := pgfox.NewMetadata(&wanted)
	if err != nil {
		t.Fatal(err)
	}
	if year := pgfox.MetadataMap(metadata)["year"]; year != int64(1995) {
		t.Errorf("%#v", year)
	}
	var got film
	if err := pgfox.ReadMetadata(metadata, &got); err != nil || !reflect.DeepEqual(got, wanted) {
		t.Error(got, err)
	}
	var wrong struct{ Title int }
	if err := pgfox.ReadMetadata(metadata, &wrong); err == nil || !strings.Contains(err.Error(), "title") && !strings.Contains(err.Error(), "Title") {
		t.Error(err)
	}
}

func TestNoMetadataIsAnEmptyMap(t *testing.T) {
	for _, from := range []any{nil, map[string]any(nil), (*film)(nil)} {
		if metadata, err := pgfox.NewMetadata(from); metadata != nil || err != nil {
			t.Error(metadata, err)
		}
	}
	plain := pgfox.MetadataMap((&pgfoxv1.Document{}).GetMetadata())
	plain["key"] = "a nil map would panic"
	if value := pgfox.FacetValue(&pgfoxv1.FacetValue{Value: structpb.NewNumberValue(1990)}); value != int64(1990) {
		t.Errorf("%#v", value)
	}
}

func TestMetadataThatWouldChangeIsRefusedByItsPath(t *testing.T) {
	loop := map[string]any{}
	loop["in"] = loop
	for expected, from := range map[string]any{
		"metadata.a.b[3] must be an integer from -2^53 to 2^53, not 9007199254740993: send it as a string": map[string]any{
			"a": map[string]any{"b": []any{1, 2, 3, int64(pgfox.MaxInteger + 1)}}},
		"metadata.a must be an integer from -2^53 to 2^53, not 18446744073709551615":  map[string]any{"a": uint64(math.MaxUint64)},
		"metadata.a must be an integer from -2^53 to 2^53, not -9223372036854775808":  map[string]any{"a": int64(math.MinInt64)},
		"metadata.a must be an integer from -2^53 to 2^53, not 123456789012345678901": map[string]any{"a": json.Number("123456789012345678901")},
		"metadata.b must be an integer from -2^53 to 2^53, not 1267650600228229401496703205376": map[string]any{
			"b": new(big.Int).Lsh(big.NewInt(1), 100)},
		"metadata.crew[1].born must be an integer":                       film{Crew: []person{{1}, {math.MaxInt64}}},
		"metadata.a must be a finite number, not NaN":                    map[string]any{"a": math.NaN()},
		"metadata.a must be a finite number, not -Inf":                   map[string]float32{"a": float32(math.Inf(-1))},
		"metadata.a must be a number that a double can hold":             map[string]any{"a": json.Number("1e999")},
		"metadata.a must not be a time.Duration":                         map[string]any{"a": time.Second},
		"metadata.a must not be bytes":                                   map[string]any{"a": []byte("x")},
		"metadata.a must have strings as keys, not int":                  map[string]any{"a": map[int]string{1: "x"}},
		"metadata.a must be a JSON value, not func()":                    map[string]any{"a": func() {}},
		"metadata.a must be a JSON value, not complex128":                map[string]any{"a": 1i},
		"metadata.\"first name\".a must be UTF-8":                        map[string]any{"first name": map[string]any{"a": "\xff"}},
		"metadata has a key that is not UTF-8":                           map[string]any{"\xff": 1},
		"metadata.a cannot be written as text":                           map[string]any{"a": time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"is nested deeper than 32 objects and lists":                     loop,
		"metadata must be a map with string keys or a struct, not []int": []int{1},
	} {
		metadata, err := pgfox.NewMetadata(from)
		if metadata != nil || !strings.Contains(fmt.Sprint(err), expected) {
			t.Errorf("%v, %v instead of %s", metadata, err, expected)
			continue
		}
		failed(t, err, codes.InvalidArgument)
	}
}
