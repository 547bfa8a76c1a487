//! How a search was done, read from the plan that Postgres ran.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::{Query, SearchSettings};
use crate::store::{Bound, Filter, Literal, Store, StoreError, Test, catalog::Entry, connection::Connection};

/// How a search was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Explanation {
    /// The node that read the vectors, or for words alone the texts.
    pub plan_node: String,
    /// The index that it used. Empty: none.
    pub index: String,
    /// Why no vector index was used.
    pub no_index_reason: String,
    pub rows_scanned: i64,
    pub rows_filtered: i64,
    pub notes: Vec<String>,
    /// The plan as Postgres gives it.
    pub plan_json: String,
}

/// Conditions whose types are compared with those of the data.
const MAX_NOTED: usize = 16;
/// Documents that are looked at for these types.
const SAMPLED: i64 = 10_000;

/// Runs a statement once more, to be measured.
pub(super) async fn plan(
    connection: &Connection,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Option<Value>, StoreError> {
    let sql = format!("EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {sql}");
    let row = connection.query_typed_one(&sql, parameters).await?;
    Ok(Some(row.try_get::<_, Value>(0)?))
}

impl Store {
    /// Puts the plan of the last run into words.
    pub(super) async fn explain(
        &self,
        entry: &Entry,
        query: &Query,
        settings: &SearchSettings,
        plan: Value,
        filled_up: bool,
    ) -> Result<Explanation, StoreError> {
        let mut explanation = Explanation {
            plan_json: serde_json::to_string_pretty(&plan).unwrap_or_default(),
            ..Explanation::default()
        };
        let mut nodes = Vec::new();
        collect(&plan[0]["Plan"], &mut nodes);
        // The aliases of the tables in the statement.
        let alias = if query.vector().is_some() { "e" } else { "w" };
        for node in &nodes {
            let number = |key: &str| node[key].as_f64().unwrap_or(0.0);
            let loops = number("Actual Loops");
            let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
            if node["Relation Name"].is_string() {
                explanation.rows_scanned += ((number("Actual Rows") + removed) * loops).round() as i64;
            }
            let filtered = number("Rows Removed by Filter") + number("Rows Removed by Join Filter");
            explanation.rows_filtered += (filtered * loops).round() as i64;
            // Postgres numbers an alias that a statement uses more than once, and names what it did not run too.
            let is_reader = node["Alias"].as_str().is_some_and(|name| name.split('_').next() == Some(alias));
            if is_reader && loops > 0.0 && explanation.plan_node.is_empty() {
                explanation.plan_node = text(&node["Node Type"]);
                explanation.index = index_of(node);
            }
        }
        if let Some(index) = entry.collection.index {
            let stem = format!("{}_{}_", entry.tables.embeddings_stem, index.method());
            if query.vector().is_some() && explanation.index.starts_with(&stem) {
                explanation.no_index_reason.clear();
            } else if query.vector().is_some() {
                explanation.no_index_reason = no_index_reason(settings, filled_up, &nodes).into();
            }
        } else if query.vector().is_some() {
            explanation.no_index_reason = "the collection has no vector index".into();
        }
        if let Some(filter) = &settings.filter {
            explanation.notes = self.notes(entry, filter).await?;
        }
        Ok(explanation)
    }

    /// Comparisons with types that the fields never have.
    async fn notes(&self, entry: &Entry, filter: &Filter) -> Result<Vec<String>, StoreError> {
        let mut tests = Vec::new();
        collect_tests(filter, &mut tests);
        tests.truncate(MAX_NOTED);
        let connection = self.connection_to(entry).await?;
        let sql = format!(
            "-- notes
             SELECT DISTINCT jsonb_typeof(s.value)
             FROM (SELECT d.metadata #> $1 AS value FROM {} d LIMIT {SAMPLED}) s
             WHERE s.value <> 'null' ORDER BY 1",
            entry.tables.documents
        );
        let mut notes = Vec::new();
        for (path, test) in tests {
            let rows = connection.query_typed(&sql, &[(&path, Type::TEXT_ARRAY)]).await?;
            let types: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
            notes.extend(note(path, test, &types));
        }
        connection.done();
        Ok(notes)
    }
}

fn no_index_reason(settings: &SearchSettings, filled_up: bool, nodes: &[&Value]) -> &'static str {
    let is_gated = nodes.iter().any(|node| node["Subplan Name"].as_str() == Some("CTE few"));
    if settings.exact {
        "the search was asked to be exact"
    } else if filled_up {
        "the index gave too few results, so every vector that could match was compared"
    } else if is_gated {
        "few documents match the filter, so all their vectors were compared"
    } else {
        "the planner of Postgres expects that comparing the vectors one by one is faster"
    }
}

/// All nodes of a plan, each before those beneath it.
fn collect<'a>(node: &'a Value, nodes: &mut Vec<&'a Value>) {
    nodes.push(node);
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect(child, nodes);
    }
}

/// The index of a node, or of the bitmap scans beneath it.
fn index_of(node: &Value) -> String {
    let mut nodes = Vec::new();
    collect(node, &mut nodes);
    nodes.iter().map(|node| text(&node["Index Name"])).find(|name| !name.is_empty()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn collect_tests<'a>(filter: &'a Filter, tests: &mut Vec<(&'a [String], &'a Test)>) {
    match filter {
        Filter::Field { path, test } => tests.push((path, test)),
        Filter::All(filters) | Filter::Any(filters) | Filter::None(filters) => {
            filters.iter().for_each(|filter| collect_tests(filter, tests));
        }
        Filter::Ids(_) => {}
    }
}

/// What a caller should know of a test of a field whose values have these types.
fn note(path: &[String], test: &Test, types: &[&str]) -> Option<String> {
    let field = path.join(".");
    let (word, compared) = match test {
        Test::Number(bound, _) => (name_of(*bound), vec!["number"]),
        Test::String(bound, _) => (name_of(*bound), vec!["string"]),
        Test::Time(Bound::LessThan | Bound::AtMost, _) => ("before", vec!["string"]),
        Test::Time(..) => ("since", vec!["string"]),
        Test::StartsWith(_) => ("starts_with", vec!["string"]),
        Test::Equals(literal) => ("equals", vec![type_of(literal)]),
        Test::OneOf(literals) => ("one_of", literals.iter().map(type_of).collect()),
        Test::ContainsAny(_) => ("contains_any", vec!["array"]),
        Test::ContainsAll(_) => ("contains_all", vec!["array"]),
        Test::Exists => ("exists", Vec::new()),
    };
    if types.is_empty() {
        return Some(format!("`{field}` has no value in the first {SAMPLED} documents"));
    }
    if compared.is_empty() || compared.iter().any(|compared| types.contains(compared)) {
        return None;
    }
    let mut wanted: Vec<&str> = compared.into_iter().map(plural).collect();
    wanted.dedup();
    let held: Vec<&str> = types.iter().copied().map(plural).collect();
    Some(format!(
        "`{field}` {word} compares {}, and the field holds {}: nothing matches",
        wanted.join(" and "),
        held.join(" and ")
    ))
}

/// As the API calls it.
fn name_of(bound: Bound) -> &'static str {
    match bound {
        Bound::LessThan => "less_than",
        Bound::AtMost => "at_most",
        Bound::GreaterThan => "greater_than",
        Bound::AtLeast => "at_least",
    }
}

/// As jsonb_typeof calls it.
fn type_of(literal: &Literal) -> &'static str {
    match literal.json.as_bytes().first() {
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'[') => "array",
        Some(b'{') => "object",
        _ => "number",
    }
}

fn plural(json_type: &str) -> &str {
    match json_type {
        "number" => "numbers",
        "string" => "strings",
        "boolean" => "booleans",
        "array" => "lists",
        "object" => "objects",
        other => other,
    }
}
