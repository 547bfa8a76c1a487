//! Filters: which documents, by their metadata, as SQL with bound parameters.

/// Which documents. Validated: lists are not empty, times and numbers are finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// A test of the field at a path of keys.
    Field {
        path: Vec<String>,
        test: Test,
    },
    All(Vec<Filter>),
    Any(Vec<Filter>),
    None(Vec<Filter>),
    Ids(Vec<String>),
}

/// A test of a field. What is negative in the API is [`Filter::None`] of its contrary here.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
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
    Exists,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    LessThan,
    AtMost,
    GreaterThan,
    AtLeast,
}

/// A value as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    pub json: String,
    /// A string, a number or a boolean; else a list or an object.
    pub is_scalar: bool,
}
