//! One run of a search: the transaction, its settings, and its result.

use std::time::{Duration, Instant};

use tokio_postgres::{Row, types::Type};

use super::{
    Chunk, Hit, MAX_EF_SEARCH, Query, Ranking, SearchSettings, explain,
    statement::{Plan, Reach, is_gated, taken},
    writer::{self, column},
};
use crate::store::{
    IndexKind, Store, StoreError, StoredDocument,
    catalog::Entry,
    connection::{Connection, Foreign, Statement, Value},
    documents::{collect_bounded, read_document},
    transaction::Transaction,
    wire::{Json, VectorColumn, VectorValue},
};

/// pgvector's default `hnsw.ef_search`: fewer candidates are never worth it.
const MIN_EF_SEARCH: i32 = 40;
/// With a filter: matches may be far away, where the paths of the graph are rough.
const MIN_EF_SEARCH_FILTERED: i32 = 200;
/// With a filter, a search reads this many times the lists: matches may be in lists that are not the nearest.
const PROBES_FILTERED: i32 = 4;
/// Number of vectors that a filtered search meets along the HNSW index before it compares all matches instead.
const MAX_SCAN_TUPLES: usize = 5_000;

/// One run of a statement.
#[derive(Default)]
pub(super) struct Run {
    pub(super) hits: Vec<Hit>,
    /// The revision while the statement ran; `None` if it found nothing.
    pub(super) revision: Option<i64>,
    /// Rows of the vector search.
    pub(super) nearest: usize,
    /// Rows of the full-text search.
    pub(super) matches: usize,
    /// Some of the nearest are too far.
    pub(super) has_farther: bool,
    /// Few documents match the filter, and all their vectors were compared.
    pub(super) compared: bool,
    /// The statement read the codes of the matches.
    pub(super) by_codes: bool,
    /// Rows among the best that had no code.
    pub(super) uncoded: usize,
    /// Some texts that could be among the results were not scored.
    pub(super) left_out_texts: bool,
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
    /// One round trip: settings, query and commit are sent together. A search by words needs another one before it, unless
    /// its `ranking` is known from the run before.
    pub(super) async fn run_search(
        &self,
        entry: &Entry,
        query: &Query,
        ranking: &mut Option<Ranking>,
        settings: &SearchSettings,
        reach: Reach<'_>,
        deadline: Instant,
    ) -> Result<Run, StoreError> {
        let began = Instant::now();
        let connection = self.connection_to(entry).await?;
        let connected = Instant::now();
        if let (Some(words), None) = (query.words(), &ranking) {
            *ranking = Some(self.rank(&connection, entry, words, settings).await?);
        }
        let timeout = deadline.saturating_duration_since(Instant::now());
        let mut run = match query {
            Query::Nearest(vector) if is_plain(entry, settings) && reach.codes.is_none() => {
                let transaction = transaction(&connection, entry, settings, reach, settings.limit, Plan::Custom);
                run_plain(&connection, &transaction.timeout(timeout), entry, vector, settings, reach).await?
            }
            _ => {
                let rows = reach.rows.unwrap_or(settings.limit);
                let plan = Plan::of(query, reach);
                let mut transaction = transaction(&connection, entry, settings, reach, rows, plan)
                    // Compiling a statement takes longer than most of them run.
                    .set("jit", "off");
                if plan == Plan::Generic {
                    // Postgres expects a third of all rows in a range that it does not know, and would read the whole table.
                    transaction = transaction.set("enable_seqscan", "off").set("enable_bitmapscan", "off");
                }
                if reach.by_index && reach.codes.is_some() {
                    // Postgres would start workers for parts of the statement that read nothing.
                    transaction = transaction.set("max_parallel_workers_per_gather", 0);
                }
                let transaction = transaction.timeout(timeout);
                run_written(&connection, &transaction, entry, query, ranking.as_ref(), settings, reach).await?
            }
        };
        connection.done();
        if entry.tables.source.is_some() {
            // A vector without a direction, which pgfox would have refused. An index leaves it out.
            run.hits.retain(|hit| !hit.distance.is_some_and(f64::is_nan));
        }
        Ok(Run { wait: connected - began, database: connected.elapsed(), ..run })
    }
}

/// Whether the prepared statements suffice.
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
    reach: Reach<'_>,
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
            Ok((row.get::<_, Option<i64>>(4), row.get::<_, Option<i64>>(5), hit))
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
    let is_excluded = |key: &Option<i64>, hit: &Hit| match key {
        Some(key) => settings.exclude.keys.contains(key),
        None => settings.exclude.ids.contains(&hit.document.id),
    };
    let hits = rows.into_iter().filter(|(key, _, hit)| !is_excluded(key, hit)).map(|(.., hit)| hit);
    let hits: Vec<Hit> = hits.take(settings.limit).collect();
    Ok(Run { nearest: hits.len(), hits, revision, plan, ..Run::default() })
}

async fn run_written(
    connection: &Connection,
    transaction: &Transaction<'_>,
    entry: &Entry,
    query: &Query,
    ranking: Option<&Ranking>,
    settings: &SearchSettings,
    reach: Reach<'_>,
) -> Result<Run, StoreError> {
    let (sql, parameters) = writer::write(entry, query, ranking, settings, reach);
    let typed = parameters.typed();
    let statement = match Plan::of(query, reach) {
        Plan::Generic => {
            let types: Vec<Type> = typed.iter().map(|(_, value_type)| value_type.clone()).collect();
            connection.prepare_cached_typed(&sql, &types).await?
        }
        Plan::Custom => Statement::Unnamed(&sql),
    };
    let rows = async {
        let rows = connection.query_parameters(&statement, &typed).await?;
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
        return Err(StoreError::Stale(None)); // the registry no longer has it
    };
    let hits = first.into_iter().chain(rows.filter_map(|(_, hit)| hit)).collect();
    Ok(Run { hits, plan, ..run })
}

/// The run according to a row, and the hit in the row.
fn read_written(row: &Row, settings: &SearchSettings) -> Result<(Run, Option<Hit>), StoreError> {
    let count = |column: usize| row.get::<_, i64>(column) as usize;
    let run = Run {
        revision: Some(row.get(column::REVISION)),
        nearest: count(column::NEAREST),
        matches: count(column::MATCHES),
        has_farther: count(column::FAR) > 0,
        compared: row.get(column::COMPARED),
        by_codes: row.get(column::BY_CODES),
        uncoded: count(column::UNCODED),
        left_out_texts: row.get(column::LEFT_OUT_TEXTS),
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

/// The transaction of a run, with the settings of the index, for a vector search of so many `rows`.
fn transaction<'c>(
    connection: &'c Connection,
    entry: &Entry,
    settings: &SearchSettings,
    reach: Reach<'_>,
    rows: usize,
    plan: Plan,
) -> Transaction<'c> {
    let mut transaction = Transaction::read_only(connection).set("plan_cache_mode", plan.mode());
    let Some(index) = entry.collection.index.filter(|_| reach.by_index && plan == Plan::Custom) else {
        return transaction;
    };
    transaction = match index {
        IndexKind::Hnsw { .. } => transaction.set("hnsw.ef_search", ef_search(settings, rows)),
        IndexKind::IvfFlat { lists } => transaction.set("ivfflat.probes", probes(settings, lists)),
    };
    if entry.search.iterative_scan {
        transaction = transaction.set(&format!("{}.iterative_scan", index.method()), "relaxed_order");
        if matches!(index, IndexKind::Hnsw { .. }) && is_gated(&entry.collection, settings) {
            // If fewer match than it would need to meet enough of them, comparing all matches takes no longer.
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
