//! Nearest neighbours: the query, its settings, and what its result stands for.

use std::time::{Duration, Instant};

use super::{
    Collection, IndexKind, Store, StoreError, StoredDocument,
    collections::{Entry, Tables},
    documents::{collect_bounded, read_document},
    wire::VectorValue,
};

/// How to search.
#[derive(Clone, Debug)]
pub struct SearchSettings {
    pub limit: usize,
    /// Compare with every vector.
    pub exact: bool,
    /// Candidates of an HNSW search.
    pub ef_search: Option<i32>,
    /// Lists of an IVFFlat search.
    pub probes: Option<i32>,
    pub include_vector: bool,
    /// Key of a document to leave out.
    pub exclude: Option<i64>,
    /// When to give up.
    pub deadline: Instant,
    /// Longest time for the exact search that fills up a short result.
    pub fill_up: Duration,
    /// Most bytes of documents to return.
    pub max_bytes: usize,
}

/// A document that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    pub document: StoredDocument,
    /// What the operator of the collection gives.
    pub distance: f64,
}

/// What a result stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Every vector was compared.
    Exact,
    /// An index was used.
    Approximate,
    /// The index gave too few, and there was no time to compare every vector.
    Truncated,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// Nearest first.
    pub hits: Vec<Hit>,
    pub completeness: Completeness,
    /// Waiting for a connection.
    pub wait: Duration,
    /// Running the query.
    pub database: Duration,
}

/// pgvector's largest `hnsw.ef_search`.
pub const MAX_EF_SEARCH: i32 = 1_000;
/// pgvector's default `hnsw.ef_search`: fewer candidates are never worth it.
const MIN_EF_SEARCH: i32 = 40;

#[derive(Debug)]
pub(super) struct Statements {
    /// With the index. Without vectors and with.
    nearest: [String; 2],
    /// Without it.
    exact: [String; 2],
    iterative_scan: bool,
}

impl Statements {
    pub(super) fn new(tables: &Tables, collection: &Collection, iterative_scan: bool) -> Self {
        let Tables { documents, embeddings, internal, extension, .. } = tables;
        let distance = format!("e.embedding OPERATOR({extension}.{}) $1", collection.definition.distance.operator());
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
                vector_out = if vector.is_empty() { "" } else { ", n.embedding" },
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

/// One run of a statement.
struct Run {
    hits: Vec<Hit>,
    /// As it was while the statement ran; `None` when nothing was found.
    revision: Option<i64>,
    wait: Duration,
    database: Duration,
}

impl Store {
    /// The documents nearest to a vector.
    pub async fn search(
        &self,
        collection: &Collection,
        vector: &[f32],
        settings: &SearchSettings,
    ) -> Result<Found, StoreError> {
        let name = &collection.definition.name;
        self.with_collection(name, |entry| async move {
            if entry.collection.id != collection.id {
                // The vector was made for the one that is gone.
                return Err(StoreError::CollectionReplaced(name.clone()));
            }
            let index = entry.collection.index.filter(|_| !settings.exact);
            let run = self.run_search(&entry, index, vector, settings, settings.deadline).await?;
            if run.revision.is_some_and(|revision| revision != entry.collection.revision) {
                if index.is_some() {
                    return Err(StoreError::Stale(None));
                }
                // Exact is exact, whatever has changed; the next search reads the collection anew.
                self.forget(name);
            }
            let completeness = if index.is_some() { Completeness::Approximate } else { Completeness::Exact };
            let found = Found { hits: run.hits, completeness, wait: run.wait, database: run.database };
            if found.hits.len() >= settings.limit || index.is_none() {
                return Ok(found);
            }
            self.fill_up(&entry, vector, settings, found).await
        })
        .await
    }

    /// Searches once more without the index, which gave fewer results than asked for.
    async fn fill_up(
        &self,
        entry: &Entry,
        vector: &[f32],
        settings: &SearchSettings,
        found: Found,
    ) -> Result<Found, StoreError> {
        let deadline = settings.deadline.min(Instant::now() + settings.fill_up);
        let run = self.run_search(entry, None, vector, settings, deadline);
        match tokio::time::timeout_at(deadline.into(), run).await {
            Ok(Ok(run)) => Ok(Found {
                hits: run.hits,
                completeness: Completeness::Exact,
                wait: found.wait + run.wait,
                database: found.database + run.database,
            }),
            Err(_) | Ok(Err(StoreError::TimedOut)) => Ok(Found { completeness: Completeness::Truncated, ..found }),
            Ok(Err(error)) => Err(error),
        }
    }

    /// One round trip: settings, query and commit are sent together.
    async fn run_search(
        &self,
        entry: &Entry,
        index: Option<IndexKind>,
        vector: &[f32],
        settings: &SearchSettings,
        deadline: Instant,
    ) -> Result<Run, StoreError> {
        let began = Instant::now();
        let connection = self.connection().await?;
        let connected = Instant::now();

        let statements = if index.is_some() { &entry.search.nearest } else { &entry.search.exact };
        let statement = connection.prepare_cached(&statements[usize::from(settings.include_vector)]).await?;
        let begin = begin(index, entry.search.iterative_scan, settings, deadline.saturating_duration_since(connected));
        let vector = VectorValue { values: vector, vector_type: entry.collection.definition.vector_type };
        // One more, in place of the one that is left out.
        let fetched = (settings.limit + usize::from(settings.exclude.is_some())) as i64;
        let query = async {
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&vector, &fetched];
            let rows = connection.query_raw(&statement, parameters).await?;
            collect_bounded(rows, settings.max_bytes, |row| {
                let document = read_document(row, settings.include_vector.then_some(6))?;
                let hit = Hit { document, distance: row.get(3) };
                Ok((row.get::<_, i64>(4), row.get::<_, Option<i64>>(5), hit))
            })
            .await
        };
        let (begun, rows, committed) =
            futures_util::join!(connection.batch_execute(&begin), query, connection.batch_execute("COMMIT"));
        begun?;
        let rows = rows?;
        committed?;
        connection.done();

        let revision = rows.first().and_then(|(_, revision, _)| *revision);
        let hits = rows.into_iter().filter(|(key, ..)| settings.exclude != Some(*key)).map(|(.., hit)| hit);
        Ok(Run {
            hits: hits.take(settings.limit).collect(),
            revision,
            wait: connected - began,
            database: connected.elapsed(),
        })
    }
}

/// Opens the transaction and makes its settings: a pooled connection must not keep them.
fn begin(index: Option<IndexKind>, iterative_scan: bool, settings: &SearchSettings, timeout: Duration) -> String {
    let timeout = timeout.as_millis().max(1);
    let index = match index {
        None => String::new(),
        Some(IndexKind::Hnsw { .. }) => {
            let limit = i32::try_from(settings.limit).unwrap_or(MAX_EF_SEARCH);
            let wanted = settings.ef_search.unwrap_or(MIN_EF_SEARCH);
            let ef_search = wanted.max(limit).min(MAX_EF_SEARCH);
            let iterative = if iterative_scan { "SET LOCAL hnsw.iterative_scan = relaxed_order;" } else { "" };
            format!("SET LOCAL hnsw.ef_search = {ef_search};{iterative}")
        }
        Some(IndexKind::IvfFlat { lists }) => {
            let probes = settings.probes.unwrap_or_else(|| f64::from(lists).sqrt().ceil() as i32);
            let iterative = if iterative_scan { "SET LOCAL ivfflat.iterative_scan = relaxed_order;" } else { "" };
            format!("SET LOCAL ivfflat.probes = {probes};{iterative}")
        }
    };
    format!(
        "BEGIN READ ONLY;{index}SET LOCAL plan_cache_mode = force_custom_plan;SET LOCAL statement_timeout = {timeout}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(limit: usize) -> SearchSettings {
        SearchSettings {
            limit,
            exact: false,
            ef_search: None,
            probes: None,
            include_vector: false,
            exclude: None,
            deadline: Instant::now(),
            fill_up: Duration::ZERO,
            max_bytes: 0,
        }
    }

    #[test]
    fn ef_search_is_never_below_the_limit() {
        let hnsw = Some(IndexKind::Hnsw { m: 16, ef_construction: 64 });
        let sql = |settings: &SearchSettings| begin(hnsw, true, settings, Duration::from_secs(1));
        assert!(sql(&settings(10)).contains("ef_search = 40;"));
        assert!(sql(&settings(100)).contains("ef_search = 100;"));
        assert!(sql(&settings(1_001)).contains("ef_search = 1000;"));
        let chosen = SearchSettings { ef_search: Some(20), ..settings(5) };
        assert!(sql(&chosen).contains("ef_search = 20;"));
    }

    #[test]
    fn probes_are_the_root_of_the_lists() {
        let sql = begin(Some(IndexKind::IvfFlat { lists: 101 }), true, &settings(10), Duration::from_secs(1));
        assert!(sql.contains("probes = 11;"));
        let sql = begin(Some(IndexKind::IvfFlat { lists: 1 }), false, &settings(10), Duration::from_secs(1));
        assert!(sql.contains("probes = 1;") && !sql.contains("iterative"));
    }
}
