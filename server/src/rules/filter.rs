//! Filters of requests: read, checked, and every violation told at its place.

use std::{iter::Peekable, ops::RangeInclusive};

use pgfox::v1::{self, condition::Test as RequestedTest, filter::Node};
use prost_types::{ListValue, Timestamp, Value, value::Kind};

use super::{Violation, Violations, json};
use crate::store::{Bound, FieldPath, Filter, Literal, Test, TextTest};

/// Most filters within each other.
pub(super) const MAX_DEPTH: usize = 8;
/// Most conditions and lists of ids of a filter.
pub(super) const MAX_CONDITIONS: usize = 256;
/// Most values in a list.
pub(super) const MAX_VALUES: usize = 1_000;
/// Most keys of a field.
const MAX_KEYS: usize = 16;
/// Most bytes of a field.
const MAX_FIELD_BYTES: usize = 1_024;
/// The first and the last second of a `Timestamp`: the years 1 and 9999.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

const REQUIRED_NODE: &str = "is required: one of condition, all_of, any_of, none_of, ids and everything";
const NO_NUL: &str = "must not contain NUL, which Postgres cannot store";
const FINITE: &str = "must be finite; JSON has no NaN and no infinity";

/// The filter at `field`, or nothing when it breaks a rule.
pub(crate) fn read(violations: &mut Violations, field: &str, filter: v1::Filter) -> Option<Filter> {
    let mut conditions = 0;
    let filter = read_node(violations, field, filter, 1, &mut conditions);
    if conditions > MAX_CONDITIONS {
        let rule = format!("must have at most {MAX_CONDITIONS} conditions, not {conditions}");
        violations.push(Violation::new(field, rule));
        return None;
    }
    filter
}

fn read_node(
    violations: &mut Violations,
    field: &str,
    filter: v1::Filter,
    depth: usize,
    conditions: &mut usize,
) -> Option<Filter> {
    if depth > MAX_DEPTH {
        let rule = format!("is nested too deep: at most {MAX_DEPTH} filters may be within each other");
        violations.push(Violation::new(field, rule));
        return None;
    }
    let mut list = |name: &str, list: v1::FilterList| {
        let field = format!("{field}.{name}.filters");
        violations.check(!list.filters.is_empty(), &field, "is required: an empty list would match by accident");
        let filters: Vec<Option<Filter>> = (list.filters.into_iter().enumerate())
            .map(|(i, filter)| read_node(violations, &format!("{field}[{i}]"), filter, depth + 1, conditions))
            .collect();
        filters.into_iter().collect::<Option<Vec<Filter>>>().filter(|filters| !filters.is_empty())
    };
    match filter.node {
        Some(Node::AllOf(filters)) => list("all_of", filters).map(Filter::All),
        Some(Node::AnyOf(filters)) => list("any_of", filters).map(Filter::Any),
        Some(Node::NoneOf(filters)) => list("none_of", filters).map(Filter::None),
        Some(Node::Condition(condition)) => {
            *conditions += 1;
            read_condition(violations, &format!("{field}.condition"), condition)
        }
        Some(Node::Ids(list)) => {
            *conditions += 1;
            violations.ids(&format!("{field}.ids.ids"), &list.ids).then_some(Filter::Ids(list.ids))
        }
        Some(Node::Everything(true)) => Some(Filter::Everything),
        Some(Node::Everything(false)) => {
            let rule = "must be true; what matches no document is none_of of it";
            violations.push(Violation::new(format!("{field}.everything"), rule));
            None
        }
        None => {
            violations.push(Violation::new(field, REQUIRED_NODE));
            None
        }
    }
}

fn read_condition(violations: &mut Violations, field: &str, condition: v1::Condition) -> Option<Filter> {
    let path = read_field(&condition.field);
    let path = path.map_err(|rule| violations.push(Violation::new(format!("{field}.field"), rule))).ok();
    let Some(requested) = condition.test else {
        violations.push(Violation::new(format!("{field}.test"), "is required, such as equals"));
        return None;
    };
    let (name, test) = read_test(requested);
    if condition.ignore_case && !IGNORING_CASE.contains(&name) {
        let rule = format!("cannot be used with {name}, only with {}", IGNORING_CASE.join(", "));
        violations.push(Violation::new(format!("{field}.ignore_case"), rule));
        return None;
    }
    let test = match test {
        Ok((test, holds)) if condition.ignore_case => ignoring_case(test).map(|test| (test, holds)),
        test => test,
    };
    let test = test.map_err(|Problems(problems)| {
        for (place, rule) in problems {
            violations.push(Violation::new(format!("{field}.{name}{place}"), rule));
        }
    });
    let (path, (test, holds)) = (path?, test.ok()?);
    let filter = Filter::Field { path, test };
    Some(if holds { filter } else { Filter::None(vec![filter]) })
}

/// The tests of strings.
const IGNORING_CASE: [&str; 8] =
    ["equals", "not_equals", "one_of", "none_of", "contains_any", "contains_all", "starts_with", "contains_text"];

/// The same test of strings, whatever their case.
fn ignoring_case(test: Test) -> Result<Test, Problems> {
    let strings = |literals: Vec<Literal>, place: &dyn Fn(usize) -> String| {
        let mut strings = Vec::with_capacity(literals.len());
        let mut problems = Vec::new();
        for (position, literal) in literals.into_iter().enumerate() {
            match serde_json::from_str(&literal.json) {
                Ok(string) => strings.push(string),
                Err(_) => problems.push((place(position), "must be a string when ignore_case is set".to_owned())),
            }
        }
        if problems.is_empty() { Ok(strings) } else { Err(Problems(problems)) }
    };
    let value = |position: usize| format!(".values[{position}]");
    Ok(Test::IgnoringCase(match test {
        Test::Equals(literal) => TextTest::OneOf(strings(vec![literal], &|_| String::new())?),
        Test::OneOf(literals) => TextTest::OneOf(strings(literals, &value)?),
        Test::ContainsAny(literals) => TextTest::ContainsAny(strings(literals, &value)?),
        Test::ContainsAll(literals) => TextTest::ContainsAll(strings(literals, &value)?),
        Test::StartsWith(prefix) => TextTest::StartsWith(prefix),
        Test::ContainsText(text) => TextTest::ContainsText(text),
        // `equals` null.
        _ => return Err("must be a string when ignore_case is set".into()),
    }))
}

/// Where within a test it breaks which rule.
struct Problems(Vec<(String, String)>);

impl<T: Into<String>> From<T> for Problems {
    fn from(rule: T) -> Self {
        Self(vec![(String::new(), rule.into())])
    }
}

/// The name of a test, the test, and whether it is to hold or not to.
fn read_test(requested: RequestedTest) -> (&'static str, Result<(Test, bool), Problems>) {
    let holds = |test: Result<Test, Problems>| test.map(|test| (test, true));
    let not = |test: Result<Test, Problems>| test.map(|test| (test, false));
    match requested {
        RequestedTest::Equals(value) if is_null(&value) => ("equals", not(Ok(Test::Exists))),
        RequestedTest::NotEquals(value) if is_null(&value) => ("not_equals", holds(Ok(Test::Exists))),
        RequestedTest::Equals(value) => ("equals", holds(read_value(&value).map(Test::Equals))),
        RequestedTest::NotEquals(value) => ("not_equals", not(read_value(&value).map(Test::Equals))),
        RequestedTest::LessThan(value) => ("less_than", holds(read_bound(Bound::LessThan, value))),
        RequestedTest::AtMost(value) => ("at_most", holds(read_bound(Bound::AtMost, value))),
        RequestedTest::GreaterThan(value) => ("greater_than", holds(read_bound(Bound::GreaterThan, value))),
        RequestedTest::AtLeast(value) => ("at_least", holds(read_bound(Bound::AtLeast, value))),
        RequestedTest::OneOf(list) => ("one_of", holds(read_list(&list).map(Test::OneOf))),
        RequestedTest::NoneOf(list) => ("none_of", not(read_list(&list).map(Test::OneOf))),
        RequestedTest::ContainsAny(list) => ("contains_any", holds(read_list(&list).map(Test::ContainsAny))),
        RequestedTest::ContainsAll(list) => ("contains_all", holds(read_list(&list).map(Test::ContainsAll))),
        RequestedTest::StartsWith(prefix) if prefix.is_empty() => ("starts_with", Err("must not be empty".into())),
        RequestedTest::StartsWith(prefix) => ("starts_with", holds(without_nul(prefix).map(Test::StartsWith))),
        RequestedTest::ContainsText(text) if text.is_empty() => ("contains_text", Err("must not be empty".into())),
        RequestedTest::ContainsText(text) => ("contains_text", holds(without_nul(text).map(Test::ContainsText))),
        RequestedTest::Exists(exists) => ("exists", Ok((Test::Exists, exists))),
        RequestedTest::Before(time) => ("before", holds(read_time(Bound::LessThan, time))),
        RequestedTest::Since(time) => ("since", holds(read_time(Bound::AtLeast, time))),
    }
}

fn is_null(value: &Value) -> bool {
    matches!(value.kind, Some(Kind::NullValue(_)))
}

fn without_nul(text: String) -> Result<String, Problems> {
    if text.contains('\0') { Err(NO_NUL.into()) } else { Ok(text) }
}

fn read_value(value: &Value) -> Result<Literal, Problems> {
    let is_scalar = match &value.kind {
        None => return Err("is required; null is a value too".into()),
        Some(Kind::NumberValue(number)) if !number.is_finite() => return Err(FINITE.into()),
        Some(Kind::StringValue(text)) if text.contains('\0') => return Err(NO_NUL.into()),
        Some(Kind::StructValue(_) | Kind::ListValue(_)) => false,
        Some(_) => true,
    };
    Ok(Literal { json: json::write_any(value, "value")?, is_scalar })
}

fn read_bound(bound: Bound, value: Value) -> Result<Test, Problems> {
    match value.kind {
        Some(Kind::NumberValue(number)) if number.is_finite() => Ok(Test::Number(bound, number)),
        Some(Kind::NumberValue(_)) => Err(FINITE.into()),
        Some(Kind::StringValue(text)) => without_nul(text).map(|text| Test::String(bound, text)),
        _ => Err("must be a number or a string; times are compared by before and since".into()),
    }
}

fn read_list(list: &ListValue) -> Result<Vec<Literal>, Problems> {
    let count = list.values.len();
    if count == 0 {
        return Err("must have at least one value".into());
    }
    if count > MAX_VALUES {
        return Err(format!("must have at most {MAX_VALUES} values, not {count}").into());
    }
    let mut literals = Vec::with_capacity(count);
    let mut problems = Vec::new();
    for (position, value) in list.values.iter().enumerate() {
        let literal = match &value.kind {
            Some(Kind::StringValue(_) | Kind::NumberValue(_) | Kind::BoolValue(_)) => read_value(value),
            _ => Err("must be a string, a number or a boolean".into()),
        };
        match literal {
            Ok(literal) => literals.push(literal),
            Err(Problems(found)) => {
                problems.extend(found.into_iter().map(|(place, rule)| (format!(".values[{position}]{place}"), rule)));
            }
        }
    }
    if problems.is_empty() { Ok(literals) } else { Err(Problems(problems)) }
}

fn read_time(bound: Bound, time: Timestamp) -> Result<Test, Problems> {
    if !TIMESTAMP_SECONDS.contains(&time.seconds) || !(0..1_000_000_000).contains(&time.nanos) {
        return Err("must be a time of the years 1 to 9999, with nanos from 0 to 999,999,999".into());
    }
    Ok(Test::Time(bound, time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000))
}

/// The keys of a field such as `author."first.name"`, or what is wrong with it.
pub(crate) fn read_path(field: &str) -> Result<Vec<String>, String> {
    let FieldPath { lists, keys } = read_field(field)?;
    if lists.is_empty() {
        return Ok(keys);
    }
    Err("must not lead into lists by []: only conditions and facets look at the elements of a list".into())
}

/// The path of a field such as `variants[].color`, or what is wrong with it.
pub(crate) fn read_field(field: &str) -> Result<FieldPath, String> {
    if field.is_empty() {
        return Err("is required".into());
    }
    if field.len() > MAX_FIELD_BYTES {
        return Err(format!("must have at most {MAX_FIELD_BYTES} bytes, not {}", field.len()));
    }
    // Each character with its column.
    let mut rest = field.chars().zip(1..).peekable();
    let end = field.chars().count() + 1;
    let mut path = FieldPath::default();
    let mut count = 0;
    loop {
        path.keys.push(read_key(&mut rest, end)?);
        count += 1;
        if let Some((_, column)) = rest.next_if(|(c, _)| *c == '[') {
            if rest.next_if(|(c, _)| *c == ']').is_none() {
                return Err(wrong_at(column, "[ must be followed by ]: any element of a list, whatever its position"));
            }
            path.lists.push(std::mem::take(&mut path.keys));
        }
        match rest.next() {
            None => break,
            Some(('.', _)) => {}
            Some(('[', column)) => return Err(wrong_at(column, "[] must follow a key")),
            Some((c, column)) => return Err(wrong_at(column, &format!("{c:?} must be within double quotes"))),
        }
    }
    if count > MAX_KEYS {
        return Err(format!("must have at most {MAX_KEYS} keys, not {count}"));
    }
    Ok(path)
}

fn wrong_at(column: usize, what: &str) -> String {
    format!("is not a field: at column {column}, {what}")
}

fn read_key(rest: &mut Peekable<impl Iterator<Item = (char, usize)>>, end: usize) -> Result<String, String> {
    let mut key = String::new();
    if rest.next_if(|(c, _)| *c == '"').is_some() {
        loop {
            match rest.next() {
                Some(('"', _)) => return Ok(key),
                Some(('\\', column)) => match rest.next() {
                    Some((c @ ('"' | '\\'), _)) => key.push(c),
                    _ => return Err(wrong_at(column, r#"a backslash must come before " or \"#)),
                },
                Some(('\0', column)) => return Err(wrong_at(column, "there is NUL, which Postgres cannot store")),
                Some((c, _)) => key.push(c),
                None => return Err(wrong_at(end, "the closing quote is missing")),
            }
        }
    }
    while let Some((c, _)) = rest.next_if(|(c, _)| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        key.push(c);
    }
    match rest.peek() {
        None if key.is_empty() => Err(wrong_at(end, "a key is missing")),
        Some(('.' | '[', column)) if key.is_empty() => Err(wrong_at(*column, "a key is missing")),
        _ => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::write_keys;

    #[test]
    fn paths_are_written_as_they_are_read() {
        for field in ["year", "author.name", r#"author."first.name""#, r#""a\"b\\c".d-e_f"#, r#""""#, "日本.ü"] {
            assert_eq!(write_keys(&read_path(field).expect("a path")), field);
            assert_eq!(read_field(field).expect("a path").to_string(), field);
        }
        for field in ["tags[]", "variants[].color", r#"a."b[]"[].c.d[]"#] {
            assert_eq!(read_field(field).expect("a path").to_string(), field);
            assert!(read_path(field).expect_err(field).contains("must not lead into lists"));
        }
    }

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn string(text: &str) -> Value {
        value(Kind::StringValue(text.into()))
    }

    fn condition(field: &str, test: RequestedTest) -> v1::Filter {
        v1::Filter {
            node: Some(Node::Condition(v1::Condition { field: field.into(), test: Some(test), ignore_case: false })),
        }
    }

    fn all_of(filters: Vec<v1::Filter>) -> v1::Filter {
        v1::Filter { node: Some(Node::AllOf(v1::FilterList { filters })) }
    }

    fn within(depth: usize) -> v1::Filter {
        (1..depth).fold(condition("a", RequestedTest::Exists(true)), |filter, _| all_of(vec![filter]))
    }

    /// The fields that are wrong with a filter.
    fn wrong(filter: v1::Filter) -> Vec<String> {
        let mut violations = Violations::default();
        let read = read(&mut violations, "filter", filter);
        match violations.finish() {
            Err(violations) => {
                assert_eq!(read, None);
                violations.into_iter().map(|violation| violation.field).collect()
            }
            _ => {
                assert!(read.is_some());
                vec![]
            }
        }
    }

    /// Where the only condition of a filter is wrong.
    fn wrong_test(test: RequestedTest) -> Option<String> {
        let fields = wrong(condition("a", test));
        assert!(fields.len() <= 1, "{fields:?}");
        fields.first().map(|field| field.strip_prefix("filter.condition.").expect("a condition").to_owned())
    }

    #[test]
    fn fields_are_keys_and_dots() {
        let path = |field: &str| read_path(field).unwrap_or_else(|error| panic!("{field}: {error}"));
        assert_eq!(path("a"), ["a"]);
        assert_eq!(path("author.first-name.größe_2"), ["author", "first-name", "größe_2"]);
        assert_eq!(path(r#""a.b"."".c."say \"x\\y\"""#), ["a.b", "", "c", r#"say "x\y""#]);
        assert_eq!(path(&["k"; 16].join(".")).len(), 16);
        assert_eq!(path(&"x".repeat(1_024)).len(), 1);
    }

    #[test]
    fn a_bad_path_is_named_with_its_column() {
        let wrong = |field: &str| read_field(field).expect_err(field);
        for (field, column) in [
            (".a", 1),
            ("a.", 3),
            ("é..b", 3),
            ("a b", 2),
            ("a.$b", 3),
            ("a.\"b", 5),
            (r#""a\n""#, 3),
            (r#""a"b"#, 4),
            ("a\"b\"", 2),
            ("\"\0\"", 2),
            ("[]", 1),
            ("a.[]", 3),
            ("a[0]", 2),
            ("a[*].b", 2),
            ("a[", 2),
            ("a[][]", 4),
            ("a[]b", 4),
            ("a]", 2),
        ] {
            assert!(wrong(field).contains(&format!("column {column},")), "{field}: {}", wrong(field));
        }
        assert!(wrong("").contains("required"));
        assert!(wrong(&["k"; 17].join(".")).contains("16 keys, not 17"));
        assert!(wrong(&"x".repeat(1_025)).contains("1024 bytes"));
    }

    #[test]
    fn limits_hold() {
        assert_eq!(wrong(within(8)).len(), 0);
        assert_eq!(wrong(within(9)), [format!("filter{}", ".all_of.filters[0]".repeat(8))]);
        let many = |count| all_of(vec![within(2); count]);
        assert_eq!(wrong(many(256)).len(), 0);
        assert_eq!(wrong(many(257)), ["filter"]);
        let list = |count| ListValue { values: vec![string("x"); count] };
        for test in
            [RequestedTest::OneOf, RequestedTest::NoneOf, RequestedTest::ContainsAny, RequestedTest::ContainsAll]
        {
            assert_eq!(wrong_test(test(list(1_000))), None);
            assert!(wrong_test(test(list(1_001))).is_some());
            assert!(wrong_test(test(list(0))).is_some());
        }
        let ids = |ids| v1::Filter { node: Some(Node::Ids(v1::IdList { ids })) };
        assert_eq!(wrong(ids(vec!["a".into(); 1_000])).len(), 0);
        assert_eq!(wrong(ids(vec!["a".into(); 1_001])), ["filter.ids.ids"]);
        assert_eq!(wrong(ids(vec![])), ["filter.ids.ids"]);
        assert_eq!(wrong(ids(vec!["a".into(), "\0".into()])), ["filter.ids.ids[1]"]);
    }

    #[test]
    fn every_violation_is_named_at_its_place() {
        let filter = all_of(vec![
            v1::Filter { node: None },
            all_of(vec![]),
            condition("", RequestedTest::LessThan(value(Kind::BoolValue(true)))),
            v1::Filter {
                node: Some(Node::Condition(v1::Condition { field: "a".into(), test: None, ignore_case: false })),
            },
        ]);
        let fields =
            ["[0]", "[1].all_of.filters", "[2].condition.field", "[2].condition.less_than", "[3].condition.test"];
        assert_eq!(wrong(filter), fields.map(|field| format!("filter.all_of.filters{field}")));
    }

    #[test]
    fn values_fit_their_tests() {
        let number = |number| value(Kind::NumberValue(number));
        let object = |inner| value(Kind::StructValue(prost_types::Struct { fields: [("k".into(), inner)].into() }));
        for value in [number(f64::NAN), number(f64::INFINITY), string("\0"), object(string("\0")), Value { kind: None }]
        {
            assert_eq!(wrong_test(RequestedTest::Equals(value.clone())).as_deref(), Some("equals"));
            assert_eq!(wrong_test(RequestedTest::NotEquals(value.clone())).as_deref(), Some("not_equals"));
            assert_eq!(wrong_test(RequestedTest::AtMost(value)).as_deref(), Some("at_most"));
        }
        for value in [value(Kind::NullValue(0)), object(number(1.0)), value(Kind::ListValue(ListValue::default()))] {
            assert_eq!(wrong_test(RequestedTest::Equals(value.clone())), None);
            assert_eq!(wrong_test(RequestedTest::GreaterThan(value.clone())).as_deref(), Some("greater_than"));
            let list = ListValue { values: vec![value.clone(), string("x"), value] };
            let places = [0, 2].map(|place| format!("filter.condition.contains_any.values[{place}]"));
            assert_eq!(wrong(condition("a", RequestedTest::ContainsAny(list))), places);
        }
        assert_eq!(wrong_test(RequestedTest::StartsWith(String::new())).as_deref(), Some("starts_with"));
        assert_eq!(wrong_test(RequestedTest::StartsWith("\0".into())).as_deref(), Some("starts_with"));
        assert_eq!(wrong_test(RequestedTest::ContainsText(String::new())).as_deref(), Some("contains_text"));
        assert_eq!(wrong_test(RequestedTest::ContainsText("\0".into())).as_deref(), Some("contains_text"));
        for (seconds, nanos, fits) in [
            (-62_135_596_800, 0, true),
            (253_402_300_799, 999_999_999, true),
            (-62_135_596_801, 0, false),
            (253_402_300_800, 0, false),
            (0, -1, false),
            (0, 1_000_000_000, false),
        ] {
            assert_eq!(wrong_test(RequestedTest::Before(Timestamp { seconds, nanos })).is_none(), fits);
            assert_eq!(wrong_test(RequestedTest::Since(Timestamp { seconds, nanos })).is_none(), fits);
        }
    }

    #[test]
    fn case_is_ignored_in_strings_only() {
        let wrong = |test| {
            let test = Some(test);
            let condition = v1::Condition { field: "a".into(), test, ignore_case: true };
            wrong(v1::Filter { node: Some(Node::Condition(condition)) })
        };
        let list = |value| ListValue { values: vec![string("x"), value] };
        for fits in [
            RequestedTest::Equals(string("x")),
            RequestedTest::NotEquals(string("")),
            RequestedTest::OneOf(list(string("y"))),
            RequestedTest::ContainsAll(list(string("y"))),
            RequestedTest::StartsWith("x".into()),
            RequestedTest::ContainsText("x".into()),
        ] {
            assert_eq!(wrong(fits), Vec::<String>::new());
        }
        let number = || value(Kind::NumberValue(1.0));
        for (test, field) in [
            (RequestedTest::Equals(number()), "equals"),
            (RequestedTest::NotEquals(value(Kind::NullValue(0))), "not_equals"),
            (RequestedTest::NoneOf(list(number())), "none_of.values[1]"),
            (RequestedTest::ContainsAny(list(value(Kind::BoolValue(true)))), "contains_any.values[1]"),
            (RequestedTest::ContainsText(String::new()), "contains_text"),
            (RequestedTest::LessThan(string("x")), "ignore_case"),
            (RequestedTest::Exists(true), "ignore_case"),
            (RequestedTest::Before(Timestamp::default()), "ignore_case"),
        ] {
            assert_eq!(wrong(test), [format!("filter.condition.{field}")]);
        }
    }

    #[test]
    fn everything_is_meant() {
        let filter = |everything| v1::Filter { node: Some(Node::Everything(everything)) };
        assert_eq!(read(&mut Violations::default(), "filter", filter(true)), Some(Filter::Everything));
        assert_eq!(wrong(filter(false)), ["filter.everything"]);
    }

    #[test]
    fn what_is_negative_is_the_contrary_of_its_opposite() {
        let read = |test| read(&mut Violations::default(), "filter", condition("a", test)).expect("a filter");
        let null = || value(Kind::NullValue(0));
        let not = |filter| Filter::None(vec![filter]);
        assert_eq!(read(RequestedTest::NotEquals(string("x"))), not(read(RequestedTest::Equals(string("x")))));
        let list = || ListValue { values: vec![string("x")] };
        assert_eq!(read(RequestedTest::NoneOf(list())), not(read(RequestedTest::OneOf(list()))));
        assert_eq!(read(RequestedTest::Equals(null())), read(RequestedTest::Exists(false)));
        assert_eq!(read(RequestedTest::NotEquals(null())), read(RequestedTest::Exists(true)));
        assert_eq!(read(RequestedTest::Exists(false)), not(read(RequestedTest::Exists(true))));
    }
}
