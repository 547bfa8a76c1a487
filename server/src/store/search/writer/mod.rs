//! Writes the statement of a search by the shape of its request: one method per part.

use tokio_postgres::types::Type;

use super::{
    Fusion, Query, SearchSettings, Words,
    statement::{Reach, is_gated, taken},
};
use crate::store::{
    catalog::Entry,
    tables::Tables,
    wire::{Parameters, VectorValue},
};

/// Up to so many documents that match a filter, all their vectors are compared: no more work than to follow the vector
/// index until it has met enough of them, and none is missed. The planner cannot tell: it takes a step along a vector
/// index for as cheap as one along a btree. Finding out that more documents match takes a few milliseconds.
const MAX_COMPARED: usize = 2_500;

/// The columns of a statement that is written by the shape of the request.
pub(super) mod column {
    pub(in crate::store::search) const ID: usize = 0;
    pub(in crate::store::search) const TEXT: usize = 1;
    pub(in crate::store::search) const METADATA: usize = 2;
    pub(in crate::store::search) const DISTANCE: usize = 3;
    pub(in crate::store::search) const SCORE: usize = 4;
    pub(in crate::store::search) const VECTOR_RANK: usize = 5;
    pub(in crate::store::search) const FULL_TEXT_RANK: usize = 6;
    pub(in crate::store::search) const ORDINAL: usize = 7;
    pub(in crate::store::search) const START: usize = 8;
    pub(in crate::store::search) const END: usize = 9;
    pub(in crate::store::search) const CHUNK: usize = 10;
    pub(in crate::store::search) const VECTOR: usize = 11;
    /// As it was while the statement ran.
    pub(in crate::store::search) const REVISION: usize = 12;
    /// Rows of the vector search, those of them that are too far, and rows of the full-text search.
    pub(in crate::store::search) const NEAREST: usize = 13;
    pub(in crate::store::search) const FAR: usize = 14;
    pub(in crate::store::search) const MATCHES: usize = 15;
    /// Few documents match the filter, and all their vectors were compared.
    pub(in crate::store::search) const COMPARED: usize = 16;
}

/// The statement of a search. It returns at least one row, whose id is null when nothing was found.
pub(super) fn write<'a>(
    entry: &Entry,
    query: &'a Query,
    settings: &'a SearchSettings,
    reach: Reach,
) -> (String, Parameters<'a>) {
    let mut writer = Writer::new(entry, query, settings, reach);
    if let Some(vector) = query.vector() {
        writer.nearest(vector);
    }
    if let Some(words) = query.words() {
        writer.matches(words);
    }
    let order = writer.found();
    let results = writer.best_of_document(order);
    let sql = writer.select(results, order);
    (sql, writer.parameters)
}

struct Writer<'e, 'a> {
    entry: &'e Entry,
    query: &'a Query,
    settings: &'a SearchSettings,
    reach: Reach,
    parameters: Parameters<'a>,
    /// The parts so far, in order.
    ctes: Vec<String>,
    /// The condition of the filter, on a document `d`.
    filter: Option<String>,
    /// What the key of a document must be: none of those that are left out.
    not_excluded: Option<String>,
    /// The rows of each search, as a clause; empty for all of them.
    limit: String,
    /// What a distance must be.
    near: Option<String>,
    /// The documents that match the filter are looked for first.
    is_gated: bool,
}

impl<'e, 'a> Writer<'e, 'a> {
    fn new(entry: &'e Entry, query: &'a Query, settings: &'a SearchSettings, reach: Reach) -> Self {
        let mut parameters = Parameters::default();
        let filter = settings.filter.as_ref().map(|filter| filter.sql(entry.functions(), &mut parameters));
        let not_excluded = (!settings.exclude.is_empty())
            .then(|| format!("<> ALL(${})", parameters.push(&settings.exclude[..], Type::INT8_ARRAY)));
        let limit = match reach.rows {
            Some(rows) => format!("LIMIT ${}", parameters.push(rows as i64, Type::INT8)),
            None => String::new(),
        };
        let near = settings.max_distance.map(|max| format!("<= ${}", parameters.push(max, Type::FLOAT8)));
        let is_gated = reach.by_index && query.vector().is_some() && is_gated(&entry.collection, settings);
        Self {
            entry,
            query,
            settings,
            reach,
            parameters,
            ctes: Vec::new(),
            filter,
            not_excluded,
            limit,
            near,
            is_gated,
        }
    }

    fn with(&mut self, name: &str, sql: &str) {
        self.ctes.push(format!("{name} AS {sql}"));
    }

    /// The condition that the key of a document, as `column` has it, is not left out.
    fn not_excluded(&self, column: &str) -> Option<String> {
        self.not_excluded.as_ref().map(|not_excluded| format!("{column} {not_excluded}"))
    }

    /// `nearest`: the vector search.
    fn nearest(&mut self, vector: &'a [f32]) {
        let definition = &self.entry.collection.definition;
        let Tables { embeddings, extension, .. } = &self.entry.tables;
        let value = VectorValue { values: vector, vector_type: definition.vector_type };
        let number = self.parameters.push(value, self.entry.types.one.clone());
        let distance = format!("e.embedding OPERATOR({extension}.{}) ${number}", definition.distance.operator());
        // No index serves an expression of the distance.
        let every = format!("({distance}) + 0");
        if !self.is_gated {
            let walk = if self.reach.by_index { self.walk(&distance, None) } else { self.compare_matching(&every) };
            self.with("nearest", &format!("MATERIALIZED (\n    {walk})"));
            return;
        }
        self.matching();
        let few = "(SELECT few FROM few)".to_owned();
        // Of a list of keys they are read in order, faster than by a join.
        let listed = "e.document_key = ANY(ARRAY(SELECT key FROM matching))".to_owned();
        let compare = scan(&every, &format!("{embeddings} e"), &[Some(few.clone()), Some(listed)], &self.limit);
        let walk = self.walk(&distance, Some(format!("NOT {few}")));
        self.with("nearest", &format!("MATERIALIZED (\n    ({compare})\n    UNION ALL\n    ({walk}))"));
    }

    /// `matching` and `few`: the first documents that match the filter, and whether that is all of them.
    fn matching(&mut self) {
        let conditions = [self.filter.clone(), self.not_excluded("d.key")];
        let matching = format!(
            "MATERIALIZED (SELECT d.key FROM {} d {}LIMIT {})",
            self.entry.tables.documents,
            all_of(&conditions),
            MAX_COMPARED + 1
        );
        self.with("matching", &matching);
        self.with("few", &format!("MATERIALIZED (SELECT count(*) <= {MAX_COMPARED} AS few FROM matching)"));
    }

    /// Follows the vector index, with a filter a little farther than asked for.
    fn walk(&mut self, distance: &str, condition: Option<String>) -> String {
        let conditions = [condition, self.filter.clone(), self.not_excluded("e.document_key")];
        let from = self.filtered(&self.entry.tables.embeddings, "e");
        let (Some(rows), Some(_)) = (self.reach.rows, &self.filter) else {
            return scan(distance, &from, &conditions, &self.limit);
        };
        let taken = taken(self.entry.collection.index, rows) as i64;
        let limit = format!("LIMIT ${}", self.parameters.push(taken, Type::INT8));
        let scan = scan(distance, &from, &conditions, &limit);
        format!("SELECT * FROM (\n     {scan}) taken\n     ORDER BY distance + 0 {}", self.limit)
    }

    /// Compares every vector that matches.
    fn compare_matching(&self, distance: &str) -> String {
        let conditions = [self.filter.clone(), self.not_excluded("e.document_key")];
        scan(distance, &self.filtered(&self.entry.tables.embeddings, "e"), &conditions, &self.limit)
    }

    /// The rows of a table, with the documents that the filter looks at.
    fn filtered(&self, table: &str, alias: &str) -> String {
        match &self.filter {
            Some(_) => {
                format!("{table} {alias} JOIN {} d ON d.key = {alias}.document_key", self.entry.tables.documents)
            }
            None => format!("{table} {alias}"),
        }
    }

    /// `matches`: the full-text search.
    fn matches(&mut self, words: &'a Words) {
        let Tables { chunks, .. } = &self.entry.tables;
        let language = &self.entry.collection.definition.text_search_language;
        let (rank, condition) = words.sql(language, "w.words", &mut self.parameters);
        let conditions = [Some(condition), self.filter.clone(), self.not_excluded("w.document_key")];
        let matches = format!(
            "MATERIALIZED (
    SELECT w.document_key, w.chunk, ts_rank(w.words, {rank}, 1)::float8 AS score
    FROM {} {}
    ORDER BY score DESC, w.document_key, w.chunk {})",
            self.filtered(chunks, "w"),
            all_of(&conditions),
            self.limit
        );
        self.with("matches", &matches);
    }

    /// `found`: the rows of the search, or of both of them. Returns what they are ordered by.
    fn found(&mut self) -> &'static str {
        let near = self.near.as_ref().map(|near| format!("WHERE distance {near}")).unwrap_or_default();
        // `+ 0` sorts for real: an iterative scan may return rows slightly out of order, which Postgres does not know.
        let (found, order) = match self.query {
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
            Query::Both { fusion, .. } => (self.fused(fusion, &near), "score DESC"),
        };
        self.with("found", &format!("(\n    {found})"));
        order
    }

    /// Reciprocal rank fusion of `nearest` and `matches`.
    fn fused(&mut self, fusion: &Fusion, near: &str) -> String {
        let constant = self.parameters.push(f64::from(fusion.rank_constant), Type::FLOAT8);
        let vector = self.parameters.push(fusion.vector_weight, Type::FLOAT8);
        let full_text = self.parameters.push(fusion.full_text_weight, Type::FLOAT8);
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

    /// `best`: the first chunk of each document, where that is asked for. Returns the name of the rows to show.
    fn best_of_document(&mut self, order: &str) -> &'static str {
        if self.entry.collection.definition.chunking.is_none() || !self.settings.group_by_document {
            return "found";
        }
        let best = format!("(SELECT DISTINCT ON (document_key) * FROM found ORDER BY document_key, {order}, chunk)");
        self.with("best", &best);
        "best"
    }

    /// The whole statement: the first of the rows, with what of their documents is asked for, and what the searches saw.
    fn select(&mut self, results: &str, order: &str) -> String {
        let SearchSettings { with_text, with_metadata, include_vector, include_full_text, .. } = *self.settings;
        let Tables { documents, chunks, embeddings, internal, extension, .. } = &self.entry.tables;
        let send = format!("{extension}.{}_send", self.entry.collection.definition.vector_type.name());
        let is_chunked = self.entry.collection.definition.chunking.is_some();
        let mut joins = format!("LEFT JOIN {documents} d ON d.key = f.document_key");
        if is_chunked {
            joins += &format!("\nLEFT JOIN {chunks} c ON c.document_key = f.document_key AND c.chunk = f.chunk");
        }
        if include_vector {
            joins += &format!("\nLEFT JOIN {embeddings} v ON v.document_key = f.document_key AND v.chunk = f.chunk");
        }
        let limit = self.parameters.push(self.settings.limit as i64, Type::INT8);
        format!(
            "-- search
WITH {ctes}
SELECT d.id, {text}, {metadata}, f.distance, f.score, f.vector_rank, f.full_text_rank, {chunk}, {vector},
       s.revision, s.nearest, s.far, s.matches, s.compared
FROM ({seen}) s
LEFT JOIN (SELECT * FROM {results} ORDER BY {order}, document_key, chunk LIMIT ${limit}) f ON true
{joins}
ORDER BY f.{order}, f.document_key, f.chunk",
            ctes = self.ctes.join(",\n"),
            text = if with_text && (!is_chunked || include_full_text) { "d.text" } else { "NULL::text" },
            metadata = if with_metadata { "d.metadata" } else { "NULL::jsonb" },
            chunk = match (is_chunked, with_text) {
                (false, _) => "NULL::int, NULL::int, NULL::int, NULL::text",
                (true, true) => "c.ordinal, c.start_char, c.end_char, coalesce(c.text, d.text)",
                (true, false) => "c.ordinal, c.start_char, c.end_char, NULL::text",
            },
            vector = if include_vector { format!("{send}(v.embedding)") } else { "NULL::bytea".to_owned() },
            seen = self.seen(internal),
        )
    }

    /// The revision of the collection, and what the searches saw.
    fn seen(&self, internal: &str) -> String {
        let count = |from: &str| format!("(SELECT count(*) FROM {from})");
        let zero = || "0::bigint".to_owned();
        let has_vector = self.query.vector().is_some();
        let far = self.near.as_ref().filter(|_| has_vector);
        format!(
            "SELECT revision, {nearest} AS nearest, {far} AS far, {matches} AS matches, {compared} AS compared
      FROM {internal}.collections WHERE id = {id}",
            nearest = if has_vector { count("nearest") } else { zero() },
            far = far.map_or_else(zero, |near| count(&format!("nearest WHERE NOT distance {near}"))),
            matches = if self.query.words().is_some() { count("matches") } else { zero() },
            compared = if self.is_gated { "(SELECT few FROM few)" } else { "false" },
            id = self.entry.collection.id,
        )
    }
}

/// The rows of a table with vectors, nearest first.
fn scan(distance: &str, from: &str, conditions: &[Option<String>], limit: &str) -> String {
    let condition = all_of(conditions);
    format!(
        "SELECT e.document_key, e.chunk, {distance} AS distance
     FROM {from}
     {condition}ORDER BY distance {limit}"
    )
}

fn all_of(conditions: &[Option<String>]) -> String {
    let conditions: Vec<&str> = conditions.iter().flatten().map(String::as_str).collect();
    if conditions.is_empty() { String::new() } else { format!("WHERE {} ", conditions.join(" AND ")) }
}

#[cfg(test)]
mod tests;
