//! One run of a search: the transaction, its settings, and what comes back.

use std::time::{Duration, Instant};

use tokio_postgres::Row;

use super::{
    Chunk, Hit, MAX_EF_SEARCH, Query, SearchSettings, explain,
    statement::{Reach, is_gated, taken},
    writer::{self, column},
};
use crate::store::{
    IndexKind, Store, StoreError, StoredDocument,
    catalog::Entry,
    connection::{Connection, Foreign, Value},
    documents::{collect_bounded, read_document},
    transaction::Transaction,
    wire::{Json, VectorColumn, VectorValue},
};

/// pgvector's default `hnsw.ef_search`: fewer candidates are never worth it.
const MIN_EF_SEARCH: i32 = 40;
/// With a filter: what matches may be far away, where the ways of the graph are rough.
const MIN_EF_SEARCH_FILTERED: i32 = 200;
/// With a filter, times the lists that are read without: what matches may be in others than the nearest.
const PROBES_FILTERED: i32 = 4;
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
    pub(super) plan: Option<serde_json::Value>,
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
        let connection = self.connection_to(entry).await?;
        let connected = Instant::now();
        let timeout = deadline.saturating_duration_since(connected);
        let run = match query {
            Query::Nearest(vector) if is_plain(entry, settings) => {
                let transaction = transaction(&connection, entry, settings, reach.by_index, settings.limit);
                run_plain(&connection, &transaction.timeout(timeout), entry, vector, settings, reach).await?
            }
            _ => {
                let rows = reach.rows.unwrap_or(settings.limit);
                let transaction = transaction(&connection, entry, settings, reach.by_index, rows)
                    // Compiling a statement takes longer than most of them run.
                    .set("jit", "off")
                    // Nobody reads that a word stands for nothing.
                    .set("client_min_messages", "warning");
                run_written(&connection, &transaction.timeout(timeout), entry, query, settings, reach).await?
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
    transaction: &Transaction<'_>,
    entry: &Entry,
    vector: &[f32],
    settings: &SearchSettings,
    reach: Reach,
) -> Result<Run, StoreError> {
    let statements = if reach.by_index { &entry.search.nearest } else { &entry.search.exact };
    let sql = &statements[usize::from(settings.include_vector)];
    let statement = connection.prepare_cached(sql).await?;
    let vector = VectorValue { values: vector, vector_type: entry.collection.definition.vector_type };
    // One more, in place of the one that is left out.
    let fetched = (settings.limit + settings.exclude.len()) as i64;
    let vector = Foreign { value: &vector, sql_type: &entry.types.one };
    let parameters: [&dyn Value; 2] = [&vector, &fetched];
    let query = async {
        let rows = connection.query_raw(&statement, &parameters).await?;
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
        let typed: Vec<_> = parameters.iter().map(|value| (value.as_sql(), value.sql_type())).collect();
        explain::plan(connection, sql, &typed).await
    };
    let (begun, rows, plan, committed) = futures_util::join!(transaction.begin(), query, plan, transaction.commit());
    begun?;
    let rows = rows?;
    let plan = plan?;
    committed?;
    let revision = rows.first().and_then(|(_, revision, _)| *revision);
    let hits = rows.into_iter().filter(|(key, ..)| !settings.exclude.contains(key)).map(|(.., hit)| hit);
    let hits: Vec<Hit> = hits.take(settings.limit).collect();
    Ok(Run { nearest: hits.len(), hits, revision, plan, ..Run::default() })
}

async fn run_written(
    connection: &Connection,
    transaction: &Transaction<'_>,
    entry: &Entry,
    query: &Query,
    settings: &SearchSettings,
    reach: Reach,
) -> Result<Run, StoreError> {
    let (sql, parameters) = writer::write(entry, query, settings, reach);
    let typed = parameters.typed();
    let rows = async {
        let rows = connection.query_typed_raw(&sql, typed.iter().cloned()).await?;
        collect_bounded(rows, settings.max_bytes, |row| read_written(row, settings)).await
    };
    let plan = async { if settings.explain { explain::plan(connection, &sql, &typed).await } else { Ok(None) } };
    let (begun, rows, plan, committed) = futures_util::join!(transaction.begin(), rows, plan, transaction.commit());
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
fn read_written(row: &Row, settings: &SearchSettings) -> Result<(Run, Option<Hit>), StoreError> {
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

/// The transaction of a run, with the settings of the index. `rows` is how many the vector search shall find.
fn transaction<'c>(
    connection: &'c Connection,
    entry: &Entry,
    settings: &SearchSettings,
    by_index: bool,
    rows: usize,
) -> Transaction<'c> {
    // A generic plan can ignore the vector index.
    let mut transaction = Transaction::read_only(connection).set("plan_cache_mode", "force_custom_plan");
    let Some(index) = entry.collection.index.filter(|_| by_index) else {
        return transaction;
    };
    transaction = match index {
        IndexKind::Hnsw { .. } => transaction.set("hnsw.ef_search", ef_search(settings, rows)),
        IndexKind::IvfFlat { lists } => transaction.set("ivfflat.probes", probes(settings, lists)),
    };
    if entry.search.iterative_scan {
        transaction = transaction.set(&format!("{}.iterative_scan", index.method()), "relaxed_order");
        if matches!(index, IndexKind::Hnsw { .. }) && is_gated(&entry.collection, settings) {
            // Farther than what still has enough matches; comparing all that match takes no longer then.
            let most = MAX_SCAN_TUPLES.max(taken(Some(index), rows).saturating_mul(20));
            transaction = transaction.set("hnsw.max_scan_tuples", most);
        }
    }
    transaction
}

fn ef_search(settings: &SearchSettings, rows: usize) -> i32 {
    let rows = i32::try_from(rows).unwrap_or(MAX_EF_SEARCH);
    let least = if settings.filter.is_some() { MIN_EF_SEARCH_FILTERED } else { MIN_EF_SEARCH };
    settings.ef_search.unwrap_or(least).max(rows).min(MAX_EF_SEARCH)
}

fn probes(settings: &SearchSettings, lists: i32) -> i32 {
    let times = if settings.filter.is_some() { PROBES_FILTERED } else { 1 };
    settings.probes.unwrap_or_else(|| f64::from(lists).sqrt().ceil() as i32 * times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Filter;

    #[test]
    fn ef_search_is_never_below_the_limit() {
        assert_eq!(ef_search(&SearchSettings::of(10), 10), 40);
        assert_eq!(ef_search(&SearchSettings::of(100), 100), 100);
        assert_eq!(ef_search(&SearchSettings::of(1_001), 1_001), 1_000);
        assert_eq!(ef_search(&SearchSettings { ef_search: Some(20), ..SearchSettings::of(5) }, 5), 20);
        let filtered = SearchSettings { filter: Some(Filter::Ids(Vec::new())), ..SearchSettings::of(5) };
        assert_eq!(ef_search(&filtered, 5), 200);
    }

    #[test]
    fn probes_are_the_root_of_the_lists() {
        assert_eq!(probes(&SearchSettings::of(10), 101), 11);
        assert_eq!(probes(&SearchSettings::of(10), 1), 1);
    }
}
