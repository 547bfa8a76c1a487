//! The prepared statements of a plain search, and what decides how a search goes. `writer` writes all other statements.

use super::SearchSettings;
use crate::store::{Collection, FieldPath, Filter, IndexKind, MetadataIndex, MetadataIndexType, Test, tables::Tables};

/// Rows that match to take from an index for those that are wanted. An index goes through the vectors roughly from near to
/// far, and the rougher the farther it has to go for what matches; the nearest of some more are the true ones.
pub(super) fn taken(index: Option<IndexKind>, rows: usize) -> usize {
    const AT_MOST_FOR: usize = 50;
    let more = match index {
        // It reads many vectors at a time, and stops though nearer ones are in the lists that follow.
        Some(IndexKind::IvfFlat { .. }) => 19,
        _ => 4,
    };
    rows + more * rows.min(AT_MOST_FOR)
}

/// The plain statements: no filter, no words, no chunks.
#[derive(Debug)]
pub(in crate::store) struct SearchStatements {
    /// With the index. Without vectors and with.
    pub(super) nearest: [String; 2],
    /// Without it.
    pub(super) exact: [String; 2],
    pub(super) iterative_scan: bool,
}

impl SearchStatements {
    pub(in crate::store) fn new(tables: &Tables, collection: &Collection, iterative_scan: bool) -> Self {
        let Tables { documents, embeddings, internal, extension, .. } = tables;
        let distance = format!("e.embedding OPERATOR({extension}.{}) $1", collection.definition.distance.operator());
        let send = format!("{}_send", collection.definition.vector_type.name());
        // The documents are joined after the nearest are known. `+ 0` sorts for real: an iterative scan may return rows
        // slightly out of order, which Postgres does not know.
        let statement = |distance: &str, vector: &str| {
            format!(
                "-- search
                 WITH nearest AS MATERIALIZED (
                     SELECT e.document_key, {distance} AS distance {vector} FROM {embeddings} e ORDER BY distance LIMIT $2)
                 SELECT d.id, d.text, d.metadata, n.distance, d.key,
                        (SELECT revision FROM {internal}.collections WHERE id = {id}) {vector_out}
                 FROM nearest n JOIN {documents} d ON d.key = n.document_key
                 ORDER BY n.distance + 0, d.key",
                id = collection.id,
                vector_out = if vector.is_empty() { String::new() } else { format!(", {extension}.{send}(n.embedding)") },
            )
        };
        // No index serves an expression of the distance.
        let every = format!("({distance}) + 0");
        Self {
            nearest: [statement(&distance, ""), statement(&distance, ", e.embedding")],
            exact: [statement(&every, ""), statement(&every, ", e.embedding")],
            iterative_scan,
        }
    }
}

/// How far a run goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// The vector index may be used.
    pub(super) by_index: bool,
    /// Most rows of the vector search and of the full-text search; `None`: all of them.
    pub(super) rows: Option<usize>,
}

/// Whether the documents that match a filter are looked for first.
pub(super) fn is_gated(collection: &Collection, settings: &SearchSettings) -> bool {
    settings.filter.as_ref().is_some_and(|filter| is_served(filter, &collection.definition.metadata_indexes))
}

/// Whether an index finds the documents that match, so that counting the first few of them is quick.
fn is_served(filter: &Filter, indexes: &[MetadataIndex]) -> bool {
    let has = |kind, path: &FieldPath| indexes.iter().any(|index| index.kind == kind && path.is_plain(&index.path));
    match filter {
        Filter::Ids(_) => true,
        Filter::All(filters) => filters.iter().any(|filter| is_served(filter, indexes)),
        Filter::Any(filters) => filters.iter().all(|filter| is_served(filter, indexes)),
        Filter::None(_) | Filter::Everything => false,
        Filter::Field { path, test } => match test {
            Test::Equals(_) | Test::OneOf(_) | Test::ContainsAny(_) | Test::ContainsAll(_) => {
                indexes.iter().any(|index| index.kind == MetadataIndexType::Gin)
            }
            Test::Number(..) => has(MetadataIndexType::Number, path),
            Test::String(..) | Test::StartsWith(_) => has(MetadataIndexType::String, path),
            Test::Time(..) => has(MetadataIndexType::Time, path),
            Test::ContainsText(_) | Test::IgnoringCase(_) | Test::Exists => false,
        },
    }
}
