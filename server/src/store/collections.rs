//! Creating, listing and deleting collections.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::{
    ChunkUnit, Chunking, Collection, CollectionInfo, NewCollection, Store, StoreError, aliases,
    catalog::{read_collection, select_collections},
    connection::{
        Value,
        sqlstate::{Kind, classify},
    },
    indexes::metadata::{self, GIN_OPTIONS},
    schema,
    tables::Tables,
    transaction::Transaction,
};

/// Above this many rows, as Postgres estimates them, documents are not counted one by one.
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
            // Looked for because something else kept missing.
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
        // The unique name lets those wait that want the same; all others go on.
        let sql = format!(
            "-- create_collection
             INSERT INTO {internal}.collections
                 (name, chunk_method, chunk_unit, chunk_size, chunk_overlap, chunk_headings, text_search_language)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING RETURNING id"
        );
        let unit = new.chunking.map_or(ChunkUnit::Characters, |chunking| chunking.unit);
        let parameters: [&dyn Value; 7] = [
            &new.name,
            &Chunking::method_name(new.chunking),
            &unit.name(),
            &new.chunking.map_or(0, |chunking| chunking.max_size as i32),
            &new.chunking.map_or(0, |chunking| chunking.overlap as i32),
            &new.chunking.is_some_and(|chunking| chunking.embed_headings),
            &new.text_search_language,
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

        let tables = Tables::new(internal, &extension.schema, collection_id, row.get(0));
        let Tables { documents, chunks, embeddings, extension, .. } = &tables;
        let (vector_type, dimensions) = (new.vector_type.name(), new.dimensions);
        let view = schema::quote(&new.name);
        // Vectors are kept apart and inline: editing metadata then never touches a vector index, exact search reads one
        // narrow table (9 times faster than through TOAST), and builds see its true size and run in parallel.
        let created = connection
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
                     document_key bigint NOT NULL,
                     chunk        int NOT NULL,
                     ordinal      int NOT NULL,
                     start_char   int NOT NULL,
                     end_char     int NOT NULL,
                     hash         bytea,
                     text         text,
                     words        tsvector NOT NULL,
                     PRIMARY KEY (document_key, chunk)
                 ) WITH (fillfactor = 90);
                 CREATE INDEX ON {chunks} USING gin (words) WITH ({GIN_OPTIONS});
                 CREATE TABLE {embeddings} (
                     document_key bigint NOT NULL,
                     chunk        int NOT NULL DEFAULT 0,
                     embedding    {extension}.{vector_type}({dimensions}) NOT NULL,
                     PRIMARY KEY (document_key, chunk)
                 ) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.05);
                 CREATE VIEW {views}.{view} AS
                     SELECT d.id, coalesce(c.ordinal, 0) AS chunk, coalesce(c.text, d.text) AS content, d.metadata,
                            e.embedding
                     FROM {documents} d
                     LEFT JOIN {chunks} c ON c.document_key = d.key
                     LEFT JOIN {embeddings} e ON e.document_key = d.key AND e.chunk = coalesce(c.chunk, 0)"
            ))
            .await;
        match created {
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_TABLE) => {
                return Err(StoreError::CollectionExists(new.name.clone()));
            }
            created => created?,
        }
        for index in &new.metadata_indexes {
            metadata::create(&connection, &tables, collection_id, index).await?;
        }
        // Short, since everyone who creates a collection or moves an alias waits for it.
        aliases::lock(&connection, internal).await?;
        let sql = format!("-- create_collection\n SELECT FROM {internal}.aliases WHERE alias = $1");
        if connection.query_opt(&sql, &[&new.name]).await?.is_some() {
            return Err(StoreError::CollectionExists(new.name.clone()));
        }
        if !new.aliases.is_empty() {
            aliases::set(&connection, internal, collection_id, &new.aliases).await?;
        }
        // Not after the commit, when others could have deleted it.
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
            // One statement per collection, since each has a table of its own; a page is bounded.
            let documents = Tables::documents(internal, collection.id);
            let sql = format!(
                "-- count_documents
                 SELECT CASE WHEN c.reltuples < $1 THEN (SELECT count(*) FROM {documents})
                             ELSE c.reltuples::bigint END
                 FROM pg_class c WHERE c.oid = to_regclass('{documents}')"
            );
            match connection.query_opt(&sql, &[&COUNTED_ROWS]).await.map_err(StoreError::from) {
                Ok(Some(row)) => infos.push(CollectionInfo { collection, document_count: row.get(0) }),
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

    /// Deletes a collection with its tables and its view, and stops the build of its index. When others read it, their
    /// transactions are waited for until shortly before the deadline, and nobody has to wait for that but who wants the same.
    pub(crate) async fn delete_collection(&self, collection: &Collection, deadline: Instant) -> Result<(), StoreError> {
        let name = &collection.definition.name;
        let (internal, extension) = (&self.inner.names.internal, self.extension()?);
        let tables = &Tables::new(internal, &extension.schema, collection.id, collection.space_id);
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
        // Before anything of the registry is locked: these are the locks that others can hold for long. In the order in
        // which everyone else locks them: view, documents, embeddings. Not CASCADE: a view that a user built on the
        // collection's view is theirs to drop. What somebody has dropped already does not matter.
        let dropped = connection
            .batch_execute(&format!(
                "DROP VIEW IF EXISTS {views}.{view}; DROP TABLE IF EXISTS {documents}, {chunks}, {embeddings}"
            ))
            .await;
        match dropped {
            Err(error) if error.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
                return Err(StoreError::CollectionInUse(name.clone()));
            }
            dropped => dropped?,
        }
        aliases::lock(&connection, internal).await?;
        // In the order in which builds lock them.
        let sql = format!("-- delete_collection\n SELECT FROM {internal}.embedding_spaces WHERE id = $1 FOR UPDATE");
        connection.query(&sql, &[&collection.space_id]).await?;
        let sql = format!("-- delete_collection\n DELETE FROM {internal}.indexes WHERE space_id = $1");
        connection.execute(&sql, &[&collection.space_id]).await?;
        let sql = format!("-- delete_collection\n DELETE FROM {internal}.collections WHERE id = $1");
        if connection.execute(&sql, &[&collection.id]).await? == 0 {
            // The view was that of another one, and stays.
            return Err(not_found());
        }
        transaction.commit().await?;
        connection.done();
        Ok(())
    }

    /// The names of the text search configurations, as a collection can name them.
    pub(crate) async fn text_search_languages(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.connection().await?;
        let sql = "-- text_search_languages
                   SELECT cfgname::text FROM pg_ts_config WHERE pg_ts_config_is_visible(oid) ORDER BY cfgname";
        let rows = connection.query(sql, &[]).await?;
        connection.done();
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
