//! The rules of documents, and of the ids or the filter that select some of them.

use std::collections::{HashMap, HashSet};

use pgfox::v1::{self, Document, DocumentError, ErrorReason, IngestRequest};
use sha2::{Digest as _, Sha256};

use super::{MAX_DOCUMENTS, MAX_ID_BYTES, Violation, Violations, filter, json, source};
use crate::store::{Chunking, Collection, ContentHash, Filter, WritableTable};

/// The documents that a request may write.
#[derive(Debug)]
pub(crate) enum Condition {
    Always,
    OnlyIfAbsent,
    /// Documents with these ids only at these versions; 0 means that the document must not exist.
    IfVersion(HashMap<String, i64>),
}

/// Reads the condition of a request.
pub(crate) fn condition(violations: &mut Violations, request: &mut IngestRequest) -> Condition {
    if request.if_version.is_empty() {
        return if request.only_if_absent { Condition::OnlyIfAbsent } else { Condition::Always };
    }
    let both = "must not be set together with if_version, where version 0 means the same";
    violations.check(!request.only_if_absent, "only_if_absent", both);
    let ids: HashSet<&str> = request.documents.iter().map(|document| document.id.as_str()).collect();
    let mut conditions: Vec<(&String, &i64)> = request.if_version.iter().collect();
    conditions.sort_unstable();
    for (id, version) in conditions {
        if violations.is_full() {
            break;
        }
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

/// A document that follows the rules.
#[derive(Debug)]
pub(crate) struct CheckedDocument {
    /// Its position in the request.
    pub(crate) index: usize,
    pub(crate) id: String,
    pub(crate) text: String,
    /// JSON.
    pub(crate) metadata: String,
    /// The caller's vector.
    pub(crate) vector: Option<Vec<f32>>,
    /// Whether its vector is made from its text.
    pub(crate) needs_embedding: bool,
    pub(crate) content_hash: ContentHash,
}

/// Checks documents and hashes their content. Returns the valid ones sorted by id, the last one of each id, and the
/// invalid ones. Without `skip_invalid` an invalid document is an error; so are `violations` of the rest of the
/// request. `table` is that of an attached collection.
pub(crate) fn check(
    mut violations: Violations,
    documents: Vec<Document>,
    collection: &Collection,
    table: Option<&WritableTable>,
    skip_invalid: bool,
) -> Result<(Vec<CheckedDocument>, Vec<DocumentError>), Violations> {
    if documents.len() > MAX_DOCUMENTS {
        let rule = format!("must have at most {MAX_DOCUMENTS} entries, not {}", documents.len());
        return Err(Violation::new("documents", rule).into());
    }
    let hasher = content_hasher(collection);
    let mut errors = Vec::new();
    let mut checked: HashMap<String, CheckedDocument> = HashMap::with_capacity(documents.len());
    for (index, document) in documents.into_iter().enumerate() {
        if violations.is_full() {
            break;
        }
        match check_document(index, document, collection, table, &hasher) {
            Ok(document) => {
                checked.insert(document.id.clone(), document);
            }
            Err((id, found)) if skip_invalid => errors.push(invalid_document(index, &id, &found)),
            Err((_, found)) => violations.append(found.within(&format!("documents[{index}]"))),
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
    table: Option<&WritableTable>,
    hasher: &Sha256,
) -> Result<CheckedDocument, (String, Violations)> {
    let Document { mut id, text, vector, metadata, .. } = document;
    let vector = vector.map(|vector| vector.values);
    let mut violations = Violations::default();
    violations.id("id", &id);
    violations.text("text", &text);
    if let Some(values) = &vector {
        violations.vector("vector", values, collection);
    }
    let has_model = collection.definition.model.is_some();
    let needs_embedding = has_model && vector.is_none() && !text.trim().is_empty();
    let metadata = match metadata.as_ref().map(json::write) {
        None => "{}".to_owned(),
        Some(Ok(metadata)) => metadata,
        Some(Err(rule)) => {
            violations.push(Violation::new("metadata", rule));
            String::new()
        }
    };
    if let Some(table) = table {
        source::check_row(&mut violations, &mut id, &metadata, table);
        let (field, rule) = match has_model {
            true => ("text", "is required, or a vector: the vector column of the table is NOT NULL"),
            false => ("vector", "is required: the vector column of the table is NOT NULL"),
        };
        violations.check(vector.is_some() || needs_embedding || !table.needs_vector, field, rule);
    }
    if !violations.is_empty() {
        return Err((id, violations));
    }
    let mut hasher = hasher.clone();
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
    hasher.update(bytemuck::cast_slice::<f32, u8>(vector.as_deref().unwrap_or_default()));
    Ok(CheckedDocument { index, id, text, metadata, vector, needs_embedding, content_hash: hasher.finalize().into() })
}

/// A hasher that has read what the vectors of a collection depend on beside their texts.
fn content_hasher(collection: &Collection) -> Sha256 {
    let definition = &collection.definition;
    let model = definition.model.as_ref().map_or("", |model| &model.name);
    let mut hasher = Sha256::new();
    for part in [model, &definition.document_prefix] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    // Adds nothing if texts are not split, so that stored hashes stay valid.
    if let Some(Chunking { method: _, unit, max_size, overlap, embed_headings }) = definition.chunking {
        let settings = format!("{} {} {max_size} {overlap}", Chunking::method_name(definition.chunking), unit.name());
        hasher.update(settings.as_bytes());
        if embed_headings {
            hasher.update(b" headings");
        }
    }
    hasher
}

/// A document that breaks rules.
fn invalid_document(index: usize, id: &str, violations: &Violations) -> DocumentError {
    let message: Vec<String> = violations.iter().map(Violation::to_string).collect();
    document_error(index, id, violations.reason(), message.join("; "))
}

/// A text that the provider of the model refuses.
pub(crate) fn refused_text(index: usize, id: &str, why: &str) -> Violation {
    let field = format!("documents[{index}].text");
    let description = format!("of the document \"{id}\" cannot be embedded: {why}");
    Violation { reason: ErrorReason::TextRefused, ..Violation::new(field, description) }
}

/// Why a document is skipped.
pub(crate) fn document_error(index: usize, id: &str, reason: ErrorReason, message: String) -> DocumentError {
    // Cut at the end of a character.
    let id = &id[..id.floor_char_boundary(MAX_ID_BYTES)];
    // A request has at most 1,000 documents.
    DocumentError { index: index as i32, id: id.into(), reason: reason.into(), message }
}

/// The documents that a request changes: those with its ids or those that match its filter. A request never selects all
/// documents by leaving something out.
pub(crate) fn read_selection(
    violations: &mut Violations,
    ids: Vec<String>,
    filter: Option<v1::Filter>,
) -> Option<Filter> {
    match filter {
        None if ids.is_empty() => {
            violations.push(Violation::new("ids", "or filter is required; filter.everything selects all documents"));
        }
        None => return violations.ids("ids", &ids).then_some(Filter::Ids(ids)),
        Some(filter) if ids.is_empty() => return filter::read(violations, "filter", filter),
        Some(_) => violations.push(Violation::new("filter", "must not be set together with ids: send one of them")),
    }
    None
}
