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

// Build returns the message for the Filter of a request. An error is an [*Error] whose violation names the field and its
// test, such as a value that JSON does not have.
func (f Filter) Build() (*pgfoxv1.Filter, error) {
	message, err := f.build()
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(message), nil
}

// build returns the message that this filter may share with others.
func (f Filter) build() (*pgfoxv1.Filter, error) {
	if f.message == nil && f.err == nil {
		return nil, invalidArgument("filter", "must have a test; Everything() matches every document")
	}
	return f.message, f.err
}

// And holds when all of the filters hold. Without filters, Build fails: write [Everything] where all documents are meant.
func And(filters ...Filter) Filter {
	list, err := combine("And", filters, func(message *pgfoxv1.Filter) []*pgfoxv1.Filter {
		return message.GetAllOf().GetFilters()
	})
	return combined(list, err, &pgfoxv1.Filter{Node: &pgfoxv1.Filter_AllOf{AllOf: &pgfoxv1.FilterList{Filters: list}}})
}

// Or holds when at least one of the filters holds. Without filters, Build fails.
func Or(filters ...Filter) Filter {
	list, err := combine("Or", filters, func(message *pgfoxv1.Filter) []*pgfoxv1.Filter {
		return message.GetAnyOf().GetFilters()
	})
	return combined(list, err, &pgfoxv1.Filter{Node: &pgfoxv1.Filter_AnyOf{AnyOf: &pgfoxv1.FilterList{Filters: list}}})
}

// Not holds when the filter does not hold.
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

// Everything matches every document: for DeleteDocuments, which refuses a request that does not say which ones.
func Everything() Filter {
	return Filter{message: &pgfoxv1.Filter{Node: &pgfoxv1.Filter_Everything{Everything: true}}}
}

// combine returns the messages of the filters. Those of a filter of the same kind come in its place, so that a filter that
// grows in a loop does not grow deeper.
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

// FieldTest is a field of the metadata, whose methods are the tests that make a [Filter]. A test of a value that is not
// there, or of another type, does not hold; NotEquals, NoneOf and IsNull hold then.
type FieldTest struct {
	path       string
	ignoreCase bool
}

// Field names a field: a key, keys separated by dots, such as `author.name`, or any element of a list, such as
// `variants[].color`. [Key] names one whose key has a dot or a blank in it.
func Field(path string) FieldTest {
	return FieldTest{path: path}
}

// Key names a field by its keys as they are, from the outside to the inside, whatever characters they have.
func Key(keys ...string) FieldTest {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = keyText(key)
	}
	return FieldTest{path: strings.Join(texts, ".")}
}

// IgnoreCase compares strings without regard to case: in Equals, NotEquals, OneOf, NoneOf, ContainsAny, ContainsAll,
// StartsWith and ContainsText. The server refuses it in other tests.
func (f FieldTest) IgnoreCase() FieldTest {
	f.ignoreCase = true
	return f
}

// Equals holds when the value is this one; an object or a list is equal as a whole. nil is the same as [FieldTest.IsNull].
func (f FieldTest) Equals(value any) Filter {
	v, err := f.value("equals", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Equals{Equals: v}}, err)
}

// NotEquals holds when the value is not this one, or there is none. nil is the same as [FieldTest.Exists].
func (f FieldTest) NotEquals(value any) Filter {
	v, err := f.value("not_equals", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_NotEquals{NotEquals: v}}, err)
}

// LessThan holds when the value is a number less than this one, or a string before it by code points.
func (f FieldTest) LessThan(value any) Filter {
	v, err := f.ordered("less_than", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_LessThan{LessThan: v}}, err)
}

// AtMost holds when the value is less or equal.
func (f FieldTest) AtMost(value any) Filter {
	v, err := f.ordered("at_most", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_AtMost{AtMost: v}}, err)
}

// GreaterThan holds when the value is a number greater than this one, or a string after it by code points.
func (f FieldTest) GreaterThan(value any) Filter {
	v, err := f.ordered("greater_than", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_GreaterThan{GreaterThan: v}}, err)
}

// AtLeast holds when the value is greater or equal.
func (f FieldTest) AtLeast(value any) Filter {
	v, err := f.ordered("at_least", value)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_AtLeast{AtLeast: v}}, err)
}

// OneOf holds when the value is one of these: 1 to 1,000 strings, numbers and booleans. A slice is passed with [Any].
func (f FieldTest) OneOf(values ...any) Filter {
	v, err := f.list("one_of", values)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_OneOf{OneOf: v}}, err)
}

// NoneOf holds when the value is none of these, or there is none.
func (f FieldTest) NoneOf(values ...any) Filter {
	v, err := f.list("none_of", values)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_NoneOf{NoneOf: v}}, err)
}

// ContainsAny holds when the value is a list that has at least one of these: 1 to 1,000 strings, numbers and booleans.
func (f FieldTest) ContainsAny(values ...any) Filter {
	v, err := f.list("contains_any", values)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_ContainsAny{ContainsAny: v}}, err)
}

// ContainsAll holds when the value is a list that has all of these.
func (f FieldTest) ContainsAll(values ...any) Filter {
	v, err := f.list("contains_all", values)
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_ContainsAll{ContainsAll: v}}, err)
}

// StartsWith holds when the value is a string that starts with this one.
func (f FieldTest) StartsWith(text string) Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_StartsWith{StartsWith: text}}, nil)
}

// ContainsText holds when the value is a string that contains this one.
func (f FieldTest) ContainsText(text string) Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_ContainsText{ContainsText: text}}, nil)
}

// Exists holds when there is a value.
func (f FieldTest) Exists() Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Exists{Exists: true}}, nil)
}

// IsNull holds when there is no value: the field is absent or null.
func (f FieldTest) IsNull() Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Exists{Exists: false}}, nil)
}

// Before holds when the value is a string that spells a time before this one, as a [time.Time] in metadata is spelled.
func (f FieldTest) Before(moment time.Time) Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Before{Before: timestamppb.New(moment)}}, nil)
}

// Since holds when the value is a string that spells this time or a later one.
func (f FieldTest) Since(moment time.Time) Filter {
	return f.test(&pgfoxv1.Condition{Test: &pgfoxv1.Condition_Since{Since: timestamppb.New(moment)}}, nil)
}

// Any makes the values of [FieldTest.OneOf] and its like of a slice: OneOf(pgfox.Any(names)...).
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

// ordered is a value with an order. Times have one, but as strings those of different zones would be in a wrong one.
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

// keyText is a key as paths have it: as it is, or in quotes.
func keyText(key string) string {
	isPlain := key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if isPlain {
		return key
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
}
