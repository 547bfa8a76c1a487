//! The rules for requests. Every check collects violations, so that a caller learns all of them at once. Rules return
//! violations, never errors; `error` turns them into errors.

pub(crate) mod chunking;
pub(crate) mod collections;
pub(crate) mod counts;
pub(crate) mod documents;
pub(crate) mod fields;
pub(crate) mod filter;
pub(crate) mod json;
pub(crate) mod source;

use std::fmt;

use half::f16;
use pgfox::v1::ErrorReason;

use crate::store::{Collection, Distance, VectorType};

/// Maximum length of a document id in bytes.
pub(crate) const MAX_ID_BYTES: usize = 512;
/// Maximum length of a text in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of documents or ids in a request.
pub(crate) const MAX_DOCUMENTS: usize = 1_000;
/// Maximum number of searches in a batch.
pub(crate) const MAX_SEARCHES: usize = 100;
/// Maximum number of ids of each kind of examples.
pub(crate) const MAX_EXAMPLES: usize = 100;
/// Maximum number of violations that are collected for a request. More would not fit into the headers of the answer.
pub(crate) const MAX_VIOLATIONS: usize = 100;
/// Maximum number of results of a search.
pub(crate) const MAX_LIMIT: i32 = 1_000;
/// pgvector's maximum number of dimensions.
pub(crate) const MAX_DIMENSIONS: i32 = 16_000;
/// Maximum length of a prefix in bytes.
const MAX_PREFIX_BYTES: usize = 1_000;
/// Maximum length of a model name in bytes.
const MAX_MODEL_BYTES: usize = 255;
/// Postgres' own limit for identifiers in bytes.
const MAX_NAME_BYTES: usize = 63;

/// A field that breaks a rule.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// The path of the field, such as `documents[3].vector`.
    pub(crate) field: String,
    /// The rule that the field breaks.
    pub(crate) description: String,
    /// The reason for programs.
    pub(crate) reason: ErrorReason,
    /// Numbers for programs, such as the expected and the actual dimensions.
    pub(crate) metadata: Vec<(&'static str, String)>,
}

impl Violation {
    /// A field that breaks a rule of its own.
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
            reason: ErrorReason::InvalidField,
            metadata: Vec::new(),
        }
    }

    /// A vector whose length differs from the dimensions of the collection.
    pub(crate) fn dimensions(field: impl Into<String>, expected: usize, actual: usize) -> Self {
        Self {
            field: field.into(),
            description: format!("must have {expected} dimensions, as the collection has, not {actual}"),
            reason: ErrorReason::DimensionMismatch,
            metadata: vec![("expected", expected.to_string()), ("actual", actual.to_string())],
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.field, self.description)
    }
}

/// The violations of a request so far.
#[derive(Debug, Default)]
pub(crate) struct Violations(Vec<Violation>);

impl fmt::Display for Violations {
    /// The first violation in words, and the number of further ones.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [] => formatter.write_str("the request is invalid"),
            [first] => formatter.write_str(first.to_string().trim_start()),
            [first, more @ ..] => write!(
                formatter,
                "{first} (and {}{} more; the details name them)",
                if more.len() + 1 < MAX_VIOLATIONS { "" } else { "at least " },
                more.len()
            ),
        }
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        Self(vec![violation])
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        Self(violations.into_iter().take(MAX_VIOLATIONS).collect())
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Violations {
    /// Adds a violation, up to [`MAX_VIOLATIONS`].
    pub(crate) fn push(&mut self, violation: Violation) {
        if !self.is_full() {
            self.0.push(violation);
        }
    }

    /// Whether looking for more violations is useless.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_VIOLATIONS
    }

    pub(crate) fn check(&mut self, holds: bool, field: &str, rule: &str) {
        if !holds {
            self.push(Violation::new(field, rule));
        }
    }

    /// Adds the violations of another part of the request.
    pub(crate) fn append(&mut self, found: Self) {
        found.0.into_iter().for_each(|violation| self.push(violation));
    }

    /// The same violations for the part of the request at `place`, such as `searches[3]`.
    pub(crate) fn within(mut self, place: &str) -> Self {
        for Violation { field, .. } in &mut self.0 {
            let separator = if field.is_empty() { "" } else { "." };
            *field = format!("{place}{separator}{field}");
        }
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Violation> {
        self.0.iter()
    }

    /// The violation with a specific reason, if there is one.
    pub(crate) fn specific(&self) -> Option<&Violation> {
        self.0.iter().find(|violation| violation.reason != ErrorReason::InvalidField)
    }

    /// The reason for all violations: the most specific one.
    pub(crate) fn reason(&self) -> ErrorReason {
        self.specific().map_or(ErrorReason::InvalidField, |violation| violation.reason)
    }

    /// Fails if there is a violation.
    pub(crate) fn finish(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Fails if there is a violation, else returns what was read. A reader that reads nothing adds a violation.
    pub(crate) fn finish_with<T>(self, read: Option<T>) -> Result<T, Self> {
        match read {
            Some(read) if self.is_empty() => Ok(read),
            _ => {
                debug_assert!(!self.is_empty(), "a reader that reads nothing adds a violation");
                Err(self)
            }
        }
    }

    /// Checks the name of a collection to create. A lookup accepts any name: one that cannot exist is not found.
    pub(crate) fn new_name(&mut self, field: &str, name: &str) {
        let well_formed = name.len() <= MAX_NAME_BYTES
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        self.check(
            well_formed,
            field,
            "must be a lower-case letter followed by up to 62 lower-case letters, digits and underscores",
        );
    }

    /// Returns whether a collection of this name may exist.
    pub(crate) fn name(&mut self, field: &str, name: &str) -> bool {
        let plausible = !name.contains('\0') && name.len() <= 1_000;
        self.check(!name.is_empty(), field, "is required");
        self.check(plausible, field, "cannot be the name of a collection");
        plausible && !name.is_empty()
    }

    pub(crate) fn range(&mut self, field: &str, value: i32, least: i32, most: i32) {
        if !(least..=most).contains(&value) {
            self.push(Violation::new(field, format!("must be {least} to {most}, not {value}")));
        }
    }

    pub(crate) fn prefix(&mut self, field: &str, prefix: &str) {
        self.check(prefix.len() <= MAX_PREFIX_BYTES, field, "must have at most 1,000 bytes");
        self.check(!prefix.contains('\0'), field, "must not contain NUL");
    }

    /// Checks the language of texts. Only the database knows whether it has a text search configuration of that name.
    pub(crate) fn language(&mut self, field: &str, name: &str) {
        let well_formed = name.len() <= MAX_NAME_BYTES
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        self.check(
            well_formed,
            field,
            "must be a language, such as \"german\", or \"auto\", or the name of a text search configuration: up to 63 \
             lower-case letters, digits and underscores, no digit first",
        );
    }

    pub(crate) fn model(&mut self, field: &str, model: &str) {
        let named = |prefix| model.strip_prefix(prefix).is_some_and(|name: &str| !name.is_empty());
        let well_formed = named("openai/") || named("local/");
        let plain = model.len() <= MAX_MODEL_BYTES && !model.chars().any(char::is_control);
        self.check(
            well_formed && plain,
            field,
            "must be \"openai/<model>\" or \"local/<name>\", such as \"local/all-MiniLM-L6-v2\", of at most 255 bytes",
        );
    }

    /// Returns whether the id of a document follows the rules.
    pub(crate) fn id(&mut self, field: &str, id: &str) -> bool {
        self.check(!id.is_empty(), field, "is required");
        if id.len() > MAX_ID_BYTES {
            self.push(Violation::new(field, format!("must have at most {MAX_ID_BYTES} bytes, not {}", id.len())));
        }
        self.check(!id.contains('\0'), field, "must not contain NUL, which Postgres cannot store");
        (1..=MAX_ID_BYTES).contains(&id.len()) && !id.contains('\0')
    }

    /// Returns whether a list of ids follows the rules.
    pub(crate) fn ids(&mut self, field: &str, ids: &[String]) -> bool {
        let mut keeps = !ids.is_empty();
        self.check(!ids.is_empty(), field, "is required");
        if ids.len() > MAX_DOCUMENTS {
            self.push(Violation::new(field, format!("must have at most {MAX_DOCUMENTS} entries, not {}", ids.len())));
            return false;
        }
        for (position, id) in ids.iter().enumerate() {
            keeps &= self.id(&format!("{field}[{position}]"), id);
        }
        keeps
    }

    pub(crate) fn text(&mut self, field: &str, text: &str) {
        if text.len() > MAX_TEXT_BYTES {
            self.push(Violation::new(field, format!("must have at most {MAX_TEXT_BYTES} bytes, not {}", text.len())));
        }
        self.check(!text.contains('\0'), field, "must not contain NUL, which Postgres cannot store");
    }

    /// Checks a vector for a collection.
    pub(crate) fn vector(&mut self, field: &str, values: &[f32], collection: &Collection) {
        let definition = &collection.definition;
        if values.len() != definition.dimensions {
            self.push(Violation::dimensions(field, definition.dimensions, values.len()));
            return;
        }
        // Without an early end, the compiler checks several values at once.
        if !values.iter().fold(true, |all, value| all & value.is_finite()) {
            let position = values.iter().position(|value| !value.is_finite()).unwrap_or_default();
            self.push(Violation::new(format!("{field}.values[{position}]"), "must be finite"));
            return;
        }
        if !can_hold(values, definition.vector_type) {
            let position = values.iter().position(|value| !f16::from_f32(*value).is_finite()).unwrap_or_default();
            let rule = "must be at most 65,504 in a collection of VECTOR_TYPE_HALFVEC";
            self.push(Violation::new(format!("{field}.values[{position}]"), rule));
            return;
        }
        if definition.distance == Distance::Cosine && !has_direction(values, definition.vector_type) {
            let rule = "must have a direction for DISTANCE_COSINE: its length must not be zero, nor so small or large \
                that a 4-byte float cannot hold its square";
            self.push(Violation::new(field, rule));
        }
    }
}

/// Whether finite numbers are still finite in the vector type of the collection.
pub(crate) fn can_hold(values: &[f32], vector_type: VectorType) -> bool {
    match vector_type {
        VectorType::Vector => true,
        VectorType::HalfVec => values.iter().all(|value| f16::from_f32(*value).is_finite()),
    }
}

/// Whether pgvector can find the direction of a vector. It sums the squares in 4-byte floats.
pub(crate) fn has_direction(values: &[f32], vector_type: VectorType) -> bool {
    let stored = |value: &f32| match vector_type {
        VectorType::Vector => *value,
        VectorType::HalfVec => f16::from_f32(*value).to_f32(),
    };
    // Several sums, because each addition to one sum waits for the one before.
    let (blocks, rest) = values.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += stored(value).powi(2));
    }
    let square: f32 = sums.into_iter().chain(rest.iter().map(|value| stored(value).powi(2))).sum();
    square > 0.0 && square.is_finite()
}
