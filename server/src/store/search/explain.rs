//! Explains how a search ran, from the plan that Postgres executed.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::{Query, SearchSettings, statement::Coded};
use crate::store::{Store, StoreError, catalog::Entry, connection::Connection};

/// How a search ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Explanation {
    /// The node that read the vectors or, in a search by words alone, the texts.
    pub plan_node: String,
    /// The index that it used. Empty: none.
    pub index: String,
    /// Why no vector index was used.
    pub no_index_reason: String,
    pub rows_scanned: i64,
    pub rows_filtered: i64,
    pub notes: Vec<String>,
    /// The plan as Postgres returns it.
    pub plan_json: String,
}

/// A note for searches by codes.
const LONG_STRINGS: &str = "codes have the first 64 characters of a string, so the search also read the documents whose \
                            strings begin like a longer one of the filter";

/// The kind of a run.
pub(super) struct How<'e> {
    /// Whether it was the exact run that completes a short result.
    pub(super) filled_up: bool,
    /// The codes that it read.
    pub(super) by_codes: Option<&'e Coded<'e>>,
}

/// Runs a statement once more to measure it.
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
    /// Describes the plan of the last run.
    pub(super) async fn explain(
        &self,
        entry: &Entry,
        query: &Query,
        settings: &SearchSettings,
        plan: Value,
        how: How<'_>,
    ) -> Result<Explanation, StoreError> {
        let How { filled_up, by_codes } = how;
        let mut explanation = Explanation {
            plan_json: serde_json::to_string_pretty(&plan).unwrap_or_default(),
            ..Explanation::default()
        };
        let mut nodes = Vec::new();
        collect(&plan[0]["Plan"], &mut nodes);
        // The alias of the table in the statement.
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
            // Postgres appends a number to an alias that a statement uses more than once. The plan includes nodes that
            // did not run.
            let is_reader = if by_codes.is_some() {
                node["Relation Name"].as_str().is_some_and(|name| name.starts_with(&entry.tables.codes_stem))
            } else {
                node["Alias"].as_str().is_some_and(|name| name.split('_').next() == Some(alias))
            };
            if is_reader && loops > 0.0 && explanation.plan_node.is_empty() {
                explanation.plan_node = text(&node["Node Type"]);
                explanation.index = index_of(node);
                if by_codes.is_some() && explanation.index.is_empty() {
                    // If most codes match, Postgres reads their table instead of an index.
                    explanation.index = text(&node["Relation Name"]);
                }
            }
        }
        if by_codes.is_some() {
            explanation.no_index_reason = match settings.filter {
                Some(_) => {
                    "the search read the codes of documents that match the declared fields, and compared the vectors of the best ones"
                }
                None => {
                    "the vectors have too many dimensions for an index, so the search read their codes, and compared the vectors of the best ones"
                }
            }
            .into();
        } else if let Some(index) = entry.collection.index {
            let stem = format!("{}_{}_", entry.tables.embeddings_stem, index.method());
            // An index on the table of a source can have any name.
            let is_used = match &entry.tables.source {
                Some(_) => self.is_vector_index(entry, &explanation.index).await?,
                None => explanation.index.starts_with(&stem),
            };
            if query.vector().is_some() && is_used {
                explanation.no_index_reason.clear();
            } else if query.vector().is_some() {
                explanation.no_index_reason = no_index_reason(settings, filled_up, &nodes).into();
            }
        } else if query.vector().is_some() {
            explanation.no_index_reason = "the collection has no vector index".into();
        }
        if let Some(filter) = &settings.filter {
            explanation.notes = self.read_notes(entry, Some(filter), None).await?;
            explanation.notes.extend(entry.undeclared_fields(filter));
            if by_codes.is_some_and(|coded| coded.declared.is_cut) {
                explanation.notes.push(LONG_STRINGS.into());
            }
        }
        Ok(explanation)
    }
}

fn no_index_reason(settings: &SearchSettings, filled_up: bool, nodes: &[&Value]) -> &'static str {
    let is_gated = nodes.iter().any(|node| node["Subplan Name"].as_str() == Some("CTE few"));
    if settings.exact {
        "the request asked for an exact search"
    } else if filled_up {
        "the index found too few results, so the search compared every vector that could match"
    } else if is_gated {
        "few documents match the filter, so the search compared all their vectors"
    } else {
        "the planner of Postgres expects that comparing the vectors one by one is faster"
    }
}

/// All nodes of a plan, each before its children.
fn collect<'a>(node: &'a Value, nodes: &mut Vec<&'a Value>) {
    nodes.push(node);
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect(child, nodes);
    }
}

/// The index of a node, or of the bitmap scans below it. A subquery reads something else.
fn index_of(node: &Value) -> String {
    let below = || node["Plans"].as_array().into_iter().flatten().filter(|node| node["Subplan Name"].is_null());
    match text(&node["Index Name"]) {
        name if name.is_empty() => below().map(index_of).find(|name| !name.is_empty()).unwrap_or_default(),
        name => name,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
