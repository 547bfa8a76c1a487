//! Documents, vectors and indexes in Postgres: all SQL of pgfox. Knows neither tonic nor `pgfox::v1`.
//!
//! One file per operation. Every statement is a literal that begins with the name of its function, so that
//! pg_stat_statements and auto_explain point back to the code. Identifiers in it are generated numbers, never user
//! text.

mod aliases;
mod catalog;
mod codes;
mod collections;
mod connection;
mod documents;
mod error;
mod filter;
mod follow;
mod indexes;
mod ingest;
pub(crate) mod log;
mod maintenance;
mod notes;
mod probe;
mod schema;
mod search;
mod sources;
mod stats;
mod tables;
mod transaction;
mod types;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::watch;

pub use connection::{
    AsStatement, Class, Connection, Connector, Pool, PoolError, PoolOptions, Statement, Value,
    dsn::Dsn,
    sqlstate::{Kind, classify},
};
pub use schema::{Migrate, SCHEMA_VERSION};

pub(crate) use codes::MAX_RERANK_CANDIDATES;
pub(crate) use connection::dsn::DsnError;
pub(crate) use documents::{Changed, DocumentOrder, Facets, Listing, MetadataChange, Position};
pub(crate) use error::StoreError;
pub(crate) use filter::{Bound, FieldPath, Filter, Literal, Test, TextTest, write_keys};
pub(crate) use follow::{Claim, Columns, Follow, MAX_FAILURES, Outcome, Pace, SourceStatus, WaitingWork};
pub(crate) use indexes::{Build, BuildProgress, Phase};
pub(crate) use ingest::{
    ChunkWords, Content, ContentHash, MAX_FULL_TEXT_BYTES, NewChunk, NewDocument, StoredContent, Turn, Turns, Written,
};
pub(crate) use probe::{Probe, Readiness};
#[cfg(test)]
pub(crate) use search::Chunk;
pub(crate) use search::{
    Completeness, Excluded, Explanation, Found, Fusion, FusionMethod, Hit, MAX_EF_SEARCH, Query, SearchSettings, Words,
};
pub(crate) use sources::{
    Column as SourceColumn, FollowSpec, FoundSource, FoundVectors, MAX_METADATA_COLUMNS, MetadataProblem,
    PlannedStatement, RefusedRow, Source, SourceProblem, SourceRow, SourceSpec, WritableTable,
};
pub(crate) use stats::{PoolStatus, Stats};
pub(crate) use types::{
    ChunkMethod, ChunkUnit, Chunking, CodesProgress, Collection, CollectionInfo, Distance, DocumentVersion, FullText,
    Index, IndexKind, MetadataIndex, MetadataIndexType, NewCollection, StoredDocument, VectorType, WordMaker,
};

use schema::Names;

/// How to connect to the database, and how much of it to use.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// For searches and writes; may go through a pooler.
    pub connector: Connector,
    /// For migrations and builds, which need their own session.
    pub direct: Connector,
    /// The schema with the views. `<schema>_internal` contains everything else.
    pub schema: String,
    /// The connections that calls share.
    pub pool: PoolOptions,
    /// Maximum number of index builds at a time. The same number of other index jobs run beside them.
    pub build_concurrency: usize,
    /// Maximum time for the database to answer a health check.
    pub health_timeout: Duration,
    /// Maximum memory for one index build in bytes. `None`: the setting of Postgres.
    pub build_memory: Option<u64>,
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    inner: Arc<Inner>,
    /// The class of the calls that its connections serve.
    class: Class,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    config: StoreConfig,
    names: Names,
    readiness: watch::Sender<Readiness>,
    /// Cached collections, by name. An entry is trusted for one statement only: see `Collection::revision`.
    catalog: RwLock<HashMap<String, Arc<catalog::Entry>>>,
    jobs: indexes::Jobs,
    watched: indexes::Watched,
    stats: Stats,
}

impl Store {
    /// Prepares to use the database. Does not connect before [`Store::prepare`].
    pub(crate) fn new(config: StoreConfig) -> Self {
        let pool = config.connector.pool(config.pool);
        let not_yet = Readiness::not_ready(StoreError::unavailable("the server is starting"));
        Self {
            inner: Arc::new(Inner {
                pool,
                names: Names::new(&config.schema),
                jobs: indexes::Jobs::new(config.build_concurrency),
                watched: indexes::Watched::default(),
                config,
                readiness: watch::Sender::new(not_yet),
                catalog: RwLock::default(),
                stats: Stats::default(),
            }),
            class: Class::Administration,
        }
    }

    /// The same database for calls of another class.
    pub(crate) fn of(&self, class: Class) -> Self {
        Self { inner: Arc::clone(&self.inner), class }
    }

    /// Refuses a call that would get no connection, before it costs anything.
    ///
    /// # Errors
    /// `Overloaded`: too many calls of this class already wait.
    pub(crate) fn admit(&self) -> Result<(), StoreError> {
        Ok(self.inner.pool.admits(self.class)?)
    }

    /// Counters of the work since the start.
    pub(crate) fn stats(&self) -> &Stats {
        &self.inner.stats
    }

    /// How much of the pool is in use.
    pub(crate) fn pool_status(&self) -> PoolStatus {
        let size = self.inner.pool.size();
        PoolStatus {
            max: self.inner.config.pool.max_size as u64,
            open: size.open as u64,
            in_use: size.open.saturating_sub(size.idle) as u64,
            waiting: Class::ALL.iter().map(|&class| self.inner.pool.waiting(class)).sum(),
        }
    }

    /// Ends the background work and closes every connection that is not in use.
    pub(crate) fn close(&self) {
        self.leave_jobs();
        self.inner.pool.close();
    }

    /// A pooled connection. Fails if the database is known to lack what every call needs.
    async fn connection(&self) -> Result<Connection, StoreError> {
        self.extension()?;
        self.connection_unchecked(None).await
    }

    /// A pooled connection for statements about a collection.
    async fn connection_to(&self, entry: &catalog::Entry) -> Result<Connection, StoreError> {
        self.extension()?;
        self.connection_unchecked(Some(entry.collection.id)).await
    }

    async fn connection_unchecked(&self, collection: Option<i64>) -> Result<Connection, StoreError> {
        let began = Instant::now();
        let connection = self.inner.pool.get(self.class, collection).await;
        self.inner.stats.pool_wait.observe(began.elapsed());
        Ok(connection?)
    }

    /// Forgets prepared statements and collections, because the database has changed.
    fn forget_all(&self) {
        self.inner.pool.forget_statements();
        self.inner.catalog.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
