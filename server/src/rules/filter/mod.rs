//! Reads and checks the filters of requests. Every violation is reported with its place.

mod path;

use std::ops::RangeInclusive;

use pgfox::v1::{self, condition::Test as RequestedTest, filter::Node};
use prost_types::{ListValue, Timestamp, Value, value::Kind};

pub(crate) use path::{read_field, read_path};

use super::{Violation, Violations, json};
use crate::store::{Bound, Filter, Literal, Test, TextTest};

/// Maximum nesting of filters.
pub(super) const MAX_DEPTH: usize = 8;
/// Maximum number of conditions and lists of ids of a filter.
pub(super) const MAX_CONDITIONS: usize = 256;
/// Maximum number of values in a list.
pub(super) const MAX_VALUES: usize = 1_000;
/// The first and the last second of a `Timestamp`: the years 1 and 9999.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

const REQUIRED_NODE: &str = "is required: set one of condition, all_of, any_of, none_of, ids and everything";
const NO_NUL: &str = "must not contain NUL, which Postgres cannot store";
const FINITE: &str = "must be finite; JSON has no NaN and no infinity";

/// Reads the filter at `field`. `None` if it breaks a rule.
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
        let rule = format!("is nested too deeply: at most {MAX_DEPTH} levels of filters are allowed");
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
            let rule = "must be true; to match no document, put it into none_of";
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

/// The tests for strings.
const IGNORING_CASE: [&str; 8] =
    ["equals", "not_equals", "one_of", "none_of", "contains_any", "contains_all", "starts_with", "contains_text"];

/// The same string test, ignoring case.
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

/// The places within a test that break a rule, each with the rule.
struct Problems(Vec<(String, String)>);

impl<T: Into<String>> From<T> for Problems {
    fn from(rule: T) -> Self {
        Self(vec![(String::new(), rule.into())])
    }
}

/// The name of a test, the test, and whether it must hold or must not hold.
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
        None => return Err("is required; null counts as a value".into()),
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
        _ => Err("must be a number or a string; to compare times, use before and since".into()),
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

#[cfg(test)]
mod tests;
