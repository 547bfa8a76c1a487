//! The rules of requests. Every check collects what is wrong, so that a caller learns all of it at once.

use std::collections::{HashMap, HashSet};

use half::f16;
use pgfox::v1::{Document, DocumentError, ErrorReason, IngestRequest};
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Violation},
    json,
    store::{Chunking, Collection, ContentHash, Distance, StoreError, VectorType},
};

/// Most bytes of the id of a document.
pub(crate) const MAX_ID_BYTES: usize = 512;
/// Most bytes of a text.
pub(crate) const MAX_TEXT_BYTES: usize = 8 * 1024 * 1024;
/// Most documents or ids in a request.
pub(crate) const MAX_DOCUMENTS: usize = 1_000;
/// Most results of a search.
pub(crate) const MAX_LIMIT: i32 = 1_000;
/// pgvector's most dimensions.
pub(crate) const MAX_DIMENSIONS: i32 = 16_000;
/// Most bytes of a prefix.
const MAX_PREFIX_BYTES: usize = 1_000;
/// Most bytes of the name of a model.
const MAX_MODEL_BYTES: usize = 255;
/// Postgres' own limit of identifiers.
const MAX_NAME_BYTES: usize = 63;

/// What is wrong with a request so far.
#[derive(Debug, Default)]
pub(crate) struct Violations(Vec<Violation>);

impl Violations {
    pub(crate) fn push(&mut self, violation: Violation) {
        self.0.push(violation);
    }

    pub(crate) fn check(&mut self, holds: bool, field: &str, rule: &str) {
        if !holds {
            self.push(Violation::new(field, rule));
        }
    }

    /// Adds what is wrong with a part of the request, which is at `place`.
    pub(crate) fn append_within(&mut self, place: &str, found: Self) {
        let within = |violation: Violation| {
            let separator = if violation.field.is_empty() { "" } else { "." };
            Violation { field: format!("{place}{separator}{}", violation.field), ..violation }
        };
        self.0.extend(found.0.into_iter().map(within));
    }

    /// Fails if anything was wrong.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }

    /// Fails if anything was wrong; else gives what was read.
    pub(crate) fn finish_with<T>(self, read: Option<T>) -> Result<T, Error> {
        self.finish()?;
        read.ok_or_else(|| StoreError::Internal("a request was refused without a reason".into()).into())
    }

    /// The name of a collection to create. To look one up any name will do: what cannot exist is not found.
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

    /// The name of a collection that may exist; returns whether it may.
    pub(crate) fn name(&mut self, field: &str, name: &str) -> bool {
        let plausible = !name.contains('\0') && name.len() <= 1_000;
        self.check(!name.is_empty(), field, "is required");
        self.check(plausible, field, "is not the name of a collection");
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

    /// The name of a text search configuration; whether there is such a one only the database knows.
    pub(crate) fn text_search_language(&mut self, field: &str, name: &str) {
        let well_formed = name.len() <= MAX_NAME_BYTES
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        self.check(
            well_formed,
            field,
            "must be the name of a text search configuration, such as \"german\": up to 63 lower-case letters, digits and \
             underscores, no digit first",
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

    pub(crate) fn id(&mut self, field: &str, id: &str) {
        self.check(!id.is_empty(), field, "is required");
        if id.len() > MAX_ID_BYTES {
            self.push(Violation::new(field, format!("must have at most {MAX_ID_BYTES} bytes, not {}", id.len())));
        }
        self.check(!id.contains('\0'), field, "must not contain NUL, which Postgres cannot store");
    }

    /// A list of ids; returns whether it keeps the rules.
    pub(crate) fn ids(&mut self, field: &str, ids: &[String]) -> bool {
        let before = self.0.len();
        self.check(!ids.is_empty(), field, "is required");
        if ids.len() > MAX_DOCUMENTS {
            self.push(Violation::new(field, format!("must have at most {MAX_DOCUMENTS} entries, not {}", ids.len())));
            return false;
        }
        for (position, id) in ids.iter().enumerate() {
            self.id(&format!("{field}[{position}]"), id);
        }
        self.0.len() == before
    }

    pub(crate) fn text(&mut self, field: &str, text: &str) {
        if text.len() > MAX_TEXT_BYTES {
            self.push(Violation::new(field, format!("must have at most {MAX_TEXT_BYTES} bytes, not {}", text.len())));
        }
        self.check(!text.contains('\0'), field, "must not contain NUL, which Postgres cannot store");
    }

    /// A vector of a collection.
    pub(crate) fn vector(&mut self, field: &str, values: &[f32], collection: &Collection) {
        let definition = &collection.definition;
        if values.len() != definition.dimensions {
            self.push(Violation::dimensions(field, definition.dimensions, values.len()));
            return;
        }
        // The sum is not finite if any value is not, and is quicker to take than asking each.
        if !values.iter().map(|value| value * 0.0).sum::<f32>().is_finite() {
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
            let rule = "must not be of length zero, or so short or long that 4-byte floats cannot hold the square of its \
                        length: DISTANCE_COSINE compares directions";
            self.push(Violation::new(field, rule));
        }
    }
}

/// Whether finite numbers are finite in the type of the collection too.
pub(crate) fn can_hold(values: &[f32], vector_type: VectorType) -> bool {
    match vector_type {
        VectorType::Vector => true,
        VectorType::HalfVec => values.iter().all(|value| f16::from_f32(*value).is_finite()),
    }
}

/// Whether pgvector can tell the direction of a vector: it sums the squares in 4-byte floats.
pub(crate) fn has_direction(values: &[f32], vector_type: VectorType) -> bool {
    let square: f32 = match vector_type {
        VectorType::Vector => values.iter().map(|value| value * value).sum(),
        VectorType::HalfVec => values.iter().map(|value| f16::from_f32(*value).to_f32().powi(2)).sum(),
    };
    square > 0.0 && square.is_finite()
}

/// Which documents a request may write.
#[derive(Debug)]
pub(crate) enum Condition {
    Always,
    OnlyIfAbsent,
    /// Those of these ids only at these versions; 0: when they do not exist.
    IfVersion(HashMap<String, i64>),
}

/// The condition of a request.
pub(crate) fn condition(violations: &mut Violations, request: &mut IngestRequest) -> Condition {
    if request.if_version.is_empty() {
        return if request.only_if_absent { Condition::OnlyIfAbsent } else { Condition::Always };
    }
    let both = "must not be set together with if_version, which can say the same by version 0";
    violations.check(!request.only_if_absent, "only_if_absent", both);
    let ids: HashSet<&str> = request.documents.iter().map(|document| document.id.as_str()).collect();
    let mut conditions: Vec<(&String, &i64)> = request.if_version.iter().collect();
    conditions.sort_unstable();
    for (id, version) in conditions {
        let field = || format!("if_version[\"{}\"]", &id[..id.floor_char_boundary(MAX_ID_BYTES)]);
        if !ids.contains(id.as_str()) {
            violations.push(Violation::new(field(), "must be the id of a document of the request"));
        }
        if *version < 0 {
            violations.push(Violation::new(field(), format!("must be 0 or a version, not {version}")));
        }
    }
    Condition::IfVersion(std::mem::take(&mut request.if_version))
}

/// A document that keeps the rules.
#[derive(Debug)]
pub(crate) struct CheckedDocument {
    /// Its position in the request.
    pub(crate) index: usize,
    pub(crate) id: String,
    pub(crate) text: String,
    /// JSON.
    pub(crate) metadata: String,
    /// The caller's own.
    pub(crate) vector: Option<Vec<f32>>,
    pub(crate) content_hash: ContentHash,
}

impl CheckedDocument {
    /// Whether its vector is made of its text.
    pub(crate) fn needs_embedding(&self) -> bool {
        self.vector.is_none() && !self.text.trim().is_empty()
    }
}

/// Checks documents and hashes their content. Returns the good ones sorted by id, the last of a repeated id, and the bad
/// ones, which without `skip_invalid` are an error, as `violations` of the rest of the request are.
pub(crate) fn documents(
    mut violations: Violations,
    documents: Vec<Document>,
    collection: &Collection,
    skip_invalid: bool,
) -> Result<(Vec<CheckedDocument>, Vec<DocumentError>), Error> {
    if documents.len() > MAX_DOCUMENTS {
        let rule = format!("must have at most {MAX_DOCUMENTS} entries, not {}", documents.len());
        return Err(Error::invalid("documents", rule));
    }
    let hasher = content_hasher(collection);
    let mut errors = Vec::new();
    let mut checked: HashMap<String, CheckedDocument> = HashMap::with_capacity(documents.len());
    for (index, document) in documents.into_iter().enumerate() {
        match check_document(index, document, collection, &hasher) {
            Ok(document) => {
                checked.insert(document.id.clone(), document);
            }
            Err((id, found)) if skip_invalid => errors.push(invalid_document(index, &id, found.0)),
            Err((_, found)) => violations.append_within(&format!("documents[{index}]"), found),
        }
    }
    violations.finish()?;
    let mut checked: Vec<CheckedDocument> = checked.into_values().collect();
    checked.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok((checked, errors))
}

fn check_document(
    index: usize,
    document: Document,
    collection: &Collection,
    hasher: &Sha256,
) -> Result<CheckedDocument, (String, Violations)> {
    let Document { id, text, vector, metadata, .. } = document;
    let vector = vector.map(|vector| vector.values);
    let mut violations = Violations::default();
    violations.id("id", &id);
    violations.text("text", &text);
    match &vector {
        Some(values) => violations.vector("vector", values, collection),
        None => {
            let rule = "is required: the collection has no model that could make one";
            violations.check(collection.definition.model.is_some(), "vector", rule);
        }
    }
    let metadata = match metadata.as_ref().map(json::write) {
        None => "{}".to_owned(),
        Some(Ok(metadata)) => metadata,
        Some(Err(rule)) => {
            violations.push(Violation::new("metadata", rule));
            String::new()
        }
    };
    if !violations.0.is_empty() {
        return Err((id, violations));
    }
    let mut hasher = hasher.clone();
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
    hasher.update(bytemuck::cast_slice::<f32, u8>(vector.as_deref().unwrap_or_default()));
    Ok(CheckedDocument { index, id, text, metadata, vector, content_hash: hasher.finalize().into() })
}

/// Has taken in what the vectors of a collection depend on beside their texts.
fn content_hasher(collection: &Collection) -> Sha256 {
    let definition = &collection.definition;
    let model = definition.model.as_ref().map_or("", |model| &model.name);
    let mut hasher = Sha256::new();
    for part in [model, &definition.document_prefix] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    // Nothing where texts are not split: hashes that are stored stay true.
    if let Some(Chunking { method: _, unit, max_size, overlap }) = definition.chunking {
        let settings = format!("{} {} {max_size} {overlap}", Chunking::method_name(definition.chunking), unit.name());
        hasher.update(settings.as_bytes());
    }
    hasher
}

/// A document that breaks rules.
fn invalid_document(index: usize, id: &str, violations: Vec<Violation>) -> DocumentError {
    let message: Vec<String> =
        violations.iter().map(|violation| format!("{} {}", violation.field, violation.description)).collect();
    document_error(index, id, Error::Invalid(violations).reason(), message.join("; "))
}

/// Why a document is skipped.
pub(crate) fn document_error(index: usize, id: &str, reason: ErrorReason, message: String) -> DocumentError {
    // Cut where a character ends.
    let id = &id[..id.floor_char_boundary(MAX_ID_BYTES)];
    // A request has at most 1,000 documents.
    DocumentError { index: index as i32, id: id.into(), reason: reason.into(), message }
}
