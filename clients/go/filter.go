package pgfox

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pgfoxv1 "github.com/pgfox/pgfox/clients/go/v1"
)

// Filter says which documents. [Field] has the tests of a field, [And], [Or] and [Not] combine filters:
//
//	filter, err := pgfox.And(
//		pgfox.Field("year").AtLeast(1990),
//		pgfox.Or(pgfox.Field("genres").ContainsAny("Crime", "Thriller"), pgfox.Field("rating").IsNull()),
//	).Build()
//
// A Filter does not change, and may be used again and by any number of goroutines.
type Filter struct {
	message *pgfoxv1.Filter
	err     error
}

// Build returns the message for the Filter of a request. An error is an [*Error] whose violation names the field and
// its test, for example because of a value that JSON does not have.
func (f Filter) Build() (*pgfoxv1.Filter, error) {
	message, err := f.build()
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(message), nil
}

// build returns the message, which this filter may share with others.
func (f Filter) build() (*pgfoxv1.Filter, error) {
	if f.message == nil && f.err == nil {
		return nil, invalidArgument("filter", "must have a test; Everything() matches every document")
	}
	return f.message, f.err
}

// And is true if all of the filters are true. Without filters Build fails: write [Everything] to select all documents.
func And(filters ...Filter) Filter {
	list, err := combine("And", filters, func(message *pgfoxv1.Filter) []*pgfoxv1.Filter {
		return message.GetAllOf().GetFilters()
	})
	return combined(list, err, &pgfoxv1.Filter{Node: &pgfoxv1.Filter_AllOf{AllOf: &pgfoxv1.FilterList{Filters: list}}})
}

// Or is true if at least one of the filters is true. Without filters Build fails.
func Or(filters ...Filter) Filter {
	list, err := combine("Or", filters, func(message *pgfoxv1.Filter) []*pgfoxv1.Filter {
		return message.GetAnyOf().GetFilters()
	})
	return combined(list, err, &pgfoxv1.Filter{Node: &pgfoxv1.Filter_AnyOf{AnyOf: &pgfoxv1.FilterList{Filters: list}}})
}

// Not is true if the filter is false.
func Not(filter Filter) Filter {
	message, err := filter.build()
	if err != nil {
		return Filter{err: err}
	}
	list := []*pgfoxv1.Filter{message}
	if parts := message.GetAnyOf().GetFilters(); len(parts) > 0 {
		list = parts
	}
	return Filter{message: &pgfoxv1.Filter{Node: &pgfoxv1.Filter_NoneOf{NoneOf: &pgfoxv1.FilterList{Filters: list}}}}
}

// IDs matches the documents with these ids, 1 to 1,000.
func IDs(ids ...string) Filter {
	return Filter{message: &pgfoxv1.Filter{Node: &pgfoxv1.Filter_Ids{Ids: &pgfoxv1.IdList{Ids: slices.Clone(ids)}}}}
}

// Everything matches every document, for calls such as DeleteDocuments that refuse a request without a selection.
func Everything() Filter {
	return Filter{message: &pgfoxv1.Filter{Node: &pgfoxv1.Filter_Everything{Everything: true}}}
}

// combine returns the messages of the filters. Lists of the same kind are merged, so that a filter that grows in a loop
// does not become deeper.
func combine(name string, filters []Filter, same func(*pgfoxv1.Filter) []*pgfoxv1.Filter) ([]*pgfoxv1.Filter, error) {
	if len(filters) == 0 {
		return nil, invalidArgument("filter", name+"() must have at least one filter; Everything() matches every document")
	}
	list := make([]*pgfoxv1.Filter, 0, len(filters))
	for _, filter := range filters {
		message, err := filter.build()
		if err != nil {
			return nil, err
		}
		if parts := same(message); len(parts) > 0 {
			list = append(list, parts...)
		} else {
			list = append(list, message)
		}
	}
	return list, nil
}

func combined(list []*pgfoxv1.Filter, err error, message *pgfoxv1.Filter) Filter {
	switch {
	case err != nil:
		return Filter{err: err}
	case len(list) == 1:
		return Filter{message: list[0]}
	}
	return Filter{message: message}
}

// FieldTest is a metadata field. Its methods are the tests that make a [Filter]. If the value is missing or has another
// type, a test is false; NotEquals, NoneOf and IsNull are then true.
type FieldTest struct {
	path       string
	ignoreCase bool
}

// Field names a field by a key, by keys separated by dots, such as `author.name`, or as any element of a list, such as
// `variants[].color`. Use [Key] for a key that contains a dot or a space.
func Field(path string) FieldTest {
	return FieldTest{path: path}
}

// Key names a field by its keys, from the outermost to the innermost. They may contain any characters.
func Key(keys ...string) FieldTest {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = keyText(key)
	}
	return FieldTest{path: strings.Join(texts, ".")}
}

// IgnoreCase ignores the case of strings in Equals, NotEquals, OneOf, NoneOf, ContainsAny, ContainsAll, StartsWith and
// ContainsText. The server refuses it in other tests.
func (f FieldTest) IgnoreCase() FieldTest {
	f.ignoreCase = true
	return f
}

// Equals is true if the value equals this one. An object or a list is compared as a whole. nil means
// [FieldTest.IsNull].
func (f FieldTest) Equals(value any) Filter {
	v, err := f.value("equals", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Equals{Equals: v}}, err)
}

// NotEquals is true if the value does not equal this one or is missing. nil means [FieldTest.Exists].
func (f FieldTest) NotEquals(value any) Filter {
	v, err := f.value("not_equals", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_NotEquals{NotEquals: v}}, err)
}

// LessThan is true if the value is a number less than this one, or a string before it in code point order.
func (f FieldTest) LessThan(value any) Filter {
	v, err := f.ordered("less_than", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_LessThan{LessThan: v}}, err)
}

// AtMost is true if the value is less than or equal to this one.
func (f FieldTest) AtMost(value any) Filter {
	v, err := f.ordered("at_most", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_AtMost{AtMost: v}}, err)
}

// GreaterThan is true if the value is a number greater than this one, or a string after it in code point order.
func (f FieldTest) GreaterThan(value any) Filter {
	v, err := f.ordered("greater_than", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_GreaterThan{GreaterThan: v}}, err)
}

// AtLeast is true if the value is greater than or equal to this one.
func (f FieldTest) AtLeast(value any) Filter {
	v, err := f.ordered("at_least", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_AtLeast{AtLeast: v}}, err)
}

// OneOf is true if the value is one of these: 1 to 1,000 strings, numbers and booleans. Pass a slice with [Any].
func (f FieldTest) OneOf(values ...any) Filter {
	v, err := f.list("one_of", values)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_OneOf{OneOf: v}}, err)
}

// NoneOf is true if the value is none of these or is missing.
func (f FieldTest) NoneOf(values ...any) Filter {
	v, err := f.list("none_of", values)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_NoneOf{NoneOf: v}}, err)
}

// ContainsAny is true if the value is a list with at least one of these: 1 to 1,000 strings, numbers and booleans.
func (f FieldTest) ContainsAny(values ...any) Filter {
	v, err := f.list("contains_any", values)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_ContainsAny{ContainsAny: v}}, err)
}

// ContainsAll is true if the value is a list with all of these.
func (f FieldTest) ContainsAll(values ...any) Filter {
	v, err := f.list("contains_all", values)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_ContainsAll{ContainsAll: v}}, err)
}

// StartsWith is true if the value is a string that starts with this one.
func (f FieldTest) StartsWith(text string) Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_StartsWith{StartsWith: text}}, nil)
}

// ContainsText is true if the value is a string that contains this one.
func (f FieldTest) ContainsText(text string) Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_ContainsText{ContainsText: text}}, nil)
}

// Exists is true if there is a value.
func (f FieldTest) Exists() Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Exists{Exists: true}}, nil)
}

// IsNull is true if there is no value: the field is absent or null.
func (f FieldTest) IsNull() Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Exists{Exists: false}}, nil)
}

// Before is true if the value is a string with a time before this one, in the form of a [time.Time] in metadata.
func (f FieldTest) Before(moment time.Time) Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Before{Before: timestamppb.New(moment)}}, nil)
}

// Since is true if the value is a string with this time or a later one.
func (f FieldTest) Since(moment time.Time) Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Since{Since: timestamppb.New(moment)}}, nil)
}

// Any converts a slice for [FieldTest.OneOf] and similar tests: OneOf(pgfox.Any(names)...).
func Any[T any](values []T) []any {
	list := make([]any, len(values))
	for i, value := range values {
		list[i] = value
	}
	return list
}

func (f FieldTest) test(condition *pgfoxv1.Condition, err error) Filter {
	if err != nil {
		return Filter{err: err}
	}
	condition.Field, condition.IgnoreCase = f.path, f.ignoreCase
	return Filter{message: &pgfoxv1.Filter{Node: &pgfoxv1.Filter_Condition{Condition: condition}}}
}

func (f FieldTest) value(test string, from any) (*structpb.Value, error) {
	return toValue(f.path+" "+test, 0, from)
}

// ordered is a value with an order. A time has one, but as strings times of different zones would be in the wrong
// order.
func (f FieldTest) ordered(test string, from any) (*structpb.Value, error) {
	switch from.(type) {
	case time.Time, *time.Time, *timestamppb.Timestamp:
		return nil, invalidArgument(f.path+" "+test, "must be a number or a string: use Before or Since for a time")
	}
	return f.value(test, from)
}

func (f FieldTest) list(test string, from []any) (*structpb.ListValue, error) {
	list := &structpb.ListValue{}
	for i, element := range from {
		value, err := f.value(fmt.Sprintf("%s[%d]", test, i), element)
		if err != nil {
			return nil, err
		}
		if value.GetListValue() != nil {
			return nil, invalidArgument(fmt.Sprintf("%s %s[%d]", f.path, test, i),
				"must be a string, a number or a boolean: pass a slice as pgfox.Any(slice)...")
		}
		list.Values = append(list.Values, value)
	}
	return list, nil
}

// keyText is a key in the form that paths use: as it is, or in quotes.
func keyText(key string) string {
	isPlain := key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if isPlain {
		return key
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
}
