//! Documents, vectors and indexes in Postgres: all SQL of pgfox. Knows neither tonic nor `pgfox::v1`.
//!
//! One file per operation. Every statement is a literal that begins with the name of its function, so that
//! pg_stat_statements and auto_explain point back to the code; identifiers in it are generated numbers, never user text.

mod aliases;
mod catalog;
mod collections;
mod connection;
mod documents;
mod error;
mod filter;
mod indexes;
mod ingest;
pub(crate) mod log;
mod maintenance;
mod notes;
mod probe;
mod schema;
mod search;
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

pub(crate) use connection::dsn::DsnError;
pub(crate) use documents::{Changed, DocumentOrder, Facets, Listing, MetadataChange, Position};
pub(crate) use error::StoreError;
pub(crate) use filter::{Bound, FieldPath, Filter, Literal, Test, TextTest, write_keys};
pub(crate) use indexes::{Build, BuildProgress, Phase};
pub(crate) use ingest::{Content, ContentHash, MAX_FULL_TEXT_BYTES, NewChunk, NewDocument, StoredContent, Written};
pub(crate) use probe::{Probe, Readiness};
#[cfg(test)]
pub(crate) use search::Chunk;
pub(crate) use search::{Completeness, Explanation, Found, Fusion, Hit, MAX_EF_SEARCH, Query, SearchSettings, Words};
pub(crate) use stats::{PoolStatus, Stats};
pub(crate) use types::{
    ChunkMethod, ChunkUnit, Chunking, Collection, CollectionInfo, Distance, DocumentVersion, Index, IndexKind,
    MetadataIndex, MetadataIndexType, NewCollection, StoredDocument, VectorType,
};

use schema::Names;

/// How to reach the database, and how much of it to use.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// For searches and writes; may go through a pooler.
    pub connector: Connector,
    /// For migrations and builds, which need a session of their own.
    pub direct: Connector,
    /// Name of the schema with the views; `<schema>_internal` holds the rest.
    pub schema: String,
    /// The connections that calls share.
    pub pool: PoolOptions,
    /// Most index builds that run at once; as many other index jobs run beside them.
    pub build_concurrency: usize,
    /// Longest time the database may take to answer whether it is there.
    pub health_timeout: Duration,
    /// Most memory for one index build in bytes; `None`: as Postgres is configured.
    pub build_memory: Option<u64>,
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    inner: Arc<Inner>,
    /// What connections are wanted for.
    class: Class,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    config: StoreConfig,
    names: Names,
    readiness: watch::Sender<Readiness>,
    /// What is known of collections, by name. Never trusted for longer than a statement: see `Collection::revision`.
    catalog: RwLock<HashMap<String, Arc<catalog::Entry>>>,
    jobs: indexes::Jobs,
    watched: indexes::Watched,
    stats: Stats,
}

impl Store {
    /// Prepares to use the database; nothing is connected before [`Store::prepare`].
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

    /// Refuses a call that would be refused a connection, before it costs anything.
    ///
    /// # Errors
    /// `Overloaded`: too many calls of this class wait already.
    pub(crate) fn admit(&self) -> Result<(), StoreError> {
        Ok(self.inner.pool.admits(self.class)?)
    }

    /// What was done since the start.
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

    /// Ends the work in the background and every connection that is not in use.
    pub(crate) fn close(&self) {
        self.leave_jobs();
        self.inner.pool.close();
    }

    /// A pooled connection, unless the database is known to lack what every call needs.
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

    /// Forgets prepared statements and collections, after something beneath them has changed.
    fn forget_all(&self) {
        self.inner.pool.forget_statements();
        self.inner.catalog.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
