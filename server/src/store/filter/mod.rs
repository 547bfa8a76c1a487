//! Filters: which documents, by their metadata, as SQL with bound parameters.

mod fold;
mod path;
mod sql;

pub(crate) use path::{FieldPath, write_keys};
pub(super) use sql::{Functions, values};

/// Which documents. Lists are not empty, paths have at least one key, numbers are finite and nothing has a NUL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    /// A test of a field.
    Field {
        path: FieldPath,
        test: Test,
    },
    All(Vec<Filter>),
    Any(Vec<Filter>),
    None(Vec<Filter>),
    Ids(Vec<String>),
    Everything,
}

/// A test of a field. What is negative in the API is [`Filter::None`] of its contrary here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// The field is this value, which is not null.
    Equals(Literal),
    /// The field is one of these scalars.
    OneOf(Vec<Literal>),
    /// The field is a list that has one of these scalars.
    ContainsAny(Vec<Literal>),
    /// The field is a list that has all of these scalars.
    ContainsAll(Vec<Literal>),
    Number(Bound, f64),
    String(Bound, String),
    /// Microseconds since 1970.
    Time(Bound, i64),
    StartsWith(String),
    ContainsText(String),
    /// Strings, whatever the case of their letters.
    IgnoringCase(TextTest),
    Exists,
}

/// A test of strings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextTest {
    OneOf(Vec<String>),
    ContainsAny(Vec<String>),
    ContainsAll(Vec<String>),
    StartsWith(String),
    ContainsText(String),
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    LessThan,
    AtMost,
    GreaterThan,
    AtLeast,
}

/// A value as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Literal {
    pub json: String,
    /// A string, a number or a boolean; else a list or an object.
    pub is_scalar: bool,
}
