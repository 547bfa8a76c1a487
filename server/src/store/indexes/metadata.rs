//! Indexes on metadata. They are created with a collection, or added and dropped later.
//!
//! A later change is a job: a row of `metadata_index_jobs` in the state 'running', which any server can finish, as with
//! builds. The same jobs replace indexes whose expression a new version of pgfox has changed.

use std::time::Duration;

use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::{
    builds::{MAX_ATTEMPTS, why_failed},
    drop_soon,
    jobs::{Job, is_interruption},
    outdated::OUTDATED,
    session::metadata_key,
};
use crate::store::{
    Collection, MetadataIndex, MetadataIndexType, Store, StoreError,
    connection::sqlstate::{Kind, classify},
    schema,
    tables::{Tables, is_metadata_index_valid},
    transaction::Transaction,
    wire::Json,
};

/// Every search reads the entries that wait to be sorted into a GIN index. That takes 6 ms with Postgres' default of 4
/// MB and 0.1 ms with 64 kB. Writing takes about as long with either.
pub(in crate::store) const GIN_OPTIONS: &str = "gin_pending_list_limit = 64";

/// How often a caller checks whether its job is finished: at first, and after a while.
const MIN_POLL: Duration = Duration::from_millis(20);
const MAX_POLL: Duration = Duration::from_secs(1);

/// A metadata index in the form of the registry.
pub(super) type Written = (String, Vec<String>);

/// The result of a request for metadata indexes.
enum Change {
    /// The collection already has them.
    Done,
    /// The job with this id creates them.
    Running(i64),
    /// The job with this id creates other ones.
    Other(i64),
}

impl Store {
    /// Changes the metadata indexes of a collection to the wanted ones, with a job that outlives its caller. Searches
    /// and writes continue meanwhile. Callers that want the same indexes wait for one job; callers that want others
    /// take turns.
    pub(crate) async fn update_metadata_indexes(
        &self,
        collection: &Collection,
        wanted: &[MetadataIndex],
    ) -> Result<(), StoreError> {
        loop {
            match self.begin_metadata_change(collection, wanted).await? {
                Change::Done => return Ok(()),
                Change::Running(job) => return self.await_metadata_job(collection.id, job).await,
                // Callers that want this other change handle its result.
                Change::Other(job) => match self.await_metadata_job(collection.id, job).await {
                    Ok(()) | Err(StoreError::BuildFailed(_)) => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Records the wanted indexes, unless they exist or a job is running.
    async fn begin_metadata_change(
        &self,
        collection: &Collection,
        wanted: &[MetadataIndex],
    ) -> Result<Change, StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let gone = || StoreError::CollectionNotFound(collection.definition.name.clone());
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        // Callers for the same collection take turns.
        let sql = format!("-- begin_metadata_change\n SELECT FROM {internal}.collections WHERE id = $1 FOR UPDATE");
        if connection.query_opt(&sql, &[&collection.id]).await?.is_none() {
            return Err(gone());
        }
        let sql = format!(
            "-- begin_metadata_change
             SELECT id, wanted FROM {internal}.metadata_index_jobs WHERE collection_id = $1 AND state = 'running'"
        );
        let change = if let Some(row) = connection.query_opt(&sql, &[&collection.id]).await? {
            let same = read_wanted(row.get::<_, Json<&str>>(1).0)? == write_wanted(wanted);
            if same { Change::Running(row.get(0)) } else { Change::Other(row.get(0)) }
        } else if self.metadata_indexes(&connection, collection.id).await?.are(wanted) {
            Change::Done
        } else {
            Change::Running(self.insert_metadata_job(&connection, collection.id, &write_wanted(wanted)).await?)
        };
        transaction.commit().await?;
        connection.done();
        Ok(change)
    }

    /// Records a job, inside a transaction that has locked the row of the collection.
    pub(super) async fn insert_metadata_job(
        &self,
        client: &Client,
        collection_id: i64,
        wanted: &[Written],
    ) -> Result<i64, StoreError> {
        let internal = &self.inner.names.internal;
        // Failed jobs stay for a while, for callers that still wait.
        let sql = format!(
            "-- insert_metadata_job
             DELETE FROM {internal}.metadata_index_jobs
             WHERE collection_id = $1 AND created_at < now() - interval '1 hour'"
        );
        client.execute(&sql, &[&collection_id]).await?;
        let sql = format!(
            "-- insert_metadata_job
             INSERT INTO {internal}.metadata_index_jobs (collection_id, wanted, state)
             VALUES ($1, $2::text::jsonb, 'running') RETURNING id"
        );
        let text = serde_json::to_string(wanted)
            .map_err(|error| StoreError::Internal(format!("metadata indexes as JSON: {error}")))?;
        Ok(client.query_one(&sql, &[&collection_id, &text]).await?.get(0))
    }

    /// Waits until a job is finished, and works on it if nobody else does.
    async fn await_metadata_job(&self, collection_id: i64, job: i64) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let sql =
            format!("-- await_metadata_job\n SELECT state, error FROM {internal}.metadata_index_jobs WHERE id = $1");
        let mut pause = MIN_POLL;
        loop {
            self.spawn_job(Job::Metadata(collection_id));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_POLL);
            let connection = self.connection().await?;
            let statement = connection.prepare_cached(&sql).await?;
            let row = connection.query_opt(&statement, &[&job]).await?;
            connection.done();
            // The row of a job is deleted when it is done.
            let Some(row) = row else { return Ok(()) };
            if row.get::<_, &str>(0) == "failed" {
                let why: Option<String> = row.get(1);
                return Err(StoreError::BuildFailed(why.unwrap_or_default()));
            }
        }
    }

    /// Attempts the job of a collection if there is one and no other session works on it, and drops the leftovers of
    /// others.
    pub(super) async fn change_metadata_indexes(&self, collection_id: i64) -> Result<(), StoreError> {
        let Some(entry) = self.find_entry("c.id = $1", collection_id).await? else { return Ok(()) };
        let Some(session) = self.lock_session(metadata_key(collection_id)).await? else { return Ok(()) };
        let name = &entry.collection.definition.name;
        let work = self.change_in(&session.client, &entry.tables, collection_id, name);
        self.supervise(session.pid_and_key(), work).await
    }

    async fn change_in(
        &self,
        client: &Client,
        tables: &Tables,
        collection_id: i64,
        name: &str,
    ) -> Result<(), StoreError> {
        let internal = &tables.internal;
        let sql = format!(
            "-- change_metadata_indexes
             UPDATE {internal}.metadata_index_jobs SET attempts = attempts + 1
             WHERE collection_id = $1 AND state = 'running' RETURNING id, wanted, attempts"
        );
        let job = client.query_opt(&sql, &[&collection_id]).await?;
        let Some(job) = job else { return self.drop_metadata_leftovers(client, tables, collection_id).await };
        let job_id: i64 = job.get(0);
        let changed = if job.get::<_, i32>(2) > MAX_ATTEMPTS {
            Err(StoreError::BuildFailed(format!(
                "it was interrupted {MAX_ATTEMPTS} times; the log of Postgres says why"
            )))
        } else {
            let wanted = read_wanted(job.get::<_, Json<&str>>(1).0)?;
            self.attempt_change(client, tables, collection_id, job_id, &wanted).await
        };
        self.forget(name);
        let changed = match changed {
            Err(error) if is_interruption(&error) => return Err(error),
            changed => changed,
        };
        // A failed index must not stay, since it costs time on every write. So drop it before callers hear of the
        // failure.
        let dropped = self.drop_metadata_leftovers(client, tables, collection_id).await;
        let Err(error) = changed else {
            let sql = format!("-- end_metadata_change\n DELETE FROM {internal}.metadata_index_jobs WHERE id = $1");
            client.execute(&sql, &[&job_id]).await?;
            return dropped;
        };
        let sql = format!(
            "-- end_metadata_change
             UPDATE {internal}.metadata_index_jobs SET state = 'failed', error = $2 WHERE id = $1 AND state = 'running'"
        );
        if client.execute(&sql, &[&job_id, &error.to_string()]).await? > 0 {
            tracing::error!(collection = name, "a change of metadata indexes failed: {}", error.detail());
        } else {
            tracing::debug!(collection = name, "a change of metadata indexes was stopped");
        }
        dropped
    }

    /// Drops indexes that are not ready. Indexes in use are left for later.
    async fn drop_metadata_leftovers(
        &self,
        client: &Client,
        tables: &Tables,
        collection_id: i64,
    ) -> Result<(), StoreError> {
        let Tables { internal, .. } = tables;
        for id in self.metadata_indexes(client, collection_id).await?.leftovers {
            drop_soon(client, &format!("{internal}.{}", schema::quote(&tables.metadata_index(id)))).await?;
            let sql = format!("-- drop_metadata_leftovers\n DELETE FROM {internal}.metadata_indexes WHERE id = $1");
            client.execute(&sql, &[&id]).await?;
        }
        Ok(())
    }

    /// Marks unwanted indexes as leftovers, then creates the missing ones. A failure leaves a leftover too.
    async fn attempt_change(
        &self,
        client: &Client,
        tables: &Tables,
        collection_id: i64,
        job_id: i64,
        wanted: &[Written],
    ) -> Result<(), StoreError> {
        let internal = &tables.internal;
        let is_wanted = format!(
            "-- attempt_change\n SELECT FROM {internal}.metadata_index_jobs WHERE id = $1 AND state = 'running'"
        );
        let mut missing = wanted.to_vec();
        let mut outdated = Vec::new();
        for present in self.metadata_indexes(client, collection_id).await?.ready {
            match missing.iter().position(|wanted| *wanted == present.index) {
                // It serves until another one is ready.
                Some(_) if present.is_outdated => outdated.push(present),
                Some(position) => drop(missing.remove(position)),
                // Before the drop, so that no search relies on it any more.
                None => switch(client, internal, collection_id, None, Some(present.id)).await?,
            }
        }
        for written in missing {
            let replaced = outdated.iter().find(|outdated| outdated.index == written).map(|outdated| outdated.id);
            let (kind, path) = written;
            let kind = MetadataIndexType::from_name(&kind)
                .ok_or_else(|| StoreError::Internal("the registry contains an unknown metadata index".into()))?;
            let index = MetadataIndex { kind, path };
            if client.query_opt(&is_wanted, &[&job_id]).await?.is_none() {
                return Err(StoreError::BuildFailed("it was stopped".into()));
            }
            let id = register(client, tables, collection_id, &index, false).await?;
            create_index(client, tables, id, &index, true).await?;
            // Collects statistics on the indexed expression.
            client.batch_execute(&format!("ANALYZE {}", tables.documents)).await?;
            switch(client, internal, collection_id, Some(id), replaced).await?;
        }
        Ok(())
    }

    pub(super) async fn metadata_indexes(&self, client: &Client, collection_id: i64) -> Result<Present, StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- metadata_indexes
             SELECT m.id, m.type, m.path, m.ready AND {valid}, {OUTDATED} AS outdated FROM {internal}.metadata_indexes m
             WHERE m.collection_id = $1 ORDER BY outdated, m.id",
            valid = is_metadata_index_valid(internal)
        );
        let mut present = Present::default();
        for row in client.query(&sql, &[&collection_id]).await? {
            if row.get(3) {
                present.ready.push(Ready { id: row.get(0), index: (row.get(1), row.get(2)), is_outdated: row.get(4) });
            } else {
                present.leftovers.push(row.get(0));
            }
        }
        Ok(present)
    }
}

/// The metadata indexes of a collection.
#[derive(Default)]
pub(super) struct Present {
    /// Outdated ones last.
    pub(super) ready: Vec<Ready>,
    /// Indexes that are not ready, or that the database does not have.
    leftovers: Vec<i64>,
}

/// An index that filters use.
pub(super) struct Ready {
    id: i64,
    pub(super) index: Written,
    /// Whether an index of the same type and path will replace it.
    is_outdated: bool,
}

impl Present {
    /// Whether these are exactly the indexes that filters use.
    fn are(&self, wanted: &[MetadataIndex]) -> bool {
        let mut ready: Vec<Written> = self.ready.iter().map(|ready| ready.index.clone()).collect();
        ready.sort();
        ready == write_wanted(wanted) && !self.ready.iter().any(|ready| ready.is_outdated)
    }
}

/// The wanted indexes as a job stores them, in a fixed order, so that equal requests are equal.
fn write_wanted(wanted: &[MetadataIndex]) -> Vec<Written> {
    let mut written: Vec<Written> =
        wanted.iter().map(|index| (index.kind.name().to_owned(), index.path.clone())).collect();
    written.sort();
    written
}

fn read_wanted(json: &str) -> Result<Vec<Written>, StoreError> {
    serde_json::from_str(json)
        .map_err(|_| StoreError::Internal("the registry contains an unknown request for indexes".into()))
}

/// Marks one index as ready and another one as not ready, and makes every server read the collection again.
async fn switch(
    client: &Client,
    internal: &str,
    collection_id: i64,
    on: Option<i64>,
    off: Option<i64>,
) -> Result<(), StoreError> {
    let sql = format!(
        "-- switch
         WITH revised AS (UPDATE {internal}.collections SET revision = revision + 1 WHERE id = $1 RETURNING 1)
         UPDATE {internal}.metadata_indexes SET ready = coalesce(id = $2, false)
         WHERE id IN ($2, $3) AND EXISTS (SELECT FROM revised)"
    );
    client.execute(&sql, &[&collection_id, &on, &off]).await?;
    Ok(())
}

/// Records and creates an index of a new collection.
pub(in crate::store) async fn create(
    client: &Client,
    tables: &Tables,
    collection_id: i64,
    index: &MetadataIndex,
) -> Result<(), StoreError> {
    let id = register(client, tables, collection_id, index, true).await?;
    create_index(client, tables, id, index, false).await
}

async fn register(
    client: &Client,
    Tables { internal, .. }: &Tables,
    collection_id: i64,
    index: &MetadataIndex,
    ready: bool,
) -> Result<i64, StoreError> {
    let sql = format!(
        "-- register_metadata_index
         INSERT INTO {internal}.metadata_indexes (collection_id, type, path, ready, version)
         VALUES ($1, $2, $3, $4, $5) RETURNING id"
    );
    // Not prepared, since the client may be pooled.
    let values: [(&(dyn ToSql + Sync), Type); 5] = [
        (&collection_id, Type::INT8),
        (&index.kind.name(), Type::TEXT),
        (&index.path, Type::TEXT_ARRAY),
        (&ready, Type::BOOL),
        (&index.kind.version(), Type::INT4),
    ];
    let row = client.query_typed_one(&sql, &values).await;
    match row {
        // The collection is gone.
        Err(error) if classify(&error) == Kind::ForeignKeyViolation => Err(StoreError::Stale(None)),
        row => Ok(row?.get(0)),
    }
}

async fn create_index(
    client: &Client,
    tables: &Tables,
    id: i64,
    index: &MetadataIndex,
    concurrently: bool,
) -> Result<(), StoreError> {
    let Tables { documents, internal, .. } = tables;
    let concurrently = if concurrently { "CONCURRENTLY " } else { "" };
    let name = schema::quote(&tables.metadata_index(id));
    // The expressions must equal those of `filter.rs`. Strings have no btree index, whose entries are limited to 2,704
    // bytes.
    let definition = match index.kind {
        MetadataIndexType::Gin => format!("gin (metadata jsonb_path_ops) WITH ({GIN_OPTIONS})"),
        MetadataIndexType::Number => {
            format!("btree (({internal}.number_at(metadata, {})))", literal(client, &index.path).await?)
        }
        MetadataIndexType::String => {
            format!("spgist (({internal}.string_at(metadata, {})) COLLATE \"C\")", literal(client, &index.path).await?)
        }
        MetadataIndexType::Time => {
            format!("btree (({internal}.time_at_2(metadata, {})))", literal(client, &index.path).await?)
        }
        MetadataIndexType::Boolean => {
            format!("btree (({internal}.boolean_at(metadata, {})))", literal(client, &index.path).await?)
        }
        MetadataIndexType::StringList => {
            let path = literal(client, &index.path).await?;
            format!("gin ((metadata #> {path}) jsonb_path_ops) WITH ({GIN_OPTIONS})")
        }
    };
    let sql = format!("CREATE INDEX {concurrently}{name} ON {documents} USING {definition}");
    client.batch_execute(&sql).await.map_err(why_failed)
}

/// A path as an SQL literal. CREATE INDEX and CREATE TRIGGER take no parameters, so Postgres itself quotes a caller's text.
pub(in crate::store) async fn literal(client: &Client, path: &[String]) -> Result<String, StoreError> {
    let sql = "-- literal\n SELECT format('%L::text[]', $1::text[])";
    let row = client.query_typed_one(sql, &[(&path, Type::TEXT_ARRAY)]).await?;
    Ok(row.get(0))
}
