//! Creates, lists and deletes collections.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, error::SqlState, types::Type};

use super::{
    ChunkUnit, Chunking, Collection, CollectionInfo, NewCollection, Store, StoreError, aliases,
    catalog::{read_collection, select_collections},
    codes,
    connection::{
        Value,
        sqlstate::{Kind, classify},
    },
    follow,
    indexes::metadata::{self, GIN_OPTIONS},
    schema,
    tables::{ESTIMATED_ROWS, Tables},
    transaction::Transaction,
    wire::Json,
};
use crate::words;

/// Documents are counted only up to this number of rows in the estimate of Postgres. Above it the estimate is used.
const COUNTED_ROWS: f32 = 100_000.0;

impl Store {
    /// Creates a collection with its tables and its view.
    pub(crate) async fn create_collection(
        &self,
        new: &NewCollection,
        deadline: Instant,
    ) -> Result<CollectionInfo, StoreError> {
        let create = |lock_timeout| self.try_create_collection(new, lock_timeout);
        match self.with_registry(&new.name, deadline, create).await {
            // The part that was missing is not the new collection.
            Err(StoreError::CollectionNotFound(_)) => Err(StoreError::Stale(None)),
            created => created,
        }
    }

    async fn try_create_collection(
        &self,
        new: &NewCollection,
        lock_timeout: Duration,
    ) -> Result<CollectionInfo, StoreError> {
        let extension = self.extension()?;
        let connection = self.connection().await?;
        let schema::Names { views, internal, .. } = &self.inner.names;
        let transaction = Transaction::new(&connection).lock_timeout(lock_timeout);
        transaction.begin().await?;
        // The unique name makes calls for the same name wait. All others continue.
        let sql = format!(
            "-- create_collection
             INSERT INTO {internal}.collections
                 (name, chunk_method, chunk_unit, chunk_size, chunk_overlap, chunk_headings, text_search_language, k1, b,
                  words_version, source)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (name) DO NOTHING RETURNING id"
        );
        let unit = new.chunking.map_or(ChunkUnit::Characters, |chunking| chunking.unit);
        let words_version = if new.full_text.text_language().is_some() { words::VERSION } else { 0 };
        let source = match &new.source {
            Some(source) => Some(Json(source.to_json()?)),
            None => None,
        };
        let parameters: [&dyn Value; 11] = [
            &new.name,
            &Chunking::method_name(new.chunking),
            &unit.name(),
            &new.chunking.map_or(0, |chunking| chunking.max_size as i32),
            &new.chunking.map_or(0, |chunking| chunking.overlap as i32),
            &new.chunking.is_some_and(|chunking| chunking.embed_headings),
            &new.full_text.language,
            &(new.full_text.k1 as f32),
            &(new.full_text.b as f32),
            &words_version,
            &source,
        ];
        let row = connection.query_opt(&sql, &parameters).await.map_err(|error| self.registry_error(error))?;
        let Some(row) = row else {
            return Err(StoreError::CollectionExists(new.name.clone()));
        };
        let collection_id: i64 = row.get(0);
        connection.about(collection_id);
        let sql = format!(
            "-- create_collection
             INSERT INTO {internal}.embedding_spaces (collection_id, model, dimensions, ask_dimensions, distance,
                 vector_type, query_prefix, document_prefix, active)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true) RETURNING id"
        );
        let row = connection
            .query_one(
                &sql,
                &[
                    &collection_id,
                    &new.model.as_ref().map_or("", |model| &model.name),
                    &(new.dimensions as i32),
                    &new.model.as_ref().is_some_and(|model| model.ask_dimensions),
                    &new.distance.name(),
                    &new.vector_type.name(),
                    &new.query_prefix,
                    &new.document_prefix,
                ],
            )
            .await?;

        let mut tables = Tables::new(internal, &extension.schema, collection_id, row.get(0));
        tables.source.clone_from(&new.source);
        if new.source.is_some() {
            connection.query_typed(&self.recognise_sql(), &[(&collection_id, Type::INT8)]).await?;
        } else {
            create_tables(&connection, views, &tables, new).await?;
            for index in &new.metadata_indexes {
                metadata::create(&connection, &tables, collection_id, index).await?;
            }
        }
        if let Some(follow) = &new.follow {
            self.begin_to_follow(&connection, collection_id, follow).await?;
        }
        // Take the lock late, since everyone who creates a collection or moves an alias waits for it.
        aliases::lock(&connection, internal).await?;
        let sql = format!("-- create_collection\n SELECT FROM {internal}.aliases WHERE alias = $1");
        if connection.query_opt(&sql, &[&new.name]).await?.is_some() {
            return Err(StoreError::CollectionExists(new.name.clone()));
        }
        if !new.aliases.is_empty() {
            aliases::set(&connection, &self.inner.names, collection_id, &tables, &new.aliases).await?;
        }
        // Read it before the commit. Afterwards others can delete it.
        let sql = format!("{} WHERE c.id = $1", select_collections(internal));
        let row = connection.query_one(&sql, &[&collection_id]).await?;
        let info = CollectionInfo { collection: read_collection(&row)?, document_count: 0 };
        transaction.commit().await?;
        connection.done();
        Ok(info)
    }

    /// A collection with the number of its documents.
    pub(crate) async fn get_collection(&self, name: &str) -> Result<CollectionInfo, StoreError> {
        let mut page = self.list_collections(None, Some(name), 1).await?;
        page.pop().ok_or_else(|| StoreError::CollectionNotFound(name.into()))
    }

    /// Collections in the order of their names: those after `after`, or the one with the name or alias `only`.
    pub(crate) async fn list_collections(
        &self,
        after: Option<&str>,
        only: Option<&str>,
        limit: i64,
    ) -> Result<Vec<CollectionInfo>, StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "{} WHERE ($1::text IS NULL OR c.name > $1)
                  AND ($2::text IS NULL OR c.name = $2
                       OR c.id = (SELECT a.collection_id FROM {internal}.aliases a WHERE a.alias = $2))
                ORDER BY c.name LIMIT $3",
            select_collections(internal)
        );
        let rows = async {
            let statement = connection.prepare_cached(&sql).await?;
            connection.query(&statement, &[&after, &only, &limit]).await
        };
        let rows = rows.await.map_err(|error| self.registry_error(error))?;
        let mut infos = Vec::with_capacity(rows.len());
        for row in &rows {
            let collection = read_collection(row)?;
            connection.about(collection.id);
            // One statement for each collection, since each has its own table. A page is bounded.
            let documents = match &collection.definition.source {
                Some(source) => source.relation(),
                None => Tables::documents(internal, collection.id),
            };
            let sql = format!(
                "-- count_documents
                 SELECT CASE WHEN {ESTIMATED_ROWS} < $1 THEN (SELECT count(*) FROM {documents})
                             ELSE {ESTIMATED_ROWS}::bigint END
                 FROM pg_class c WHERE c.oid = to_regclass($2)"
            );
            match connection.query_opt(&sql, &[&COUNTED_ROWS, &documents]).await.map_err(StoreError::from) {
                Ok(Some(row)) => infos.push(CollectionInfo { collection, document_count: row.get(0) }),
                // Even if the table is gone, callers must be able to see and delete the collection.
                Ok(None) | Err(StoreError::Stale(_) | StoreError::Refused(_))
                    if collection.definition.source.is_some() =>
                {
                    infos.push(CollectionInfo { collection, document_count: 0 });
                }
                Err(StoreError::Stale(source)) if only.is_some() => {
                    return Err(self.missing(&collection.definition.name, source).await);
                }
                // The collection was deleted between the two statements.
                Ok(None) => {}
                Err(StoreError::Stale(Some(error))) if classify(&error) == Kind::Undefined => {}
                Err(error) => return Err(error),
            }
        }
        connection.done();
        Ok(infos)
    }

    /// Changes how words are ranked. `None` leaves a value as it is.
    pub(crate) async fn update_full_text(
        &self,
        collection: &Collection,
        k1: Option<f64>,
        b: Option<f64>,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let name = &collection.definition.name;
        let (k1, b) = (k1.map(|k1| k1 as f32), b.map(|b| b as f32));
        self.with_registry(name, deadline, |lock_timeout| async move {
            let connection = self.connection().await?;
            let transaction = Transaction::new(&connection).lock_timeout(lock_timeout);
            transaction.begin().await?;
            let sql = format!(
                "-- update_full_text
                 UPDATE {}.collections SET k1 = coalesce($2, k1), b = coalesce($3, b), revision = revision + 1
                 WHERE id = $1",
                self.inner.names.internal
            );
            if connection.execute(&sql, &[&collection.id, &k1, &b]).await? == 0 {
                return Err(StoreError::CollectionNotFound(name.clone()));
            }
            transaction.commit().await?;
            connection.done();
            Ok(())
        })
        .await
    }

    /// Deletes a collection with its tables and its view, and stops the build of its index. If others read the
    /// collection, this waits for their transactions until shortly before the deadline. Only other calls that
    /// delete the same collection wait with it.
    pub(crate) async fn delete_collection(&self, collection: &Collection, deadline: Instant) -> Result<(), StoreError> {
        let name = &collection.definition.name;
        let (internal, extension) = (&self.inner.names.internal, self.extension()?);
        let tables = &Tables::of(internal, &extension.schema, collection);
        self.with_registry(name, deadline, |lock_timeout| async move {
            self.stop_jobs(collection, tables).await?;
            self.try_delete_collection(collection, tables, lock_timeout).await
        })
        .await?;
        self.forget(name);
        self.inner.pool.forget_collection(collection.id);
        Ok(())
    }

    async fn try_delete_collection(
        &self,
        collection: &Collection,
        tables: &Tables,
        lock_timeout: Duration,
    ) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let schema::Names { views, internal, .. } = &self.inner.names;
        let Tables { documents, chunks, embeddings, .. } = tables;
        let name = &collection.definition.name;
        let view = schema::quote(name);
        let not_found = || StoreError::CollectionNotFound(name.clone());

        let transaction = Transaction::new(&connection).lock_timeout(lock_timeout);
        transaction.begin().await?;
        let sql = format!("-- delete_collection\n SELECT FROM {internal}.collections WHERE id = $1");
        let row = connection.query_opt(&sql, &[&collection.id]).await.map_err(|error| self.registry_error(error))?;
        row.ok_or_else(not_found)?;
        let of_aliases = aliases::drop_views(&connection, &self.inner.names, collection.id).await?;
        let own = if tables.source.is_some() {
            String::new() // nothing but rows of the registry
        } else {
            format!(
                "{of_aliases} DROP VIEW IF EXISTS {views}.{view}; DROP TABLE IF EXISTS {documents}, {chunks}, {embeddings}"
            )
        };
        if collection.definition.follow.is_some() {
            follow::forget(&connection, internal, collection.id).await?;
        }
        // Others can hold these locks for long, so take them before any lock in the registry. Everyone takes them in
        // the same order: view, documents, embeddings. Do not use CASCADE: users must drop views that they built on the
        // collection's view. Parts that somebody has dropped already do not matter.
        match connection.batch_execute(&own).await {
            Err(error) if error.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
                transaction.rollback().await?;
                let now = aliases::drop_views(&connection, &self.inner.names, collection.id).await?;
                connection.done();
                // If an alias has moved here meanwhile, its view is the object. The next attempt drops it.
                return Err(if now == of_aliases {
                    StoreError::CollectionInUse(name.clone())
                } else {
                    StoreError::Conflict(error)
                });
            }
            dropped => dropped?,
        }
        // From here on nobody can create another table of codes.
        for table in codes::tables_of(&connection, internal, collection.id).await? {
            connection.batch_execute(&format!("DROP TABLE IF EXISTS {table}")).await?;
        }
        if collection.definition.follow.is_some() {
            // This locks the table of the user, so it comes after everything that can take long.
            follow::drop_triggers(&connection, internal, collection.id).await?;
        }
        aliases::lock(&connection, internal).await?;
        // Builds lock them in the same order.
        let sql = format!("-- delete_collection\n SELECT FROM {internal}.embedding_spaces WHERE id = $1 FOR UPDATE");
        connection.query(&sql, &[&collection.space_id]).await?;
        let sql = format!("-- delete_collection\n DELETE FROM {internal}.indexes WHERE space_id = $1");
        connection.execute(&sql, &[&collection.space_id]).await?;
        let sql = format!("-- delete_collection\n DELETE FROM {internal}.collections WHERE id = $1");
        if connection.execute(&sql, &[&collection.id]).await? == 0 {
            // Another call deleted the collection. The rollback keeps the view, which may belong to a new one.
            return Err(not_found());
        }
        transaction.commit().await?;
        connection.done();
        Ok(())
    }

    /// The names of the text search configurations, in the form that a collection uses.
    pub(crate) async fn text_search_languages(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.connection().await?;
        let sql = "-- text_search_languages
                   SELECT cfgname::text FROM pg_ts_config WHERE pg_ts_config_is_visible(oid) ORDER BY cfgname";
        let rows = connection.query(sql, &[]).await?;
        connection.done();
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// Creates the tables of a collection and its view.
async fn create_tables(client: &Client, views: &str, tables: &Tables, new: &NewCollection) -> Result<(), StoreError> {
    let Tables { documents, chunks, embeddings, extension, .. } = tables;
    let (vector_type, dimensions) = (new.vector_type.name(), new.dimensions);
    let view = schema::quote(&new.name);
    // Ranking needs to know how many chunks contain a common word, which takes more detailed statistics than usual. The
    // texts need no statistics, so ANALYZE does not read them.
    // Vectors are in their own table, inline. So a change of metadata never touches a vector index, exact search reads
    // one narrow table (9 times faster than through TOAST), and builds see the table's true size and run in parallel.
    let created = client
        .batch_execute(&format!(
            "CREATE TABLE {documents} (
                 key          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                 id           text COLLATE \"C\" NOT NULL UNIQUE,
                 text         text NOT NULL,
                 metadata     jsonb NOT NULL CHECK (jsonb_typeof(metadata) = 'object'),
                 content_hash bytea NOT NULL,
                 version      bigint NOT NULL DEFAULT 1,
                 created_at   timestamptz NOT NULL DEFAULT now(),
                 updated_at   timestamptz NOT NULL DEFAULT now()
             ) WITH (fillfactor = 90);
             CREATE TABLE {chunks} (
                 document_key  bigint NOT NULL,
                 chunk         int NOT NULL,
                 ordinal       int NOT NULL,
                 start_char    int NOT NULL,
                 end_char      int NOT NULL,
                 hash          bytea,
                 text          text,
                 words         tsvector NOT NULL,
                 words_version smallint NOT NULL,
                 word_count    int NOT NULL,
                 PRIMARY KEY (document_key, chunk)
             ) WITH (fillfactor = 90, autovacuum_analyze_scale_factor = 0.2);
             ALTER TABLE {chunks} ALTER COLUMN words SET STATISTICS 1000, ALTER COLUMN text SET STATISTICS 0,
                 ALTER COLUMN hash SET STATISTICS 0;
             CREATE INDEX ON {chunks} USING gin (words) WITH ({GIN_OPTIONS});
             CREATE TABLE {embeddings} (
                 document_key bigint NOT NULL,
                 chunk        int NOT NULL DEFAULT 0,
                 embedding    {extension}.{vector_type}({dimensions}) NOT NULL,
                 PRIMARY KEY (document_key, chunk)
             ) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.05);
             CREATE VIEW {views}.{view} AS {}",
            tables.view()
        ))
        .await;
    match created {
        // The second is what a view meets that an alias has got meanwhile.
        Err(error) if matches!(error.code(), Some(&SqlState::DUPLICATE_TABLE | &SqlState::UNIQUE_VIOLATION)) => {
            Err(StoreError::CollectionExists(new.name.clone()))
        }
        created => Ok(created?),
    }
}
