//! Vector indexes: lists them, records builds, and drops them.

mod builds;
mod jobs;
mod memory;
pub(super) mod metadata;
mod old_words;
pub(super) mod outdated;
mod session;
mod watching;

use std::sync::Arc;

use tokio_postgres::{Client, Row};

use super::{
    Collection, Distance, Index, IndexKind, Store, StoreError, VectorType,
    catalog::{Entry, read_index_kind},
    schema,
    sources::index_relation,
    tables::{ESTIMATED_ROWS, Tables, is_valid},
    transaction::Transaction,
};

pub(super) use builds::create_index_sql;
pub(super) use jobs::Jobs;
pub(super) use watching::Watched;
pub(crate) use watching::{BuildProgress, Phase};

pub(super) use jobs::{Job, is_interruption};
pub(super) use session::metadata_key;

use session::build_key;

/// The result of [`Store::begin_build`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// The index is being built, either from now on or already.
    Running { index_id: i64 },
    /// A complete index with these parameters exists.
    Ready { index_id: i64 },
}

impl Store {
    /// The number of rows in an index of the collection. Exact up to about 100,000; above that an estimate of Postgres.
    pub(crate) async fn count_vectors(&self, collection: &str) -> Result<i64, StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            let Tables { embeddings, vectors, .. } = &entry.tables;
            let sql = format!(
                "-- count_vectors
                 SELECT CASE WHEN {ESTIMATED_ROWS} < 100000 THEN (SELECT count(*) FROM {embeddings} e)
                             ELSE {ESTIMATED_ROWS}::bigint END
                 FROM pg_class c WHERE c.oid = to_regclass($1)"
            );
            let row = connection.query_one(&sql, &[vectors]).await?;
            connection.done();
            Ok(row.get(0))
        })
        .await
    }

    /// Records a build, unless the index exists or another server already builds it.
    pub(crate) async fn begin_build(
        &self,
        collection: &str,
        kind: IndexKind,
        rebuild: bool,
    ) -> Result<Build, StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            let internal = &self.inner.names.internal;
            let transaction = Transaction::read_write(&connection);
            transaction.begin().await?;
            let space_id = entry.collection.space_id;
            // Callers for the same collection take turns.
            let sql = format!("-- begin_build\n SELECT 1 FROM {internal}.embedding_spaces WHERE id = $1 FOR UPDATE");
            if connection.query_opt(&sql, &[&space_id]).await?.is_none() {
                return Err(StoreError::Stale(None));
            }
            let sql = format!(
                "-- begin_build
                 SELECT i.id, i.method, i.m, i.ef_construction, i.lists, i.state = 'building' AS building, {valid} AS valid
                 FROM {internal}.indexes i JOIN {internal}.embedding_spaces s ON s.id = i.space_id
                 WHERE i.space_id = $1 AND i.state <> 'failed'",
                valid = is_valid(internal)
            );
            let rows = connection.query(&sql, &[&space_id]).await?;
            let mut ready = None;
            for row in &rows {
                let (index_id, found) = (row.get("id"), read_index_kind(row)?);
                if !row.get::<_, bool>("building") {
                    ready = (found == Some(kind) && row.get("valid")).then_some(index_id);
                } else if found == Some(kind) {
                    return Ok(Build::Running { index_id });
                } else {
                    let method = found.map_or("", IndexKind::method);
                    let index = entry.tables.index(method, index_id);
                    return Err(StoreError::BuildRunning { collection: collection.into(), index });
                }
            }
            if let Some(index_id) = ready
                && !rebuild
            {
                return Ok(Build::Ready { index_id });
            }
            self.check_buildable(&connection, &entry, kind).await?;
            let (m, ef_construction, lists) = match kind {
                IndexKind::Hnsw { m, ef_construction } => (Some(m), Some(ef_construction), None),
                IndexKind::IvfFlat { lists } => (None, None, Some(lists)),
            };
            let sql =
                format!("-- begin_build\n DELETE FROM {internal}.indexes WHERE space_id = $1 AND state = 'failed'");
            connection.execute(&sql, &[&space_id]).await?;
            let sql = format!(
                "-- begin_build
                 INSERT INTO {internal}.indexes (space_id, method, m, ef_construction, lists, state)
                 VALUES ($1, $2, $3, $4, $5, 'building') RETURNING id"
            );
            let row = connection.query_one(&sql, &[&space_id, &kind.method(), &m, &ef_construction, &lists]).await?;
            let index_id: i64 = row.get(0);
            if entry.tables.source.is_some() {
                // The index is on the table of a source, so its name comes from the source.
                let sql = format!("-- begin_build\n UPDATE {internal}.indexes SET name = $2 WHERE id = $1");
                connection.execute(&sql, &[&index_id, &entry.tables.index(kind.method(), index_id)]).await?;
            }
            transaction.commit().await?;
            connection.done();
            Ok(Build::Running { index_id })
        })
        .await
    }

    /// The complete index, if any, followed by the one being built, if any.
    pub(crate) async fn list_indexes(&self, collection: &str) -> Result<Vec<Index>, StoreError> {
        Ok(self.find_indexes(collection).await?.1)
    }

    async fn find_indexes(&self, collection: &str) -> Result<(Arc<Entry>, Vec<Index>), StoreError> {
        // Not from the cache: if another server has replaced the collection, no missing table would show that.
        let entry = self.load_entry(collection).await?;
        if entry.tables.source.is_some() {
            self.recognise_indexes().await?;
        }
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- list_indexes
             SELECT {columns} {tables} WHERE i.space_id = $1 AND i.state <> 'failed' ORDER BY ready DESC",
            columns = INDEX_COLUMNS,
            tables = index_tables(internal)
        );
        let statement = connection.prepare_cached(&sql).await?;
        let rows = connection.query(&statement, &[&entry.collection.space_id]).await?;
        connection.done();
        let indexes = rows.iter().map(read_index).collect::<Result<_, _>>()?;
        Ok((entry, indexes))
    }

    /// Drops the index of this name, or every index if no name is given. Stops the build of an unfinished one.
    pub(crate) async fn drop_index(&self, collection: &str, name: Option<&str>) -> Result<(), StoreError> {
        let (entry, indexes) = self.find_indexes(collection).await?;
        let doomed: Vec<&Index> = indexes.iter().filter(|index| name.is_none_or(|name| index.name == name)).collect();
        if let Some(source) = &entry.tables.source
            && let Some(index) = doomed.iter().find(|index| index.made_by_sql)
            && (name.is_some() || doomed.iter().all(|index| index.made_by_sql))
        {
            let index = format!("{}.{}", entry.tables.index_schema, schema::quote(&index.name));
            let (collection, table) = (entry.collection.definition.name.clone(), source.relation());
            return Err(StoreError::IndexMadeBySql { collection, table, index });
        }
        let doomed: Vec<&Index> = doomed.into_iter().filter(|index| !index.made_by_sql).collect();
        if doomed.is_empty() {
            return Err(StoreError::IndexNotFound(collection.into()));
        }
        let ids: Vec<i64> = doomed.iter().map(|index| index.id).collect();
        self.unregister(&entry, &ids).await?;
        self.forget(collection);
        let names: Vec<String> =
            doomed.iter().filter(|index| !index.ready).map(|index| schema::quote(&index.name)).collect();
        let space_id = entry.collection.space_id;
        if !names.is_empty() {
            self.cancel_creation(build_key(space_id), &names).await?;
        }
        let store = self.clone();
        match self.run_chore(async move { store.drop_leftovers(space_id).await }).await {
            // Searches no longer use them; the drop follows when it is possible.
            Err(error) if is_interruption(&error) => {
                self.spawn_job(Job::Leftovers(space_id));
                Ok(())
            }
            dropped => dropped,
        }
    }

    /// Removes indexes from the registry. From then on they are leftovers, and a build cannot make one ready.
    async fn unregister(&self, entry: &Entry, ids: &[i64]) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let sql = format!("-- drop_index\n DELETE FROM {internal}.indexes WHERE id = ANY($1)");
        connection.execute(&sql, &[&ids]).await?;
        let sql = format!("-- drop_index\n UPDATE {internal}.collections SET revision = revision + 1 WHERE id = $1");
        connection.execute(&sql, &[&entry.collection.id]).await?;
        transaction.commit().await?;
        connection.done();
        Ok(())
    }

    /// Drops the vector indexes of an embedding space that are not in the registry. A running build does this at its
    /// end.
    pub(super) async fn drop_leftovers(&self, space_id: i64) -> Result<(), StoreError> {
        let Some(entry) = self.find_entry("s.id = $1", space_id).await? else { return Ok(()) };
        let Some(session) = self.lock_session(build_key(space_id)).await? else { return Ok(()) };
        let dropping = drop_unregistered(&session.client, &self.inner.names, &entry);
        self.supervise(session.pid_and_key(), dropping).await
    }

    /// Ends the jobs of a collection and stops those that run.
    pub(super) async fn stop_jobs(&self, collection: &Collection, tables: &Tables) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let Collection { id: collection_id, space_id, .. } = *collection;
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let sql = format!("-- stop_jobs\n DELETE FROM {internal}.indexes WHERE space_id = $1 AND state = 'building'");
        let builds = connection.execute(&sql, &[&space_id]).await?;
        // Not deleted, because a deleted row means a job that is done.
        let sql = format!(
            "-- stop_jobs
             UPDATE {internal}.metadata_index_jobs SET state = 'failed', error = 'it was stopped'
             WHERE collection_id = $1 AND state = 'running'"
        );
        let changes = connection.execute(&sql, &[&collection_id]).await?;
        let sql = format!("-- stop_jobs\n DELETE FROM {internal}.codes WHERE space_id = $1 AND state = 'building'");
        let codes = connection.execute(&sql, &[&space_id]).await?;
        transaction.commit().await?;
        connection.done();
        if builds > 0 {
            self.cancel_creation(build_key(space_id), &[tables.quoted_index_prefix()]).await?;
        }
        if changes > 0 {
            self.cancel_creation(metadata_key(collection_id), &[tables.quoted_metadata_index_prefix()]).await?;
        }
        if codes > 0 {
            self.cancel_creation(metadata_key(collection_id), &[tables.quoted_codes_index_prefix()]).await?;
        }
        Ok(())
    }
}

/// The columns for [`read_index`].
const INDEX_COLUMNS: &str = "i.id, i.method, i.m, i.ef_construction, i.lists, i.created_at,
                    coalesce(i.name, format('embeddings_%s_%s_%s_%s', s.collection_id, s.id, i.method, i.id)) AS name,
                    i.made_by_sql,
                    i.state = 'ready' AND coalesce(x.indisvalid, false) AS ready,
                    coalesce(pg_relation_size(x.indexrelid), 0) AS size_bytes,
                    coalesce(pg_stat_get_numscans(x.indexrelid), 0) AS scan_count";

/// The tables of these columns.
fn index_tables(internal: &str) -> String {
    format!(
        "FROM {internal}.indexes i JOIN {internal}.embedding_spaces s ON s.id = i.space_id
                  JOIN {internal}.collections c ON c.id = s.collection_id
                  LEFT JOIN pg_index x ON x.indexrelid = {}",
        index_relation(internal)
    )
}

fn read_index(row: &Row) -> Result<Index, StoreError> {
    let kind = read_index_kind(row)?.ok_or_else(|| StoreError::Internal("an index without a kind".into()))?;
    Ok(Index {
        id: row.get("id"),
        name: row.get("name"),
        kind,
        ready: row.get("ready"),
        made_by_sql: row.get("made_by_sql"),
        size_bytes: row.get("size_bytes"),
        scan_count: row.get("scan_count"),
        created_at: row.get("created_at"),
    })
}

/// Drops indexes that a build left behind: invalid ones, replaced ones, and those of a stopped build. It never drops an
/// index that is in the registry, whatever its state.
async fn drop_unregistered(client: &Client, names: &schema::Names, entry: &Entry) -> Result<(), StoreError> {
    let internal = &names.internal;
    let sql = format!(
        "-- drop_unregistered
         SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
         WHERE x.indrelid = to_regclass($1) AND c.relname ~ format('^%s_(hnsw|ivfflat)_[0-9]+$', $3::text)
           AND NOT EXISTS (SELECT FROM {internal}.indexes i
                           WHERE i.space_id = $2 AND i.state <> 'failed'
                             AND c.relname = format('%s_%s_%s', $3::text, i.method, i.id))"
    );
    let Entry { collection, tables, .. } = entry;
    let rows = client.query(&sql, &[&tables.vectors, &collection.space_id, &tables.embeddings_stem]).await?;
    for row in rows {
        drop_soon(client, &format!("{}.{}", tables.index_schema, schema::quote(row.get(0)))).await?;
    }
    Ok(())
}

/// Drops an index that is no longer needed. Transactions that use its table block this. If they last too long, the
/// error is a conflict and the index is left for later: waiting for them would delay other jobs.
async fn drop_soon(client: &Client, index: &str) -> Result<(), StoreError> {
    client.batch_execute("SET lock_timeout = '5s'").await?;
    let dropped = client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await;
    client.batch_execute("SET lock_timeout = 0").await?;
    Ok(dropped?)
}

impl IndexKind {
    /// Why a collection cannot have this index. `None` if it can.
    pub(crate) fn unsupported(self, collection: &Collection) -> Option<String> {
        let definition = &collection.definition;
        let (dimensions, vector_type) = (definition.dimensions, definition.vector_type);
        if matches!(self, Self::IvfFlat { .. }) && definition.distance == Distance::L1 {
            return Some("pgvector has no IVFFlat index for DISTANCE_L1; use HNSW".into());
        }
        if let Some(source) = &definition.source {
            let table = source.relation();
            if source.partitioned {
                return Some(format!(
                    "the table {table} is partitioned, and Postgres builds no index of all partitions without locking it; \
                     create the index on each partition by SQL with CONCURRENTLY, then on the table: searches use it"
                ));
            }
            if !source.fixed_dimensions {
                return Some(format!(
                    "the column {0} of the table {table} has no fixed number of dimensions; give it one by SQL: ALTER TABLE \
                     {table} ALTER COLUMN {0} TYPE {1}({dimensions}), then delete the collection and attach it again",
                    schema::quote(&source.vector),
                    vector_type.name()
                ));
            }
        }
        let most = vector_type.max_indexed_dimensions();
        (dimensions > most).then(|| {
            let hint = if vector_type == VectorType::Vector {
                "; VECTOR_TYPE_HALFVEC allows 4,000"
            } else {
                "; search is exact"
            };
            format!(
                "pgvector indexes {} with at most {most} dimensions, but the collection has {dimensions}{hint}",
                vector_type.name()
            )
        })
    }
}
