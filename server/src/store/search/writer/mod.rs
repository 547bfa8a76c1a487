//! Writes the statement of a search by the shape of its request: one method per part.

mod codes;
mod fusion;
mod words;

use tokio_postgres::types::Type;

use super::{
    Excluded, Query, Ranking, SearchSettings,
    statement::{Reach, UseOfCodes, is_gated, taken},
};
use crate::store::{
    catalog::Entry,
    tables::Tables,
    wire::{Parameters, VectorValue},
};

/// If at most so many documents match a filter, the search compares all their vectors. That takes no longer than to follow
/// the vector index until it has met enough of them, and misses none. The planner cannot decide it: it assumes that a step
/// along a vector index is as cheap as one along a btree. Finding out that more documents match takes a few milliseconds.
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
    /// The revision while the statement ran.
    pub(in crate::store::search) const REVISION: usize = 12;
    /// Rows of the vector search, those of them that are too far, and rows of the full-text search.
    pub(in crate::store::search) const NEAREST: usize = 13;
    pub(in crate::store::search) const FAR: usize = 14;
    pub(in crate::store::search) const MATCHES: usize = 15;
    /// Few documents match the filter, and all their vectors were compared.
    pub(in crate::store::search) const COMPARED: usize = 16;
    /// Some texts that could be among the results were not scored.
    pub(in crate::store::search) const LEFT_OUT_TEXTS: usize = 17;
    /// The statement read the codes of the matches.
    pub(in crate::store::search) const BY_CODES: usize = 18;
    /// Rows among the best that had no code.
    pub(in crate::store::search) const UNCODED: usize = 19;
}

/// The statement of a search. It returns at least one row, whose id is null if nothing was found.
pub(super) fn write<'a>(
    entry: &Entry,
    query: &'a Query,
    ranking: Option<&'a Ranking>,
    settings: &'a SearchSettings,
    reach: Reach<'a>,
) -> (String, Parameters<'a>) {
    let mut writer = Writer::new(entry, query, settings, reach);
    if let Some(ranking) = ranking {
        writer.exclude_words(ranking);
    }
    if let Some(vector) = query.vector() {
        writer.nearest(vector);
    }
    if let Some(ranking) = ranking {
        writer.matches(ranking);
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
    reach: Reach<'a>,
    parameters: Parameters<'a>,
    /// The parts so far, in order.
    ctes: Vec<String>,
    /// The condition of the filter, on a document `d`.
    filter: Option<String>,
    /// The condition on the key of a document: it is not excluded.
    not_excluded: Option<String>,
    /// The rows of each search, as a clause; empty for all of them.
    limit: String,
    /// The condition on the words of a chunk, which begins with the operator, after `NOT`.
    excluded_words: Option<String>,
    /// SQL: some texts that could be among the results were not scored.
    left_out_texts: String,
    /// The condition on a distance.
    near: Option<String>,
    /// The statement first finds the documents that match the filter.
    is_gated: bool,
    /// Whether more match than are compared, if codes are read. `None`: they never are.
    are_more: Option<String>,
}

impl<'e, 'a> Writer<'e, 'a> {
    fn new(entry: &'e Entry, query: &'a Query, settings: &'a SearchSettings, reach: Reach<'a>) -> Self {
        let mut parameters = Parameters::default();
        let filter = settings.filter.as_ref().map(|filter| filter.sql(entry.functions(), &mut parameters));
        let Excluded { keys, ids } = &settings.exclude;
        let not_excluded =
            (!keys.is_empty()).then(|| format!("<> ALL(${})", parameters.push(&keys[..], Type::INT8_ARRAY)));
        let not_excluded = match &entry.tables.source {
            Some(source) if !ids.is_empty() => source.not_excluded(ids, &mut parameters),
            _ => not_excluded,
        };
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
            excluded_words: None,
            left_out_texts: "false".into(),
            near,
            is_gated,
            are_more: None,
        }
    }

    fn with(&mut self, name: &str, sql: &str) {
        self.ctes.push(format!("{name} AS {sql}"));
    }

    /// The condition that the key of a document in this column is not excluded.
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
        // The ways to find the nearest, each under the conditions that those before it leave.
        let mut parts = Vec::new();
        let mut left = Vec::new();
        if let Reach { codes: Some((usage, coded)), rows: Some(rows), .. } = self.reach {
            let candidates = self.settings.candidates(coded.codes, rows);
            // If too many match the declared fields, another index may serve the rest of the filter.
            self.is_gated &= coded.declared.is_partial;
            parts.push(self.compare_coded(coded, usage, rows, candidates, &every));
            if usage == UseOfCodes::Always {
                self.with("nearest", &format!("MATERIALIZED (\n    {})", parts.concat()));
                return;
            }
            left.push("NOT (SELECT coded FROM coded)".to_owned());
        }
        if self.is_gated {
            self.matching(left.first());
            // Postgres reads a list of keys in order, which is faster than a join.
            let listed = "e.document_key = ANY(ARRAY(SELECT key FROM matching))".to_owned();
            let conditions = [Some("(SELECT few FROM few)".to_owned()), Some(listed), self.without_words()];
            parts.push(scan(&every, &format!("{embeddings} e"), &conditions, &self.limit));
            left.push("NOT (SELECT few FROM few)".to_owned());
        }
        parts.push(if self.reach.by_index {
            self.walk(&distance, (!left.is_empty()).then(|| left.join(" AND ")))
        } else {
            self.compare_matching(&every)
        });
        let nearest = match &parts[..] {
            [part] => part.clone(),
            parts => format!("({})", parts.join(")\n    UNION ALL\n    (")),
        };
        self.with("nearest", &format!("MATERIALIZED (\n    {nearest})"));
    }

    /// `matching` and `few`: the first documents that match the filter, and whether these are all. Under a condition, if there
    /// is one.
    fn matching(&mut self, condition: Option<&String>) {
        let conditions = [condition.cloned(), self.filter.clone(), self.not_excluded("d.key")];
        let matching = format!(
            "MATERIALIZED (SELECT d.key FROM {} d {}LIMIT {})",
            self.entry.tables.documents,
            all_of(&conditions),
            MAX_COMPARED + 1
        );
        self.with("matching", &matching);
        let condition = condition.map(|condition| format!("{condition} AND ")).unwrap_or_default();
        self.with("few", &format!("MATERIALIZED (SELECT {condition}count(*) <= {MAX_COMPARED} AS few FROM matching)"));
    }

    /// Follows the vector index, with a filter a little farther than asked for.
    fn walk(&mut self, distance: &str, condition: Option<String>) -> String {
        let conditions = [condition, self.filter.clone(), self.not_excluded("e.document_key"), self.without_words()];
        let from = self.vectors();
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
        let conditions = [self.filter.clone(), self.not_excluded("e.document_key"), self.without_words()];
        scan(distance, &self.vectors(), &conditions, &self.limit)
    }

    /// The vectors `e`, with the documents `d` that the filter looks at.
    fn vectors(&self) -> String {
        let Tables { embeddings, joined, .. } = &self.entry.tables;
        if self.filter.is_some() { joined.clone() } else { format!("{embeddings} e") }
    }

    /// The words `w`, with the documents that the filter looks at.
    fn chunks(&self) -> String {
        let Tables { chunks, documents, .. } = &self.entry.tables;
        match &self.filter {
            Some(_) => format!("{chunks} w JOIN {documents} d ON d.key = w.document_key"),
            None => format!("{chunks} w"),
        }
    }

    /// `found`: the rows of the search, or of both searches. Returns their order.
    fn found(&mut self) -> &'static str {
        let near = self.near.as_ref().map(|near| format!("WHERE distance {near}")).unwrap_or_default();
        // `+ 0` makes Postgres sort: an iterative scan may return rows slightly out of order, which Postgres does not know.
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

    /// `best`: the first chunk of each document, if the request asks for it. Returns the name of the rows to show.
    fn best_of_document(&mut self, order: &str) -> &'static str {
        if self.entry.collection.definition.chunking.is_none() || !self.settings.group_by_document {
            return "found";
        }
        let best = format!("(SELECT DISTINCT ON (document_key) * FROM found ORDER BY document_key, {order}, chunk)");
        self.with("best", &best);
        "best"
    }

    /// The whole statement: the first rows with the requested parts of their documents, and the counts of the searches.
    fn select(&mut self, results: &str, order: &str) -> String {
        let SearchSettings { with_text, with_metadata, include_vector, include_full_text, .. } = *self.settings;
        let tables = &self.entry.tables;
        let Tables { documents, chunks, embeddings, internal, extension, .. } = tables;
        let send = format!("{extension}.{}_send", self.entry.collection.definition.vector_type.name());
        let is_chunked = self.entry.collection.definition.chunking.is_some();
        let mut joins = format!("LEFT JOIN {documents} d ON {}", tables.on_document("f.document_key"));
        if is_chunked {
            joins += &format!("\nLEFT JOIN {chunks} c ON c.document_key = f.document_key AND c.chunk = f.chunk");
        }
        let vector = if tables.source.is_some() { "d.embedding" } else { "v.embedding" };
        if include_vector && tables.source.is_none() {
            joins += &format!("\nLEFT JOIN {embeddings} v ON v.document_key = f.document_key AND v.chunk = f.chunk");
        }
        let limit = self.parameters.push(self.settings.limit as i64, Type::INT8);
        format!(
            "-- search
WITH {ctes}
SELECT d.id, {text}, {metadata}, f.distance, f.score, f.vector_rank, f.full_text_rank, {chunk}, {vector},
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
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
            vector = if include_vector { format!("{send}({vector})") } else { "NULL::bytea".to_owned() },
            seen = self.seen(internal),
        )
    }

    /// The revision of the collection, and the counts of the searches.
    fn seen(&self, internal: &str) -> String {
        let count = |from: &str| format!("(SELECT count(*) FROM {from})");
        let zero = || "0::bigint".to_owned();
        let has_vector = self.query.vector().is_some();
        let far = self.near.as_ref().filter(|_| has_vector);
        let few = if self.is_gated { "(SELECT few FROM few)" } else { "false" };
        let (compared, by_codes, uncoded) = match &self.are_more {
            Some(are_more) => (
                format!("CASE WHEN (SELECT coded FROM coded) THEN NOT {are_more} ELSE {few} END"),
                "(SELECT coded FROM coded)",
                count("candidates WHERE estimate IS NULL"),
            ),
            None => (few.to_owned(), "false", zero()),
        };
        format!(
            "SELECT revision, {nearest} AS nearest, {far} AS far, {matches} AS matches, {compared} AS compared,
             {left_out_texts} AS left_out_texts, {by_codes} AS by_codes, {uncoded} AS uncoded
      FROM {internal}.collections WHERE id = {id}",
            nearest = if has_vector { count("nearest") } else { zero() },
            far = far.map_or_else(zero, |near| count(&format!("nearest WHERE NOT distance {near}"))),
            matches = if self.query.words().is_some() { count("matches") } else { zero() },
            left_out_texts = self.left_out_texts,
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
