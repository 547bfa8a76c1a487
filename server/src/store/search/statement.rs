//! The statements of a search. The plain nearest have a prepared one; all else is written by the shape of the request.

use tokio_postgres::types::Type;

use super::{Fusion, Query, SearchSettings};
use crate::store::{
    Collection, Filter, IndexKind, MetadataIndex, MetadataIndexType, Test,
    catalog::Entry,
    tables::Tables,
    wire::{Parameters, VectorValue},
};

/// Up to so many documents that match a filter, all their vectors are compared: no more work than to follow the vector
/// index until it has met enough of them, and none is missed. The planner cannot tell: it takes a step along a vector
/// index for as cheap as one along a btree. Finding out that more documents match takes a few milliseconds.
const FEW: usize = 2_500;

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
pub(in crate::store) struct Statements {
    /// With the index. Without vectors and with.
    pub(super) nearest: [String; 2],
    /// Without it.
    pub(super) exact: [String; 2],
    pub(super) iterative_scan: bool,
}

impl Statements {
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

/// The columns of a statement that is written by the shape of the request.
pub(super) mod column {
    pub(in super::super) const ID: usize = 0;
    pub(in super::super) const TEXT: usize = 1;
    pub(in super::super) const METADATA: usize = 2;
    pub(in super::super) const DISTANCE: usize = 3;
    pub(in super::super) const SCORE: usize = 4;
    pub(in super::super) const VECTOR_RANK: usize = 5;
    pub(in super::super) const FULL_TEXT_RANK: usize = 6;
    pub(in super::super) const ORDINAL: usize = 7;
    pub(in super::super) const START: usize = 8;
    pub(in super::super) const END: usize = 9;
    pub(in super::super) const CHUNK: usize = 10;
    pub(in super::super) const VECTOR: usize = 11;
    /// As it was while the statement ran.
    pub(in super::super) const REVISION: usize = 12;
    /// Rows of the vector search, those of them that are too far, and rows of the full-text search.
    pub(in super::super) const NEAREST: usize = 13;
    pub(in super::super) const FAR: usize = 14;
    pub(in super::super) const MATCHES: usize = 15;
    /// Few documents match the filter, and all their vectors were compared.
    pub(in super::super) const COMPARED: usize = 16;
}

/// A search by the shape of its request. It returns at least one row, whose id is null when nothing was found.
pub(super) fn shaped<'a>(
    entry: &Entry,
    query: &'a Query,
    settings: &'a SearchSettings,
    reach: Reach,
) -> (String, Parameters<'a>) {
    let Tables { documents, chunks, embeddings, internal, .. } = &entry.tables;
    let definition = &entry.collection.definition;
    let mut parameters = Parameters::default();
    let filter = settings.filter.as_ref().map(|filter| filter.sql(internal, &mut parameters));
    let excluded = (!settings.exclude.is_empty())
        .then(|| format!("<> ALL(${})", parameters.push(&settings.exclude[..], Type::INT8_ARRAY)));
    let limit = match reach.rows {
        Some(rows) => format!("LIMIT ${}", parameters.push(rows as i64, Type::INT8)),
        None => String::new(),
    };
    let max_distance = settings.max_distance.map(|most| format!("<= ${}", parameters.push(most, Type::FLOAT8)));
    let mut ctes = Vec::new();

    let is_gated = reach.by_index && is_gated(&entry.collection, settings);
    if let Some(vector) = query.vector() {
        let value = VectorValue { values: vector, vector_type: definition.vector_type };
        let number = parameters.push(value, entry.types.one.clone());
        let operator = definition.distance.operator();
        let distance = format!("e.embedding OPERATOR({}.{operator}) ${number}", entry.tables.extension);
        let nearest = |distance: &str, from: &str, conditions: &[Option<String>], limit: &str| {
            format!(
                "SELECT e.document_key, e.chunk, {distance} AS distance FROM {from} {} ORDER BY distance {limit}",
                all_of(conditions)
            )
        };
        let every = format!("({distance}) + 0");
        let from = match &filter {
            Some(_) => format!("{embeddings} e JOIN {documents} d ON d.key = e.document_key"),
            None => format!("{embeddings} e"),
        };
        let not_excluded = excluded.as_ref().map(|excluded| format!("e.document_key {excluded}"));
        let more = match reach.rows {
            Some(rows) if reach.by_index && filter.is_some() => {
                Some(format!("LIMIT ${}", parameters.push(taken(entry.collection.index, rows) as i64, Type::INT8)))
            }
            _ => None,
        };
        let walk = |conditions: &[Option<String>]| match &more {
            _ if !reach.by_index => nearest(&every, &from, conditions, &limit),
            None => nearest(&distance, &from, conditions, &limit),
            Some(more) => {
                let taken = nearest(&distance, &from, conditions, more);
                format!("SELECT * FROM ({taken}) taken ORDER BY distance + 0 {limit}")
            }
        };
        if is_gated {
            let conditions = [filter.clone(), excluded.as_ref().map(|excluded| format!("d.key {excluded}"))];
            ctes.push(format!(
                "matching AS MATERIALIZED (SELECT d.key FROM {documents} d {} LIMIT {})",
                all_of(&conditions),
                FEW + 1
            ));
            ctes.push(format!("few AS MATERIALIZED (SELECT count(*) <= {FEW} AS few FROM matching)"));
            let few = "(SELECT few FROM few)".to_owned();
            // Of a list of keys they are read in order, faster than by a join.
            let listed = "e.document_key = ANY(ARRAY(SELECT key FROM matching))".to_owned();
            ctes.push(format!(
                "nearest AS MATERIALIZED (({}) UNION ALL ({}))",
                nearest(&every, &format!("{embeddings} e"), &[Some(few.clone()), Some(listed)], &limit),
                walk(&[Some(format!("NOT {few}")), filter.clone(), not_excluded])
            ));
        } else {
            ctes.push(format!("nearest AS MATERIALIZED ({})", walk(&[filter.clone(), not_excluded])));
        }
    }
    if let Some(words) = query.words() {
        let (rank, condition) = words.sql(&definition.text_search_language, "w.words", &mut parameters);
        let from = match &filter {
            Some(_) => format!("{chunks} w JOIN {documents} d ON d.key = w.document_key"),
            None => format!("{chunks} w"),
        };
        let not_excluded = excluded.as_ref().map(|excluded| format!("w.document_key {excluded}"));
        ctes.push(format!(
            "matches AS MATERIALIZED (
                 SELECT w.document_key, w.chunk, ts_rank(w.words, {rank}, 1)::float8 AS score FROM {from} {}
                 ORDER BY score DESC, w.document_key, w.chunk {limit})",
            all_of(&[Some(condition), filter, not_excluded])
        ));
    }

    let near = max_distance.as_ref().map(|max| format!("WHERE distance {max}")).unwrap_or_default();
    // `+ 0` sorts for real: an iterative scan may return rows slightly out of order, which Postgres does not know.
    let (found, order) = match query {
        Query::Nearest(_) => (
            format!(
                "SELECT document_key, chunk, distance, NULL::float8 AS score, NULL::bigint AS vector_rank,
                        NULL::bigint AS full_text_rank
                 FROM nearest {near}"
            ),
            "distance + 0",
        ),
        Query::Words(_) => (
            "SELECT document_key, chunk, NULL::float8 AS distance, score, NULL::bigint AS vector_rank,
                    NULL::bigint AS full_text_rank
             FROM matches"
                .to_owned(),
            "score DESC",
        ),
        Query::Both { fusion, .. } => (fused(fusion, &near, &mut parameters), "score DESC"),
    };
    ctes.push(format!("found AS ({found})"));
    let is_chunked = definition.chunking.is_some();
    let best = if is_chunked && settings.group_by_document {
        ctes.push(format!(
            "best AS (SELECT DISTINCT ON (document_key) * FROM found ORDER BY document_key, {order}, chunk)"
        ));
        "best"
    } else {
        "found"
    };

    let text = settings.with_text && (!is_chunked || settings.include_full_text);
    let chunk_text = is_chunked && settings.with_text;
    let mut joins = format!("LEFT JOIN {documents} d ON d.key = f.document_key");
    if is_chunked {
        joins += &format!(" LEFT JOIN {chunks} c ON c.document_key = f.document_key AND c.chunk = f.chunk");
    }
    if settings.include_vector {
        joins += &format!(" LEFT JOIN {embeddings} v ON v.document_key = f.document_key AND v.chunk = f.chunk");
    }
    let count =
        |from: &str, there: bool| if there { format!("(SELECT count(*) FROM {from})") } else { "0::bigint".into() };
    let far = max_distance.map(|max| format!("nearest WHERE NOT distance {max}"));
    let limit = parameters.push(settings.limit as i64, Type::INT8);
    let sql = format!(
        "-- search
         WITH {ctes}
         SELECT d.id, {text}, {metadata}, f.distance, f.score, f.vector_rank, f.full_text_rank, {chunk}, {vector},
                s.revision, s.nearest, s.far, s.matches, s.compared
         FROM (SELECT revision, {nearest} AS nearest, {far} AS far, {matches} AS matches, {compared} AS compared
               FROM {internal}.collections WHERE id = {id}) s
         LEFT JOIN (SELECT * FROM {best} ORDER BY {order}, document_key, chunk LIMIT ${limit}) f ON true
         {joins}
         ORDER BY f.{order}, f.document_key, f.chunk",
        ctes = ctes.join(",\n"),
        text = if text { "d.text" } else { "NULL::text" },
        metadata = if settings.with_metadata { "d.metadata" } else { "NULL::jsonb" },
        chunk = match (is_chunked, chunk_text) {
            (false, _) => "NULL::int, NULL::int, NULL::int, NULL::text",
            (true, true) => "c.ordinal, c.start_char, c.end_char, coalesce(c.text, d.text)",
            (true, false) => "c.ordinal, c.start_char, c.end_char, NULL::text",
        },
        vector = if settings.include_vector {
            format!("{}.{}_send(v.embedding)", entry.tables.extension, definition.vector_type.name())
        } else {
            "NULL::bytea".into()
        },
        nearest = count("nearest", query.vector().is_some()),
        far = count(far.as_deref().unwrap_or_default(), far.is_some() && query.vector().is_some()),
        matches = count("matches", query.words().is_some()),
        compared = if is_gated && query.vector().is_some() { "(SELECT few FROM few)" } else { "false" },
        id = entry.collection.id,
    );
    (sql, parameters)
}

/// Reciprocal rank fusion of `nearest` and `matches`.
fn fused(fusion: &Fusion, near: &str, parameters: &mut Parameters<'_>) -> String {
    let constant = parameters.push(f64::from(fusion.rank_constant), Type::FLOAT8);
    let vector = parameters.push(fusion.vector_weight, Type::FLOAT8);
    let full_text = parameters.push(fusion.full_text_weight, Type::FLOAT8);
    format!(
        "SELECT coalesce(v.document_key, w.document_key) AS document_key, coalesce(v.chunk, w.chunk) AS chunk, v.distance,
                coalesce(${vector} / (${constant} + v.rank), 0) + coalesce(${full_text} / (${constant} + w.rank), 0) AS score,
                v.rank AS vector_rank, w.rank AS full_text_rank
         FROM (SELECT document_key, chunk, distance,
                      row_number() OVER (ORDER BY distance + 0, document_key, chunk) AS rank FROM nearest {near}) v
         FULL JOIN (SELECT document_key, chunk,
                           row_number() OVER (ORDER BY score DESC, document_key, chunk) AS rank FROM matches) w
             ON w.document_key = v.document_key AND w.chunk = v.chunk"
    )
}

fn all_of(conditions: &[Option<String>]) -> String {
    let conditions: Vec<&str> = conditions.iter().flatten().map(String::as_str).collect();
    if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) }
}

/// Whether the documents that match a filter are looked for first.
pub(super) fn is_gated(collection: &Collection, settings: &SearchSettings) -> bool {
    settings.filter.as_ref().is_some_and(|filter| is_served(filter, &collection.definition.metadata_indexes))
}

/// Whether an index finds the documents that match, so that counting the first few of them is quick.
fn is_served(filter: &Filter, indexes: &[MetadataIndex]) -> bool {
    let has = |kind, path: &[String]| indexes.iter().any(|index| index.kind == kind && index.path == path);
    match filter {
        Filter::Ids(_) => true,
        Filter::All(filters) => filters.iter().any(|filter| is_served(filter, indexes)),
        Filter::Any(filters) => filters.iter().all(|filter| is_served(filter, indexes)),
        Filter::None(_) => false,
        Filter::Field { path, test } => match test {
            Test::Equals(_) | Test::OneOf(_) | Test::ContainsAny(_) | Test::ContainsAll(_) => {
                has(MetadataIndexType::Gin, &[])
            }
            Test::Number(..) => has(MetadataIndexType::Number, path),
            Test::String(..) | Test::StartsWith(_) => has(MetadataIndexType::String, path),
            Test::Time(..) => has(MetadataIndexType::Time, path),
            Test::Exists => false,
        },
    }
}
