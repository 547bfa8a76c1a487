//! How a search was done, read from the plan that Postgres ran.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::{Query, SearchSettings};
use crate::store::{Store, StoreError, catalog::Entry, connection::Connection};

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
            explanation.notes = self.read_notes(entry, Some(filter), None).await?;
        }
        Ok(explanation)
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
