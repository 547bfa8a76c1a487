//! The prepared statements of a plain search, and the choice between ways to search. `writer` writes all other statements.

use super::{Query, SearchSettings};
use crate::store::{
    Collection, FieldPath, Filter, IndexKind, MetadataIndex, MetadataIndexType, Source, Test,
    catalog::Entry,
    codes::{Access, Codes, Declared, QueryCode},
    sources::SourceIndex,
    tables::Tables,
};

/// How many matching rows to take from an index for so many results. An index returns vectors roughly from near to far. The
/// farther it must go for matches, the rougher the order, so the nearest of a few more rows are the true results.
pub(super) fn taken(index: Option<IndexKind>, rows: usize) -> usize {
    const AT_MOST_FOR: usize = 50;
    let more = match index {
        // It reads many vectors at a time, and stops even if nearer ones are in the next lists.
        Some(IndexKind::IvfFlat { .. }) => 19,
        _ => 4,
    };
    rows + more * rows.min(AT_MOST_FOR)
}

/// The plain statements: no filter, no words, no chunks.
#[derive(Debug)]
pub(in crate::store) struct SearchStatements {
    /// With the index. Without vectors and with.
    pub(in crate::store) nearest: [String; 2],
    /// Without it.
    pub(super) exact: [String; 2],
    pub(super) iterative_scan: bool,
}

impl SearchStatements {
    pub(in crate::store) fn new(tables: &Tables, collection: &Collection, iterative_scan: bool) -> Self {
        let Tables { documents, embeddings, internal, extension, .. } = tables;
        // Excluded rows of an attached table are known by their ids.
        let key = if tables.source.is_some() { "NULL::bigint" } else { "d.key" };
        let distance = format!("e.embedding OPERATOR({extension}.{}) $1", collection.definition.distance.operator());
        let send = format!("{}_send", collection.definition.vector_type.name());
        // The documents are joined after the nearest are known. `+ 0` makes Postgres sort: an iterative scan may return rows
        // slightly out of order, which Postgres does not know.
        let statement = |distance: &str, vector: &str| {
            format!(
                "-- search
                 WITH nearest AS MATERIALIZED (
                     SELECT e.document_key, {distance} AS distance {vector} FROM {embeddings} e ORDER BY distance LIMIT $2)
                 SELECT d.id, d.text, d.metadata, n.distance, {key},
                        (SELECT revision FROM {internal}.collections WHERE id = {id}) {vector_out}
                 FROM nearest n JOIN {documents} d ON {on_document}
                 ORDER BY n.distance + 0, d.key",
                id = collection.id,
                on_document = tables.on_document("n.document_key"),
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

impl SearchSettings {
    /// How many of the best codes a run for so many rows compares exactly.
    pub(super) fn candidates(&self, codes: &Codes, rows: usize) -> usize {
        self.rerank_candidates.map_or_else(|| codes.candidates(rows), |candidates| candidates.max(rows))
    }
}

/// The codes that a search can use.
#[derive(Debug)]
pub(super) struct Coded<'e> {
    pub(super) codes: &'e Codes,
    /// What they answer of the filter.
    pub(super) declared: Declared,
    pub(super) code: QueryCode,
}

impl<'e> Coded<'e> {
    /// If there are any for this filter.
    pub(super) fn new(entry: &'e Entry, filter: Option<&Filter>, query: &[f32]) -> Option<Self> {
        let (codes, declared) = entry.codes_for(filter)?;
        Some(Self { codes, declared, code: codes.maker.query(query) })
    }

    /// Whether the first codes that match show how near the results are. Otherwise their documents may not match, or a vector
    /// may have several of them.
    fn shows_results(&self) -> bool {
        let Declared { is_partial, is_repeated, wanted, .. } = &self.declared;
        !is_partial && !is_repeated && !wanted.is_empty()
    }

    /// Whether a search can leave out cells: an index must find what matches in a cell.
    pub(super) fn leaves_out_cells(&self) -> bool {
        let finds_cells = match self.declared.access {
            Some(Access::Value) => self.codes.has_cells(),
            _ => self.codes.finds_cells(),
        };
        self.shows_results() && finds_cells
    }

    /// The part of the codes that match which a search reads.
    pub(super) fn share(&self) -> f64 {
        if self.leaves_out_cells() { self.codes.share() } else { 1.0 }
    }

    /// Whether a search reads few codes, whatever matches. Beside those of a list it reads the documents that the list leaves
    /// out, which may be many.
    pub(super) fn always_reads_few(&self) -> bool {
        self.shows_results() && self.declared.unlisted().is_none() && self.codes.always_reads_few()
    }
}

/// What a run reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach<'e> {
    /// The vector index may be used.
    pub(super) by_index: bool,
    /// Maximum number of rows of the vector search and of the full-text search; `None`: all of them.
    pub(super) rows: Option<usize>,
    /// When to use which codes. `None`: never.
    pub(super) codes: Option<(UseOfCodes, &'e Coded<'e>)>,
}

/// When a run reads the codes of what matches the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UseOfCodes {
    /// If Postgres expects that few enough of them are read.
    IfFew,
    Always,
}

/// Whether Postgres plans a statement for its values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// For all values the same plan, which a connection keeps: reading and planning take longer than a small search.
    Generic,
    /// A generic plan can ignore the vector index.
    Custom,
}

impl Plan {
    /// The best plan of a search by cells hardly depends on the values.
    pub(super) fn of(query: &Query, reach: Reach<'_>) -> Self {
        match (query, reach.codes) {
            (Query::Nearest(_), Some((UseOfCodes::Always, coded)))
                if coded.leaves_out_cells() && coded.declared.access.is_some() =>
            {
                Self::Generic
            }
            _ => Self::Custom,
        }
    }

    pub(super) fn mode(self) -> &'static str {
        match self {
            Self::Generic => "force_generic_plan",
            Self::Custom => "force_custom_plan",
        }
    }
}

/// Whether the statement first finds the documents that match a filter.
pub(super) fn is_gated(collection: &Collection, settings: &SearchSettings) -> bool {
    settings.filter.as_ref().is_some_and(|filter| match &collection.definition.source {
        // The keys of several columns are not a list of values.
        Some(source) => source.id.len() == 1 && is_served_by_table(filter, source, &collection.source_indexes),
        None => is_served(filter, &collection.definition.metadata_indexes),
    })
}

/// Whether an index of the table of a source finds the documents that match.
fn is_served_by_table(filter: &Filter, source: &Source, indexes: &[SourceIndex]) -> bool {
    let is_served = |filter: &Filter| is_served_by_table(filter, source, indexes);
    match filter {
        Filter::Ids(_) => true,
        Filter::All(filters) => filters.iter().any(is_served),
        Filter::Any(filters) => filters.iter().all(is_served),
        Filter::None(_) | Filter::Everything => false,
        Filter::Field { path, test } => source.is_served(path, test, indexes),
    }
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
                indexes.iter().any(|index| index.kind == MetadataIndexType::Gin || test.is_served_by(path, index))
            }
            Test::Number(..) => has(MetadataIndexType::Number, path),
            Test::String(..) | Test::StartsWith(_) => has(MetadataIndexType::String, path),
            Test::Time(..) => has(MetadataIndexType::Time, path),
            Test::ContainsText(_) | Test::IgnoringCase(_) | Test::Exists => false,
        },
    }
}
