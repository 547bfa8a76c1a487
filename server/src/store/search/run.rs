//! One run of a search: the transaction, its settings, and what comes back.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::{Row, types::ToSql};

use super::{
    Chunk, Hit, MAX_EF_SEARCH, Query, SearchSettings, explain,
    statement::{Reach, column, is_gated, shaped, taken},
};
use crate::store::{
    IndexKind, Store, StoreError, StoredDocument,
    catalog::Entry,
    connect::Connection,
    documents::{collect_bounded, read_document},
    wire::{Json, VectorColumn, VectorValue},
};

/// pgvector's default `hnsw.ef_search`: fewer candidates are never worth it.
const MIN_EF_SEARCH: i32 = 40;
/// With a filter: what matches may be far away, where the ways of the graph are rough.
const MIN_EF_SEARCH_FILTERED: i32 = 200;
/// With a filter, times the lists that are read without: what matches may be in others than the nearest.
const PROBES_FILTERED: i32 = 4;
/// Of statements by shape: compiling one takes longer than most of them run, and nobody reads that a word stands for nothing.
const SHAPED_SETTINGS: &str = "SET LOCAL jit = off;SET LOCAL client_min_messages = warning";
/// Vectors that a filtered search meets along the HNSW index before it compares all that match instead.
const MAX_SCAN_TUPLES: usize = 5_000;

/// One run of a statement.
#[derive(Default)]
pub(super) struct Run {
    pub(super) hits: Vec<Hit>,
    /// As it was while the statement ran; `None` when that found nothing.
    pub(super) revision: Option<i64>,
    /// Rows of the vector search.
    pub(super) nearest: usize,
    /// Rows of the full-text search.
    pub(super) matches: usize,
    /// Some of the nearest are too far.
    pub(super) has_farther: bool,
    /// Few documents match the filter, and all their vectors were compared.
    pub(super) compared: bool,
    pub(super) plan: Option<Value>,
    pub(super) wait: Duration,
    pub(super) database: Duration,
}

impl Run {
    /// With the time of the run before.
    pub(super) fn after(self, before: &Self) -> Self {
        Self { wait: before.wait + self.wait, database: before.database + self.database, ..self }
    }
}

impl Store {
    /// One round trip: settings, query and commit are sent together.
    pub(super) async fn run_search(
        &self,
        entry: &Entry,
        query: &Query,
        settings: &SearchSettings,
        reach: Reach,
        deadline: Instant,
    ) -> Result<Run, StoreError> {
        let began = Instant::now();
        let connection = self.connection().await?;
        let connected = Instant::now();
        let timeout = deadline.saturating_duration_since(connected);
        let run = match query {
            Query::Nearest(vector) if is_plain(entry, settings) => {
                let begin = begin(entry, settings, reach.by_index, settings.limit, timeout);
                run_plain(&connection, entry, vector, settings, reach, &begin).await?
            }
            _ => {
                let rows = reach.rows.unwrap_or(settings.limit);
                let begin = format!("{};{SHAPED_SETTINGS}", begin(entry, settings, reach.by_index, rows, timeout));
                run_shaped(&connection, entry, query, settings, reach, &begin).await?
            }
        };
        connection.done();
        Ok(Run { wait: connected - began, database: connected.elapsed(), ..run })
    }
}

/// Whether the prepared statements do.
fn is_plain(entry: &Entry, settings: &SearchSettings) -> bool {
    let SearchSettings { filter, exclude, max_distance, with_text, with_metadata, .. } = settings;
    filter.is_none()
        && exclude.len() <= 1
        && max_distance.is_none()
        && *with_text
        && *with_metadata
        && entry.collection.definition.chunking.is_none()
}

async fn run_plain(
    connection: &Connection,
    entry: &Entry,
    vector: &[f32],
    settings: &SearchSettings,
    reach: Reach,
    begin: &str,
) -> Result<Run, StoreError> {
    let statements = if reach.by_index { &entry.search.nearest } else { &entry.search.exact };
    let sql = &statements[usize::from(settings.include_vector)];
    let statement = connection.prepare_cached(sql).await?;
    let vector = VectorValue { values: vector, vector_type: entry.collection.definition.vector_type };
    // One more, in place of the one that is left out.
    let fetched = (settings.limit + settings.exclude.len()) as i64;
    let parameters: [&(dyn ToSql + Sync); 2] = [&vector, &fetched];
    let query = async {
        let rows = connection.query_raw(&statement, parameters).await?;
        collect_bounded(rows, settings.max_bytes, |row| {
            let document = read_document(row, settings.include_vector.then_some(6))?;
            let hit = Hit {
                document,
                distance: row.get(3),
                score: None,
                chunk: None,
                vector_rank: None,
                full_text_rank: None,
            };
            Ok((row.get::<_, i64>(4), row.get::<_, Option<i64>>(5), hit))
        })
        .await
    };
    let plan = async {
        if !settings.explain {
            return Ok(None);
        }
        let typed: Vec<_> = parameters.into_iter().zip(statement.params().iter().cloned()).collect();
        explain::plan(connection, sql, &typed).await
    };
    let (begun, rows, plan, committed) =
        futures_util::join!(connection.batch_execute(begin), query, plan, connection.batch_execute("COMMIT"));
    begun?;
    let rows = rows?;
    let plan = plan?;
    committed?;
    let revision = rows.first().and_then(|(_, revision, _)| *revision);
    let hits = rows.into_iter().filter(|(key, ..)| !settings.exclude.contains(key)).map(|(.., hit)| hit);
    let hits: Vec<Hit> = hits.take(settings.limit).collect();
    Ok(Run { nearest: hits.len(), hits, revision, plan, ..Run::default() })
}

async fn run_shaped(
    connection: &Connection,
    entry: &Entry,
    query: &Query,
    settings: &SearchSettings,
    reach: Reach,
    begin: &str,
) -> Result<Run, StoreError> {
    // The driver knows the type of the extension from a statement that was prepared. It would ask for it otherwise, while
    // the rows that it has not read yet stand in the way of the answer.
    let vector_type = if query.vector().is_some() || settings.include_vector {
        connection.prepare_cached(&entry.search.nearest[0]).await?.params().first().cloned()
    } else {
        None
    };
    let (sql, parameters) = shaped(entry, query, settings, reach, vector_type);
    let typed = parameters.typed();
    let rows = async {
        let rows = connection.query_typed_raw(&sql, typed.iter().cloned()).await?;
        collect_bounded(rows, settings.max_bytes, |row| read_shaped(row, settings)).await
    };
    let plan = async { if settings.explain { explain::plan(connection, &sql, &typed).await } else { Ok(None) } };
    let (begun, rows, plan, committed) =
        futures_util::join!(connection.batch_execute(begin), rows, plan, connection.batch_execute("COMMIT"));
    begun?;
    let rows = rows?;
    let plan = plan?;
    committed?;
    let mut rows = rows.into_iter();
    let Some((run, first)) = rows.next() else {
        return Err(StoreError::Stale(None)); // the registry has it no more
    };
    let hits = first.into_iter().chain(rows.filter_map(|(_, hit)| hit)).collect();
    Ok(Run { hits, plan, ..run })
}

/// What a row says of the run, and what it found.
fn read_shaped(row: &Row, settings: &SearchSettings) -> Result<(Run, Option<Hit>), StoreError> {
    let count = |column: usize| row.get::<_, i64>(column) as usize;
    let run = Run {
        revision: Some(row.get(column::REVISION)),
        nearest: count(column::NEAREST),
        matches: count(column::MATCHES),
        has_farther: count(column::FAR) > 0,
        compared: row.get(column::COMPARED),
        ..Run::default()
    };
    let Some(id) = row.get::<_, Option<String>>(column::ID) else {
        return Ok((run, None));
    };
    let metadata = row.try_get::<_, Option<Json<&str>>>(column::METADATA)?;
    let vector = if settings.include_vector { row.try_get::<_, Option<VectorColumn>>(column::VECTOR)? } else { None };
    let chunk = row.get::<_, Option<i32>>(column::ORDINAL).map(|ordinal| Chunk {
        ordinal,
        text: row.get::<_, Option<String>>(column::CHUNK).unwrap_or_default(),
        start: row.get(column::START),
        end: row.get(column::END),
    });
    let document = StoredDocument {
        id,
        text: row.get::<_, Option<String>>(column::TEXT).unwrap_or_default(),
        metadata: metadata.map_or_else(|| "{}".to_owned(), |Json(metadata)| metadata.to_owned()),
        vector: vector.map(|VectorColumn(values)| values),
        version: None,
    };
    let hit = Hit {
        document,
        distance: row.get(column::DISTANCE),
        score: row.get(column::SCORE),
        chunk,
        vector_rank: row.get(column::VECTOR_RANK),
        full_text_rank: row.get(column::FULL_TEXT_RANK),
    };
    Ok((run, Some(hit)))
}

/// Opens the transaction and makes its settings: a pooled connection must not keep them.
///
/// `rows` is how many the vector search shall find.
fn begin(entry: &Entry, settings: &SearchSettings, by_index: bool, rows: usize, timeout: Duration) -> String {
    let index = entry.collection.index.filter(|_| by_index);
    let mut index_settings = index.map(|index| index_settings(index, settings, rows)).unwrap_or_default();
    if let (Some(index), true) = (index, entry.search.iterative_scan) {
        index_settings += &format!("SET LOCAL {}.iterative_scan = relaxed_order;", index.method());
        if matches!(index, IndexKind::Hnsw { .. }) && is_gated(&entry.collection, settings) {
            // Farther than what still has enough matches; comparing all that match takes no longer then.
            let most = MAX_SCAN_TUPLES.max(taken(Some(index), rows).saturating_mul(20));
            index_settings += &format!("SET LOCAL hnsw.max_scan_tuples = {most};");
        }
    }
    let timeout = timeout.as_millis().max(1);
    format!(
        "BEGIN READ ONLY;{index_settings}SET LOCAL plan_cache_mode = force_custom_plan;\
         SET LOCAL statement_timeout = {timeout}"
    )
}

fn index_settings(index: IndexKind, settings: &SearchSettings, rows: usize) -> String {
    let is_filtered = settings.filter.is_some();
    match index {
        IndexKind::Hnsw { .. } => {
            let rows = i32::try_from(rows).unwrap_or(MAX_EF_SEARCH);
            let least = if is_filtered { MIN_EF_SEARCH_FILTERED } else { MIN_EF_SEARCH };
            let ef_search = settings.ef_search.unwrap_or(least).max(rows).min(MAX_EF_SEARCH);
            format!("SET LOCAL hnsw.ef_search = {ef_search};")
        }
        IndexKind::IvfFlat { lists } => {
            let times = if is_filtered { PROBES_FILTERED } else { 1 };
            let probes = settings.probes.unwrap_or_else(|| f64::from(lists).sqrt().ceil() as i32 * times);
            format!("SET LOCAL ivfflat.probes = {probes};")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Filter;

    fn settings(limit: usize) -> SearchSettings {
        SearchSettings {
            limit,
            exact: false,
            ef_search: None,
            probes: None,
            filter: None,
            exclude: Vec::new(),
            max_distance: None,
            group_by_document: false,
            with_text: true,
            with_metadata: true,
            include_vector: false,
            include_full_text: false,
            explain: false,
            deadline: Instant::now(),
            fill_up: Duration::ZERO,
            max_bytes: 0,
        }
    }

    #[test]
    fn ef_search_is_never_below_the_limit() {
        let sql = |settings: &SearchSettings| {
            index_settings(IndexKind::Hnsw { m: 16, ef_construction: 64 }, settings, settings.limit)
        };
        assert!(sql(&settings(10)).contains("ef_search = 40;"));
        assert!(sql(&settings(100)).contains("ef_search = 100;"));
        assert!(sql(&settings(1_001)).contains("ef_search = 1000;"));
        let chosen = SearchSettings { ef_search: Some(20), ..settings(5) };
        assert!(sql(&chosen).contains("ef_search = 20;"));
        let filtered = SearchSettings { filter: Some(Filter::Ids(Vec::new())), ..settings(5) };
        assert!(sql(&filtered).contains("ef_search = 200;"));
    }

    #[test]
    fn probes_are_the_root_of_the_lists() {
        let sql = |lists| index_settings(IndexKind::IvfFlat { lists }, &settings(10), 10);
        assert!(sql(101).contains("probes = 11;"));
        assert!(sql(1).contains("probes = 1;"));
    }
}
