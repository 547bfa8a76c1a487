package pgfox_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pgfox "github.com/pgfox/pgfox/clients/go"
	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

func TestFiltersAreTheMessages(t *testing.T) {
	field, moment := pgfox.Field("a"), time.Date(2024, 5, 1, 12, 0, 0, 5000, time.FixedZone("", 2*3600))
	for expected, filter := range map[string]pgfox.Filter{
		`{"condition": {"field": "a", "equals": 7}}`:                                  field.Equals(7),
		`{"condition": {"field": "a", "equals": [1, {"b": true}]}}`:                   field.Equals([]any{1, map[string]any{"b": true}}),
		`{"condition": {"field": "a", "equals": null}}`:                               field.Equals(nil),
		`{"condition": {"field": "a", "equals": "2024-05-01T12:00:00.000005+02:00"}}`: field.Equals(moment),
		`{"condition": {"field": "a", "notEquals": "x"}}`:                             field.NotEquals("x"),
		`{"condition": {"field": "a", "lessThan": 1.5}}`:                              field.LessThan(1.5),
		`{"condition": {"field": "a", "atMost": 2}}`:                                  field.AtMost(uint8(2)),
		`{"condition": {"field": "a", "greaterThan": "x"}}`:                           field.GreaterThan("x"),
		`{"condition": {"field": "a", "atLeast": 9007199254740992}}`:                  field.AtLeast(int64(pgfox.MaxInteger)),
		`{"condition": {"field": "a", "oneOf": [1, "x", true]}}`:                      field.OneOf(1, "x", true),
		`{"condition": {"field": "a", "noneOf": ["x", "y"]}}`:                         field.NoneOf(pgfox.Any([]string{"x", "y"})...),
		`{"condition": {"field": "a", "containsAny": ["x"]}}`:                         field.ContainsAny("x"),
		`{"condition": {"field": "a", "containsAll": [1, 2]}}`:                        field.ContainsAll(1, 2),
		`{"condition": {"field": "a", "startsWith": "x"}}`:                            field.StartsWith("x"),
		`{"condition": {"field": "a", "containsText": "x", "ignoreCase": true}}`:      field.IgnoreCase().ContainsText("x"),
		`{"condition": {"field": "a", "exists": true}}`:                               field.Exists(),
		`{"condition": {"field": "a", "exists": false}}`:                              field.IsNull(),
		`{"condition": {"field": "a", "before": "2024-05-01T10:00:00.000005Z"}}`:      field.Before(moment),
		`{"condition": {"field": "a", "since": "2024-05-01T10:00:00.000005Z"}}`:       field.Since(moment),
		`{"condition": {"field": "variants[].color", "equals": "red"}}`:               pgfox.Field("variants[].color").Equals("red"),
		`{"condition": {"field": "a.\"first.name\".\"\\\"\\\\\"", "exists": true}}`:   pgfox.Key("a", "first.name", `"\`).Exists(),
		`{"ids": {"ids": ["x", "y"]}}`:                                                pgfox.IDs("x", "y"),
		`{"everything": true}`:                                                        pgfox.Everything(),
		`{"ids": {"ids": ["z"]}}`:                                                     pgfox.And(pgfox.Or(pgfox.IDs("z"))),
		`{"noneOf": {"filters": [{"ids": {"ids": ["x"]}}, {"ids": {"ids": ["y"]}}]}}`: pgfox.Not(pgfox.Or(pgfox.IDs("x"), pgfox.IDs("y"))),
		`{"anyOf": {"filters": [{"ids": {"ids": ["x"]}}, {"allOf": {"filters": [{"everything": true}, {"noneOf": {"filters": [{"ids": {"ids": ["y"]}}]}}]}}]}}`: pgfox.Or(pgfox.IDs("x"), pgfox.And(pgfox.Everything(), pgfox.Not(pgfox.IDs("y")))),
	} {
		message, err := filter.Build()
		if err != nil {
			t.Errorf("%s: %v", expected, err)
			continue
		}
		wanted := &pgfoxv1.Filter{}
		if err := protojson.Unmarshal([]byte(expected), wanted); err != nil {
			t.Fatal(expected, err)
		}
		if !proto.Equal(message, wanted) {
			t.Errorf("%v instead of %s", message, expected)
		}
	}
}

func TestAFilterThatGrowsInALoopStaysFlat(t *testing.T) {
	all, either := pgfox.Field("n").AtLeast(0), pgfox.IDs("0")
	for i := range 20 {
		all, either = pgfox.And(all, pgfox.Field("n").NotEquals(i)), pgfox.Or(either, pgfox.IDs(fmt.Sprint(i)))
	}
	for _, filter := range []pgfox.Filter{all, either} {
		message, err := filter.Build()
		if err != nil || len(message.GetAllOf().GetFilters())+len(message.GetAnyOf().GetFilters()) != 21 {
			t.Error(message, err)
		}
	}
}

func TestABuiltFilterIsTheCallersOwn(t *testing.T) {
	filter := pgfox.IDs("a")
	first, err := filter.Build()
	if err != nil {
		t.Fatal(err)
	}
	first.GetIds().Ids[0] = "b"
	if second, err := filter.Build(); err != nil || second.GetIds().GetIds()[0] != "a" {
		t.Fatal(second, err)
	}
}

func TestWhatAFilterCannotSayIsRefused(t *testing.T) {
	field := pgfox.Field("a.b")
	for expected, filter := range map[string]pgfox.Filter{
		"a.b equals must be an integer from -2^53 to 2^53, not 9007199254740993: send it as a string": field.Equals(int64(pgfox.MaxInteger + 1)),
		"a.b one_of[1] must be a finite number, not NaN":                                              field.OneOf(1, math.NaN()),
		"a.b at_least must be a number or a string: use Before or Since for a time":                   field.AtLeast(time.Now()),
		"a.b none_of[0] must be a string, a number or a boolean: pass a slice as pgfox.Any(slice)...": field.NoneOf([]string{"x"}),
		"a.b equals must be a JSON value, not chan int":                                               pgfox.Not(field.Equals(make(chan int))),
		"filter And() must have at least one filter":                                                  pgfox.Or(pgfox.And()),
		"filter Or() must have at least one filter":                                                   pgfox.And(pgfox.Everything(), pgfox.Or()),
		"filter must have a test":                                                                     {},
	} {
		message, err := filter.Build()
		if message != nil || !strings.Contains(fmt.Sprint(err), expected) {
			t.Errorf("%v, %v instead of %s", message, err, expected)
			continue
		}
		if failure := failed(t, err, codes.InvalidArgument); len(failure.Violations) != 1 ||
			pgfox.ReasonOf(fmt.Errorf("wrapped: %w", err)) != pgfoxv1.ErrorReason_ERROR_REASON_INVALID_FIELD {
			t.Error(failure)
		}
	}
}
