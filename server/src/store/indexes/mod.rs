//! Vector indexes: what there is, what to build, and dropping them.

mod builds;
mod jobs;
mod memory;
pub(super) mod metadata;
pub(super) mod outdated;
mod session;
mod watching;

use std::sync::Arc;

use tokio_postgres::{Client, Row};

use super::{
    Collection, Distance, Index, IndexKind, Store, StoreError, VectorType,
    catalog::{Entry, read_index_kind},
    schema,
    tables::Tables,
    tables::{index_of_row, is_valid},
    transaction::Transaction,
};

pub(super) use jobs::Jobs;
pub(super) use watching::Watched;
pub(crate) use watching::{BuildProgress, Phase};

use jobs::{Job, is_interruption};
use session::{build_key, metadata_key};

/// What [`Store::begin_build`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// The index is being built, from now on or since before.
    Running { index_id: i64 },
    /// A complete index with these parameters is there.
    Ready { index_id: i64 },
}

impl Store {
    /// Rows that an index of the collection would hold: exact up to about 100,000, above that the estimate of Postgres.
    pub(crate) async fn count_vectors(&self, collection: &str) -> Result<i64, StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            let embeddings = &entry.tables.embeddings;
            let sql = format!(
                "-- count_vectors
                 SELECT CASE WHEN reltuples < 100000 THEN (SELECT count(*) FROM {embeddings})
                             ELSE reltuples::bigint END
                 FROM pg_class WHERE oid = to_regclass('{embeddings}')"
            );
            let row = connection.query_one(&sql, &[]).await?;
            connection.done();
            Ok(row.get(0))
        })
        .await
    }

    /// Records that an index shall be built, unless it is there or another server builds it already.
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
            // Callers of the same collection take turns.
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
            transaction.commit().await?;
            connection.done();
            Ok(Build::Running { index_id: row.get(0) })
        })
        .await
    }

    /// The complete index, if any, then the one that is being built, if any.
    pub(crate) async fn list_indexes(&self, collection: &str) -> Result<Vec<Index>, StoreError> {
        Ok(self.find_indexes(collection).await?.1)
    }

    async fn find_indexes(&self, collection: &str) -> Result<(Arc<Entry>, Vec<Index>), StoreError> {
        // Not from the cache: no table would be missing that tells that another server has replaced the collection.
        let entry = self.load_entry(collection).await?;
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

    /// Drops the index of this name, or every index without one; stops the build of one.
    pub(crate) async fn drop_index(&self, collection: &str, name: Option<&str>) -> Result<(), StoreError> {
        let (entry, indexes) = self.find_indexes(collection).await?;
        let doomed: Vec<&Index> = indexes.iter().filter(|index| name.is_none_or(|name| index.name == name)).collect();
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
            // Searches do not use them any more; the rest is done when it can be.
            Err(error) if is_interruption(&error) => {
                self.spawn_job(Job::Leftovers(space_id));
                Ok(())
            }
            dropped => dropped,
        }
    }

    /// Takes indexes out of the registry: from then on they are leftovers, and a build of one cannot make it ready.
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

    /// Drops the vector indexes of an embedding space that the registry does not know. A build that runs does so at its end.
    pub(super) async fn drop_leftovers(&self, space_id: i64) -> Result<(), StoreError> {
        let Some(entry) = self.find_entry("s.id = $1", space_id).await? else { return Ok(()) };
        let Some(session) = self.lock_session(build_key(space_id)).await? else { return Ok(()) };
        let dropping = drop_unregistered(&session.client, &self.inner.names, &entry);
        self.supervise(session.pid_and_key(), dropping).await
    }

    /// Forgets the jobs of a collection and stops those that run.
    pub(super) async fn stop_jobs(&self, collection: &Collection, tables: &Tables) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let Collection { id: collection_id, space_id, .. } = *collection;
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let sql = format!("-- stop_jobs\n DELETE FROM {internal}.indexes WHERE space_id = $1 AND state = 'building'");
        let builds = connection.execute(&sql, &[&space_id]).await?;
        // Not deleted, which is how a job is done.
        let sql = format!(
            "-- stop_jobs
             UPDATE {internal}.metadata_index_jobs SET state = 'failed', error = 'it was stopped'
             WHERE collection_id = $1 AND state = 'running'"
        );
        let changes = connection.execute(&sql, &[&collection_id]).await?;
        transaction.commit().await?;
        connection.done();
        if builds > 0 {
            self.cancel_creation(build_key(space_id), &[tables.quoted_index_prefix()]).await?;
        }
        if changes > 0 {
            self.cancel_creation(metadata_key(collection_id), &[tables.quoted_metadata_index_prefix()]).await?;
        }
        Ok(())
    }
}

/// What [`read_index`] reads.
const INDEX_COLUMNS: &str = "i.id, i.method, i.m, i.ef_construction, i.lists, i.created_at,
                    format('embeddings_%s_%s_%s_%s', s.collection_id, s.id, i.method, i.id) AS name,
                    i.state = 'ready' AND coalesce(x.indisvalid, false) AS ready,
                    coalesce(pg_relation_size(x.indexrelid), 0) AS size_bytes,
                    coalesce(pg_stat_get_numscans(x.indexrelid), 0) AS scan_count";

/// Where the columns are.
fn index_tables(internal: &str) -> String {
    format!(
        "FROM {internal}.indexes i JOIN {internal}.embedding_spaces s ON s.id = i.space_id
                  LEFT JOIN pg_index x ON x.indexrelid = {}",
        index_of_row(internal)
    )
}

fn read_index(row: &Row) -> Result<Index, StoreError> {
    let kind = read_index_kind(row)?.ok_or_else(|| StoreError::Internal("an index without a kind".into()))?;
    Ok(Index {
        id: row.get("id"),
        name: row.get("name"),
        kind,
        ready: row.get("ready"),
        size_bytes: row.get("size_bytes"),
        scan_count: row.get("scan_count"),
        created_at: row.get("created_at"),
    })
}

/// Drops indexes that a build left behind: invalid ones, replaced ones, and those of a build that was stopped. Never one
/// that the registry knows, in whatever state.
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
    let rows = client.query(&sql, &[&tables.embeddings, &collection.space_id, &tables.embeddings_stem]).await?;
    for row in rows {
        drop_soon(client, &format!("{internal}.{}", schema::quote(row.get(0)))).await?;
    }
    Ok(())
}

/// Drops an index that nobody needs any more. Transactions that use its table stand in the way; when they last, the error is
/// a conflict, and the index is left for later: whoever waited for them would keep others from their turn.
async fn drop_soon(client: &Client, index: &str) -> Result<(), StoreError> {
    client.batch_execute("SET lock_timeout = '5s'").await?;
    let dropped = client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await;
    client.batch_execute("SET lock_timeout = 0").await?;
    Ok(dropped?)
}

impl IndexKind {
    /// Why a collection cannot have this index, if it cannot.
    pub(crate) fn unsupported(self, collection: &Collection) -> Option<String> {
        let definition = &collection.definition;
        let (dimensions, vector_type) = (definition.dimensions, definition.vector_type);
        if matches!(self, Self::IvfFlat { .. }) && definition.distance == Distance::L1 {
            return Some("pgvector has no IVFFlat index for DISTANCE_L1; use HNSW".into());
        }
        let most = vector_type.max_indexed_dimensions();
        (dimensions > most).then(|| {
            let hint = if vector_type == VectorType::Vector {
                "; VECTOR_TYPE_HALFVEC can be indexed up to 4,000"
            } else {
                "; search is exact"
            };
            format!(
                "pgvector indexes {} up to {most} dimensions and the collection has {dimensions}{hint}",
                vector_type.name()
            )
        })
    }
}
