//! What the server knows of collections: the tables and statements of each, and the cache. `rows` reads the registry.

mod rows;

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio_postgres::Row;

use super::{
    Collection, CollectionInfo, Distance, NewCollection, Store, StoreError, WordMaker,
    codes::{self, Codes, Declared},
    connection::{
        Connection,
        sqlstate::{Kind, classify, explain},
    },
    documents,
    filter::{Filter, Functions},
    ingest, log,
    schema::{self, Extension},
    search,
    sources::{Fields, Source, source_indexes},
    tables::Tables,
    transaction::Retry,
    wire::VectorTypes,
};

pub(super) use rows::{read_collection, read_index_kind, select_collections};

/// A collection with the statements over its tables, written out once.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) collection: Arc<Collection>,
    pub(super) tables: Tables,
    /// The types of its vectors.
    pub(super) types: VectorTypes,
    pub(super) search: search::SearchStatements,
    pub(super) ingest: ingest::IngestStatements,
    pub(super) documents: documents::DocumentStatements,
    /// Its sets of codes. Every write goes to all of them.
    pub(super) codes: Vec<Arc<Codes>>,
}

impl Entry {
    pub(super) fn new(internal: &str, extension: &Extension, collection: Collection, codes: Vec<Arc<Codes>>) -> Self {
        let tables = Tables::of(internal, &extension.schema, &collection);
        Self {
            search: search::SearchStatements::new(&tables, &collection, extension.iterative_scan),
            ingest: ingest::IngestStatements::new(&tables, &collection),
            documents: documents::DocumentStatements::new(&tables, collection.definition.vector_type),
            types: extension.types_of(collection.definition.vector_type).clone(),
            collection: Arc::new(collection),
            tables,
            codes,
        }
    }

    /// The source of an attached collection.
    pub(super) fn source(&self) -> Result<&Source, StoreError> {
        let missing = || StoreError::Internal("a collection with tables of its own has no source".into());
        self.tables.source.as_ref().ok_or_else(missing)
    }

    /// The codes that a search can use, and what they answer of its filter. Without a filter they serve only vectors that no
    /// index can have.
    pub(super) fn codes_for(&self, filter: Option<&Filter>) -> Option<(&Codes, Declared)> {
        let codes: &Codes = self.codes.iter().find(|codes| codes.is_ready && self.may_have_codes())?;
        match filter {
            Some(filter) => Some((codes, Declared::of(filter, codes)?)),
            None => self.is_unindexable().then(|| (codes, Declared::everything())),
        }
    }

    fn may_have_codes(&self) -> bool {
        let is_searched = self.collection.index.is_some() || self.is_unindexable();
        self.tables.source.is_none() && is_searched && self.collection.definition.distance != Distance::L1
    }

    /// Whether the vectors have too many dimensions for an index.
    fn is_unindexable(&self) -> bool {
        let NewCollection { dimensions, vector_type, .. } = self.collection.definition;
        dimensions > vector_type.max_indexed_dimensions()
    }

    /// The fields to declare so that codes answer more of a filter, in words.
    pub(super) fn undeclared_fields(&self, filter: &Filter) -> Vec<String> {
        if !self.may_have_codes() {
            return Vec::new();
        }
        codes::undeclared_fields(filter, &self.collection.definition.metadata_indexes)
    }

    /// The functions that the conditions of filters call.
    pub(super) fn functions(&self) -> Functions<'_> {
        Functions {
            internal: &self.tables.internal,
            outdated_times: &self.collection.outdated_times,
            indexes: &self.collection.definition.metadata_indexes,
            fields: self.tables.source.as_ref().map_or(Fields::Metadata, Fields::Columns),
        }
    }
}

impl Collection {
    /// A collection that does not exist yet.
    pub(super) fn planned(definition: NewCollection) -> Self {
        Self {
            id: 0,
            space_id: 0,
            revision: 0,
            created_at: SystemTime::UNIX_EPOCH,
            index: None,
            words: WordMaker::Postgres,
            languages: Vec::new(),
            outdated_times: Vec::new(),
            source_indexes: Vec::new(),
            codes: None,
            definition,
        }
    }

    /// Refuses what an attached collection cannot do. `what` says what to do instead.
    pub(crate) fn check_own(&self, what: &'static str) -> Result<(), StoreError> {
        let Some(source) = &self.definition.source else { return Ok(()) };
        let (collection, table) = (self.definition.name.clone(), source.relation());
        Err(StoreError::Attached { collection, table, what: what.into() })
    }
}

impl Collection {
    /// Refuses a write by a caller to the documents of a collection that follows a table.
    pub(crate) fn check_not_followed(&self) -> Result<(), StoreError> {
        let Some(follow) = &self.definition.follow else { return Ok(()) };
        let (collection, table) = (self.definition.name.clone(), follow.source.relation());
        let what = "it follows the table, so write to the table by SQL";
        Err(StoreError::Attached { collection, table, what: what.into() })
    }
}

impl CollectionInfo {
    /// A collection that does not exist yet.
    pub(crate) fn planned(definition: NewCollection) -> Self {
        Self { collection: Collection::planned(definition), document_count: 0 }
    }
}

impl Store {
    /// A collection as the cache has it. [`Store::search`] detects when it is outdated.
    pub(crate) async fn collection(&self, name: &str) -> Result<Arc<Collection>, StoreError> {
        match self.known(name) {
            Some(entry) => Ok(Arc::clone(&entry.collection)),
            None => self.current_collection(name).await,
        }
    }

    /// A collection as the database has it now, for operations that must not rely on an outdated one.
    pub(crate) async fn current_collection(&self, name: &str) -> Result<Arc<Collection>, StoreError> {
        Ok(Arc::clone(&self.load_entry(name).await?.collection))
    }

    /// Runs an operation on a collection. If the cache was outdated, runs it again with what the database has now. If
    /// another transaction conflicts, tries a few more times.
    pub(super) async fn with_collection<T, F>(&self, name: &str, run: impl Fn(Arc<Entry>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.repeat(name, false, run).await
    }

    /// The same for an operation that itself detects when an alias has moved.
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

    /// Runs a transaction that changes the registry. Repeats it while others hold a lock that it needs, until shortly
    /// before the deadline.
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

    /// Prepares another attempt after an error, if it can help.
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
                // After a failover the connections can lead to the old primary.
                self.inner.pool.distrust();
                Err(StoreError::ReadOnly)
            }
            error @ (StoreError::Refused(_) | StoreError::Database(_)) => match self.known(name) {
                Some(entry) => Err(self.error_of_entry(&entry, error).await),
                None => Err(error),
            },
            error => Err(error),
        }
    }

    /// What an error of an operation means, if the collection is a table of the user.
    async fn error_of_entry(&self, entry: &Entry, error: StoreError) -> StoreError {
        match &entry.tables.source {
            Some(source) => self.error_of_source(source, &entry.collection.definition, error).await,
            None => error,
        }
    }

    /// Why an operation repeatedly does not find a table or a column.
    pub(super) async fn missing(&self, name: &str, source: Option<tokio_postgres::Error>) -> StoreError {
        let read = async {
            let connection = self.connection().await?;
            schema::probe(&*connection, &self.inner.names).await?;
            connection.done();
            self.load_entry(name).await
        };
        let entry = match read.await {
            Ok(entry) => entry,
            Err(error) => return error,
        };
        match self.error_of_entry(&entry, StoreError::Stale(source)).await {
            StoreError::Stale(Some(source)) if classify(&source) == Kind::Undefined => {
                StoreError::CollectionDamaged { collection: name.into(), source }
            }
            error => error,
        }
    }

    /// A collection with its tables and statements.
    pub(super) async fn entry(&self, name: &str) -> Result<Arc<Entry>, StoreError> {
        match self.known(name) {
            // No error shows that an alias has moved, or that an index with the old function for times was replaced.
            Some(entry) if entry.collection.definition.name == name && entry.collection.outdated_times.is_empty() => {
                Ok(entry)
            }
            _ => self.load_entry(name).await,
        }
    }

    fn known(&self, name: &str) -> Option<Arc<Entry>> {
        self.inner.catalog.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The cached collections that meet a condition, with the names by which they are cached.
    pub(super) fn cached_entries(&self, condition: impl Fn(&Entry) -> bool) -> Vec<(String, Arc<Entry>)> {
        let catalog = self.inner.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let found = catalog.iter().filter(|(_, entry)| condition(entry));
        found.map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect()
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
        let Some(row) = row else {
            connection.done();
            self.forget(name);
            return Err(StoreError::CollectionNotFound(name.into()));
        };
        let entry = self.read_entry(&connection, &row, self.known(name)).await?;
        connection.done();
        let mut catalog = self.inner.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog.insert(name.into(), Arc::clone(&entry));
        Ok(entry)
    }

    /// The collection that meets a condition on `$1`, where `c` is the collection and `s` its embedding space. For jobs,
    /// whose collection can lose its name to another one.
    pub(super) async fn find_entry(&self, condition: &str, id: i64) -> Result<Option<Arc<Entry>>, StoreError> {
        let connection = self.connection().await?;
        let sql = format!("{} WHERE {condition}", select_collections(&self.inner.names.internal));
        let statement = connection.prepare_cached(&sql).await?;
        let row = connection.query_opt(&statement, &[&id]).await?;
        let entry = match row {
            Some(row) => Some(self.read_entry(&connection, &row, None).await?),
            None => None,
        };
        connection.done();
        Ok(entry)
    }

    async fn read_entry(
        &self,
        connection: &Connection,
        row: &Row,
        known: Option<Arc<Entry>>,
    ) -> Result<Arc<Entry>, StoreError> {
        let extension = self.extension()?;
        let internal = &self.inner.names.internal;
        let mut collection = read_collection(row)?;
        if let Some(source) = &collection.definition.source {
            collection.source_indexes = match &known {
                // A job removes the entry when the table has other indexes.
                Some(entry) if entry.collection.id == collection.id => entry.collection.source_indexes.clone(),
                _ => source_indexes(connection, source).await?,
            };
        }
        let known = known.as_ref().map_or(&[][..], |entry| &entry.codes);
        let codes = self.read_codes(connection, row, &collection, known).await?;
        Ok(Arc::new(Entry::new(internal, &extension, collection, codes)))
    }

    /// The meaning of an error of a statement over the registry alone.
    pub(super) fn registry_error(&self, error: tokio_postgres::Error) -> StoreError {
        match classify(&error) {
            Kind::Undefined => StoreError::SchemaMissing(self.inner.names.internal.clone()),
            _ => error.into(),
        }
    }

    /// Removes a collection from the cache.
    pub(super) fn forget(&self, name: &str) {
        self.inner.catalog.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
