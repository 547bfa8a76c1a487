//! A short notation for filters.
//!
//! ```
//! use pgfox_client::filter::{field, ids};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let filter = field("year").at_least(1990)
//!     & (field("genres").contains_any(["Crime", "Thriller"]) | field("rating").is_null())
//!     & !ids(["heat", "ronin"]);
//! let request = pgfox_client::v1::CountDocumentsRequest {
//!     collection: "films".into(),
//!     filter: Some(filter.build()?),
//!     ..Default::default()
//! };
//! # drop(request);
//! # Ok(())
//! # }
//! ```

use std::{
    ops::{BitAnd, BitOr, Not},
    time::SystemTime,
};

use pgfox::v1::{self, FilterList, IdList, condition::Test, filter::Node};
use prost_types::{ListValue, Value};
use serde::Serialize;

use crate::metadata::{self, InvalidValue};

/// Selects documents: a test of a [`field`], [`ids`] or [`everything`], combined by `&`, `|` and `!`, or by [`all_of`]
/// and [`any_of`].
#[derive(Debug, Clone, PartialEq)]
#[must_use = "`build` turns it into the message"]
pub struct Filter(Result<Node, InvalidValue>);

impl Filter {
    /// The message for a request. An error names the field, its test and the value that cannot be sent.
    pub fn build(self) -> Result<v1::Filter, InvalidValue> {
        self.0.map(message)
    }
}

fn message(node: Node) -> v1::Filter {
    v1::Filter { node: Some(node) }
}

/// True if all of the filters are true. Without filters `build` fails: write [`everything`] to select all documents.
pub fn all_of(filters: impl IntoIterator<Item = Filter>) -> Filter {
    let same = |node| match node {
        Node::AllOf(list) => Ok(list),
        other => Err(other),
    };
    combine("all_of", filters, same, Node::AllOf)
}

/// True if at least one of the filters is true. Without filters `build` fails.
pub fn any_of(filters: impl IntoIterator<Item = Filter>) -> Filter {
    combine("any_of", filters, any_of_list, Node::AnyOf)
}

/// The documents with these ids, 1 to 1,000.
pub fn ids(ids: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    Filter(Ok(Node::Ids(IdList { ids: ids.into_iter().map(Into::into).collect() })))
}

/// Every document, for calls such as DeleteDocuments that refuse a request without a selection.
pub fn everything() -> Filter {
    Filter(Ok(Node::Everything(true)))
}

fn any_of_list(node: Node) -> Result<FilterList, Node> {
    match node {
        Node::AnyOf(list) => Ok(list),
        other => Err(other),
    }
}

/// Combines filters. Parts that are lists of the same kind are merged, so that a filter that grows in a loop does not
/// become deeper.
fn combine(
    name: &str,
    filters: impl IntoIterator<Item = Filter>,
    same: impl Fn(Node) -> Result<FilterList, Node>,
    kind: impl Fn(FilterList) -> Node,
) -> Filter {
    let mut parts = Vec::new();
    for filter in filters {
        match filter.0.map(&same) {
            Ok(Ok(list)) => parts.extend(list.filters),
            Ok(Err(node)) => parts.push(message(node)),
            Err(error) => return Filter(Err(error)),
        }
    }
    Filter(match parts.len() {
        0 => {
            let rule = "must have at least one filter; everything() matches every document";
            Err(InvalidValue::new(rule).within(name))
        }
        1 => parts.remove(0).node.ok_or_else(|| InvalidValue::new("must have a test").within(name)),
        _ => Ok(kind(FilterList { filters: parts })),
    })
}

impl BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        all_of([self, other])
    }
}

impl BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        any_of([self, other])
    }
}

impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self(self.0.map(|node| {
            Node::NoneOf(any_of_list(node).unwrap_or_else(|node| FilterList { filters: vec![message(node)] }))
        }))
    }
}

/// A metadata field. Its methods are the tests. If the value is missing or has another type, a test is false;
/// `not_equals`, `none_of` and `is_null` are then true. Values can be anything that serde serializes, as in
/// [`metadata::encode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    path: String,
    ignore_case: bool,
}

/// Names a field by a key, by keys separated by dots, such as `author.name`, or as any element of a list, such as
/// `variants[].color`. Use [`key`] for a key that contains a dot or a space.
pub fn field(path: impl Into<String>) -> Field {
    Field { path: path.into(), ignore_case: false }
}

/// Names a field by its keys, from the outermost to the innermost. They may contain any characters.
pub fn key(keys: impl IntoIterator<Item = impl AsRef<str>>) -> Field {
    let keys: Vec<_> = keys.into_iter().map(|key| metadata::key_text(key.as_ref())).collect();
    field(keys.join("."))
}

impl Field {
    /// Ignores the case of strings in `equals`, `not_equals`, `one_of`, `none_of`, `contains_any`, `contains_all`,
    /// `starts_with` and `contains_text`. The server refuses it in other tests.
    #[must_use]
    pub fn ignore_case(self) -> Self {
        Self { ignore_case: true, ..self }
    }

    /// The value equals this one. An object or a list is compared as a whole. `None` means [`Field::is_null`].
    pub fn equals(self, value: impl Serialize) -> Filter {
        self.value("equals", value, Test::Equals)
    }

    /// The value does not equal this one, or is missing. `None` means [`Field::exists`].
    pub fn not_equals(self, value: impl Serialize) -> Filter {
        self.value("not_equals", value, Test::NotEquals)
    }

    /// The value is a number less than this one, or a string before it in code point order.
    pub fn less_than(self, value: impl Serialize) -> Filter {
        self.value("less_than", value, Test::LessThan)
    }

    /// The value is less than or equal to this one.
    pub fn at_most(self, value: impl Serialize) -> Filter {
        self.value("at_most", value, Test::AtMost)
    }

    /// The value is a number greater than this one, or a string after it in code point order.
    pub fn greater_than(self, value: impl Serialize) -> Filter {
        self.value("greater_than", value, Test::GreaterThan)
    }

    /// The value is greater than or equal to this one.
    pub fn at_least(self, value: impl Serialize) -> Filter {
        self.value("at_least", value, Test::AtLeast)
    }

    /// The value is one of these: 1 to 1,000 strings, numbers and booleans.
    pub fn one_of(self, values: impl IntoIterator<Item = impl Serialize>) -> Filter {
        self.list("one_of", values, Test::OneOf)
    }

    /// The value is none of these, or is missing.
    pub fn none_of(self, values: impl IntoIterator<Item = impl Serialize>) -> Filter {
        self.list("none_of", values, Test::NoneOf)
    }

    /// The value is a list with at least one of these: 1 to 1,000 strings, numbers and booleans.
    pub fn contains_any(self, values: impl IntoIterator<Item = impl Serialize>) -> Filter {
        self.list("contains_any", values, Test::ContainsAny)
    }

    /// The value is a list with all of these.
    pub fn contains_all(self, values: impl IntoIterator<Item = impl Serialize>) -> Filter {
        self.list("contains_all", values, Test::ContainsAll)
    }

    /// The value is a string that starts with this one.
    pub fn starts_with(self, text: impl Into<String>) -> Filter {
        self.test(Ok(Test::StartsWith(text.into())))
    }

    /// The value is a string that contains this one.
    pub fn contains_text(self, text: impl Into<String>) -> Filter {
        self.test(Ok(Test::ContainsText(text.into())))
    }

    /// There is a value.
    pub fn exists(self) -> Filter {
        self.test(Ok(Test::Exists(true)))
    }

    /// There is no value: the field is absent or null.
    pub fn is_null(self) -> Filter {
        self.test(Ok(Test::Exists(false)))
    }

    /// The value is a string with a time before this one. The times of `chrono` and `time` work too.
    pub fn before(self, time: impl Into<SystemTime>) -> Filter {
        self.test(Ok(Test::Before(time.into().into())))
    }

    /// The value is a string with this time or a later one.
    pub fn since(self, time: impl Into<SystemTime>) -> Filter {
        self.test(Ok(Test::Since(time.into().into())))
    }

    fn value(self, name: &str, value: impl Serialize, test: impl Fn(Value) -> Test) -> Filter {
        let value = metadata::encode_value(&value).map_err(|error| error.within(&format!("{} {name}", self.path)));
        self.test(value.map(test))
    }

    fn list(
        self,
        name: &str,
        values: impl IntoIterator<Item = impl Serialize>,
        test: impl Fn(ListValue) -> Test,
    ) -> Filter {
        let values: Result<_, _> = values
            .into_iter()
            .enumerate()
            .map(|(i, value)| {
                metadata::encode_value(&value).map_err(|error| error.within(&format!("{} {name}[{i}]", self.path)))
            })
            .collect();
        self.test(values.map(|values| test(ListValue { values })))
    }

    fn test(self, test: Result<Test, InvalidValue>) -> Filter {
        let Self { path, ignore_case } = self;
        Filter(test.map(|test| Node::Condition(v1::Condition { field: path, test: Some(test), ignore_case })))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost_types::{Timestamp, value::Kind};

    use super::*;

    fn condition(filter: Filter) -> v1::Condition {
        match filter.build().unwrap().node {
            Some(Node::Condition(condition)) => condition,
            other => panic!("{other:?}"),
        }
    }

    fn test_of(filter: Filter) -> Test {
        let condition = condition(filter);
        assert_eq!((condition.field.as_str(), condition.ignore_case), ("a", false));
        condition.test.unwrap()
    }

    fn number(number: f64) -> Value {
        Value { kind: Some(Kind::NumberValue(number)) }
    }

    fn string(text: &str) -> Value {
        Value { kind: Some(Kind::StringValue(text.into())) }
    }

    #[test]
    fn tests_are_those_of_the_message() {
        let a = || field("a");
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_000);
        let stamp = Timestamp { seconds: 1, nanos: 500_000_000 };
        let list = |values: &[Value]| ListValue { values: values.to_vec() };
        assert_eq!(test_of(a().equals(7)), Test::Equals(number(7.0)));
        assert_eq!(test_of(a().equals(None::<u8>)), Test::Equals(Value { kind: Some(Kind::NullValue(0)) }));
        assert_eq!(test_of(a().not_equals("x")), Test::NotEquals(string("x")));
        assert_eq!(test_of(a().less_than(1.5)), Test::LessThan(number(1.5)));
        assert_eq!(test_of(a().at_most(2_u64)), Test::AtMost(number(2.0)));
        assert_eq!(test_of(a().greater_than("x".to_owned())), Test::GreaterThan(string("x")));
        assert_eq!(test_of(a().at_least(0.1_f32)), Test::AtLeast(number(0.1)));
        assert_eq!(test_of(a().one_of([1, 2])), Test::OneOf(list(&[number(1.0), number(2.0)])));
        assert_eq!(test_of(a().none_of(vec!["x"])), Test::NoneOf(list(&[string("x")])));
        assert_eq!(test_of(a().contains_any(["x"])), Test::ContainsAny(list(&[string("x")])));
        let names = vec!["x"];
        assert_eq!(test_of(a().contains_all(&names)), Test::ContainsAll(list(&[string("x")])));
        assert_eq!(test_of(a().starts_with("x")), Test::StartsWith("x".into()));
        assert_eq!(test_of(a().exists()), Test::Exists(true));
        assert_eq!(test_of(a().is_null()), Test::Exists(false));
        assert_eq!(test_of(a().before(time)), Test::Before(stamp));
        assert_eq!(test_of(a().since(time)), Test::Since(stamp));
        let contains = condition(field("variants[].color").ignore_case().contains_text("red"));
        assert_eq!(contains.test, Some(Test::ContainsText("red".into())));
        assert_eq!((contains.field.as_str(), contains.ignore_case), ("variants[].color", true));
        assert_eq!(condition(key(["a", "first.name", "\""]).exists()).field, r#"a."first.name"."\"""#);
    }

    #[test]
    fn filters_are_combined_and_stay_flat() {
        let parts = |filter: Filter| match filter.build().unwrap().node.unwrap() {
            Node::AllOf(list) => ("all", list.filters),
            Node::AnyOf(list) => ("any", list.filters),
            Node::NoneOf(list) => ("none", list.filters),
            other => panic!("{other:?}"),
        };
        let one = |id: &str| ids([id]).build().unwrap();
        assert_eq!(
            parts(ids(["x"]) & ids(["y"]) & everything()),
            ("all", vec![one("x"), one("y"), everything().build().unwrap()])
        );
        assert_eq!(parts(ids(["x"]) | ids(["y"])), ("any", vec![one("x"), one("y")]));
        assert_eq!(parts(!(ids(["x"]) | ids(["y"]))), ("none", vec![one("x"), one("y")]));
        assert_eq!(parts(!ids(["x"])), ("none", vec![one("x")]));
        assert_eq!(all_of([any_of([ids(["z"])])]).build().unwrap(), one("z"));
        let many = (0..20).fold(everything(), |filter, i| filter & field("n").not_equals(i));
        assert_eq!(parts(many).1.len(), 21);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let refusal = |filter: Filter| filter.build().unwrap_err().to_string();
        assert_eq!(refusal(!field("a.b").equals(f64::NAN)), "a.b equals must be a finite number, not NaN");
        assert_eq!(
            refusal(everything() & field("a").one_of([1, i64::MAX])),
            "a one_of[1] must be an integer from -2^53 to 2^53, not 9223372036854775807: send it as a string"
        );
        assert!(refusal(everything() | all_of([])).starts_with("all_of must have at least one filter"));
        assert!(refusal(any_of([])).starts_with("any_of must have at least one filter"));
    }
}
