//! Filters: which documents to select by their metadata, as SQL with bound parameters.

mod fold;
mod path;
mod sql;

pub(crate) use path::{FieldPath, write_keys};
pub(super) use sql::{Functions, to_time, values};

use super::{MetadataIndex, MetadataIndexType};

/// Which documents to select. Lists are not empty, paths have at least one key, numbers are finite, and no string
/// contains NUL.
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

/// A test of a field. A negative test of the API is [`Filter::None`] of its opposite here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// The field has this value, which is not null.
    Equals(Literal),
    /// The field is one of these scalars.
    OneOf(Vec<Literal>),
    /// The field is a list with at least one of these scalars.
    ContainsAny(Vec<Literal>),
    /// The field is a list with all of these scalars.
    ContainsAll(Vec<Literal>),
    Number(Bound, f64),
    String(Bound, String),
    /// Microseconds since 1970.
    Time(Bound, i64),
    StartsWith(String),
    ContainsText(String),
    /// Tests strings without regard to case.
    IgnoringCase(TextTest),
    Exists,
}

impl Test {
    /// The type and the keys of the declared field whose values a test of this path compares. `None` if there are no such
    /// fields.
    pub(super) fn field_of<'p>(&self, path: &'p FieldPath) -> Option<(MetadataIndexType, &'p [String])> {
        let of_same = |literals: &[Literal]| {
            let kind = literals.first()?.kind()?;
            literals.iter().all(|literal| literal.kind() == Some(kind)).then_some(kind)
        };
        let kind = match self {
            Self::Equals(literal) => literal.kind()?,
            Self::OneOf(literals) | Self::ContainsAny(literals) | Self::ContainsAll(literals) => of_same(literals)?,
            Self::Number(..) => MetadataIndexType::Number,
            Self::Time(..) => MetadataIndexType::Time,
            Self::String(..) | Self::StartsWith(_) => MetadataIndexType::String,
            Self::ContainsText(_) | Self::IgnoringCase(_) | Self::Exists => return None,
        };
        let is_of_list = matches!(self, Self::ContainsAny(_) | Self::ContainsAll(_));
        let is_string = kind == MetadataIndexType::String;
        match (&path.lists[..], is_of_list) {
            ([], false) => Some((kind, &path.keys)),
            ([], true) if is_string => Some((MetadataIndexType::StringList, &path.keys)),
            ([list], false) if is_string && path.keys.is_empty() => Some((MetadataIndexType::StringList, list)),
            _ => None,
        }
    }

    /// Whether the index over the booleans or over the list of a field serves the test of this path.
    pub(super) fn is_served_by(&self, path: &FieldPath, index: &MetadataIndex) -> bool {
        match (index.kind, self) {
            // It has values of every type.
            (MetadataIndexType::StringList, Self::ContainsAny(_) | Self::ContainsAll(_)) => path.is_plain(&index.path),
            (MetadataIndexType::Boolean, Self::Equals(_))
            | (MetadataIndexType::StringList, Self::Equals(_) | Self::OneOf(_)) => {
                self.field_of(path) == Some((index.kind, &index.path[..]))
            }
            _ => false,
        }
    }
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
    /// Whether it is a string, a number or a boolean, not a list or an object.
    pub is_scalar: bool,
}

impl Literal {
    /// The type of the declared fields that hold it. `None` for lists and objects.
    pub(super) fn kind(&self) -> Option<MetadataIndexType> {
        match self.json.as_bytes().first()? {
            b'"' => Some(MetadataIndexType::String),
            b't' | b'f' => Some(MetadataIndexType::Boolean),
            b'-' | b'0'..=b'9' => Some(MetadataIndexType::Number),
            _ => None,
        }
    }
}
