//! Vector indexes: what there is, what to build, and dropping them.

mod builds;
mod memory;
pub(super) mod metadata;

use tokio_postgres::Row;

use super::{
    Collection, Distance, Index, IndexKind, Store, StoreError, VectorType,
    catalog::{Entry, read_index_kind},
    schema,
    transaction::Transaction,
};

pub(crate) use builds::{BuildProgress, Phase};

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
            let transaction = Transaction::new(&connection);
            transaction.begin().await?;
            let space_id = entry.collection.space_id;
            // Callers of the same collection take turns.
            let sql = format!("-- begin_build\n SELECT 1 FROM {internal}.embedding_spaces WHERE id = $1 FOR UPDATE");
            if connection.query_opt(&sql, &[&space_id]).await?.is_none() {
                return Err(StoreError::Stale(None));
            }
            let sql = format!(
                "-- begin_build
                 SELECT id, method, m, ef_construction, lists, state = 'ready' AS ready
                 FROM {internal}.indexes WHERE space_id = $1 AND state <> 'failed'"
            );
            let rows = connection.query(&sql, &[&space_id]).await?;
            let mut ready = None;
            for row in &rows {
                let (index_id, found) = (row.get("id"), read_index_kind(row)?);
                if row.get("ready") {
                    ready = (found == Some(kind)).then_some(index_id);
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
        // Not from the cache: no table would be missing that tells that another server has replaced the collection.
        let entry = self.load_entry(collection).await?;
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- list_indexes
             SELECT i.id, i.method, i.m, i.ef_construction, i.lists, i.state = 'ready' AS ready, i.created_at,
                    coalesce(pg_relation_size(c.oid), 0) AS size_bytes, coalesce(s.idx_scan, 0) AS scan_count
             FROM {internal}.indexes i
             LEFT JOIN pg_class c
                 ON c.oid = to_regclass(format('%s.%s_%s_%s', $2::text, $3::text, i.method, i.id))
             LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = c.oid
             WHERE i.space_id = $1 AND i.state <> 'failed' ORDER BY ready DESC"
        );
        let statement = connection.prepare_cached(&sql).await?;
        let stem = &entry.tables.embeddings_stem;
        let rows = connection.query(&statement, &[&entry.collection.space_id, internal, stem]).await?;
        connection.done();
        rows.iter().map(|row| read_index(row, &entry)).collect()
    }

    /// Drops the index of this name, or every index without one; stops the build of one.
    pub(crate) async fn drop_index(&self, collection: &str, name: Option<&str>) -> Result<(), StoreError> {
        let indexes = self.list_indexes(collection).await?;
        let doomed: Vec<&Index> = indexes.iter().filter(|index| name.is_none_or(|name| index.name == name)).collect();
        if doomed.is_empty() {
            return Err(StoreError::IndexNotFound(collection.into()));
        }
        let entry = self.entry(collection).await?;
        for index in doomed {
            let ids = [index.id];
            self.unregister(&entry, &ids).await?;
            if !index.ready {
                self.cancel_build(entry.collection.space_id).await?;
            }
        }
        self.forget(collection);
        // A task of its own: a caller that leaves must not leave half an index.
        let store = self.clone();
        let dropped = tokio::spawn(async move { store.drop_leftovers(&entry).await }).await;
        dropped.map_err(|error| StoreError::Internal(format!("dropping an index failed: {error}")))?
    }

    /// Takes indexes out of the registry: from then on they are leftovers.
    async fn unregister(&self, entry: &Entry, ids: &[i64]) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let transaction = Transaction::new(&connection);
        transaction.begin().await?;
        let sql = format!("-- drop_index\n DELETE FROM {internal}.indexes WHERE id = ANY($1)");
        connection.execute(&sql, &[&ids]).await?;
        let sql = format!("-- drop_index\n UPDATE {internal}.collections SET revision = revision + 1 WHERE id = $1");
        connection.execute(&sql, &[&entry.collection.id]).await?;
        transaction.commit().await?;
        connection.done();
        Ok(())
    }

    /// Drops the vector indexes of a collection that the registry does not know. A build that runs does so at its end.
    async fn drop_leftovers(&self, entry: &Entry) -> Result<(), StoreError> {
        let (client, _notices) = self.inner.config.direct.connect().await?;
        if !self.try_lock_builds(&client, entry).await? {
            return Ok(());
        }
        // As long as the transactions of others take that use the index.
        client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
        drop_unregistered(&client, &self.inner.names, entry).await
    }

    /// Takes the lock of the builds of a collection for this session, if it is free. Waiting for it would be a deadlock: a
    /// build waits for the statements of others, the waiting ones too.
    pub(super) async fn try_lock_builds(
        &self,
        client: &tokio_postgres::Client,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let keys = (self.inner.names.lock_class, lock_key(entry.collection.space_id));
        let locked = client.query_one("SELECT pg_try_advisory_lock($1, $2)", &[&keys.0, &keys.1]).await?;
        Ok(locked.get(0))
    }
}

/// Second key of the advisory lock of the builds of an embedding space.
pub(super) fn lock_key(space_id: i64) -> i32 {
    // Key 0 is the migrations'. Ids are small; two that meet after 2^31 collections would only take turns.
    (space_id % i64::from(i32::MAX) + 1) as i32
}

/// Drops indexes that a build left behind: invalid ones, replaced ones, and those of a build that was stopped.
pub(super) async fn drop_unregistered(
    client: &tokio_postgres::Client,
    names: &schema::Names,
    entry: &Entry,
) -> Result<(), StoreError> {
    let internal = &names.internal;
    let sql = format!(
        "-- drop_unregistered
         SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE x.indrelid = to_regclass($1) AND a.amname IN ('hnsw', 'ivfflat')
           AND NOT EXISTS (SELECT FROM {internal}.indexes i
                           WHERE i.space_id = $2 AND i.state <> 'failed'
                             AND c.relname = format('%s_%s_%s', $3::text, i.method, i.id))"
    );
    let Entry { collection, tables, .. } = entry;
    let rows = client.query(&sql, &[&tables.embeddings, &collection.space_id, &tables.embeddings_stem]).await?;
    for row in rows {
        let index = schema::quote(row.get(0));
        client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {internal}.{index}")).await?;
    }
    Ok(())
}

fn read_index(row: &Row, entry: &Entry) -> Result<Index, StoreError> {
    let kind = read_index_kind(row)?.ok_or_else(|| StoreError::Internal("an index without a kind".into()))?;
    let id = row.get("id");
    Ok(Index {
        id,
        name: entry.tables.index(kind.method(), id),
        kind,
        ready: row.get("ready"),
        size_bytes: row.get("size_bytes"),
        scan_count: row.get("scan_count"),
        created_at: row.get("created_at"),
    })
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
