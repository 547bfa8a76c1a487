//! Building an index: a durable job that some server finishes.
//!
//! A row of `indexes` in the state 'building' is the job. Whoever holds the advisory lock of the embedding space works on
//! it. The lock belongs to the session that runs CREATE INDEX, so when a server dies, the lock is free exactly when Postgres
//! has ended that session, and another server takes the job up: it finds the index complete, or starts it again.

use std::{
    collections::hash_map,
    sync::PoisonError,
    time::{Duration, SystemTime},
};

use super::{drop_unregistered, lock_key};
use crate::store::{
    Index, IndexKind, Store, StoreError,
    catalog::{Entry, read_index_kind},
    connection::Notices,
    connection::sqlstate::{Kind, classify},
    schema,
    tables::Tables,
    transaction::Transaction,
};

/// A build that fails this often, by losing its connection each time, is given up.
const MAX_ATTEMPTS: i32 = 5;

/// How far a build has come.
#[derive(Clone, Debug)]
pub(crate) enum BuildProgress {
    /// Under way.
    Running {
        phase: Phase,
        /// Share of the whole build, 0 to 1.
        fraction: f64,
        began: SystemTime,
        index: Index,
        warnings: Vec<String>,
    },
    /// Complete.
    Ready { began: SystemTime, index: Index, warnings: Vec<String> },
}

/// What a build is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Queued,
    Waiting,
    Training,
    Building,
    Validating,
    Finishing,
}

impl Store {
    /// Works on the jobs that another server left behind, or this one before a restart. One that somebody works on costs a
    /// connection that finds that out.
    pub(crate) async fn resume_builds(&self) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- resume_builds
             SELECT i.id, c.name FROM {internal}.indexes i
             JOIN {internal}.embedding_spaces s ON s.id = i.space_id
             JOIN {internal}.collections c ON c.id = s.collection_id WHERE i.state = 'building'"
        );
        let statement = connection.prepare_cached(&sql).await?;
        let rows = connection.query(&statement, &[]).await?;
        for row in rows {
            self.spawn_build(row.get(1), row.get(0));
        }
        connection.done();
        Ok(())
    }

    /// Works on a job in the background, unless this process does already.
    pub(crate) fn spawn_build(&self, collection: &str, index_id: i64) {
        // Locked until the task is entered, so that it cannot end before.
        let mut building = self.inner.building.lock().unwrap_or_else(PoisonError::into_inner);
        let hash_map::Entry::Vacant(job) = building.entry(index_id) else { return };
        let (store, collection) = (self.clone(), collection.to_owned());
        let task = tokio::spawn(async move {
            let result = store.build(&collection, index_id).await;
            match result {
                Ok(()) => {}
                Err(error) if is_interruption(&error) => {
                    tracing::warn!(
                        collection,
                        index_id,
                        "the build of an index was interrupted and will be resumed: {error}"
                    );
                }
                Err(error) => {
                    store.stats().builds_failed.add(1);
                    tracing::error!(collection, index_id, "the build of an index failed: {}", error.detail());
                    if let Err(error) = store.fail_build(index_id, &error.to_string()).await {
                        tracing::error!(index_id, "the failure of a build could not be recorded: {}", error.detail());
                    }
                }
            }
            store.inner.building.lock().unwrap_or_else(PoisonError::into_inner).remove(&index_id);
        });
        job.insert(task.abort_handle());
    }

    /// Leaves the jobs of this process to others. Postgres completes the statements that run; a job is taken up after that.
    pub(in crate::store) fn leave_builds(&self) {
        let mut building = self.inner.building.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, task) in building.drain() {
            task.abort();
        }
    }

    /// How far a build has come. An error when it failed or was stopped. Whoever looks at a job that nobody works on takes
    /// it up.
    pub(crate) async fn build_progress(&self, collection: &str, index_id: i64) -> Result<BuildProgress, StoreError> {
        let entry = self.entry(collection).await?;
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let embeddings = &entry.tables.embeddings;
        let sql = format!(
            "-- build_progress
             SELECT i.state, i.error, i.warnings, i.created_at, i.attempts, p.phase,
                    EXISTS (SELECT FROM pg_locks
                        WHERE locktype = 'advisory' AND granted
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                          AND classid = $1::int::oid AND objid = $2::int::oid AND objsubid = 2) AS locked,
                    coalesce(CASE WHEN p.blocks_total > 0 THEN p.blocks_done::float8 / p.blocks_total
                                  WHEN p.tuples_total > 0 THEN p.tuples_done::float8 / p.tuples_total END, 0) AS done
             FROM {internal}.indexes i
             LEFT JOIN pg_stat_progress_create_index p
                    ON p.datname = current_database() AND p.relid = to_regclass('{embeddings}')
             WHERE i.id = $3"
        );
        let statement = connection.prepare_cached(&sql).await?;
        let keys = (self.inner.names.lock_class, lock_key(entry.collection.space_id));
        let row = connection.query_opt(&statement, &[&keys.0, &keys.1, &index_id]).await?;
        connection.done();
        let stopped = || StoreError::BuildFailed("it was stopped".into());
        let row = row.ok_or_else(stopped)?;
        let state: &str = row.get("state");
        if state == "failed" {
            let why: Option<String> = row.get("error");
            return Err(StoreError::BuildFailed(why.unwrap_or_default()));
        }
        let index = self.list_indexes(collection).await?.into_iter().find(|index| index.id == index_id);
        let index = index.ok_or_else(stopped)?;
        let (began, warnings) = (row.get("created_at"), row.get("warnings"));
        if state == "ready" {
            return Ok(BuildProgress::Ready { began, index, warnings });
        }
        if !row.get::<_, bool>("locked") {
            self.spawn_build(collection, index_id);
        }
        let (phase, fraction) = match row.get("phase") {
            Some(phase) => read_phase(phase, row.get("done")),
            None if row.get::<_, i32>("attempts") == 0 => (Phase::Queued, 0.0),
            None if index.size_bytes > 0 => (Phase::Finishing, 0.98),
            None => (Phase::Waiting, 0.0),
        };
        Ok(BuildProgress::Running { phase, fraction, began, index, warnings })
    }

    /// The job itself, unless another session works on it.
    async fn build(&self, collection: &str, index_id: i64) -> Result<(), StoreError> {
        // Not from the cache: another server may have replaced the collection by one of the same name.
        let entry = self.load_entry(collection).await?;
        let (client, notices) = self.inner.config.direct.connect().await?;
        if !self.try_lock_builds(&client, &entry).await? {
            return Ok(());
        }
        // The job may wait for the transactions of others as long as it takes.
        client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0").await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- build
             UPDATE {internal}.indexes SET attempts = attempts + 1
             WHERE id = $1 AND space_id = $2 AND state = 'building'
             RETURNING method, m, ef_construction, lists, attempts"
        );
        let Some(row) = client.query_opt(&sql, &[&index_id, &entry.collection.space_id]).await? else {
            return Ok(()); // finished or stopped meanwhile
        };
        self.stats().builds_started.add(1);
        let _running = self.stats().builds_running.begin();
        let kind = read_index_kind(&row)?.ok_or_else(|| StoreError::Internal("an index without a kind".into()))?;
        let built = if row.get::<_, i32>("attempts") > MAX_ATTEMPTS {
            Err(StoreError::BuildFailed(format!(
                "it was interrupted {MAX_ATTEMPTS} times; the log of Postgres says why, often too little memory"
            )))
        } else {
            self.attempt(&client, &entry, kind, index_id, notices).await
        };
        if let Err(error) = &built
            && !is_interruption(error)
        {
            // An invalid index costs on every write, so it goes before anyone is told.
            let index = self.qualified(&entry, kind, index_id);
            client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await?;
        }
        built
    }

    async fn attempt(
        &self,
        client: &tokio_postgres::Client,
        entry: &Entry,
        kind: IndexKind,
        index_id: i64,
        notices: Notices,
    ) -> Result<(), StoreError> {
        drop_unregistered(client, &self.inner.names, entry).await?;
        if !self.find_valid(client, entry, kind, index_id).await? {
            self.create_index(client, entry, kind, index_id, notices).await?;
        }
        let Tables { embeddings, documents, chunks, .. } = &entry.tables;
        client.batch_execute(&format!("ANALYZE {embeddings}, {documents}, {chunks}")).await?;
        self.publish(client, entry, index_id).await?;
        drop_unregistered(client, &self.inner.names, entry).await
    }

    /// Whether an attempt before this one completed the index; what is left of one that did not is dropped.
    async fn find_valid(
        &self,
        client: &tokio_postgres::Client,
        entry: &Entry,
        kind: IndexKind,
        index_id: i64,
    ) -> Result<bool, StoreError> {
        let index = self.qualified(entry, kind, index_id);
        let sql = "-- find_valid\n SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
        match client.query_opt(sql, &[&index]).await?.map(|row| row.get(0)) {
            Some(true) => Ok(true),
            Some(false) => {
                client.batch_execute(&format!("DROP INDEX CONCURRENTLY {index}")).await?;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    async fn create_index(
        &self,
        client: &tokio_postgres::Client,
        entry: &Entry,
        kind: IndexKind,
        index_id: i64,
        notices: Notices,
    ) -> Result<(), StoreError> {
        self.set_memory(client, entry, kind, index_id).await?;
        let recorder = tokio::spawn(record_notices(self.clone(), index_id, notices));

        let definition = &entry.collection.definition;
        let class = format!("{}_{}_ops", definition.vector_type.name(), definition.distance.operator_class());
        let with = match kind {
            IndexKind::Hnsw { m, ef_construction } => format!("m = {m}, ef_construction = {ef_construction}"),
            IndexKind::IvfFlat { lists } => format!("lists = {lists}"),
        };
        let created = client
            .batch_execute(&format!(
                "CREATE INDEX CONCURRENTLY {name} ON {embeddings} USING {method} (embedding {extension}.{class})
                 WITH ({with})",
                name = schema::quote(&entry.tables.index(kind.method(), index_id)),
                embeddings = entry.tables.embeddings,
                method = kind.method(),
                extension = entry.tables.extension,
            ))
            .await;
        recorder.abort();
        let Err(error) = created else {
            return if self.find_valid(client, entry, kind, index_id).await? {
                Ok(())
            } else {
                Err(StoreError::BuildFailed("Postgres left it invalid".into()))
            };
        };
        Err(match classify(&error) {
            Kind::Cancelled | Kind::TimedOut => StoreError::BuildFailed("it was stopped".into()),
            Kind::Resources => StoreError::BuildFailed(
                "the database is out of memory, disk or another resource; the log of Postgres says which".into(),
            ),
            // pgvector says how much it needs, in words that hold nothing of the data.
            _ if error.as_db_error().is_some_and(|error| error.message().starts_with("memory required is")) => {
                let needs = error.as_db_error().map_or("", |error| error.message());
                StoreError::BuildFailed(format!("{needs}; give it more with --build-memory"))
            }
            _ => error.into(),
        })
    }

    /// Makes the index the one that serves searches.
    async fn publish(&self, client: &tokio_postgres::Client, entry: &Entry, index_id: i64) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let collection = &entry.collection;
        let sql = |statement: &str| format!("-- publish\n {statement}").replace("{internal}", internal);
        let transaction = Transaction::new(client);
        transaction.begin().await?;
        let replace = sql("DELETE FROM {internal}.indexes WHERE space_id = $1 AND state = 'ready'");
        client.execute(&replace, &[&collection.space_id]).await?;
        let publish = sql("UPDATE {internal}.indexes SET state = 'ready' WHERE id = $1 AND state = 'building'");
        if client.execute(&publish, &[&index_id]).await? == 0 {
            transaction.rollback().await?;
            return Ok(()); // stopped meanwhile: the index is a leftover now
        }
        let revise = sql("UPDATE {internal}.collections SET revision = revision + 1 WHERE id = $1");
        client.execute(&revise, &[&collection.id]).await?;
        transaction.commit().await?;
        self.stats().builds_succeeded.add(1);
        self.forget(&collection.definition.name);
        Ok(())
    }

    async fn fail_build(&self, index_id: i64, why: &str) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- fail_build
             UPDATE {internal}.indexes SET state = 'failed', error = $2 WHERE id = $1 AND state = 'building'"
        );
        connection.execute(&sql, &[&index_id, &why]).await?;
        connection.done();
        Ok(())
    }

    pub(super) async fn warn_build(&self, index_id: i64, warning: &str) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- warn_build
             UPDATE {internal}.indexes SET warnings = warnings || $2::text
             WHERE id = $1 AND NOT warnings @> ARRAY[$2::text]"
        );
        connection.execute(&sql, &[&index_id, &warning]).await?;
        connection.done();
        Ok(())
    }

    /// Stops the build of an embedding space, if there is one, and forgets the job.
    pub(in crate::store) async fn stop_build(&self, space_id: i64) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!("-- stop_build\n DELETE FROM {internal}.indexes WHERE space_id = $1 AND state = 'building'");
        let stopped = connection.execute(&sql, &[&space_id]).await?;
        connection.done();
        if stopped > 0 { self.cancel_build(space_id).await } else { Ok(()) }
    }

    /// Cancels the session that works on an embedding space, until it lets go of its lock.
    pub(in crate::store) async fn cancel_build(&self, space_id: i64) -> Result<(), StoreError> {
        const ROUNDS: u32 = 100;
        const ROUNDS_BETWEEN_CANCELS: u32 = 50;
        let connection = self.connection().await?;
        let sql = "-- cancel_build
             SELECT CASE WHEN $3 THEN pg_cancel_backend(pid) END FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND classid = $1::int::oid AND objid = $2::int::oid AND objsubid = 2";
        let statement = connection.prepare_cached(sql).await?;
        let keys = (self.inner.names.lock_class, lock_key(space_id));
        for round in 0..ROUNDS {
            // The session drops the invalid index before it ends, and that must not be cancelled too.
            let cancel = round % ROUNDS_BETWEEN_CANCELS == 0;
            if connection.query(&statement, &[&keys.0, &keys.1, &cancel]).await?.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        connection.done();
        Ok(())
    }

    fn qualified(&self, entry: &Entry, kind: IndexKind, index_id: i64) -> String {
        let index = schema::quote(&entry.tables.index(kind.method(), index_id));
        format!("{}.{index}", self.inner.names.internal)
    }
}

/// Whether another attempt can succeed where this one ended.
fn is_interruption(error: &StoreError) -> bool {
    use StoreError::{Busy, Conflict, NotReady, Unavailable};
    matches!(error, Unavailable { .. } | NotReady(_) | Busy(_) | Conflict(_))
}

/// The phase that pg_stat_progress_create_index names, and the share of the whole build that is done by then.
fn read_phase(phase: &str, done: f64) -> (Phase, f64) {
    let within = |from: f64, to: f64| from + (to - from) * done.clamp(0.0, 1.0);
    match phase {
        "initializing" | "waiting for writers before build" => (Phase::Waiting, 0.0),
        "building index: initializing" => (Phase::Building, 0.01),
        "building index: performing k-means" => (Phase::Training, 0.02),
        "building index: assigning tuples" => (Phase::Building, within(0.1, 0.5)),
        "building index: loading tuples" => (Phase::Building, within(0.1, 0.9)),
        "waiting for writers before validation" => (Phase::Waiting, 0.91),
        "index validation: scanning index" => (Phase::Validating, within(0.92, 0.94)),
        "index validation: sorting tuples" => (Phase::Validating, 0.94),
        "index validation: scanning table" => (Phase::Validating, within(0.94, 0.96)),
        "waiting for old snapshots" | "waiting for readers before marking dead" => (Phase::Waiting, 0.97),
        _ => (Phase::Finishing, 0.98),
    }
}

/// Keeps what Postgres remarks during a build, such as that the graph no longer fits its memory.
async fn record_notices(store: Store, index_id: i64, mut notices: Notices) {
    while let Some(notice) = notices.recv().await {
        let text = notice.message().to_owned();
        tracing::warn!(index_id, "Postgres remarks on the build of an index: {text}");
        if let Err(error) = store.warn_build(index_id, &text).await {
            tracing::warn!(index_id, "the remark could not be recorded: {error}");
        }
    }
}
