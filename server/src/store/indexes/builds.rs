//! Builds indexes. A build is a durable job that any server can finish.
//!
//! The job is a row of `indexes` in the state 'building'. The server that holds the advisory lock of the embedding
//! space works on it. The lock belongs to the session that runs CREATE INDEX. If a server dies, the lock becomes free
//! exactly when Postgres has ended that session. Another server then takes over the job: it finds the index complete,
//! or starts again.
//!
//! Deleting the row stops the job; updating the row makes the index that of the collection. So exactly one of the two
//! happens, and a job never drops an index that is ready.

use tokio_postgres::{Client, error::SqlState, types::Type};

use super::{
    drop_unregistered,
    jobs::{Job, is_interruption},
    session::build_key,
};
use crate::store::{
    IndexKind, Store, StoreError,
    catalog::{Entry, read_index_kind},
    connection::Notices,
    connection::sqlstate::{Kind, classify},
    schema,
    tables::Tables,
    transaction::Transaction,
};

/// A build is given up if it fails this often, each time by losing its connection.
pub(super) const MAX_ATTEMPTS: i32 = 5;

impl Store {
    /// Attempts a build, unless another session works on it or it is finished.
    pub(super) async fn build(&self, index_id: i64) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let building =
            format!("s.id = (SELECT b.space_id FROM {internal}.indexes b WHERE b.id = $1 AND b.state = 'building')");
        let Some(entry) = self.find_entry(&building, index_id).await? else { return Ok(()) };
        let Some(session) = self.lock_session(build_key(entry.collection.space_id)).await? else { return Ok(()) };
        let worker = session.pid_and_key();
        self.supervise(worker, self.build_in(&session.client, session.notices, &entry, index_id)).await
    }

    async fn build_in(
        &self,
        client: &Client,
        notices: Notices,
        entry: &Entry,
        index_id: i64,
    ) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- build
             UPDATE {internal}.indexes SET attempts = attempts + 1
             WHERE id = $1 AND space_id = $2 AND state = 'building'
             RETURNING method, m, ef_construction, lists, attempts"
        );
        let Some(row) = client.query_opt(&sql, &[&index_id, &entry.collection.space_id]).await? else {
            return Ok(()); // It was finished or stopped meanwhile.
        };
        self.stats().builds_started.add(1);
        let _running = self.stats().builds_running.begin();
        let kind = read_index_kind(&row)?.ok_or_else(|| StoreError::Internal("an index without a kind".into()))?;
        let built = if row.get::<_, i32>("attempts") > MAX_ATTEMPTS {
            Err(StoreError::BuildFailed(format!(
                "it was interrupted {MAX_ATTEMPTS} times; the log of Postgres says why. A common reason is too little \
                 memory"
            )))
        } else {
            self.attempt(client, entry, kind, index_id, notices).await
        };
        match built {
            Err(error) if is_interruption(&error) => return Err(error),
            Err(error) => self.fail(client, entry, kind, index_id, error).await?,
            Ok(()) => {}
        }
        self.try_drop_unregistered(client, entry).await;
        Ok(())
    }

    /// Drops what other builds left behind, if that is possible now. If not, `resume_builds` finds it again.
    async fn try_drop_unregistered(&self, client: &Client, entry: &Entry) {
        if let Err(error) = drop_unregistered(client, &self.inner.names, entry).await {
            let collection = &entry.collection.definition.name;
            tracing::warn!(collection, "a replaced index cannot be dropped yet: {}", error.detail());
        }
    }

    async fn attempt(
        &self,
        client: &Client,
        entry: &Entry,
        kind: IndexKind,
        index_id: i64,
        notices: Notices,
    ) -> Result<(), StoreError> {
        self.try_drop_unregistered(client, entry).await;
        if !self.find_valid(client, entry, kind, index_id).await? {
            if !self.is_wanted(client, index_id).await? {
                return Ok(()); // It was stopped while it waited.
            }
            self.create_index(client, entry, kind, index_id, notices).await?;
        }
        client.batch_execute(&format!("ANALYZE {}", entry.tables.analyzed)).await?;
        self.publish(client, entry, index_id).await
    }

    /// Whether the job is still wanted. False if it was stopped.
    async fn is_wanted(&self, client: &Client, index_id: i64) -> Result<bool, StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!("-- is_wanted\n SELECT FROM {internal}.indexes WHERE id = $1 AND state = 'building'");
        Ok(client.query_opt(&sql, &[&index_id]).await?.is_some())
    }

    /// Ends a build that cannot succeed. Leaves a ready index, and a job that was stopped, as they are.
    async fn fail(
        &self,
        client: &Client,
        entry: &Entry,
        kind: IndexKind,
        index_id: i64,
        error: StoreError,
    ) -> Result<(), StoreError> {
        // The failed statement may have been part of a transaction.
        client.batch_execute("ROLLBACK").await?;
        if !self.is_wanted(client, index_id).await? {
            return Ok(());
        }
        self.stats().builds_failed.add(1);
        tracing::error!(
            collection = entry.collection.definition.name,
            index_id,
            "the build of an index failed: {}",
            error.detail()
        );
        // An invalid index costs time on every write, so drop it before callers hear of the failure.
        let index = self.qualified(entry, kind, index_id);
        if let Err(error) = client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await {
            let error = StoreError::from(error);
            tracing::warn!(index_id, "an unfinished index cannot be dropped yet: {}", error.detail());
        }
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- fail_build
             UPDATE {internal}.indexes SET state = 'failed', error = $2 WHERE id = $1 AND state = 'building'"
        );
        client.execute(&sql, &[&index_id, &error.to_string()]).await?;
        Ok(())
    }

    /// Finds out whether an earlier attempt completed the index. Drops the remains of one that did not.
    async fn find_valid(
        &self,
        client: &Client,
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
        client: &Client,
        entry: &Entry,
        kind: IndexKind,
        index_id: i64,
        notices: Notices,
    ) -> Result<(), StoreError> {
        self.set_memory(client, entry, kind, index_id).await?;
        let recorder = tokio::spawn(record_notices(self.clone(), index_id, notices));

        let name = entry.tables.index(kind.method(), index_id);
        let created = client.batch_execute(&create_index_sql(entry, kind, &name)).await;
        recorder.abort();
        let Err(error) = created else {
            return if self.find_valid(client, entry, kind, index_id).await? {
                Ok(())
            } else {
                Err(StoreError::BuildFailed("Postgres left it invalid".into()))
            };
        };
        Err(why_failed(error))
    }

    /// Makes this the index that serves searches.
    async fn publish(&self, client: &Client, entry: &Entry, index_id: i64) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let collection = &entry.collection;
        let sql = |statement: &str| format!("-- publish\n {statement}").replace("{internal}", internal);
        let transaction = Transaction::read_write(client);
        transaction.begin().await?;
        let replace = sql("DELETE FROM {internal}.indexes WHERE space_id = $1 AND state = 'ready'");
        client.execute(&replace, &[&collection.space_id]).await?;
        let publish = sql("UPDATE {internal}.indexes SET state = 'ready' WHERE id = $1 AND state = 'building'");
        if client.execute(&publish, &[&index_id]).await? == 0 {
            transaction.rollback().await?;
            return Ok(()); // It was stopped meanwhile, so the index is a leftover now.
        }
        let revise = sql("UPDATE {internal}.collections SET revision = revision + 1 WHERE id = $1");
        client.execute(&revise, &[&collection.id]).await?;
        transaction.commit().await?;
        self.stats().builds_succeeded.add(1);
        self.forget(&collection.definition.name);
        self.spawn_job(Job::Codes(collection.id));
        Ok(())
    }

    async fn warn_build(&self, index_id: i64, warning: &str) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        connection.execute(&self.warn_sql(), &[&index_id, &warning]).await?;
        transaction.commit().await?;
        connection.done();
        Ok(())
    }

    /// Adds the notice `$2` to the build `$1`, once.
    pub(super) fn warn_sql(&self) -> String {
        let internal = &self.inner.names.internal;
        format!(
            "-- warn_build
             UPDATE {internal}.indexes SET warnings = warnings || $2::text
             WHERE id = $1 AND NOT warnings @> ARRAY[$2::text]"
        )
    }

    fn qualified(&self, entry: &Entry, kind: IndexKind, index_id: i64) -> String {
        let index = schema::quote(&entry.tables.index(kind.method(), index_id));
        format!("{}.{index}", entry.tables.index_schema)
    }

    /// Refuses a build that the database would refuse: the table of a source may be somebody else's.
    pub(super) async fn check_buildable(
        &self,
        client: &Client,
        entry: &Entry,
        kind: IndexKind,
    ) -> Result<(), StoreError> {
        let Some(source) = &entry.tables.source else { return Ok(()) };
        let sql = "-- check_buildable
            SELECT pg_has_role(t.relowner, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE')
            FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = $1 AND t.relname = $2";
        let row = client.query_typed(sql, &[(&source.schema, Type::TEXT), (&source.table, Type::TEXT)]).await?;
        if row.first().is_none_or(|row| row.get(0)) {
            return Ok(());
        }
        let name = format!("{}_{}", source.stem, kind.method());
        let why = format!(
            "only the owner of the table {}, with CREATE on its schema, can build an index on it, and the role of the server \
             is not; searches also use an index that the owner makes, under any name",
            source.relation()
        );
        let (collection, statements) =
            (entry.collection.definition.name.clone(), vec![create_index_sql(entry, kind, &name)]);
        Err(StoreError::SourceRefused { collection, why, statements })
    }
}

/// The statement that builds an index of this name.
pub(in crate::store) fn create_index_sql(entry: &Entry, kind: IndexKind, name: &str) -> String {
    let Tables { vectors, vector_column, extension, .. } = &entry.tables;
    let definition = &entry.collection.definition;
    let class = format!("{}_{}_ops", definition.vector_type.name(), definition.distance.operator_class());
    let with = match kind {
        IndexKind::Hnsw { m, ef_construction } => format!("m = {m}, ef_construction = {ef_construction}"),
        IndexKind::IvfFlat { lists } => format!("lists = {lists}"),
    };
    format!(
        "CREATE INDEX CONCURRENTLY {} ON {vectors} USING {} ({vector_column} {extension}.{class}) WITH ({with})",
        schema::quote(name),
        kind.method(),
    )
}

/// Why CREATE INDEX failed, in words for callers if the message contains no data.
pub(super) fn why_failed(error: tokio_postgres::Error) -> StoreError {
    let message = error.as_db_error().map_or("", |error| error.message()).to_owned();
    match classify(&error) {
        Kind::Cancelled | Kind::TimedOut => StoreError::BuildFailed("it was stopped".into()),
        // Postgres names the setting that was exceeded.
        _ if error.code() == Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED) => StoreError::BuildFailed(message),
        Kind::Resources => StoreError::BuildFailed(
            "the database is out of memory, disk or another resource; the log of Postgres says which".into(),
        ),
        // pgvector says how much it needs.
        _ if message.starts_with("memory required is") => {
            StoreError::BuildFailed(format!("{message}; give it more with --build-memory"))
        }
        _ => error.into(),
    }
}

/// Records each NOTICE of Postgres during a build, for example that the graph no longer fits into memory.
async fn record_notices(store: Store, index_id: i64, mut notices: Notices) {
    while let Some(notice) = notices.recv().await {
        let text = notice.message().to_owned();
        tracing::warn!(index_id, "Postgres sent a notice during an index build: {text}");
        if let Err(error) = store.warn_build(index_id, &text).await {
            tracing::warn!(index_id, "cannot record the notice: {error}");
        }
    }
}
