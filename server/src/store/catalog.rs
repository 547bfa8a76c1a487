//! What is known of collections: the registry as it is read, the tables and statements of each collection, and the cache.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use tokio_postgres::Row;

use super::{
    ChunkMethod, ChunkUnit, Chunking, Collection, Distance, IndexKind, MetadataIndex, MetadataIndexType, NewCollection,
    Store, StoreError, VectorType,
    connection::sqlstate::{Kind, classify, explain},
    documents,
    filter::Functions,
    indexes::outdated::OUTDATED,
    ingest, log,
    schema::{self, Extension},
    search,
    tables::{Tables, is_valid},
    transaction::Retry,
    wire::{Json, VectorTypes},
};
use crate::embed::Model;

/// A collection with the statements over its tables, written out once.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) collection: Arc<Collection>,
    pub(super) tables: Tables,
    /// Of its vectors.
    pub(super) types: VectorTypes,
    pub(super) search: search::SearchStatements,
    pub(super) ingest: ingest::IngestStatements,
    pub(super) documents: documents::DocumentStatements,
}

impl Entry {
    pub(super) fn new(internal: &str, extension: &Extension, collection: Collection) -> Self {
        let tables = Tables::new(internal, &extension.schema, collection.id, collection.space_id);
        Self {
            search: search::SearchStatements::new(&tables, &collection, extension.iterative_scan),
            ingest: ingest::IngestStatements::new(&tables, &collection),
            documents: documents::DocumentStatements::new(&tables, collection.definition.vector_type),
            types: extension.types_of(collection.definition.vector_type).clone(),
            collection: Arc::new(collection),
            tables,
        }
    }

    /// What the conditions of filters call.
    pub(super) fn functions(&self) -> Functions<'_> {
        Functions { internal: &self.tables.internal, outdated_times: &self.collection.outdated_times }
    }
}

impl Store {
    /// A collection as the cache has it; [`Store::search`] finds out when it is not true any more.
    pub(crate) async fn collection(&self, name: &str) -> Result<Arc<Collection>, StoreError> {
        match self.known(name) {
            Some(entry) => Ok(Arc::clone(&entry.collection)),
            None => self.current_collection(name).await,
        }
    }

    /// A collection as the database has it now, for what would rather wait for it than be wrong.
    pub(crate) async fn current_collection(&self, name: &str) -> Result<Arc<Collection>, StoreError> {
        Ok(Arc::clone(&self.load_entry(name).await?.collection))
    }

    /// Runs an operation on a collection; again with what the database says now when the cache was wrong, and a few times
    /// more when another transaction stood in the way.
    pub(super) async fn with_collection<T, F>(&self, name: &str, run: impl Fn(Arc<Entry>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.repeat(name, false, run).await
    }

    /// The same for an operation that finds out by itself when an alias has moved.
    pub(super) async fn with_known_collection<T, F>(
        &self,
        name: &str,
        run: impl Fn(Arc<Entry>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.repeat(name, true, run).await
    }

    async fn repeat<T, F>(
        &self,
        name: &str,
        trust_aliases: bool,
        run: impl Fn(Arc<Entry>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut retry = Retry::few();
        loop {
            let entry = match self.known(name) {
                Some(entry) if trust_aliases => entry,
                _ => self.entry(name).await?,
            };
            match run(entry).await {
                Err(error) => self.recover(name, error, &mut retry).await?,
                result => return result,
            }
        }
    }

    /// Runs a transaction that changes the registry, and again while others hold what it needs, until shortly before the
    /// deadline.
    pub(super) async fn with_registry<T, F>(
        &self,
        name: &str,
        deadline: Instant,
        run: impl Fn(Duration) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut retry = Retry::until(deadline);
        loop {
            match run(retry.lock_timeout()).await {
                Err(error) => self.recover(name, error, &mut retry).await?,
                result => return result,
            }
        }
    }

    /// Gets ready for another attempt after an error, if one can help.
    async fn recover(&self, name: &str, error: StoreError, retry: &mut Retry) -> Result<(), StoreError> {
        match error {
            StoreError::Stale(source) => {
                let is_stale_plan = source.as_ref().is_some_and(|error| classify(error) == Kind::StalePlan);
                if !retry.again() {
                    return Err(self.missing(name, source).await);
                }
                if is_stale_plan {
                    self.forget_all();
                }
                if source.is_some() {
                    self.look_again().await;
                }
                self.forget(name);
                Ok(())
            }
            StoreError::Conflict(source) => {
                if retry.pause().await {
                    return Ok(());
                }
                log::warn(format!("the collection \"{name}\" stayed locked: {}", explain(&source)));
                Err(StoreError::CollectionBusy(name.into()))
            }
            StoreError::ReadOnly => {
                // After a failover the connections may lead to the one that was the primary.
                self.inner.pool.distrust();
                Err(StoreError::ReadOnly)
            }
            error => Err(error),
        }
    }

    /// Why an operation finds again and again that something is not there.
    pub(super) async fn missing(&self, name: &str, source: Option<tokio_postgres::Error>) -> StoreError {
        let looked = async {
            let connection = self.connection().await?;
            schema::probe(&*connection, &self.inner.names).await?;
            connection.done();
            self.load_entry(name).await
        };
        match (looked.await, source) {
            (Err(error), _) => error,
            (Ok(_), Some(source)) if classify(&source) == Kind::Undefined => {
                StoreError::CollectionDamaged { collection: name.into(), source }
            }
            (Ok(_), source) => StoreError::Stale(source),
        }
    }

    /// A collection, its tables and statements.
    pub(super) async fn entry(&self, name: &str) -> Result<Arc<Entry>, StoreError> {
        match self.known(name) {
            // What an alias stands for can change without any error that would tell, and so can what reads times.
            Some(entry) if entry.collection.definition.name == name && entry.collection.outdated_times.is_empty() => {
                Ok(entry)
            }
            _ => self.load_entry(name).await,
        }
    }

    fn known(&self, name: &str) -> Option<Arc<Entry>> {
        self.inner.catalog.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Reads a collection from the registry into the cache.
    pub(super) async fn load_entry(&self, name: &str) -> Result<Arc<Entry>, StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "{} WHERE c.name = $1 OR c.id = (SELECT a.collection_id FROM {internal}.aliases a WHERE a.alias = $1)",
            select_collections(internal)
        );
        let row = async { connection.query_opt(&connection.prepare_cached(&sql).await?, &[&name]).await };
        let row = row.await.map_err(|error| self.registry_error(error))?;
        connection.done();
        let Some(row) = row else {
            self.forget(name);
            return Err(StoreError::CollectionNotFound(name.into()));
        };
        let entry = self.read_entry(&row)?;
        let mut catalog = self.inner.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog.insert(name.into(), Arc::clone(&entry));
        Ok(entry)
    }

    /// The collection that meets a condition on `$1`, if it is there: `c` is the collection, `s` its embedding space. For
    /// jobs, whose collection can lose its name to another one.
    pub(super) async fn find_entry(&self, condition: &str, id: i64) -> Result<Option<Arc<Entry>>, StoreError> {
        let connection = self.connection().await?;
        let sql = format!("{} WHERE {condition}", select_collections(&self.inner.names.internal));
        let statement = connection.prepare_cached(&sql).await?;
        let row = connection.query_opt(&statement, &[&id]).await?;
        connection.done();
        row.map(|row| self.read_entry(&row)).transpose()
    }

    fn read_entry(&self, row: &Row) -> Result<Arc<Entry>, StoreError> {
        let extension = self.extension()?;
        let internal = &self.inner.names.internal;
        Ok(Arc::new(Entry::new(internal, &extension, read_collection(row)?)))
    }

    /// What an error of a statement over the registry alone means.
    pub(super) fn registry_error(&self, error: tokio_postgres::Error) -> StoreError {
        match classify(&error) {
            Kind::Undefined => StoreError::SchemaMissing(self.inner.names.internal.clone()),
            _ => error.into(),
        }
    }

    pub(super) fn forget(&self, name: &str) {
        self.inner.catalog.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

pub(super) fn select_collections(internal: &str) -> String {
    format!(
        "-- select_collections
         SELECT c.id, c.name, c.revision, c.created_at, s.id AS space_id, s.model, s.dimensions, s.ask_dimensions,
                s.distance, s.vector_type, s.query_prefix, s.document_prefix, i.method, i.m, i.ef_construction, i.lists,
                c.chunk_method, c.chunk_unit, c.chunk_size, c.chunk_overlap, c.chunk_headings, c.text_search_language,
                ARRAY(SELECT a.alias FROM {internal}.aliases a WHERE a.collection_id = c.id ORDER BY a.alias) AS aliases,
                ARRAY(SELECT jsonb_build_array(m.type, m.path) FROM {internal}.metadata_indexes m
                      WHERE m.collection_id = c.id AND m.ready ORDER BY m.id) AS metadata_indexes,
                ARRAY(SELECT to_jsonb(m.path) FROM {internal}.metadata_indexes m
                      WHERE m.collection_id = c.id AND m.ready AND {OUTDATED}) AS outdated_times
         FROM {internal}.collections c
         JOIN {internal}.embedding_spaces s ON s.collection_id = c.id AND s.active
         LEFT JOIN {internal}.indexes i ON i.space_id = s.id AND i.state = 'ready' AND {valid}",
        valid = is_valid(internal)
    )
}

pub(super) fn read_collection(row: &Row) -> Result<Collection, StoreError> {
    let unknown = |what: &str| StoreError::Internal(format!("the registry holds an unknown {what}"));
    let dimensions: i32 = row.get("dimensions");
    let dimensions = usize::try_from(dimensions).map_err(|_| unknown("number of dimensions"))?;
    let model: String = row.get("model");
    let ask_dimensions = row.get("ask_dimensions");
    let size = |column: &str| usize::try_from(row.get::<_, i32>(column)).map_err(|_| unknown("size of chunks"));
    let method = match row.get("chunk_method") {
        "none" => None,
        "text" => Some(ChunkMethod::Text),
        "markdown" => Some(ChunkMethod::Markdown),
        _ => return Err(unknown("method of chunking")),
    };
    let unit = match row.get("chunk_unit") {
        "characters" => ChunkUnit::Characters,
        "tokens" => ChunkUnit::Tokens,
        _ => return Err(unknown("unit of chunks")),
    };
    let (max_size, overlap) = (size("chunk_size")?, size("chunk_overlap")?);
    let embed_headings = row.get("chunk_headings");
    let mut metadata_indexes = Vec::new();
    for Json(json) in row.get::<_, Vec<Json<&str>>>("metadata_indexes") {
        let (kind, path): (&str, Vec<String>) = serde_json::from_str(json).map_err(|_| unknown("metadata index"))?;
        let kind = MetadataIndexType::from_name(kind).ok_or_else(|| unknown("metadata index"))?;
        metadata_indexes.push(MetadataIndex { kind, path });
    }
    let outdated_times = row.get::<_, Vec<Json<&str>>>("outdated_times").into_iter();
    let outdated_times = outdated_times.map(|Json(path)| serde_json::from_str(path)).collect::<Result<_, _>>();
    Ok(Collection {
        id: row.get("id"),
        space_id: row.get("space_id"),
        revision: row.get("revision"),
        created_at: row.get("created_at"),
        index: read_index_kind(row)?,
        outdated_times: outdated_times.map_err(|_| unknown("metadata index"))?,
        definition: NewCollection {
            name: row.get("name"),
            model: (!model.is_empty()).then_some(Model { name: model, dimensions, ask_dimensions }),
            dimensions,
            distance: Distance::from_name(row.get("distance")).ok_or_else(|| unknown("distance"))?,
            vector_type: VectorType::from_name(row.get("vector_type")).ok_or_else(|| unknown("vector type"))?,
            query_prefix: row.get("query_prefix"),
            document_prefix: row.get("document_prefix"),
            chunking: method.map(|method| Chunking { method, unit, max_size, overlap, embed_headings }),
            text_search_language: row.get("text_search_language"),
            metadata_indexes,
            aliases: row.get("aliases"),
        },
    })
}

/// The index of a row with the columns method, m, ef_construction and lists.
pub(super) fn read_index_kind(row: &Row) -> Result<Option<IndexKind>, StoreError> {
    Ok(match row.get::<_, Option<&str>>("method") {
        None => None,
        Some("hnsw") => Some(IndexKind::Hnsw { m: row.get("m"), ef_construction: row.get("ef_construction") }),
        Some("ivfflat") => Some(IndexKind::IvfFlat { lists: row.get("lists") }),
        Some(_) => return Err(StoreError::Internal("the registry holds an unknown kind of index".into())),
    })
}
